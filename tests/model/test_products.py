"""Sums over pairs: by the definition in every layout, with derivatives of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from topokrates.model import products
from topokrates.model.layout import LAYOUTS, pairs_within
from topokrates.model.neighbours import NeighbourList

CUTOFF, ATOMS, HEADS, WIDTH = 4.0, 14, 2, 3
F = HEADS * WIDTH


@pytest.fixture(params=[*LAYOUTS, "edges, not as a matrix"])
def layout(request, monkeypatch):
    if "matrix" in request.param:
        monkeypatch.setattr(products, "DENSE", 0)
    return request.param.partition(",")[0]


@pytest.fixture
def pairs(structure, layout):
    _, x = structure(ATOMS)
    listed = None
    if layout != "all":
        lists = NeighbourList(CUTOFF, ATOMS, layout=layout)(np.zeros(1, int), x[None])
        listed = type(lists)(*(ends[0] for ends in lists))
    return pairs_within(jnp.asarray(x), jnp.ones(ATOMS, bool), CUTOFF, listed)


@pytest.fixture
def arrays():
    """Queries, symmetric filters and keys; the last also as values."""
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, ATOMS, F))
    w = rng.normal(size=(ATOMS, ATOMS, F))
    return tuple(jnp.asarray(a) for a in (q, w + w.transpose(1, 0, 2), k))


def ends(pairs):
    """Receivers and senders of the entries, of shape S."""
    i, j = pairs.ends(jnp.arange(ATOMS))
    return np.broadcast_arrays(i, j)


def energy(pairs, sparing, q, w, k):
    """Both functions in a row; w of all pairs, (N, N, F)."""
    i, j = ends(pairs)
    alphas = products.weigh(pairs, q, w[i, j], k, HEADS, sparing=sparing)
    alphas = [jnp.where(pairs.mask[..., None], alpha, 0) for alpha in alphas]
    sums = products.send(pairs, alphas[0], alphas[1] if pairs.mutual else None, k)
    return jnp.sum(jnp.sin(sums) + 0.1 * sums**2)


def definition(near, q, w, k):
    split = [values.reshape(*values.shape[:-1], HEADS, WIDTH) for values in (q, w, k)]
    alpha = jnp.einsum("ihd,ijhd,jhd->ijh", *split)
    sums = jnp.einsum("ij,ijh,jhd->ihd", near, alpha, split[2])
    return jnp.sum(jnp.sin(sums) + 0.1 * sums**2)


@pytest.mark.parametrize("sparing", [True, False])
def test_sums_and_their_derivatives_are_those_of_the_definition(pairs, arrays, structure, sparing):
    _, x = structure(ATOMS)
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    near = (distances < CUTOFF) & ~np.eye(ATOMS, dtype=bool)
    assert 0.2 < near.mean() < 0.8
    change = tuple(np.random.default_rng(1).normal(size=a.shape) for a in arrays)
    change = change[0], change[1] + change[1].transpose(1, 0, 2), change[2]
    change = tuple(jnp.asarray(c) for c in change)

    def in_all_orders(function):
        def gradient(*a):
            g = jax.grad(function, argnums=(0, 1, 2))(*a)
            # entries of mutual pairs stand for two
            return g[0], g[1] + g[1].transpose(1, 0, 2), g[2]

        def slope(*a):
            return sum(jnp.sum(g * c) for g, c in zip(gradient(*a), change, strict=True))

        value, first = function(*arrays), gradient(*arrays)
        forwards = jax.jvp(gradient, arrays, change)[1]
        backwards = jax.grad(slope, argnums=(0, 2))(*arrays)
        return jax.tree.leaves((value, first, forwards, backwards))

    found = in_all_orders(lambda *a: energy(pairs, sparing, *a))
    expected = in_all_orders(lambda *a: definition(near, *a))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10 * np.abs(other).max())
