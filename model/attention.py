"""Euclidean attention: what neighbours add to the features x and to the Euclidean variables chi.

Frank, Unke, Müller, Chmiela, Nat. Commun. 15, 6539 (2024), equations 15, 16, 20 and 21. A pair's
weight is alpha = cut(r) sum_c q_ic w_c k_jc / norm, per head, with no softmax: it does not depend
on what other neighbours there are, so that the energy stays smooth when one enters or leaves.

`Attention` is the definition, and what is trained. The other two are the same function arranged
for speed, on parameters that `tables.compact` makes of trained ones:

- `CompactAttention`: the radial networks of all layers together span few functions of the distance
  (40 or so of SO3LR's 768). These are one spline, evaluated once; a filter is a linear map of them.
- `FirstAttention`: before any message chi is zero and x depends on the element alone, so a pair's
  weights are functions of two elements and a distance, and are read from a table.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from topokrates.model import products, splines
from topokrates.model.layout import Pairs
from topokrates.model.linear import PRECISION, dense
from topokrates.model.spherical import contract, degree_matrix


class Geometry(NamedTuple):
    """What the layers know of a structure; S is the shape of the pairs.

    Attributes:
        pairs: who sees whom.
        harmonics: of the directions, S + (sum of 2l + 1,).
        cut: the cutoff function, 0 where there is no pair, S.
        basis: radial functions, or the compact network's, S + (M,); on a grid, (G, M).
        kinds: row of each atom's element in the compact network's tables, (N,).
        end: where the grid ends, Å; None where the basis is that of the pairs themselves.
    """

    pairs: Pairs
    harmonics: Array
    cut: Array
    basis: Array
    kinds: Array | None
    end: float | None = None

    def at_pairs(self, values: Array) -> Array:
        """What was made of the basis, at the pairs: (G, F) on a grid to S + (F,)."""
        if self.end is None:
            return values
        return splines.evaluate(self.pairs.distances, splines.through(values), self.end)


class Weights(NamedTuple):
    """Weights of the pairs: S + (heads,) and S + (degrees,), for one direction."""

    features: Array
    degrees: Array


def per_order(values: Array, degrees: Sequence[int]) -> Array:
    """Repeats one number per degree over its orders: (..., degrees) to (..., sum of 2l + 1)."""
    return jnp.dot(values, jnp.asarray(degree_matrix(degrees), values.dtype), precision=PRECISION)


def send(
    geometry: Geometry, forth: Weights, back: Weights | None, values: Array, degrees: Sequence[int]
) -> tuple[Array, Array]:
    """Messages, summed on the atoms: dx_i = sum_j alpha v_j and dchi_i = sum_j alpha_l Y_l(r_ij).

    Args:
        geometry: of the structure.
        forth, back: weights of what goes to the receivers and, of mutual pairs, to the senders.
        values: v of each atom, (N, F).
        degrees: of chi.

    Returns:
        dx (N, F) and dchi (N, sum of 2l + 1).
    """
    pairs = geometry.pairs
    # seen from the other end, harmonics of odd degree change sign
    parity = jnp.asarray([(-1.0) ** degree for degree in degrees], values.dtype)
    dx = products.send(pairs, forth.features, back and back.features, values)
    dchi = pairs.collect(
        per_order(forth.degrees, degrees) * geometry.harmonics,
        back and per_order(back.degrees * parity, degrees) * geometry.harmonics,
    )
    return dx, dchi


class Filter(nn.Module):
    """Filters w_ij = MLP_radial(rbf(r_ij)) + MLP_spherical(c(chi_j - chi_i)); Eq. 20.

    The same in both directions of a pair. Gives the two terms, since the first may be on a grid.
    """

    features: int

    @nn.compact
    def __call__(self, basis: Array, invariants: Array) -> tuple[Array, Array]:
        by_distance = nn.silu(dense(self.features, "radial_0")(basis))
        by_direction = nn.silu(dense(self.features // 4, "spherical_0")(invariants))
        by_distance = dense(self.features, "radial_1")(by_distance)
        return by_distance, dense(self.features, "spherical_1")(by_direction)


class Attention(nn.Module):
    """Attention of heads on the features, and of one head per degree on chi."""

    heads: int
    degrees: Sequence[int]
    message_norm: float | None

    @nn.compact
    def __call__(self, x: Array, chi: Array | None, geometry: Geometry) -> tuple[Array, Array]:
        features, pairs = x.shape[-1], geometry.pairs
        invariants = _invariants(chi, pairs, self.degrees, x.dtype)
        init = nn.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))

        def of_heads(heads: int, name: str) -> Array:
            width = features // heads
            return per_head(x, self.param(name, init, (heads, width, width)))

        kinds = (("feature", self.heads), ("euclidean", len(self.degrees)))
        terms = [
            Filter(features, name=f"{kind}_filter")(geometry.basis, invariants) for kind, _ in kinds
        ]
        # both at once: what is on a grid is then looked up once
        together = geometry.at_pairs(jnp.concatenate([term for term, _ in terms], axis=-1))
        by_distance = jnp.split(together, 2, axis=-1)

        def alpha(which: int) -> list[Array]:
            kind, heads = kinds[which]
            q, k = (of_heads(heads, f"{kind}_{name}") for name in ("query", "key"))
            w = by_distance[which] + terms[which][1]
            scale = (geometry.cut / norm(self.message_norm, features, heads))[..., None]
            return [sums * scale for sums in products.weigh(pairs, q, w, k, heads, sparing=False)]

        weights = zip(alpha(0), alpha(1), strict=True)
        forth, *back = (Weights(*pair) for pair in weights)
        values = of_heads(self.heads, "feature_value")
        return send(geometry, forth, back[0] if back else None, values, self.degrees)


class CompactAttention(nn.Module):
    """`Attention` with the radial networks as linear maps of what they span."""

    heads: int
    degrees: Sequence[int]
    message_norm: float | None

    @nn.compact
    def __call__(self, x: Array, chi: Array, geometry: Geometry) -> tuple[Array, Array]:
        features, pairs = x.shape[-1], geometry.pairs
        invariants = _invariants(chi, pairs, self.degrees, x.dtype)

        def of_heads(name: str) -> Array:
            return dense(features, name, use_bias=False)(x)

        def alpha(heads: int, kind: str) -> list[Array]:
            # the norm is in the query
            q, k = of_heads(f"{kind}_query"), of_heads(f"{kind}_key")
            hidden = nn.silu(dense(features // 4, f"{kind}_spherical")(invariants))
            # apart, not side by side in one product: the basis is then written once for all
            w = dense(features, f"{kind}_radial", use_bias=False)(geometry.basis)
            w = w + dense(features, f"{kind}_filter")(hidden)
            sums = products.weigh(pairs, q, w, k, heads)
            return [each * geometry.cut[..., None] for each in sums]

        of_features, of_degrees = (
            alpha(self.heads, "feature"),
            alpha(len(self.degrees), "euclidean"),
        )
        forth, *back = (Weights(*pair) for pair in zip(of_features, of_degrees, strict=True))
        values = of_heads("feature_value")
        return send(geometry, forth, back[0] if back else None, values, self.degrees)


class FirstAttention(nn.Module):
    """`Attention` of the first layer, by table: (kinds, kinds, K + 5, 2 (heads + degrees))."""

    heads: int
    degrees: Sequence[int]
    cutoff: float

    @nn.compact
    def __call__(self, x: Array, chi: None, geometry: Geometry) -> tuple[Array, Array]:
        pairs, kinds = geometry.pairs, geometry.kinds
        assert kinds is not None
        table = self.get_variable("params", "pair_table")
        kind_i, kind_j = pairs.ends(kinds)
        count, outputs = table.shape[0], self.heads + len(self.degrees)
        if not pairs.mutual:
            table = table[..., :outputs]
        which = jnp.broadcast_to(kind_i * count + kind_j, pairs.distances.shape)
        table = table.reshape(count**2, -1, table.shape[-1])
        alphas = splines.read(pairs.distances, table, self.cutoff, pairs.nothing, which)
        alphas = alphas * geometry.cut[..., None]

        def weights(first: int) -> Weights:
            middle, last = first + self.heads, first + outputs
            return Weights(alphas[..., first:middle], alphas[..., middle:last])

        values = dense(x.shape[-1], "feature_value", use_bias=False)(x)
        back = weights(outputs) if pairs.mutual else None
        return send(geometry, weights(0), back, values, self.degrees)


def norm(message_norm: float | None, features: int, heads: int) -> float:
    """Divisor of the weights."""
    return message_norm or sqrt(features // heads)


def per_head(x: Array, kernel: Array) -> Array:
    """One small matrix per head: (N, F) with (heads, D, D) to (N, F)."""
    split = x.reshape(len(x), len(kernel), -1)
    return jnp.einsum("nhd,hde->nhe", split, kernel, precision=PRECISION).reshape(x.shape)


def _invariants(chi: Array | None, pairs: Pairs, degrees: Sequence[int], dtype) -> Array:
    """c(chi_j - chi_i), S + (degrees,); before any message the same zeros for all."""
    if chi is None:
        return jnp.zeros(len(degrees), dtype)
    chi_i, chi_j = pairs.ends(chi)
    return contract(chi_j - chi_i, degrees)
