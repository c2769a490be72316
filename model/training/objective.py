"""What a network gets right of a batch of frames: predictions, loss, errors."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from topokrates.model.neighbours import every_pair
from topokrates.model.network import NetworkEnergy
from topokrates.model.training.batches import Batch
from topokrates.model.training.config import Loss


class Prediction(NamedTuple):
    """Of padded frames: energies (B,) in eV, forces (B, N, 3) in eV/Å, and losses (B,)."""

    energy: Array
    forces: Array
    loss: Array


def predict(function: NetworkEnergy, weights: Loss, params: Any, batch: Batch) -> Prediction:
    """What a network says of a batch, and how wrong that is; pure, to be compiled by the caller.

    With dE, dF and dmu the errors of a structure of N atoms, its loss is
    w_E dE^2 / N + w_F mean(dF^2) + w_mu mean(dmu^2). A frame without a dipole has no last term. The
    dipole is that of the partial charges about the mean position, which is the origin here.
    """
    module = function.module
    distant = module.electrostatics or module.dispersion
    far = jax.tree.map(jnp.asarray, every_pair(batch.numbers.shape[1])) if distant else None

    def of(numbers, positions, real, charge, unpaired, near):
        inputs = {
            "params": params,
            "numbers": numbers,
            "real": real,
            "charge": charge,
            "unpaired": unpaired,
            "far": far,
        }

        def energy(x):
            parts = function.parts(inputs, x, {"near": near})
            return parts.total, jnp.broadcast_to(parts.charges, real.shape)

        (total, charges), gradient = jax.value_and_grad(energy, has_aux=True)(positions)
        return total, -gradient, charges @ positions

    energy, forces, dipole = jax.vmap(of)(
        batch.numbers, batch.positions, batch.real, batch.charge, batch.unpaired, batch.near
    )
    atoms = jnp.maximum(jnp.sum(batch.real, axis=1), 1)
    loss = weights.energy * (energy - batch.energy) ** 2 / atoms
    error = jnp.where(batch.real[..., None], forces - batch.forces, 0)
    squares = error**2 if weights.huber is None else _huber(error, weights.huber)
    loss += weights.forces * jnp.sum(squares, axis=(1, 2)) / (3 * atoms)
    if weights.dipole:
        known = jnp.isfinite(batch.dipole)
        error = jnp.where(known, dipole - jnp.where(known, batch.dipole, 0), 0)
        loss += weights.dipole * jnp.mean(error**2, axis=1)
    return Prediction(energy, forces, loss)


def loss(function: NetworkEnergy, weights: Loss, params: Any, batch: Batch) -> Array:
    """Mean loss of the structures of a batch that have a weight; a scalar."""
    losses = predict(function, weights, params, batch).loss
    return jnp.sum(batch.weight * losses) / jnp.maximum(jnp.sum(batch.weight), 1)


def _huber(error: Array, delta: float) -> Array:
    """error^2 up to delta, then linear with the same slope."""
    size = jnp.abs(error)
    return jnp.where(size < delta, error**2, delta * (2 * size - delta))
