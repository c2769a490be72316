"""The softest modes of a structure from a few Hessian-vector products (Davidson 1975).

A Hessian of a near-by structure, or an approximate one, gives the first directions and the
preconditioner. What is found are the smallest Ritz values and the norms of their residuals: an
eigenvalue lies that close to each, and none that these directions can tell lies below. As many
negative ones as there are prove that the Hessian has so many negative eigenvalues.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np

from topokrates.relaxation.modes import modes, rigid_motions

FIRST = 2  # directions that it starts from at least, the softest of the guess
PRECISE = 0.02  # residual over Ritz value at which it has converged
FLOOR = 1e-6  # energy per length squared: a smaller residual is none
SOFTEST = 0.02  # differences from the Ritz value below this are not divided by


class Softest(NamedTuple):
    """The softest modes, K of them.

    Attributes:
        values: smallest Ritz values, (K,), lowest first.
        residuals: norm of H v - value v of each, (K,).
        mode: of the lowest, (N, 3), unit length.
        converged: whether each residual is small beside its value.
        hessian: the guess, made exact along all directions that were tried, (3N, 3N).
        products: Hessian-vector products spent.
    """

    values: np.ndarray
    residuals: np.ndarray
    mode: np.ndarray
    converged: bool
    hessian: np.ndarray
    products: int


def softest(
    positions: np.ndarray,
    guess: np.ndarray,
    most: int,
    count: int = 1,
) -> Generator[np.ndarray, np.ndarray, Softest]:
    """Asks for Hessian-vector products until the softest modes are known.

    Args:
        positions: (N, 3).
        guess: of the Hessian there, (3N, 3N), symmetric.
        most: products after which it is given up.
        count: how many modes.

    Yields:
        Directions (N, 3) of unit length; send back the Hessian's product with each.

    Returns:
        A `Softest`; rigid motions have no part in it.
    """
    rigid = rigid_motions(positions)
    spectrum = modes(guess, positions)
    inner = len(spectrum.values)
    count = min(count, inner)
    basis, images = np.zeros((positions.size, 0)), np.zeros((positions.size, 0))
    wanted = list(spectrum.vectors[:, : max(FIRST, count)].T)
    while True:
        grown = False
        for direction in wanted:
            direction = spectrum.vectors @ (spectrum.vectors.T @ direction)
            before = np.linalg.norm(direction)
            for _ in range(2):
                direction = direction - basis @ (basis.T @ direction)
            norm = np.linalg.norm(direction)
            if not norm > max(1e-6 * before, 1e-12) or basis.shape[1] >= min(most, inner):
                continue
            direction = direction / norm
            image = yield direction.reshape(positions.shape)
            image = np.asarray(image, float).ravel()
            image = image - rigid @ (rigid.T @ image)
            basis = np.column_stack([basis, direction])
            images = np.column_stack([images, image])
            grown = True
        small = basis.T @ images
        values, vectors = np.linalg.eigh((small + small.T) / 2)
        values, vectors = values[:count], vectors[:, :count]
        rests = images @ vectors - basis @ vectors * values
        residuals = np.linalg.norm(rests, axis=0)
        poor = residuals > np.maximum(PRECISE * np.abs(values), FLOOR)
        if len(values) == count and not poor.any():
            break
        if not grown or basis.shape[1] >= min(most, inner):
            break
        apart = spectrum.values[:, None] - values
        apart = np.where(np.abs(apart) < SOFTEST, SOFTEST, apart)
        corrections = spectrum.vectors @ ((spectrum.vectors.T @ rests) / apart)
        wanted = list(corrections[:, poor].T)
    return Softest(
        values,
        residuals,
        (basis @ vectors[:, 0]).reshape(positions.shape),
        (len(values) == count and not poor.any()) or basis.shape[1] == inner,
        corrected(guess, basis, images),
        basis.shape[1],
    )


def corrected(guess: np.ndarray, basis: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The nearest symmetric matrix that maps `basis` to `images` (Powell's update, in a block)."""
    missing = images - guess @ basis
    inside = basis.T @ missing
    inside = (inside + inside.T) / 2
    return guess + missing @ basis.T + basis @ missing.T - basis @ inside @ basis.T
