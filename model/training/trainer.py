"""Steps of gradient descent: `init` makes a `State`, `step` the next one.

Muon or Adam with a schedule and a limit on the gradient's norm (optax), a running average of the
parameters, which is what is measured and kept. On several devices the batch is divided among them
and the parameters are everywhere; what is computed is the same.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from topokrates.model import splines
from topokrates.model.network import NetworkEnergy
from topokrates.model.parameters import flatten, unflatten
from topokrates.model.so3krates import SO3krates
from topokrates.model.training import objective
from topokrates.model.training.batches import Batch
from topokrates.model.training.config import Config, Optimiser

DECAY_STEPS = 100_000  # of the exponential schedule
# Intervals of the radial networks' grid per Å and radial function: slopes of a filter then differ
# from those of the network that is stored by less than a part in 10,000, whatever the cutoff.
DENSITY = 2
WORTH = 4  # pairs for each point of the grid, from which on it saves more than it costs
MUON_RMS = 0.2  # of a step over the learning rate, about what Adam's steps have


class State(NamedTuple):
    """All that the next step depends on, apart from the frames; a pytree of arrays.

    Attributes:
        params: of the network.
        average: their running average.
        optimiser: optax's state.
    """

    params: Any
    average: Any
    optimiser: Any


class Info(NamedTuple):
    """Of one step: the loss of its batch, the norm of its gradient, before the limit."""

    loss: Array
    gradient: Array


class Trainer(NamedTuple):
    """A run's functions.

    Attributes:
        function: the energy that is trained.
        init: of parameters to a `State`.
        step: of a state, its number from 0 and a batch to a state and `Info`.
        predict: of parameters and a batch to a `Prediction`.
    """

    function: NetworkEnergy
    init: Callable[[Any], State]
    step: Callable[[State, int, Batch], tuple[State, Info]]
    predict: Callable[[Any, Batch], objective.Prediction]


def random_parameters(module: SO3krates, seed: int) -> dict[str, Any]:
    """Parameters to begin with, float32; nested, numpy."""
    numbers, real = jnp.zeros(2, jnp.int32), jnp.ones(2, bool)
    positions = jnp.array([[0.0, 0, 0], [0, 0, 1]], jnp.float32)
    zero = jnp.float32(0)
    # compiled, since nothing but the parameters is then computed
    init = jax.jit(module.init)
    made = init(jax.random.PRNGKey(seed), numbers, positions, real, zero, zero)
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), dict(made["params"]))


def schedule(settings: Optimiser) -> optax.Schedule:
    """The learning rate by step; see `config.Optimiser`."""
    high, warmup, steps = settings.highest_rate, settings.warmup, settings.steps
    warmup = min(warmup, steps // 10)
    if settings.schedule == "cosine":
        after = optax.cosine_decay_schedule(high, max(steps - warmup, 1), alpha=0.01)
    elif settings.schedule == "exponential":
        after = optax.exponential_decay(high, DECAY_STEPS, settings.decay)
    else:
        after = optax.constant_schedule(high)
    return optax.join_schedules([optax.linear_schedule(0, high, max(warmup, 1)), after], [warmup])


def trainer(config: Config, module: SO3krates, devices: list[Any] | None = None) -> Trainer:
    """The functions of a run.

    Args:
        config: of the run.
        module: the network.
        devices: that share each batch; its size must be a multiple of their number. None for one.
    """
    key: tuple[Any, ...] = (module, tuple(devices or jax.devices()[:1]))
    return _trainer(config.model_dump_json(exclude_unset=True), *key)


@lru_cache(maxsize=8)
def _trainer(text: str, module: SO3krates, devices: tuple[Any, ...]) -> Trainer:
    """Made once for the same settings, so that what is compiled is."""
    config = Config.model_validate_json(text)
    function = NetworkEnergy(module, None)
    intervals = math.ceil(DENSITY * module.cutoff * module.radial_functions)
    on_grid = NetworkEnergy(module.clone(intervals=intervals), None)
    points = len(splines.grid(module.cutoff, intervals))
    settings = config.optimiser
    mesh = Mesh(np.array(devices), ("lanes",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    divided = NamedSharding(mesh, PartitionSpec("lanes"))

    def transformation(params: Any) -> optax.GradientTransformation:
        optimiser = optax.chain(optax.clip_by_global_norm(settings.clip), _method(settings))
        labels = _labels(params, config.start.freeze)
        return optax.multi_transform({"free": optimiser, "frozen": optax.set_to_zero()}, labels)

    def init(params: Any) -> State:
        params = jax.device_put(params, everywhere)
        average = jax.tree.map(jnp.array, params)  # of its own: steps reuse the memory of a state
        return jax.device_put(
            State(params, average, transformation(params).init(params)), everywhere
        )

    def suited(batch: Batch) -> NetworkEnergy:
        return on_grid if batch.near.receivers.size >= WORTH * points else function

    def of_batch(params: Any, batch: Batch) -> Array:
        return objective.loss(suited(batch), config.loss, params, batch)

    @partial(jax.jit, donate_argnums=0)
    def advance(state: State, number: Array, batch: Batch) -> tuple[State, Info]:
        value, gradient = jax.value_and_grad(of_batch)(state.params, batch)
        norm = optax.tree.norm(gradient)
        updates, optimiser = transformation(state.params).update(
            gradient, state.optimiser, state.params
        )
        params = optax.apply_updates(state.params, updates)
        # early on the average is over what there is
        keep = jnp.minimum(settings.ema, number / (number + 10.0))
        average = jax.tree.map(lambda old, new: new + keep * (old - new), state.average, params)
        # a gradient that is not finite is passed over
        sound = jnp.isfinite(norm)
        fresh = State(params, average, optimiser)
        chosen = jax.tree.map(lambda new, old: jnp.where(sound, new, old), fresh, state)
        return chosen, Info(value, norm)

    def placed(batch: Batch) -> Batch:
        return jax.device_put(batch, divided)

    def step(state: State, number: int, batch: Batch) -> tuple[State, Info]:
        return advance(state, jnp.float32(number), placed(batch))

    @jax.jit
    def predict(params: Any, batch: Batch) -> objective.Prediction:
        return objective.predict(suited(batch), config.loss, params, batch)

    return Trainer(function, init, step, lambda params, batch: predict(params, placed(batch)))


def _method(settings: Optimiser) -> optax.GradientTransformation:
    rate, decay = schedule(settings), settings.weight_decay

    def matrices(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.ndim > 1, tree)

    if settings.method == "adam":
        return optax.adamw(rate, weight_decay=decay, mask=matrices)
    return optax.contrib.muon(
        rate,
        weight_decay=decay,
        weight_decay_mask=matrices,
        adam_weight_decay=0.0,
        consistent_rms=MUON_RMS,
        muon_weight_dimension_numbers=_dimensions,
    )


def _dimensions(params: Any) -> Any:
    """Of each parameter that is a matrix, or one for each head or degree, its two axes."""

    def of(name: str, leaf: Any) -> Any:
        shape = getattr(leaf, "shape", ())  # what is frozen has none
        if name.startswith("embedding") or len(shape) < 2 or min(shape[-2:]) == 1:
            return None
        return optax.contrib.MuonDimensionNumbers(len(shape) - 2, len(shape) - 1)

    return unflatten({name: of(name, leaf) for name, leaf in flatten(params).items()})


def _labels(params: Any, freeze: list[str]) -> Any:
    """Of each parameter: "frozen" if its name begins as one of `freeze`, else "free"."""
    names = flatten(jax.tree.map(lambda leaf: leaf, params))
    labels: dict[str, Any] = {
        name: "frozen" if any(_begins(name, part) for part in freeze) else "free" for name in names
    }  # fmt: skip
    return unflatten(labels)


def _begins(name: str, part: str) -> bool:
    return name == part or name.startswith(part.rstrip("/") + "/")


def learning_rate(settings: Optimiser, step: int) -> float:
    """That of a step, for people."""
    rate = float(np.asarray(schedule(settings)(step)))
    return rate if math.isfinite(rate) else 0.0
