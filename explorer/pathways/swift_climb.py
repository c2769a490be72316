"""Climbs to saddles inside one compiled loop, for potentials whose Hessian costs next to nothing.

The steps are those of `saddle`, in space, with the exact Hessian at each: up along the mode that
overlaps most with the one that was followed, down along all others, within a trust radius that
follows how well the energy was foreseen. Where a climb ends is a guess, however good; `saddle` has
the last word.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.model.compiled import CompiledPotential, EnergyFunction
from topokrates.model.potential import Potential
from topokrates.relaxation.internals import Coordinates

LANES = 8  # of a program, always: so that a lane gets the same bits whoever is beside it
STEPS = 8  # between two looks at who has ended
MAX_STEPS = 240
RESTED = 1e-6  # largest force on an atom, epsilon/sigma
# of any coordinate; with 0.3 twice the steps, and of 165 saddles of LJ9 155 met in place of 164
LONGEST_STEP, SHORTEST_STEP = 0.07, 0.02
FLATTEST = 5e-3  # softer modes are stepped along as if they were this stiff
RIGID = 1e6  # stiffness that stands for rigid motions: no mode is stiffer
LINEAR = 1e-6  # singular value, squared, of a rotation that moves nothing


class Top(NamedTuple):
    """Where a climb ended.

    Attributes:
        positions: (N, 3).
        mode: that was followed last, (N, 3), unit length.
        steps: each a gradient and a Hessian.
        rested: whether the forces vanish there.
    """

    positions: np.ndarray
    mode: np.ndarray
    steps: int
    rested: bool


def applies(potential: Potential, coordinates: Coordinates) -> TypeGuard[CompiledPotential]:
    """Whether this is a cluster of a potential that a compiled loop can hold."""
    held = isinstance(potential, CompiledPotential) and potential.closed
    return held and coordinates.cartesian and not len(coordinates.bonds)


class _Lane(NamedTuple):
    positions: Array
    energy: Array
    gradient: Array
    largest: Array
    mode: Array
    trust: Array
    steps: Array
    ended: Array


def climb(
    function: EnergyFunction,
    inputs: Any,
    starts: Sequence[np.ndarray],
    directions: Sequence[np.ndarray],
) -> list[Top]:
    """Climbs from structures (N, 3) along directions (N, 3); each as it would alone.

    Args:
        function, inputs: the energy of one structure, without lists; float64.
        starts: where from.
        directions: which way, of any length; one of length zero stands for the softest mode.
    """
    tasks = list(zip(starts, directions, strict=True))
    tops: dict[int, Top] = {}
    waiting = iter(range(len(tasks)))
    indices: list[int | None] = [None] * LANES
    state: _Lane | None = None
    while len(tops) < len(tasks):
        fresh = np.zeros(LANES, bool)
        for lane in range(LANES):
            if indices[lane] is None and (index := next(waiting, None)) is not None:
                indices[lane], fresh[lane] = index, True
        if fresh.any():
            # a lane without a start repeats another's, and has ended
            some = indices[int(np.argmax(fresh))]
            taken = [
                some if index is None or not new else index
                for index, new in zip(indices, fresh, strict=True)
            ]
            x, d = (np.stack([tasks[k or 0][i] for k in taken]).astype(float) for i in (0, 1))
            begun = _begin(function, inputs, x, d, fresh)
            state = begun if state is None else _replace(state, begun, fresh)
        assert state is not None
        state = done = _run(function, inputs, state)
        ended = np.asarray(done.ended)
        for lane, index in enumerate(indices):
            if index is not None and ended[lane]:
                x, mode = (np.array(v[lane]) for v in (done.positions, done.mode))
                steps, rested = int(done.steps[lane]), bool(done.largest[lane] <= RESTED)
                tops[index], indices[lane] = Top(x, mode, steps, rested), None
    return [tops[k] for k in range(len(tasks))]


@partial(jax.jit, static_argnums=0)
def _begin(
    function: EnergyFunction, inputs: Any, positions: Array, directions: Array, wanted: Array
) -> _Lane:
    def begin(x: Array, direction: Array, wanted: Array) -> _Lane:
        value, gradient = jax.value_and_grad(lambda y: function(inputs, y, {}))(x)
        ended = ~(wanted & jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)))
        trust, zero = jnp.asarray(LONGEST_STEP / 2), jnp.asarray(0)
        return _Lane(x, value, gradient, _largest(gradient), direction, trust, zero, ended)

    return jax.vmap(begin)(positions, directions, wanted)


@jax.jit
def _replace(state: _Lane, begun: _Lane, new: Array) -> _Lane:
    def choose(old: Array, begun: Array) -> Array:
        return jnp.where(new.reshape(-1, *[1] * (old.ndim - 1)), begun, old)

    return jax.tree.map(choose, state, begun)


@partial(jax.jit, static_argnums=0)
def _run(function: EnergyFunction, inputs: Any, state: _Lane) -> _Lane:
    """A few steps of all lanes."""

    def energy(x: Array) -> Array:
        return function(inputs, x, {})

    def go_on(carry: tuple[Array, _Lane]) -> Array:
        return (carry[0] < STEPS) & ~jnp.all(carry[1].ended)

    def step(carry: tuple[Array, _Lane]) -> tuple[Array, _Lane]:
        return carry[0] + 1, jax.vmap(partial(_step, energy))(carry[1])

    return jax.lax.while_loop(go_on, step, (jnp.asarray(0), state))[1]


def _step(energy: Any, lane: _Lane) -> _Lane:
    x = lane.positions
    rigid = _rigid_motions(x)
    inner = jnp.eye(x.size) - rigid @ rigid.T
    hessian = jax.hessian(energy)(x).reshape(x.size, x.size)
    hessian = jnp.where(jnp.isfinite(hessian), hessian, 0)
    hessian = inner @ hessian @ inner
    values, vectors = jnp.linalg.eigh(hessian + RIGID * (rigid @ rigid.T))
    followed = jnp.argmax(jnp.abs(vectors.T @ lane.mode.reshape(-1)))
    # the way up may have been lost while there is one
    followed = jnp.where((values[followed] > 0) & (values[0] < 0), 0, followed)
    mode = vectors[:, followed]
    move = -(vectors.T @ lane.gradient.reshape(-1)) / jnp.maximum(jnp.abs(values), FLATTEST)
    move = move.at[followed].multiply(-1)
    # at the very bottom nothing pulls: go up all the same
    stuck = jnp.max(jnp.abs(move)) < 1e-8
    move = jnp.where(stuck & (values[followed] > 0), jnp.zeros_like(move).at[followed].set(1), move)
    shift = vectors @ move
    shift *= jnp.minimum(1, lane.trust / jnp.maximum(jnp.max(jnp.abs(shift)), 1e-12))
    foreseen = lane.gradient.reshape(-1) @ shift + shift @ hessian @ shift / 2
    new = x + shift.reshape(x.shape)
    value, gradient = jax.value_and_grad(energy)(new)
    miss = jnp.abs(value - lane.energy - foreseen) / jnp.maximum(jnp.abs(foreseen), 1e-5)
    trust = jnp.where(miss < 0.5, 1.4, jnp.where(miss > 1.5, 0.6, 1.0)) * lane.trust
    sound = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
    steps = lane.steps + 1
    moved = _Lane(
        new,
        value,
        gradient,
        _largest(gradient),
        mode.reshape(x.shape),
        jnp.clip(trust, SHORTEST_STEP, LONGEST_STEP),
        steps,
        ~sound | (steps >= MAX_STEPS) | (_largest(gradient) <= RESTED),
    )
    return jax.tree.map(lambda old, fresh: jnp.where(lane.ended, old, fresh), lane, moved)


def _rigid_motions(x: Array) -> Array:
    """Orthonormal translations and rotations, (3N, 6); zero columns for those of a line."""
    centred = x - x.mean(axis=0)
    axes = jnp.eye(3)
    translations = jnp.tile(axes, (len(x), 1)) / jnp.sqrt(len(x))
    rotations = jnp.stack([jnp.cross(axis, centred).reshape(-1) for axis in axes], axis=1)
    squares, turns = jnp.linalg.eigh(rotations.T @ rotations)
    scale = jnp.where(squares > LINEAR, 1 / jnp.sqrt(jnp.maximum(squares, LINEAR)), 0)
    return jnp.concatenate([translations, rotations @ turns * scale], axis=1)


def _largest(vectors: Array) -> Array:
    """Length of the longest of (N, 3)."""
    return jnp.sqrt(jnp.max(jnp.sum(vectors**2, axis=-1)))
