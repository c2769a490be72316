"""Potential: energies, forces and Hessian-vector products of a batch of one molecule.

Everything numerical above this file takes a `Potential` and asks for nothing else, so a network,
Lennard-Jones and any ASE calculator are interchangeable. Two laws hold for each of them:

- a lane of a batch gets bit for bit what it would get alone, and
- a lane that is NaN, or not active, touches no other.

`compiled` holds those that are functions of jax.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import numpy as np


class Units(NamedTuple):
    """Names of a potential's units, as they are shown to people."""

    energy: str
    length: str

    @property
    def force(self) -> str:
        return f"{self.energy}/{self.length}"

    @property
    def eigenvalue(self) -> str:
        return f"{self.energy}/{self.length}^2"


ELECTRONVOLT = Units("eV", "Å")
REDUCED = Units("epsilon", "sigma")


class Potential(ABC):
    """A potential energy surface of one composition: N atoms in a fixed order.

    Attributes:
        name: what the user called the model.
        numbers: atomic numbers, (N,).
        dtype: of the arithmetic, and of the arrays returned.
        units: of everything that goes in and comes out.
        compiled: whether it runs inside jax. Loops must not rely on it.
    """

    name: str
    numbers: np.ndarray
    dtype: np.dtype
    units: Units
    compiled: bool

    @abstractmethod
    def energies_and_forces(
        self, positions: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Energies and forces of a batch.

        Args:
            positions: (B, N, 3).
            active: (B,) bool; lanes that are False are not evaluated and come back as NaN.

        Returns:
            Energies (B,) and forces (B, N, 3), the negative gradients.
        """

    @abstractmethod
    def hessian_vector_products(self, positions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Second derivatives of each structure along one direction each.

        Args:
            positions: (B, N, 3).
            vectors: (B, N, 3), of any length.

        Returns:
            (B, N, 3), energy per length squared times the length of the vector.
        """

    def hessian_columns(self, positions: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """Second derivatives of one structure along several directions.

        Args:
            positions: (N, 3).
            directions: (M, N, 3), of any length, up to 3N of them.

        Returns:
            (M, N, 3), energy per length squared times the length of each direction.
        """
        directions = np.asarray(directions, self.dtype)
        repeated = np.broadcast_to(np.asarray(positions, self.dtype), directions.shape)
        return self.hessian_vector_products(repeated, directions)

    def hessians(self, positions: np.ndarray) -> np.ndarray:
        """Hessians of a batch, symmetrised.

        Args:
            positions: (B, N, 3).

        Returns:
            (B, 3N, 3N).
        """
        positions = np.asarray(positions, self.dtype)
        batch, atoms, _ = positions.shape
        basis = np.eye(3 * atoms, dtype=self.dtype).reshape(3 * atoms, atoms, 3)
        rows = [self.hessian_columns(lane, basis) for lane in positions]
        full = np.reshape(rows, (batch, 3 * atoms, 3 * atoms))
        return (full + full.transpose(0, 2, 1)) / 2

    @abstractmethod
    def with_dtype(self, dtype: str) -> "Potential":
        """The same surface in "float32" or "float64"; itself where it has one precision only."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What makes results comparable, ready for JSON: name, weights, settings, units."""
