"""A trained SO3krates as a force field that can be bound to a molecule."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import jax
import numpy as np
from jax import Array

from topokrates.model.compiled import CompiledPotential, Device
from topokrates.model.errors import InputError
from topokrates.model.neighbours import ALL_CANDIDATES, Lists, PairLists, every_pair
from topokrates.model.parameters import SO3LR_SHA256, Weights
from topokrates.model.physics import Energies
from topokrates.model.potential import ELECTRONVOLT
from topokrates.model.so3krates import Layer, SO3krates, initial_features
from topokrates.model.tables import compact

# The layout for a device, by number of atoms; measured by benchmarks/evaluator.py --layouts. What
# a GPU likes is not measured yet: without an index nothing is added in an order that varies.
LAYOUT_OF = {
    "cpu": lambda atoms: "edges",
    "gpu": lambda atoms: "all" if atoms <= 64 else "rows",
}


@dataclass(frozen=True)
class NetworkEnergy:
    """The total energy of a network: pure, hashable, compiled once per shape.

    Attributes:
        module: the network's configuration.
        long_range_cutoff: Å, or None for every pair.
    """

    module: SO3krates
    long_range_cutoff: float | None

    @property
    def key(self) -> str:
        """All that the arithmetic depends on."""
        own = {"parent", "name"}  # what every flax module has
        attributes = [f.name for f in fields(self.module) if f.name not in own]
        values = {name: getattr(self.module, name) for name in attributes}
        return f"{type(self.module).__name__} {values} {self.long_range_cutoff}"

    def parts(self, inputs: dict[str, Any], positions: Array, lists: Lists) -> Energies:
        """The energy and what it is made of."""
        energies = self._apply(inputs, positions, lists)
        assert isinstance(energies, Energies)
        return energies

    def _apply(self, inputs: dict[str, Any], positions: Array, lists: Lists, **options: Any) -> Any:
        return self.module.apply(
            {"params": inputs["params"]},
            inputs["numbers"],
            positions,
            inputs["real"],
            inputs["charge"],
            inputs["unpaired"],
            self.long_range_cutoff,
            lists.get("near"),
            lists.get("far", inputs["far"]),
            **options,
        )

    def features(self, inputs: dict[str, Any], positions: Array, lists: Lists) -> Array:
        """Invariant features after the last layer, (N, F)."""

        def of_layers(module: Any, _: str) -> bool:
            return isinstance(module, Layer)

        _, kept = self._apply(inputs, positions, lists, capture_intermediates=of_layers)
        (outputs,) = kept["intermediates"][f"layer_{self.module.layers - 1}"]["__call__"]
        return outputs[0]

    def __call__(self, inputs: dict[str, Any], positions: Array, lists: Lists) -> Array:
        return self.parts(inputs, positions, lists).total


class NetworkPotential(CompiledPotential):
    """A network's potential, which can also say what its energy is made of."""

    def parts(self, positions: np.ndarray) -> Energies:
        """Parts of the energy, charges and Hirshfeld ratios of one structure.

        Args:
            positions: (N, 3), Å.

        Returns:
            `Energies` of numpy arrays: parts in eV, charges (N,) in e, ratios (N,).
        """
        padded = self._padded(positions[None])
        lists = jax.tree.map(lambda leaf: leaf[0], self.listed(np.zeros(1, int), padded))
        parts = _parts(self.function, self.inputs, padded[0], lists)
        # per atom without the padding; a model that has no charges, or no ratios, gives a scalar
        atoms = len(self.numbers)
        return Energies(*(p[:atoms] if np.ndim(p) else p for p in jax.device_get(parts)))

    def descriptors(self, positions: np.ndarray) -> np.ndarray:
        """Invariant features of the atoms after the last layer: what the network sees of them.

        Args:
            positions: (B, N, 3), Å.

        Returns:
            (B, N, F); NaN where a position is not finite.
        """
        padded = self._padded(positions)
        assert isinstance(self.function, NetworkEnergy)
        found = np.full((len(padded), len(self.numbers), self.function.module.features), np.nan)
        for lane in np.flatnonzero(np.isfinite(padded).all(axis=(1, 2))):
            lists = jax.tree.map(
                lambda leaf: leaf[0], self.listed(np.array([lane]), padded[lane : lane + 1])
            )
            features = _features(self.function, self.inputs, padded[lane], lists)
            found[lane] = np.asarray(features)[: len(self.numbers)]
        return found


@partial(jax.jit, static_argnums=0)
def _features(
    function: NetworkEnergy, inputs: dict[str, Any], positions: Array, lists: Lists
) -> Array:
    return function.features(inputs, positions, lists)


@partial(jax.jit, static_argnums=0)
def _parts(
    function: NetworkEnergy, inputs: dict[str, Any], positions: Array, lists: Lists
) -> Energies:
    return function.parts(inputs, positions, lists)


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
        layout: of the pairs, "edges", "rows" or "all"; None for the one that suits the device.
        exact: evaluate the radial networks themselves, not their tables.
    """

    weights: Weights
    long_range_cutoff: float | None = None
    dtype: str = "float32"
    device: Device = None
    layout: str | None = None
    exact: bool = False

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
        module = SO3krates(**architecture, compact=not self.exact)
        function = NetworkEnergy(module, self.long_range_cutoff)
        platform = (self.device or jax.devices()[0]).platform
        layout = self.layout or LAYOUT_OF.get(platform, LAYOUT_OF["gpu"])(size)
        far_listed = layout != "all" and (module.electrostatics or module.dispersion)
        lists = None
        if layout != "all":
            limits = {"near": module.cutoff}
            # within an infinite cutoff is everything; so it is, nearly, in a small molecule
            if far_listed and self.long_range_cutoff is not None and size > ALL_CANDIDATES:
                limits["far"] = self.long_range_cutoff
            lists = PairLists(limits, len(numbers), size, layout)
        inputs = {
            "params": self._params(numbers, charge, unpaired),
            "numbers": np.pad(numbers, (0, size - len(numbers))).astype(np.int32),
            "real": np.arange(size) < len(numbers),
            "charge": np.float64(charge),
            "unpaired": np.float64(unpaired),
            "far": every_pair(size) if far_listed else None,
        }
        description = {
            "name": self.name,
            "weights": self.weights.sha256,
            "long_range_cutoff": self.long_range_cutoff,
            "units": {"energy": ELECTRONVOLT.energy, "length": ELECTRONVOLT.length},
        }
        # a name alone finds SO3LR; of other weights it is written down where they were
        if self.weights.sha256 != SO3LR_SHA256 and os.path.isfile(self.weights.source):
            description["file"] = os.path.abspath(self.weights.source)
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
            lists,
        )

    def _params(self, numbers: np.ndarray, charge: int, unpaired: int) -> dict[str, Any]:
        if self.exact:
            return self.weights.params
        if not (charge or unpaired):
            return self._neutral
        # one row per element of the model, whatever the molecule: compiled code is shared
        elements = np.asarray(self.weights.elements)
        found = initial_features(*self._network, numbers, charge, unpaired)
        embedded = np.zeros((len(elements), found.shape[1]))
        for row, element in enumerate(elements):
            if (where := np.flatnonzero(numbers == element)).size:
                embedded[row] = found[where[0]]
        return compact(self.weights.params, self.weights.architecture, elements, embedded)

    @cached_property
    def _neutral(self) -> dict[str, Any]:
        elements = np.asarray(self.weights.elements)
        embedded = initial_features(*self._network, elements, 0, 0)
        return compact(self.weights.params, self.weights.architecture, elements, embedded)

    @property
    def _network(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.weights.architecture, self.weights.params

    def _check(self, numbers: np.ndarray) -> None:
        unknown = sorted(set(numbers.tolist()) - set(self.weights.elements))
        if unknown:
            from ase.data import chemical_symbols

            knows = " ".join(chemical_symbols[z] for z in self.weights.elements)
            names = ", ".join(chemical_symbols[z] for z in unknown)
            raise InputError(f"{self.name} does not know the element {names}; it knows {knows}")
