"""Closed-form potentials: the clusters on which searches are proven."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.model.compiled import CompiledPotential, Device
from topokrates.model.layout import pairs_within
from topokrates.model.potential import REDUCED


@dataclass(frozen=True)
class LennardJonesEnergy:
    """V = sum over pairs of 4 (r^-12 - r^-6), in units of epsilon and sigma."""

    def __call__(self, inputs: dict[str, Array], positions: Array, lists: Any) -> Array:
        pairs = pairs_within(positions, inputs["real"], None)
        # no square root: nothing but products, and so is the gradient
        inverse_sixth = jnp.sum(pairs.vectors**2, axis=-1) ** -3
        return 4 * pairs.total(inverse_sixth * (inverse_sixth - 1))


@dataclass(frozen=True)
class LennardJones:
    """Force field of identical Lennard-Jones particles.

    Attributes:
        dtype: "float32" or "float64".
        device: jax device; None for the default one.
    """

    dtype: str = "float64"
    device: Device = None
    name: str = "LJ"

    def bind(
        self, numbers: np.ndarray, charge: int = 0, unpaired: int = 0, atoms: int | None = None
    ) -> CompiledPotential:
        """The potential of a cluster of `len(numbers)` particles, padded to `atoms`."""
        description: dict[str, Any] = {
            "name": self.name,
            "weights": None,
            "units": {"energy": REDUCED.energy, "length": REDUCED.length},
        }
        real = np.arange(atoms or len(numbers)) < len(numbers)
        return CompiledPotential(
            self.name,
            numbers,
            LennardJonesEnergy(),
            {"real": real},
            REDUCED,
            description,
            len(real),
            self.dtype,
            self.device,
        )
