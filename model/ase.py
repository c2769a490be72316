"""ASE on both sides: a calculator made from a force field, a potential made from a calculator."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from topokrates.model.potential import ELECTRONVOLT, Potential

# Å, of the atom that moves most. Central differences err by its square times the third derivative
# and by the noise of the forces over it: with forces good to 1e-6 eV/Å both stay near 1e-4 eV/Å^2.
DIFFERENCE_STEP = 5e-3
STATE = ("charge", "unpaired_electrons")  # of a molecule, in `atoms.info`


class ForceFieldCalculator(Calculator):
    """An ASE calculator from a force field (`models.load`), for molecules without a cell.

    Total charge and unpaired electrons are read from `atoms.info["charge"]` and
    `atoms.info["unpaired_electrons"]`, 0 where not given. Energies in eV, forces in eV/Å.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]

    def __init__(self, force_field: Any, **keywords: Any):
        super().__init__(**keywords)
        self.force_field = force_field
        self._bound: tuple[Any, Potential] | None = None

    def check_state(self, atoms, tol=1e-15):
        """What changed since the last calculation; ASE would not see the charge and the spin."""
        changes = super().check_state(atoms, tol)
        before = self.atoms.info if isinstance(self.atoms, Atoms) else {}
        if any(before.get(key, 0) != atoms.info.get(key, 0) for key in STATE):
            changes.append("info")
        return changes

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        atoms = self.atoms
        assert isinstance(atoms, Atoms)
        charge, unpaired = (int(atoms.info.get(key, 0)) for key in STATE)
        key = (atoms.numbers.tobytes(), charge, unpaired)
        if self._bound is None or self._bound[0] != key:
            self._bound = key, self.force_field.bind(atoms.numbers, charge, unpaired)
        energies, forces = self._bound[1].energies_and_forces(atoms.positions[None])
        self.results = {"energy": float(energies[0]), "forces": np.asarray(forces[0], float)}


@dataclass(frozen=True)
class ASEForceField:
    """Any ASE calculator as a force field. It runs on the host, one structure after the other.

    Attributes:
        name: what results are filed under.
        make: gives a new calculator for a total charge and a number of unpaired electrons.
        settings: what else makes results comparable, ready for JSON.
    """

    name: str
    make: Callable[[int, int], Calculator]
    settings: dict[str, Any]

    def bind(
        self, numbers: Any, charge: int = 0, unpaired: int = 0, atoms: int | None = None
    ) -> "ASEPotential":
        """The potential of one molecule; `atoms` (padding) is of no use here."""
        return ASEPotential(self, np.asarray(numbers), charge, unpaired)


class ASEPotential(Potential):
    """A potential that asks an ASE calculator; always float64.

    Hessian-vector products are central differences of the forces with a step of 0.005 Å of the
    atom that moves most.
    """

    compiled = False
    dtype = np.dtype("float64")
    units = ELECTRONVOLT

    def __init__(self, force_field: ASEForceField, numbers: np.ndarray, charge: int, unpaired: int):
        self.name, self.numbers = force_field.name, numbers
        self._settings = force_field.settings
        self._atoms = Atoms(numbers, np.zeros((len(numbers), 3)))
        self._atoms.info.update(charge=charge, unpaired_electrons=unpaired)
        self._atoms.calc = force_field.make(charge, unpaired)

    def with_dtype(self, dtype: str) -> "ASEPotential":
        return self

    def provenance(self) -> dict[str, Any]:
        units = {"energy": self.units.energy, "length": self.units.length}
        return {"name": self.name, "weights": None, "units": units, **self._settings}

    def energies_and_forces(self, positions, active=None):
        positions = np.asarray(positions, float)
        energies = np.full(len(positions), np.nan)
        forces = np.full(positions.shape, np.nan)
        for lane in range(len(positions)):
            if active is None or active[lane]:
                energies[lane], forces[lane] = self._evaluate(positions[lane])
        return energies, forces

    def hessian_vector_products(self, positions, vectors):
        vectors = np.asarray(vectors, float)
        longest = np.sqrt(np.max(np.sum(vectors**2, axis=2), axis=1))[:, None, None]
        step = vectors * (DIFFERENCE_STEP / np.maximum(longest, 1e-300))
        forward = self.energies_and_forces(positions + step)[1]
        backward = self.energies_and_forces(positions - step)[1]
        return (backward - forward) * (longest / (2 * DIFFERENCE_STEP))

    def _evaluate(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        if not np.isfinite(positions).all():
            return np.nan, np.full(positions.shape, np.nan)
        self._atoms.positions = positions
        calculator = self._atoms.calc
        assert isinstance(calculator, Calculator)
        try:
            return self._atoms.get_potential_energy(), self._atoms.get_forces()
        except Exception:  # a calculation that does not converge is a lane that failed
            calculator.reset()
            return np.nan, np.full(positions.shape, np.nan)
