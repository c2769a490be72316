"""The point group of a structure, its rotational symmetry number, and whether it is chiral.

In the harmonic superposition a minimum stands for all of its copies with exchanged labels, and
there are fewer of them the more symmetric it is: 2 N!/o of a structure whose point group has o
operations, its mirror images included. What is common to all structures cancels.

Two ways of finding the operations check each other. Ours looks for every rotation and reflection
that carries the structure onto itself: an operation is fixed by where it takes two atoms that are
not in line with the centroid, and few atoms may take their places. That counts the operations and
tells chiral structures. pymatgen's `PointGroupAnalyzer` gives the name, and is only asked where
there is an operation besides the identity. Where it does not name a group of just as many
operations (it takes accidentally equal moments of inertia for symmetry, and long molecules for
linear ones), the name is left open and the count stands.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from topokrates.analysis.vibrations import LINE
from topokrates.identity.superposition import rotations
from topokrates.model.errors import InputError

TOLERANCE = 0.05  # Å or sigma: a quarter of the least distance at which structures differ
EIGEN_TOLERANCES = (1e-3, 1e-2, 3e-2)  # of moments of inertia; 1e-2 is pymatgen's own
_STAND_IN = "Ar"  # for particles: pymatgen asks every species for its weight


class PointGroup(NamedTuple):
    """A point group.

    Attributes:
        symbol: Schoenflies, as pymatgen writes it ("C2v", "D*h"); "" where it is not certain.
        order: number of operations; for a line that of its finite part, 1 or 2 times `number`.
        number: rotational symmetry number, the proper rotations among them.
        chiral: whether there are no improper operations.
    """

    symbol: str
    order: int
    number: int
    chiral: bool


def point_group(
    numbers: np.ndarray, positions: np.ndarray, tolerance: float = TOLERANCE
) -> PointGroup:
    """The point group of one structure.

    Args:
        numbers: (N,) atomic numbers; 0 for particles, which are all alike.
        positions: (N, 3), Å or sigma.
        tolerance: how far an atom may be from the place that an operation gives it.

    Raises:
        InputError: for coordinates that are not finite, or a tolerance that is not positive.
    """
    numbers, x = np.asarray(numbers, dtype=int), np.asarray(positions, dtype=float)
    if x.shape != (len(numbers), 3) or not len(numbers) or not np.isfinite(x).all():
        raise InputError(f"a structure of {len(numbers)} atoms needs as many finite positions")
    if not (np.isfinite(tolerance) and tolerance > 0):
        raise InputError(f"tolerance {tolerance}: must be a positive length")
    x = x - x.mean(axis=0)
    if len(x) == 1:
        return PointGroup("Kh", 2, 1, False)
    size = np.linalg.svd(x, compute_uv=False)
    if size[1] <= LINE * size[0]:
        turned = _refined(numbers, x, -np.eye(3), tolerance) is not None
        return PointGroup("D*h", 4, 2, False) if turned else PointGroup("C*v", 2, 1, False)
    order, number = _count(numbers, x, tolerance)
    chiral = order == number
    if order == 1:
        return PointGroup("C1", 1, 1, True)
    return PointGroup(_named(numbers, x, tolerance, order), order, number, chiral)


def order_of(symbol: str) -> int | None:
    """How many operations the group of this Schoenflies symbol has; None if it is not finite."""
    fixed = {"Cs": 2, "Ci": 2, "T": 12, "Td": 24, "Th": 24, "O": 24, "Oh": 48, "I": 60, "Ih": 120}
    if symbol in fixed:
        return fixed[symbol]
    match = re.fullmatch(r"([CDS])(\d+)([vhd]?)", symbol)
    if match is None:
        return None
    twice = (match[1] == "D") + bool(match[3])
    return int(match[2]) * 2**twice


def _count(numbers: np.ndarray, x: np.ndarray, tolerance: float) -> tuple[int, int]:
    """How many operations carry the structure onto itself, and how many of them are proper."""
    radius = np.linalg.norm(x, axis=1)
    between = np.linalg.norm(x[:, None] - x[None], axis=-1)
    # distances to all others, sorted: alike for atoms that may change places
    rows = np.sort(between + 1e3 * numbers[None], axis=1)
    rows = np.hstack([rows, radius[:, None], 1e3 * numbers[:, None]])
    like = np.abs(rows[:, None] - rows[None]).max(axis=-1) <= 2 * tolerance
    choices = like.sum(axis=1)
    # two atoms of few choices, well away from the centroid and from its line through each other
    away = radius > 0.3 * radius.max()
    if not away.any():
        away = radius > 0
    first = int(np.flatnonzero(away)[np.argmin(choices[away])])
    sine = np.linalg.norm(np.cross(x, x[first]), axis=1) / (radius[first] * radius.max())
    aside = sine > 0.5 * sine.max()
    second = int(np.flatnonzero(aside)[np.argmin(choices[aside])])
    frame = _frames(x[first][None], x[second][None])[0]
    firsts, seconds = np.meshgrid(
        np.flatnonzero(like[first]), np.flatnonzero(like[second]), indexing="ij"
    )
    firsts, seconds = firsts.ravel(), seconds.ravel()
    near = np.abs(between[firsts, seconds] - between[first, second]) <= 2 * tolerance
    frames = _frames(x[firsts[near]], x[seconds[near]])
    found: list[np.ndarray] = []
    for handedness in (1.0, -1.0):
        turns = frames @ (np.array([1.0, 1.0, handedness])[:, None] * frame.T)
        for turn in turns:
            operation = _refined(numbers, x, turn, tolerance)
            if operation is not None and not any(
                np.abs(operation - other).max() < 0.05 for other in found
            ):
                found.append(operation)
    proper = sum(np.linalg.det(operation) > 0 for operation in found)
    return len(found), int(proper)


def _frames(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Right-handed orthonormal frames (K, 3, 3), in columns, of pairs of vectors (K, 3)."""
    first = a / np.linalg.norm(a, axis=1, keepdims=True)
    aside = b - np.sum(b * first, axis=1, keepdims=True) * first
    length = np.linalg.norm(aside, axis=1, keepdims=True)
    second = aside / np.maximum(length, 1e-12)
    return np.stack([first, second, np.cross(first, second)], axis=-1)


def _refined(
    numbers: np.ndarray, x: np.ndarray, operation: np.ndarray, tolerance: float
) -> np.ndarray | None:
    """The operation (3, 3) at its best, if it carries the structure onto itself; else None.

    It comes from two atoms alone, so an image may be off by more than the tolerance: atoms go to
    what is nearest, and what counts is how far off they are after the best rotation.
    """
    image = x @ operation.T
    apart = ((image[:, None] - x[None]) ** 2).sum(-1)
    apart = np.where(numbers[:, None] == numbers[None], apart, np.inf)
    target = np.argmin(apart, axis=1)
    if len(np.unique(target)) < len(x):
        return None
    if apart[np.arange(len(x)), target].max() > (6 * tolerance) ** 2:
        return None
    turn = rotations(x[target].T @ image)[0]
    if np.linalg.norm(image @ turn.T - x[target], axis=1).max() > tolerance:
        return None
    return turn @ operation


def _named(numbers: np.ndarray, x: np.ndarray, tolerance: float, order: int) -> str:
    """What pymatgen calls the group; "" where it finds none of this order."""
    from ase.data import chemical_symbols
    from pymatgen.core import Molecule
    from pymatgen.symmetry.analyzer import PointGroupAnalyzer

    molecule = Molecule([chemical_symbols[z] if z else _STAND_IN for z in numbers], x)
    for eigen in EIGEN_TOLERANCES:
        try:
            symbol = PointGroupAnalyzer(molecule, tolerance, eigen).sch_symbol
        except (ValueError, IndexError, np.linalg.LinAlgError):
            continue
        if order_of(symbol) == order:
            return symbol
    return ""
