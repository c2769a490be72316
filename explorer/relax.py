"""The batched minimiser: BFGS in shared internal coordinates, one gradient a step.

A descent is a plain loop on the host around two compiled calls, the potential's and `_advance`, so
that a potential that cannot be compiled (any ASE calculator) is minimised by the same code. Lanes
are independent: each has its own Hessian, trust radius and `Status`, and a lane that has ended is
given the next structure that waits.

The step (Bofill and Powell's damping, Schlegel's redundant coordinates; see Peng et al., J.
Comput. Chem. 17, 49 (1996)): gradient in q by the pseudo-inverse of B, a damped BFGS update of the
Hessian in q, dx = -(B' H B + s)^-1 g, capped by the largest change of a coordinate, one
back-transformation, no line search.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.internals import Coordinates
from topokrates.model.potential import Potential

DESCENT_FORCE = 1e-3  # where a descent ends and recognition or polish begins
MAX_STEPS = 1000
LARGEST_STEP = 0.4  # Å or radians, of any one coordinate
LARGEST_MOVE = 0.5  # Å, of any one atom along one axis
SOFTNESS = 0.003  # s, eV/Å^2: stands in for the rigid motions, which no coordinate sees
EXPLODED_FORCE = 1e12


class Status(StrEnum):
    """How a lane ended."""

    CONVERGED = "converged"
    CERTIFIED = "certified"
    NOT_CONVERGED = "not converged"
    SADDLE = "saddle"
    EXPLODED = "not finite"
    RUNNING = "running"


class Descent(NamedTuple):
    """Where one structure came to rest.

    Attributes:
        index: which of the starts it was.
        positions: (N, 3).
        energy, max_force: there; the force is the largest component-wise norm of an atom.
        gradient_calls: force evaluations spent.
        status: CONVERGED, NOT_CONVERGED or EXPLODED.
    """

    index: int
    positions: np.ndarray
    energy: float
    max_force: float
    gradient_calls: int
    status: Status


class _Lanes(NamedTuple):
    positions: Array  # (B, N, 3): where the next gradient is wanted
    hessian: Array  # (B, q, q)
    trust: Array  # (B,): largest change of a coordinate now, and ever
    largest: Array  # (B,)
    best: Array  # (B,): energy of the last step
    values: Array  # (B, q): coordinates and gradient of the last step
    gradient: Array  # (B, q)
    fresh: Array  # (B,): no last step yet


def descend(
    potential: Potential,
    coordinates: Coordinates,
    starts: Iterable[np.ndarray],
    max_force: float = DESCENT_FORCE,
    max_steps: int = MAX_STEPS,
    lanes: int = 16,
    largest_step: float = LARGEST_STEP,
) -> Iterator[Descent]:
    """Minimises structures, yielding each as it comes to rest.

    Args:
        potential: of one molecule, any precision.
        coordinates: from `internals.coordinates`.
        starts: structures (N, 3); read as lanes become free.
        max_force: norm of the largest force on an atom at which a lane has converged.
        max_steps: gradient calls after which a lane is given up.
        lanes: size of the batch.
        largest_step: of any one coordinate, Å or radians.

    Yields:
        A `Descent` per start, in the order in which they end. Those that end together come in the
        order of the starts.
    """
    waiting = enumerate(starts)
    first = next(waiting, None)
    if first is None:
        return
    # a batch of one is compiled to other last bits than a larger one: a lane stays empty instead
    slots = max(lanes, 2)
    blank = jnp.broadcast_to(jnp.asarray(first[1], jnp.float64), (slots, *np.shape(first[1])))
    state = _start(coordinates, blank, largest_step)
    owner = np.full(slots, -1)
    calls = np.zeros(slots, int)

    def fill(lane: int, item: tuple[int, np.ndarray]) -> None:
        nonlocal state
        owner[lane], calls[lane] = item[0], 0
        position = jnp.asarray(item[1], jnp.float64)
        state = _load(coordinates, state, lane, position, largest_step)

    fill(0, first)
    for lane in range(1, lanes):
        if (item := next(waiting, None)) is None:
            break
        fill(lane, item)

    while (active := owner >= 0).any():
        positions = np.asarray(state.positions)
        energies, forces = potential.energies_and_forces(positions, active)
        calls[active] += 1
        largest = np.sqrt(np.max(np.sum(np.asarray(forces, float) ** 2, axis=2), axis=1))
        finite = np.isfinite(energies) & np.isfinite(largest) & (largest < EXPLODED_FORCE)
        converged = finite & (largest <= max_force)
        ended = active & (~finite | converged | (calls >= max_steps))
        state = _advance(
            coordinates,
            state,
            jnp.asarray(energies, jnp.float64),
            jnp.asarray(-forces, jnp.float64),
            jnp.asarray(active & ~ended),
        )
        for lane in sorted(np.flatnonzero(ended), key=lambda lane: owner[lane]):
            status = Status.CONVERGED if converged[lane] else Status.NOT_CONVERGED
            yield Descent(
                int(owner[lane]),
                positions[lane],
                float(energies[lane]),
                float(largest[lane]),
                int(calls[lane]),
                status if finite[lane] else Status.EXPLODED,
            )
            owner[lane] = -1
            if (item := next(waiting, None)) is not None:
                fill(int(lane), item)


@partial(jax.jit, static_argnums=0)
def _start(coordinates: Coordinates, positions: Array, largest_step: float) -> _Lanes:
    batch = len(positions)
    zeros = jnp.zeros((batch, coordinates.count), positions.dtype)
    return _Lanes(
        positions,
        jax.vmap(coordinates.model_hessian)(positions),
        jnp.full(batch, largest_step, positions.dtype),
        jnp.full(batch, largest_step, positions.dtype),
        jnp.full(batch, jnp.inf, positions.dtype),
        zeros,
        zeros,
        jnp.ones(batch, bool),
    )


@partial(jax.jit, static_argnums=0)
def _load(
    coordinates: Coordinates, state: _Lanes, lane: int, positions: Array, largest_step: float
) -> _Lanes:
    new = _start(coordinates, positions[None], largest_step)
    return jax.tree.map(lambda old, one: old.at[lane].set(one[0]), state, new)


@partial(jax.jit, static_argnums=0)
def _advance(
    coordinates: Coordinates, state: _Lanes, energies: Array, gradients: Array, active: Array
) -> _Lanes:
    moved = jax.vmap(partial(_step, coordinates))(state, energies, gradients)

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, moved, state)


def _step(coordinates: Coordinates, lane: _Lanes, energy: Array, gradient: Array) -> _Lanes:
    """One BFGS step of one lane."""
    x, g = lane.positions, gradient.reshape(-1)
    b, q = coordinates.jacobian(x), coordinates.values(x)
    identity = jnp.eye(x.size, dtype=x.dtype)
    if coordinates.cartesian:
        gq = g
    else:
        gq = b @ jax.scipy.linalg.solve(b.T @ b + 1e-3 * identity, g, assume_a="pos")

    hessian = _bfgs(lane.hessian, coordinates.difference(q, lane.values), gq - lane.gradient)
    hessian = jnp.where(lane.fresh, lane.hessian, hessian)
    # a step that went up was too long; one that went down earns some trust back
    rose = energy > lane.best + 1e-9 * jnp.abs(energy)
    trust = jnp.where(rose, 0.5 * lane.trust, jnp.minimum(1.5 * lane.trust, lane.largest))
    trust = jnp.maximum(trust, 0.02)

    def newton(hessian: Array) -> Array:
        curvature = b.T @ hessian @ b + SOFTNESS * identity
        return -jax.scipy.linalg.solve(curvature, g, assume_a="pos")

    dx = newton(hessian)
    # many damped updates can leave it indefinite by rounding: then it is begun anew
    sound = jnp.all(jnp.isfinite(dx)) & (dx @ g < 0)
    hessian = jnp.where(sound, hessian, coordinates.model_hessian(x))
    dx = jnp.where(sound, dx, newton(hessian))
    dq = b @ dx
    scale = jnp.minimum(1, trust / jnp.maximum(jnp.max(jnp.abs(dq)), 1e-12))
    scale = jnp.minimum(scale, LARGEST_MOVE / jnp.maximum(jnp.max(jnp.abs(dx)), 1e-12))
    new = x + (scale * dx).reshape(x.shape)
    if not coordinates.cartesian:
        # one back-transformation: on a curved path the coordinates come out as intended
        missing = scale * dq - coordinates.difference(coordinates.values(new), q)
        b_new = coordinates.jacobian(new)
        repair = jax.scipy.linalg.solve(b_new.T @ b_new + 1e-3 * identity, b_new.T @ missing)
        repair = repair * jnp.minimum(1, 0.3 / jnp.maximum(jnp.max(jnp.abs(repair)), 1e-12))
        new = new + repair.reshape(x.shape)
    return _Lanes(new, hessian, trust, lane.largest, energy, q, gq, jnp.zeros_like(lane.fresh))


def _bfgs(hessian: Array, dq: Array, dg: Array) -> Array:
    """BFGS update, damped so that the Hessian stays positive (Powell 1978)."""
    hs = hessian @ dq
    shs, sy = dq @ hs, dq @ dg
    theta = jnp.where(sy < 0.2 * shs, 0.8 * shs / jnp.where(shs == sy, 1, shs - sy), 1.0)
    y = theta * dg + (1 - theta) * hs
    update = jnp.outer(y, y) / (dq @ y) - jnp.outer(hs, hs) / shs
    return jnp.where((shs > 1e-14) & jnp.all(jnp.isfinite(update)), hessian + update, hessian)
