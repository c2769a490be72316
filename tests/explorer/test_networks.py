"""Small clusters have the networks that are known, and a broken run ends as an unbroken one."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.compiled import CompiledPotential
from topokrates.model.progress import Silent
from topokrates.molecule import Molecule
from topokrates.pathways import attempt, connector
from topokrates.pathways.band import relax_bands
from topokrates.pathways.connect import connect_minima
from topokrates.pathways.interpolate import interpolate
from topokrates.pathways.planning import WAYS
from topokrates.pathways.saddle import find_saddles
from topokrates.pathways.swift_climb import applies
from topokrates.pathways.uphill import uphill
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Status, descend
from topokrates.storage.store import Store

NETWORKS = json.loads((Path(__file__).parent / "lj_networks.json").read_text())
SADDLES = 30  # 20 are enough for LJ7, 10 are not

pytestmark = pytest.mark.usefixtures("shared_coordinates")


def lennard_jones(flat):
    """Energy and gradient of a cluster, in plain numpy."""
    x = flat.reshape(-1, 3)
    between = x[:, None] - x[None]
    squared = (between**2).sum(-1) + np.eye(len(x))
    sixth = (1 - np.eye(len(x))) / squared**3
    slope = (-24 * 2 * sixth**2 + 24 * sixth) / squared
    return 2 * (sixth**2 - sixth).sum(), (slope[..., None] * between).sum(1).ravel()


@pytest.fixture(scope="module")
def minima():
    """The minima of a cluster, from random starts; none of these has two of one energy."""
    known = {}

    def minima(name):
        if name not in known:
            rng, found = np.random.default_rng(0), {}
            for _ in range(60):
                start = rng.normal(size=3 * int(name[2:])) * 0.8
                end = minimize(lennard_jones, start, jac=True, options={"gtol": 1e-9})
                if np.abs(end.jac).max() < 1e-6:
                    found.setdefault(round(end.fun, 5), (end.fun, end.x.reshape(-1, 3)))
            expected = NETWORKS[name]["minima"]
            known[name] = [found[round(energy, 5)] for energy in sorted(found)][: len(expected)]
            np.testing.assert_allclose([e for e, _ in known[name]], expected, atol=1e-6)
        return known[name]

    return minima


@pytest.fixture(scope="module")
def potentials():
    return {
        name: LennardJones().bind(np.zeros(int(name[2:]), int)) for name in NETWORKS if "LJ" in name
    }


@pytest.fixture
def landscape(minima, potentials):
    """A landscape of the minima of a cluster, in a file or in memory; opened again if it exists."""

    def landscape(name, database=None):
        made = Landscape.create(Molecule.from_text(name), potentials[name].provenance(), database)
        if not len(made):
            for energy, x in minima(name):
                made.add_minimum(energy, x)
        return made

    return landscape


def network(landscape):
    order = [m.id for m in landscape.minimum_list]
    return [
        (link.energy, sorted(order.index(name) for name in link.minima))
        for link in landscape.link_list
        if link.verified
    ]


# --- known answers ------------------------------------------------------------------------------


# LJ6 goes through the command line: test_connect_command
@pytest.mark.parametrize("name", ["LJ5", "LJ7"])
def test_networks_of_small_clusters_are_complete(landscape, potentials, monkeypatch, name):
    known = NETWORKS[name]
    found = landscape(name)
    done = connect_minima(found, potentials[name], saddles=SADDLES)
    np.testing.assert_allclose([m.energy for m in found.minimum_list], known["minima"], atol=1e-6)
    energies, sides = zip(*network(found), strict=True)
    np.testing.assert_allclose(energies, [energy for energy, _ in known["saddles"]], atol=1e-5)
    assert list(sides) == [pair for _, pair in known["saddles"]]
    assert found.connected_components == 1
    # what the call says of itself
    log = found.store.attempts()
    assert (done.attempts, done.transition_states, done.minima) == (len(log), len(energies), 0)
    outcomes = Counter(a.outcome for a in log if a.strategy.startswith("uphill"))
    assert outcomes.total() >= SADDLES * len(found)
    assert set(outcomes) <= {"new", "known", "nothing"}
    # each minimum was left after so many in a row that met nothing new
    for m in found.minimum_list:
        own = [a for a in log if a.minima == (m.id, m.id)]
        last = sorted(own, key=lambda a: int(a.strategy.removeprefix("uphill")))[-SADDLES:]
        assert len(last) == SADDLES
        assert all(a.outcome != "new" for a in last)
    # a second call asks nothing of the potential
    monkeypatch.setattr(CompiledPotential, "energies_and_forces", None)
    monkeypatch.setattr(CompiledPotential, "hessians", None)
    assert not any(connect_minima(found, potentials[name], saddles=SADDLES))
    assert found.store.attempts() == log


@pytest.mark.slow
def test_lj8_has_8_minima_and_42_transition_states(topokrates, tmp_path):
    options = ("--quenches", "4000", "--walkers", "64", "--no-plot", "--json")
    done = topokrates("explore", "LJ8", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["minima"]) == 8
    assert sum(link["verified"] for link in found["links"]) == 42
    assert found["connected_components"] == 1
    assert found["minima"][0]["energy"] == pytest.approx(-19.821489, abs=1e-6)


# --- killed -------------------------------------------------------------------------------------

FEW = 12  # single-ended searches: several rounds, not all is found


def account(landscape):
    """All that connecting leaves behind."""
    minima, links = landscape.contents()
    record = landscape.store.load_search("connect")
    return {
        "minima": [(m.id, m.energy, m.visits, m.positions.tobytes()) for m in minima],
        "links": [
            (k.id, k.minima, k.energy, k.verified, k.lowest_eigenvalue, k.positions.tobytes())
            for k in links
        ],
        "attempts": landscape.store.attempts(),
        "spent": (record.done, record.gradient_calls, record.hessian_vector_products),
    }


@pytest.fixture(scope="module")
def undisturbed():
    """What is left behind when nobody kills: filled by the first test that asks."""
    return {}


@pytest.fixture
def expected(undisturbed, landscape, potentials):
    if not undisturbed:
        found = landscape("LJ7")
        connect_minima(found, potentials["LJ7"], saddles=FEW, batch=3)
        undisturbed |= account(found)
    return undisturbed


@pytest.fixture
def killed_until_done(landscape, potentials, killed, tmp_path):
    """Calls until one gets through; how often each phase was cut short: pairs, single-ended."""

    def killed_until_done(patiences, arm):
        kills = Counter()
        for patience in patiences:
            found = landscape("LJ7", tmp_path / "x.db")
            try:
                connect_minima(
                    found, potentials["LJ7"], saddles=FEW, batch=3, progress=arm(int(patience))
                )
                return account(found), kills
            except killed:
                alone = any(a.strategy.startswith("uphill") for a in found.store.attempts())
                kills["single-ended" if alone else "pairs"] += 1
            finally:
                found.close()
        raise AssertionError("never done")

    return killed_until_done


def test_killed_at_signs_of_life(expected, killed_until_done, killer):
    patiences = np.random.default_rng(0).integers(2, 4, 200)
    found, kills = killed_until_done(patiences, killer)
    assert kills["pairs"] > 3
    assert found == expected


def test_killed_between_rounds_of_single_ended_searches(expected, killed_until_done, killed):
    """At the sign of life after each of their first two rounds."""
    left = 2

    class Late(Silent):
        def stage(self, name, total=None, done=0):
            self.alone = name == "saddles"

        def advance(self, done, message=""):
            nonlocal left
            if self.alone and left:
                left -= 1
                raise killed

    found, kills = killed_until_done(range(9), lambda _: Late())
    assert kills == {"single-ended": 2}
    assert found == expected


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_killed_between_two_attempts_of_a_round(
    expected, killed_until_done, killed, monkeypatch, before
):
    """Inside the transactions, in both phases: the round goes on with what it still lacks."""
    log, countdown = Store.log_attempt, [0]

    def deadly(self, *arguments, **options):
        if not before:
            log(self, *arguments, **options)
        countdown[0] -= 1
        if countdown[0] == 0:
            raise killed
        if before:
            log(self, *arguments, **options)

    def arm(patience):
        countdown[0] = patience
        return Silent()

    monkeypatch.setattr(Store, "log_attempt", deadly)
    patiences = np.concatenate([[2, 2, 3, 2], np.random.default_rng(1).integers(15, 40, 99)])
    found, kills = killed_until_done(patiences, arm)
    assert kills["pairs"] >= 3
    assert kills["single-ended"] >= 2
    assert found == expected


# --- many are as one ----------------------------------------------------------------------------


def equal(one, other):
    """Bit for bit, NaN being NaN."""
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def guesses_of(kind, minima, potentials, peroxide, count):
    """Potential, coordinates, guesses and directions; whether the climb is the compiled one."""
    rng = np.random.default_rng(4)
    if kind == "molecule":
        molecule, potential, internal = peroxide
        guesses = [molecule.positions + rng.normal(scale=0.1, size=(4, 3)) for _ in range(count)]
    else:
        # padding is nothing that a compiled loop can hold
        atoms = 8 if kind == "padded" else 7
        potential = LennardJones().bind(np.zeros(7, int), atoms=atoms)
        internal = coordinates(np.zeros((0, 2), int), np.zeros((7, 3)))
        places = [x for _, x in minima("LJ7")]
        guesses = [places[k % 4] + rng.uniform(-0.25, 0.25, size=(7, 3)) for k in range(count)]
    directions = [rng.normal(size=x.shape) for x in guesses]
    assert applies(potential, internal) is (kind == "compiled")
    return potential, internal, guesses, directions


@pytest.mark.parametrize("kind", ["compiled", "padded", "molecule"])
def test_many_climbs_are_as_one_each(minima, potentials, peroxide, kind):
    """Bit for bit, whatever is beside them: NaN too."""
    count = {"compiled": 11, "padded": 8, "molecule": 5}[kind]
    potential, internal, guesses, directions = guesses_of(kind, minima, potentials, peroxide, count)
    together = find_saddles(potential, internal, guesses, directions)
    assert sum(saddle.status is Status.SADDLE for saddle in together) >= 2
    for x, direction, saddle in zip(guesses, directions, together, strict=True):
        equal(find_saddles(potential, internal, [x], [direction])[0], saddle)
    # other batches, the other way round
    for size in (2, 3, 9) if kind == "compiled" else (2,):
        apart = []
        for first in range(0, count, size):
            part = slice(first, first + size)
            apart += find_saddles(potential, internal, guesses[::-1][part], directions[::-1][part])
        for one, other in zip(apart[::-1], together, strict=True):
            equal(one, other)
    # one that is nowhere
    guesses[1] = np.full_like(guesses[1], np.nan)
    broken = find_saddles(potential, internal, guesses, directions)
    assert broken[1].status is Status.EXPLODED
    for k in set(range(count)) - {1}:
        equal(broken[k], together[k])


def test_the_guide_of_a_molecule_is_paid_for_once(peroxide, tmp_path):
    """Searches in one call, and in calls that each take it up where the last one stopped."""
    molecule, potential, internal = peroxide
    (end,) = descend(potential, internal, [molecule.positions], 1e-6, lanes=1)
    left = []
    for calls in ([4], [1, 2, 4]):
        database = tmp_path / f"{len(calls)}.db"
        for saddles in calls:
            with Landscape.create(molecule, potential.provenance(), database) as found:
                if not len(found):
                    found.add_minimum(end.energy, end.positions)
                connect_minima(found, potential, saddles=saddles, batch=1)
                left.append(account(found))
    once, *_, often = left
    assert once["spent"][2] > 0
    assert often == once


def test_an_estimate_becomes_a_transition_state_from_its_top(landscape, potentials, monkeypatch):
    """All bands were tried in vain; what the estimate knows is where to climb."""
    found, potential = landscape("LJ7"), potentials["LJ7"]
    whole = landscape("LJ7")
    connect_minima(whole, potential, saddles=0)
    link = next(k for k in whole.link_list if k.verified and k.minima[0] != k.minima[1])
    x = link.positions + 0.02 * np.random.default_rng(0).normal(size=(7, 3))
    found.add_link(link.minima, link.energy + 0.01, x, verified=False)
    ids = [m.id for m in found.minimum_list]
    for a, b in combinations(sorted(ids), 2):
        for way in WAYS:
            found.store.log_attempt(a, b, "nothing", way)
    monkeypatch.setattr(connector, "attempts", lambda *_: pytest.fail("a band"))
    done = connect_minima(found, potential, saddles=0)
    assert done.attempts == 1
    (only,) = found.link_list
    assert only.verified
    assert only.minima == link.minima
    assert only.energy == pytest.approx(link.energy, abs=1e-6)


def test_many_bands_are_as_one_each(minima, potentials):
    internal = coordinates(np.zeros((0, 2), int), np.zeros((7, 3)))
    places = minima("LJ7")
    pairs = [(0, 1, 9), (1, 2, 13), (3, 1, 9), (0, 3, 6)]
    paths = [interpolate(internal, places[a][1], places[b][1], m) for a, b, m in pairs]
    paths[2][4] = np.nan
    ends = [(places[a][0], places[b][0]) for a, b, _ in pairs]
    together = relax_bands(potentials["LJ7"], internal, paths, ends, 12)
    for path, energies, band in zip(paths, ends, together, strict=True):
        equal(relax_bands(potentials["LJ7"], internal, [path], [energies], 12)[0], band)
    for one, other in zip(
        reversed(relax_bands(potentials["LJ7"], internal, paths[::-1], ends[::-1], 12)),
        together,
        strict=True,
    ):
        equal(one, other)


def test_where_a_climb_starts_depends_on_minimum_and_number_alone(landscape, potentials):
    found = landscape("LJ7")
    internal = coordinates(np.zeros((0, 2), int), np.zeros((7, 3)))
    # 15 modes both ways, short and long: 60; then three saddles and another way in turns
    first, second, third = found.minimum_list[:3]
    starts = [(first, k) for k in (0, 1, 2, 30, 59, 60, 61, 62, 63, 64, 67)]
    starts += [(second, k) for k in (61, 0, 71)] + [(third, 63)]
    # any three structures will do
    known = [m.positions + 5 + 0.2 * np.sin(np.arange(21)).reshape(7, 3) for m, _ in starts[-3:]]

    def begin(starts, saddles=known):
        return uphill(found.molecule, potentials["LJ7"], internal, starts, saddles)

    together = begin(starts)
    for start, climb in zip(starts, together, strict=True):
        equal(begin([start])[0], climb)
    for one, other in zip(reversed(begin(starts[::-1])), together, strict=True):
        equal(one, other)
    # both ways along a mode; longer later; never twice the same
    steps = [
        climb.positions - start[0].positions for start, climb in zip(starts, together, strict=True)
    ]
    np.testing.assert_allclose(steps[0], -steps[1], atol=1e-12)
    np.testing.assert_allclose(steps[3], 3 * steps[0], atol=1e-12)
    assert len({climb.positions.tobytes() for climb in together}) == len(starts)
    assert [climb.gradient_calls > 0 for climb in together] == [
        k > 59 and (k - 60) % 16 == 7 for _, k in starts
    ]
    # near one of the saddles; without any, a mixture
    (off,) = begin([(second, 60)], known[1:2])
    apart = np.linalg.norm(off.positions - known[1], axis=1).max()
    assert 0.2 <= apart <= 0.5
    far = [np.linalg.norm(climb.positions - known[1]) for climb in begin([(second, 60)], [])]
    assert min(far) > 1


def test_climbs_from_another_potentials_transition_states(landscape, potentials, monkeypatch):
    """They bring the transition states there, and minima that were not known."""
    whole, potential = landscape("LJ7"), potentials["LJ7"]
    connect_minima(whole, potential, saddles=0)
    link = next(k for k in whole.link_list if k.verified and k.minima[0] != k.minima[1])
    rng = np.random.default_rng(0)
    guesses = [link.positions + 0.02 * rng.normal(size=(7, 3)) for _ in range(2)]
    first = whole.minimum(link.minima[0])
    found = Landscape.create(whole.molecule, potential.provenance())
    found.add_minimum(first.energy, first.positions)
    spent, sides = [], []
    descend_sides = attempt.descend_sides

    def descended(potential, coordinates, saddles):
        sides.append(len(saddles))
        return descend_sides(potential, coordinates, saddles)

    monkeypatch.setattr(attempt, "descend_sides", descended)
    for _ in range(2):
        connector.Connector(found, potential).climb_from(guesses)
        (state,) = found.link_list
        assert state.verified
        assert state.energy == pytest.approx(link.energy, abs=1e-6)
        energies = sorted(m.energy for m in found.minimum_list)
        wanted = sorted(whole.minimum(name).energy for name in link.minima)
        np.testing.assert_allclose(energies, wanted, atol=1e-6)
        record = found.store.load_search(connector.CONNECTING)
        spent.append((record.gradient_calls, record.hessian_vector_products))
    assert sides == [1, 0]  # what is known is not stored again, and not gone down from
    assert spent[0][0] < spent[1][0]
    assert spent[0][1] < spent[1][1]
