"""The index finds what a search over all minima would find, and computes each fingerprint once."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from topokrates.identity.index import MinimumIndex
from topokrates.identity.matching import Matcher
from topokrates.landscape import Landscape
from topokrates.links import compare
from topokrates.molecule import Molecule, set_rotor
from topokrates.storage.records import Link, Minimum

LJ = {"name": "lennard-jones", "units": {"energy": "epsilon", "length": "sigma"}}


@cache
def molecule(text):
    return Molecule.from_text(text)


@cache
def matcher(text):
    return Matcher(molecule(text))


def shapes(text, count, rng):
    """Structures that lie further apart than the tolerance; every fourth near another one."""
    m = molecule(text)
    found = []
    for k in range(count):
        if m.is_cluster:
            x = 2 * m.positions + 0.5 * rng.normal(size=m.positions.shape)
        else:
            x = m.positions
            for rotor in m.rotatable:
                x = set_rotor(x, rotor, rng.uniform(-np.pi, np.pi))
        if k % 4 == 3:
            x = found[-1] + 0.3 * rng.normal(size=x.shape)
        found.append(x)
    return found


def copy_of(x, rng, noise=1e-3):
    turned = x @ Rotation.random(rng=rng).as_matrix().T + rng.normal(scale=5, size=3)
    return turned + noise * rng.normal(size=x.shape)


def stored(name, energy, positions):
    return Minimum(name, energy, positions, None, None, 1)


@pytest.mark.parametrize("text", ["Ac-Ala-NHMe", "LJ7"])
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_it_finds_what_a_search_over_all_finds(text, seed):
    rng = np.random.default_rng(seed)
    structures = shapes(text, 12, rng)
    energies = rng.integers(4, size=12) * 4e-4  # crowded: windows hold several
    index = MinimumIndex()
    for name in rng.permutation(12):
        index.add(stored(int(name), energies[name], structures[name]))
    everything = [(k, energies[k], structures[k]) for k in range(12)]
    recognised = 0
    for k in range(12):
        for noise in (1e-3, 0.04):
            x = copy_of(structures[k], rng, noise * (0.2 if text == "LJ7" else 1))
            energy = energies[k] + rng.choice([0.0, 3e-4, -3e-4, 2e-3])
            found = index.find(matcher(text), energy, x, 5e-4)
            assert found == matcher(text).find(x, energy, everything, 5e-4)
            recognised += found == k
    assert recognised >= 4


def test_energies_come_in_order_and_lowest_first():
    index = MinimumIndex()
    with pytest.raises(IndexError):
        _ = index.lowest
    for name, energy in ((1, 0.5), (2, -1.0), (3, 0.5), (4, 0.0)):
        index.add(stored(name, energy, np.zeros((3, 3))))
    assert index.ids == [2, 4, 1, 3]
    assert index.lowest == -1.0
    index.clear()
    assert index.ids == []


class Counting:
    """Notes how many structures are looked at in each way."""

    def __init__(self, inner):
        self.inner, self.prints, self.superposed = inner, 0, 0

    def same(self, a, b):
        return self.inner.same(a, b)

    def find(self, *arguments):
        raise AssertionError("fingerprints are to be used where there are some")

    def fingerprint(self, positions):
        self.prints += 1 if np.ndim(positions) == 2 else len(positions)
        return self.inner.fingerprint(positions)

    def closest(self, positions, structures, apart):
        self.superposed += int((apart <= self.inner.tolerance).sum())
        return self.inner.closest(positions, structures, apart)


def test_a_fingerprint_is_computed_once_and_leaves_few_to_superpose():
    rng = np.random.default_rng(1)
    counting = Counting(matcher("Ac-Ala-NHMe"))
    index = MinimumIndex()
    structures = shapes("Ac-Ala-NHMe", 40, rng)
    for name, x in enumerate(structures):
        index.add(stored(name, 0.0, x))
    for turn in range(3):
        for name, x in enumerate(structures):
            assert index.find(counting, 0.0, copy_of(x, rng), 1e-3) == name
        assert counting.prints == 40 + 40 * (turn + 1)
    assert counting.superposed <= 1.5 * 120


def test_minima_without_positions_keep_their_rank_and_are_never_found():
    x = molecule("LJ7").positions
    index = MinimumIndex()
    index.add(stored(1, 0.0, None))
    assert index.find(matcher("LJ7"), 0.0, x, 1e-3) is None
    index.add(stored(2, 0.0, x))
    index.add(stored(3, -1e-4, None))
    assert index.ids == [3, 1, 2]
    assert index.find(matcher("LJ7"), 0.0, x, 1e-3) == 2


@pytest.mark.parametrize("text", ["Ac-Ala-NHMe", "LJ7"])
def test_the_order_of_arrival_does_not_matter(text):
    """Copies far closer than the tolerance, minima further apart: one partition."""
    rng = np.random.default_rng(2)
    structures = [x for k, x in enumerate(shapes(text, 24, rng)) if k % 4 != 3]
    origins = np.repeat(np.arange(len(structures)), 4)
    copies = [copy_of(structures[k], rng) for k in origins]
    for _ in range(3):
        with Landscape.create(molecule(text), LJ) as landscape:
            names = np.empty(len(origins), dtype=int)
            for k in rng.permutation(len(origins)):
                names[k] = landscape.add_minimum(1e-4 * origins[k], copies[k])[0]
            assert len(landscape) == len(structures)
            assert [m.visits for m in landscape.minimum_list] == [4] * len(structures)
        assert len(set(zip(origins, names, strict=True))) == len(structures)


def test_what_was_rolled_back_is_not_found():
    x = molecule("LJ7").positions
    with Landscape.create(molecule("LJ7"), LJ) as landscape:

        def half():
            with landscape.transaction():
                landscape.add_minimum(0.0, 2 * x)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            half()
        assert landscape.find(0.0, 2 * x) is None
        assert landscape.add_minimum(0.0, x) == (1, True)  # the number is given again
        assert landscape.find(0.0, 2 * x) is None
        assert landscape.find(0.0, x) == 1


def test_a_link_without_positions_is_like_no_other():
    x = molecule("LJ7").positions
    blind = Link(1, (1, 2), 0.0, None, True)
    seen = Link(2, (1, 2), 0.0, x, True)
    same = matcher("LJ7").same
    assert compare([blind], 0.0, x, True, same) == (None, [])
    assert compare([blind, seen], 0.0, x, True, same) == (2, [])
    assert compare([blind], 1.0, x, False, same) == (1, [])  # bounds the same barrier, lower
