"""Stored minima in the order of energy, with what tells most of them apart at a glance.

To find a structure among tens of thousands, three questions are asked, each of the few that the
one before has left: is the energy within the window (bisection), are the fingerprints within the
tolerance (one vectorised comparison; a fingerprint is computed once, when its minimum is first
met), and is the symmetric RMSD, which alone decides.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from topokrates.storage.records import Minimum

# Fingerprints are kept in single precision: 3 kB for 42 atoms. What rounding does to a distance
# between two of them stays far below this, so that as a lower bound of the RMSD it holds.
ROUNDING = 1e-5


class Matches(Protocol):
    """What a landscape asks of `topokrates.identity.matching.Matcher`."""

    def same(self, a: np.ndarray, b: np.ndarray) -> bool: ...

    def find(
        self,
        positions: np.ndarray,
        energy: float,
        candidates: Sequence[tuple[int, float, np.ndarray]],
        energy_tolerance: float,
    ) -> int | None: ...


@runtime_checkable
class Fingerprints(Matches, Protocol):
    """A matcher whose fingerprints, once computed, can be compared: `Matcher` is one."""

    def fingerprint(self, positions: np.ndarray) -> np.ndarray: ...

    def closest(
        self, positions: np.ndarray, structures: Sequence[np.ndarray], apart: np.ndarray
    ) -> int | None: ...


class MinimumIndex:
    """Minima by energy, then by id; finds the one that a structure is."""

    def __init__(self) -> None:
        self._order: list[tuple[float, int]] = []
        self._positions: dict[int, np.ndarray] = {}
        self._rows: dict[int, int] = {}  # where the fingerprint of an id is
        self._prints = np.empty((0, 0), dtype=np.float32)  # with room for more rows

    def add(self, minimum: Minimum) -> None:
        """Take up a minimum. One without positions keeps its rank but is never found."""
        bisect.insort(self._order, (minimum.energy, minimum.id))
        if minimum.positions is not None:
            self._positions[minimum.id] = minimum.positions

    def clear(self) -> None:
        self.__init__()

    @property
    def ids(self) -> list[int]:
        """By energy, then by id."""
        return [name for _, name in self._order]

    @property
    def lowest(self) -> float:
        """The energy of the global minimum. IndexError if there is none."""
        return self._order[0][0]

    def find(
        self, matcher: Matches, energy: float, positions: np.ndarray, tolerance: float
    ) -> int | None:
        """The id of the minimum within this energy tolerance that the structure (N, 3) is."""
        start = bisect.bisect_left(self._order, (energy - tolerance, -1))
        stop = bisect.bisect_right(self._order, (energy + tolerance, np.inf))
        near = [
            (name, stored, self._positions[name])
            for stored, name in self._order[start:stop]
            if name in self._positions
        ]
        if not near:
            return None
        if not isinstance(matcher, Fingerprints):
            return matcher.find(positions, energy, near, tolerance)
        between = self._fingerprints(matcher, near) - matcher.fingerprint(positions)
        apart = np.maximum(np.linalg.norm(between, axis=1) - ROUNDING, 0)
        found = matcher.closest(positions, [x for _, _, x in near], apart)
        return None if found is None else near[found][0]

    def _fingerprints(
        self, matcher: Fingerprints, near: list[tuple[int, float, np.ndarray]]
    ) -> np.ndarray:
        """The fingerprints (M, F) of these minima; those met for the first time are computed."""
        met = [(name, x) for name, _, x in near if name not in self._rows]
        if met:
            fresh = matcher.fingerprint(np.stack([x for _, x in met]))
            used = len(self._rows)
            if used + len(met) > len(self._prints):
                grown = np.empty((2 * used + len(met), fresh.shape[1]), dtype=np.float32)
                if used:
                    grown[:used] = self._prints[:used]
                self._prints = grown
            self._prints[used : used + len(met)] = fresh
            self._rows.update({name: used + k for k, (name, _) in enumerate(met)})
        return self._prints[[self._rows[name] for name, _, _ in near]]
