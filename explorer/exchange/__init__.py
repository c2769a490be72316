"""Landscapes from and for other programs: PATHSAMPLE, pele, extended XYZ, JSON.

    export(landscape, "lj38", "pathsample")
    landscape = read("lj38", "pathsample", "LJ38", "lj38.db")

| format | energies | positions | verified, certificates, visits | provenance |
|---|---|---|---|---|
| `json` | to the bit | to the bit | kept | kept |
| `pele` | to the bit | to the bit | kept in `user_data` | not kept |
| `extxyz` | to the bit | 8 decimals, must be there | kept | not kept |
| `pathsample` | to the bit | to the bit | lost: links come back as estimates | not kept |

What is read is taken at its word: every minimum and every link of the file becomes one of the
database, in the order of the file; nothing is relaxed, merged or certified. A link is a verified
transition state only where the file says that topokrates has proven it; transition states of other
programs come in as estimates, since nobody here has looked at their Hessians. Positions may be
missing: energies and links are enough for the graph. Minima whose bonds or stereo are not those of
the molecule are counted and said, and the landscape allows their kinds; if all are, they are of
another molecule or their atoms in another order, and refused.

A search can go on in what JSON brought back, with the potential it came from. In anything else it
cannot: see `topokrates.provenance`. An import makes a new database and never adds to one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from topokrates.exchange.contents import Contents
    from topokrates.landscape import Landscape
    from topokrates.molecule import Molecule

__all__ = ["FORMATS", "export", "read", "require_format"]

FORMATS = ("pathsample", "pele", "extxyz", "json")


def export(landscape: Landscape, path: str | os.PathLike[str], format: str) -> list[str]:
    """Write a landscape, whole or not at all.

    Args:
        landscape: with at least one minimum.
        path: a file, replaced if it is there; for `pathsample` a folder, new or empty.
        format: one of `FORMATS`.

    Returns:
        What a person should know about the result, one line each.

    Raises:
        InputError: for an unknown format, a landscape that the format cannot hold, a path that
            cannot be written or is the database itself.
    """
    module, path = _module(format), Path(path)
    own = landscape.store.path
    if own is not None and own.exists() and path.exists() and path.samefile(own):
        raise InputError(f"{path} is the database itself: name another file")
    return module.write(landscape, path)


def read(
    path: str | os.PathLike[str],
    format: str,
    molecule: str | os.PathLike[str] | Molecule | None = None,
    database: str | os.PathLike[str] | None = None,
    *,
    unit: str | None = None,
    report: Callable[[str], None] | None = None,
) -> Landscape:
    """Make a landscape of what another program, or `export`, has written.

    Args:
        path: a file; for `pathsample` a folder.
        format: one of `FORMATS`.
        molecule: a `Molecule`, or what `Molecule.from_text` reads; atoms in the order of the file.
            JSON alone knows its own, which this must be if it is given.
        database: file to make, which must not exist; None keeps the landscape in memory.
        unit: of the energies in the file: "eV", "kcal/mol", "kJ/mol", "hartree" (or "epsilon" of a
            cluster); None for what the file says, else eV. Lengths are in Å (sigma).
        report: called with what a person should know about the result, one line each.

    Returns:
        The landscape, open.

    Raises:
        InputError: for anything that cannot be used. Nothing is left behind then.
    """
    from topokrates.exchange import contents, structures
    from topokrates.molecule import Molecule
    from topokrates.provenance import refuse_other_molecule

    module, path = _module(format), Path(path)
    if database is not None:
        contents.require_new(database)
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if molecule is None and format != "json":
        raise InputError(f"{path}: {format} does not say of which molecule it is: give it")
    if molecule is None or isinstance(molecule, Molecule):
        given = molecule
    else:
        given = Molecule.from_text(molecule)
    found: Contents = module.read(path, given)
    if found.molecule is not None and given is not None:
        refuse_other_molecule(path, found.molecule.to_json(), given.to_json())
    of = found.molecule or given
    assert of is not None
    found = contents.converted(found, of, unit, path)
    contents.check(found, path)
    found, note = structures.compared(found, of, path)
    if note is not None and report is not None:
        report(note)
    return contents.store(found, of, format, path, database)


def require_format(format: str) -> None:
    """Raise InputError for a format that is not one of `FORMATS`."""
    if format not in FORMATS:
        raise InputError(f"unknown format {format!r}: use one of {', '.join(FORMATS)}")


def _module(format: str) -> ModuleType:
    require_format(format)
    names = {"extxyz": "frames", "json": "document"}
    return import_module(f"topokrates.exchange.{names.get(format, format)}")
