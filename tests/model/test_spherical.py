"""Spherical harmonics are orthonormal, turn among themselves, and contract to invariants."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from topokrates.model.spherical import MAX_DEGREE, contract, degree_matrix, spherical_harmonics

DEGREES = (1, 2, 3, 4)


def sphere_quadrature() -> tuple[np.ndarray, np.ndarray]:
    """Nodes (K, 3) and weights (K,), exact for polynomials of degree 11 on the sphere."""
    z, weights = np.polynomial.legendre.leggauss(6)
    angles = 2 * np.pi * np.arange(12) / 12
    z, phi = (grid.ravel() for grid in np.meshgrid(z, angles, indexing="ij"))
    nodes = np.stack([np.sqrt(1 - z**2) * np.cos(phi), np.sqrt(1 - z**2) * np.sin(phi), z], -1)
    return nodes, np.repeat(weights, 12) * 2 * np.pi / 12


def unit_vectors(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_orthonormal_on_the_sphere():
    nodes, weights = sphere_quadrature()
    y = np.asarray(spherical_harmonics(nodes, DEGREES))
    np.testing.assert_allclose((y.T * weights) @ y, np.eye(3 + 5 + 7 + 9), atol=1e-13)
    # none of them has a constant part: a degree 0 hidden in them would not be orthogonal to 1
    np.testing.assert_allclose(weights @ y, 0, atol=1e-13)


def test_orders_run_from_minus_l_to_l():
    """m < 0 is odd under y -> -y, and m goes with cos or sin of m phi: what the signs must be."""
    x = unit_vectors(20)
    y = np.asarray(spherical_harmonics(x, DEGREES))
    mirrored = np.asarray(spherical_harmonics(x * [1, -1, 1], DEGREES))
    m = np.concatenate([np.arange(-degree, degree + 1) for degree in DEGREES])
    np.testing.assert_allclose(mirrored, np.where(m < 0, -1, 1) * y, atol=1e-14)
    turned = np.asarray(
        spherical_harmonics(x @ Rotation.from_euler("z", 0.3).as_matrix().T, DEGREES)
    )
    first = 0
    for degree in DEGREES:
        for order in range(1, degree + 1):
            down, up = first + degree - order, first + degree + order
            expected = np.cos(order * 0.3) * y[:, up] - np.sin(order * 0.3) * y[:, down]
            np.testing.assert_allclose(turned[:, up], expected, atol=1e-14)
        first += 2 * degree + 1


def test_degree_one_is_y_z_x():
    x = unit_vectors(5)
    expected = np.sqrt(3 / (4 * np.pi)) * x[:, [1, 2, 0]]
    np.testing.assert_allclose(spherical_harmonics(x, (1,)), expected, atol=1e-15)


def test_all_harmonics_at_the_pole():
    """Only m = 0 does not vanish along z, where it is sqrt((2l + 1) / (4 pi))."""
    y = np.asarray(spherical_harmonics(np.array([0.0, 0.0, 1.0]), DEGREES))
    expected = [np.eye(2 * d + 1)[d] * np.sqrt((2 * d + 1) / (4 * np.pi)) for d in DEGREES]
    np.testing.assert_allclose(y, np.concatenate(expected), atol=1e-15)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_contractions_are_invariant_and_degrees_do_not_mix(seed):
    """Of sums of harmonics, as the network builds them: a rotation of all directions at once."""
    rng = np.random.default_rng(seed)
    directions, weights = unit_vectors(6, seed), rng.normal(size=(6, len(DEGREES)))
    rotation = Rotation.random(rng=rng).as_matrix()

    def variable(x):
        return np.sum(weights @ degree_matrix(DEGREES) * spherical_harmonics(x, DEGREES), axis=0)

    chi, turned = variable(directions), variable(directions @ rotation.T)
    invariants = np.asarray(contract(jnp.asarray(chi), DEGREES))
    np.testing.assert_allclose(contract(jnp.asarray(turned), DEGREES), invariants, atol=1e-12)
    # by hand, degree by degree
    start = 0
    for value, degree in zip(invariants, DEGREES, strict=True):
        block = chi[start : start + 2 * degree + 1]
        assert value == pytest.approx(block @ block / np.sqrt(2 * degree + 1))
        start += 2 * degree + 1
    assert not np.allclose(chi, turned)


def test_addition_theorem():
    """sum_m Y_lm(a) Y_lm(b) = (2l + 1) / (4 pi) P_l(a . b)."""
    a, b = unit_vectors(8, 1), unit_vectors(8, 2)
    product = np.asarray(spherical_harmonics(a, DEGREES) * spherical_harmonics(b, DEGREES))
    sums = product @ degree_matrix(DEGREES).T
    for column, degree in enumerate(DEGREES):
        legendre = np.polynomial.Legendre.basis(degree)(np.sum(a * b, axis=1))
        np.testing.assert_allclose(sums[:, column], (2 * degree + 1) / (4 * np.pi) * legendre)


def test_degrees_come_in_the_order_asked_for():
    x = unit_vectors(3)
    y = np.asarray(spherical_harmonics(x, (3, 1)))
    np.testing.assert_array_equal(y[:, :7], spherical_harmonics(x, (3,)))
    np.testing.assert_array_equal(y[:, 7:], spherical_harmonics(x, (1,)))


@pytest.mark.parametrize("degree", [0, MAX_DEGREE + 1])
def test_other_degrees_are_refused(degree):
    with pytest.raises(ValueError, match=f"degree {degree}"):
        spherical_harmonics(np.array([0.0, 0.0, 1.0]), (degree,))
