"""Which minima a disconnectivity graph draws, where all of them would be too many.

Trimming looks at the whole graph and hides branches; it never changes at which energy two minima
that are drawn are connected. The global minimum is always drawn: energies are counted from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from topokrates.drawing.superbasins import Join, Order, UnionFind
from topokrates.model.errors import InputError


@dataclass(frozen=True)
class Trim:
    """What is drawn: all minima that meet every condition, and of these the `lowest`.

    Args:
        lowest: so many minima, those of least energy.
        window: minima up to so much above the global minimum, in the unit of the energies.
        monotonic: only bottoms of monotonic sequences: minima all of whose links lead to higher
            minima (R. S. Berry and R. Breitengraser-Kunz, Phys. Rev. Lett. 74, 3951 (1995)).
        min_degree: minima with links to at least so many others.
        persistence: minima from which the least barrier towards a lower one is at least so high
            above them; shallower ones belong to the basin beside them.

    Raises InputError for numbers out of range.
    """

    lowest: int | None = None
    window: float | None = None
    monotonic: bool = False
    min_degree: int = 0
    persistence: float = 0.0

    def __post_init__(self) -> None:
        if self.lowest is not None and self.lowest < 1:
            raise InputError(f"the number of minima to draw must be at least 1, not {self.lowest}")
        if self.window is not None and not self.window >= 0:
            raise InputError("the energy window must be at least 0")
        if self.min_degree < 0:
            raise InputError(f"the least degree must not be negative, not {self.min_degree}")
        if not self.persistence >= 0:
            raise InputError("the persistence must be at least 0")

    def drawn(self, order: Order, links: Iterable[Join], joins: Iterable[Join]) -> list[int]:
        """Places in `order`, ascending, of the minima to draw; `links` are all, `joins` those of
        the spanning forest."""
        kept = np.ones(len(order), dtype=bool)
        if self.window is not None:
            kept &= np.array([energy for energy, _ in order]) <= order[0][0] + self.window
        if self.monotonic:
            kept[[link.high for link in links]] = False
        if self.min_degree:
            pairs = {(link.low, link.high) for link in links}
            ends = np.array(sorted(pairs), dtype=int).ravel()
            kept &= np.bincount(ends, minlength=len(order)) >= self.min_degree
        if self.persistence:
            kept &= persistences(order, joins) >= self.persistence
        kept[0] = True
        return np.flatnonzero(kept)[: self.lowest].tolist()


def persistences(order: Order, joins: Iterable[Join]) -> np.ndarray:
    """How high above each minimum (M,) its superbasin first meets one with a lower minimum.

    Infinite for the lowest minimum of a component. Of minima at exactly one energy the one with
    the least id counts as lower.
    """
    height = np.full(len(order), np.inf)
    sets = UnionFind(len(order))
    for energy, low, high, _ in sorted(joins):
        upper = max(sets.find(low), sets.find(high))  # the root of a set is its lowest minimum
        height[upper] = energy - order[upper][0]
        sets.union(low, high)
    return height
