"""Which atoms see which: the pairs of a structure, in one of three layouts behind one face.

- `Edges`: a list of unordered pairs. What is the same in both directions (distances, filters) is
  computed once per pair, and nothing is spent on atoms out of reach. What atoms hold is gathered
  for the pairs, what pairs send is added to the atoms, in the order of the list.
- `Rows`: the neighbours of each atom, (N, K). Every pair is computed twice, messages are summed
  along a row, nothing is scattered.
- all pairs, (N, N): a sender is read by broadcasting, nothing is gathered or scattered.

Lists are made on the host (`neighbours.py`) and hold at least what the cutoff needs; the mask
decides what counts, so that a longer list changes nothing.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

LAYOUTS = ("edges", "rows", "all")


class Edges(NamedTuple):
    """Unordered pairs, each once: atoms (E,) and (E,). An entry of one atom twice is padding."""

    receivers: Any
    senders: Any

    def read(self, values: Array, end: int, nothing: Array | int = 0) -> Array:
        """What the receivers (end 0) or senders (1) hold: (N, ...) to (E, ...).

        A zero that a compiler cannot know to be one makes a reading different from others: it then
        rather reads twice than stores what was read.
        """
        return _take(values, self[end] + nothing)

    def add(self, to_receivers: Array, to_senders: Array, atoms: int) -> Array:
        """Messages (E, ...), summed on their atoms: (atoms, ...)."""
        sums = jnp.zeros((atoms, *to_receivers.shape[1:]), to_receivers.dtype)
        sums = sums.at[self.receivers].add(to_receivers, mode="promise_in_bounds")
        return sums.at[self.senders].add(to_senders, mode="promise_in_bounds")


class Rows(NamedTuple):
    """Neighbours of each atom, (N, K). An atom's own number is padding."""

    senders: Any


class Pairs(NamedTuple):
    """Pairs of one structure; S is (E,), (N, K) or (N, N).

    Attributes:
        vectors: r_ij = R_j - R_i, from the receiver i to the sender j, shape S + (3,), Å.
        distances: their lengths, shape S, Å. Where `mask` is False both hold harmless numbers,
            so that no derivative of them is ever NaN.
        mask: True where the pair exists, shape S.
        listed: the list behind it; None for all pairs.
        atoms: N.
        nothing: a zero, int32, that a compiler cannot know to be one; see `Edges.read`.
    """

    vectors: Array
    distances: Array
    mask: Array
    listed: Edges | Rows | None
    atoms: int
    nothing: Array

    @property
    def mutual(self) -> bool:
        """Whether an entry stands for both directions, i from j and j from i."""
        return isinstance(self.listed, Edges)

    def ends(self, values: Array) -> tuple[Array, Array]:
        """What receivers and senders hold: (N, ...) to two of S + (...), or of a shape that
        broadcasts to it."""
        if isinstance(self.listed, Edges):
            return self.listed.read(values, 0), self.listed.read(values, 1)
        if isinstance(self.listed, Rows):
            return values[:, None], _take(values, self.listed.senders)
        return values[:, None], values[None]

    def collect(self, to_receivers: Array, to_senders: Array | None) -> Array:
        """Sums messages S + (...) on the atoms, (N, ...).

        Args:
            to_receivers: message to the receiver of each entry.
            to_senders: message to its sender, where entries are `mutual`; else not used.
        """
        if not isinstance(self.listed, Edges):
            return jnp.sum(to_receivers, axis=1)
        assert to_senders is not None
        return self.listed.add(to_receivers, to_senders, self.atoms)

    def total(self, values: Array) -> Array:
        """Sum of a symmetric quantity over all pairs, each counted once; values of shape S."""
        sums = jnp.sum(jnp.where(self.mask, values, 0))
        return sums if self.mutual else sums / 2


def _take(values: Array, index: Array) -> Array:
    return values.at[index].get(mode="promise_in_bounds")


def pairs_within(
    positions: Array, real: Array, cutoff: float | None, listed: Edges | Rows | None = None
) -> Pairs:
    """The pairs of real atoms closer than the cutoff.

    Args:
        positions: (N, 3), Å.
        real: False for padding atoms, (N,).
        cutoff: Å, or None for every pair.
        listed: which pairs to look at; they must be all within the cutoff, and may be more. None
            looks at every pair.
    """
    atoms = len(positions)
    index = jnp.arange(atoms)
    # of a list rather than of what all lanes share, see `SO3krates`
    counts = listed.receivers[0] if isinstance(listed, Edges) else jnp.sum(real, dtype=jnp.int32)
    nothing = jnp.minimum(counts, 0)
    blank = Pairs(positions, positions, real, listed, atoms, nothing)
    start, end = blank.ends(positions)
    i, j = blank.ends(index)
    real_i, real_j = blank.ends(real)
    vectors = end - start
    mask = real_i & real_j & (i != j)
    # squared distances decide who is near: no square root, no derivative, at a vanishing length
    if cutoff is not None:
        mask &= jnp.sum(jax.lax.stop_gradient(vectors) ** 2, axis=-1) < cutoff**2
    placeholder = jnp.asarray([0.0, 0.0, cutoff or 10.0], positions.dtype)
    vectors = jnp.where(mask[..., None], vectors, placeholder)
    distances = jnp.sqrt(jnp.sum(vectors**2, axis=-1))
    return Pairs(vectors, distances, mask, listed, atoms, nothing)
