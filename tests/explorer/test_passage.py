"""First passage times, committors, paths: exact arithmetic, analytic chains, laws."""

from fractions import Fraction

import numpy as np
import pytest

from topokrates.analysis import elimination
from topokrates.analysis.elimination import Problem, solve
from topokrates.analysis.kinetics import Network, regroup
from topokrates.analysis.passage import (
    committors,
    fastest_path,
    log_committors,
    log_times,
    passage,
    sparse_times,
)
from topokrates.model.errors import InputError


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


def exact(net, targets, sources=()):
    """Times to the targets and committors of all states, in fractions of the very same doubles."""
    count = len(net.ids)
    flux = [[Fraction(0)] * count for _ in range(count)]
    for (a, b), value in zip(net.pairs.tolist(), np.exp(net.log_fluxes), strict=True):
        flux[a][b] = flux[b][a] = Fraction(float(value))
    weight = [Fraction(float(w)) for w in np.exp(net.log_weights)]
    ends = [0, 1] if sources else [0]
    answers = []
    for which in ends:
        fixed = {t: Fraction(which) for t in targets}
        fixed |= dict.fromkeys(sources, Fraction(0)) if which else {}
        free = [k for k in range(count) if k not in fixed]
        rows = []
        for i in free:
            row = [-flux[i][j] for j in free]
            row[free.index(i)] += sum(flux[i])
            right = sum((flux[i][j] * v for j, v in fixed.items()), Fraction(0))
            rows.append([*row, right if which else weight[i]])
        for k in range(len(free)):
            pivot = next(r for r in range(k, len(free)) if rows[r][k])
            rows[k], rows[pivot] = rows[pivot], rows[k]
            rows[k] = [v / rows[k][k] for v in rows[k]]
            for r in range(len(free)):
                if r != k and rows[r][k]:
                    rows[r] = [v - rows[r][k] * u for v, u in zip(rows[r], rows[k], strict=True)]
        values = fixed | {i: rows[k][-1] for k, i in enumerate(free)}
        answers.append([values[k] for k in range(count)])
    return answers


# --- times and committors -----------------------------------------------------------------------


def birth_death(log_weights, log_fluxes):
    """ln of the time from the first state of a chain to the last, summed exactly.

    sum over bonds n of (p_0 + ... + p_n) / c_n.
    """
    below = np.logaddexp.accumulate(log_weights[:-1])
    return np.logaddexp.reduce(below - log_fluxes)


def test_chain_of_birth_and_death_with_barriers_beyond_all_doubles():
    rng = np.random.default_rng(4)
    for depth in (1.0, 60.0, 184.0, 2000.0):  # exp(-184) is 1e-80
        weights = depth * rng.uniform(-1, 0, 40)
        pairs = [(k, k + 1) for k in range(39)]
        fluxes = np.minimum(weights[1:], weights[:-1]) - depth * rng.uniform(0, 1, 39)
        net = made(weights, pairs, fluxes)
        times = log_times(net, [49])
        assert times[0] == pytest.approx(birth_death(weights, fluxes), rel=1e-13)
        assert times[-1] == -np.inf
        back = log_times(net, [10])
        assert back[-1] == pytest.approx(birth_death(weights[::-1], fluxes[::-1]), rel=1e-13)
        # a chain's committor is a ratio of resistances
        log_q = log_committors(net, [10], [49])
        resistance = np.logaddexp.accumulate(-fluxes)
        np.testing.assert_allclose(log_q[1:], resistance - resistance[-1], rtol=1e-12, atol=1e-13)


def test_where_a_factorisation_gives_up():
    # two deep wells, 40 kT each, the way between them 80 kT high
    weights = np.array([0, -30, -60, -30, -1.0])
    fluxes = np.array([-45, -80, -80, -45.0])
    net = made(weights, [(0, 1), (1, 2), (2, 3), (3, 4)], fluxes)
    assert log_times(net, [14])[0] == pytest.approx(birth_death(weights, fluxes), rel=1e-14)
    cold = made(20 * weights, net.pairs, 20 * fluxes)
    assert log_times(cold, [14])[0] == pytest.approx(birth_death(20 * weights, 20 * fluxes))
    with pytest.raises(InputError, match="too far apart"):
        sparse_times(cold, [14])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spread", [1.0, 25.0])
@pytest.mark.parametrize("logarithms", [False, True])
def test_small_networks_agree_with_exact_fractions(seed, spread, logarithms, monkeypatch):
    monkeypatch.setattr(elimination, "plain", lambda problem: not logarithms)
    monkeypatch.setattr(elimination, "SMALL", 4 * (seed % 2))  # by lists, then by matrix
    monkeypatch.setattr(elimination, "BLOCK", 3)
    net = random_network(12, 20, spread, seed)
    times, chances = exact(net, [0, 5], [7, 8])
    # logarithms in, so what is exact is exp of them: to a few units of 1e-16 times their size
    found = np.exp(log_times(net, [10, 15]))
    np.testing.assert_allclose(found, [float(t) for t in times], rtol=1e-12 * (1 + spread / 10))
    found = committors(net, [17, 18], [10, 15])
    np.testing.assert_allclose(found, [float(q) for q in chances], rtol=1e-12 * (1 + spread / 10))
    assert found[[0, 5, 7, 8]].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("logarithms", [False, True])
def test_larger_networks_agree_with_dense_and_sparse_algebra(logarithms, monkeypatch):
    monkeypatch.setattr(elimination, "plain", lambda problem: not logarithms)
    net = random_network(300, 900, 1.0, 1)
    times = np.exp(log_times(net, net.ids[:3]))
    rates = net.matrix().toarray()
    inner = np.arange(3, 300)
    generator = np.diag(rates.sum(axis=1)) - rates
    expected = np.linalg.solve(generator[np.ix_(inner, inner)], np.ones(297))
    np.testing.assert_allclose(times[inner], expected, rtol=1e-9)
    np.testing.assert_allclose(sparse_times(net, net.ids[:3])[inner], expected, rtol=1e-9)
    q = committors(net, net.ids[:2], net.ids[-2:])
    # harmonic elsewhere: the mean over the steps from a state
    mean = rates @ q / rates.sum(axis=1)
    np.testing.assert_allclose(mean[2:-2], q[2:-2], rtol=1e-10)
    assert q[:2].tolist() == [0, 0]
    assert q[-2:].tolist() == [1, 1]
    other = committors(net, net.ids[-2:], net.ids[:2])
    np.testing.assert_allclose(q + other, 1, rtol=1e-12)


def test_flux_there_is_flux_back_and_one_state_waits_for_its_rates():
    net = random_network(60, 120, 3.0, 2)
    there, back = (passage(net, a, b) for a, b in (([10, 11], [30]), ([30], [10, 11])))
    weight = np.log10(net.probabilities[:2].sum()) - np.log10(net.probabilities[20])
    assert weight + there.log10_steady_rate == pytest.approx(back.log10_steady_rate)
    two = made([0.3, -1], [(0, 1)], [-2.0])
    one_way = passage(two, [10], [11])
    assert one_way.log10_time == pytest.approx(2.3 / np.log(10))
    assert one_way.log10_rate == pytest.approx(-2.3 / np.log(10))
    assert one_way.log10_steady_rate == pytest.approx(-2.3 / np.log(10))


def test_the_flux_is_what_the_committor_says():
    net = random_network(50, 110, 1.5, 3)
    a, b = net.ids[:2], net.ids[-3:]
    q = committors(net, a, b)
    flux = sum(
        np.exp(f) * (q[j] if i < 2 else q[i])
        for (i, j), f in zip(net.pairs.tolist(), net.log_fluxes, strict=True)
        if (i < 2) != (j < 2)
    )
    expected = flux / np.exp(net.log_weights[:2]).sum()
    assert 10 ** passage(net, a, b).log10_steady_rate == pytest.approx(expected)


def test_what_is_not_connected():
    net = made(np.zeros(6), [(0, 1), (1, 2), (3, 4)], np.zeros(3))
    times = log_times(net, [10])
    assert times[0] == -np.inf
    assert np.isfinite(times[1:3]).all()
    assert np.all(times[3:] == np.inf)
    assert np.all(np.isinf(sparse_times(net, [10])[3:]))
    q = committors(net, [10], [13])
    np.testing.assert_array_equal(q[:5], [0, 0, 0, 1, 1])
    assert np.isnan(q[5])
    nowhere = passage(net, [10], [13])
    assert (nowhere.log10_time, nowhere.log10_steady_rate) == (np.inf, -np.inf)
    with pytest.raises(InputError, match="not connected"):
        fastest_path(net, 10, 15)
    lonely = made(np.zeros(2), [], [])
    assert log_times(lonely, [10]).tolist() == [-np.inf, np.inf]


def test_merging_fast_states_hardly_changes_slow_times():
    # two funnels of four states each, fast inside (kT-sized barriers), 25 kT between them
    rng = np.random.default_rng(5)
    pairs = [(i, j) for f in (0, 4) for i in range(f, f + 4) for j in range(i + 1, f + 4)]
    net = made(rng.normal(size=8), [*pairs, (3, 4)], [*rng.normal(size=12), -25.0])
    grouped = regroup(net, 5.0)
    assert grouped.members == ((10, 11, 12, 13), (14, 15, 16, 17))
    full, coarse = (passage(n, [10, 11, 12, 13], [14, 15, 16, 17]) for n in (net, grouped))
    assert coarse.log10_time == pytest.approx(full.log10_time, abs=1e-6)
    assert coarse.log10_steady_rate == pytest.approx(full.log10_steady_rate, abs=1e-6)


def test_spans_decide_between_numbers_and_logarithms():
    pairs, source, kept = np.array([[0, 1], [1, 2]]), np.array([0.0, -3, -np.inf]), np.array([2])
    assert elimination.plain(Problem(pairs, np.array([0.0, -400]), source, kept))
    assert not elimination.plain(Problem(pairs, np.array([0.0, -600]), source, kept))
    far = Problem(pairs, np.array([0.0, -400]), source, kept)
    answers = [solve(far, np.array([-np.inf]), logarithms=way) for way in (False, True)]
    np.testing.assert_allclose(*(a.log_values for a in answers), rtol=1e-14)


# --- paths --------------------------------------------------------------------------------------


def test_fastest_path_is_the_likeliest_of_all():
    for seed in range(5):
        net = random_network(8, 12, 2.0, seed)
        rates = net.matrix().toarray()
        chance = rates / rates.sum(axis=1, keepdims=True)
        best = 0.0

        def walk(path, product, chance=chance):
            nonlocal best
            if path[-1] == 7:
                best = max(best, product)
                return
            for k in range(8):
                if k not in path and chance[path[-1], k]:
                    walk([*path, k], product * chance[path[-1], k])

        walk([0], 1.0)
        found = fastest_path(net, 10, 17)
        assert found.states[0] == 10
        assert found.states[-1] == 17
        assert 10**found.log10_probability == pytest.approx(best)
