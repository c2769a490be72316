"""The softest mode of a structure from a few Hessian-vector products (Davidson 1975).

A Hessian of a near-by structure, or an approximate one, gives the first directions and the
preconditioner. What is found is the smallest Ritz value and the norm of its residual: an
eigenvalue lies that close to it, and none that these directions can tell lies below. A negative
one proves that the Hessian has a negative eigenvalue.
"""

from collections.abc import Generator
from typing import NamedTuple

import numpy as np

from topokrates.modes import modes, rigid_motions

FIRST = 2  # directions that it starts from, the softest of the guess
PRECISE = 0.02  # residual over Ritz value at which it has converged
FLOOR = 1e-6  # energy per length squared: a smaller residual is none
SOFTEST = 0.02  # differences from the Ritz value below this are not divided by


class Softest(NamedTuple):
    """The softest mode.

    Attributes:
        value: smallest Ritz value.
        residual: norm of H v - value v.
        mode: (N, 3), unit length.
        converged: whether the residual is small beside the value.
        hessian: the guess, made exact along all directions that were tried, (3N, 3N).
        products: Hessian-vector products spent.
    """

    value: float
    residual: float
    mode: np.ndarray
    converged: bool
    hessian: np.ndarray
    products: int


def softest(
    positions: np.ndarray, guess: np.ndarray, most: int
) -> Generator[np.ndarray, np.ndarray, Softest]:
    """Asks for Hessian-vector products until the softest mode is known.

    Args:
        positions: (N, 3).
        guess: of the Hessian there, (3N, 3N), symmetric.
        most: products after which it is given up.

    Yields:
        Directions (N, 3) of unit length; send back the Hessian's product with each.

    Returns:
        A `Softest`; rigid motions have no part in it.
    """
    rigid = rigid_motions(positions)
    spectrum = modes(guess, positions)
    inner = len(spectrum.values)
    basis, images = np.zeros((positions.size, 0)), np.zeros((positions.size, 0))
    wanted = list(spectrum.vectors[:, :FIRST].T)
    while True:
        for direction in wanted:
            image = yield direction.reshape(positions.shape)
            image = np.asarray(image, float).ravel()
            image = image - rigid @ (rigid.T @ image)
            basis = np.column_stack([basis, direction])
            images = np.column_stack([images, image])
        small = basis.T @ images
        values, vectors = np.linalg.eigh((small + small.T) / 2)
        value, mode = float(values[0]), basis @ vectors[:, 0]
        rest = images @ vectors[:, 0] - value * mode
        residual = float(np.linalg.norm(rest))
        converged = residual <= max(PRECISE * abs(value), FLOOR)
        count = basis.shape[1]
        if converged or count >= min(most, inner):
            break
        along = spectrum.vectors.T @ rest
        apart = spectrum.values - value
        apart = np.where(np.abs(apart) < SOFTEST, SOFTEST, apart)
        direction = spectrum.vectors @ (along / apart)
        for _ in range(2):
            direction = direction - basis @ (basis.T @ direction)
        norm = np.linalg.norm(direction)
        if not norm > 1e-12:
            break
        wanted = [direction / norm]
    return Softest(
        value,
        residual,
        mode.reshape(positions.shape),
        converged or basis.shape[1] == inner,
        _corrected(guess, basis, images),
        basis.shape[1],
    )


def _corrected(guess: np.ndarray, basis: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The nearest symmetric matrix that maps `basis` to `images` (Powell's update, in a block)."""
    missing = images - guess @ basis
    inside = basis.T @ missing
    inside = (inside + inside.T) / 2
    return guess + missing @ basis.T + basis @ missing.T - basis @ inside @ basis.T
