"""Paths to look at: a minimum, the transition state, the other minimum, and frames between them.

The ends are laid onto the transition state as equivalent atoms and rotations allow; frames between
run straight in space and are then bent until bonds and angles have the lengths that lie between
those of the ends, so that a methyl group turns instead of shrinking. They are a picture of the
rearrangement, not points of the path of steepest descent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from topokrates.identity.matching import Matcher
    from topokrates.molecule import Molecule

FRAMES = 13  # per path, an odd number: the transition state is in the middle
SWEEPS = 40


def path_frames(
    molecule: Molecule,
    matcher: Matcher,
    start: np.ndarray,
    top: np.ndarray,
    end: np.ndarray,
    frames: int = FRAMES,
) -> np.ndarray:
    """Frames (frames, N, 3) from the minimum `start` over `top` to the minimum `end`, each (N, 3).

    All have the atoms in the order of `top` and lie in its frame; the middle one is `top`.
    """
    half = frames // 2
    share = np.linspace(0, 1, half + 1)[:, None, None]
    pairs = _stiff_pairs(molecule)
    sides = []
    for minimum in (start, end):
        foot = matcher.align(top, minimum, keep_handedness=not molecule.is_cluster)
        sides.append(_bent(foot + share * (top - foot), pairs))
    return np.concatenate([sides[0], sides[1][-2::-1]])


def framed(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A centre (3,) and axes (3, 3) that show positions (N, 3) from their broad side.

    `(positions - centre) @ axes.T` is longest along x and shortest along z, right-handed; which
    way the axes point is fixed by where the atom that is furthest off lies.
    """
    centre = positions.mean(0)
    centred = positions - centre
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes.T[::-1].copy()
    for axis in axes[:2]:
        along = centred @ axis
        if along[np.argmax(np.abs(along).round(6))] < 0:
            axis *= -1
    axes[2] = np.cross(axes[0], axes[1])
    return centre, axes


def _bent(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Images (F, N, 3) with lengths of bonds and of the sides of angles between those of the ends.

    Every sweep moves both atoms of each of `pairs` (P, 2) by a part of what its length is off,
    the mean over the pairs of an atom. The first and the last image stay.
    """
    if len(pairs) == 0 or len(images) < 3:
        return images
    images = images.copy()
    first, second = pairs.T
    lengths = np.linalg.norm(images[[0, -1]][:, second] - images[[0, -1]][:, first], axis=2)
    share = np.linspace(0, 1, len(images))[:, None]
    wanted = (lengths[0] + share * (lengths[1] - lengths[0]))[1:-1]
    spread = np.zeros((images.shape[1], len(pairs)))
    spread[first, np.arange(len(pairs))] = 1
    spread[second, np.arange(len(pairs))] = -1
    spread /= np.maximum(np.abs(spread).sum(1, keepdims=True), 1)
    # atoms first, so that one product of matrices moves them in all images
    inner = images[1:-1].transpose(1, 0, 2).copy()
    wanted, shape = wanted.T, inner.shape
    for _ in range(SWEEPS):
        apart = inner[second] - inner[first]
        length = np.maximum(np.sqrt((apart**2).sum(2)), 1e-6)
        moves = apart * (0.5 * (length - wanted) / length)[..., None]
        inner += (spread @ moves.reshape(len(pairs), -1)).reshape(shape)
    images[1:-1] = inner.transpose(1, 0, 2)
    return images


def _stiff_pairs(molecule: Molecule) -> np.ndarray:
    """Atoms (P, 2) that are bonded, or bonded to a common one."""
    neighbours: dict[int, list[int]] = {}
    for a, b in molecule.bonds.tolist():
        neighbours.setdefault(a, []).append(b)
        neighbours.setdefault(b, []).append(a)
    pairs = {tuple(pair) for pair in molecule.bonds.tolist()}
    for around in neighbours.values():
        pairs |= {(a, b) for a in around for b in around if a < b}
    return np.array(sorted(pairs), dtype=int).reshape(-1, 2)
