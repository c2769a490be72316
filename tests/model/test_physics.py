"""Repulsion, electrostatics and dispersion at the ends where their values are known."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from topokrates.model import physics
from topokrates.model.elements import C6_COEFFICIENTS, POLARISABILITIES
from topokrates.model.layout import pairs_within
from topokrates.model.radial import polynomial_cutoff

WIDTH = 4.0


def pairs_at(distance, cutoff=None):
    x = jnp.zeros((2, 3)).at[1, 2].set(distance)
    return pairs_within(x, np.ones(2, bool), cutoff)


def coulomb(distance, charges=(0.5, -0.3), cutoff=None):
    return physics.coulomb(jnp.asarray(charges), pairs_at(distance, cutoff), WIDTH, cutoff)


def dispersion(distance, numbers=(6, 8), ratios=(1.0, 1.0), cutoff=None):
    ratios = jnp.asarray(ratios)
    pairs = pairs_at(distance, cutoff)
    return physics.dispersion(np.array(numbers), ratios, pairs, 1.2, cutoff, 2.0)


@cache
def compiled(function):
    first = jax.grad(function)
    return jax.jit(lambda r: (function(r), first(r), jax.grad(first)(r)))


def value_and_slopes(function, r):
    """f, f' and f'' at r."""
    return tuple(map(float, compiled(function)(float(r))))


# --- electrostatics -----------------------------------------------------------------------------


def test_coulombs_law_at_large_distance():
    for distance in (30.0, 100.0):
        expected = 14.399645 * 0.5 * -0.3 / distance
        assert float(coulomb(distance)) == pytest.approx(expected, rel=1e-6)
    assert float(coulomb(50.0, (0.5, 0.5))) > 0


def test_smeared_charges_meet_without_a_singularity():
    """erf(r / w) / r goes to 2 / (sqrt(pi) w)."""
    limit = 14.399645351950548 * 0.5 * -0.3 * 2 / (np.sqrt(np.pi) * WIDTH)
    assert float(coulomb(1e-4)) == pytest.approx(limit, rel=1e-6)


def test_energy_and_force_vanish_at_the_long_range_cutoff():
    energy, slope, _ = value_and_slopes(lambda r: coulomb(r, cutoff=12.0), 12.0 - 1e-7)
    assert energy == pytest.approx(0, abs=1e-12)
    assert slope == pytest.approx(0, abs=1e-7)
    assert float(coulomb(12.0 + 1e-6, cutoff=12.0)) == 0
    # half way it is no zero at all
    assert abs(float(coulomb(6.0, cutoff=12.0))) > 1e-2


def test_below_the_switch_the_cutoff_shifts_the_energy_but_not_the_force():
    shifts = [float(coulomb(r) - coulomb(r, cutoff=12.0)) for r in (1.0, 3.0, 5.3)]
    np.testing.assert_allclose(shifts, float(coulomb(12.0)), rtol=1e-12)
    # and past it the force is another one
    slopes = [value_and_slopes(lambda r, c=c: coulomb(r, cutoff=c), 10.0)[1] for c in (None, 12.0)]
    assert abs(slopes[0] - slopes[1]) > 1e-3


def test_every_pair_counts_once():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)) * 20)
    charges = np.array([0.3, -0.2, 0.5, -0.4, 0.0])
    energy = physics.coulomb(
        jnp.asarray(charges), pairs_within(x, np.arange(5) < 4, None), WIDTH, None
    )
    by_hand = sum(
        float(coulomb(float(jnp.linalg.norm(x[i] - x[j])), charges[[i, j]]))
        for i in range(4)
        for j in range(i)
    )
    assert float(energy) == pytest.approx(by_hand, rel=1e-12)


# --- dispersion ---------------------------------------------------------------------------------


def test_dispersion_attracts_everywhere():
    for r in (0.5, 2.0, 4.0, 8.0, 20.0):
        energy, slope, _ = value_and_slopes(dispersion, r)
        assert energy < 0
        assert slope > 0


def test_dispersion_ends_as_the_sixth_power():
    near, far = float(dispersion(200.0)), float(dispersion(400.0))
    assert near / far == pytest.approx(64, rel=1e-3)
    # with the C6 of Tkatchenko and Scheffler: for equal atoms that of the element
    bohr, hartree = 0.529177210564, 27.211386245988
    energy = float(dispersion(400.0, (6, 6)))
    assert energy * (400 / bohr) ** 6 / hartree == pytest.approx(-46.6, rel=1e-3)
    # ratios scale it with their square
    scaled = float(dispersion(400.0, (6, 6), (0.8, 0.8)))
    assert scaled / energy == pytest.approx(0.64, rel=1e-3)


def test_dispersion_is_damped_at_short_range():
    """Its force vanishes when atoms meet, where r^-6 alone would be infinite."""
    energy, slope, _ = value_and_slopes(dispersion, 1e-3)
    assert -1 < energy < 0
    assert abs(slope) < 1e-6


def test_dispersion_is_switched_off_before_the_cutoff():
    for r in (4.0, 9.9):
        assert float(dispersion(r, cutoff=12.0)) == pytest.approx(float(dispersion(r)), rel=1e-12)
    assert 0 < float(dispersion(11.0, cutoff=12.0) / dispersion(11.0)) < 1
    for value in value_and_slopes(lambda r: dispersion(r, cutoff=12.0), 12.0 - 1e-3):
        assert value == pytest.approx(0, abs=1e-12)


def test_tables_of_elements():
    """Rows are atomic numbers: some that every table of them agrees on."""
    assert len(POLARISABILITIES) == len(C6_COEFFICIENTS) == 55
    for z, alpha, c6 in ((1, 4.5, 6.5), (6, 12.0, 46.6), (8, 5.4, 15.6), (17, 15.0, 94.6)):
        assert POLARISABILITIES[z] == alpha
        assert C6_COEFFICIENTS[z] == c6


# --- repulsion ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repulsion():
    """Energy of two atoms by distance, with the published coefficients."""
    module = physics.Repulsion()
    cutoff = 4.5

    def energy(params, r, numbers):
        pairs = pairs_at(r, cutoff)
        cut = polynomial_cutoff(pairs.distances, cutoff)
        return module.apply(params, jnp.asarray(numbers), pairs, cut)

    pairs = pairs_at(1.0, cutoff)
    params = module.init(jax.random.key(0), jnp.array([6, 6]), pairs, pairs.distances)
    return lambda r, numbers=(6, 8): energy(params, r, numbers)


def test_repulsion_repels_at_short_range_only(repulsion):
    r = np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4])
    energies = np.array([float(repulsion(x)) for x in r])
    assert np.all(energies > 0)
    assert np.all(np.diff(energies) < 0)
    for beyond in (1.5, 1.6, 3.0, 5.0):
        assert float(repulsion(beyond)) == 0
    for value in value_and_slopes(repulsion, 1.5 - 1e-2):
        assert value == pytest.approx(0, abs=1e-9)


def test_repulsion_becomes_that_of_bare_nuclei(repulsion):
    """Less its screening, Z1 Z2 k / r times Ziegler, Biersack and Littmark's universal function."""
    r = 0.01
    a = 0.8854 * 0.529177 / (6**0.23 + 8**0.23)
    screening = sum(
        c * np.exp(-d * r / a)
        for c, d in ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016))
    )
    assert float(repulsion(r)) == pytest.approx(14.399645 * 48 / r * screening, rel=1e-4)


def test_padding_does_not_repel():
    """Element 0 on the spot of an atom, in energies and derivatives."""
    module = physics.Repulsion()
    x = jnp.zeros((3, 3)).at[1, 2].set(0.9)
    real = np.array([True, True, False])

    @jax.jit
    def energy(params, x):
        pairs = pairs_within(x, real, 4.5)
        return module.apply(params, jnp.array([6, 1, 0]), pairs, jnp.where(pairs.mask, 1.0, 0.0))

    pairs = pairs_within(x, real, 4.5)
    params = module.init(jax.random.key(0), jnp.array([6, 1, 0]), pairs, pairs.distances)
    slopes, forces = jax.grad(energy, argnums=(0, 1))(params, x)
    assert np.isfinite(forces).all()
    assert np.all(forces[2] == 0)
    assert np.abs(forces[:2]).max() > 1
    # training must not meet a NaN either: Z^p has a slope in p, log(0) for padding
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))
