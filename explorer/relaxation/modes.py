"""Vibrational modes: what is left of a Hessian once the rigid motions are taken out."""

from typing import NamedTuple

import numpy as np


class Modes(NamedTuple):
    """Eigenvalues (M,) and eigenvectors (3N, M) of a Hessian without its rigid motions."""

    values: np.ndarray
    vectors: np.ndarray


def rigid_motions(positions: np.ndarray) -> np.ndarray:
    """Orthonormal translations and rotations of a structure.

    Args:
        positions: (N, 3).

    Returns:
        (3N, 6), or (3N, 5) if the atoms lie on a line.
    """
    centred = positions - positions.mean(axis=0)
    atoms = len(centred)
    axes = np.eye(3)
    translations = np.tile(axes, (atoms, 1))
    rotations = np.stack([np.cross(axis, centred).ravel() for axis in axes], axis=1)
    u, s, _ = np.linalg.svd(rotations, full_matrices=False)
    # on a line one rotation moves nothing
    rotations = u[:, s > 1e-4 * max(s.max(), 1e-12)]
    return np.linalg.qr(np.hstack([translations, rotations]))[0]


def modes(hessian: np.ndarray, positions: np.ndarray) -> Modes:
    """Eigenvalues and eigenvectors of the Hessian, rigid motions projected out.

    Args:
        hessian: (3N, 3N).
        positions: (N, 3).

    Returns:
        3N - 6 of them (3N - 5 on a line), lowest first.
    """
    rigid = rigid_motions(positions)
    complement = np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :]
    values, vectors = np.linalg.eigh(complement.T @ hessian @ complement)
    return Modes(values, complement @ vectors)
