"""Connecting: complete networks of small clusters, whatever happens on the way; plans that end."""

from collections import Counter

import numpy as np
import pytest

from topokrates.identity import Matcher
from topokrates.internals import coordinates
from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule
from topokrates.pathways.band import relax_bands
from topokrates.pathways.connect import connect_minima
from topokrates.pathways.distances import Distances
from topokrates.pathways.planning import LONG, SHORT, Gap, Planner
from topokrates.pathways.saddle import find_saddles
from topokrates.pathways.uphill import uphill
from topokrates.progress import Silent
from topokrates.rounds import Search
from topokrates.search.cluster_moves import random_cluster
from topokrates.stopping import Rules

pytestmark = pytest.mark.usefixtures("shared_coordinates")

# All of LJ6: two minima and three transition states (Doye and Massen, J. Chem. Phys. 122, 084105)
COUNTS = {"LJ4": (1, 1), "LJ5": (1, 2), "LJ6": (2, 3)}


def searched(name, quenches=40):
    molecule = Molecule.from_text(name)
    potential = LennardJones().bind(molecule.numbers)
    landscape = Landscape.create(molecule, potential.provenance())
    Search(landscape, potential, "basin-hopping", 8, 0).run(Rules(quenches), Silent())
    return landscape, potential


def states(landscape):
    return [link for link in landscape.link_list if link.verified]


def account(landscape):
    links = [(link.id, link.minima, link.energy, link.verified) for link in landscape.link_list]
    visits = [(m.id, m.energy, m.visits) for m in landscape.minimum_list]
    return links, visits, landscape.store.attempts(), landscape.to_dict()["connection"]


@pytest.mark.parametrize("name", COUNTS)
def test_small_networks_are_complete(name):
    landscape, potential = searched(name)
    done = connect_minima(landscape, potential, saddles=60)
    assert (len(landscape), len(states(landscape))) == COUNTS[name]
    assert done.transition_states == COUNTS[name][1]
    assert landscape.connected_components == 1
    assert done.attempts == len(landscape.store.attempts())
    # nothing is left to do
    again = connect_minima(landscape, potential, saddles=60)
    assert again == (0, 0, 0, 0, 0)


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches a signal."""


def test_a_connection_that_is_killed_goes_on_and_ends_alike(monkeypatch):
    """Between any two attempts, of bands and of single-ended searches."""
    landscape, potential = searched("LJ6")
    connect_minima(landscape, potential, saddles=20)
    expected = account(landscape)
    broken, _ = searched("LJ6")
    log, left = broken.store.log_attempt, [0]

    def logging(*arguments):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return log(*arguments)

    monkeypatch.setattr(broken.store, "log_attempt", logging)
    for lives in (1, 2, 3, 7, 11, 5):
        left[0] = lives
        with pytest.raises(Killed):
            connect_minima(broken, potential, saddles=20)
    left[0] = -1
    connect_minima(broken, potential, saddles=20)
    found = account(broken)
    assert found[:3] == expected[:3]
    assert found[3] == expected[3]


@pytest.fixture(scope="module")
def cluster():
    """LJ8 with its eight minima."""
    landscape, potential = searched("LJ8", 400)
    assert len(landscape) == 8
    return landscape, potential


def test_starts_depend_on_minimum_and_number_alone(cluster):
    landscape, potential = cluster
    frame = coordinates(landscape.molecule.bonds, landscape.molecule.positions)
    minima = landscape.minimum_list[:2]
    starts = [(m, k) for m in minima for k in (0, 1, 71, 72, 73, 74, 75)]
    together = uphill(landscape.molecule, potential, frame, starts)
    assert len({climb.positions.tobytes() for climb in together}) == len(starts)
    for start, climb in zip(starts, together, strict=True):
        (alone,) = uphill(landscape.molecule, potential, frame, [start])
        np.testing.assert_array_equal(alone.positions, climb.positions)
        np.testing.assert_array_equal(alone.direction, climb.direction)


def test_climbs_and_bands_are_what_they_would_be_alone(cluster):
    landscape, potential = cluster
    frame = coordinates(landscape.molecule.bonds, landscape.molecule.positions)
    rng = np.random.default_rng(0)
    guesses = [m.positions + 0.1 * rng.normal(size=(8, 3)) for m in landscape.minimum_list]
    guesses[3] = np.full((8, 3), np.nan)
    ways = [np.zeros((8, 3)) for _ in guesses]
    together = find_saddles(potential, frame, guesses, ways)
    assert Counter(str(s.status) for s in together)["saddle"] >= 4
    for guess, way, saddle in zip(guesses, ways, together, strict=True):
        (alone,) = find_saddles(potential, frame, [guess], [way])
        np.testing.assert_array_equal(alone.positions, saddle.positions)
        assert alone.status is saddle.status
    a, b, c = (m.positions for m in landscape.minimum_list[:3])
    matcher = Matcher(landscape.molecule)
    fractions = np.linspace(0, 1, 9)[:, None, None]
    paths = [x + fractions * (matcher.align(x, y) - x) for x, y in ((a, b), (b, c))]
    paths.append(paths[0][::2])
    ends = [(0.0, 0.0)] * 3
    for path, band in zip(paths, relax_bands(potential, frame, paths, ends), strict=True):
        (alone,) = relax_bands(potential, frame, [path], ends[:1])
        np.testing.assert_array_equal(alone.positions, band.positions)


def test_nearest_minima_are_those_of_least_rmsd(cluster):
    landscape, _ = cluster
    matcher = Matcher(landscape.molecule)
    distances = Distances(landscape, matcher)
    ids = [m.id for m in landscape.minimum_list]
    for name in ids:
        others = sorted((distances.rmsd(name, b), b) for b in ids if b != name)
        for count in (1, 3, 7):
            assert distances.nearest(name, count) == [b for _, b in others[:count]]


def drawn(energies, links):
    """A landscape of seven particles with minima of these energies, and links between them."""
    potential = LennardJones().bind(np.zeros(7, int))
    landscape = Landscape.create(Molecule.from_text("LJ7"), potential.provenance())
    for k, energy in enumerate(energies):
        landscape.add_minimum(energy, random_cluster(7, np.random.default_rng(k)))
    for a, b, energy in links:
        landscape.add_link((a, b), energy, random_cluster(7, np.random.default_rng(99)), True)
    return landscape


def planner(landscape):
    return Planner(landscape, Distances(landscape, Matcher(landscape.molecule)))


def test_plans_lead_home_and_come_to_an_end():
    landscape = drawn([-9.0, -8, -7, -6], [(1, 2, -5.0)])
    plan = planner(landscape)
    tried, rounds = [], 0
    while gaps := plan.gaps():
        rounds += 1
        assert rounds < 60
        assert not set(gaps) & plan.tried
        plan.tried |= set(gaps)
        tried += gaps
    assert len(tried) == len(set(tried))
    # every way to what is linked is tried in both ways, and what is linked in none
    apart = {(1, 3), (1, 4), (2, 3), (2, 4)}
    long = {gap[:2] for gap in tried if gap.way == LONG}
    assert apart <= long <= {*apart, (3, 4)}
    assert {gap[:2] for gap in tried if gap.way == SHORT} >= {*apart, (3, 4)}


def test_only_the_lowest_need_to_hang_together():
    landscape = drawn([-9.0, -8, -7, -6], [(1, 2, -5.0)])
    first = planner(landscape).gaps(lowest=2)
    assert all(set(gap[:2]) & {1, 2} for gap in first)
    landscape = drawn([-9.0, -8, -7], [(1, 2, -5.0), (2, 3, -4.0)])
    near = planner(landscape).gaps()
    assert {gap[:2] for gap in near} == {(1, 2), (1, 3), (2, 3)}
    distances = planner(landscape).distances
    assert near == sorted(near, key=lambda gap: distances.rmsd(*gap[:2]))


def test_low_minima_behind_high_barriers_come_first():
    landscape = drawn([-9.0, -8.9, -7, -6], [(1, 2, 0.0), (1, 3, -6.9), (1, 4, -5.9)])
    gaps = planner(landscape).untrapping()
    assert set(gaps[0][:2]) >= {2}


def test_the_highest_pass_of_a_path_is_tried_across():
    links = [(1, 2, -6.0), (2, 3, -1.0), (3, 4, -5.0), (1, 4, 3.0)]
    landscape = drawn([-9.0, -8, -7.5, -7], links)
    gaps = planner(landscape).shortening(1, 4)
    assert {gap[:2] for gap in gaps} == {(1, 3), (1, 4), (2, 3), (2, 4)}
    assert all(isinstance(gap, Gap) and gap.way == SHORT for gap in gaps)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "magic"}, "unknown strategy 'magic': use all, untrap, shorten"),
        ({"strategy": "shorten"}, "two minima go with"),
        ({"between": (1, 2)}, "two minima go with"),
        ({"strategy": "shorten", "between": (1, 77)}, "there is no minimum 77"),
        ({"strategy": "shorten", "between": (1, 1)}, "to itself"),
        ({"limit": -1}, "-1 attempts"),
        ({"saddles": -1}, "-1 saddles"),
        ({"lowest": 0}, "0 lowest minima"),
    ],
)
def test_what_cannot_be_is_refused(cluster, options, message):
    landscape, potential = cluster
    with pytest.raises(InputError, match=message):
        connect_minima(landscape, potential, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "minima", "saddles"), [("LJ7", 4, 12), ("LJ8", 8, 42)])
def test_larger_networks_are_complete_by_default(name, minima, saddles):
    landscape, potential = searched(name, 1000)
    connect_minima(landscape, potential)
    assert (len(landscape), len(states(landscape))) == (minima, saddles)
