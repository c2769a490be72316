"""JSON: the whole landscape in one document, and nothing lost but the log of the searches.

    {"format": "topokrates landscape", "version": 1,
     "molecule": {...}, "provenance": {...}, "units": {"energy": "eV", "length": "Å"},
     "allow": [...],
     "minima": [{"id", "energy", "positions", "max_force", "lowest_eigenvalue", "visits"}, ...],
     "links": [{"id", "minima": [a, b], "energy", "positions", "verified", "max_force",
                "negative_eigenvalues", "lowest_eigenvalue"}, ...],
     "vibrations": [{"kind": "minimum" or "link", "id", "frequencies", "moments", "symbol",
                     "group_order", "number", "chiral"}, ...]}

Numbers have all the digits that make them the same to the bit when read. Positions are (N, 3) or
null. `molecule` is that of `Molecule.to_json`, `provenance` that of the database; `allow` names
the kinds of changed structures that it keeps, `vibrations` what has been computed of them (see
`topokrates.storage.records.VibrationRecord`); none, where they are missing.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.exchange.contents import Contents, coordinates, ordered, units
from topokrates.identity.integrity import allowed_kinds
from topokrates.landscape import Landscape
from topokrates.model.errors import InputError
from topokrates.model.replacing import replacing
from topokrates.molecule import Molecule
from topokrates.storage.records import Link, Minimum, VibrationRecord

FORMAT = "topokrates landscape"
VERSION = 1


def write(landscape: Landscape, path: Path) -> list[str]:
    """See `topokrates.exchange.export`; a file that is there is replaced."""
    minima, links = ordered(landscape)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "molecule": json.loads(landscape.molecule.to_json()),
        "provenance": landscape.provenance,
        "units": landscape.provenance["units"],
        "allow": sorted(landscape.allow),
        "minima": [_plain(m) for m in minima],
        "links": [_plain(link) for link in links],
        "vibrations": [
            row._asdict()
            | {"frequencies": row.frequencies.tolist(), "moments": row.moments.tolist()}
            for row in landscape.store.vibrations().values()
        ],
    }
    text = json.dumps(document, ensure_ascii=False, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return []


def _plain(row: Minimum | Link) -> dict[str, Any]:
    plain = {column.name: getattr(row, column.name) for column in fields(row)}
    if row.positions is not None:
        plain["positions"] = row.positions.tolist()
    return plain


def read(path: Path, molecule: Molecule | None) -> Contents:
    """See `topokrates.exchange.read`."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path} is not a landscape that `topokrates export --format json` wrote")
    if document.get("version") != VERSION:
        raise InputError(f"{path} is of version {document.get('version')}, not {VERSION}")
    found = Molecule.from_json(json.dumps(document.get("molecule")))
    provenance = document.get("provenance")
    match provenance:
        case {"name": str(), "units": {"energy": str(), "length": str()}}:
            pass
        case _:
            raise InputError(f"{path}: its provenance has no name or no units")
    minima = [
        _row(Minimum, row, found, f"{path}: minimum {number}")
        for number, row in enumerate(_list(document, "minima", path), 1)
    ]
    links = [
        _row(Link, row, found, f"{path}: link {number}")
        for number, row in enumerate(_list(document, "links", path), 1)
    ]
    if [m.id for m in minima] != list(range(1, len(minima) + 1)):
        raise InputError(f"{path}: the ids of the minima are not 1, 2, 3 and so on")
    if len({link.id for link in links}) != len(links):
        raise InputError(f"{path}: two links have one id")
    if provenance["units"] != units(found):
        raise InputError(f"{path}: its units are not those of {found.name}: {units(found)}")
    unit = units(found)["energy"]
    try:
        allow = allowed_kinds(document.get("allow", []))
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: what it allows is no list of kinds: {error}") from error
    vibrations = _vibrations(document.get("vibrations", []), minima, links, found, path)
    return Contents(
        minima, links, provenance, unit=unit, molecule=found, allow=allow, vibrations=vibrations
    )


def _vibrations(
    rows: Any, minima: list[Minimum], links: list[Link], molecule: Molecule, path: Path
) -> list[VibrationRecord]:
    """Raises InputError for what cannot have been computed of these minima and links."""
    if not isinstance(rows, list):
        raise InputError(f"{path}: its vibrations are no list")
    imaginary = {("minimum", m.id): 0 for m in minima} | {("link", x.id): 1 for x in links}
    found = []
    for place, row in enumerate(rows, 1):
        record = _vibration(row, molecule)
        known = record and imaginary.pop((record.kind, record.id), None)  # each once
        if record is None or known != np.sum(record.frequencies < 0):
            raise InputError(f"{path}: vibrations {place} are not those of a structure in it")
        found.append(record)
    return found


def _vibration(row: Any, molecule: Molecule) -> VibrationRecord | None:
    """None for what is not one."""
    modes = 3 * molecule.n_atoms - 6  # one more on a line
    match row:
        case {
            "kind": str(kind),
            "id": int(name),
            "frequencies": list(frequencies),
            "moments": [_, _, _] as moments,
            "symbol": str(symbol),
            "group_order": int(order),
            "number": int(number),
            "chiral": bool(chiral),
        } if (
            all(type(v) in (int, float) and abs(v) < 1e12 for v in [*frequencies, *moments])
            and len(frequencies) in (modes, modes + 1)
            and min(moments) >= 0
            and 1 <= number <= order < 10**6
        ):
            arrays = np.array(frequencies, float), np.array(moments, float)
            return VibrationRecord(kind, name, *arrays, symbol, order, number, chiral)
    return None


def _list(document: dict[str, Any], key: str, path: Path) -> list[Any]:
    rows = document.get(key)
    if not isinstance(rows, list):
        raise InputError(f"{path}: it has no list of {key}")
    return rows


def _row(kind: type, row: Any, molecule: Molecule, place: str) -> Any:
    """A `Minimum` or `Link` whose every field is there and of its type."""
    wanted = {column.name: str(column.type) for column in fields(kind)}
    if not isinstance(row, dict) or set(row) != set(wanted):
        raise InputError(f"{place} has not the entries {', '.join(wanted)}")
    values = {name: _value(row[name], type_, f"{place}: {name}") for name, type_ in wanted.items()}
    if row["positions"] is not None:
        try:
            flat = np.array(row["positions"], dtype=np.float64).ravel()
        except (ValueError, TypeError) as error:
            raise InputError(f"{place}: its positions are no numbers") from error
        values["positions"] = coordinates(flat, molecule, place)
    return kind(**values)


def _value(value: Any, kind: str, place: str) -> Any:
    if "ndarray" in kind or (value is None and "None" in kind):
        return None
    whole = type(value) is int and 0 <= value < 2**63
    if kind.startswith("tuple"):
        if isinstance(value, list) and len(value) == 2 and all(type(n) is int for n in value):
            a, b = sorted(value)
            return a, b
    elif kind.startswith("bool"):
        if isinstance(value, bool):
            return value
    elif kind.startswith("int"):
        if whole:
            return value
    elif isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
        return float(value)
    raise InputError(f"{place} is {value!r}, which it cannot be")
