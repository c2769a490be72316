"""Permutation-inversion matching: equal clusters always match, different ones never do."""

from functools import cache
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from topokrates.identity.clusters import match_clusters
from topokrates.identity.matching import Matcher, changes
from topokrates.molecule import Molecule

LJ7 = (-16.505384, -15.935043, -15.593211, -15.533060)

# Near-degenerate minima of LJ10 and LJ12, in hundredths of sigma, to be relaxed.
NEAR_DEGENERATE = (
    {
        -26.464463807: "-71 103 34 61 -12 -16 -14 14 64 9 -92 41 36 10 -122 -16 -74 -67 86 -25 91 "
        "38 94 6 -39 32 -44 -90 -48 13",
        -26.464353863: "-86 -13 0 44 -35 140 -34 -90 -61 -12 69 -9 45 80 -103 4 -63 40 71 26 51 "
        "-34 28 91 48 -16 -49 -46 14 -100",
        -26.464274227: "-12 -32 -27 -16 -122 37 -63 50 -79 91 -21 8 -95 -40 45 41 66 -41 27 -3 "
        "-126 9 -25 84 -43 58 31 62 71 68",
    },
    {
        -33.535037441: "109 14 5 -23 -16 143 28 85 -34 -58 -9 38 41 -59 61 -82 -70 -52 -72 42 -60 "
        "-30 -22 -140 102 -93 -26 29 51 71 -61 102 33 17 -24 -41",
        -33.535034920: "51 66 -22 16 -83 14 107 76 73 -21 51 -107 16 13 69 -80 -41 51 51 -30 -77 "
        "108 -21 19 -57 -42 -57 -4 -81 123 -130 37 -84 -57 55 -2",
    },
)


def quench(x):
    n = len(x)

    def energy(flat):
        y = flat.reshape(n, 3)
        between = y[:, None] - y[None]
        squared = (between**2).sum(-1) + np.diag(np.full(n, np.inf))
        sixth = squared**-3
        forces = 4 * (12 * sixth**2 - 6 * sixth) / squared
        return 2 * (sixth**2 - sixth).sum(), -(forces[:, :, None] * between).sum(1).ravel()

    coarse = minimize(energy, x.ravel(), jac=True, method="L-BFGS-B", options={"maxfun": 10_000})
    fine = minimize(energy, coarse.x, jac=True, method="BFGS", options={"gtol": 1e-7})
    return float(fine.fun), fine.x.reshape(n, 3)


@cache
def minima_of_lj7():
    rng = np.random.default_rng(0)
    found = {}
    while len(found) < 4:
        energy, x = quench(rng.uniform(-1.2, 1.2, size=(7, 3)))
        for known in LJ7:
            if abs(energy - known) < 1e-5:
                found.setdefault(known, x)
    return [found[e] for e in LJ7]


@cache
def icosahedron():
    golden = (1 + 5**0.5) / 2
    corners = [(0, s, t * golden) for s, t in product((1, -1), repeat=2)]
    shell = np.array([np.roll(c, k) for c in corners for k in range(3)])
    energy, x = quench(np.concatenate([np.zeros((1, 3)), 0.55 * shell]))
    assert energy == pytest.approx(-44.326801, abs=1e-6)
    return x


@cache
def truncated_octahedron():
    grid = np.array(list(product(range(-4, 5), repeat=3)))
    sites = grid[grid.sum(1) % 2 == 1]  # an fcc lattice about one of its octahedral holes
    nearest = np.argsort((sites**2).sum(1), kind="stable")[:38]
    energy, x = quench(0.78 * sites[nearest])
    assert energy == pytest.approx(-173.928427, abs=1e-6)
    return x


@cache
def near_degenerate(k):
    relaxed = []
    for energy, text in NEAR_DEGENERATE[k].items():
        found, x = quench(np.array(text.split(), dtype=float).reshape(-1, 3) / 100)
        assert found == pytest.approx(energy, abs=1e-8)
        relaxed.append(x)
    return relaxed


def scrambled(x, rng, noise=0.0, improper=None):
    improper = rng.random() < 0.5 if improper is None else improper
    y = (x + noise * rng.normal(size=x.shape))[rng.permutation(len(x))]
    y = y @ Rotation.random(rng=rng).as_matrix() + rng.normal(scale=3, size=3)
    return -y if improper else y


STRUCTURES = {
    "LJ7 bipyramid": lambda: minima_of_lj7()[0],
    "LJ7 second": lambda: minima_of_lj7()[1],
    "LJ10": lambda: near_degenerate(0)[0],
    "LJ13 Ih": icosahedron,
    "LJ38 Oh": truncated_octahedron,
    "pair": lambda: np.array([[0.0, 0, 0], [1.12, 0, 0]]),
    "triangle": lambda: np.array([[0.0, 0, 0], [1.12, 0, 0], [0.56, 0.97, 0]]),
    "row": lambda: np.array([[0.0, 0, 0], [0, 1.1, 0], [0, 2.1, 0], [0, 3.3, 0]]),
    "square": lambda: np.array([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]]),
    "formless": lambda: np.random.default_rng(1).normal(size=(25, 3)),
}


@pytest.mark.parametrize("name", STRUCTURES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), noise=st.sampled_from([0.0, 1e-4, 3e-3]))
def test_scrambled_copies_match(name, seed, noise):
    rng = np.random.default_rng(seed)
    x = STRUCTURES[name]()
    y = scrambled(x, rng, noise)
    match = match_clusters(x, y, thorough=False)
    assert match is not None
    assert match.rmsd <= 3 * noise + 1e-6
    assert sorted(match.order) == list(range(len(x)))
    np.testing.assert_allclose(match.rotation @ match.rotation.T, np.eye(3), atol=1e-9)
    off = np.linalg.norm(match.apply(y) - x, axis=1)
    assert np.sqrt((off**2).mean()) == pytest.approx(match.rmsd, abs=1e-9)
    assert off.max() == pytest.approx(match.largest, abs=1e-9)


@pytest.mark.parametrize("name", STRUCTURES)
def test_copies_match_up_to_the_tolerance(name):
    """Displacements of 0.9 times the tolerance in the mean, in any directions."""
    rng = np.random.default_rng(7)
    x = STRUCTURES[name]()
    for _ in range(20):
        off = rng.normal(size=x.shape)
        off *= 0.9 * 0.02 / np.sqrt((off**2).sum(1).mean())
        match = match_clusters(x, scrambled(x + off, rng), thorough=False)
        assert match is not None
        assert match.rmsd <= 0.9 * 0.02 + 1e-9


def test_different_minima_never_match():
    """All of LJ7; three of LJ10 8e-5 and 1.1e-4 apart in energy; two of LJ12 2.5e-6 apart."""
    rng = np.random.default_rng(2)
    for minima in (minima_of_lj7(), near_degenerate(0), near_degenerate(1)):
        for a, b in combinations(minima, 2):
            for _ in range(5):
                y = scrambled(b, rng, 1e-4)
                assert match_clusters(a, y, thorough=False) is None
                assert match_clusters(a, y).rmsd > 0.1


def test_inversion_is_an_option():
    """A formless cluster is chiral: only an improper rotation lays it onto its mirror image."""
    rng = np.random.default_rng(3)
    x = STRUCTURES["formless"]()
    image = scrambled(x, rng, improper=True)
    assert match_clusters(x, image, inversion=False, thorough=False) is None
    assert match_clusters(x, image, inversion=True, thorough=False).inverted
    copy = scrambled(x, rng, improper=False)
    assert not match_clusters(x, copy, inversion=False, thorough=False).inverted


def test_only_particles_of_one_kind_are_exchanged():
    rng = np.random.default_rng(4)
    x = icosahedron()
    kinds = np.arange(13) // 3
    order = rng.permutation(13)
    copy = x[order] @ Rotation.random(rng=rng).as_matrix()
    # Kinds belong to places: sorting the copy by kind restores them.
    by_kind = np.argsort(kinds[order], kind="stable")
    match = match_clusters(x, copy[by_kind], kinds, thorough=False)
    assert match is not None
    assert match.rmsd < 1e-6
    assert (kinds[match.order] == kinds).all()


def test_one_particle_moved_does_not_match_but_is_superposed():
    x = truncated_octahedron()
    rng = np.random.default_rng(5)
    y = x.copy()
    y[-1] *= 1.3
    assert match_clusters(x, scrambled(y, rng), thorough=False) is None
    match = match_clusters(x, scrambled(y, rng))
    moved = np.linalg.norm(x[-1]) * 0.3
    assert match.rmsd <= moved / np.sqrt(38) + 1e-6


def test_matcher_of_a_cluster():
    rng = np.random.default_rng(6)
    matcher = Matcher(Molecule.from_text("LJ7"))
    minima = minima_of_lj7()
    known = [(k, energy, x) for k, (energy, x) in enumerate(zip(LJ7, minima, strict=True))]
    for k, x in enumerate(minima):
        y = scrambled(x, rng, 1e-4)
        assert matcher.find(y, LJ7[k], known, 1.0) == k
        assert matcher.same(x, y)
        np.testing.assert_allclose(matcher.align(x, y), x, atol=2e-3)
        for other in minima[:k]:
            assert not matcher.same(other, y)
            assert matcher.rmsd(other, y) > 0.1
            apart = np.linalg.norm(matcher.fingerprint(other) - matcher.fingerprint(y))
            assert 0.02 < apart <= matcher.rmsd(other, y)


def test_a_cluster_that_has_lost_a_particle():
    molecule = Molecule.from_text("LJ13")
    x = icosahedron().copy()
    assert not changes(molecule, x)
    x[3] *= 3
    assert str(changes(molecule, x)) == "cluster dissociated into 2 fragments"
    x[3] = np.nan
    assert changes(molecule, x).kind == "not finite"
