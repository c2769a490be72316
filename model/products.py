"""Sums over pairs and channels that keep nothing of the pairs for their gradient.

Per pair and channel there are half a dozen numbers (what its two atoms hold, the filter, their
products), and a gradient by the book stores each of them: 13 MB for 42 atoms, where a core's cache
holds one. Here the gradient reads the atoms again instead. A compiler would see that it is the
same reading and store it after all; indices plus 1, 2, 3 times nothing are not the same to it.

Both functions can be differentiated backwards any number of times, and forwards after that.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.model.layout import Edges, Pairs
from topokrates.model.linear import PRECISION

# A matrix of all pairs takes the place of a list up to as many atoms where messages are summed.
DENSE = 384


def weigh(
    pairs: Pairs, queries: Array, filters: Array, keys: Array, heads: int, sparing: bool = True
) -> list[Array]:
    """alpha = sum over the channels of a head of q_i w k_j.

    Args:
        pairs: S is their shape.
        queries, keys: of each atom, (N, F).
        filters: of each pair, the same in both directions, S + (F,).
        heads: H; the channels of one stand side by side.
        sparing: whether the gradient reads the atoms again. That of a loss, which is a gradient of
            a gradient, would read them too often; training then goes without.

    Returns:
        S + (H,) of the receivers and, of mutual pairs, of the senders.
    """
    if isinstance(pairs.listed, Edges):
        # a product of matrices keeps all channels in one axis, which is worth more than it costs
        of_head = jnp.asarray(
            np.repeat(np.eye(heads), queries.shape[-1] // heads, axis=0), queries.dtype
        )
        if sparing:
            return list(_weigh(queries, filters, keys, of_head, pairs.listed, pairs.nothing))
        (q_i, q_j), (k_i, k_j) = pairs.ends(queries), pairs.ends(keys)
        return [_sums(q_i * filters * k_j, of_head), _sums(q_j * filters * k_i, of_head)]
    # an axis of heads, not an index divided by their width: only the former is vectorised
    q, w, k = (_split(values, heads) for values in (queries, filters, keys))
    (q_i, _), (_, k_j) = pairs.ends(q), pairs.ends(k)
    return [jnp.sum(q_i * w * k_j, axis=-1)]


def send(pairs: Pairs, forth: Array, back: Array | None, values: Array) -> Array:
    """Sums what the others hold, each head's channels with the weight of pair and head.

    Args:
        pairs: S is their shape.
        forth: weights of what goes to the receivers, S + (H,).
        back: of what goes to the senders, where pairs are mutual; else not used.
        values: of each atom, (N, F).

    Returns:
        (N, F).
    """
    heads, atoms = forth.shape[-1], pairs.atoms
    v = _split(values, heads)
    if isinstance(pairs.listed, Edges):
        assert back is not None
        if atoms > DENSE:
            return _send(forth, back, v, pairs.listed, pairs.nothing).reshape(values.shape)
        i, j = pairs.listed.receivers, pairs.listed.senders
        matrix = jnp.zeros((atoms**2, heads), forth.dtype)
        matrix = matrix.at[i * atoms + j].add(forth, mode="promise_in_bounds")
        matrix = matrix.at[j * atoms + i].add(back, mode="promise_in_bounds")
        forth = matrix.reshape(atoms, atoms, heads)
    elif pairs.listed is not None:
        v_j = pairs.ends(v)[1]
        return jnp.sum(forth[..., None] * v_j, axis=1).reshape(values.shape)
    sums = jnp.einsum("ijh,jhd->ihd", forth, v, precision=PRECISION)
    return sums.reshape(values.shape)


def _reader(edges: Edges, nothing: Array) -> Callable[[int, Array, int], Array]:
    """Reads values of an end (0 or 1) of each pair, for an occasion."""
    return lambda occasion, values, end: edges.read(values, end, occasion * nothing)


def _split(values: Array, heads: int) -> Array:
    return values.reshape(*values.shape[:-1], heads, -1)


def _sums(values: Array, matrix: Array) -> Array:
    return jnp.dot(values, matrix, precision=PRECISION)


def _weights(
    q: Array, w: Array, k: Array, of_head: Array, edges: Edges, nothing: Array
) -> tuple[Array, Array]:
    read = _reader(edges, nothing)
    forth = read(1, q, 0) * w * read(1, k, 1)
    back = read(2, q, 1) * w * read(2, k, 0)
    return _sums(forth, of_head), _sums(back, of_head)


def _weights_forward(*arguments):
    return _weights(*arguments), arguments


def _weights_backward(kept, cotangents):
    q, w, k, of_head, edges, nothing = kept
    read = _reader(edges, nothing)
    forth, back = (_sums(cotangent, of_head.T) for cotangent in cotangents)
    of_w = forth * read(3, q, 0) * read(3, k, 1) + back * read(4, q, 1) * read(4, k, 0)
    forth, back = forth * w, back * w
    of_q = edges.add(forth * read(5, k, 1), back * read(5, k, 0), len(q))
    of_k = edges.add(back * read(6, q, 1), forth * read(6, q, 0), len(k))
    return of_q, of_w, of_k, None, None, None


# the functions behind, not the custom ones: what calls those cannot be differentiated forwards
_weigh = jax.custom_vjp(_weights)
_weigh.defvjp(_weights_forward, _weights_backward)


def _messages(forth: Array, back: Array, v: Array, edges: Edges, nothing: Array) -> Array:
    read = _reader(edges, nothing)
    forth, back = forth[..., None], back[..., None]
    return edges.add(forth * read(1, v, 1), back * read(1, v, 0), len(v))


def _messages_forward(*arguments):
    return _messages(*arguments), arguments


def _messages_backward(kept, cotangent):
    forth, back, v, edges, nothing = kept
    read = _reader(edges, nothing)
    of_forth = jnp.sum(read(2, cotangent, 0) * read(2, v, 1), axis=-1)
    of_back = jnp.sum(read(3, cotangent, 1) * read(3, v, 0), axis=-1)
    forth, back = forth[..., None], back[..., None]
    of_v = edges.add(back * read(4, cotangent, 1), forth * read(4, cotangent, 0), len(v))
    return of_forth, of_back, of_v, None, None


_send = jax.custom_vjp(_messages)
_send.defvjp(_messages_forward, _messages_backward)
