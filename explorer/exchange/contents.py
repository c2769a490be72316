"""What goes over between a landscape and a file: minima, links, and what is known of their origin.

Every format reads into `Contents` and writes from a `Landscape`; what they have in common is done
here once: the checks of what was read, units, and the database, which is either made whole or not
at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from topokrates import provenance
from topokrates.identity.integrity import Kind
from topokrates.landscape import KCAL_MOL_PER_EV, Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule
from topokrates.storage.records import Link, Minimum, VibrationRecord

# eV per unit; the hartree of CODATA 2022
MOLECULAR_UNITS = {
    "eV": 1.0,
    "kcal/mol": 1 / KCAL_MOL_PER_EV,
    "kJ/mol": 1 / (4.184 * KCAL_MOL_PER_EV),
    "hartree": 27.211386245981,
}


@dataclass
class Contents:
    """What a file holds.

    Attributes:
        minima: ids 1 to n, in order.
        links: ids ascending; `minima` ascending.
        provenance: None where the file does not say all about its potential.
        potential: what the file calls its potential, if it does.
        unit: of all energies, if the file says so.
        molecule: None where the file does not say all about it.
        allow: kinds of changed structures among the minima (see `topokrates.identity.integrity`).
        vibrations: of those minima and links of which they are known.
    """

    minima: list[Minimum]
    links: list[Link]
    provenance: dict[str, Any] | None = None
    potential: str | None = None
    unit: str | None = None
    molecule: Molecule | None = None
    allow: frozenset[Kind] = frozenset()
    vibrations: Sequence[VibrationRecord] = ()


def units(molecule: Molecule) -> dict[str, str]:
    """The units of a landscape of this molecule."""
    if molecule.is_cluster:
        return {"energy": "epsilon", "length": "sigma"}
    return {"energy": "eV", "length": "Å"}


def converted(contents: Contents, molecule: Molecule, unit: str | None, path: Path) -> Contents:
    """The contents in the landscape's unit of energy. Raises InputError for one that is not."""
    own = units(molecule)["energy"]
    choices = ["epsilon"] if molecule.is_cluster else list(MOLECULAR_UNITS)
    for given in (unit, contents.unit):
        if given is not None and given not in choices:
            names = ", ".join(choices)
            raise InputError(f"{path}: energies of {molecule.name} in {given!r}: use {names}")
    if unit and contents.unit and unit != contents.unit:
        raise InputError(f"{path}: its energies are in {contents.unit}, not in {unit}")
    unit = unit or contents.unit or own
    if unit == own:
        return contents
    factor = MOLECULAR_UNITS[unit]
    minima = [replace(m, energy=m.energy * factor) for m in contents.minima]
    links = [replace(x, energy=x.energy * factor) for x in contents.links]
    return replace(contents, minima=minima, links=links)


def check(contents: Contents, path: Path) -> None:
    """Raise InputError for numbers that are not finite and links to minima that are not there."""
    if not contents.minima:
        raise InputError(f"{path}: it holds no minima")
    for what, rows in (("minimum", contents.minima), ("transition state", contents.links)):
        for number, row in enumerate(rows, 1):
            finite = np.isfinite(row.energy) and (
                row.positions is None or np.isfinite(row.positions).all()
            )
            if not finite:
                raise InputError(f"{path}: {what} {number} has an energy or position not finite")
    for number, link in enumerate(contents.links, 1):
        for name in link.minima:
            if not 1 <= name <= len(contents.minima):
                raise InputError(
                    f"{path}: transition state {number} joins minimum {name}, and there are"
                    f" {len(contents.minima)} minima"
                )


def coordinates(flat: np.ndarray, molecule: Molecule, place: str) -> np.ndarray:
    """Positions (N, 3) from 3N numbers. InputError, beginning with `place`, for another count."""
    if np.size(flat) != 3 * molecule.n_atoms:
        raise InputError(
            f"{place}: {np.size(flat)} coordinates, and {molecule.name} of {molecule.n_atoms}"
            f" atoms has {3 * molecule.n_atoms}"
        )
    positions = np.array(flat, dtype=np.float64).reshape(-1, 3)
    positions.flags.writeable = False
    return positions


def all_or_none(rows: Sequence[Minimum | Link], what: str) -> list[np.ndarray] | None:
    """The positions of all rows, None if none has any; InputError if only some have."""
    positions = [row.positions for row in rows if row.positions is not None]
    if positions and len(positions) < len(rows):
        lacking = next(row.id for row in rows if row.positions is None)
        raise InputError(f"{what} {lacking} has no positions while others have: use json or pele")
    return positions or None


def ordered(landscape: Landscape) -> tuple[list[Minimum], list[Link]]:
    """Minima and links by id. Raises InputError for a landscape without minima."""
    minima, links = landscape.contents()
    if not minima:
        raise InputError("nothing to export: the landscape has no minima yet")
    return sorted(minima, key=lambda m: m.id), sorted(links, key=lambda x: x.id)


def require_new(database: str | os.PathLike[str]) -> Path:
    """The path, if a database can be made there. Raises InputError otherwise."""
    path = Path(database)
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists already: an import makes a new database, name another")
    if not path.absolute().parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    return path


def store(
    contents: Contents,
    molecule: Molecule,
    form: str,
    source: Path,
    database: str | os.PathLike[str] | None,
) -> Landscape:
    """The landscape of what was read, in a new database (None: in memory), whole or not at all."""
    origin = contents.provenance or provenance.imported(
        form, source.name, units(molecule), contents.potential
    )

    def filled(path: Path | None) -> Landscape:
        landscape = Landscape.create(molecule, origin, path, allow=contents.allow)
        try:
            landscape.store.fill(contents.minima, contents.links, contents.vibrations)
        except BaseException:
            landscape.close()
            raise
        return landscape

    if database is None:
        return filled(None)
    path = require_new(database)
    _made_beside(path, lambda temporary: filled(temporary).close())
    return Landscape.open(path)


def _made_beside(path: Path, make: Callable[[Path], None]) -> None:
    """Have a file made under another name, and give it its own once it is whole."""
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{path.name}.", dir=path.absolute().parent
        ) as folder:
            temporary = Path(folder) / path.name
            try:
                make(temporary)
            except InputError as error:  # it speaks of the temporary file
                raise InputError(str(error).replace(str(temporary), str(path))) from error
            try:
                os.link(temporary, path)  # unlike a rename, it never replaces what is there
            except FileExistsError:
                require_new(path)
            except OSError:  # a file system without hard links
                require_new(path)
                temporary.rename(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
