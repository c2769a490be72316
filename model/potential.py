"""Potential: energies, forces and Hessian-vector products of a batch of one molecule.

Everything numerical above this file takes a `Potential` and asks for nothing else, so a network,
Lennard-Jones and any ASE calculator are interchangeable. Two laws hold for each of them:

- a lane of a batch gets bit for bit what it would get alone, and
- a lane that is NaN, or not active, touches no other.

How many lanes go into one compiled call is a property of the device, not of the caller: a CPU does
one structure at a time, which stays in its cache; a GPU takes as many as fit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Device = Any  # a jax.Device or None; jax gives type checkers no name for it


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
        rows = [
            self.hessian_vector_products(np.broadcast_to(lane, basis.shape), basis)
            for lane in positions
        ]
        full = np.reshape(rows, (batch, 3 * atoms, 3 * atoms))
        return (full + full.transpose(0, 2, 1)) / 2

    @abstractmethod
    def with_dtype(self, dtype: str) -> "Potential":
        """The same surface in "float32" or "float64"; itself where it has one precision only."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What makes results comparable, ready for JSON: name, weights, settings, units."""


class EnergyFunction(Protocol):
    """A pure, hashable function of jax arrays: what is compiled once for all of its inputs."""

    def __call__(self, inputs: Any, positions: Array) -> tuple[Array, Array]:
        """(N, 3) to the energy and the number of neighbours that did not fit, both scalars."""
        ...

    def enlarged(self, overflow: int) -> Self:
        """The same function with room for that many more neighbours."""
        ...


class CompiledPotential(Potential):
    """A potential that is a jax function of the positions.

    Args:
        name: what the user called the model.
        numbers: atomic numbers, (N,).
        function: the energy; compiled once per shape and shared by all potentials that use it.
        inputs: pytree of arrays that `function` takes: parameters, numbers, mask and so on.
        units: of positions and energy.
        description: the `provenance`.
        atoms: atoms of the arrays inside, N or more; the rest is padding.
        dtype: "float32" or "float64".
        device: jax device; None for the default one.
    """

    compiled = True

    def __init__(
        self,
        name: str,
        numbers: np.ndarray,
        function: EnergyFunction,
        inputs: Any,
        units: Units,
        description: dict[str, Any],
        atoms: int | None = None,
        dtype: str = "float32",
        device: Device = None,
    ):
        self.name, self.units, self.device = name, units, device
        self.numbers = np.asarray(numbers)
        self.dtype = np.dtype(dtype)
        self._function, self._description = function, description
        self._atoms = atoms or len(self.numbers)

        def cast(leaf):
            leaf = np.asarray(leaf)
            return leaf.astype(self.dtype) if np.issubdtype(leaf.dtype, np.floating) else leaf

        self._raw = inputs
        self._inputs = jax.device_put(jax.tree.map(cast, inputs), device)

    def with_dtype(self, dtype: str) -> Self:
        if np.dtype(dtype) == self.dtype:
            return self
        return type(self)(
            self.name,
            self.numbers,
            self._function,
            self._raw,
            self.units,
            self._description,
            self._atoms,
            dtype,
            self.device,
        )

    def provenance(self) -> dict[str, Any]:
        return self._description

    def energies_and_forces(self, positions, active=None):
        positions = self._padded(positions)
        energies = np.full(len(positions), np.nan, self.dtype)
        forces = np.full(positions.shape, np.nan, self.dtype)
        lanes = np.arange(len(positions)) if active is None else np.flatnonzero(active)
        for chunk, (energy, gradient) in self._map(_energies_and_gradients, lanes, positions):
            energies[chunk], forces[chunk] = energy, -gradient
        return energies, forces[:, : len(self.numbers)]

    def hessian_vector_products(self, positions, vectors):
        positions, vectors = self._padded(positions), self._padded(vectors)
        products = np.empty(positions.shape, self.dtype)
        lanes = np.arange(len(positions))
        for chunk, (product,) in self._map(_products, lanes, positions, vectors):
            products[chunk] = product
        return products[:, : len(self.numbers)]

    def hessians(self, positions):
        size = 3 * len(self.numbers)
        if len(positions) == 0:
            return np.empty((0, size, size), self.dtype)
        padded, lanes = self._padded(positions), np.arange(len(positions))
        rows = self._map(_hessians, lanes, padded, lanes_per_call=1)
        hessians = np.concatenate([rows_of_one for _, (rows_of_one,) in rows])
        # rows of padding atoms are zero, and computed all the same: the code for them is shared
        hessians = hessians[:, :size, : len(self.numbers)].reshape(len(positions), size, size)
        return (hessians + hessians.transpose(0, 2, 1)) / 2

    def _padded(self, array: np.ndarray) -> np.ndarray:
        array = np.asarray(array, self.dtype)
        missing = self._atoms - array.shape[1]
        return np.pad(array, ((0, 0), (0, missing), (0, 0))) if missing else array

    @cached_property
    def _lanes_per_call(self) -> int:
        device = self.device or jax.devices()[0]
        if device.platform == "cpu":
            return 1
        memory = (device.memory_stats() or {}).get("bytes_limit", 8e9)
        # a layer keeps about 60 tensors of one number per pair and feature for its gradient
        per_lane = 60 * 3 * 128 * self._atoms * min(self._atoms, 64) * self.dtype.itemsize
        return int(2 ** np.clip(np.floor(np.log2(0.4 * memory / per_lane)), 0, 12))

    def _map(self, kernel: Callable, lanes: np.ndarray, *arrays, lanes_per_call: int | None = None):
        """Yields (lanes, results) chunk by chunk; enlarges the neighbour list and repeats."""
        size = lanes_per_call or self._lanes_per_call
        if size > 1:  # a few sizes only, each of which is compiled once
            size = min(size, 2 ** int(np.ceil(np.log2(max(len(lanes), 1)))))
        chunks = [lanes[start : start + size] for start in range(0, len(lanes), size)]

        for chunk in chunks:
            filled = np.resize(chunk, size)  # a short chunk repeats its own lanes
            inputs = [array[filled] for array in arrays]
            while True:
                *results, overflow = kernel(self._function, self._inputs, *inputs)
                if (lacking := int(np.max(overflow))) <= 0:
                    break
                self._function = self._function.enlarged(lacking)
            yield chunk, [np.asarray(result)[: len(chunk)] for result in results]


@partial(jax.jit, static_argnums=0)
def _energies_and_gradients(function, inputs, positions):
    value_and_gradient = jax.value_and_grad(partial(function, inputs), has_aux=True)
    (energies, overflow), gradients = jax.vmap(value_and_gradient)(positions)
    return energies, gradients, overflow


@partial(jax.jit, static_argnums=0)
def _products(function, inputs, positions, vectors):
    gradient = jax.grad(partial(function, inputs), has_aux=True)

    def product(x, v):
        _, tangent, overflow = jax.jvp(gradient, (x,), (v,), has_aux=True)
        return tangent, overflow

    return jax.vmap(product)(positions, vectors)


@partial(jax.jit, static_argnums=0)
def _hessians(function, inputs, positions):
    gradient = jax.grad(partial(function, inputs), has_aux=True)

    def hessian(x):
        _, push, overflow = jax.linearize(gradient, x, has_aux=True)
        basis = jnp.eye(x.size, dtype=x.dtype).reshape(-1, *x.shape)
        # a few columns at a time: all of them at once would leave the cache
        return jax.lax.map(push, basis, batch_size=HESSIAN_COLUMNS), overflow

    hessians, overflow = jax.vmap(hessian)(positions)
    return hessians, overflow


HESSIAN_COLUMNS = 6
