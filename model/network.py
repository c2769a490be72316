"""A trained SO3krates as a force field that can be bound to a molecule."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from topokrates.model.errors import InputError
from topokrates.model.physics import Energies
from topokrates.model.potential import ELECTRONVOLT, CompiledPotential, Device
from topokrates.model.so3krates import SO3krates
from topokrates.model.weights import Weights

# Up to here every atom sees most others anyway, and a neighbour list costs more than it saves.
ALL_PAIRS_UP_TO = 64
FIRST_CAPACITY = 32


@dataclass(frozen=True)
class NetworkEnergy:
    """The total energy of a network: pure, hashable, compiled once per shape.

    Attributes:
        module: the network's configuration.
        long_range_cutoff: Å, or None for every pair.
        capacity: length of the neighbour list, or None for all pairs.
    """

    module: SO3krates
    long_range_cutoff: float | None
    capacity: int | None

    def parts(self, inputs: dict[str, Any], positions: Array) -> Energies:
        """The energy and what it is made of."""
        energies = self.module.apply(
            {"params": inputs["params"]},
            inputs["numbers"],
            positions,
            inputs["real"],
            inputs["charge"],
            inputs["unpaired"],
            self.long_range_cutoff,
            self.capacity,
        )
        assert isinstance(energies, Energies)
        return energies

    def __call__(self, inputs: dict[str, Any], positions: Array) -> tuple[Array, Array]:
        energies = self.parts(inputs, positions)
        return energies.total, energies.overflow

    def enlarged(self, overflow: int) -> "NetworkEnergy":
        """Room for `overflow` more neighbours, and a few to spare before the next compilation."""
        needed = (self.capacity or 0) + overflow
        return replace(self, capacity=-(-(needed + 2) // 8) * 8)


class NetworkPotential(CompiledPotential):
    """A network's potential, which can also say what its energy is made of."""

    def parts(self, positions: np.ndarray) -> Energies:
        """Parts of the energy, charges and Hirshfeld ratios of one structure.

        Args:
            positions: (N, 3), Å.

        Returns:
            `Energies` of numpy arrays: parts in eV, charges (N,) in e, ratios (N,).
        """
        padded = self._padded(positions[None])[0]
        parts = _parts(self._function, self._inputs, padded)
        while (lacking := int(parts.overflow)) > 0:
            self._function = self._function.enlarged(lacking)
            parts = _parts(self._function, self._inputs, padded)
        # per atom without the padding; a model that has no charges, or no ratios, gives a scalar
        atoms = len(self.numbers)
        return Energies(*(p[:atoms] if np.ndim(p) else p for p in jax.device_get(parts)))


@partial(jax.jit, static_argnums=0)
def _parts(function: NetworkEnergy, inputs: dict[str, Any], positions: Array) -> Energies:
    return function.parts(inputs, positions)


@dataclass(frozen=True)
class NetworkForceField:
    """A network with its weights, not yet bound to a molecule.

    Attributes:
        weights: what `weights.load` returned.
        long_range_cutoff: Å for electrostatics and dispersion, or None for every pair, which is
            right for molecules without a cell. It is part of the potential: 12 Å and none differ
            by up to 0.4 eV/Å in SO3LR's forces.
        dtype: "float32" or "float64".
        device: jax device; None for the default one.
    """

    weights: Weights
    long_range_cutoff: float | None = None
    dtype: str = "float32"
    device: Device = None

    @property
    def name(self) -> str:
        return self.weights.name

    def bind(
        self,
        numbers: Iterable[int],
        charge: int = 0,
        unpaired: int = 0,
        atoms: int | None = None,
    ) -> NetworkPotential:
        """The potential of one molecule.

        Args:
            numbers: atomic numbers, (N,).
            charge: total charge, e.
            unpaired: number of unpaired electrons.
            atoms: size of the arrays inside, at least N; molecules of one size share compiled
                code. None for N.

        Raises:
            InputError: for an element that the network was not trained on.
        """
        numbers = np.asarray(numbers)
        self._check(numbers)
        size = atoms or len(numbers)
        architecture: dict[str, Any] = dict(self.weights.architecture)
        # a tuple, since what is compiled is looked up by its hash
        architecture["degrees"] = tuple(architecture["degrees"])
        module = SO3krates(**architecture)
        function = NetworkEnergy(
            module, self.long_range_cutoff, FIRST_CAPACITY if size > ALL_PAIRS_UP_TO else None
        )
        inputs = {
            "params": self.weights.params,
            "numbers": np.pad(numbers, (0, size - len(numbers))).astype(np.int32),
            "real": np.arange(size) < len(numbers),
            "charge": np.float64(charge),
            "unpaired": np.float64(unpaired),
        }
        description = {
            "name": self.name,
            "weights": self.weights.sha256,
            "long_range_cutoff": self.long_range_cutoff,
            "units": {"energy": ELECTRONVOLT.energy, "length": ELECTRONVOLT.length},
        }
        return NetworkPotential(
            self.name,
            numbers,
            function,
            inputs,
            ELECTRONVOLT,
            description,
            size,
            self.dtype,
            self.device,
        )

    def _check(self, numbers: np.ndarray) -> None:
        unknown = sorted(set(numbers.tolist()) - set(self.weights.elements))
        if unknown:
            from ase.data import chemical_symbols

            knows = " ".join(chemical_symbols[z] for z in self.weights.elements)
            names = ", ".join(chemical_symbols[z] for z in unknown)
            raise InputError(f"{self.name} does not know the element {names}; it knows {knows}")
