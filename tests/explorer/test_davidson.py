"""The softest mode: what numpy finds in the full Hessian, from fewer products."""

import numpy as np
import pytest

from topokrates.model.analytic import LennardJones
from topokrates.relaxation.davidson import PRECISE, softest
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.modes import modes, rigid_motions
from topokrates.relaxation.relax import descend
from topokrates.search.cluster_moves import random_cluster

ATOMS = 13


@pytest.fixture(scope="module")
def near():
    """A minimum of LJ13, a structure beside it, and the Hessians of both."""
    potential = LennardJones().bind(np.zeros(ATOMS, int))
    start = random_cluster(ATOMS, np.random.default_rng(1))
    (end,) = descend(potential, coordinates(np.zeros((0, 2), int), start), [start], 1e-8, lanes=1)
    beside = end.positions + 0.01 * np.random.default_rng(2).normal(size=(ATOMS, 3))
    first, second = potential.hessians(np.stack([end.positions, beside]))
    return end.positions, first, beside, second


def run(search, hessian):
    """Its result, and the directions it asked for."""
    asked = []
    direction = next(search)
    while True:
        asked.append(direction)
        try:
            direction = search.send((hessian @ direction.ravel()).reshape(direction.shape))
        except StopIteration as end:
            return end.value, asked


@pytest.mark.parametrize("guess", ["near by", "rough", "nothing"])
def test_lowest_eigenvalue_is_numpys(near, guess):
    _, first, x, hessian = near
    size = len(hessian)
    noise = np.random.default_rng(3).normal(size=(size, size))
    guesses = {
        "near by": first,
        "rough": first + 3 * (noise + noise.T),
        "nothing": 200 * np.eye(size),
    }
    found, asked = run(softest(x, guesses[guess], size), hessian)
    values, vectors = modes(hessian, x)
    assert found.converged
    assert found.values[0] == pytest.approx(values[0], rel=PRECISE**2)
    assert found.products == len(asked) <= size - 6
    if guess == "near by":
        assert found.products < size / 3
        assert abs(found.mode.ravel() @ vectors[:, 0]) > 0.99
    # the bound: an eigenvalue is that near
    assert np.min(np.abs(values - found.values[0])) <= found.residuals[0] + 1e-9
    for direction in asked:
        assert np.linalg.norm(direction) == pytest.approx(1)
        np.testing.assert_allclose(rigid_motions(x).T @ direction.ravel(), 0, atol=1e-8)


def test_a_negative_mode_that_the_guess_does_not_know_is_found(near):
    """A Hessian with one eigenvalue turned over; the guess says that it is the second softest."""
    x, first, _, _ = near
    values, vectors = modes(first, x)
    mode = vectors[:, 1:2]
    found, _ = run(softest(x, first, len(first)), first - (values[1] + 5) * mode @ mode.T)
    assert found.values[0] == pytest.approx(-5, rel=1e-3)


def test_what_was_tried_is_exact_in_the_corrected_hessian(near):
    _, first, x, hessian = near
    found, asked = run(softest(x, first, len(first)), hessian)
    np.testing.assert_allclose(found.hessian, found.hessian.T, atol=1e-9)
    rigid = rigid_motions(x)
    for direction in asked:
        wanted = hessian @ direction.ravel()
        wanted -= rigid @ (rigid.T @ wanted)
        np.testing.assert_allclose(found.hessian @ direction.ravel(), wanted, atol=1e-6)


def test_it_gives_up_when_told(near):
    _, _, x, hessian = near
    found, asked = run(softest(x, 200 * np.eye(len(hessian)), 4), hessian)
    assert len(asked) == found.products == 4
    assert not found.converged


def test_the_two_lowest_of_a_saddle_are_told_apart(near):
    """One negative eigenvalue, and the next is positive: what a transition state must show."""
    x, first, _, _ = near
    values, vectors = modes(first, x)
    mode = vectors[:, :1]
    hessian = first - (values[0] + 5) * mode @ mode.T
    found, asked = run(softest(x, first, len(first), count=2), hessian)
    assert found.converged
    assert found.values == pytest.approx([-5, values[1]], rel=PRECISE)
    assert len(found.residuals) == 2
    assert found.products == len(asked) < len(first)
    # two negative ones are seen to be two
    other = vectors[:, 1:2]
    found, _ = run(
        softest(x, first, len(first), count=2), hessian - (values[1] + 3) * other @ other.T
    )
    assert found.values == pytest.approx([-5, -3], rel=PRECISE)
