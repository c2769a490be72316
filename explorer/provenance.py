"""What a database was made with, and whether the molecule and potential at hand are the same.

The rule for what is imported: a file that says all about its potential (our own JSON) keeps that
provenance, and is continued with that potential only. Of anything else it is not known where its
energies come from: its provenance is `imported`, and no potential continues it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from topokrates.molecule import Molecule

# What may differ between two runs on the same potential:
NOT_THE_POTENTIAL = {"environment", "versions", "version", "dtype", "device", "threads", "file"}


# What must agree for two molecules to be the same one; the name is free, and the start geometry
# depends on the software that made it.
THE_MOLECULE = (
    "numbers",
    "charge",
    "unpaired_electrons",
    "bonds",
    "stereocentres",
    "peptide_bonds",
    "double_bonds",
)


def read_molecule(path: Path | None, meta: Mapping[str, Any]) -> Molecule:
    """The molecule that a database was made for."""
    from topokrates.molecule import Molecule

    try:
        return Molecule.from_json(meta["molecule"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: it holds no readable molecule") from error


def refuse_other_molecule(path: Path | None, stored: str, given: str) -> None:
    """Raise InputError unless both JSON texts describe the same atoms, bonds, charge and stereo."""
    ours, theirs = json.loads(stored), json.loads(given)
    if all(ours.get(key) == theirs.get(key) for key in THE_MOLECULE):
        return
    other = theirs["name"]
    if other == ours["name"]:
        other = f"the {other} given, whose atoms, bonds, charge or stereo differ"
    raise InputError(
        f"{path} holds the landscape of {ours['name']}, not of {other}: choose another database"
    )


IMPORTED = "imported"


def imported(
    format: str, source: str, units: Mapping[str, str], potential: str | None = None
) -> dict[str, Any]:
    """The provenance of a landscape that came from a file which does not say all about its own.

    source: the name of the file. potential: what the file calls it, if it does.
    """
    found = {"name": IMPORTED, "format": format, "source": source, "units": dict(units)}
    return found if potential is None else found | {"potential": potential}


def model_of(stored: Mapping[str, Any]) -> str:
    """What `models.load` takes to find a potential again: its weights' file if it is still there,
    else its name."""
    file = str(stored.get("file", ""))
    found = bool(file) and all(map(os.path.isfile, file.split(",")))
    return file if found else str(stored["name"])


def refuse_other_potential(
    path: Path | None, stored: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Raise InputError if the potentials differ in anything but `NOT_THE_POTENTIAL`.

    What was imported from elsewhere is no potential's: see the module.
    """
    if stored.get("name") == IMPORTED and given.get("name") != IMPORTED:
        raise InputError(
            f"{path} was imported from {stored.get('source')} ({stored.get('format')}), and which"
            " potential it is of is not known: it can be shown, plotted and exported, but no search"
            " goes on in it; choose another database"
        )
    given = json.loads(json.dumps(given))  # as it would read back
    keys = sorted(
        (stored.keys() | given.keys()) - NOT_THE_POTENTIAL, key=lambda k: (k != "name", k)
    )
    for key in keys:
        if stored.get(key) != given.get(key):
            what = "the potential" if key == "name" else f"{stored.get('name')} with {key}"
            raise InputError(
                f"{path} was made with {what} {_short(stored.get(key))}, not"
                f" {_short(given.get(key))}: choose another database or the same potential"
            )


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 24 else text[:12] + "..."


def refuse_other_kinds(path: Path | None, stored: Sequence[str], given: Sequence[str]) -> None:
    """Raise InputError unless a database keeps those kinds of changed structures that are given."""
    if sorted(stored) != sorted(given):
        keeps = ", ".join(stored) or "no changed structures"
        raise InputError(
            f"{path} keeps {keeps}, not {', '.join(given) or 'none'}: allow the same, or choose"
            " another database"
        )
