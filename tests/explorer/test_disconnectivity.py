"""The laws of a disconnectivity graph, against threshold components computed by networkx."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokrates.drawing.disconnectivity import Metric, disconnectivity_tree
from topokrates.model.errors import InputError

# Few distinct numbers, so that ties of minima, links and levels are the rule.
ENERGY = st.integers(0, 12).map(lambda k: k / 4)


@st.composite
def landscapes(draw):
    energies = dict(enumerate(draw(st.lists(ENERGY, min_size=1, max_size=14)), 1))
    names = st.sampled_from(list(energies))
    link = st.tuples(names, names, st.integers(8, 24).map(lambda k: k / 4), st.booleans())
    links = [
        (a, b, max(energy, energies[a], energies[b]), verified)
        for a, b, energy, verified in draw(st.lists(link, max_size=30))
    ]
    return energies, links


def branches_of(tree):
    return {b.minimum: b for b in tree.branches}


def meeting_points(tree):
    """Energy at which the lines of two minima meet, read off the strokes of the drawing."""
    graph = nx.DiGraph()
    ends = {}
    for line in tree.lines:
        graph.add_edge(line.points[-1], line.points[0])
        ends[line.points[-1]] = line.points[0]
    paths = {}
    for branch in tree.branches:
        point, path = (branch.x, branch.energy), []
        while point in ends and ends[point] != point:
            point = ends[point]
            path.append(point)
        paths[branch.minimum] = path[:-1]  # the last stroke is the stem
    meet = {}
    for a, path in paths.items():
        for b, other in paths.items():
            common = [point[1] for point in path if point in set(other)]
            if a < b and common:
                meet[a, b] = min(common)
    return meet


def minimax(energies, links):
    """The lowest energy below which two minima interconvert."""
    graph = nx.Graph()
    graph.add_nodes_from(energies)
    for a, b, energy, _ in links:
        if a != b and energy < graph.get_edge_data(a, b, {"e": np.inf})["e"]:
            graph.add_edge(a, b, e=energy)
    forest = nx.minimum_spanning_tree(graph, weight="e")
    found = {}
    for a, paths in nx.all_pairs_shortest_path(forest):
        for b, path in paths.items():
            if a < b:
                found[a, b] = max(forest.edges[e]["e"] for e in nx.utils.pairwise(path))
    return found


def first_level_at_or_above(tree, energy):
    return min(level for level in tree.levels if level >= energy)


@settings(max_examples=150, deadline=None)
@given(landscapes(), st.integers(1, 30))
def test_lines_meet_at_the_first_level_at_or_above_the_barrier(landscape, levels):
    energies, links = landscape
    links = [(a, b, energy, True) for a, b, energy, _ in links]
    tree = disconnectivity_tree(energies, links, levels=levels)
    barriers = minimax(energies, links)
    expected = {pair: first_level_at_or_above(tree, e) for pair, e in barriers.items()}
    branches = branches_of(tree)
    assert {name: b.energy for name, b in branches.items()} == energies
    for name, branch in branches.items():
        joins = [level for pair, level in expected.items() if name in pair]
        assert branch.joins_at == (min(joins) if joins else None)
    # A line of no length hides its own end among the strokes: such drawings prove nothing more.
    if all(b.joins_at is None or b.energy < b.joins_at for b in branches.values()):
        assert meeting_points(tree) == expected


@settings(max_examples=100, deadline=None)
@given(landscapes(), st.randoms())
def test_the_order_of_the_input_does_not_matter(landscape, random):
    energies, links = landscape
    tree = disconnectivity_tree(energies, links)
    names = list(energies)
    random.shuffle(names)
    shuffled = [(b, a, e, v) if random.random() < 0.5 else (a, b, e, v) for a, b, e, v in links]
    random.shuffle(shuffled)
    assert disconnectivity_tree({n: energies[n] for n in names}, shuffled) == tree


@settings(max_examples=100, deadline=None)
@given(landscapes())
def test_branches_stand_apart_and_components_are_those_of_the_graph(landscape):
    energies, links = landscape
    tree = disconnectivity_tree(energies, links)
    graph = nx.Graph()
    graph.add_nodes_from(energies)
    graph.add_edges_from((a, b) for a, b, *_ in links)
    parts = {frozenset(part) for part in nx.connected_components(graph)}
    drawn = {}
    for branch in tree.branches:
        drawn.setdefault(branch.component, set()).add(branch.minimum)
    assert {frozenset(part) for part in drawn.values()} == parts
    assert len(tree.components) == len(parts)
    places = sorted(b.x for b in tree.branches)
    assert all(np.diff(places) >= 1)
    for number, component in enumerate(tree.components):
        xs = [b.x for b in tree.branches if b.component == number]
        assert (component.left, component.right) == (min(xs), max(xs))
        assert component.size == len(xs)
    edges = [(c.left, c.right) for c in tree.components]
    assert all(right < left for (_, right), (left, _) in nx.utils.pairwise(edges))
    assert tree.components[0].lowest == min(energies, key=lambda n: (energies[n], n))


@settings(max_examples=100, deadline=None)
@given(landscapes(), st.integers(1, 14))
def test_trimming_hides_branches_and_changes_no_connection(landscape, lowest):
    energies, links = landscape
    links = [(a, b, energy, True) for a, b, energy, _ in links]
    tree = disconnectivity_tree(energies, links, lowest=lowest)
    kept = sorted(energies, key=lambda n: (energies[n], n))[:lowest]
    assert [b.minimum for b in tree.branches] == kept
    assert tree.hidden == len(energies) - len(kept)
    barriers = minimax(energies, links)
    for branch in tree.branches:
        others = [
            first_level_at_or_above(tree, energy)
            for pair, energy in barriers.items()
            if branch.minimum in pair and set(pair) <= set(kept)
        ]
        assert branch.joins_at == (min(others) if others else None)


@settings(max_examples=100, deadline=None)
@given(landscapes(), st.integers(1, 14))
def test_estimates_join_what_no_transition_state_joins_and_are_marked(landscape, lowest):
    energies, links = landscape
    # Of equal estimates between the same trees any one will do: here no two are equal.
    links = [(a, b, e if v else e + 1e-3 * k, v) for k, (a, b, e, v) in enumerate(links)]
    forest = nx.Graph()
    forest.add_nodes_from(energies)
    for a, b, energy, verified in links:
        weight = energy + (0 if verified else 1000)
        if a != b and weight < forest.get_edge_data(a, b, {"weight": np.inf})["weight"]:
            forest.add_edge(a, b, weight=weight, energy=energy, verified=verified)
    forest = nx.minimum_spanning_tree(forest)
    edges = [(a, b, d["energy"], d["verified"]) for a, b, d in forest.edges(data=True)]
    tree = disconnectivity_tree(energies, links, lowest=lowest)

    def basin(name, level, kinds):
        graph = nx.Graph([(a, b) for a, b, e, v in edges if e <= level and v in kinds])
        graph.add_node(name)
        return nx.node_connected_component(graph, name)

    drawn = [b.minimum for b in tree.branches]
    barriers = minimax(energies, edges)
    for branch in tree.branches:
        others = [
            first_level_at_or_above(tree, energy)
            for pair, energy in barriers.items()
            if branch.minimum in pair and set(pair) <= set(drawn)
        ]
        assert branch.joins_at == (min(others) if others else None)
        if others:
            inside = basin(branch.minimum, branch.joins_at, (True, False))
            first = next(name for name in drawn if name in inside)
            proven = first in basin(branch.minimum, branch.joins_at, (True,))
            assert branch.estimated == (not proven)
        else:
            assert not branch.estimated


@settings(max_examples=100, deadline=None)
@given(landscapes())
def test_junctions_hold_the_links_that_join_the_lines_there(landscape):
    energies, links = landscape
    tree = disconnectivity_tree(energies, links)
    graph = nx.Graph()
    graph.add_nodes_from(energies)
    for junction in tree.junctions:
        assert junction.links
        for a, b, energy, verified in junction.links:
            assert first_level_at_or_above(tree, energy) == junction.energy
            assert any({a, b} == {p, q} and verified == v for p, q, _, v in links)
            assert not nx.has_path(graph, a, b)  # a spanning forest: none is there for nothing
            graph.add_edge(a, b)
    assert nx.number_connected_components(graph) == len(tree.components)


@settings(max_examples=100, deadline=None)
@given(landscapes(), st.integers(2, 14))
def test_junctions_leave_out_what_leads_to_hidden_minima_only(landscape, lowest):
    energies, links = landscape
    forest = [link for j in disconnectivity_tree(energies, links).junctions for link in j.links]
    tree = disconnectivity_tree(energies, links, lowest=lowest)
    drawn = {branch.minimum for branch in tree.branches}
    for junction in tree.junctions:
        first = junction.links[0]
        assert first_level_at_or_above(tree, first[2]) == junction.energy
        below = nx.Graph([link[:2] for link in forest if link[2] <= junction.energy])
        for a, b, *_ in junction.links:
            below.remove_edge(a, b)
            assert drawn & nx.node_connected_component(below, a)
            assert drawn & nx.node_connected_component(below, b)
            below.add_edge(a, b)


def test_a_lower_estimate_does_not_replace_a_transition_state():
    energies = {1: 0.0, 2: 1.0, 3: 2.0}
    links = [(1, 2, 5.0, True), (1, 2, 3.0, False), (2, 3, 4.0, False)]
    tree = disconnectivity_tree(energies, links, levels=5)
    branches = branches_of(tree)
    assert [branches[n].joins_at for n in (1, 2, 3)] == [5.0, 4.0, 4.0]
    assert [branches[n].estimated for n in (1, 2, 3)] == [False, False, True]
    assert len(tree.components) == 1


def test_an_estimate_that_leads_through_a_hidden_minimum_stays_marked():
    energies = {1: 0.0, 2: 1.0, 3: 2.0}
    links = [(1, 3, 3.0, False), (3, 2, 3.0, True)]
    tree = disconnectivity_tree(energies, links, lowest=2)
    assert branches_of(tree)[2].estimated
    assert tree.as_dict()["minima_hidden"] == 1


def test_a_chain_on_its_highest_transition_state_keeps_all_its_minima():
    energies = {n: 0.0 if n == 1 else 5.0 + 0.1 * n for n in range(1, 7)}
    links = [(1, 2, 10.0, True)] + [(n, n + 1, 8.0, True) for n in range(2, 6)]
    tree = disconnectivity_tree(energies, links, levels=10)
    assert [b.joins_at for b in tree.branches] == [10.0] + [8.0] * 5
    assert len(tree.components) == 1


def test_exact_ties_of_minima_and_links():
    energies = dict.fromkeys(range(1, 6), -1.0)
    links = [(n, n + 1, 0.0, True) for n in range(1, 5)]
    tree = disconnectivity_tree(energies, links, levels=4)
    assert [b.minimum for b in tree.branches] == [1, 2, 3, 4, 5]
    assert {b.joins_at for b in tree.branches} == {0.0}
    assert tree.levels == (-0.75, -0.5, -0.25, 0.0)


def test_links_at_the_energy_of_the_minima():
    tree = disconnectivity_tree({1: 2.0, 2: 2.0}, [(1, 2, 2.0, True)])
    assert tree.levels == (2.0,)
    assert [b.joins_at for b in tree.branches] == [2.0, 2.0]


def test_a_link_below_its_minimum_counts_at_the_minimum():
    tree = disconnectivity_tree({1: 0.0, 2: 1.0}, [(1, 2, 0.5, True)])
    assert [b.joins_at for b in tree.branches] == [1.0, 1.0]


def test_one_minimum_and_none():
    tree = disconnectivity_tree({7: -3.0}, [(7, 7, -2.0, True)])
    assert tree.as_dict() == {
        "unit": "eV",
        "levels": [-3.0],
        "minima_drawn": 1,
        "minima_hidden": 0,
        "components": 1,
        "branches": [{"minimum": 7, "energy": -3.0, "joins_at": None}],
    }
    assert tree.top > -3.0
    assert disconnectivity_tree({}, []).as_dict()["minima_drawn"] == 0


def test_without_links_every_minimum_is_a_tree_of_its_own():
    tree = disconnectivity_tree({1: 0.0, 2: 1.0, 3: 2.0}, [])
    assert [b.joins_at for b in tree.branches] == [None] * 3
    assert [c.lowest for c in tree.components] == [1, 2, 3]


def test_a_degenerate_rearrangement_gives_no_branch():
    links = [(1, 2, 3.0, True)]
    plain = disconnectivity_tree({1: 0.0, 2: 1.0}, links)
    assert disconnectivity_tree({1: 0.0, 2: 1.0}, [*links, (1, 1, 9.0, True)]) == plain


def test_the_global_minimum_is_central_and_large_basins_stand_beside_it():
    energies = {1: 0.0} | {n: 1.0 + 0.01 * n for n in range(2, 12)}
    links = [(1, n, 5.0, True) for n in range(2, 8)]  # six alone
    links += [(8, 9, 3.0, True), (9, 10, 3.0, True), (10, 11, 3.0, True), (8, 1, 5.0, True)]
    tree = disconnectivity_tree(energies, links, levels=5)
    order = [b.minimum for b in sorted(tree.branches, key=lambda b: b.x)]
    assert abs(order.index(1) - 5) <= 1
    assert abs(order.index(8) - order.index(1)) <= 4
    assert branches_of(tree)[8].joins_at == 3.0


def test_levels_by_number_and_by_spacing():
    energies, links = {1: 0.0, 2: 1.0}, [(1, 2, 2.9, True)]
    assert disconnectivity_tree(energies, links, spacing=1.0).levels == (1.0, 2.0, 3.0)
    assert disconnectivity_tree(energies, links, levels=2).levels == (1.45, 2.9)
    assert disconnectivity_tree(energies, links, spacing=1.0).branches[0].joins_at == 3.0


def test_trimming_by_window():
    energies = {1: 0.0, 2: 1.0, 3: 4.0}
    links = [(1, 3, 5.0, True), (3, 2, 6.0, True)]
    tree = disconnectivity_tree(energies, links, window=2.0, levels=6)
    assert [b.minimum for b in tree.branches] == [1, 2]
    assert tree.hidden == 1
    assert tree.branches[0].joins_at == 6.0  # through the hidden one


@pytest.mark.parametrize(
    "options",
    [
        {"levels": 0},
        {"levels": 10**6},
        {"spacing": 0.0},
        {"spacing": float("nan")},
        {"spacing": 1e-9},
        {"levels": 3, "spacing": 1.0},
        {"lowest": 0},
        {"window": -1.0},
        {"window": float("nan")},
        {"min_degree": -1},
        {"persistence": -0.1},
        {"persistence": float("nan")},
        {"order": "beauty"},
        {"metric": Metric("phi", "°", {1: 0.0})},
    ],
)
def test_options_out_of_range_are_refused_in_one_line(options):
    with pytest.raises(InputError) as error:
        disconnectivity_tree({1: 0.0, 2: 1.0}, [(1, 2, 2.0, True)], **options)
    assert "\n" not in str(error.value)


def test_what_cannot_be_a_landscape_is_an_error():
    with pytest.raises(ValueError, match="no such minimum"):
        disconnectivity_tree({1: 0.0}, [(1, 2, 1.0, True)])
    with pytest.raises(ValueError, match="nan"):
        disconnectivity_tree({1: float("nan")}, [])
    with pytest.raises(ValueError, match="inf"):
        disconnectivity_tree({1: 0.0, 2: 0.0}, [(1, 2, float("inf"), True)])


def test_ten_thousand_minima_and_fifty_thousand_links():
    rng = np.random.default_rng(0)
    energies = {i + 1: float(e) for i, e in enumerate(rng.random(10_000))}
    links = [
        (int(a), int(b), float(1 + rng.random()), True)
        for a, b in rng.integers(1, 10_001, (50_000, 2))
    ]
    tree = disconnectivity_tree(energies, links)
    assert len(tree.branches) == 10_000
    # Every way out of a minimum begins with one of its links.
    lowest = dict.fromkeys(energies, np.inf)
    for a, b, energy, _ in links:
        if a != b:
            lowest[a], lowest[b] = min(lowest[a], energy), min(lowest[b], energy)
    barriers = [lowest[b.minimum] for b in tree.branches if np.isfinite(lowest[b.minimum])]
    levels = np.array(tree.levels)
    expected = levels[np.searchsorted(levels, barriers)]
    joins = [b.joins_at for b in tree.branches if b.joins_at is not None]
    np.testing.assert_array_equal(joins, expected)


def test_a_deep_chain_of_superbasins_is_no_trouble():
    n = 5000
    energies = {i: 0.0 if i == 0 else 0.5 for i in range(n)}
    links = [(0, i, float(i), True) for i in range(1, n)]
    tree = disconnectivity_tree(energies, links, levels=n)
    assert branches_of(tree)[n - 1].joins_at == n - 1
