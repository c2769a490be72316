"""Small clusters have the networks that are known, and a broken run ends as an unbroken one."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from topokrates.landscape import Landscape
from topokrates.model.compiled import CompiledPotential
from topokrates.model.progress import Silent
from topokrates.pathways.connect import connect_minima
from topokrates.relaxation.relax import descend
from topokrates.storage.store import Store

NETWORKS = json.loads((Path(__file__).parent / "lj_networks.json").read_text())
SADDLES = 30  # 20 are enough for LJ7, 10 are not

pytestmark = pytest.mark.usefixtures("shared_coordinates")


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
