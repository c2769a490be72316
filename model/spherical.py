"""Real spherical harmonics and the scalar contraction that SO3krates builds on.

Orders run m = -l .. l, so degree 1 is (y, z, x) up to its constant; the functions are orthonormal
on the sphere. A Euclidean variable stores one number per (l, m), degrees one after the other: for
degrees 1 to 3 these are 3 + 5 + 7 = 15 numbers.
"""

from collections.abc import Sequence
from math import pi, sqrt

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import Precision

MAX_DEGREE = 4


def spherical_harmonics(unit: Array, degrees: Sequence[int]) -> Array:
    """Real spherical harmonics of unit vectors.

    Args:
        unit: unit vectors, shape (..., 3).
        degrees: the degrees l wanted, each between 1 and 4, in this order.

    Returns:
        Array of shape (..., sum of 2l + 1).

    Raises:
        ValueError: for a degree outside 1 to 4.
    """
    x, y, z = unit[..., 0], unit[..., 1], unit[..., 2]
    blocks: list[Array] = []
    for degree in degrees:
        if degree not in _BLOCKS:
            raise ValueError(f"degree {degree} is not between 1 and {MAX_DEGREE}")
        blocks += _BLOCKS[degree](x, y, z)
    return jnp.stack(blocks, axis=-1)


def degree_matrix(degrees: Sequence[int], dtype=np.float64) -> np.ndarray:
    """0/1 matrix of shape (number of degrees, sum of 2l + 1) that says which (l, m) belong to l.

    `b @ matrix` repeats one number per degree over its orders; `chi**2 @ matrix.T` sums over them.
    """
    sizes = [2 * degree + 1 for degree in degrees]
    return np.repeat(np.eye(len(sizes), dtype=dtype), sizes, axis=1)


def contract(chi: Array, degrees: Sequence[int]) -> Array:
    """Scalar contraction c_l(chi) = sum_m chi_lm^2 / sqrt(2l + 1).

    The l = 0 Clebsch-Gordan product of chi with itself (Frank et al., Nat. Commun. 15, 6539
    (2024), Eq. 22): what SO3krates uses in the place of full tensor products.

    Args:
        chi: Euclidean variables, shape (..., sum of 2l + 1).
        degrees: their degrees.

    Returns:
        Array of shape (..., number of degrees), invariant under rotation.
    """
    weights = degree_matrix(degrees) / np.sqrt([[2 * degree + 1.0] for degree in degrees])
    return jnp.dot(chi * chi, jnp.asarray(weights.T, chi.dtype), precision=Precision.HIGHEST)


def _degree_1(x, y, z):
    c = sqrt(3 / (4 * pi))
    return [c * y, c * z, c * x]


def _degree_2(x, y, z):
    c = sqrt(15 / (4 * pi))
    return [
        c * x * y,
        c * y * z,
        sqrt(5 / (16 * pi)) * (3 * z * z - 1),
        c * x * z,
        c / 2 * (x * x - y * y),
    ]


def _degree_3(x, y, z):
    outer, middle, inner = sqrt(35 / (32 * pi)), sqrt(105 / (4 * pi)), sqrt(21 / (32 * pi))
    return [
        outer * y * (3 * x * x - y * y),
        middle * x * y * z,
        inner * y * (5 * z * z - 1),
        sqrt(7 / (16 * pi)) * z * (5 * z * z - 3),
        inner * x * (5 * z * z - 1),
        middle / 2 * z * (x * x - y * y),
        outer * x * (x * x - 3 * y * y),
    ]


def _degree_4(x, y, z):
    xx, yy, zz = x * x, y * y, z * z
    a, b = sqrt(315 / (16 * pi)), sqrt(315 / (32 * pi))
    c, d = sqrt(45 / (16 * pi)), sqrt(45 / (32 * pi))
    return [
        a * x * y * (xx - yy),
        b * y * z * (3 * xx - yy),
        c * x * y * (7 * zz - 1),
        d * y * z * (7 * zz - 3),
        sqrt(9 / (256 * pi)) * (35 * zz * zz - 30 * zz + 3),
        d * x * z * (7 * zz - 3),
        c / 2 * (xx - yy) * (7 * zz - 1),
        b * x * z * (xx - 3 * yy),
        a / 4 * (xx * (xx - 3 * yy) - yy * (3 * xx - yy)),
    ]


_BLOCKS = {1: _degree_1, 2: _degree_2, 3: _degree_3, 4: _degree_4}
