"""Layouts and neighbour lists: three ways to say who sees whom, one answer."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from topokrates.model.layout import LAYOUTS, Edges, Rows, pairs_within
from topokrates.model.neighbours import ALL_CANDIDATES, ROUNDING, SKIN, NeighbourList, every_pair

CUTOFF = 4.0
LISTED = CUTOFF + ROUNDING  # what lists hold; the mask cuts sharply


def close_pairs(x, cutoff=LISTED):
    """Unordered pairs within the cutoff, by the definition."""
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    return {tuple(map(int, pair)) for pair in np.argwhere(np.triu(distances < cutoff, 1))}


def listed_pairs(found):
    """The unordered pairs of a list of one structure."""
    if isinstance(found, Edges):
        pairs = np.stack([found.receivers[0], found.senders[0]], axis=1)
        return [(int(i), int(j)) for i, j in pairs if i != j]
    i, _ = np.indices(found.senders[0].shape)
    j = found.senders[0]
    return [(int(a), int(b)) for a, b in zip(i.ravel(), j.ravel(), strict=True) if a < b]


@pytest.mark.parametrize("layout", ["edges", "rows"])
@pytest.mark.parametrize("atoms", [1, 2, 12, 80, ALL_CANDIDATES + 20])
def test_a_list_holds_each_pair_within_the_cutoff_once(structure, layout, atoms):
    _, x = structure(atoms)
    found = listed_pairs(NeighbourList(CUTOFF, atoms, layout=layout)(np.zeros(1, int), x[None]))
    assert len(found) == len(set(found))
    assert set(found) == close_pairs(x)


@pytest.mark.parametrize("layout", ["edges", "rows"])
def test_nothing_ever_overflows(structure, layout):
    """A collapsed structure has more neighbours than anything that a length was made for."""
    atoms = 90
    _, x = structure(atoms)
    lists = NeighbourList(CUTOFF, atoms, layout=layout)
    for scale in (1.0, 0.5, 0.1, 1.0):
        found = listed_pairs(lists(np.zeros(1, int), scale * x[None]))
        assert set(found) == close_pairs(scale * x)


@pytest.mark.parametrize("layout", ["edges", "rows"])
@pytest.mark.parametrize("atoms", [12, 40, ALL_CANDIDATES + 20])
def test_lists_of_many_structures_are_those_of_each(structure, layout, atoms):
    """Nine that differ by up to twice their size, which are more than are measured at once."""
    _, x = structure(atoms)
    scales = np.linspace(0.7, 1.4, 9)
    lists = NeighbourList(CUTOFF, atoms, layout=layout)
    many, lanes = scales[:, None, None] * x, np.arange(9)
    joined = lists(lanes, many)
    for lane, each in enumerate(lists.each(lanes, many)):
        expected = close_pairs(many[lane])
        assert set(listed_pairs(each)) == expected
        assert set(listed_pairs(type(joined)(*(a[lane : lane + 1] for a in joined)))) == expected
        alone = NeighbourList(CUTOFF, atoms, layout=layout)(np.zeros(1, int), many[lane : lane + 1])
        for one, other in zip(each, alone, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_list_of_a_moving_structure_is_what_a_new_one_would_be(structure):
    """Whatever the candidates' age; and lanes do not share them."""
    atoms = ALL_CANDIDATES + 30
    _, x = structure(atoms)
    rng = np.random.default_rng(1)
    lists = NeighbourList(CUTOFF, atoms)
    x = np.stack([x, x + 50])
    for _ in range(30):
        x = x + rng.normal(scale=SKIN / 20, size=x.shape)
        found = lists(np.arange(2), x)
        for lane in range(2):
            new = NeighbourList(CUTOFF, atoms)(np.zeros(1, int), x[lane : lane + 1])
            count = len(close_pairs(x[lane]))
            np.testing.assert_array_equal(found.receivers[lane][:count], new.receivers[0][:count])
            np.testing.assert_array_equal(found.senders[lane][:count], new.senders[0][:count])
    # built again when something had moved, and not at each call
    assert 2 < lists.built < 30


def test_pairs_of_padding_do_not_exist():
    x = jnp.zeros((3, 3)).at[1, 0].set(1.0)
    real = jnp.array([True, True, False])
    for listed in (None, every_pair(3), Rows(np.array([[1, 2], [0, 2], [0, 1]]))):
        pairs = pairs_within(x, real, CUTOFF, listed)
        assert int(pairs.mask.sum()) == (1 if pairs.mutual else 2)
        assert float(pairs.total(pairs.distances)) == pytest.approx(1.0)


def test_what_is_sent_is_collected(structure):
    """Sums of vectors to the neighbours, by the definition and in each layout."""
    _, x = structure(12)
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    near = (distances < CUTOFF) & ~np.eye(12, dtype=bool)
    expected = np.einsum("ij,ijd->id", near, x[None] - x[:, None])
    for layout in LAYOUTS:
        listed = None
        if layout != "all":
            lists = NeighbourList(CUTOFF, 12, layout=layout)(np.zeros(1, int), x[None])
            listed = type(lists)(*(ends[0] for ends in lists))
        pairs = pairs_within(jnp.asarray(x), jnp.ones(12, bool), CUTOFF, listed)
        forth = np.where(pairs.mask[..., None], pairs.vectors, 0)
        np.testing.assert_allclose(pairs.collect(forth, -forth), expected, atol=1e-12)
        i, j = pairs.ends(jnp.asarray(x))
        np.testing.assert_allclose((j - i)[pairs.mask], pairs.vectors[pairs.mask], atol=1e-14)


def in_each_layout(force_field, numbers):
    return {
        layout: dataclasses.replace(force_field, layout=layout).bind(numbers) for layout in LAYOUTS
    }


def test_energies_and_forces_do_not_depend_on_the_layout(make_network, structure):
    """With lists that come from a tree: of neighbours, and of what the long-range cutoff needs."""
    numbers, x = structure(ALL_CANDIDATES + 12, seed=3)
    bound = in_each_layout(make_network(cutoff=6.0, layers=1), numbers)
    expected = bound["all"].energies_and_forces(x[None])
    assert np.abs(expected[1]).max() > 0.1
    for layout in ("edges", "rows"):
        found = bound[layout].energies_and_forces(x[None])
        np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
        np.testing.assert_allclose(found[1], expected[1], atol=1e-10)


def test_second_derivatives_do_not_depend_on_the_layout(make_network, structure):
    numbers, x = structure(12, seed=3)
    plain = dict.fromkeys(("zbl", "electrostatics", "dispersion", "layer_norm"), False)
    bound = in_each_layout(make_network(**plain), numbers)
    vectors = np.random.default_rng(0).normal(size=(1, 12, 3))
    expected = bound["all"].hessian_vector_products(x[None], vectors)
    assert np.abs(expected).max() > 0.01
    found = bound["edges"].hessian_vector_products(x[None], vectors)
    np.testing.assert_allclose(found, expected, atol=1e-10)
