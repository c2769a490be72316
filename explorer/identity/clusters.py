"""Matching of clusters whose atoms carry no labels.

Two arrangements of the same particles are permutation-inversion isomers when some relabelling of
equal particles and some rotation, proper or improper, carries one onto the other. Trying every
relabelling is hopeless (38! for LJ38), and an assignment after a poor rotation finds a poor
optimum. But if the structures are the same, then a true pair of corresponding atoms exists, and
together with the centroid it fixes the rotation. So:

1. Atoms are described by what no rotation or relabelling changes: the distance to the centroid
   and the sorted distances to all others. They tell which atoms may correspond at all.
2. Two atoms of the reference, of the rarest description and well apart as seen from the centroid,
   are laid onto each pair that they may correspond to, the likeliest first. The rotation that
   follows gives the assignment, the assignment a better rotation, until nothing changes.
3. The search ends at the first match within the tolerance. The bounds on pairs are strict, so no
   match within the tolerance is left out: a symmetric cluster only has more good pairs. Usually
   the very first pair succeeds, and every particle is nearest to its own partner at once.

Structures that differ have no such pair. Their closest superposition, which a path between them
wants, is looked for from a fixed set of rotations; it is a good one, not provably the best.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from topokrates.identity.superposition import Match, rotations

#: One atom may be displaced by this many times the tolerance, which itself bounds the mean.
LARGEST_PER_TOLERANCE = 4.0

_FIRST, _CHUNK = 2, 16  # pairs laid on at once: in the first turn, and later
_GRID = 1000  # starting rotations for structures that differ
_REFINED = 20  # of these, the best so many are refined
_FORBIDDEN = 1e6  # squared distance between particles of different kinds
_NEXT, _LAST = np.array([1, 2, 0]), np.array([2, 0, 1])
_APART = 1e3  # keeps the distances to particles of different kinds apart in one sorted row


def match_clusters(
    reference: np.ndarray,
    positions: np.ndarray,
    kinds: np.ndarray | None = None,
    *,
    inversion: bool = True,
    tolerance: float = 0.02,
    thorough: bool = True,
) -> Match | None:
    """Lays a cluster onto another over permutations of equal particles and rotations.

    Args:
        reference, positions: (N, 3), row i of both of the same kind.
        kinds: (N,) int; only particles of one kind are exchanged. None: all are equal.
        inversion: improper rotations count too.
        tolerance: a superposition with an RMSD up to this, and no atom further off than four
            times this, is a match and is found if there is one.
        thorough: False returns None where there is no such match, which is fast; True then
            returns the closest superposition found.

    For symmetric structures many matches are equally good; the first one found is returned.
    """
    origin, centre = reference.mean(0), positions.mean(0)
    pair = _Pair(reference - origin, positions - centre, kinds)
    mirrors = (1.0, -1.0) if inversion else (1.0,)
    reach = LARGEST_PER_TOLERANCE * tolerance
    best: Match | None = None
    for turns in _frame_rotations(pair, mirrors, reach):
        scores, nearest = pair.nearest(turns)
        # A match that is met is near at once: only its frame's error is still to be turned away.
        for rank, k in enumerate(np.argsort(scores, kind="stable")):
            if rank and scores[k] > reach**2:
                break
            found = Match.of(pair.a, pair.b, *pair.refined(turns[k], nearest[k]), origin, centre)
            if found.rmsd <= tolerance and found.largest <= reach:
                return found
            if best is None or found.rmsd < best.rmsd:
                best = found
    if not thorough:
        return None
    starts = np.concatenate([sign * _grid() for sign in mirrors])
    scores, nearest = pair.nearest(starts)
    for k in np.argsort(scores, kind="stable")[:_REFINED]:
        found = Match.of(pair.a, pair.b, *pair.refined(starts[k], nearest[k]), origin, centre)
        if best is None or found.rmsd < best.rmsd:
            best = found
    return best


class _Pair:
    """Two centred structures `a` and `b` (N, 3), and assignments between them."""

    def __init__(self, a: np.ndarray, b: np.ndarray, kinds: np.ndarray | None) -> None:
        self.a, self.b = a, b
        self.kinds = None if kinds is None else np.asarray(kinds)
        # What no rotation changes in a squared distance.
        self.constant = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :]
        if self.kinds is not None:
            different = self.kinds[:, None] != self.kinds[None, :]
            self.constant += np.where(different, _FORBIDDEN, 0.0)

    def equal_kinds(self, i: int) -> np.ndarray:
        """Which particles (N,) are of the kind of particle i."""
        if self.kinds is None:
            return np.ones(len(self.a), dtype=bool)
        return self.kinds == self.kinds[i]

    def by_kind(self, distances: np.ndarray) -> np.ndarray:
        """Distances (..., N) to the particles, sorted kind by kind."""
        if self.kinds is None:
            return np.sort(distances, axis=-1)
        return np.sort(distances + _APART * self.kinds, axis=-1)

    def nearest(self, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean squared distances (C,) to the nearest particle, and which (C, N) it is.

        The former is a bound below the mean of every assignment.
        """
        squared = self._squared(turns)
        scores = np.maximum(squared.min(axis=2).sum(1), squared.min(axis=1).sum(1)) / len(self.a)
        return scores, squared.argmin(axis=2)

    def refined(self, turn: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assignment and rotation by turns until the assignment stays; each lowers the RMSD.

        `turn` (3, 3) is where it begins, `order` (N,) the particles nearest after it.
        """
        sign = np.sign(np.linalg.det(turn))
        previous = None
        for _ in range(50):
            if np.bincount(order).max() > 1:  # two want the same: the best compromise
                order = self._assigned(turn)
            if previous is not None and np.array_equal(order, previous):
                break
            previous = order
            turn = sign * rotations(self.a.T @ (sign * self.b[order]))[0]
            order = self._squared(turn).argmin(axis=1)
        assert previous is not None
        return previous, turn

    def _assigned(self, turn: np.ndarray) -> np.ndarray:
        from scipy.optimize import linear_sum_assignment

        return linear_sum_assignment(self._squared(turn))[1]

    def _squared(self, turns: np.ndarray) -> np.ndarray:
        """Squared distances (..., N, N) after rotations (..., 3, 3)."""
        a, b = self.a, self.b
        turned = b @ np.swapaxes(turns, -1, -2)
        return self.constant - 2 * a @ np.swapaxes(turned, -1, -2)


def _frame_rotations(pair: _Pair, mirrors: tuple[float, ...], reach: float) -> Iterator[np.ndarray]:
    """Chunks (C, 3, 3) of rotations that lay one pair of atoms of `a` onto pairs of `b`.

    `reach` bounds the displacement of an atom in a match; the pairs cover every such match.
    """
    a, b = pair.a, pair.b
    out_a, out_b = _length(a), _length(b)
    if np.abs(pair.by_kind(out_a) - pair.by_kind(out_b)).max() > reach:
        return
    alike = np.abs(out_a[:, None] - out_a[None, :]) <= reach
    if pair.kinds is not None:
        alike &= pair.kinds[:, None] == pair.kinds[None, :]
    counts = alike.sum(1)
    # Atoms far out fix a direction well; those at the centroid fix none.
    i = _rarest(counts, out_a, out_a >= 0.5 * out_a.max())
    off_axis = _length(_cross(a[i], a)) / max(out_a[i], 1e-12)
    j = _rarest(counts, off_axis, off_axis >= 0.5 * off_axis.max())
    between = _length(b[:, None] - b[None, :])
    rows = pair.by_kind(between)

    def partners(k: int) -> tuple[np.ndarray, np.ndarray]:
        """Which atoms of b may correspond to atom k of a, and how ill they suit it."""
        # Sorted rows of distances change by no more than the largest change of a distance.
        apart = np.abs(rows - pair.by_kind(_length(a - a[k])))
        off = np.abs(out_b - out_a[k])
        some = np.flatnonzero((apart.max(1) <= 2 * reach) & (off <= reach) & pair.equal_kinds(k))
        return some, (apart[some] ** 2).sum(1) + off[some] ** 2

    first, misfit = partners(i)
    if off_axis[j] <= reach:  # all on one line: only its direction can be matched
        pairs = np.stack([first, first], axis=1)[np.argsort(misfit, kind="stable")]
        second_a, second_b = _any_normal(a[i][None])[0], _any_normal(b)
    else:
        second, other = partners(j)
        stretch = between[first][:, second] - _length(a[i] - a[j])
        fits = np.abs(stretch) <= 2 * reach
        suits = (misfit[:, None] + other[None, :] + stretch**2)[fits]
        where = np.stack(np.nonzero(fits), axis=1)[np.argsort(suits, kind="stable")]
        pairs = np.stack([first[where[:, 0]], second[where[:, 1]]], axis=1)
        second_a, second_b = a[j], b
    frame_a = _frames(a[i][None], second_a[None])[0]
    start, count = 0, _FIRST
    while start < len(pairs):
        some = pairs[start : start + count]
        start, count = start + count, _CHUNK
        both = []
        for sign in mirrors:
            frames_b = _frames(sign * b[some[:, 0]], sign * second_b[some[:, 1]])
            both.append(sign * (frame_a.T @ frames_b))
        yield np.concatenate(both)


def _rarest(counts: np.ndarray, size: np.ndarray, admitted: np.ndarray) -> int:
    """Of those admitted the one with the lowest count, then of the largest size."""
    return int(np.lexsort((-size, np.where(admitted, counts, len(counts) + 1)))[0])


def _frames(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal rows (M, 3, 3) fixed by the directions of two vectors each.

    Both vectors count alike, so that an error of either turns the frame by half of it.
    """
    first, second = _unit(first), _unit(second)
    normal, axis = _unit(_cross(first, second)), _unit(first - second)
    return np.stack([axis, normal, _cross(axis, normal)], axis=1)


def _length(vectors: np.ndarray) -> np.ndarray:
    """Lengths (...) of vectors (..., 3)."""
    return np.sqrt(np.einsum("...i,...i->...", vectors, vectors))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (M, 3) of length 1 (0 where they have none)."""
    return vectors / np.maximum(_length(vectors), 1e-12)[:, None]


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Vector products (..., 3): numpy's takes longer to look at its arguments than to multiply."""
    return (first[..., _NEXT] * second[..., _LAST]) - (first[..., _LAST] * second[..., _NEXT])


def _any_normal(vectors: np.ndarray) -> np.ndarray:
    """A vector (M, 3) at right angles to each vector, of no particular direction."""
    least = np.eye(3)[np.argmin(np.abs(vectors), axis=1)]
    return _cross(vectors, least)


@cache
def _grid() -> np.ndarray:
    """A fixed set of rotations (G, 3, 3), uniformly distributed: unit quaternions."""
    w, x, y, z = np.random.default_rng(0).normal(size=(_GRID, 4)).T
    norm = w * w + x * x + y * y + z * z
    rows = [
        [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
    ]
    return np.moveaxis(np.array(rows) / norm, -1, 0)
