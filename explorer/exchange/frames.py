"""Extended XYZ, one frame for each minimum, transition state and estimate.

Written by `Landscape.export_extxyz`, whose docstring says what is in `info`. Read back it is the
same landscape, but for positions rounded to 8 decimals. Files of other programs are read too: a
frame with an energy and without `kind` is a minimum that nobody has certified.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.exchange.contents import Contents, all_or_none, coordinates, ordered
from topokrates.landscape import Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule
from topokrates.storage.records import Link, Minimum

KINDS = ("minimum", "transition_state", "estimate")


def write(landscape: Landscape, path: Path) -> list[str]:
    """See `topokrates.exchange.export`; a file that is there is replaced."""
    minima, links = ordered(landscape)
    for rows, what in ((minima, "minimum"), (links, "link")):
        if all_or_none(rows, what) is None and rows:
            raise InputError(f"{path}: extxyz needs positions, and no {what} has any; use json")
    landscape.export_extxyz(path)
    return []


def read(path: Path, molecule: Molecule) -> Contents:
    """See `topokrates.exchange.read`."""
    import ase.io

    if path.is_dir():
        raise InputError(f"{path} is a folder, not an extended XYZ file")
    try:
        frames = list(ase.io.iread(path, ":", format="extxyz"))
    except Exception as error:  # ASE's readers raise whatever a malformed file provokes
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} cannot be read as extended XYZ: {line}") from error
    minima: dict[int, Minimum] = {}
    links: dict[int, Link] = {}
    ends: list[tuple[str, int]] = []
    for number, atoms in enumerate(frames, 1):
        place, info = f"{path}: frame {number}", atoms.info
        kind = info.get("kind", "minimum")
        if kind not in KINDS:
            raise InputError(f"{place} is of kind {kind!r}, not one of {', '.join(KINDS)}")
        _refuse_other_atoms(atoms.numbers, molecule, place)
        positions = coordinates(atoms.positions, molecule, place)
        energy = _energy(atoms, place)
        rows = minima if kind == "minimum" else links
        name = _whole(info, "id", place) if "id" in info else number
        if name in rows:
            raise InputError(f"{place} has the id {name} of an earlier one")
        proof = {key: _number(info.get(key)) for key in ("max_force", "lowest_eigenvalue")}
        if kind == "minimum":
            visits = _whole(info, "visits", place) if "visits" in info else 1
            known = proof if "kind" in info else dict.fromkeys(proof)
            minima[name] = Minimum(name, energy, positions, visits=max(visits, 1), **known)
            continue
        a, b = sorted(_whole(info, key, place) for key in ("minimum_a", "minimum_b"))
        ends += [(place, a), (place, b)]
        negative = info.get("negative_eigenvalues")
        negative = None if negative is None else _whole(info, "negative_eigenvalues", place)
        verified = kind == "transition_state" and negative in (None, 1)
        links[name] = Link(
            name, (a, b), energy, positions, verified, negative_eigenvalues=negative, **proof
        )
    for place, end in ends:
        if end not in minima:
            raise InputError(f"{place} joins minimum {end}, which does not exist")
    return _numbered(minima, links, frames, path)


def _numbered(
    minima: dict[int, Minimum], links: dict[int, Link], frames: list[Any], path: Path
) -> Contents:
    """Ids from 1 on, in the order of those in the file."""
    order = {name: number for number, name in enumerate(sorted(minima), 1)}
    info = frames[0].info if frames else {}
    if len({str(atoms.info.get("energy_unit")) for atoms in frames}) > 1:
        raise InputError(f"{path}: its frames have different units of energy")
    unit, potential = info.get("energy_unit"), info.get("potential")
    return Contents(
        [replace(minima[name], id=number) for name, number in order.items()],
        [
            replace(
                links[name],
                id=k,
                minima=(order[links[name].minima[0]], order[links[name].minima[1]]),
            )
            for k, name in enumerate(sorted(links), 1)
        ],
        potential=None if potential is None else str(potential),
        unit=None if unit is None else str(unit),
    )


def _refuse_other_atoms(numbers: np.ndarray, molecule: Molecule, place: str) -> None:
    if len(numbers) != molecule.n_atoms:
        raise InputError(
            f"{place} has {len(numbers)} atoms, {molecule.name} has {molecule.n_atoms}"
        )
    if molecule.is_cluster or np.array_equal(numbers, molecule.numbers):
        return
    from ase.data import chemical_symbols

    k = int(np.flatnonzero(numbers != molecule.numbers)[0])
    raise InputError(
        f"{place}: atom {k + 1} is {chemical_symbols[numbers[k]]}, in {molecule.name} it is"
        f" {molecule.symbols[k]}: the order of the atoms must be the molecule's"
    )


def _energy(atoms: Any, place: str) -> float:
    value = atoms.info.get("energy")
    if value is None and atoms.calc is not None:
        value = atoms.calc.results.get("energy")
    if not isinstance(value, int | float | np.number):
        raise InputError(f"{place} has no energy")
    return float(value)


def _whole(info: dict[str, Any], key: str, place: str) -> int:
    value = info.get(key)
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputError(f"{place}: {key} is {value!r}, not a whole number")
    return int(value)


def _number(value: Any) -> float | None:
    real = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return float(value) if real and np.isfinite(value) else None
