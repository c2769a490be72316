"""Which atoms see which: the pairs of a structure as dense (N, K) rows.

Row i lists what atom i receives. Two layouts share one face, so that a network is written once:

- all pairs: K = N, no index; a sender is read by broadcasting, nothing is gathered or scattered.
  Best for small molecules, and for batches of them on a GPU.
- neighbour lists: the K nearest atoms of each, found anew at each call, so that nothing has to be
  kept up to date. `capacity` is K, fixed when the function is compiled.

A row that would need more than K entries is never cut silently: `overflow` says how many entries
the fullest row lacks, and whoever evaluates must repeat with a larger capacity.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Pairs(NamedTuple):
    """Directed pairs of one structure.

    Attributes:
        vectors: r_ij = R_j - R_i, from the receiver i to the sender j, shape (N, K, 3), Å.
        distances: their lengths, shape (N, K), Å. Where `mask` is False both hold harmless
            numbers, so that no derivative of them is ever NaN.
        mask: True where the pair exists, shape (N, K).
        senders: j of each entry, shape (N, K); None when K = N and j is the column.
        overflow: entries that the fullest row lacks, a scalar; 0 or less when all fit.
    """

    vectors: Array
    distances: Array
    mask: Array
    senders: Array | None
    overflow: Array

    def sent(self, values: Array) -> Array:
        """What the senders hold: (N, ...) to (N, K, ...) or, with all pairs, (1, N, ...)."""
        return values[None] if self.senders is None else values[self.senders]


def pairs_within(
    positions: Array, real: Array, cutoff: float | None, capacity: int | None = None
) -> Pairs:
    """All directed pairs of real atoms closer than the cutoff.

    Args:
        positions: (N, 3), Å.
        real: False for padding atoms, (N,).
        cutoff: Å, or None for every pair.
        capacity: K of the neighbour list; None for the layout of all pairs.

    Returns:
        Pairs with K = N or K = capacity.
    """
    n = positions.shape[0]
    vectors = positions[None, :, :] - positions[:, None, :]
    mask = real[:, None] & real[None, :] & ~jnp.eye(n, dtype=bool)
    # squared distances decide who is near: no square root, no derivative, at a vanishing length
    squared = jnp.sum(jax.lax.stop_gradient(vectors) ** 2, axis=-1)
    if cutoff is not None:
        mask &= squared < cutoff**2
    overflow = jnp.asarray(0)
    senders = None
    if capacity is not None and capacity < n:
        overflow = jnp.max(jnp.sum(mask, axis=1)) - capacity
        _, senders = jax.lax.top_k(-jnp.where(mask, squared, jnp.inf), capacity)
        rows = jnp.arange(n)[:, None]
        mask = mask[rows, senders]
        vectors = positions[senders] - positions[:, None, :]
    placeholder = jnp.asarray([0.0, 0.0, cutoff or 10.0], positions.dtype)
    vectors = jnp.where(mask[..., None], vectors, placeholder)
    distances = jnp.sqrt(jnp.sum(vectors**2, axis=-1))
    return Pairs(vectors, distances, mask, senders, overflow)
