"""Superposition of two structures, and matching of clusters whose atoms carry no labels.

Two arrangements of the same particles are permutation-inversion isomers when some relabelling of
equal particles and some rotation, proper or improper, carries one onto the other. Trying every
relabelling is hopeless (38! for LJ38), and an assignment after a poor rotation finds a poor
optimum. But if the structures are the same, then a true pair of corresponding atoms exists, and
together with the centroid it fixes the rotation. So:

1. Atoms are described by what no rotation or relabelling changes: the distance to the centroid
   and the sorted distances to all others. They tell which atoms may correspond at all.
2. The pair with the fewest possible partners is laid onto each of them in turn. The rotation that
   follows gives the assignment, the assignment a better rotation, until nothing changes.
3. The search ends at the first match within the tolerance. Every bound in it is a strict one, so
   that within the tolerance nothing is missed: a symmetric cluster only has more good pairs.

Structures that differ have no such pair. Their closest superposition, which a path between them
wants, is looked for from a fixed set of rotations; it is a good one, not provably the best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

#: One atom may be displaced by this many times the tolerance, which itself bounds the mean.
LARGEST_PER_TOLERANCE = 4.0

_CHUNK = 16  # rotations scored at once before the best of them is refined
_GRID = 1000  # starting rotations for structures that differ
_REFINED = 20  # of these, the best so many are refined
_FORBIDDEN = 1e6  # squared distance between particles of different kinds


@dataclass(frozen=True, eq=False)
class Match:
    """How one structure is laid onto another.

    `order[i]` is the atom that corresponds to atom i of the reference, and
    `apply(positions)` = `positions[order] @ rotation.T + translation`. The rotation is improper
    (determinant -1) where the structure had to be inverted.
    """

    rmsd: float  # root mean square displacement over all atoms, Å (sigma for clusters)
    largest: float  # displacement of the atom that is furthest off
    order: np.ndarray  # (N,) int
    rotation: np.ndarray  # (3, 3)
    translation: np.ndarray  # (3,)

    @property
    def inverted(self) -> bool:
        return bool(np.linalg.det(self.rotation) < 0)

    def apply(self, positions: np.ndarray) -> np.ndarray:
        """Positions (N, 3) in the order and the frame of the reference."""
        return np.asarray(positions)[self.order] @ self.rotation.T + self.translation

    def apply_vectors(self, vectors: np.ndarray) -> np.ndarray:
        """Forces, modes or velocities (..., N, 3) in the order and the frame of the reference."""
        return np.asarray(vectors)[..., self.order, :] @ self.rotation.T

    def apply_hessian(self, hessian: np.ndarray) -> np.ndarray:
        """A Hessian (3N, 3N) in the order and the frame of the reference."""
        n = len(self.order)
        blocks = np.asarray(hessian).reshape(n, 3, n, 3)[self.order][:, :, self.order]
        turned = np.einsum("ab,ibjd,cd->iajc", self.rotation, blocks, self.rotation, optimize=True)
        return turned.reshape(3 * n, 3 * n)


def rotations(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Proper rotations that superpose best, by singular values.

    `covariance` (..., 3, 3) is `reference.T @ positions` of centred coordinates. Returns rotations
    R (..., 3, 3), `positions @ R.T` being close to the reference, and the signed singular values
    (..., 3), whose sum is the overlap that R attains.

    Source: Kabsch, Acta Cryst. A 34, 827 (1978).
    """
    left, values, right = np.linalg.svd(covariance)
    sign = np.where(np.linalg.det(left) * np.linalg.det(right) < 0, -1.0, 1.0)
    left[..., :, 2] *= sign[..., None]
    values[..., 2] *= sign
    return left @ right, values


def overlaps(covariance: np.ndarray) -> np.ndarray:
    """The sum (...) of the signed singular values that `rotations` returns, faster.

    Their squares are the eigenvalues of C'C in closed form. Good to about 1e-8: for choosing.
    """
    gram = np.swapaxes(covariance, -1, -2) @ covariance
    mean = np.trace(gram, axis1=-2, axis2=-1) / 3
    shifted = gram - mean[..., None, None] * np.eye(3)
    spread = np.sqrt((shifted**2).sum((-1, -2)) / 6)
    safe = np.maximum(spread, 1e-30 + 1e-14 * mean)
    angle = np.arccos(np.clip(np.linalg.det(shifted) / (2 * safe**3), -1, 1)) / 3
    first = np.sqrt(np.maximum(mean + 2 * spread * np.cos(angle), 0))
    second = np.sqrt(np.maximum(mean + 2 * spread * np.cos(angle - 2 * np.pi / 3), 0))
    third = np.linalg.det(covariance) / np.maximum(first * second, 1e-30)
    return first + second + np.where(np.abs(third) > second, np.sign(third) * second, third)


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
        reference, positions: (N, 3).
        kinds: (N,) int; only particles of one kind are exchanged. None: all are equal.
        inversion: improper rotations count too.
        tolerance: a superposition with an RMSD up to this, and no atom further off than four
            times this, is a match and is found if there is one.
        thorough: False returns None where there is no such match, which is fast; True then
            returns the closest superposition found.

    For symmetric structures many matches are equally good; the first one found is returned.
    """
    n = len(reference)
    kinds = np.zeros(n, dtype=int) if kinds is None else np.asarray(kinds)
    origin, centre = reference.mean(0), positions.mean(0)
    a, b = reference - origin, positions - centre
    penalty = np.where(kinds[:, None] != kinds[None, :], _FORBIDDEN, 0.0)
    mirrors = (1.0, -1.0) if inversion else (1.0,)
    best: Match | None = None
    for candidates in _frame_rotations(a, b, kinds, mirrors, LARGEST_PER_TOLERANCE * tolerance):
        scores = _nearest(a, b, candidates, penalty)
        turn = candidates[np.argmin(scores)]
        found = _refine(a, b, turn, penalty, origin, centre)
        if found.rmsd <= tolerance and found.largest <= LARGEST_PER_TOLERANCE * tolerance:
            return found
        # A chunk holds many rotations; the one that scores best need not refine to the match.
        for k in np.argsort(scores)[1:]:
            if scores[k] > tolerance**2:
                break
            other = _refine(a, b, candidates[k], penalty, origin, centre)
            if other.rmsd <= tolerance and other.largest <= LARGEST_PER_TOLERANCE * tolerance:
                return other
        if best is None or found.rmsd < best.rmsd:
            best = found
    if not thorough:
        return None
    starts = np.concatenate([sign * _grid() for sign in mirrors])
    scores = _nearest(a, b, starts, penalty)
    for k in np.argsort(scores)[:_REFINED]:
        found = _refine(a, b, starts[k], penalty, origin, centre)
        if best is None or found.rmsd < best.rmsd:
            best = found
    return best


def _frame_rotations(
    a: np.ndarray, b: np.ndarray, kinds: np.ndarray, mirrors: tuple[float, ...], reach: float
) -> Iterator[np.ndarray]:
    """Chunks (C, 3, 3) of rotations that lay one pair of atoms of `a` onto pairs of `b`.

    `reach` bounds the displacement of an atom in a match; the pairs cover every such match.
    """
    to_centre_a, to_centre_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    distances_a, distances_b = _distances(a), _distances(b)
    # Sorted rows of distances change by no more than the largest change of a distance.
    rows = np.sort(distances_a, axis=1)[:, None] - np.sort(distances_b, axis=1)[None, :]
    alike = np.abs(rows).max(axis=2) <= 2 * reach
    alike &= np.abs(to_centre_a[:, None] - to_centre_b[None, :]) <= reach
    alike &= kinds[:, None] == kinds[None, :]
    counts = alike.sum(1)
    if (counts == 0).any():
        return
    # Atoms far out fix a direction well; those at the centroid fix none.
    far = to_centre_a >= 0.5 * to_centre_a.max()
    i = int(np.lexsort((-to_centre_a, np.where(far, counts, len(a) + 1)))[0])
    off_axis = np.linalg.norm(np.cross(a[i], a), axis=1) / max(to_centre_a[i], 1e-12)
    aside = off_axis >= 0.5 * off_axis.max()
    j = int(np.lexsort((-off_axis, np.where(aside, counts, len(a) + 1)))[0])
    if off_axis[j] <= reach:  # all on one line: only its direction can be matched
        partners = np.flatnonzero(alike[i])
        pairs = np.stack([partners, partners], axis=1)
        second_a, second_b = _any_normal(a[i][None])[0], _any_normal(b)
    else:
        pairs = np.stack(np.nonzero(alike[i][:, None] & alike[j][None, :]), axis=1)
        wanted = distances_a[i, j]
        pairs = pairs[np.abs(distances_b[pairs[:, 0], pairs[:, 1]] - wanted) <= 2 * reach]
        second_a, second_b = a[j], b
    frame_a = _frames(a[i][None], second_a[None])[0]
    for start in range(0, len(pairs), _CHUNK):
        some = pairs[start : start + _CHUNK]
        both = []
        for sign in mirrors:
            frames_b = _frames(sign * b[some[:, 0]], sign * second_b[some[:, 1]])
            both.append(sign * np.einsum("ka,nkb->nab", frame_a, frames_b))
        yield np.concatenate(both)


def _frames(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal rows (M, 3, 3) fixed by the directions of two vectors each.

    Both vectors count alike, so that an error of either turns the frame by half of it.
    """
    first = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    second = second / np.maximum(np.linalg.norm(second, axis=1, keepdims=True), 1e-12)
    normal = np.cross(first, second)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    axis = first - second
    axis /= np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-12)
    return np.stack([axis, normal, np.cross(axis, normal)], axis=1)


def _any_normal(vectors: np.ndarray) -> np.ndarray:
    """A vector (M, 3) at right angles to each vector, of no particular direction."""
    least = np.eye(3)[np.argmin(np.abs(vectors), axis=1)]
    return np.cross(vectors, least)


def _nearest(a: np.ndarray, b: np.ndarray, turns: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Mean squared distance (C,) to the nearest particle: a bound below every assignment's."""
    squared = _squared(a, b @ np.swapaxes(turns, -1, -2)) + penalty
    return np.maximum(squared.min(axis=2).mean(1), squared.min(axis=1).mean(1))


def _refine(
    a: np.ndarray,
    b: np.ndarray,
    turn: np.ndarray,
    penalty: np.ndarray,
    origin: np.ndarray,
    centre: np.ndarray,
) -> Match:
    """Assignment and rotation by turns until the assignment stays; each lowers the RMSD."""
    from scipy.optimize import linear_sum_assignment

    sign = np.sign(np.linalg.det(turn))
    order = None
    for _ in range(50):
        _, assigned = linear_sum_assignment(_squared(a, b @ turn.T) + penalty)
        if order is not None and np.array_equal(assigned, order):
            break
        order = assigned
        turn = sign * rotations(a.T @ (sign * b[order]))[0]
    assert order is not None
    return _as_match(a, b, order, turn, origin, centre)


def _as_match(
    a: np.ndarray,
    b: np.ndarray,
    order: np.ndarray,
    rotation: np.ndarray,
    origin: np.ndarray,
    centre: np.ndarray,
) -> Match:
    squared = ((b[order] @ rotation.T - a) ** 2).sum(1)
    return Match(
        rmsd=float(np.sqrt(squared.mean())),
        largest=float(np.sqrt(squared.max())),
        order=order,
        rotation=rotation,
        translation=origin - rotation @ centre,
    )


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (..., N, N) between a (N, 3) and b (..., N, 3)."""
    return (a**2).sum(-1)[:, None] + (b**2).sum(-1)[..., None, :] - 2 * a @ np.swapaxes(b, -1, -2)


def _distances(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x[:, None] - x[None, :], axis=2)


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
