"""How far minima are from one another, computed only where somebody asks.

The distance of two fingerprints is a lower bound of the symmetric RMSD, so the nearest minima of
one among thousands are known after a few superpositions. Of clusters that bound is a poor one and
a superposition dear, since any atom may take any place: of many minima the fingerprints decide.
"""

from __future__ import annotations

import bisect

import numpy as np

from topokrates.identity.matching import Matcher
from topokrates.landscape import Landscape
from topokrates.storage.records import located

MANY = 300  # minima of a cluster


class Distances:
    """Distances between the minima of a landscape, Å or sigma; minima may be added.

    Symmetric RMSD, but of the fingerprints where these have to do.
    """

    def __init__(self, landscape: Landscape, matcher: Matcher):
        self.landscape, self.matcher = landscape, matcher
        self._rmsd: dict[tuple[int, int], float] = {}
        self._ids: list[int] = []
        self._places: dict[int, int] = {}
        self._prints = np.zeros((0, 0))
        self._nearest: dict[int, tuple[int, list[tuple[float, int]]]] = {}

    def between(self, a: int, b: int) -> float:
        """Between two minima."""
        if a not in self._places or b not in self._places:
            self._grow()
        if self._by_prints:
            rows = [self._prints[self._places[name]] for name in (a, b)]
            return float(np.linalg.norm(rows[0] - rows[1]))
        pair = (min(a, b), max(a, b))
        if pair not in self._rmsd:
            first, second = (located(self.landscape.minimum(name)) for name in pair)
            self._rmsd[pair] = self.matcher.rmsd(first, second)
        return self._rmsd[pair]

    @property
    def _by_prints(self) -> bool:
        return self.landscape.molecule.is_cluster and len(self._ids) > MANY

    def nearest(self, name: int, count: int) -> list[int]:
        """The nearest others, nearest first; of equals the one with the smaller id."""
        self._grow()
        seen, best = self._nearest.get(name, (0, []))
        if len(best) < count:
            seen, best = 0, []
        if seen < len(self._ids):
            own = self._prints[self._places[name]]
            bounds = np.linalg.norm(self._prints[seen:] - own, axis=1)
            for k in np.argsort(bounds, kind="stable"):
                if len(best) >= count and bounds[k] > best[count - 1][0]:
                    break
                other = self._ids[seen + k]
                if other != name:
                    bisect.insort(best, (self.between(name, other), other))
            best = best[:count]
            self._nearest[name] = len(self._ids), best
        return [other for _, other in best[:count]]

    def bridge(self, one: set[int], others: set[int], count: int) -> list[tuple[int, int]]:
        """The pairs between two sets whose fingerprints are nearest, nearest first."""
        self._grow()
        first, second = sorted(one), sorted(others)
        between = np.linalg.norm(
            self._prints[[self._places[a] for a in first]][:, None]
            - self._prints[[self._places[b] for b in second]][None],
            axis=2,
        )
        flat = np.argsort(between, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(flat, between.shape)
        return [(first[i], second[j]) for i, j in zip(rows, columns, strict=True)]

    def _grow(self) -> None:
        """Takes up minima that were added."""
        if len(self._ids) == len(self.landscape):
            return
        fresh = sorted(m.id for m in self.landscape.minimum_list if m.id not in self._places)
        if fresh:
            x = np.stack([located(self.landscape.minimum(name)) for name in fresh])
            prints = self.matcher.fingerprint(x)
            self._prints = np.concatenate([self._prints, prints]) if self._ids else prints
            self._ids += fresh
            if self._by_prints and len(self._ids) - len(fresh) <= MANY:
                self._nearest.clear()  # those were by superposition
            self._places = {name: k for k, name in enumerate(self._ids)}
