"""Radial bases and cutoff functions."""

from math import lgamma, pi
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array


def bernstein(distances: Any, count: int, gamma: float, xp: Any = jnp) -> Any:
    """Exponential Bernstein polynomials (Unke et al., Nat. Commun. 12, 7273 (2021)).

    B_k(x) = binomial(n - 1, k) x^k (1 - x)^(n - 1 - k) with x = exp(-gamma r): they grow dense
    where bonds are, and never need a box to be told.

    Args:
        distances: Å, any shape (...).
        count: number of functions n.
        gamma: decay, 1/Å.
        xp: numpy or jax.numpy.

    Returns:
        Array of shape (..., n).
    """
    k = np.arange(count)
    log_binomial = np.array([lgamma(count) - lgamma(i + 1) - lgamma(count - i) for i in k])
    # x stays inside (0, 1): two atoms on one spot, or far apart, must not give log(0)
    x = xp.clip(xp.exp(-gamma * distances), 1e-6, 1 - 1e-6)[..., None]
    dtype = distances.dtype
    logarithm = (
        xp.asarray(log_binomial, dtype)
        + xp.asarray(k, dtype) * xp.log(x)
        + xp.asarray(count - 1 - k, dtype) * xp.log1p(-x)
    )
    return xp.exp(logarithm)


def physnet(distances: Any, count: int, cutoff: float, xp: Any = jnp) -> Any:
    """Gaussians in exp(-r), the journal's radial functions (Unke and Meuwly, JCTC 15, 3678 (2019)).

    exp(-beta (exp(-r) - mu_k)^2), mu_k evenly spaced from exp(-cutoff) to 1.

    Args:
        distances: Å, any shape (...).
        count: number of functions.
        cutoff: Å.
        xp: numpy or jax.numpy.

    Returns:
        Array of shape (..., count).
    """
    start = np.exp(-cutoff)
    centres = xp.asarray(np.linspace(start, 1.0, count), distances.dtype)
    width = float((2 / count * (1 - start)) ** -2)
    return xp.exp(-width * (xp.exp(-distances)[..., None] - centres) ** 2)


def cosine_cutoff(distances: Array, cutoff: float) -> Array:
    """(cos(pi r / cutoff) + 1) / 2 inside the cutoff, 0 outside: the journal's choice.

    Its second derivative jumps at the cutoff, so Hessians of a network that uses it do too.
    """
    inside = 0.5 * (jnp.cos(pi / cutoff * distances) + 1)
    return jnp.where(distances < cutoff, inside, 0)


def polynomial_cutoff(distances: Array, cutoff: float) -> Array:
    """1 - 6 u^5 + 15 u^4 - 10 u^3 with u = r / cutoff, 0 outside: two smooth derivatives."""
    u = distances / cutoff
    return jnp.where(u < 1, 1 - u**3 * (10 - u * (15 - 6 * u)), 0)


def switch_off(distances: Array, start: float, end: float) -> Array:
    """Infinitely smooth step from 1 at `start` to 0 at `end` (both Å).

    s(1 - u) / (s(1 - u) + s(u)) with s(u) = exp(-1/u), u the fraction of the way.
    """
    u = (distances - start) / (end - start)
    inside = (u > 0) & (u < 1)
    u = jnp.where(inside, u, 0.5)  # keeps the branch that is not taken finite, derivatives too
    down, up = jnp.exp(-1 / (1 - u)), jnp.exp(-1 / u)
    return jnp.where(inside, down / (down + up), jnp.where(distances >= end, 0.0, 1.0))


RADIAL_BASES = ("bernstein", "physnet")
CUTOFFS = {"cosine": cosine_cutoff, "polynomial": polynomial_cutoff}
