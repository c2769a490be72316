"""Climbs and bands: each as if alone, and what climbs from known structures bring."""

from itertools import combinations

import numpy as np
import pytest

from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.pathways import attempt, connector
from topokrates.pathways.band import relax_bands
from topokrates.pathways.connect import connect_minima
from topokrates.pathways.interpolate import interpolate
from topokrates.pathways.planning import WAYS
from topokrates.pathways.saddle import find_saddles
from topokrates.pathways.swift_climb import applies
from topokrates.pathways.uphill import uphill
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Status

pytestmark = pytest.mark.usefixtures("shared_coordinates")


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
