"""Descents inside one compiled loop, for potentials whose gradient costs less than a call does.

A Lennard-Jones cluster's gradient takes microseconds: what `relax` spends around it on the host
and on factorising matrices costs a hundred times as much. Here energy, L-BFGS (Liu and Nocedal,
Math. Program. 45, 503 (1989)) and the decision to stop run together, some steps of all lanes to a
call; then lanes that came to rest are given the next structures. More gradients than with a model
Hessian, a tenth of the time.

A step is capped by a trust radius; one that would raise the energy is not made, but teaches the
Hessian and shrinks the radius.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.model.compiled import EnergyFunction

MEMORY = 8  # pairs of steps and gradient changes
CHUNK_CPU, CHUNK_OTHERS = 8, 256  # lanes of a program
STEPS = 10  # between two looks at who has come to rest
LARGEST_MOVE = 0.4  # sigma, of any one atom
SMALLEST_MOVE = 1e-6  # the trust radius falls no further
SOFT = 0.02  # displacement per force of the first step, sigma^2/epsilon
EXPLODED_FORCE = 1e12  # at the start: nothing that a descent could come back from
SLACK = 1e-11  # relative rise of the energy that is none


class Lane(NamedTuple):
    """The state of one descent; with a leading axis, of many.

    Attributes:
        positions, gradient: (N, 3). energy: there. All of the best structure so far.
        steps, changes: pairs, newest last, (m, 3N). inverse: 1 / (s y) of each, 0 for none, (m,).
        scale: of the first guess of the inverse Hessian.
        trust: largest move of an atom now.
        calls: gradients so far.
        ended: whether it has come to rest, blown up, or taken too long.
    """

    positions: Array
    gradient: Array
    energy: Array
    steps: Array
    changes: Array
    inverse: Array
    scale: Array
    trust: Array
    calls: Array
    ended: Array


class Rest(NamedTuple):
    """Where a structure came to rest: its number, positions (N, 3), energy, gradient, calls."""

    index: int
    positions: np.ndarray
    energy: float
    gradient: np.ndarray
    calls: int


def descend(
    function: EnergyFunction,
    inputs: Any,
    starts: Iterable[np.ndarray],
    max_force: float,
    max_steps: int,
    lanes: int,
    count: Any = None,
) -> Iterator[Rest]:
    """Minimises structures (N, 3), yielding each as it ends, in whatever way it does.

    Args:
        function, inputs: the energy of one structure, without lists; float64.
        starts: read as lanes become free.
        max_force: norm of the largest force on an atom at which a lane rests.
        max_steps: gradient calls after which it is given up.
        lanes: computed together.
        count: called with gradients of use and all gradients that were computed.

    Yields:
        In the order in which they end; those that end together in the order of the starts.
    """
    waiting = enumerate(starts)
    # always as many lanes to a program, so that a lane gets the same bits whoever is beside it
    size = CHUNK_CPU if jax.default_backend() == "cpu" else CHUNK_OTHERS
    chunks: list[Lane | None] = [None] * -(-lanes // size)
    indices: list[int | None] = [None] * lanes
    while True:
        fresh: dict[int, np.ndarray] = {}
        for lane in range(lanes):
            if indices[lane] is None and (item := next(waiting, None)) is not None:
                indices[lane], fresh[lane] = item[0], np.asarray(item[1], float)
        if all(index is None for index in indices):
            return
        if None in indices:
            _gather(chunks, indices, size)
        rests = []
        for number, old in enumerate(chunks):
            own = range(number * size, min((number + 1) * size, lanes))
            if all(indices[lane] is None for lane in own):
                continue
            state = _filled(
                function, inputs, old, {k - own[0]: fresh[k] for k in own if k in fresh}
            )
            before = np.asarray(state.calls)
            chunks[number] = state = _run(function, inputs, state, max_force, max_steps)
            calls, ended = np.asarray(state.calls), np.asarray(state.ended)
            if count is not None:
                count(int((calls - before).sum()), STEPS * size)
            for lane in own:
                if (index := indices[lane]) is not None and ended[k := lane - own[0]]:
                    x, gradient = np.array(state.positions[k]), np.array(state.gradient[k])
                    rests.append(Rest(index, x, float(state.energy[k]), gradient, int(calls[k])))
                    indices[lane] = None
        yield from sorted(rests, key=lambda rest: rest.index)


def _gather(chunks: list[Lane | None], indices: list[int | None], size: int) -> None:
    """Moves lanes together, if that empties a chunk: what is left at the end runs in few.

    New structures take the lowest free lanes, so none that is not begun yet is ever moved: a lane
    that is free below it would have been taken first.
    """
    while True:
        used = [lane for lane, index in enumerate(indices) if index is not None]
        last = used[-1] // size
        tail = [lane for lane in used if lane // size == last]
        free = [lane for lane in range(last * size) if indices[lane] is None]
        if len(free) < len(tail):
            return
        for old, new in zip(tail, free, strict=False):
            source = chunks[last]
            assert source is not None
            target = chunks[new // size] or source
            chunks[new // size] = _move(source, old % size, target, new % size)
            indices[new], indices[old] = indices[old], None


def _filled(
    function: EnergyFunction, inputs: Any, state: Lane | None, fresh: dict[int, np.ndarray]
) -> Lane:
    """A chunk with structures (N, 3) put into some of its lanes."""
    if not fresh:
        assert state is not None
        return state
    size = CHUNK_CPU if jax.default_backend() == "cpu" else CHUNK_OTHERS
    some = next(iter(fresh.values()))
    begun = _begin(function, inputs, np.stack([fresh.get(k, some) for k in range(size)]))
    new = np.isin(np.arange(size), list(fresh))
    if state is None:
        # a lane that nobody uses holds a copy of another, and has ended
        return begun._replace(ended=begun.ended | ~new)
    return _replace(state, begun, new)


@partial(jax.jit, static_argnums=0)
def _begin(function: EnergyFunction, inputs: Any, positions: Array) -> Lane:
    def begin(x: Array) -> Lane:
        energy, gradient = jax.value_and_grad(lambda y: function(inputs, y, {}))(x)
        pairs = jnp.zeros((MEMORY, x.size), x.dtype)
        return Lane(
            x,
            gradient,
            energy,
            pairs,
            pairs,
            pairs[:, 0],
            jnp.asarray(SOFT, x.dtype),
            jnp.asarray(LARGEST_MOVE, x.dtype),
            jnp.asarray(1),
            ~(jnp.isfinite(energy) & (_largest(gradient) < EXPLODED_FORCE)),
        )

    return jax.vmap(begin)(positions)


@jax.jit
def _move(source: Lane, place: int, target: Lane, lane: int) -> Lane:
    return jax.tree.map(lambda new, old: old.at[lane].set(new[place]), source, target)


@jax.jit
def _replace(state: Lane, begun: Lane, new: Array) -> Lane:
    def choose(old: Array, begun: Array) -> Array:
        return jnp.where(new.reshape(-1, *[1] * (old.ndim - 1)), begun, old)

    return jax.tree.map(choose, state, begun)


@partial(jax.jit, static_argnums=0)
def _run(
    function: EnergyFunction, inputs: Any, state: Lane, max_force: float, max_steps: int
) -> Lane:
    """Some steps of all lanes that have not ended."""
    step = jax.vmap(partial(_step, function, inputs, max_force, max_steps))
    return jax.lax.fori_loop(0, STEPS, lambda _, lanes: step(lanes), state)


def _step(
    function: EnergyFunction, inputs: Any, max_force: float, max_steps: int, lane: Lane
) -> Lane:
    direction = _direction(lane).reshape(lane.positions.shape)
    downhill = jnp.sum(direction * lane.gradient) < 0
    direction = jnp.where(downhill, direction, -lane.scale * lane.gradient)
    direction *= jnp.minimum(1, lane.trust / _largest(direction))
    x = lane.positions + direction
    energy, gradient = jax.value_and_grad(lambda y: function(inputs, y, {}))(x)

    step, change = direction.reshape(-1), (gradient - lane.gradient).reshape(-1)
    product = step @ change
    useful = (product > 1e-14) & jnp.isfinite(product)
    newest = jnp.where(useful, 1 / jnp.where(useful, product, 1), 0)

    def append(old: Array, row: Array) -> Array:
        return jnp.where(useful, jnp.concatenate([old[1:], row[None]]), old)

    rose = ~(energy <= lane.energy + SLACK * jnp.abs(lane.energy))
    scale = jnp.where(useful, product / jnp.where(useful, change @ change, 1), lane.scale)
    trust = jnp.where(rose, 0.3 * _largest(direction), jnp.minimum(2 * lane.trust, LARGEST_MOVE))
    calls = lane.calls + 1
    moved = Lane(
        jnp.where(rose, lane.positions, x),
        jnp.where(rose, lane.gradient, gradient),
        jnp.where(rose, lane.energy, energy),
        append(lane.steps, step),
        append(lane.changes, change),
        append(lane.inverse, newest),
        scale,
        jnp.maximum(trust, SMALLEST_MOVE),
        calls,
        (_largest(gradient) <= max_force) & ~rose | (calls >= max_steps),
    )
    # a structure that begins at rest stays where it is
    still = lane._replace(ended=lane.ended | (_largest(lane.gradient) <= max_force))
    return jax.tree.map(lambda old, new: jnp.where(still.ended, old, new), still, moved)


def _direction(lane: Lane) -> Array:
    """Minus the inverse Hessian times the gradient, by the two loops of L-BFGS."""
    q, shares = lane.gradient.reshape(-1), []
    for k in reversed(range(MEMORY)):
        shares.append(lane.inverse[k] * (lane.steps[k] @ q))
        q = q - shares[-1] * lane.changes[k]
    q = lane.scale * q
    for k in range(MEMORY):
        share = lane.inverse[k] * (lane.changes[k] @ q)
        q = q + lane.steps[k] * (shares[MEMORY - 1 - k] - share)
    return -q


def _largest(vectors: Array) -> Array:
    """Length of the longest of (N, 3)."""
    return jnp.sqrt(jnp.max(jnp.sum(vectors**2, axis=-1)))
