"""First guesses of a path between two minima that are aligned atom by atom.

A molecule's path runs straight in its internal coordinates, every torsion by the shorter way round
(or, on demand, the one that turns most by the longer way), so that no atom is driven through
another as a straight line in space would. What has no internal coordinates runs straight in space.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.relaxation.internals import Coordinates

SUBSTEPS = 4  # between two images: a step of q must stay small for B to hold


def interpolate(
    coordinates: Coordinates,
    start: np.ndarray,
    end: np.ndarray,
    images: int,
    long_way: bool = False,
) -> np.ndarray:
    """Images along a path, both ends included.

    Args:
        coordinates: of the molecule.
        start, end: minima (N, 3), with the atoms of `end` in the order and orientation that suit
            `start` best.
        images: how many, at least 3.
        long_way: turn the torsion that changes most by the other way round.

    Returns:
        (images, N, 3); the last one is `end` up to a rotation.
    """
    fractions = np.linspace(0, 1, images)
    if coordinates.cartesian:
        return start + fractions[:, None, None] * (end - start)
    change = np.array(_difference(coordinates, jnp.asarray(end), jnp.asarray(start)))
    change = _consistent(coordinates, change, long_way)
    x, path = jnp.asarray(start, jnp.float64), [np.asarray(start, float)]
    first = coordinates.values(x)
    for k in range(1, (images - 1) * SUBSTEPS + 1):
        target = first + k / ((images - 1) * SUBSTEPS) * change
        x = _approach(coordinates, x, target)
        if k % SUBSTEPS == 0:
            path.append(np.asarray(x))
    path = np.stack(path)
    # redundant coordinates cannot all be met on the way; what is missing at the end is spread out
    missing = superimposed(np.asarray(end, float), path[-1]) - path[-1]
    return path + fractions[:, None, None] * missing


def _consistent(coordinates: Coordinates, change: np.ndarray, long_way: bool) -> np.ndarray:
    """Torsions about one bond turn the same way: all follow the first of them."""
    offset = len(coordinates.bonds) + len(coordinates.angles)
    central = np.sort(coordinates.torsions[:, 1:3], axis=1)
    leaders: dict[tuple[int, int], int] = {}
    for row, bond in enumerate(map(tuple, central)):
        leaders.setdefault(bond, row)
    of_row = np.array([leaders[bond] for bond in map(tuple, central)])
    torsions = change[offset : offset + len(central)]
    if long_way and len(torsions):
        rows = np.array(list(leaders.values()))
        widest = rows[np.argmax(np.abs(torsions[rows]))]
        torsions[widest] -= 2 * np.pi * np.sign(torsions[widest])
    apart = torsions - torsions[of_row]
    torsions[:] = torsions[of_row] + (apart + np.pi) % (2 * np.pi) - np.pi
    return change


@partial(jax.jit, static_argnums=0)
def _difference(coordinates: Coordinates, end: Array, start: Array) -> Array:
    return coordinates.difference(coordinates.values(end), coordinates.values(start))


@partial(jax.jit, static_argnums=0)
def _approach(coordinates: Coordinates, x: Array, target: Array) -> Array:
    return coordinates.approach(x, target)


def superimposed(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """`moving` rotated and shifted onto `fixed`, atom by atom (Kabsch)."""
    a, b = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ vt))
    return a @ (u @ vt) + fixed.mean(axis=0)
