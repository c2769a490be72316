"""Searchers: chance comes from seed, walker and step alone, and the published rules hold."""

import numpy as np
import pytest

from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, dihedral, set_rotor
from topokrates.search import (
    SEARCHERS,
    basin_hopping,
    configured,
    minima_hopping,
    parallel_tempering,
    searcher_module,
)
from topokrates.search.cluster_moves import random_cluster
from topokrates.search.state import Outcome, generator, pack, unpack


@pytest.fixture(scope="module")
def cluster():
    return Molecule.from_text("LJ7")


@pytest.fixture(scope="module")
def potential():
    return LennardJones().bind(np.zeros(7, int))


def outcome(energies, minima=None, visits=None, atoms=7):
    count = len(energies)
    positions = np.arange(count)[:, None, None] + np.zeros((count, atoms, 3))
    minima = np.arange(count) if minima is None else np.asarray(minima)
    visits = np.zeros(count, int) if visits is None else np.asarray(visits)
    return Outcome(positions, np.asarray(energies, float), minima, visits)


def started(module, molecule, walkers=4):
    """Settings, and a state whose walkers are in minima of their own."""
    settings = module.settings(molecule)
    state = module.init(settings, molecule, walkers)
    positions = np.stack([random_cluster(7, generator(9, w, 0)) for w in range(walkers)])
    places = {"positions": positions, "energies": np.zeros(walkers), "minima": np.arange(walkers)}
    return settings, state._replace(**places)


# --- chance -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", SEARCHERS.values(), ids=SEARCHERS)
@pytest.mark.parametrize("begun", [False, True])
def test_proposals_depend_on_seed_walker_and_step_alone(module, begun, cluster, potential):
    settings, state = started(module, cluster)
    if not begun:
        state = module.init(settings, cluster, 4)

    def propose(seed=1, step=3, walkers=(0, 1, 2, 3)):
        found = module.propose(settings, state, cluster, potential, seed, step, list(walkers))[0]
        assert found.shape == (len(walkers), 7, 3)
        return found

    together = propose()
    np.testing.assert_array_equal(propose(), together)
    # whoever else is asked, and in which order
    np.testing.assert_array_equal(propose(walkers=(2, 0)), together[[2, 0]])
    for walker in range(4):
        np.testing.assert_array_equal(propose(walkers=(walker,)), together[[walker]])
    for other in (propose(seed=2), propose(step=4), together[[1, 2, 3, 0]]):
        assert np.all(np.abs(other - together).max(axis=(1, 2)) > 0)


def test_streams_are_apart():
    drawn = {generator(*key).random() for key in np.ndindex(3, 3, 3)}
    assert len(drawn) == 27
    assert generator(1, 2, 3).random() == generator(1, 2, 3).random()


@pytest.mark.parametrize("module", SEARCHERS.values(), ids=SEARCHERS)
def test_states_survive_as_bytes(module, cluster):
    _, state = started(module, cluster)
    data = pack(state)
    assert isinstance(data, bytes)
    again = unpack(module.State, data)
    assert type(again) is module.State
    for name in state._fields:
        old, new = getattr(state, name), getattr(again, name)
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(new, old)


def test_unknown_searchers_are_named():
    with pytest.raises(InputError, match="'lucky-dip': use basin-hopping, minima-hopping or par"):
        searcher_module("lucky-dip")


@pytest.mark.parametrize("name", SEARCHERS)
def test_settings_can_be_changed(name, cluster):
    usual = configured(name, cluster)
    assert usual == SEARCHERS[name].settings(cluster)
    field = "kinetic" if name == "minima-hopping" else "temperature"
    changed = configured(name, cluster, {field: 3})
    assert changed == usual._replace(**{field: 3.0})
    for wrong, message in (
        ({"heat": 1.0}, f"{name} has no setting 'heat': it has {usual._fields[0]}, "),
        ({field: -1.0}, f"{field} = -1: give a number that is not negative"),
        ({field: float("nan")}, f"{field} = nan"),
        ({field: 0.0}, f"{field} = 0: give a number above 0"),
    ):
        with pytest.raises(InputError, match=message):
            configured(name, cluster, wrong)


def test_shares_of_moves_make_one_at_most(cluster):
    assert configured("basin-hopping", cluster, {"surface": 0.5, "symmetry": 0.5}).surface == 0.5
    with pytest.raises(InputError, match="are shares: together at most 1"):
        configured("basin-hopping", cluster, {"surface": 0.6, "symmetry": 0.5})


# --- basin hopping ------------------------------------------------------------------------------


def test_moves_without_a_size_do_not_change_it():
    cluster = Molecule.from_text("LJ7")
    settings, state = started(basin_hopping, cluster, walkers=4)
    for shares, same in (({"surface": 1.0}, True), ({"symmetry": 1.0}, True), ({}, False)):
        chosen = settings._replace(**{"surface": 0.0, "symmetry": 0.0} | shares)
        new, _ = basin_hopping.step(chosen, state, outcome(np.full(4, -1.0)), 5, 1)
        assert np.array_equal(new.move, state.move) is same


def test_metropolis():
    """Downhill always; uphill with exp(-rise / T), as often as it should be; lost: never."""
    cluster = Molecule.from_text("LJ7")
    settings, state = started(basin_hopping, cluster, walkers=4)
    assert settings.temperature == 0.8  # epsilon: Wales and Doye
    settings = settings._replace(temperature=0.5)
    rise = np.array([-1.0, 0.5, 80.0, 0.0])
    accepted = np.zeros(4)
    for step in range(600):
        new, info = basin_hopping.step(settings, state, outcome(rise), 5, step)
        accepted += info.accepted
        expected = np.where(info.accepted, rise, 0)
        np.testing.assert_array_equal(new.energies, expected)
        np.testing.assert_array_equal(
            new.positions[info.accepted], outcome(rise).positions[info.accepted]
        )
        np.testing.assert_array_equal(
            new.positions[~info.accepted], state.positions[~info.accepted]
        )
    assert accepted[0] == accepted[3] == 600
    assert accepted[2] == 0
    assert accepted[1] / 600 == pytest.approx(np.exp(-1), abs=0.06)


def test_walkers_that_failed_stay_where_they_are(cluster):
    for module in (basin_hopping, minima_hopping):
        settings, state = started(module, cluster)
        lost = outcome(np.full(4, np.inf), minima=[-1] * 4)
        with np.errstate(all="raise"):
            new, info = module.step(settings, state, lost, 0, 1)
        assert not info.accepted.any()
        np.testing.assert_array_equal(new.positions, state.positions)
        np.testing.assert_array_equal(new.minima, state.minima)
        # and one that is nowhere yet takes the first minimum that it meets, however high
        fresh = module.init(settings, cluster, 4)
        mixed = outcome([np.inf, 7.0, 1e6, -3.0], minima=[-1, 1, 2, 3])
        with np.errstate(all="raise"):
            new, info = module.step(settings, fresh, mixed, 0, 0)
        np.testing.assert_array_equal(info.accepted, [False, True, True, True])
        np.testing.assert_array_equal(new.minima, [-1, 1, 2, 3])


def test_moves_adapt_to_the_acceptance(cluster):
    settings, state = started(basin_hopping, cluster)
    settings = settings._replace(surface=0.0, symmetry=0.0)
    up, _ = basin_hopping.step(settings, state, outcome(np.full(4, -1.0)), 0, 1)
    down, _ = basin_hopping.step(settings, state, outcome(np.full(4, 1e3)), 0, 1)
    assert np.all(up.move > state.move)
    assert np.all(down.move < state.move)
    np.testing.assert_allclose(up.move * down.move, state.move**2)  # balance at one half
    for energy, bound in ((-1.0, settings.largest), (1e3, settings.smallest)):
        moving = state
        for step in range(200):
            moving, _ = basin_hopping.step(settings, moving, outcome(np.full(4, energy)), 0, step)
            moving = moving._replace(energies=np.zeros(4))
        np.testing.assert_allclose(moving.move, bound)


def test_walkers_out_of_patience_start_anew(cluster):
    """And nobody stays where one of them has been."""
    settings, state = started(basin_hopping, cluster)
    settings = settings._replace(patience=3.0)
    state = state._replace(lowest=np.zeros(4), bottoms=np.arange(4), move=np.full(4, 0.7))
    # walkers 0, 2 and 3 find nothing lower in three quenches, walker 1 does each time; then walker
    # 2 comes back to its old bottom, 3 to that of walker 0, and 0 finds a place of its own
    expected = {3: [True, False, True, True], 4: [False, False, True, True]}
    for number in range(1, 5):
        energies = np.array([1e6, -number, 1e6, 1e6])
        minima = [50, 10 + number, 2, 0]
        state, info = basin_hopping.step(settings, state, outcome(energies, minima), 5, number)
        assert info.restarted.tolist() == expected.get(number, [False] * 4)
    assert state.visited.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(state.minima, [50, 14, -1, -1])
    np.testing.assert_array_equal(state.bottoms, [50, 14, -1, -1])
    np.testing.assert_allclose(state.move[2:], settings.move)
    idle = state._replace(idle=np.full(4, 10_000))
    _, info = basin_hopping.step(settings._replace(patience=0.0), idle, outcome([0.0] * 4), 5, 9)
    assert not info.restarted.any()


GLYCOL = Molecule.from_text("smiles:OCCO")


def test_what_a_search_has_met_is_remembered_once(cluster):
    settings = basin_hopping.settings(GLYCOL)
    state = basin_hopping.init(settings, GLYCOL, 3)
    assert state.torsions.shape == (3, 4)
    turned = np.stack([set_rotor(GLYCOL.positions, GLYCOL.rotatable[0], k) for k in (0, 1, 2)])
    found = Outcome(turned, np.zeros(3), np.array([4, -1, 5]), np.array([0, 0, 7]))
    new, _ = basin_hopping.step(settings, state, found, 0, 0)
    expected = dihedral(turned[:1], state.torsions)
    np.testing.assert_allclose(new.met, expected, atol=1e-6)
    assert basin_hopping.init(basin_hopping.settings(cluster), cluster, 2).met.shape == (0, 0)


def test_the_draw_farthest_from_what_was_met_is_taken():
    """More draws end farther off, and a walker draws what it would alone."""
    settings = basin_hopping.settings(GLYCOL)
    state = basin_hopping.init(settings, GLYCOL, 40)
    state = state._replace(
        positions=np.repeat(GLYCOL.positions[None], 40, axis=0),
        minima=np.zeros(40, int),
        met=dihedral(GLYCOL.positions[None], state.torsions).astype(np.float32),
    )

    def proposals(draws, walkers=tuple(range(40))):
        chosen = settings._replace(draws=float(draws))
        return basin_hopping.propose(chosen, state, GLYCOL, None, 0, 1, list(walkers))[0]

    def reach(x):
        apart = np.abs(dihedral(x, state.torsions) - state.met)
        return np.sqrt(np.mean(np.minimum(apart, 2 * np.pi - apart) ** 2, axis=1))

    one, eight = reach(proposals(1)), reach(proposals(8))
    assert np.all(eight >= one)
    assert eight.mean() > 1.5 * one.mean()
    np.testing.assert_array_equal(proposals(8, (7, 3)), proposals(8)[[7, 3]])


# --- parallel tempering -------------------------------------------------------------------------


def test_temperatures_make_a_ladder(cluster):
    settings = parallel_tempering.settings(cluster)
    ladder = basin_hopping.temperatures(settings, 5)
    np.testing.assert_allclose(ladder[1:] / ladder[:-1], 4 ** (1 / 4))
    assert (ladder[0], ladder[-1]) == pytest.approx((0.4, 1.6))
    usual = basin_hopping.settings(cluster)
    np.testing.assert_allclose(basin_hopping.temperatures(usual, 3), 0.8)


def test_exchanges_keep_each_temperature(cluster):
    """A cold walker takes a lower minimum always, a higher one as detailed balance has it."""
    settings, state = started(parallel_tempering, cluster, walkers=2)
    settings = settings._replace(temperature=0.5, hottest=1.0)
    for rise, expected in ((-1.0, 1.0), (0.5, np.exp(-(1 / 0.5 - 1 / 1.0) * 0.5))):
        level = state._replace(energies=np.array([0.0, rise]), move=np.array([0.3, 0.9]))
        swaps = 0
        for number in range(0, 800, 2):
            new = parallel_tempering.exchanged(settings, level, 1, number)
            swapped = new.minima[0] == level.minima[1]
            swaps += swapped
            order = [1, 0] if swapped else [0, 1]
            for field in ("positions", "energies", "minima", "lowest", "bottoms", "idle"):
                np.testing.assert_array_equal(getattr(new, field), getattr(level, field)[order])
            np.testing.assert_array_equal(new.move, level.move)
            # odd steps are for the other pairs, of which two walkers have none
            odd = parallel_tempering.exchanged(settings, level, 1, number + 1)
            np.testing.assert_array_equal(odd.minima, level.minima)
        assert swaps / 400 == pytest.approx(expected, abs=0.06)


def test_walkers_that_are_nowhere_exchange_nothing(cluster):
    settings, state = started(parallel_tempering, cluster)
    state = state._replace(minima=np.array([0, -1, 2, 3]), energies=np.array([5.0, np.inf, 3, -9]))
    with np.errstate(all="raise"):
        new = parallel_tempering.exchanged(settings, state, 0, 0)
    assert new.minima.tolist() == [0, -1, 3, 2]


# --- minima hopping -----------------------------------------------------------------------------


def test_feedback_on_the_kinetic_energy(cluster):
    """Goedecker's three cases: fell back, known, new; and what is no minimum cools down most."""
    settings, state = started(minima_hopping, cluster, walkers=4)
    seen = outcome([0.0, 0.1, 0.1, np.inf], minima=[0, 8, 9, -1], visits=[5, 1, 0, 0])
    new, info = minima_hopping.step(settings, state, seen, 0, 1)
    factors = new.kinetic / state.kinetic
    np.testing.assert_allclose(factors, [1.1, 1.1, 1 / 1.1, 1 / 1.1**3])
    np.testing.assert_array_equal(info.kinetic, new.kinetic)
    # the kinds are told apart by their settings, not by chance alike
    odd = settings._replace(fell_back=2.0, known=3.0, new=5.0, lost=7.0)
    factors = minima_hopping.step(odd, state, seen, 0, 1)[0].kinetic / state.kinetic
    np.testing.assert_allclose(factors, [2, 3, 5, 7])
    # the stronger feedback: what was visited once is as before
    often = odd._replace(visits=1.0)
    factors = minima_hopping.step(often, state, seen, 0, 1)[0].kinetic / state.kinetic
    np.testing.assert_allclose(factors, [2 * (1 + np.log(5)), 3, 5, 7])
    # a walker that is nowhere yet has nothing to learn
    fresh = minima_hopping.init(odd, cluster, 4)
    learnt = minima_hopping.step(odd, fresh, seen, 0, 0)[0]
    np.testing.assert_array_equal(learnt.kinetic, fresh.kinetic)
    np.testing.assert_array_equal(learnt.threshold, fresh.threshold)


def test_feedback_on_the_threshold(cluster):
    settings, state = started(minima_hopping, cluster, walkers=4)
    below, above = settings.threshold - 0.01, settings.threshold + 0.01
    seen = outcome([below, above, 0.0, np.inf], minima=[8, 9, 2, -1])
    new, info = minima_hopping.step(settings, state, seen, 0, 1)
    np.testing.assert_array_equal(info.accepted, [True, False, False, False])
    # fallen back or lost is neither accepted nor refused
    np.testing.assert_allclose(new.threshold / state.threshold, [0.98, 1 / 0.98, 1, 1])
    np.testing.assert_array_equal(new.minima, [8, 1, 2, 3])
    np.testing.assert_array_equal(new.energies, [below, 0, 0, 0])


def test_seldom_visited_minima_may_be_higher(cluster):
    """By `spread` for each factor e between the visits, on top of the threshold."""
    settings, state = started(minima_hopping, cluster, walkers=3)
    settings, state = settings._replace(spread=2.0), state._replace(visits=np.array([9, 9, 9]))
    room = settings.threshold + 2.0 * np.log(9 / 3)
    seen = outcome([room - 0.01, room + 0.01, 0.0], minima=[7, 8, 2], visits=[2, 2, 9])
    new, info = minima_hopping.step(settings, state, seen, 0, 1)
    np.testing.assert_array_equal(info.accepted, [True, False, False])
    # of the minimum where the walker is now: 2 before, the refused one's own, and one more at home
    np.testing.assert_array_equal(new.visits, [3, 9, 10])
    published = settings._replace(spread=0.0)
    assert not minima_hopping.step(published, state, seen, 0, 1)[1].accepted.any()
