"""The order moves branches sideways and does nothing else."""

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from topokrates.drawing.disconnectivity import Metric, disconnectivity_tree

ENERGY = st.integers(0, 12).map(lambda k: k / 4)


@st.composite
def landscapes(draw):
    energies = dict(enumerate(draw(st.lists(ENERGY, min_size=1, max_size=12)), 1))
    names = st.sampled_from(list(energies))
    link = st.tuples(names, names, st.integers(12, 24).map(lambda k: k / 4), st.booleans())
    values = {n: draw(st.one_of(st.integers(-3, 3).map(float), st.none())) for n in energies}
    return energies, draw(st.lists(link, max_size=24)), values


def orders(values):
    whole = {n: 0.0 if v is None else v for n, v in values.items()}
    yield from ({"order": "size"}, {"order": "energy"}, {"order": values})
    yield {"metric": Metric("value", "", whole)}


def joins(tree):
    return {(b.minimum, b.energy, b.joins_at, b.estimated) for b in tree.branches}


def superbasins(tree):
    """Which minima each line stands for, and where it ends."""
    lines = [(frozenset(tree.across[x.first : x.last + 1]), x) for x in tree.lines]
    return sorted((sorted(names), line.points[-1][1], line.estimated) for names, line in lines)


@settings(max_examples=100, deadline=None)
@given(landscapes())
def test_the_order_never_changes_joins(landscape):
    energies, links, values = landscape
    trees = [disconnectivity_tree(energies, links, **options) for options in orders(values)]
    for tree in trees[1:]:
        assert joins(tree) == joins(trees[0])
        assert tree.as_dict() == trees[0].as_dict()
        assert superbasins(tree) == superbasins(trees[0])


@settings(max_examples=100, deadline=None)
@given(landscapes())
def test_a_line_stands_for_what_interconverts_below_its_upper_end(landscape):
    energies, links, values = landscape
    for options in orders(values):
        tree = disconnectivity_tree(energies, links, **options)
        for line in tree.lines:
            inside = set(tree.across[line.first : line.last + 1])
            level = line.points[-1][1] if len(inside) > 1 else -np.inf
            graph = nx.Graph()
            graph.add_nodes_from(energies)
            joined = [link for junction in tree.junctions for link in junction.links]
            graph.add_edges_from((a, b) for a, b, energy, _ in joined if energy <= level)
            assert nx.node_connected_component(graph, min(inside)) == inside


@settings(max_examples=100, deadline=None)
@given(landscapes())
def test_a_metric_places_every_minimum_at_its_value_and_every_superbasin_at_the_mean(landscape):
    energies, links, values = landscape
    whole = {n: 0.0 if v is None else v for n, v in values.items()}
    tree = disconnectivity_tree(energies, links, metric=Metric("value", "Å", whole))
    assert {b.minimum: b.x for b in tree.branches} == whole
    for line in tree.lines:
        inside = [whole[n] for n in tree.across[line.first : line.last + 1]]
        assert np.isclose(line.points[-1][0], np.mean(inside))
    for number, component in enumerate(tree.components):
        xs = [b.x for b in tree.branches if b.component == number]
        assert (component.left, component.right) == (min(xs), max(xs))


@settings(max_examples=100, deadline=None)
@given(landscapes(), st.randoms())
def test_no_order_depends_on_the_order_of_the_input(landscape, random):
    energies, links, values = landscape
    names = list(energies)
    random.shuffle(names)
    mixed = [(b, a, e, v) if random.random() < 0.5 else (a, b, e, v) for a, b, e, v in links]
    random.shuffle(mixed)
    for options in orders(values):
        tree = disconnectivity_tree(energies, links, **options)
        again = disconnectivity_tree({n: energies[n] for n in names}, mixed, **options)
        assert again == tree


def test_by_a_value_branches_ascend_and_those_without_one_come_last():
    energies = dict.fromkeys(range(1, 6), 0.0)
    links = [(1, n, 1.0, True) for n in range(2, 6)]
    values = {1: 3.0, 2: -1.0, 3: None, 4: 2.0}
    tree = disconnectivity_tree(energies, links, order=values)
    assert tree.across == (2, 4, 1, 3, 5)


def test_by_energy_the_global_minimum_is_central_and_low_branches_stand_beside_it():
    energies = {n: float(n) for n in range(1, 8)}
    links = [(1, n, 9.0, True) for n in range(2, 8)]
    tree = disconnectivity_tree(energies, links, order="energy", levels=3)
    assert tree.across == (7, 5, 3, 1, 2, 4, 6)


def test_by_size_and_by_energy_differ_where_a_large_basin_is_high():
    energies = {1: 0.0, 2: 1.0, 3: 2.0, 4: 2.1, 5: 2.2}
    links = [(3, 4, 3.0, True), (4, 5, 3.0, True), (1, 3, 6.0, True), (1, 2, 6.0, True)]
    links += [(1, 1, 7.0, True)]
    size = disconnectivity_tree(energies, links, levels=6).across
    energy = disconnectivity_tree(energies, links, levels=6, order="energy").across
    assert size[:2] == (2, 1)
    assert energy[-2:] == (1, 2)
