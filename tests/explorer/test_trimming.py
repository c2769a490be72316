"""Trimming hides branches and nothing else; every criterion against its definition."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokrates.drawing.disconnectivity import disconnectivity_tree

ENERGY = st.integers(0, 12).map(lambda k: k / 4)


@st.composite
def landscapes(draw):
    energies = dict(enumerate(draw(st.lists(ENERGY, min_size=1, max_size=12)), 1))
    names = st.sampled_from(list(energies))
    link = st.tuples(names, names, st.integers(8, 24).map(lambda k: k / 4), st.booleans())
    links = [
        (a, b, max(energy, energies[a], energies[b]), verified)
        for a, b, energy, verified in draw(st.lists(link, max_size=24))
    ]
    return energies, links


@st.composite
def trims(draw):
    some = st.one_of(st.none(), st.integers(1, 12))
    options = {"lowest": draw(some), "monotonic": draw(st.booleans())}
    options["window"] = draw(st.one_of(st.none(), ENERGY))
    options["min_degree"] = draw(st.integers(0, 3))
    return options | {"persistence": draw(st.integers(0, 8)) / 4}


def meetings(tree):
    """At which level the lines of each two minima meet, from the superbasins of the drawing."""
    level = {}
    for line in tree.lines:
        inside = tree.across[line.first : line.last + 1]
        for a in inside:
            for b in inside:
                if a < b:
                    level[a, b] = min(level.get((a, b), np.inf), line.points[-1][1])
    return level


def lower(energies, a, b):
    return (energies[a], a) < (energies[b], b)


def drawn(energies, links, **options):
    return {b.minimum for b in disconnectivity_tree(energies, links, **options).branches}


@settings(max_examples=200, deadline=None)
@given(landscapes(), trims())
def test_trimming_never_changes_where_drawn_minima_meet(landscape, trim):
    energies, links = landscape
    whole = meetings(disconnectivity_tree(energies, links, spacing=0.5))
    tree = disconnectivity_tree(energies, links, spacing=0.5, **trim)
    names = {b.minimum for b in tree.branches}
    assert meetings(tree) == {pair: level for pair, level in whole.items() if set(pair) <= names}
    assert tree.hidden == len(energies) - len(names)
    assert min(energies, key=lambda n: (energies[n], n)) in names
    for branch in tree.branches:
        joins = [level for pair, level in meetings(tree).items() if branch.minimum in pair]
        assert branch.joins_at == (min(joins) if joins else None)


@settings(max_examples=100, deadline=None)
@given(landscapes())
def test_a_monotonic_bottom_has_no_link_to_a_lower_minimum(landscape):
    energies, links = landscape
    bottoms = {
        n
        for n in energies
        if not any(n in (a, b) and lower(energies, a + b - n, n) for a, b, *_ in links)
    }
    assert drawn(energies, links, monotonic=True) == bottoms


@settings(max_examples=100, deadline=None)
@given(landscapes(), st.integers(1, 4))
def test_the_degree_counts_other_minima(landscape, degree):
    energies, links = landscape
    others = {n: {a + b - n for a, b, *_ in links if n in (a, b)} - {n} for n in energies}
    lowest = min(energies, key=lambda n: (energies[n], n))
    expected = {n for n in energies if len(others[n]) >= degree} | {lowest}
    assert drawn(energies, links, min_degree=degree) == expected


@settings(max_examples=100, deadline=None)
@given(landscapes(), st.integers(1, 8).map(lambda k: k / 4))
def test_persistence_is_the_least_barrier_towards_a_lower_minimum(landscape, least):
    energies, links = landscape
    links = [(a, b, energy, True) for a, b, energy, _ in links]

    def barrier(n):
        for top in sorted({energy for _, _, energy, _ in links}):
            graph = nx.Graph([(a, b) for a, b, energy, _ in links if energy <= top])
            graph.add_node(n)
            if any(lower(energies, m, n) for m in nx.node_connected_component(graph, n)):
                return top - energies[n]
        return np.inf

    expected = {n for n in energies if barrier(n) >= least}
    assert drawn(energies, links, persistence=least) == expected


def test_the_lowest_are_those_of_what_the_other_conditions_leave():
    energies = {1: 0.0, 2: 1.0, 3: 1.5, 4: 2.0}
    links = [(1, 2, 1.05, True), (1, 3, 4.0, True), (1, 4, 4.0, True)]
    assert drawn(energies, links, persistence=0.5, lowest=2) == {1, 3}


@pytest.mark.parametrize("options", [{"monotonic": True}, {"min_degree": 1}, {"persistence": 1.0}])
def test_without_links(options):
    kept = drawn({1: 0.0, 2: 1.0}, [], **options)
    assert kept == ({1} if "min_degree" in options else {1, 2})
