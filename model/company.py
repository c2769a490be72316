"""Structures in company: a few in one compiled call of a CPU, if each gets the bits of alone.

A call for a small peptide spends a third of its time on starting kernels, whatever there is to
compute; structures that share a call share that. How a product of matrices rounds can depend on
its number of rows, though, and so on the processor and on what XLA multiplies with. It is tried
therefore: when so many structures were evaluated that another compilation pays, a call in company
is compared with the same structures by themselves. What is added in which order is decided by
shapes and not by numbers; but another order shows in few of them, so that many thousand are
compared first. Where a single bit differs, structures of this shape stay in smaller company, or
alone.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

# Structures in a call, and how many of a shape are evaluated before another compilation pays:
# 15 s of 22 atoms, and 40 s.
PAYS = {4: 20_000, 8: 100_000}
TELLING = 50_000  # numbers that are compared: of energies and forces in 250 calls for 22 atoms
SMALL = 32  # atoms: eight of more are hardly faster than four, and leave a processor's cache sooner

Result = Any  # of one structure: a tuple of arrays


def sizes(atoms: int) -> tuple[int, ...]:
    """Structures of so many atoms that may share a call, the largest number first."""
    return (8, 4) if atoms <= SMALL else (4,)


class Company:
    """What is known of one potential's shapes: which were seen how often, and which may be joined.

    Args:
        sizes: numbers of structures that may share a call, the largest first.

    Attributes:
        seen: structures of each shape that were evaluated.
        alike: numbers that were the same so far, of shapes and sizes that are tried.
        same: whether each structure got the bits of alone, when that is known.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.seen: Counter[Hashable] = Counter()
        self.alike: Counter[tuple[Hashable, int]] = Counter()
        self.same: dict[tuple[Hashable, int], bool] = {}

    def shares(self, lanes: np.ndarray, cores: int) -> list[np.ndarray]:
        """Lanes (B,) in parts for the cores: in company where each core has more than two."""
        parts = []
        for size in self.sizes[:-1]:  # of large parts each core gets as many
            many = len(lanes) // (size * cores) * cores
            parts += np.split(lanes[: many * size], many) if many else []
            lanes = lanes[many * size :]
        size = self.sizes[-1] if len(lanes) > 2 * cores else 1
        return parts + [lanes[k : k + size] for k in range(0, len(lanes), size)]

    def evaluate(
        self,
        shapes: Sequence[Hashable],
        one: Callable[[int], Result],
        together: Callable[[list[int]], list[Result]],
    ) -> list[Result]:
        """Results of a few structures.

        Args:
            shapes: of each structure, what a program is compiled for.
            one: evaluates a structure, by its number, alone.
            together: evaluates as many structures of one shape as `sizes` has, in one call.
        """
        results: list[Result] = [None] * len(shapes)
        for shape in dict.fromkeys(shapes):
            alike = [k for k, other in enumerate(shapes) if other == shape]
            for k, found in zip(alike, self._alike(shape, alike, one, together), strict=True):
                results[k] = found
        return results

    def _alike(self, shape: Hashable, alike: list[int], one: Any, together: Any) -> list[Result]:
        results: list[Result] = []
        for size in self.sizes:
            # up to a quarter of the seats may be left: they are taken by some of the same
            while self.same.get((shape, size)) and 4 * (len(alike) - len(results)) >= 3 * size:
                those = alike[len(results) :][:size]
                results += together([*those, *those][:size])[: len(those)]
        results += [one(k) for k in alike[len(results) :]]
        self.seen[shape] += len(alike)
        if size := self._next(shape, len(alike)):
            self._try(shape, results[:size], together(alike[:size]))
        return results

    def _try(self, shape: Hashable, known: list[Result], tried: list[Result]) -> None:
        pairs = [
            pair for rows in zip(known, tried, strict=True) for pair in zip(*rows, strict=True)
        ]
        key = shape, len(known)
        self.alike[key] += sum(np.size(one) for one, _ in pairs)
        if not all(np.array_equal(*pair) for pair in pairs):
            self.same[key] = False
        elif self.alike[key] >= TELLING:
            self.same[key] = True

    def _next(self, shape: Hashable, most: int) -> int | None:
        """The size that is to be tried now, the smallest first; a larger one if that was good."""
        for size in reversed(self.sizes):
            if (shape, size) not in self.same:
                return size if size <= most and self.seen[shape] >= PAYS[size] else None
            if not self.same[shape, size]:
                return None
        return None
