"""Potentials that are functions of jax: which programs evaluate them, and how many lanes at once.

How many lanes go into one compiled call is a property of the device, not of the caller: each core
of a CPU does one structure or a few at a time (`company`), which stay in its cache; a GPU takes as
many as fit.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from threading import Lock
from typing import Any, Protocol, Self

import jax
import numpy as np
from jax import Array

from topokrates.model import company, cores, kernels, programs
from topokrates.model.potential import Potential, Units

Device = Any  # a jax.Device or None; jax gives type checkers no name for it


class EnergyFunction(Protocol):
    """A pure, hashable function of jax arrays: what is compiled once for all of its inputs.

    One that takes long to compile has a `key`: a string that says all that its arithmetic depends
    on, by which its programs are kept on disk.
    """

    def __call__(self, inputs: Any, positions: Array, lists: Any) -> Array:
        """(N, 3), and lists of pairs where it asked for them, to the energy, a scalar."""
        ...


class ListMaker(Protocol):
    """Makes the lists of pairs that an energy needs, on the host."""

    def __call__(self, lanes: np.ndarray, positions: np.ndarray) -> Any:
        """Lists of structures (B, N, 3), known by their lanes (B,): arrays with B in front."""
        ...

    def each(self, lanes: np.ndarray, positions: np.ndarray) -> list[Any]:
        """As many lists of a single structure: arrays with 1 in front."""
        ...

    def fresh(self) -> "ListMaker": ...


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
        lists: makes lists of pairs for `function`; None if it needs none.
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
        lists: ListMaker | None = None,
    ):
        programs.make_room()  # whoever calls may have had many molecules before this one
        self.name, self.units, self.device = name, units, device
        self.numbers = np.asarray(numbers)
        self.dtype = np.dtype(dtype)
        self.function, self._description = function, description
        self._atoms = atoms or len(self.numbers)
        self._lists = lists

        def cast(leaf):
            leaf = np.asarray(leaf)
            return leaf.astype(self.dtype) if np.issubdtype(leaf.dtype, np.floating) else leaf

        self._raw = inputs
        self.inputs = jax.device_put(jax.tree.map(cast, inputs), device)
        self._input_leaves = jax.tree.leaves(self.inputs)
        self._programs: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def with_dtype(self, dtype: str) -> Self:
        if np.dtype(dtype) == self.dtype:
            return self
        return type(self)(
            self.name,
            self.numbers,
            self.function,
            self._raw,
            self.units,
            self._description,
            self._atoms,
            dtype,
            self.device,
            # a copy: two precisions are used in turns, on different structures
            self._lists.fresh() if self._lists else None,
        )

    def provenance(self) -> dict[str, Any]:
        return self._description

    def energies_and_forces(self, positions, active=None):
        positions = self._padded(positions)
        energies = np.full(len(positions), np.nan, self.dtype)
        forces = np.full(positions.shape, np.nan, self.dtype)
        # what is not finite stays so; and it could not be sorted into neighbours
        sound = np.isfinite(positions).all(axis=(1, 2))
        lanes = np.flatnonzero(sound if active is None else sound & active)
        for chunk, (energy, gradient) in self._map(
            kernels.energies_and_gradients, lanes, positions
        ):
            energies[chunk], forces[chunk] = energy, -gradient
        return energies, forces[:, : len(self.numbers)]

    def hessian_vector_products(self, positions, vectors):
        positions, vectors = self._padded(positions), self._padded(vectors)
        products = np.full(positions.shape, np.nan, self.dtype)
        lanes = np.flatnonzero(np.isfinite(positions).all(axis=(1, 2)))
        if self._platform == "cpu":

            def product_of(lane: int) -> np.ndarray:
                return self._columns(positions, lane, vectors[lane : lane + 1])[0]

            for lane, product in zip(lanes, self._side_by_side(product_of, lanes), strict=True):
                products[lane] = product
        else:
            for chunk, (product,) in self._map(kernels.products, lanes, positions, vectors):
                products[chunk] = product
        return products[:, : len(self.numbers)]

    def hessian_columns(self, positions, directions):
        positions, directions = self._padded(positions[None]), self._padded(directions)
        if not np.isfinite(positions).all():
            return np.full((len(directions), len(self.numbers), 3), np.nan, self.dtype)
        return self._columns(positions, 0, directions)[:, : len(self.numbers)]

    def hessians(self, positions):
        atoms, size = len(self.numbers), 3 * len(self.numbers)
        padded = self._padded(positions)
        hessians = np.full((len(padded), size, size), np.nan, self.dtype)
        basis = np.zeros((size, self._atoms, 3), self.dtype)
        basis[np.arange(size), np.arange(size) // 3, np.arange(size) % 3] = 1

        def rows_of(lane: int) -> np.ndarray:
            return self._columns(padded, lane, basis)[:, :atoms].reshape(size, size)

        lanes = np.flatnonzero(np.isfinite(padded).all(axis=(1, 2)))
        for lane, rows in zip(lanes, self._side_by_side(rows_of, lanes), strict=True):
            hessians[lane] = rows
        return (hessians + hessians.transpose(0, 2, 1)) / 2

    def _columns(self, positions: np.ndarray, lane: int, directions: np.ndarray) -> np.ndarray:
        """The Hessian of one lane times up to 3N directions, (M, N, 3).

        One compiled program serves a whole Hessian and a single product.
        """
        # a CPU takes one column at a time, since more would leave its cache
        width = 1 if self._platform == "cpu" else min(self.lanes_per_call, 3 * self._atoms)
        room = -(-3 * self._atoms // width) * width
        padded = np.zeros((room, *directions.shape[1:]), self.dtype)
        padded[: len(directions)] = directions
        x = positions[lane : lane + 1]
        lists = jax.tree.map(lambda leaf: leaf[0], self.listed(np.array([lane]), x))
        count = np.int32(len(directions))
        found = self._run(kernels.times_hessian, (width,), lists, x[0], padded, count)
        return np.asarray(found)[: len(directions)]

    def _padded(self, array: np.ndarray) -> np.ndarray:
        array = np.asarray(array, self.dtype)
        if array.shape[1] == self._atoms:
            return array
        padded = np.zeros((len(array), self._atoms, 3), self.dtype)
        padded[:, : array.shape[1]] = array
        return padded

    @property
    def closed(self) -> bool:
        """Whether the energy needs nothing from the host but the positions, in float64."""
        whole = self._atoms == len(self.numbers)
        return self._lists is None and whole and self.dtype == np.float64

    @property
    def _platform(self) -> str:
        return (self.device or jax.devices()[0]).platform

    @cached_property
    def lanes_per_call(self) -> int:
        """Structures that one compiled call takes on this device."""
        if self._platform == "cpu":
            return 1
        device = self.device or jax.devices()[0]
        if (found := _LANES_FOUND.get(self._lanes_key)) is not None:
            return found
        memory = (device.memory_stats() or {}).get("bytes_limit", 8e9)
        # a first guess, some 60 tensors of one number per pair and feature in each of three layers
        per_lane = 60 * 3 * 128 * self._atoms * min(self._atoms, 64) * self.dtype.itemsize
        return int(2 ** np.clip(np.floor(np.log2(0.8 * memory / per_lane)), 0, 12))

    @cached_property
    def _company(self) -> company.Company:
        new = company.Company(company.sizes(self._atoms))
        return _COMPANIES.setdefault(self._lanes_key, new)

    @property
    def _lanes_key(self) -> tuple[Any, ...]:
        return self.function, self._atoms, self.dtype, self.device

    def _side_by_side(self, work: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        """Results of items; a core each where that pays, which a pair potential's does not."""
        return cores.side_by_side(work, list(items)) if self._lists else [*map(work, items)]

    def _map(self, kernel: Callable, lanes: np.ndarray, *arrays):
        """Yields (lanes, results) chunk by chunk. The first array holds the positions."""
        if self.lanes_per_call == 1:
            parts = self._company.shares(lanes, cores.available())
            found = self._side_by_side(lambda part: self._few(kernel, part, arrays), parts)
            for part, results in zip(parts, found, strict=True):
                yield part, [np.stack(each) for each in zip(*results, strict=True)]
            return
        start = 0
        while start < len(lanes):
            # a few sizes only, each of which is compiled once
            size = min(self.lanes_per_call, 2 ** int(np.ceil(np.log2(len(lanes)))))
            chunk = lanes[start : start + size]
            filled = np.resize(chunk, size)  # a short chunk repeats its own lanes
            inputs = [array[filled] for array in arrays]
            lists = self.listed(filled, inputs[0])
            try:
                results = [
                    np.asarray(result)[: len(chunk)]
                    for result in self._run(kernel, (), lists, *inputs)
                ]
            except jax.errors.JaxRuntimeError as error:
                if size == 1 or "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                # the memory does not allow as many: found once, remembered for this molecule's size
                self.lanes_per_call = _LANES_FOUND[self._lanes_key] = size // 2
                continue
            yield chunk, results
            start += size

    def _few(self, kernel: Callable, lanes: np.ndarray, arrays: Any) -> list[Any]:
        """Results of a few lanes on one core, a list of arrays for each."""
        inputs = [array[lanes] for array in arrays]
        listed = self._lists.each(lanes, inputs[0]) if self._lists else [{}] * len(lanes)
        shapes = [tuple(leaf.shape for leaf in jax.tree.leaves(lists)) for lists in listed]

        def one(k: int) -> list[np.ndarray]:
            found = self._run(kernel, (), listed[k], *(array[k : k + 1] for array in inputs))
            return [np.asarray(result)[0] for result in found]

        def together(which: list[int]) -> list[list[np.ndarray]]:
            lists = jax.tree.map(lambda *rows: np.concatenate(rows), *(listed[k] for k in which))
            found = self._run(kernel, (), lists, *(array[which] for array in inputs))
            return [list(results) for results in zip(*map(np.asarray, found), strict=True)]

        return self._company.evaluate(shapes, one, together)

    def _run(self, kernel: Callable, static: tuple[Any, ...], *arrays: Any) -> Any:
        """A kernel's results, by the program for arrays of these shapes."""
        leaves, tree = jax.tree.flatten(arrays)
        key = kernel, static, tree, tuple(leaf.shape for leaf in leaves)
        program = self._programs.get(key)
        if program is not None:
            return program(*self._input_leaves, *leaves)
        with _FIRST:  # of several threads one makes it, and compiles it in its first call
            if (program := self._programs.get(key)) is not None:
                return program(*self._input_leaves, *leaves)
            arguments = (self.inputs, *arrays)
            program = programs.load(kernel, (self.function, *static), arguments, self._platform)
            results = jax.block_until_ready(program(*self._input_leaves, *leaves))
            self._programs[key] = program
        return results

    def listed(self, lanes: np.ndarray, positions: np.ndarray) -> Any:
        """Lists of pairs of padded structures (B, N, 3), for `function`."""
        return self._lists(lanes, positions) if self._lists else {}


_LANES_FOUND: dict[tuple[Any, ...], int] = {}
_COMPANIES: dict[tuple[Any, ...], company.Company] = {}
_FIRST = Lock()
