"""Superposition of two structures: rotations from covariances, and what a match is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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

    @classmethod
    def of(
        cls,
        reference: np.ndarray,
        positions: np.ndarray,
        order: np.ndarray,
        rotation: np.ndarray,
        origin: np.ndarray,
        centre: np.ndarray,
    ) -> Match:
        """From structures (N, 3) of which `origin` and `centre` have been subtracted."""
        squared = ((positions[order] @ rotation.T - reference) ** 2).sum(1)
        return cls(
            rmsd=float(np.sqrt(squared.mean())),
            largest=float(np.sqrt(squared.max())),
            order=order,
            rotation=rotation,
            translation=origin - rotation @ centre,
        )

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
