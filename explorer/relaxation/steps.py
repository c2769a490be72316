"""One step of a minimisation, compiled for a few lanes at once: quasi-Newton with a model Hessian.

In internal coordinates q, each scaled by the square root of its stiffness D, the model Hessian is
the identity. With B = d(scaled q)/dx the metric in space is A = B'B + s, which is factorised once a
step and serves three times (Peng et al., J. Comput. Chem. 17, 49 (1996), for the scheme):

- the gradient in q is B A^-1 g, the part of it that a motion of atoms can feel;
- a step in q, made there by L-BFGS in compact form, whose first guess is the identity (Byrd,
  Nocedal and Schnabel, Math. Program. 63, 129 (1994)), is dx = A^-1 B' dq in space;
- the same carries one back-transformation, so that on a curved path the coordinates come out as
  intended.

In Cartesian coordinates q is x, and the first guess of L-BFGS is the inverse of a model Hessian
that is built anew at each structure (Packwood et al., J. Chem. Phys. 144, 164109 (2016)).
Pairs of step and change of gradient that would spoil a positive Hessian are damped (Powell 1978);
the step is capped by a trust radius that shrinks when the energy rises. No line search.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular

from topokrates.relaxation.internals import Coordinates

MEMORY = 40  # pairs that are remembered
LARGEST_MOVE = 0.5  # Å, of any one atom along one axis
LARGEST_REPAIR = 0.3  # Å, of the back-transformation
SMALLEST_STEP = 0.02  # Å or radians: the trust radius falls no further
SOFTNESS = 0.003  # s, eV/Å^2: stands in for the rigid motions, which no coordinate sees
PATIENCE = 40  # steps without a lower energy after which coordinates are given up


class Lane(NamedTuple):
    """The state of one minimisation; with a leading axis, of a few.

    Attributes:
        positions: (N, 3), where the next gradient is wanted.
        trust, largest: largest change of a coordinate now, and ever.
        energy, lowest: of the last step and of all; infinite before the first.
        waited: steps since the lowest.
        values: q of the last step, (q,).
        gradient: in scaled q, (q,).
        intended: Hessian times the last step, as the step was meant, (q,).
        steps, changes: pairs of scaled steps and gradient changes, newest last, (m, q) each,
            divided by the square root of their product; zero where there is none.
        lost: whether these coordinates will do no longer.
    """

    positions: Array
    trust: Array
    largest: Array
    energy: Array
    lowest: Array
    waited: Array
    values: Array
    gradient: Array
    intended: Array
    steps: Array
    changes: Array
    lost: Array


def blank(coordinates: Coordinates, lanes: int, largest_step: float) -> Lane:
    """Lanes that hold nothing yet."""
    q, real = coordinates.count, jnp.float64
    number, row = jnp.zeros(lanes, real), jnp.zeros((lanes, q), real)
    infinite, pairs = jnp.full(lanes, jnp.inf, real), jnp.zeros((lanes, MEMORY, q), real)
    return Lane(
        jnp.zeros((lanes, coordinates.atoms, 3), real),
        number + largest_step,
        number + largest_step,
        infinite,
        infinite,
        jnp.zeros(lanes, int),
        row,
        row,
        row,
        pairs,
        pairs,
        jnp.zeros(lanes, bool),
    )


@jax.jit
def load(state: Lane, fresh: Lane, lane: Array, positions: Array) -> Lane:
    """A structure (N, 3) begins in a lane; `fresh` is what `blank` gave."""
    new = fresh._replace(positions=jnp.broadcast_to(positions, fresh.positions.shape))
    return move(new, 0, state, lane)


@jax.jit
def move(source: Lane, place: Array | int, target: Lane, lane: Array | int) -> Lane:
    """`target` with what one lane of `source` holds."""
    return jax.tree.map(lambda new, old: old.at[lane].set(new[place]), source, target)


@partial(jax.jit, static_argnums=0)
def advance(
    coordinates: Coordinates,
    state: Lane,
    energies: Array,
    gradients: Array,
    active: Array,
    noise: Array | float,
) -> Lane:
    """One step of every active lane.

    Args:
        coordinates: of the molecule.
        state: of L lanes.
        energies, gradients: at their positions, (L,) and (L, N, 3), float64.
        active: (L,); the others stay as they are.
        noise: relative error of an energy: a rise within it is none.
    """
    step = partial(_step, coordinates, noise)

    def choose(moves: Array, *lane) -> Lane:
        return jax.lax.cond(moves, step, lambda lane, *_: lane, *lane)

    if jax.default_backend() == "cpu":
        # one lane after the other: matrices of one stay in the cache, and their products are faster
        return jax.lax.map(lambda lane: choose(*lane), (active, state, energies, gradients))
    return jax.vmap(choose)(active, state, energies, gradients)


def _step(
    coordinates: Coordinates, noise: Array | float, lane: Lane, energy: Array, gradient: Array
) -> Lane:
    x, g = lane.positions, gradient.reshape(-1)
    q = coordinates.values(x)
    if coordinates.cartesian:
        scale, b = jnp.ones_like(q), None
        factor = cho_factor(coordinates.metric(x), lower=True)
        slope = g
    else:
        scale = jnp.sqrt(jnp.asarray(coordinates.stiffness, x.dtype))
        b = coordinates.jacobian(x) * scale[:, None]
        factor = cho_factor(b.T @ b + SOFTNESS * jnp.eye(g.size, dtype=x.dtype), lower=True)
        slope = b @ cho_solve(factor, g)

    def guess(v: Array) -> Array:
        return cho_solve(factor, v) if b is None else v

    def along(move: Array) -> Array:
        return move if b is None else cho_solve(factor, b.T @ move)

    first = jnp.isinf(lane.energy)
    change = coordinates.difference(q, lane.values) * scale
    pairs = _remember(lane, change, slope, first)
    # a step that went up was too long; one that went down earns some trust back
    slack = noise * jnp.abs(energy)
    rose = energy > lane.energy + slack
    trust = jnp.where(rose, 0.5 * lane.trust, jnp.minimum(1.5 * lane.trust, lane.largest))
    trust = jnp.maximum(trust, SMALLEST_STEP)
    lower = energy < lane.lowest - slack

    dx = -along(_inverse_hessian(*pairs, guess, slope))
    # rounding can spoil what is remembered: then it is forgotten
    sound = jnp.all(jnp.isfinite(dx)) & (dx @ g < 0)
    earlier, changes = (jnp.where(sound, pair, 0) for pair in pairs)
    dx = jnp.where(sound, dx, -along(guess(slope)))
    dq = dx if b is None else b @ dx / scale
    short = jnp.minimum(1, trust / jnp.maximum(jnp.max(jnp.abs(dq)), 1e-12))
    short = jnp.minimum(short, LARGEST_MOVE / jnp.maximum(jnp.max(jnp.abs(dx)), 1e-12))
    new = x + (short * dx).reshape(x.shape)
    if b is not None:
        missing = short * dq - coordinates.difference(coordinates.values(new), q)
        repair = along(scale * missing)
        repair *= jnp.minimum(1, LARGEST_REPAIR / jnp.maximum(jnp.max(jnp.abs(repair)), 1e-12))
        new = new + repair.reshape(x.shape)
    finite = jnp.all(jnp.isfinite(new))
    new = jnp.where(finite, new, x)
    waited = jnp.where(lower, 0, lane.waited + 1)
    lost = jnp.asarray(False)
    if b is not None:
        strained = coordinates.strained(q) | coordinates.strained(coordinates.values(new))
        lost = ~finite | (waited > PATIENCE) | strained
    return Lane(
        new,
        trust,
        lane.largest,
        energy,
        jnp.minimum(energy, lane.lowest),
        waited,
        q,
        slope,
        -short * slope,
        earlier,
        changes,
        lost,
    )


def _remember(lane: Lane, change: Array, slope: Array, first: Array) -> tuple[Array, Array]:
    """The pairs with the last step's, damped so that the Hessian stays positive."""
    y, hs = slope - lane.gradient, lane.intended
    shs, sy = change @ hs, change @ y
    theta = jnp.where(sy < 0.2 * shs, 0.8 * shs / jnp.where(shs == sy, 1, shs - sy), 1.0)
    y = jnp.where(shs > 0, theta * y + (1 - theta) * hs, y)
    product = change @ y
    useful = ~first & (product > 1e-14) & jnp.isfinite(product)
    norm = jnp.sqrt(jnp.where(useful, product, 1))

    def append(old: Array, row: Array) -> Array:
        return jnp.where(useful, jnp.concatenate([old[1:], row[None] / norm]), old)

    return append(lane.steps, change), append(lane.changes, y)


def _inverse_hessian(steps: Array, changes: Array, guess, v: Array) -> Array:
    """The L-BFGS inverse Hessian times a vector, in compact form; `guess` is its first guess."""
    # pairs are divided so that the diagonal of s y' is one; where there is none it is one too
    r = jnp.triu(steps @ changes.T, 1) + jnp.eye(len(steps), dtype=v.dtype)
    u = solve_triangular(r, steps @ v)
    start, turned = guess(v), guess(changes.T @ u)
    w = solve_triangular(r, u + changes @ (turned - start), trans=1)
    return start - turned + steps.T @ w
