"""Rules that end a search, and the estimate of what it has not seen."""

from collections import Counter

import numpy as np
import pytest

from topokrates import explore
from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.model.progress import Silent
from topokrates.molecule import Molecule
from topokrates.rounds import Search
from topokrates.stopping import Coverage, Rules, Tally
from topokrates.storage.records import QuenchRecord


def test_coverage_of_what_is_known():
    assert Coverage.of({}) == Coverage()
    assert Coverage().coverage == 0
    found = Coverage.of({1: 5, 2: 1, 3: 2, 4: 1, 5: 1})
    assert found == Coverage(quenches=10, minima=5, once=3, twice=1)
    assert found.coverage == pytest.approx(0.7)
    assert found.unseen == pytest.approx(3 * 2 / (2 * 2))
    # who has met everything often has seen all
    assert Coverage.of(dict.fromkeys(range(9), 4)).coverage == 1
    assert Coverage.of(dict.fromkeys(range(9), 4)).unseen == 0


def test_the_estimate_is_right_on_average():
    """For independent draws: of the true chance of something new, and no more unseen than are."""
    rng = np.random.default_rng(0)
    chances = rng.dirichlet(np.full(60, 0.5))
    errors, unseen = [], []
    for _ in range(400):
        visits = Counter(rng.choice(60, size=80, p=chances).tolist())
        truth = chances[[k for k in range(60) if k not in visits]].sum()
        found = Coverage.of(visits)
        errors.append(1 - found.coverage - truth)
        unseen.append(found.unseen - (60 - len(visits)))
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(400) + 0.005
    assert np.mean(unseen) < 0


def row(k, minimum, status="known", energy=-1.0):
    return QuenchRecord(k, 0, status, energy, None, 10, minimum)


def test_stale_counts_from_the_last_new_minimum_within_the_window():
    tally = Tally()
    tally.add([row(0, 1, "new", -5.0), row(1, 2, "new", -4.0), row(2, 1), row(3, 3, "new", 0.0)])
    tally.add([row(4, 1), row(5, None, "bonds")])
    rules = Rules(100, stale=3)
    assert tally.reason(rules, 0, -5.0) is None
    assert tally.reason(rules._replace(stale=2), 0, -5.0) == "no new minimum in 2 quenches"
    # the one at 0 lies too high to count
    assert tally.reason(rules._replace(window=2.0), 0, -5.0) == "no new minimum in 4 quenches"
    assert tally.reason(rules._replace(window=0.5, stale=6), 0, -5.0) is None


def test_wall_time_and_coverage_end_a_search():
    tally = Tally()
    assert tally.reason(Rules(100, seconds=10), 9.9, -5) is None
    assert "wall time" in str(tally.reason(Rules(100, seconds=10), 10.1, -5))
    rules = Rules(100, coverage=0.9)
    tally.add([row(0, 1, "new"), *(row(k, 1) for k in range(1, 10))])
    # all of ten quenches in one minimum: too few to say
    assert tally.coverage.coverage == 1
    assert tally.reason(rules, 0, -5) is None
    tally.add(row(k, 1) for k in range(10, 20))
    assert tally.reason(rules, 0, -5) == "estimated coverage 100.0 %"
    tally.add([row(20, 2, "new"), row(21, 3, "new"), row(22, 4, "new")])
    assert tally.reason(rules, 0, -5) is None


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"quenches": -1}, "-1 quenches: give at least 0"),
        ({"wall_time": 0.0}, "wall time of 0 s: give a time above 0"),
        ({"stale": 0}, "stale after 0 quenches: give at least 1"),
        ({"stale": 5, "window": -1.0}, "window of -1: give an energy above 0"),
        ({"window": 3.0}, "give stale too"),
        ({"coverage": 95.0}, "coverage of 95: give a share between 0 and 1"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rules, message):
    with pytest.raises(InputError, match=message):
        explore("LJ3", **rules)


def test_a_search_ends_by_its_rule_and_goes_on_from_there():
    """All four minima of LJ7, and no more quenches than the rule asks for."""
    molecule = Molecule.from_text("LJ7")
    potential = LennardJones().bind(molecule.numbers)
    landscape = Landscape.create(molecule, potential.provenance(), None)
    search = Search(landscape, potential, "basin-hopping", 8, 0)
    reason = search.run(Rules(2000, stale=60), Silent())
    assert reason is not None
    assert "no new minimum" in reason
    assert len(landscape) == 4
    (record,) = landscape.store.searches()
    assert 60 < record.done < 400
    # a rule that is met already costs no quench; without it the search goes on
    assert search.run(Rules(2000, stale=60), Silent()) == reason
    assert landscape.store.searches()[0].done == record.done
    assert search.run(Rules(record.done + 8), Silent()) is None
    assert landscape.store.searches()[0].done == record.done + 8
