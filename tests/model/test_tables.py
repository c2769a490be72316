"""Splines and tables: what is tabulated is what was trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from topokrates.model import splines

END = 4.5


def wave(r):
    return np.stack([np.sin(3 * r), np.exp(-r), np.cos(r) ** 2], axis=1)


@pytest.fixture(scope="module")
def wave_coefficients():
    return splines.interpolate(wave, END)


def test_a_spline_goes_through_its_points(wave_coefficients):
    points = np.linspace(0, END, splines.INTERVALS + 1)
    values = splines.evaluate(jnp.asarray(points), jnp.asarray(wave_coefficients), END)
    np.testing.assert_allclose(values, wave(points), atol=1e-13)


def test_a_spline_follows_a_function_and_its_derivatives(wave_coefficients):
    r = np.random.default_rng(0).uniform(0, END, 500)

    def value(x):
        return splines.evaluate(x, jnp.asarray(wave_coefficients), END)

    sine = [np.sin(3 * r), 3 * np.cos(3 * r), -9 * np.sin(3 * r), -27 * np.cos(3 * r)]
    derivative = value
    for order, bound in enumerate((1e-13, 1e-11, 1e-8, 1e-5)):
        found = jax.vmap(derivative)(jnp.asarray(r))[:, 0]
        np.testing.assert_allclose(found, sine[order], atol=bound)
        derivative = jax.jacfwd(derivative)


def test_derivatives_of_a_spline_do_not_jump_between_intervals(wave_coefficients):
    """Up to the fourth: C4."""
    knot = END / splines.INTERVALS * 100
    step = 1e-9

    def value(x):
        return splines.evaluate(x, jnp.asarray(wave_coefficients), END)

    for order in range(5):
        left, right = value(jnp.asarray(knot - step)), value(jnp.asarray(knot + step))
        np.testing.assert_allclose(left, right, atol=1e-5 * 3.0 ** (order + 1))
        value = jax.jacfwd(value)


def test_reverse_mode_is_forward_mode(wave_coefficients):
    r = jnp.linspace(0.1, 4.4, 7)

    def total(x):
        return jnp.sum(splines.evaluate(x, jnp.asarray(wave_coefficients), END) ** 2)

    forward, backward = jax.jacfwd(jax.grad(total))(r), jax.jacrev(jax.grad(total))(r)
    np.testing.assert_allclose(forward, backward, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("of_several", [False, True])
def test_reading_again_for_the_gradient_changes_no_derivative(wave_coefficients, of_several):
    one = jnp.asarray(wave_coefficients)
    several, which = jnp.stack([3 * one, one]), jnp.asarray([1, 0, 1, 1])
    table, sizes = (
        (several, jnp.asarray([1.0, 3.0, 1.0, 1.0])) if of_several else (one, jnp.ones(4))
    )
    r, nothing = jnp.asarray([0.3, 1.0, 2.0, 4.4]), jnp.zeros((), jnp.int32)

    def expected(x):
        return jnp.sum(jnp.sin(sizes[:, None] * splines.evaluate(x, one, END)))

    def found(x):
        values = splines.read(x, table, END, nothing, which if of_several else None)
        return jnp.sum(jnp.sin(values))

    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(found(r), expected(r), **close)
    np.testing.assert_allclose(jax.grad(found)(r), jax.grad(expected)(r), **close)
    curvatures = jax.hessian(expected)(r)
    assert np.abs(curvatures).max() > 1
    for derivative in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(derivative(jax.grad(found))(r), curvatures, **close)


def test_a_spline_through_values_is_that_through_a_function(wave_coefficients):
    values = jnp.asarray(wave(splines.grid(END, splines.INTERVALS)))
    np.testing.assert_allclose(splines.through(values), wave_coefficients, atol=1e-12)


def test_a_spline_and_its_slopes_are_linear_in_its_coefficients(wave_coefficients):
    """In all orders that a loss with forces in it needs."""
    r, shape = jnp.linspace(0.1, 4.4, 7), wave_coefficients.shape
    change = jnp.asarray(np.random.default_rng(0).normal(size=shape))

    def total(coefficients):
        def sines(x):
            return jnp.sum(jnp.sin(splines.evaluate(x, coefficients, END)))

        return jnp.sum(jnp.cos(jax.grad(sines)(r)))

    start, step = jnp.asarray(wave_coefficients), 1e-6
    slope = (total(start + step * change) - total(start - step * change)) / (2 * step)
    backwards = jnp.sum(jax.grad(total)(start) * change)
    forwards = jax.jvp(total, (start,), (change,))[1]
    assert abs(slope) > 1
    assert float(backwards) == pytest.approx(float(slope), rel=1e-6)
    assert float(forwards) == pytest.approx(float(slope), rel=1e-6)


NUMBERS = np.array([8, 1, 1, 6, 1, 7])
JOURNAL = {
    "features": 12,
    "heads": 2,
    "degrees": [1, 2, 3],
    "radial_basis": "physnet",
    "cutoff_function": "cosine",
    "message_norm": None,
    **dict.fromkeys(
        ("layer_norm", "residual_mlp", "embed_charge", "embed_spin", "energy_scale"), False
    ),
    **dict.fromkeys(("zbl", "electrostatics", "dispersion"), False),
}


@pytest.mark.parametrize("changes", [{}, JOURNAL, {"layers": 1}], ids=["all", "journal", "one"])
def test_tabulated_is_exact(make_network, changes):
    tabulated = make_network(**changes)
    exact = dataclasses.replace(tabulated, exact=True)
    x = 1.4 * np.random.default_rng(0).normal(size=(3, 6, 3))
    expected = exact.bind(NUMBERS).energies_and_forces(x)
    found = tabulated.bind(NUMBERS).energies_and_forces(x)
    largest = np.abs(expected[1]).max()
    assert largest > 1e-3
    np.testing.assert_allclose(found[0], expected[0], atol=1e-6 * largest)
    np.testing.assert_allclose(found[1], expected[1], atol=1e-5 * largest)


@pytest.mark.parametrize("state", [{"charge": 1}, {"charge": -2, "unpaired": 1}])
def test_tabulated_ions_are_exact(network, state):
    """The first layer's table is made for a molecule's own charge and spin."""
    x = 1.4 * np.random.default_rng(0).normal(size=(1, 6, 3))
    exact = dataclasses.replace(network, exact=True).bind(NUMBERS, **state)
    expected, found = (
        potential.energies_and_forces(x)[1] for potential in (exact, network.bind(NUMBERS, **state))
    )
    np.testing.assert_allclose(found, expected, atol=1e-6)
    neutral = network.bind(NUMBERS).energies_and_forces(x)[1]
    assert np.abs(neutral - found).max() > 1e-4


def test_tabulated_second_derivatives_are_exact(make_network):
    """Also along a direction; without physics, which is not tabulated."""
    force_field = make_network(**dict.fromkeys(("zbl", "electrostatics", "dispersion"), False))
    x = 1.4 * np.random.default_rng(1).normal(size=(1, 6, 3))
    v = np.random.default_rng(2).normal(size=(1, 6, 3))
    exact = dataclasses.replace(force_field, exact=True).bind(NUMBERS)
    expected = exact.hessian_vector_products(x, v)
    assert np.abs(expected).max() > 0.01
    found = force_field.bind(NUMBERS).hessian_vector_products(x, v)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_so3lr_by_table(so3lr, structure):
    """Forces within 1e-6 eV/Å of the networks themselves, from compressed to far apart."""
    exact = dataclasses.replace(so3lr, exact=True)
    x = np.stack([structure(6, seed, spacing)[1] for seed, spacing in enumerate((1.0, 1.4, 2.2))])
    closest = np.linalg.norm(x[:, :, None] - x[:, None] + 9 * np.eye(6)[:, :, None], axis=-1).min()
    assert 0.5 < closest < 0.9
    expected = exact.bind(NUMBERS).energies_and_forces(x)[1]
    found = so3lr.bind(NUMBERS).energies_and_forces(x)[1]
    np.testing.assert_allclose(found, expected, atol=1e-6)
