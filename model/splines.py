"""Functions of a distance as quintic B-splines on an even grid.

A network's radial filters depend on the distance alone, and cost two thirds of its arithmetic.
Tabulated, a filter is six rows of a table times six weights. Quintic splines have four continuous
derivatives, so that forces, Hessians and third derivatives stay smooth; with 512 intervals over
4.5 Å the forces of SO3LR differ from the exact ones by less than 1e-8 eV/Å.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.custom_derivatives import SymbolicZero

DEGREE = 5
INTERVALS = 512
# Sampled beyond both ends, so that inside the spline knows nothing of having ends
MARGIN = 12
# Weight of tap a on an interval, as a polynomial in the fraction u of the way: u^0 .. u^5, / 120
_TAPS = (
    np.array(
        [
            [1, -5, 10, -10, 5, -1],
            [26, -50, 20, 20, -20, 5],
            [66, 0, -60, 0, 30, -10],
            [26, 50, 20, -20, -20, 10],
            [1, 5, 10, 10, 5, -5],
            [0, 0, 0, 0, 0, 1],
        ]
    )
    / 120
)


def interpolate(
    function: Callable[[np.ndarray], np.ndarray], end: float, intervals: int = INTERVALS
) -> np.ndarray:
    """Coefficients of the spline through a function at the points of an even grid.

    Args:
        function: (M,) distances to (M, C) values, in float64; is asked for distances a little
            below 0 and above `end`.
        end: Å; the spline serves 0 to here.
        intervals: of the grid.

    Returns:
        (intervals + 5, C).
    """
    from scipy.interpolate import make_interp_spline

    points = grid(end, intervals)
    spline = make_interp_spline(points, function(points), k=DEGREE)
    # the interval that begins at 0 is governed by the coefficients from this one onwards
    first = int(np.searchsorted(spline.t, 0.5 * end / intervals)) - 1 - DEGREE
    return np.ascontiguousarray(spline.c[first : first + intervals + DEGREE])


def grid(end: float, intervals: int) -> np.ndarray:
    """Distances at which `through` wants a function, (G,), Å; some are outside 0 to `end`."""
    return np.arange(-MARGIN, intervals + MARGIN + 1) * (end / intervals)


def through(values: Array) -> Array:
    """Coefficients of the spline through values on a `grid`: (G, C) to (K + 5, C); linear."""
    return jnp.dot(jnp.asarray(_solved(len(values)), values.dtype), values, precision="highest")


@lru_cache(maxsize=8)
def _solved(points: int) -> np.ndarray:
    intervals = points - 2 * MARGIN - 1
    return interpolate(lambda points: np.eye(len(points)), 1.0, intervals)


def evaluate(distances: Array, coefficients: Array, end: float) -> Array:
    """A spline at some distances.

    It can be differentiated to any order.

    Args:
        distances: any shape S, Å, between 0 and `end`.
        coefficients: from `interpolate`, (K + 5, C).
        end: Å.

    Returns:
        Array of shape S + (C,).
    """
    which = jnp.zeros((), jnp.int32)
    return _evaluate(distances, coefficients, which, len(coefficients) - DEGREE, end, 0)


def read(
    distances: Array, coefficients: Array, end: float, nothing: Array, which: Array | None = None
) -> Array:
    """As `evaluate`, of a table that does not change, with a gradient that reads it again.

    Otherwise all six rows of each distance are stored on the way to the value, since the gradient
    wants them too: on a CPU that takes several times as long as to read them twice.

    It can be differentiated backwards any number of times, and forwards after that.

    Args:
        distances: any shape S, Å, between 0 and `end`.
        coefficients: (K + 5, C), or several splines, (T, K + 5, C).
        end: Å.
        nothing: a zero that a compiler cannot know to be one; see `layout.Pairs`.
        which: of several splines, the one for each distance, shape S.

    Returns:
        Array of shape S + (C,).
    """
    rows, channels = coefficients.shape[-2:]
    first = jnp.zeros((), jnp.int32) if which is None else which * rows
    flat = coefficients.reshape(-1, channels)
    return _read(distances, flat, first, nothing, rows - DEGREE, end)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def _evaluate(
    distances: Array, coefficients: Array, offset: Array, intervals: int, end: float, order: int
) -> Array:
    """The derivative of some order of splines that begin at row `offset`."""
    return _sum_of_taps(distances, coefficients, offset, intervals, end, order)


def _sum_of_taps(
    distances: Array, coefficients: Array, offset: Array, intervals: int, end: float, order: int
) -> Array:
    scaled = distances * (intervals / end)
    interval = jnp.clip(jnp.floor(scaled).astype(jnp.int32), 0, intervals - 1)
    u = scaled - interval
    weights = _TAPS * (intervals / end) ** order
    for _ in range(order):
        weights = weights[:, 1:] * np.arange(1, weights.shape[1])
    values = jnp.zeros((), distances.dtype)
    for tap in range(DEGREE + 1):
        weight = jnp.zeros_like(u)
        for coefficient in weights[tap, ::-1]:  # Horner
            weight = weight * u + float(coefficient)
        row = coefficients.at[offset + interval + tap].get(mode="promise_in_bounds")
        values = values + weight[..., None] * row
    return values


def _evaluate_jvp(intervals: int, end: float, order: int, primals, tangents):
    distances, _, offset = primals
    of_distances, of_coefficients, _ = tangents
    constants = offset, intervals, end
    value = _evaluate(*primals, intervals, end, order)
    change = jnp.zeros((), value.dtype)
    if type(of_distances) is not SymbolicZero:
        change = _evaluate(*primals, intervals, end, order + 1) * of_distances[..., None]
    if type(of_coefficients) is not SymbolicZero:  # a spline is linear in them
        change += _sum_of_taps(distances, of_coefficients, *constants, order)
    return value, jnp.broadcast_to(change, value.shape)


_evaluate.defjvp(_evaluate_jvp, symbolic_zeros=True)


def _forward(distances, coefficients, offset, nothing, intervals: int, end: float):
    value = _evaluate(distances, coefficients, offset, intervals, end, 0)
    return value, (distances, coefficients, offset, nothing)


def _backward(intervals: int, end: float, kept, cotangent):
    distances, coefficients, offset, nothing = kept
    slopes = _evaluate(distances, coefficients, offset + nothing, intervals, end, 1)
    return jnp.sum(slopes * cotangent, axis=-1), None, None, None


_read = jax.custom_vjp(lambda *arguments: _forward(*arguments)[0], nondiff_argnums=(4, 5))
_read.defvjp(_forward, _backward)
