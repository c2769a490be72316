"""What is tried next, on maps drawn by hand: minima are points, and links are put between them."""

from itertools import combinations, pairwise, product
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from topokrates.identity.matching import Matcher
from topokrates.landscape import Landscape
from topokrates.molecule import Molecule
from topokrates.pathways import distances as distances_module
from topokrates.pathways import planning
from topokrates.pathways.connect import check_options, connect_minima
from topokrates.pathways.distances import Distances
from topokrates.pathways.planning import LONG, SHORT, TOP, Gap, Planner

LJ = {"name": "lennard-jones", "units": {"energy": "epsilon", "length": "sigma"}}


class Points:
    """Structures are where their first particle is; fingerprints see only how far east that is."""

    def __init__(self):
        self.asked = 0

    def fingerprint(self, positions):
        return positions[..., 0, :1]

    def rmsd(self, a, b):
        self.asked += 1
        return float(np.linalg.norm(a[0] - b[0]))

    def same(self, a, b):
        return bool(np.array_equal(a, b))

    def find(self, positions, energy, candidates, energy_tolerance):
        return next((name for name, _, x in candidates if self.same(positions, x)), None)


def at(*place):
    """A structure at a place."""
    x = np.zeros((4, 3))
    x[0, : len(place)] = place
    return x


def link(landscape, a, b, energy=100.0, verified=True):
    landscape.add_link((a, b), energy, at(a, b, energy), verified)


def drawn(places, links=(), energies=None):
    """A landscape of minima 1, 2, ... at places, in that order of energy, and verified links."""
    landscape = Landscape.create(Molecule.from_text("LJ4"), LJ, matcher=Points())
    for k, place in enumerate(places):
        landscape.add_minimum(float(k) if energies is None else energies[k], at(*place))
    for pair in links:
        link(landscape, *pair)
    return landscape, Planner(landscape, Distances(landscape, landscape.matcher))


def exhaust(planner, most, plan=None):
    """Tries the first gap in vain until none is left; what was tried, in order."""
    tried = []
    while gaps := (plan or planner.gaps)():
        assert len(tried) < most, "no end"
        assert not set(gaps) & planner.tried
        planner.tried.add(gaps[0])
        tried.append(gaps[0])
    assert len(set(tried)) == len(tried)
    return tried


# --- distances ----------------------------------------------------------------------------------


def brute(rmsd, ids, name, count):
    order = sorted((rmsd(min(name, b), max(name, b)), b) for b in ids if b != name)
    return [b for _, b in order[:count]]


def test_the_nearest_clusters_are_those_of_all_superpositions():
    """Before and after minima are added; and more asked for."""
    molecule = Molecule.from_text("LJ10")
    matcher = Matcher(molecule)
    landscape = Landscape.create(molecule, LJ)
    rows = (Path(__file__).parent / "lj10.txt").read_text().splitlines()[1:]
    table = np.array([row.split() for row in rows[:12]], float)
    structures = table[:, 1:].reshape(-1, 10, 3) / 100
    pairs = combinations(range(12), 2)
    known = {(a + 1, b + 1): matcher.rmsd(structures[a], structures[b]) for a, b in pairs}
    distances = Distances(landscape, matcher)
    for low, high in ((0, 8), (8, 9), (9, 12)):
        for k in range(low, high):
            landscape.add_minimum(table[k, 0], structures[k])
        ids = range(1, high + 1)
        for name, count in product(ids, (3, 1, 5)):
            expected = brute(lambda a, b: known[a, b], ids, name, count)
            assert distances.nearest(name, count) == expected
    assert len(distances.nearest(4, 100)) == 11
    assert distances.between(7, 2) == distances.between(2, 7) == known[2, 7]


def test_of_many_clusters_the_fingerprints_decide(monkeypatch):
    """A superposition of clusters takes 30 ms, and of pairs there are millions."""
    places = np.random.default_rng(0).uniform(0, 9, (12, 2))
    monkeypatch.setattr(distances_module, "MANY", 11)
    landscape, planner = drawn(places[:11])
    distances = planner.distances
    # few: superpositions, and what they say is forgotten when there are many
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    for name in range(1, 12):
        expected = brute(lambda a, b: apart[a - 1, b - 1], range(1, 12), name, 4)
        assert distances.nearest(name, 4) == expected
    landscape.add_minimum(11.0, at(*places[11]))
    asked = landscape.matcher.asked
    for name in range(1, 13):
        expected = brute(lambda a, b: abs(places[a - 1] - places[b - 1])[0], range(1, 13), name, 4)
        assert distances.nearest(name, 4) == expected
    assert distances.between(1, 2) == pytest.approx(abs(places[0] - places[1])[0])
    assert landscape.matcher.asked == asked


@pytest.mark.parametrize("seed", range(3))
def test_the_nearest_points_are_those_of_all_pairs_ties_by_id(seed):
    """On a grid, where most distances come many times."""
    rng = np.random.default_rng(seed)
    landscape, planner = drawn(rng.permutation(list(product(range(5), range(4))))[:14])

    def apart(a, b):
        return float(
            np.linalg.norm(landscape.minimum(a).positions - landscape.minimum(b).positions)
        )

    for count in (2, 6, 4):
        landscape.add_minimum(20.0 + count, at(*rng.normal(size=2)))
        ids = [m.id for m in landscape.minimum_list]
        for name in ids:
            expected = brute(apart, ids, name, count)
            assert planner.distances.nearest(name, count) == expected


def test_what_is_far_is_not_superimposed():
    landscape, planner = drawn([(x, 0) for x in (0, 1, 2, 50, 51, 52, 53, 54, 55)])
    assert planner.distances.nearest(1, 2) == [2, 3]
    asked = landscape.matcher.asked
    assert asked <= 3
    assert planner.distances.nearest(1, 2) == [2, 3]
    assert landscape.matcher.asked == asked


def test_a_bridge_joins_the_nearest_fingerprints():
    rng = np.random.default_rng(0)
    landscape, planner = drawn(rng.normal(size=(9, 2)))
    one, others = {2, 5, 9}, {1, 3, 8, 4}
    for count in (1, 5, 12, 100):
        east = {m.id: m.positions[0, 0] for m in landscape.minimum_list}
        everything = sorted(
            product(one, others),
            key=lambda pair: abs(east[pair[0]] - east[pair[1]]),
        )
        assert planner.distances.bridge(one, others, count) == everything[:count]
        # added ones are seen
        others.add(landscape.add_minimum(50.0 + count, at(east[2] + 0.001 * count, 5))[0])


# --- missing connections ------------------------------------------------------------------------


def costs(landscape):
    """All pairs: nothing for verified links, the square of the distance for others."""
    places = {m.id: m.positions[0] for m in landscape.minimum_list}
    graph = nx.Graph()
    graph.add_nodes_from(places)
    for a, b in combinations(places, 2):
        graph.add_edge(a, b, weight=float(np.sum((places[a] - places[b]) ** 2)))
    for row in landscape.link_list:
        if row.verified:
            graph.add_edge(*row.minima, weight=0.0)
    return graph


@pytest.mark.parametrize("seed", range(8))
def test_gaps_are_the_shortest_paths_to_the_global_minimum(seed):
    rng = np.random.default_rng(seed)
    pairs = list(combinations(range(1, 13), 2))
    chosen = [pairs[k] for k in rng.choice(len(pairs), 5, replace=False)]
    landscape, planner = drawn(rng.normal(size=(12, 2)), chosen)
    link(landscape, 1, 12, verified=False)  # an estimate connects nothing
    full = costs(landscape)
    joined = nx.Graph([(a, b) for a, b, w in full.edges(data="weight") if w == 0])
    joined.add_nodes_from(full)
    gaps = planner.gaps()
    assert gaps
    assert all(gap.way == SHORT and gap.a < gap.b for gap in gaps)
    assert not any(joined.has_edge(gap.a, gap.b) for gap in gaps)

    def lengths(gaps):
        graph = nx.Graph(joined)
        for a, b, _ in gaps:
            graph.add_edge(a, b, weight=full.edges[a, b]["weight"])
        nx.set_edge_attributes(graph, dict.fromkeys(joined.edges, 0.0), "weight")
        found = nx.single_source_dijkstra_path_length(graph, 1, weight="weight")
        return {name: found.get(name, np.inf) for name in full}

    shortest = nx.single_source_dijkstra_path_length(full, 1, weight="weight")
    assert lengths(gaps) == pytest.approx(shortest)
    # and none is there in vain
    for gap in gaps:
        assert lengths([other for other in gaps if other != gap]) != pytest.approx(shortest)
    # the component with the lowest minimum comes first: its way out of the home is the first gap's
    home = nx.node_connected_component(joined, 1)
    first = min(name for name in full if name not in home)
    route = nx.dijkstra_path(full, 1, first, weight="weight")
    assert any({*gaps[0][:2]} == set(step) for step in pairwise(route))


def test_verified_links_cost_nothing():
    # 1 and 4 are 3 apart; between them lies a link from 1 to 2
    landscape, planner = drawn([(0,), (1,), (2,), (3,)], [(2, 3)])
    assert set(planner.gaps()) == {Gap(1, 2, SHORT), Gap(3, 4, SHORT)}
    # from far away, but linked to what is near
    landscape, planner = drawn([(0,), (10,), (9,), (0.5,)], [(3, 4)])
    assert set(planner.gaps()) == {Gap(1, 4, SHORT), Gap(2, 3, SHORT)}
    link(landscape, 1, 4, verified=False)
    assert Gap(1, 4, SHORT) in planner.gaps()
    link(landscape, 1, 4)
    assert planner.gaps() == [Gap(2, 3, SHORT)]


def test_a_pair_is_tried_the_other_way_then_closed_and_another_route_is_taken():
    # squares of distances: 1-2 is 1, 1-3 is 1.5625, 2-3 is 0.0625
    _, planner = drawn([(0,), (1,), (1.25,)], [(2, 3)])
    assert planner.gaps() == [Gap(1, 2, SHORT)]
    planner.tried.add(Gap(1, 2, SHORT))
    # the same gap counts four times now
    assert planner.gaps() == [Gap(1, 3, SHORT)]
    planner.tried.add(Gap(1, 3, SHORT))
    assert planner.gaps() == [Gap(1, 2, LONG)]
    planner.tried.add(Gap(1, 2, LONG))
    assert planner.gaps() == [Gap(1, 3, LONG)]
    planner.tried.add(Gap(1, 3, LONG))
    # nothing leads to 1; what is near is linked, but was not tried
    assert planner.gaps() == [Gap(2, 3, SHORT)]
    planner.tried.add(Gap(2, 3, SHORT))
    assert planner.gaps() == []


def test_when_everything_fails_everything_was_tried_once():
    _, planner = drawn(np.random.default_rng(1).normal(size=(5, 2)))
    tried = exhaust(planner, 20)
    assert {gap for gap in tried if gap.a == 1} == {
        Gap(1, b, way) for b in range(2, 6) for way in (SHORT, LONG)
    }
    assert {gap[:2] for gap in tried} == set(combinations(range(1, 6), 2))


def test_far_funnels_are_joined_beyond_the_nearest_others():
    """13 minima in each of two valleys: the 12 nearest of each are in its own, all in vain."""
    rng = np.random.default_rng(2)
    places = rng.normal(size=(26, 2)) + np.repeat([[0, 0], [40, 0]], 13, axis=0)
    chains = [(k, k + 1) for k in (*range(1, 13), *range(14, 26))]
    _, planner = drawn(places, chains)
    across = list(product(range(1, 14), range(14, 27)))
    for failed in (0, 12, 13, 60, 168):
        pairs = planner.distances.bridge(set(range(1, 14)), set(range(14, 27)), failed)
        planner.tried = {Gap(*pair, way) for pair in pairs for way in (SHORT, LONG)}
        (gap,) = planner.gaps()
        assert gap.way == SHORT
        assert gap[:2] in set(across) - set(pairs)
    planner.tried.add(gap)
    assert planner.gaps() == [gap._replace(way=LONG)]
    planner.tried.add(gap._replace(way=LONG))
    near = planner.gaps()
    assert near
    assert not {gap[:2] for gap in near} & set(across)


def test_only_the_lowest_minima_must_hang_together():
    landscape, planner = drawn([(0,), (5,), (1,), (9,)])
    assert Gap(2, 4, SHORT) in planner.gaps()
    # the way to the second leads over the third, which is not wanted for itself
    assert set(planner.gaps(lowest=2)) == {Gap(1, 3, SHORT), Gap(2, 3, SHORT)}
    link(landscape, 1, 3)
    link(landscape, 2, 3)
    near = planner.gaps(lowest=2)
    assert all({1, 2} & {gap.a, gap.b} for gap in near)
    assert planner.gaps() == [Gap(2, 4, SHORT)]
    assert planner.gaps(lowest=4) == [Gap(2, 4, SHORT)]


@pytest.mark.parametrize("places", [0, 1])
def test_nothing_to_connect(places):
    assert drawn([(0,)] * places)[1].gaps() == []


def test_near_pairs_come_by_distance_and_once():
    rng = np.random.default_rng(3)
    landscape, planner = drawn(rng.normal(size=(10, 2)), [(k, k + 1) for k in range(1, 10)])
    gaps = planner.gaps()
    rmsd = planner.distances.between
    far = [rmsd(gap.a, gap.b) for gap in gaps]
    assert far == sorted(far)
    ids = range(1, 11)
    wanted = {(min(a, b), max(a, b)) for a in ids for b in brute(rmsd, ids, a, 3)}
    assert {gap[:2] for gap in gaps} == wanted
    assert len(gaps) == len(wanted)
    assert exhaust(planner, len(gaps)) == gaps
    # a new minimum has neighbours of its own
    new, _ = landscape.add_minimum(10.0, at(0, 0))
    link(landscape, 1, new)
    assert {new in gap[:2] for gap in planner.gaps()} == {True}


# --- where a graph is likely wrong --------------------------------------------------------------


def test_the_low_minimum_behind_the_high_barrier_comes_first():
    # the sixth has the highest barrier of all, but is itself high
    places = [(0,), (8,), (1,), (7,), (2,), (-3,)]
    landscape, planner = drawn(places, energies=[0.0, 0.5, 5.0, 5.2, 5.4, 10.0])
    for a, b, energy in ((1, 3, 5.5), (2, 4, 5.6), (3, 5, 5.8), (1, 2, 12.0), (1, 6, 22.0)):
        link(landscape, a, b, energy)
    gaps = planner.untrapping()
    # 2 with the whole basin of 1, the nearest first, then all others
    assert gaps[:3] == [Gap(2, 5, SHORT), Gap(2, 3, SHORT), Gap(1, 2, SHORT)]
    assert {6 in gap[:2] for gap in gaps[3:7]} == {True}
    # a lower pass makes it an ordinary minimum
    link(landscape, 2, 5, 5.45)
    assert planner.untrapping()[0] != gaps[0]
    # tried ones are not named again
    left = exhaust(planner, 100, planner.untrapping)
    assert {gap.way for gap in left} == {SHORT, LONG}


def test_shortening_goes_across_the_highest_step():
    # the lowest path from 1 to 2 is 1-3-4-5-2, its highest step 4-5; a direct link is higher
    places = [(0,), (9,), (1,), (3,), (6,)]
    landscape, planner = drawn(places)
    for a, b, energy in ((1, 3, 6), (3, 4, 7), (4, 5, 9), (2, 5, 8), (1, 2, 9.5)):
        link(landscape, a, b, float(energy))
    gaps = planner.shortening(1, 2)
    assert {gap[:2] for gap in gaps} == {(4, 5), (2, 4), (3, 5), (2, 3), (1, 5), (1, 2)}
    far = [planner.distances.between(gap.a, gap.b) for gap in gaps]
    assert far == sorted(far)
    assert {gap[:2] for gap in planner.shortening(2, 1)} == {gap[:2] for gap in gaps}
    # another way over a lower pass: its highest step is what counts now
    link(landscape, 1, 5, 8.5)
    assert {gap[:2] for gap in planner.shortening(1, 2)} == {(1, 5), (1, 2)}
    tried = exhaust(planner, 12, lambda: planner.shortening(1, 2))
    assert {gap[:2] for gap in tried[:4]} == {(1, 5), (1, 2)}
    # then whatever may lead from 1, 3 and 4 to 2 and 5 below the pass, the nearest first
    assert tried[4] == Gap(4, 5, SHORT)
    assert {gap[:2] for gap in tried[4:]} == {(2, 3), (2, 4), (3, 5), (4, 5)}


def test_shortening_stays_below_the_pass_and_goes_over_others():
    """No lower path touches a minimum above the pass; one in a gap halves it."""
    places = [(0,), (10,), (5,), (5.1,)]
    landscape, planner = drawn(places, energies=[0.0, 1.0, 2.0, 50.0])
    link(landscape, 1, 2, 20.0)
    planner.tried |= {Gap(1, 2, way) for way in (SHORT, LONG)}
    assert {gap[:2] for gap in planner.shortening(1, 2)} == {(1, 3), (2, 3)}
    tried = exhaust(planner, 4, lambda: planner.shortening(1, 2))
    assert not any(4 in gap[:2] for gap in tried)


def test_islands_of_near_minima_are_bridged(monkeypatch):
    """The nearest others of all of them are on their own island."""
    monkeypatch.setattr(planning, "CANDIDATES", 2)
    places = [(0,), (0.1,), (0.2,), (0.3,), (50,), (50.1,), (50.2,), (50.3,)]
    _, planner = drawn(places, [(1, 2), (5, 6)])
    gaps = planner.shortening(1, 8)
    assert (4, 5) in {gap[:2] for gap in gaps}
    assert (4, 5) in {gap[:2] for gap in planner.gaps()}
    # and when the shortest bridge was closed, over another
    planner.tried |= {Gap(4, 5, way) for way in (SHORT, LONG)}
    gaps = planner.shortening(1, 8)
    assert any(a < 5 <= b for a, b, _ in gaps)
    exhaust(planner, 2 * 28, lambda: planner.shortening(1, 8))


def test_shortening_first_joins_what_is_apart():
    _, planner = drawn([(0,), (3,), (1,), (2,)], [(1, 3), (2, 4)])
    assert planner.shortening(1, 2) == [Gap(3, 4, SHORT)]


# --- options ------------------------------------------------------------------------------------

REFUSED = [
    ({"strategy": "hope"}, "'hope'"),
    ({"strategy": "shorten"}, "two minima"),
    ({"between": (1, 2)}, "two minima"),
    ({"strategy": "untrap", "between": (1, 2)}, "two minima"),
    ({"strategy": "shorten", "between": (1, 7)}, "no minimum 7"),
    ({"strategy": "shorten", "between": (0, 2)}, "no minimum 0"),
    ({"strategy": "shorten", "between": (2, 2)}, "itself"),
    ({"lowest": 0}, "0 lowest"),
    ({"lowest": -1}, "-1 lowest"),
    ({"limit": -1}, "-1 attempts"),
    ({"saddles": -1}, "-1 saddles"),
    ({"batch": 0}, "0 attempts side by side"),
    ({"neighbours": 0}, "0 neighbours"),
]


@pytest.mark.parametrize(("options", "culprit"), REFUSED, ids=[str(o) for o, _ in REFUSED])
def test_options_that_cannot_be_used_are_refused(refusal, options, culprit):
    landscape, _ = drawn([(0,), (1,)])
    assert culprit in refusal(check_options, landscape, **options)
    # and before a potential is asked
    assert culprit in refusal(connect_minima, landscape, None, **options)


def test_options_that_can_be_used_are_taken():
    landscape, _ = drawn([(0,), (1,)])
    check_options(landscape)
    check_options(landscape, "shorten", (1, 2), lowest=1, limit=0, saddles=0, batch=1)


def test_estimates_that_no_verified_path_beats_come_last():
    """1 and 2 are joined over 3 at 60, 1 and 3 at 50; only the estimate of 1 and 2 matters."""
    landscape, planner = drawn([(0, 0), (1, 0), (2, 0)])
    link(landscape, 1, 3, 50.0)
    link(landscape, 2, 3, 60.0)
    link(landscape, 1, 2, 55.0, verified=False)
    link(landscape, 2, 3, 58.0, verified=False)
    link(landscape, 1, 3, 49.0, verified=False)
    near = exhaust(planner, 10)
    assert [gap.way for gap in near] == [SHORT] * 3 + [TOP] * 3
    assert [gap[:2] for gap in near[3:]] == [(1, 3), (1, 2), (2, 3)]
    again = Planner(landscape, planner.distances)
    again.tried = set(near[:3])
    link(landscape, 1, 2, 54.0)  # verified: its estimate is gone, and 2 and 3 are joined by 54
    assert [gap[:2] for gap in again.gaps()] == [(1, 3)]
