"""How far minima are from one another, computed only where somebody asks.

The distance of two fingerprints is a lower bound of the symmetric RMSD, so the nearest minima of
one among thousands are known after a few superpositions.
"""

from __future__ import annotations

import bisect

import numpy as np

from topokrates.identity import Matcher
from topokrates.landscape import Landscape
from topokrates.records import located


class Distances:
    """Symmetric RMSD between the minima of a landscape, Å or sigma; minima may be added."""

    def __init__(self, landscape: Landscape, matcher: Matcher):
        self.landscape, self.matcher = landscape, matcher
        self._rmsd: dict[tuple[int, int], float] = {}
        self._ids: list[int] = []
        self._prints = np.zeros((0, 0))
        self._nearest: dict[int, tuple[int, list[tuple[float, int]]]] = {}

    def rmsd(self, a: int, b: int) -> float:
        """Between two minima."""
        pair = (min(a, b), max(a, b))
        if pair not in self._rmsd:
            first, second = (located(self.landscape.minimum(name)) for name in pair)
            self._rmsd[pair] = self.matcher.rmsd(first, second)
        return self._rmsd[pair]

    def nearest(self, name: int, count: int) -> list[int]:
        """The nearest others, nearest first; of equals the one with the smaller id."""
        self._grow()
        seen, best = self._nearest.get(name, (0, []))
        if len(best) < count:
            seen, best = 0, []
        if seen < len(self._ids):
            own = self._prints[self._ids.index(name)]
            bounds = np.linalg.norm(self._prints[seen:] - own, axis=1)
            for k in np.argsort(bounds, kind="stable"):
                if len(best) >= count and bounds[k] > best[count - 1][0]:
                    break
                other = self._ids[seen + k]
                if other != name:
                    bisect.insort(best, (self.rmsd(name, other), other))
            best = best[:count]
            self._nearest[name] = len(self._ids), best
        return [other for _, other in best[:count]]

    def bridge(self, one: set[int], others: set[int], count: int) -> list[tuple[int, int]]:
        """The pairs between two sets whose fingerprints are nearest, nearest first."""
        self._grow()
        place = {name: k for k, name in enumerate(self._ids)}
        first, second = sorted(one), sorted(others)
        between = np.linalg.norm(
            self._prints[[place[a] for a in first]][:, None]
            - self._prints[[place[b] for b in second]][None],
            axis=2,
        )
        flat = np.argsort(between, axis=None, kind="stable")[:count]
        rows, columns = np.unravel_index(flat, between.shape)
        return [(first[i], second[j]) for i, j in zip(rows, columns, strict=True)]

    def _grow(self) -> None:
        """Takes up minima that were added."""
        known = set(self._ids)
        fresh = sorted(m.id for m in self.landscape.minimum_list if m.id not in known)
        if fresh:
            x = np.stack([located(self.landscape.minimum(name)) for name in fresh])
            prints = self.matcher.fingerprint(x)
            self._prints = np.concatenate([self._prints, prints]) if self._ids else prints
            self._ids += fresh
