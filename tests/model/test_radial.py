"""Cutoffs end as smoothly as they claim; radial functions are what they are called."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from topokrates.model import radial

CUTOFF = 4.5


def derivative(function, order, r):
    for _ in range(order):
        function = jax.grad(function)
    return float(function(jnp.float64(r)))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_polynomial_cutoff_is_smooth_to_second_order(order):
    """Each derivative goes to zero at the cutoff as its Taylor series says: like distance^(3-n)."""

    def cut(r):
        return radial.polynomial_cutoff(r, CUTOFF)

    near, nearer = (abs(derivative(cut, order, CUTOFF - d)) for d in (1e-3, 1e-4))
    assert nearer < 1.1 * near / 10 ** (3 - order)
    assert derivative(cut, order, CUTOFF + 1e-9) == 0


def test_the_cosine_cutoff_has_a_kinked_slope():
    """What makes it unfit for Hessians, and the reason for the polynomial."""

    def cut(r):
        return radial.cosine_cutoff(r, CUTOFF)

    assert abs(derivative(cut, 1, CUTOFF - 1e-9)) < 1e-8
    jump = (np.pi / CUTOFF) ** 2 / 2
    assert derivative(cut, 2, CUTOFF - 1e-9) == pytest.approx(jump)
    assert derivative(cut, 2, CUTOFF + 1e-9) == 0


@pytest.mark.parametrize("cut", [radial.cosine_cutoff, radial.polynomial_cutoff])
def test_cutoffs_fall_from_one_to_zero(cut):
    values = np.asarray(cut(jnp.linspace(0, CUTOFF, 50), CUTOFF))
    assert values[0] == 1
    assert values[-1] == pytest.approx(0, abs=1e-12)
    assert np.all(np.diff(values) < 0)
    assert float(cut(jnp.float64(CUTOFF / 2), CUTOFF)) == pytest.approx(0.5)
    assert float(cut(jnp.float64(2 * CUTOFF), CUTOFF)) == 0


def test_switch_goes_from_one_to_zero_and_is_antisymmetric_about_the_middle():
    def switch(r):
        return radial.switch_off(r, 2.0, 4.0)

    r = jnp.linspace(0, 6, 61)
    values = np.asarray(jax.vmap(switch)(r))
    assert np.all(values[r <= 2] == 1)
    assert np.all(values[r >= 4] == 0)
    assert np.all(np.diff(values) <= 0)
    np.testing.assert_allclose(values + values[::-1], 1, atol=1e-12)
    for order in (1, 2, 3):
        slopes = [derivative(switch, order, r) for r in (1.0, 2.0, 2.02, 3.98, 4.0, 5.0)]
        np.testing.assert_allclose(slopes, 0, atol=1e-9)
        assert abs(derivative(switch, order, 2.7)) > 0.1


def test_bernstein_functions_are_a_partition_of_one():
    r = jnp.linspace(0.5, 6, 40)
    basis = np.asarray(radial.bernstein(r, 8, 0.9))
    assert basis.shape == (40, 8)
    np.testing.assert_allclose(basis.sum(axis=1), 1, atol=1e-12)
    # the k-th peaks where exp(-gamma r) = k / (n - 1)
    peak = -np.log(3 / 7) / 0.9
    assert derivative(lambda r: radial.bernstein(r, 8, 0.9)[3], 1, peak) == pytest.approx(
        0, abs=1e-12
    )


def test_physnet_functions_are_gaussians_in_the_exponential():
    centres = np.linspace(np.exp(-5.0), 1, 16)
    basis = np.asarray(radial.physnet(-jnp.log(jnp.asarray(centres)), 16, 5.0))
    np.testing.assert_allclose(np.diag(basis), 1, atol=1e-12)
    # width: 2/n of the range is one standard "beta^(-1/2)"
    width = 2 / 16 * (1 - np.exp(-5.0))
    np.testing.assert_allclose(
        basis[:, 0], np.exp(-(((centres - centres[0]) / width) ** 2)), atol=1e-12
    )


@pytest.mark.parametrize("basis", [radial.bernstein, radial.physnet])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_breaks_at_no_distance_or_a_great_one(basis, dtype):
    for r in (0.0, 1e-8, 1e3):
        value, slope = jax.jvp(lambda r: basis(r, 32, 0.9), (jnp.asarray(r, dtype),), (dtype(1),))
        assert value.dtype == dtype
        assert np.isfinite(value).all()
        assert np.isfinite(slope).all()
