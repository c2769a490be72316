"""Several networks trained alike from different seeds: their mean, and how far they disagree.

Where there were training data the members agree; where there were none nothing made them. The
spread of their energies and forces therefore tells where a search leaves what was learned
(query by committee: Seung, Opper, Sompolinsky, COLT 1992). It is a lower bound of the error, not
the error: members trained on the same data share what those data got wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from topokrates.model.errors import InputError
from topokrates.model.potential import Potential


class CommitteePotential(Potential):
    """The mean of several potentials of one molecule.

    Args:
        name: what the user called it.
        members: two or more, of the same units.
    """

    def __init__(self, name: str, members: Sequence[Potential]):
        self.name, self.members = name, list(members)
        first = self.members[0]
        self.numbers, self.dtype, self.units = first.numbers, first.dtype, first.units
        self.compiled = all(member.compiled for member in self.members)

    def energies_and_forces(self, positions, active=None):
        energies, forces = self._all(positions, active)
        return energies.mean(axis=0), forces.mean(axis=0)

    def hessian_vector_products(self, positions, vectors):
        products = [m.hessian_vector_products(positions, vectors) for m in self.members]
        return np.mean(products, axis=0)

    def hessian_columns(self, positions, directions):
        return np.mean([m.hessian_columns(positions, directions) for m in self.members], axis=0)

    def hessians(self, positions):
        return np.mean([m.hessians(positions) for m in self.members], axis=0)

    def with_dtype(self, dtype):
        if np.dtype(dtype) == self.dtype:
            return self
        return CommitteePotential(self.name, [m.with_dtype(dtype) for m in self.members])

    def provenance(self) -> dict[str, Any]:
        units = {"energy": self.units.energy, "length": self.units.length}
        members = [dict(member.provenance()) for member in self.members]
        # where they were is no property of them
        files = [str(member.pop("file", member["name"])) for member in members]
        name = ",".join(str(member["name"]) for member in members)
        return {"name": name, "members": members, "units": units, "file": ",".join(files)}

    def disagreement(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Standard deviations among the members.

        Args:
            positions: (B, N, 3), Å.

        Returns:
            Of the energy, (B,), eV, each member's energies taken relative to their mean over the
            batch, since a constant does not matter; and of the forces, root mean square over the
            components of each atom, (B, N), eV/Å.
        """
        energies, forces = self._all(positions, None)
        energies = energies - energies.mean(axis=1, keepdims=True)
        of_atoms = np.sqrt(np.mean(np.var(forces, axis=0, ddof=1), axis=-1))
        return np.std(energies, axis=0, ddof=1), of_atoms

    def _all(self, positions: np.ndarray, active: Any) -> tuple[np.ndarray, np.ndarray]:
        found = [member.energies_and_forces(positions, active) for member in self.members]
        return np.stack([e for e, _ in found]), np.stack([f for _, f in found])


@dataclass(frozen=True)
class CommitteeForceField:
    """Force fields that decide together; see `CommitteePotential`.

    Attributes:
        name: what the user called it.
        members: two or more.
    """

    name: str
    members: tuple[Any, ...]

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise InputError(f"{self.name}: a committee has at least two members")

    def bind(
        self,
        numbers: Iterable[int],
        charge: int = 0,
        unpaired: int = 0,
        atoms: int | None = None,
    ) -> CommitteePotential:
        """The potential of one molecule; raises InputError as the members do."""
        numbers = np.asarray(numbers)
        bound = [member.bind(numbers, charge, unpaired, atoms=atoms) for member in self.members]
        return CommitteePotential(self.name, bound)
