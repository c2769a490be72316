"""pele's database: SQLite with numpy arrays in pickles.

As pele 0.1.x writes it with SQLAlchemy (https://github.com/pele-python/pele,
`pele/storage/database.py`, schema version 2 in `PRAGMA user_version`): `tbl_minima` (energy,
coords, fvib, pgorder, invalid, user_data), `tbl_transition_states` (the same, and the two minima,
eigenval, eigenvec) and `tbl_system_property` (a name and one value of four types). Coordinates are
flat arrays of 3N numbers; pele's own converter writes a single zero where it has none.

A pickle is a program, and a database may come from anywhere: it is read by
`topokrates.model.pickles`, which imports and calls nothing. Arrays and plain data come back, all
else is refused.

What pele has no column for is in `user_data`, where a program may keep what it likes: visits, the
certificate, whether a link is verified. Rows without it, pele's own, come in uncertified, their
transition states as estimates. Rows that pele has marked invalid are left out, and transition
states to them.

Pickles are written with protocol 2, which every pele reads. Frequencies and point groups are not
known and left empty. The properties natoms, energy_unit and potential say what it is of.
"""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.exchange.contents import Contents, coordinates, ordered
from topokrates.landscape import Landscape
from topokrates.model.errors import InputError
from topokrates.model.pickles import numpy_array, unpickle
from topokrates.model.replacing import replacing
from topokrates.molecule import Molecule
from topokrates.storage import sqlite
from topokrates.storage.records import Link, Minimum

USER_DATA = "topokrates"  # the key of ours in user_data
SCHEMA_VERSION = 2  # of pele
SCHEMA = """
CREATE TABLE tbl_minima (
    _id INTEGER NOT NULL PRIMARY KEY, energy FLOAT, coords BLOB, fvib FLOAT, pgorder INTEGER,
    invalid INTEGER, user_data BLOB
);
CREATE TABLE tbl_transition_states (
    _id INTEGER NOT NULL PRIMARY KEY, energy FLOAT, coords BLOB,
    _minimum1_id INTEGER REFERENCES tbl_minima (_id),
    _minimum2_id INTEGER REFERENCES tbl_minima (_id),
    eigenval FLOAT, eigenvec BLOB, fvib FLOAT, pgorder INTEGER, invalid INTEGER, user_data BLOB
);
CREATE TABLE tbl_system_property (
    _id INTEGER NOT NULL PRIMARY KEY, property_name VARCHAR, int_value INTEGER, float_value FLOAT,
    string_value VARCHAR, pickle_value BLOB
);
CREATE INDEX idx_minimum_energy ON tbl_minima (energy);
CREATE INDEX idx_transition_state_energy ON tbl_minima (energy);
CREATE INDEX idx_transition_states ON tbl_transition_states (_minimum1_id, _minimum2_id);
"""
_ARRAYS = {
    "numpy": "ndarray dtype",
    "numpy.core.multiarray": "_reconstruct",
    "numpy._core.multiarray": "_reconstruct",
    "numpy.core.numeric": "_frombuffer",
    "numpy._core.numeric": "_frombuffer",
    "_codecs": "encode",
}


def write(landscape: Landscape, path: Path) -> list[str]:
    """See `topokrates.exchange.export`; a file that is there is replaced."""
    minima, links = ordered(landscape)
    properties = [
        ("natoms", landscape.molecule.n_atoms, None),
        ("molecule", None, landscape.molecule.name),
        ("potential", None, landscape.provenance["name"]),
        ("energy_unit", None, landscape.energy_unit),
    ]
    with replacing(path) as temporary:
        connection = sqlite3.connect(temporary, isolation_level=None)
        try:
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION};")
            connection.executemany(
                "INSERT INTO tbl_minima (_id, energy, coords, invalid, user_data)"
                " VALUES (?, ?, ?, 0, ?)",
                ((m.id, m.energy, _array(m.positions), _user_data_minimum(m)) for m in minima),
            )
            connection.executemany(
                "INSERT INTO tbl_transition_states (_id, energy, coords, _minimum1_id,"
                " _minimum2_id, eigenval, invalid, user_data) VALUES (?, ?, ?, ?, ?, ?, 0, ?)",
                (
                    (x.id, x.energy, _array(x.positions), *x.minima, x.lowest_eigenvalue, _proof(x))
                    for x in links
                ),
            )
            connection.executemany(
                "INSERT INTO tbl_system_property (property_name, int_value, string_value)"
                " VALUES (?, ?, ?)",
                properties,
            )
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            reason = sqlite.reason(error) or f"cannot be written: {error}"
            raise InputError(f"{path} {reason}") from error
        finally:
            connection.close()
    estimates = sum(not link.verified for link in links)
    notes = [f"energies are in {landscape.energy_unit}; frequencies are not written"]
    if estimates:
        notes.append(f"{estimates} of the {len(links)} transition states are estimates, not proven")
    return notes


def _array(positions: np.ndarray | None) -> bytes | None:
    return None if positions is None else pickle.dumps(np.array(positions).ravel(), protocol=2)


def _user_data_minimum(minimum: Minimum) -> bytes:
    kept = {"visits": minimum.visits, "max_force": minimum.max_force}
    kept["lowest_eigenvalue"] = minimum.lowest_eigenvalue
    return pickle.dumps({USER_DATA: kept}, protocol=2)


def _proof(link: Link) -> bytes:
    kept = {"verified": link.verified, "max_force": link.max_force}
    kept["negative_eigenvalues"] = link.negative_eigenvalues
    return pickle.dumps({USER_DATA: kept}, protocol=2)


def read(path: Path, molecule: Molecule) -> Contents:
    """See `topokrates.exchange.read`."""
    sqlite.refuse_folder(path)
    try:
        connection = sqlite.connect(path, "ro")
        try:
            return _contents(connection, path, molecule)
        finally:
            connection.close()
    except (sqlite3.Error, OverflowError) as error:
        reason = sqlite.reason(error) if isinstance(error, sqlite3.Error) else None
        if reason is None or "topokrates" in reason:
            reason = f"is not a database of pele: {error}"
        raise InputError(f"{path} {reason}") from error


def _contents(connection: sqlite3.Connection, path: Path, molecule: Molecule) -> Contents:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if not {"tbl_minima", "tbl_transition_states"} <= tables:
        raise InputError(f"{path} is not a database of pele: it has no tbl_minima")
    minima, names, left_out = [], {}, set()
    for name, energy, coords, invalid, kept in connection.execute(
        "SELECT _id, energy, coords, invalid, user_data FROM tbl_minima ORDER BY _id"
    ):
        if invalid:
            left_out.add(name)
            continue
        place = f"{path}: minimum {name}"
        ours = _kept(kept)
        names[name] = len(minima) + 1
        minima.append(
            Minimum(
                names[name],
                _energy(energy, place),
                _positions(coords, molecule, place),
                _number(ours.get("max_force")),
                _number(ours.get("lowest_eigenvalue")),
                _count(ours.get("visits"), least=1) or 1,
            )
        )
    links = []
    for name, energy, coords, a, b, curvature, invalid, kept in connection.execute(
        "SELECT _id, energy, coords, _minimum1_id, _minimum2_id, eigenval, invalid, user_data"
        " FROM tbl_transition_states ORDER BY _id"
    ):
        if invalid or a in left_out or b in left_out:
            continue
        place = f"{path}: transition state {name}"
        for end in (a, b):
            if end not in names:
                raise InputError(f"{place} joins minimum {end}, which does not exist")
        first, second = sorted((names[a], names[b]))
        ours = _kept(kept)
        links.append(
            Link(
                len(links) + 1,
                (first, second),
                _energy(energy, place),
                _positions(coords, molecule, place),
                ours.get("verified") is True,
                _number(ours.get("max_force")),
                _count(ours.get("negative_eigenvalues")),
                _number(curvature),
            )
        )
    said = _properties(connection) if "tbl_system_property" in tables else {}
    if isinstance(atoms := said.get("natoms"), int) and atoms != molecule.n_atoms:
        raise InputError(f"{path} is of {atoms} atoms, {molecule.name} has {molecule.n_atoms}")
    return Contents(minima, links, potential=said.get("potential"), unit=said.get("energy_unit"))


def _properties(connection: sqlite3.Connection) -> dict[str, Any]:
    """Those that are a whole number or a text."""
    rows = connection.execute(
        "SELECT property_name, int_value, string_value FROM tbl_system_property"
    )
    return {name: text if number is None else number for name, number, text in rows}


def _energy(value: Any, place: str) -> float:
    if not isinstance(value, int | float):
        raise InputError(f"{place} has no energy")
    return float(value)


def _positions(blob: Any, molecule: Molecule, place: str) -> np.ndarray | None:
    """Positions (N, 3), or None where pele has none."""
    if blob is None:
        return None
    refused = f"{place}: its coordinates are no pickled array of numbers: not read, nothing was run"
    if not isinstance(blob, bytes):
        raise InputError(refused)
    try:
        record = unpickle(blob, _ARRAYS)
        if record is None:
            return None
        state = getattr(record, "state", None)
        if isinstance(state, tuple) and len(state) == 5 and isinstance(state[4], str):
            record.state = (*state[:4], state[4].encode("latin1"))  # Python 2's bytes
        flat = numpy_array(record, "coords")
    except (InputError, UnicodeEncodeError) as error:
        raise InputError(refused) from error
    if flat.size == 1 and molecule.n_atoms > 1 and not flat.any():
        return None
    return coordinates(flat, molecule, place)


def _kept(blob: Any) -> dict[str, Any]:
    """What we have written to user_data; empty for anything else, which is not looked into."""
    if not isinstance(blob, bytes):
        return {}
    try:
        data = unpickle(blob, {})
    except InputError:
        return {}
    ours = data.get(USER_DATA) if isinstance(data, dict) else None
    return ours if isinstance(ours, dict) else {}


def _number(value: Any) -> float | None:
    real = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if real and np.isfinite(value) else None


def _count(value: Any, least: int = 0) -> int | None:
    return value if type(value) is int and least <= value < 2**63 else None
