"""Rates and groups of minima: laws and cases by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokrates.analysis import tables
from topokrates.analysis.harmonics import Harmonic, Harmonics
from topokrates.analysis.kinetics import Network, network, regroup
from topokrates.analysis.passage import (
    committors,
    log_times,
)
from topokrates.analysis.point_group import PointGroup
from topokrates.analysis.thermodynamics import States, free_energies
from topokrates.analysis.vibrations import Vibrations, scale
from topokrates.analysis.wells import link_states, minima_states, rate_network
from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule

EV, LJ = scale("eV"), scale("epsilon")


def made(log_weights, pairs, log_fluxes):
    """A network with kT = 1 and an attempt frequency of 1, ids 10, 11, ..."""
    ids = 10 + np.arange(len(log_weights))
    return Network(
        ids,
        np.asarray(log_weights, float),
        np.asarray(pairs, int).reshape(-1, 2),
        np.asarray(log_fluxes, float),
        1.0,
        0.0,
        0.0,
        tuple((int(name),) for name in ids),
    )


def random_network(states, links, spread, seed=0):
    """Connected: a random tree and more links."""
    rng = np.random.default_rng(seed)
    pairs = {(int(rng.integers(k)), k) for k in range(1, states)}
    while len(pairs) < links:
        a, b = sorted(rng.choice(states, 2, replace=False).tolist())
        pairs.add((a, b))
    pairs = np.array(sorted(pairs))
    weights = spread * rng.normal(size=states)
    return made(weights, pairs, spread * rng.normal(size=len(pairs)))


# --- rates --------------------------------------------------------------------------------------


def wells(count, modes, unit, seed, energies=None):
    rng = np.random.default_rng(seed)
    large = 900.0 if unit is EV else 2.0
    height = 0.2 if unit is EV else 3.0
    energies = rng.uniform(0, height, count) if energies is None else energies
    return States(
        np.asarray(energies, float) - 70,
        large * rng.uniform(0.2, 2, (count, modes)),
        1.0 / rng.integers(1, 4, count),
        rng.uniform(20, 60, (count, 3)),
        unit,
    )


@pytest.mark.parametrize("quantum", [False, True])
@pytest.mark.parametrize("temperature", [5.0, 300.0])
def test_detailed_balance_and_eyring(quantum, temperature):
    minima, tops = wells(4, 9, EV, 0), wells(5, 8, EV, 1, energies=[0.5, 0.6, 0.55, 0.7, 0.8])
    ends = [(3, 1), (1, 2), (2, 7), (1, 3), (7, 7)]
    net = network([1, 2, 3, 7], minima, ends, tops, temperature, quantum=quantum, rotation=True)
    assert net.ids[net.pairs].tolist() == [[1, 2], [1, 3], [2, 7]]
    options = {"quantum": quantum, "rotation": True}
    well, top = (free_energies(s, temperature, **options) for s in (minima, tops))
    np.testing.assert_allclose(net.free_energies, well, rtol=1e-12)
    thermal = EV.boltzmann * temperature
    attempts = thermal / EV.planck * EV.per_time
    assert attempts == pytest.approx(2.0836619e10 * temperature, rel=1e-6)  # k_B/h in Hz/K
    # minimum 1 to 3: two transition states
    expected = np.logaddexp(*(-(top[[0, 3]] - well[0]) / thermal)) + np.log(attempts)
    assert net.log_rates[1, 0] == pytest.approx(expected, rel=1e-10)
    # p_i k_ij = p_j k_ji: the logarithms agree to rounding
    log_flux = net.log_weights[net.pairs] + net.log_rates
    size = np.abs(log_flux).max()
    np.testing.assert_allclose(log_flux[:, 0], log_flux[:, 1], rtol=0, atol=1e-15 * size)
    share = net.probabilities
    rates = net.matrix()
    assert share.sum() == pytest.approx(1)
    if temperature > 100:
        flux = (rates * share[:, None]).toarray()
        np.testing.assert_allclose(flux, flux.T, rtol=1e-12)


def test_classical_rates_are_ratios_of_frequencies():
    minima, tops = wells(2, 3, LJ, 0), wells(1, 2, LJ, 1, energies=[5])
    net = network([1, 2], minima, [(1, 2)], tops, 0.4)
    product = minima.frequencies[0].prod() / tops.frequencies[0].prod()
    copies = tops.copies[0] / minima.copies[0]
    expected = copies * product * np.exp(-(tops.energies[0] - minima.energies[0]) / 0.4)
    assert np.exp(net.log_rates[0, 0]) == pytest.approx(expected, rel=1e-12)


def test_the_rate_matrix_leads_to_the_equilibrium():
    net = random_network(20, 40, 1.0)
    rates = net.matrix().toarray()
    generator = rates - np.diag(rates.sum(axis=1))
    np.testing.assert_allclose(net.probabilities @ generator, 0, atol=1e-13)


def test_ends_that_are_no_minima_are_refused():
    minima, tops = wells(2, 3, LJ, 0), wells(1, 2, LJ, 1, energies=[5])
    with pytest.raises(InputError, match="not there"):
        network([1, 2], minima, [(1, 3)], tops, 1.0)
    with pytest.raises(InputError, match="differ"):
        network([1, 1], minima, [(1, 1)], tops, 1.0)
    net = network([1, 2], minima, [(1, 2)], tops, 1.0)
    with pytest.raises(InputError, match="no minimum 5"):
        log_times(net, [5])
    with pytest.raises(InputError, match="at least one"):
        log_times(net, [])
    with pytest.raises(InputError, match="both sets"):
        committors(net, [1], [1, 2])


# --- groups -------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 6))
def test_groups_are_consistent_and_keep_the_equilibrium(seed, threshold):
    net = random_network(25, 45, 2.0, seed)
    grouped = regroup(net, threshold)
    named = sorted(name for group in grouped.members for name in group)
    assert named == net.ids.tolist()
    share = dict(zip(net.ids.tolist(), net.probabilities, strict=True))
    for name, group, p in zip(grouped.ids, grouped.members, grouped.probabilities, strict=True):
        assert p == pytest.approx(sum(share[k] for k in group))
        assert share[name] == max(share[k] for k in group)
    # between any two groups, one barrier at least is above the threshold
    heights = grouped.barriers[:, None] - grouped.free_energies[grouped.pairs]
    assert np.all(heights.max(axis=1) > threshold - 1e-9)
    # what flows between groups is what flows between their states
    where = {k: n for n, group in enumerate(grouped.members) for k in group}
    flows = np.zeros((len(grouped.ids),) * 2)
    for (a, b), flux in zip(net.ids[net.pairs].tolist(), np.exp(net.log_fluxes), strict=True):
        i, j = sorted((where[a], where[b]))
        flows[i, j] += flux * (i != j)
    kept = np.zeros_like(flows)
    kept[tuple(grouped.pairs.T)] = np.exp(grouped.log_fluxes)
    np.testing.assert_allclose(kept, flows, rtol=1e-9)


def test_regrouping_by_hand():
    # a - b barrier 1 from both; b - c barrier 3 from b, 0.5 from c
    net = made([0, 0, -2.5], [(0, 1), (1, 2)], [-1, -3])
    assert regroup(net, 0).members == ((10,), (11,), (12,))
    assert regroup(net, 0.9).members == ((10,), (11,), (12,))  # both directions count
    assert regroup(net, 1.1).members == ((10, 11), (12,))
    # of the group {a, b}, twice as probable as b, the barrier to c is ln 2 higher
    assert regroup(net, 3.5).members == ((10, 11), (12,))
    assert regroup(net, 3.7).members == ((10, 11, 12),)
    assert regroup(net, 3.7, apart=[[10], [12]]).members == ((10, 11), (12,))
    with pytest.raises(InputError, match="threshold"):
        regroup(net, -1)


def test_two_low_ways_make_one_lower():
    # c reaches a and b over barriers of 1.5 each; a and b merge, and the two ways add up
    net = made([0, 0, 0], [(0, 1), (0, 2), (1, 2)], [-0.1, -1.5, -1.5])
    assert len(regroup(net, 1.49).ids) == 2
    heights = regroup(net, 1.49).barriers
    assert heights == pytest.approx([1.5 - np.log(2)])


# --- of a landscape -----------------------------------------------------------------------------


def harmonic(seed, imaginary, chiral=True, image=False):
    rng = np.random.default_rng(seed)
    modes = np.sort(rng.uniform(0.5, 3, 6))
    modes[: int(imaginary)] *= -1
    group = PointGroup("C1", 1, 1, True) if chiral else PointGroup("Cs", 2, 1, False)
    return Harmonic(Vibrations(modes, np.array([1.0, 2, 3])), group, image)


class Plain:
    """Structures are the same if no coordinate differs by more than 0.1."""

    def same(self, a, b):
        return bool(np.abs(a - b).max() < 0.1)

    def find(self, positions, energy, candidates, energy_tolerance):
        return next((name for name, _, x in candidates if self.same(positions, x)), None)


@pytest.fixture
def landscape():
    potential = LennardJones().bind(np.zeros(4, int))
    cluster = Molecule.from_text("LJ4")
    with Landscape.create(cluster, potential.provenance(), matcher=Plain()) as landscape:
        for k, energy in enumerate((-3.0, -2.5, -2.0)):
            landscape.add_minimum(energy, cluster.positions + k)
        for k, (pair, energy, verified) in enumerate(
            [((1, 2), -1.0, True), ((2, 3), -1.2, True), ((1, 3), -2.0, False)]
        ):
            landscape.add_link(pair, energy, cluster.positions + 5 + k, verified)
        yield landscape


def known(**changes):
    minima = {k: harmonic(k, False, **changes) for k in (1, 2, 3)}
    return Harmonics(minima, {k: harmonic(10 + k, True, **changes) for k in (1, 2)})


def test_tables_of_a_landscape(landscape):
    net = rate_network(landscape, known(), 0.2)
    assert net.ids[net.pairs].tolist() == [[1, 2], [2, 3]]  # no estimate takes part
    table = tables.rate_table(landscape, net)
    assert len(table) == 4
    rate, log_rate = table["rate (1/(sigma sqrt(m/epsilon)))"], table.iloc[:, 3]
    np.testing.assert_allclose(np.log10(rate), log_rate)
    assert log_rate.is_monotonic_decreasing
    heights = table["free energy barrier (epsilon)"]
    expected = np.exp(-heights / 0.2) * 0.2 / (2 * np.pi)
    np.testing.assert_allclose(rate, expected, rtol=1e-10)
    there = tables.passage_table(landscape, net, [1], [3])
    assert there["log10 mean first passage time (sigma sqrt(m/epsilon))"].notna().all()
    everything = rate_network(landscape, known(), 0.2, regroup=50)
    assert everything.members == ((1, 2, 3),)
    free = tables.free_energies(landscape, known(), 0.2)
    np.testing.assert_allclose(free["probability"].sum(), 1)
    best = dict(zip(net.ids.tolist(), net.probabilities, strict=True))
    found = dict(zip(free["id"], free["probability"], strict=True))
    assert found == pytest.approx(best)


def test_mirror_images_double_what_stands_for_them(landscape):
    chiral, both = known(), known(image=True)
    assert minima_states(landscape, chiral)[1].copies.tolist() == [2, 2, 2]
    assert minima_states(landscape, both)[1].copies.tolist() == [1, 1, 1]
    # all doubled or none: the same probabilities and rates
    one, two = (rate_network(landscape, h, 0.2) for h in (chiral, both))
    np.testing.assert_allclose(one.log_rates, two.log_rates)
    # a chiral way between minima that are their own images: there are two of it
    flat = Harmonics(known(chiral=False).minima, chiral.links)
    assert link_states(landscape, flat)[1].copies.tolist() == [2, 2]
    # an end whose image is stored: the image of the way leads there, not here
    mixed = Harmonics(chiral.minima | {2: both.minima[2]}, chiral.links)
    assert link_states(landscape, mixed)[1].copies.tolist() == [1, 1]
