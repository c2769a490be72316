"""Structures in company: a few in one compiled call of a CPU, if each gets the bits of alone.

A call for a small peptide spends a third of its time on starting kernels, whatever there is to
compute; structures that share a call share that. How a product of matrices rounds can depend on
its number of rows, though, and so on the processor and on what XLA multiplies with. It is tried
therefore: when so many structures were evaluated that another compilation pays, a call in company
is compared with the same structures alone. What is added in which order is decided by shapes and
not by numbers, so that one comparison of some hundred numbers tells; where a single bit differs,
structures of this shape stay alone.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

SIZE = 4  # structures in a call: eight are hardly faster, and leave a processor's cache sooner
PAYS = 20_000  # structures evaluated alone before another compilation pays: 15 s of 22 atoms

Result = Any  # of one structure: a tuple of arrays


def shares(lanes: np.ndarray, cores: int) -> list[np.ndarray]:
    """Lanes (B,) in parts for the cores: in company where each core has more than two."""
    size = SIZE if len(lanes) > 2 * cores else 1
    return [lanes[k : k + size] for k in range(0, len(lanes), size)]


class Company:
    """What is known of one potential's shapes: which were seen how often, and which may be joined.

    Attributes:
        alone: structures of each shape that were evaluated alone.
        same: of shapes that were tried, whether each structure got the bits that it gets alone.
    """

    def __init__(self) -> None:
        self.alone: Counter[Hashable] = Counter()
        self.same: dict[Hashable, bool] = {}

    def evaluate(
        self,
        shapes: Sequence[Hashable],
        one: Callable[[int], Result],
        together: Callable[[list[int]], list[Result]],
    ) -> list[Result]:
        """Results of up to `SIZE` structures.

        Args:
            shapes: of each structure, what a program is compiled for.
            one: evaluates a structure, by its number, alone.
            together: evaluates `SIZE` structures of one shape in one call.
        """
        results: list[Result] = [None] * len(shapes)
        for shape in dict.fromkeys(shapes):
            alike = [k for k, other in enumerate(shapes) if other == shape]
            for k, found in zip(alike, self._alike(shape, alike, one, together), strict=True):
                results[k] = found
        return results

    def _alike(self, shape: Hashable, alike: list[int], one: Any, together: Any) -> list[Result]:
        if len(alike) > 2 and self.same.get(shape):  # a seat that is left is taken by one of them
            return together([*alike, *alike][:SIZE])[: len(alike)]
        results = [one(k) for k in alike]
        self.alone[shape] += len(alike)
        if len(alike) == SIZE and self.alone[shape] >= PAYS and shape not in self.same:
            self.same[shape] = all(
                np.array_equal(a, b)
                for tried, alone in zip(together(alike), results, strict=True)
                for a, b in zip(tried, alone, strict=True)
            )
        return results
