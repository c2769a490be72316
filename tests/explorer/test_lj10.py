"""All minima of LJ10 that were met, 64 of them: none is taken for another, none for two.

The file holds what 20,000 quenches from random and from disturbed clusters ended in, the last new
one after 13,000.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.identity.clusters import match_clusters
from topokrates.identity.matching import Matcher
from topokrates.landscape import Landscape
from topokrates.molecule import Molecule

LJ = {"name": "lennard-jones", "units": {"energy": "epsilon", "length": "sigma"}}


def derivatives(x):
    """Energy, gradient (30,) and Hessian (30, 30) of a cluster (10, 3)."""
    n = len(x)
    between = x[:, None] - x[None]
    squared = (between**2).sum(-1) + np.eye(n)
    outside = 1 - np.eye(n)
    sixth = outside / squared**3
    energy = 2 * (sixth**2 - sixth).sum()
    # V(s) of the squared distance s: V' and V''.
    first = (-24 * sixth**2 + 12 * sixth) / squared
    second = (168 * sixth**2 - 48 * sixth) / squared**2
    gradient = 2 * (first[..., None] * between).sum(1)
    pairs = 4 * second[..., None, None] * between[..., :, None] * between[..., None, :]
    pairs += 2 * first[..., None, None] * np.eye(3)
    hessian = -pairs.transpose(0, 2, 1, 3)
    for i in range(n):
        hessian[i, :, i, :] += pairs[i].sum(0)
    return energy, gradient.ravel(), hessian.reshape(3 * n, 3 * n)


def relaxed(x):
    """Newton steps: hundredths of sigma are near enough. Energy, positions, eigenvalues."""
    for _ in range(30):
        energy, gradient, hessian = derivatives(x)
        values, vectors = np.linalg.eigh(hessian)
        if np.abs(gradient).max() < 1e-9:
            return energy, x, values
        # Rotations and translations have eigenvalues near 0, and no gradient to speak of.
        step = -vectors @ (vectors.T @ gradient / np.maximum(np.abs(values), 0.1))
        x = x + (step * min(1, 0.1 / np.abs(step).max())).reshape(x.shape)
    raise AssertionError("not relaxed")


@pytest.fixture(scope="module")
def minima():
    """Energies, each as tabulated, and structures of minima proven by their Hessians."""
    found = []
    for line in (Path(__file__).parent / "lj10.txt").read_text().splitlines()[1:]:
        tabulated, *numbers = line.split()
        energy, x, values = relaxed(np.array(numbers, dtype=float).reshape(10, 3) / 100)
        assert energy == pytest.approx(float(tabulated), abs=1e-8)
        assert values[6] > 0.1 > 1e-6 > np.abs(values[:6]).max()
        found.append((energy, x))
    assert len(found) == 64
    return found


def scrambled(x, rng, noise=1e-3):
    y = x[rng.permutation(len(x))] @ Rotation.random(rng=rng).as_matrix().T
    y = y + noise * rng.normal(size=x.shape) + rng.normal(scale=3, size=3)
    return y if rng.random() < 0.5 else -y


def test_the_lowest_is_the_known_global_minimum_and_some_are_nearly_degenerate(minima):
    energies = np.array([energy for energy, _ in minima])
    assert energies[0] == pytest.approx(-28.422532, abs=1e-6)
    gaps = np.diff(energies)
    assert (gaps > 5e-5).all()  # so the energies alone prove that they are distinct
    assert gaps.min() < 1e-4


def test_no_two_match_and_every_copy_matches(minima):
    rng = np.random.default_rng(0)
    for (_, a), (_, b) in combinations(minima, 2):
        assert match_clusters(a, scrambled(b, rng), thorough=False) is None
    for _, x in minima:
        for _ in range(3):
            match = match_clusters(x, scrambled(x, rng), thorough=False)
            assert match is not None
            assert match.rmsd < 3e-3


def test_structure_alone_finds_the_right_one(minima):
    """The window holds all of them: the energy is of no help."""
    rng = np.random.default_rng(1)
    matcher = Matcher(Molecule.from_text("LJ10"))
    known = [(k, energy, x) for k, (energy, x) in enumerate(minima)]
    for k, energy, x in known:
        assert matcher.find(scrambled(x, rng), energy, known, 10.0) == k
        others = [entry for entry in known if entry[0] != k]
        assert matcher.find(scrambled(x, rng), energy, others, 10.0) is None


def test_a_landscape_holds_each_once_whatever_the_order(minima):
    rng = np.random.default_rng(2)
    molecule = Molecule.from_text("LJ10")
    for _ in range(2):
        with Landscape.create(molecule, LJ) as landscape:
            for k in rng.permutation(np.repeat(np.arange(64), 3)):
                energy, x = minima[k]
                landscape.add_minimum(energy + 1e-6 * rng.normal(), scrambled(x, rng))
            assert [m.visits for m in landscape.minimum_list] == [3] * 64
