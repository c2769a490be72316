"""Structures from files: relax or evaluate every frame, whatever molecules they are.

All frames are checked before the first is worked on, so that a long job does not end at a bad
one; messages name the frame, counted from 0. Frames of the same molecule are one batch, and sizes
are rounded up, so that molecules of about the same size share compiled code.

Charge and spin belong to a frame: `atoms.info["charge"]`, 0 if it is not given, and
`atoms.info["unpaired_electrons"]` or `atoms.info["multiplicity"]` (one more), the fewest that the
number of electrons allows if neither is given. Programs mean different things by "spin", which is
accepted only where all of them come to that same number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from topokrates.identity.matching import changes
from topokrates.model.errors import InputError
from topokrates.model.models import ForceField
from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.perception import check_geometry
from topokrates.relaxation.certify import certify
from topokrates.relaxation.internals import Coordinates, coordinates
from topokrates.relaxation.relax import Status, descend

SIZES = 8  # arrays are padded to multiples of this many atoms
LANES = 16  # structures that are relaxed side by side
CHUNK = 256  # structures that are evaluated in one call


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Energy and forces of one frame.

    Attributes:
        frame: which one, from 0.
        atoms: a copy of it with the results as its calculator.
        energy: in the potential's unit; NaN if the calculation failed.
        forces: (N, 3).
    """

    frame: int
    atoms: Atoms
    energy: float
    forces: np.ndarray

    @property
    def max_force(self) -> float:
        """Norm of the largest force on an atom."""
        return float(np.sqrt(np.max(np.sum(self.forces**2, axis=1))))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON: frame, energy, max_force, forces. What is not finite is None."""
        forces = self.forces.tolist() if np.isfinite(self.forces).all() else None
        numbers = {"energy": _finite(self.energy), "max_force": _finite(self.max_force)}
        return {"frame": self.frame, **numbers, "forces": forces}


@dataclass(frozen=True, eq=False)
class Relaxed:
    """Where one frame came to rest.

    Attributes:
        frame: which one, from 0.
        atoms: a copy of it, relaxed, with the energy as its calculator's result.
        energy, max_force: there.
        gradient_calls: all force evaluations, the polish included.
        hessian_vector_products: all of them.
        lowest_eigenvalue: of the Hessian there, rigid motions projected out; NaN if the descent
            failed before there was one.
        status: CERTIFIED, or what went wrong.
        changed: what has become of the molecule ("bond N7-H8 broken"), "" if nothing. It may be
            a certified minimum all the same.
    """

    frame: int
    atoms: Atoms
    energy: float
    max_force: float
    gradient_calls: int
    hessian_vector_products: int
    lowest_eigenvalue: float
    status: Status
    changed: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without `atoms` and `changed`; what is not finite is None."""
        return {
            "frame": self.frame,
            "energy": _finite(self.energy),
            "max_force": _finite(self.max_force),
            "gradient_calls": self.gradient_calls,
            "hessian_vector_products": self.hessian_vector_products,
            "lowest_eigenvalue": _finite(self.lowest_eigenvalue),
            "status": str(self.status),
        }


@dataclass(frozen=True, eq=False)
class _Species:
    """Frames of one molecule: what they have in common, and which they are."""

    numbers: np.ndarray
    charge: int
    unpaired: int
    coordinates: Coordinates | None = None
    frames: list[int] = field(default_factory=list)

    def bind(self, force_field: ForceField) -> Potential:
        size = -(-len(self.numbers) // SIZES) * SIZES
        return force_field.bind(self.numbers, self.charge, self.unpaired, atoms=size)


def evaluate_frames(
    frames: Sequence[Atoms], force_field: ForceField, source: str = "frames"
) -> Iterator[Evaluated]:
    """Energies and forces.

    Args:
        frames: of any molecules.
        force_field: from `models.load`.
        source: where the frames come from, for messages.

    Yields:
        An `Evaluated` per frame, those of one molecule after those of another.

    Raises:
        InputError: for a frame that cannot be used, before any is worked on.
    """
    found: dict[Any, _Species] = {}
    for index, atoms in enumerate(frames):
        label = _label(source, index)
        charge, unpaired = _check_frame(atoms, label)
        key = (atoms.numbers.tobytes(), charge, unpaired)
        species = found.setdefault(key, _Species(atoms.numbers, charge, unpaired))
        species.frames.append(index)
        if len(species.frames) == 1:
            _check_model(species, force_field, label)
    return _evaluate(frames, force_field, list(found.values()))


def _evaluate(
    frames: Sequence[Atoms], force_field: ForceField, found: list[_Species]
) -> Iterator[Evaluated]:
    for species in found:
        potential = species.bind(force_field)
        for start in range(0, len(species.frames), CHUNK):
            chunk = species.frames[start : start + CHUNK]
            positions = np.stack([frames[index].positions for index in chunk])
            energies, forces = potential.energies_and_forces(positions)
            for index, energy, force in zip(chunk, energies, forces, strict=True):
                energy, force = float(energy), np.asarray(force, float)
                results = {"energy": energy, "forces": force}
                atoms = _copy(frames[index], frames[index].positions, results, potential)
                yield Evaluated(index, atoms, energy, force)


def relax_frames(
    frames: Sequence[Atoms], force_field: ForceField, source: str = "frames"
) -> Iterator[Relaxed]:
    """Relaxes to certified minima.

    Args:
        frames: of any molecules; bonds are perceived from the geometry.
        force_field: from `models.load`.
        source: where the frames come from, for messages.

    Yields:
        A `Relaxed` per frame, those of one molecule after those of another, as they end.

    Raises:
        InputError: for a frame that cannot be used, before any is worked on.
    """
    found: dict[Any, _Species] = {}
    for index, atoms in enumerate(frames):
        label = _label(source, index)
        charge, unpaired = _check_frame(atoms, label)
        molecule = _molecule(atoms, label, charge, unpaired)
        internal = coordinates(molecule.bonds, molecule.positions)
        bonds = molecule.bonds.tobytes()
        key = (atoms.numbers.tobytes(), charge, unpaired, bonds, internal.cartesian)
        species = found.setdefault(key, _Species(atoms.numbers, charge, unpaired, internal))
        species.frames.append(index)
        if len(species.frames) == 1:
            _check_model(species, force_field, label)
    return _relax(frames, force_field, list(found.values()))


def _relax(
    frames: Sequence[Atoms], force_field: ForceField, found: list[_Species]
) -> Iterator[Relaxed]:
    for species in found:
        potential, internal = species.bind(force_field), species.coordinates
        assert internal is not None
        starts = [frames[index].positions for index in species.frames]
        for descent in descend(potential, internal, starts, lanes=min(LANES, len(starts))):
            end, calls, products, lowest = descent, descent.gradient_calls, 0, np.nan
            if descent.status is Status.CONVERGED:
                end = certify(potential, internal, descent.positions)
                calls += end.gradient_calls
                products, lowest = end.hessian_vector_products, end.lowest_eigenvalue
            index = species.frames[descent.index]
            atoms = _copy(frames[index], end.positions, {"energy": end.energy}, potential)
            atoms.info |= {"status": str(end.status), "max_force": end.max_force}
            if np.isfinite(lowest):
                atoms.info["lowest_eigenvalue"] = lowest
            molecule = _molecule(frames[index], "", species.charge, species.unpaired)
            change = changes(molecule, end.positions)
            if change:
                atoms.info["changed"] = str(change)
            end_of = (end.energy, end.max_force, calls, products, lowest, end.status)
            yield Relaxed(index, atoms, *end_of, changed=str(change) if change else "")


def _molecule(atoms: Atoms, label: str, charge: int, unpaired: int) -> Molecule:
    bare = Atoms(atoms.numbers, atoms.positions)
    bare.info["unpaired_electrons"] = unpaired
    return Molecule.from_atoms(bare, label or None, charge)


def _label(source: str, index: int) -> str:
    return f"{source}, frame {index}"


def _check_frame(atoms: Atoms, label: str) -> tuple[int, int]:
    """Charge and unpaired electrons of a frame that can be used; InputError for another one."""
    if len(atoms) > 1:
        check_geometry(atoms, label)
    elif not np.isfinite(atoms.positions).all():
        raise InputError(f"{label}: the coordinates of its atom are not finite")
    charge = _whole(atoms.info.get("charge", 0), "charge", label)
    if not atoms.numbers.any():
        return charge, 0
    electrons = int(atoms.numbers.sum()) - charge
    fewest = electrons % 2
    if "unpaired_electrons" in atoms.info:
        unpaired = _whole(atoms.info["unpaired_electrons"], "unpaired_electrons", label)
    elif "multiplicity" in atoms.info:
        unpaired = _whole(atoms.info["multiplicity"], "multiplicity", label) - 1
    else:
        unpaired = fewest
        # the number of unpaired electrons, the quantum number S, or the multiplicity 2 S + 1
        if atoms.info.get("spin", fewest) not in (fewest, fewest / 2, fewest + 1):
            raise InputError(
                f"{label}: its spin of {atoms.info['spin']} can mean several things: write"
                " unpaired_electrons or multiplicity"
            )
    if electrons < 0 or not 0 <= unpaired <= electrons or (electrons - unpaired) % 2:
        raise InputError(
            f"{label}: {unpaired} unpaired electrons do not go with {electrons} electrons"
            f" (charge {charge:+d})"
        )
    return charge, unpaired


def _check_model(species: _Species, force_field: ForceField, label: str) -> None:
    if (not species.numbers.any()) != (force_field.name == "LJ"):
        raise InputError(
            f"{label} with {force_field.name}: LJ is for clusters of particles X, and they for it"
        )
    try:
        species.bind(force_field)
    except InputError as error:
        raise InputError(f"{label}: {error}") from error


def _copy(
    atoms: Atoms, positions: np.ndarray, results: dict[str, Any], potential: Potential
) -> Atoms:
    """A copy with results, without those of other programs."""
    copy = atoms.copy()
    copy.positions = positions
    for name in ("energy", "free_energy", "forces"):
        copy.info.pop(name, None)
        copy.arrays.pop(name, None)
    copy.info |= {"potential": potential.name, "energy_unit": potential.units.energy}
    copy.calc = SinglePointCalculator(copy, **results)
    return copy


def _whole(value: Any, what: str, label: str) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number) or abs(number - round(number)) > 1e-6:
        raise InputError(f"{label}: its {what} is {value}, not a whole number")
    return round(number)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
