"""A search that is killed again and again ends as if nobody had touched it."""

from collections import Counter

import numpy as np
import pytest

from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.progress import Silent
from topokrates.molecule import Molecule
from topokrates.rounds import Search
from topokrates.search import SEARCHERS
from topokrates.stopping import Rules

WALKERS = 4
# not a multiple of the walkers: the last round is not whole
QUENCHES = 18

pytestmark = pytest.mark.usefixtures("shared_coordinates")


@pytest.fixture(scope="module")
def cluster():
    return Molecule.from_text("LJ7")


@pytest.fixture(scope="module")
def potential(cluster):
    return LennardJones().bind(cluster.numbers)


def run(molecule, potential, searcher, database, quenches=QUENCHES, seed=3, progress=None):
    """One run of a program: opens, searches, and closes whatever happens."""
    landscape = Landscape.create(molecule, potential.provenance(), database)
    try:
        search = Search(landscape, potential, searcher, WALKERS, seed)
        search.run(Rules(quenches), progress or Silent())
    finally:
        landscape.close()


def account(database):
    """All that a search leaves behind: log, minima, and what it says of itself."""
    with Landscape.open(database) as landscape:
        searches = landscape.store.searches()
        log = [
            (s.settings["seed"], q.step, q.walker, q.status, q.energy, q.gradient_calls, q.minimum)
            for s in searches
            for q in landscape.store.quenches(s.id)
        ]
        minima = [(m.id, m.energy, m.visits, m.positions.tobytes()) for m in landscape.minimum_list]
        done = [(s.step, s.done, s.target, s.gradient_calls) for s in searches]
    return {"log": log, "minima": minima, "searches": done}


@pytest.fixture(scope="module", params=SEARCHERS)
def undisturbed(request, cluster, potential, tmp_path_factory):
    """The searcher, and what it leaves behind when it is left in peace."""
    database = tmp_path_factory.mktemp("undisturbed") / "LJ7.db"
    run(cluster, potential, request.param, database)
    return request.param, account(database)


def test_as_many_quenches_as_were_asked_for(undisturbed):
    _, found = undisturbed
    places = [(step, walker) for _, step, walker, *_ in found["log"]]
    assert places == [divmod(k, WALKERS) for k in range(QUENCHES)]
    assert found["searches"][0][:3] == (QUENCHES // WALKERS, QUENCHES, QUENCHES)
    assert found["searches"][0][3] == sum(row[5] for row in found["log"])
    # every quench that ended in a minimum is a visit of it, and its first one is called new
    visits = Counter(row[-1] for row in found["log"] if row[-1] is not None)
    assert visits == {name: count for name, _, count, _ in found["minima"]}
    assert [row[3] for row in found["log"]].count("new") == len(found["minima"]) > 1
    assert {row[3] for row in found["log"]} <= {"new", "known", "dissociated"}


@pytest.mark.parametrize("dice", [0, 1])
def test_killed_between_results(undisturbed, cluster, potential, killed, killer, tmp_path, dice):
    """At signs of life drawn at random, until it gets through."""
    searcher, expected = undisturbed
    database, kills = tmp_path / "LJ7.db", 0
    for patience in np.random.default_rng(dice).integers(1, 10, 1000):
        try:
            run(cluster, potential, searcher, database, progress=killer(int(patience)))
            break
        except killed:
            kills += 1
    assert kills > 3
    assert account(database) == expected


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_while_writing(
    undisturbed, cluster, potential, killed, tmp_path, monkeypatch, before
):
    """Inside the transactions, before and after each row of the log is written."""
    searcher, expected = undisturbed
    database = tmp_path / "LJ7.db"
    log, countdown = Search._log, [0]

    def deadly(self, row):
        if not before:
            log(self, row)
        countdown[0] -= 1
        if countdown[0] == 0:
            raise killed
        if before:
            log(self, row)

    monkeypatch.setattr(Search, "_log", deadly)
    kills = 0
    for patience in np.random.default_rng(0).integers(2, 12, 1000):
        countdown[0] = int(patience)
        try:
            run(cluster, potential, searcher, database)
            break
        except killed:
            kills += 1
    assert kills > 3
    assert account(database) == expected


def test_quenches_are_the_total(undisturbed, cluster, potential, tmp_path, monkeypatch):
    """In pieces of any size; what is there is not computed again."""
    searcher, expected = undisturbed
    database = tmp_path / "LJ7.db"
    for quenches in (3, 9, 9, 10, QUENCHES, 5):
        run(cluster, potential, searcher, database, quenches)
        with Landscape.open(database) as landscape:
            log = landscape.store.quenches(landscape.store.searches()[0].id)
        assert len(log) == max(quenches, QUENCHES if quenches == 5 else 0)
    assert account(database) == expected
    # a finished search asks nothing of the potential
    monkeypatch.setattr(type(potential), "energies_and_forces", None)
    run(cluster, potential, searcher, database)
    assert account(database) == expected


def test_searchers_hear_what_came_of_their_proposals(cluster, potential, monkeypatch):
    """Where each walker arrived, and how often the search had been there before, in its order."""
    landscape = Landscape.create(cluster, potential.provenance())
    search = Search(landscape, potential, "minima-hopping", WALKERS, 0)
    step, heard = search.module.step, []

    def listening(settings, state, outcome, seed, number):
        heard.append(outcome)
        return step(settings, state, outcome, seed, number)

    monkeypatch.setattr(search.module, "step", listening)
    search.run(Rules(20), Silent())
    log = landscape.store.quenches(search.id)
    seen = Counter()
    assert len(heard) == 5
    for row in log:
        outcome, walker = heard[row.step], row.walker
        if row.minimum is None:
            assert outcome.minima[walker] == -1
            continue
        minimum = landscape.minimum(row.minimum)
        assert outcome.minima[walker] == row.minimum
        assert outcome.energies[walker] == minimum.energy
        np.testing.assert_array_equal(outcome.positions[walker], minimum.positions)
        assert outcome.visits[walker] == seen[row.minimum]
        seen[row.minimum] += 1
    assert max(seen.values()) > WALKERS


def test_another_seed_is_another_search(undisturbed, cluster, potential, tmp_path):
    searcher, expected = undisturbed
    database = tmp_path / "LJ7.db"
    for seed in (3, 4):
        run(cluster, potential, searcher, database, seed=seed)
    found = account(database)
    assert len(found["searches"]) == 2
    assert [row for row in found["log"] if row[0] == 3] == expected["log"]
    others = [row for row in found["log"] if row[0] == 4]
    assert len(others) == QUENCHES
    assert [row[4] for row in others] != [row[4] for row in expected["log"]]
    # one landscape: minima are shared, visits added up, and none is there twice
    visits = Counter(row[-1] for row in found["log"] if row[-1] is not None)
    assert visits == {name: count for name, _, count, _ in found["minima"]}
    energies = np.array([energy for _, energy, *_ in found["minima"]])
    assert np.all(np.diff(energies) > 1e-3)


def test_other_walkers_are_another_search(cluster, potential):
    landscape = Landscape.create(cluster, potential.provenance())
    keys = {
        Search(landscape, potential, searcher, walkers, seed).id
        for searcher in SEARCHERS
        for walkers in (2, 3)
        for seed in (0, 1)
    }
    assert len(keys) == 4 * len(SEARCHERS)
    assert Search(landscape, potential, "basin-hopping", 2, 1).id in keys
    hotter = Search(landscape, potential, "basin-hopping", 2, 1, {"temperature": 0.9})
    assert hotter.id not in keys
    assert hotter.settings.temperature == 0.9


def test_progress_tells_how_things_stand(cluster, potential):
    class Listener(Silent):
        def __init__(self):
            self.stages, self.told = [], []

        def stage(self, name, total=None, done=0):
            self.stages.append((name, total, done))

        def advance(self, done, message=""):
            self.told.append((done, message))

    landscape, first, second = (
        Landscape.create(cluster, potential.provenance()),
        Listener(),
        Listener(),
    )
    search = Search(landscape, potential, "basin-hopping", WALKERS, 0)
    search.run(Rules(8), first)
    assert first.stages == [("search", 8, 0)]
    done = [count for count, _ in first.told]
    assert done == sorted(done)
    assert done[-1] == 8
    assert f"{len(landscape)} minim" in first.told[-1][1]
    assert f"{landscape.minimum_list[0].energy:.4f} epsilon" in first.told[-1][1]
    search.run(Rules(12), second)
    assert second.stages == [("search", 12, 8)]
