"""Moves of clusters: everything a little, the worst placed particles far, or towards symmetry."""

import numpy as np

CONTACT = 0.7  # sigma: no two particles are put closer than this
SAME_PLACE = 0.5  # sigma: particle and image this close are one place
FOLDS = (2, 2, 3, 3, 4, 5)  # of the axes of symmetry that are tried, common ones more often
WORST = 4  # at most so many particles are placed anew


def random_cluster(atoms: int, rng: np.random.Generator) -> np.ndarray:
    """Particles uniform in a sphere that they fill loosely, none closer than 0.7 sigma; (N, 3)."""
    radius = 0.8 * atoms ** (1 / 3) + 0.3
    placed = np.empty((0, 3))
    while len(placed) < atoms:
        point = _direction(rng) * radius * rng.random() ** (1 / 3)
        if not len(placed) or np.min(np.linalg.norm(placed - point, axis=1)) > CONTACT:
            placed = np.vstack([placed, point])
        else:
            radius *= 1.002  # a sphere that is full grows
    return placed


def displaced(positions: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
    """Every coordinate of every particle displaced uniformly within +-size; (N, 3)."""
    moved = positions + rng.uniform(-size, size, positions.shape)
    return moved - moved.mean(axis=0)


def resurfaced(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The least bound particles, a few, put somewhere else on the surface; (N, 3).

    After the angular moves of Wales and Doye, J. Phys. Chem. A 101, 5111 (1997).
    """
    x = positions - positions.mean(axis=0)
    binding = bindings(x)
    count = min(int(rng.integers(1, WORST + 1)), len(x) - 1)
    moving = np.argsort(binding, kind="stable")[:count]
    resting = np.setdiff1d(np.arange(len(x)), moving)
    placed = x[resting]
    for _ in moving:
        placed = np.vstack([placed, _landing(placed, _direction(rng))])
    new = x.copy()
    new[resting], new[moving] = placed[: len(resting)], placed[len(resting) :]
    return new - new.mean(axis=0)


def symmetrised(positions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A cluster of as many particles that comes nearer to having a symmetry drawn by chance.

    Particles and their images under a point operation about the centre are one set of places; the
    new cluster takes those that most images share, of equals the ones best surrounded. The idea is
    that of Oakley, Johnston and Wales, Phys. Chem. Chem. Phys. 15, 3965 (2013): global minima are
    symmetric more often than chance would have it.

    Args:
        positions: (N, 3).
        rng: the source of chance.

    Returns:
        (N, 3).
    """
    n = len(positions)
    centre = positions.mean(axis=0)
    if rng.random() < 0.5:  # many clusters are built around a particle
        centre = positions[np.argmin(np.linalg.norm(positions - centre, axis=1))]
    x = positions - centre
    axis = _axis(x, rng)
    images = [x]
    kind = rng.random()
    if kind < 0.2:
        images.append(-x)
    elif kind < 0.4:
        images.append(x - 2 * np.outer(x @ axis, axis))
    else:
        fold = FOLDS[rng.integers(len(FOLDS))]
        images += [x @ _rotation(axis, 2 * np.pi * k / fold).T for k in range(1, fold)]
    places, shares = _places(np.concatenate(images))
    inner = -np.linalg.norm(places, axis=1)
    chosen: list[int] = []
    # what most images share comes first, then what lies further in
    for k in np.lexsort((-inner, -shares)):
        if all(np.linalg.norm(places[k] - places[c]) > CONTACT for c in chosen):
            chosen.append(int(k))
        if len(chosen) == n:
            break
    new = places[chosen]
    while len(new) < n:
        new = np.vstack([new, _landing(new, _direction(rng))])
    new = new + rng.normal(scale=0.02, size=new.shape)
    return new - new.mean(axis=0)


def bindings(x: np.ndarray) -> np.ndarray:
    """Energy that holds each particle (N, 3), Lennard-Jones, epsilon; (N,), larger is better."""
    squared = np.sum((x[:, None] - x[None]) ** 2, axis=2)
    np.fill_diagonal(squared, np.inf)
    sixth = squared**-3
    return -4 * np.sum(sixth**2 - sixth, axis=1)


def _places(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points nearer than `SAME_PLACE` made one: their means, and how many there were."""
    left = np.ones(len(points), bool)
    places, shares = [], []
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    near = distances < SAME_PLACE
    for k in np.argsort(-near.sum(axis=1), kind="stable"):
        if left[k]:
            group = near[k] & left
            left &= ~group
            places.append(points[group].mean(axis=0))
            shares.append(group.sum())
    return np.array(places), np.array(shares)


def _axis(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A direction through particles, between two or three of them, or of chance."""
    count = int(rng.integers(0, 4))
    if count:
        # neighbours of one particle: an axis through a vertex, an edge or a face
        first = int(rng.integers(len(x)))
        nearest = np.argsort(np.linalg.norm(x - x[first], axis=1), kind="stable")[1:7]
        others = rng.permutation(nearest)[: count - 1]
        direction = x[[first, *others]].mean(axis=0)
        length = np.linalg.norm(direction)
        if length > 0.1:
            return direction / length
    return _direction(rng)


def _landing(placed: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Where a particle that comes in along a line through the centre touches a cluster."""
    along = placed @ direction
    aside = np.sum(placed**2, axis=1) - along**2
    touching = aside < 1.0
    height = along[touching] + np.sqrt(np.maximum(1.1**2 - aside[touching], 0))
    return direction * (max(height.max(), 0.5) if touching.any() else 1.0)


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _rotation(axis: np.ndarray, angle: float) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(angle * axis).as_matrix()
