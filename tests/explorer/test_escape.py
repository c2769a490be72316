"""Escapes: softened directions, dynamics that keeps its energy, walkers that do not meet."""

import numpy as np
import pytest

from topokrates.model.analytic import LennardJones
from topokrates.relaxation.certify import certify, rigid_motions
from topokrates.relaxation.internals import coordinates
from topokrates.search import escape


@pytest.fixture(scope="module")
def potential():
    return LennardJones().bind(np.zeros(7, int))


BOTTOM = -16.505384168


@pytest.fixture(scope="module")
def bottom():
    """The pentagonal bipyramid."""
    angles = 2 * np.pi * np.arange(5) / 5
    ring = np.stack([0.95 * np.cos(angles), 0.95 * np.sin(angles), 0 * angles], axis=1)
    x = np.vstack([ring, [[0, 0, 0.55], [0, 0, -0.55]]])
    proof = certify(LennardJones().bind(np.zeros(7, int)), coordinates(np.zeros((0, 2)), x), x)
    assert proof.energy == pytest.approx(BOTTOM)
    return proof.positions


def directions(count):
    return np.random.default_rng(0).normal(size=(count, 7, 3))


def test_softening_turns_towards_soft_modes(potential, bottom):
    x = np.repeat(bottom[None], 4, axis=0)
    plain = directions(4) - directions(4).mean(axis=1, keepdims=True)
    plain /= np.sqrt(np.sum(plain**2, axis=(1, 2), keepdims=True))
    soft, calls = escape.soften(potential, x, directions(4), escape.CLUSTERS)
    np.testing.assert_allclose(np.sum(soft**2, axis=(1, 2)), 1)
    assert np.all(calls == escape.CLUSTERS.steps)

    # the softest motions of all, drift and rotation, lead nowhere
    np.testing.assert_allclose(soft.reshape(4, -1) @ rigid_motions(bottom), 0, atol=1e-12)

    def stiffness(v):
        return np.sum(v * potential.hessian_vector_products(x, v), axis=(1, 2))

    assert np.all(stiffness(soft) < 0.8 * stiffness(plain))
    assert np.all(stiffness(soft) > 34), "the softest mode of this minimum has 34.6"


def test_dynamics_keeps_its_energy_and_leaves(potential, bottom):
    kinetic = np.array([2.0, 4.0, 6.0])
    x = np.repeat(bottom[None], 3, axis=0)
    found = escape.escape(potential, x, kinetic, directions(3), escape.CLUSTERS)
    moved = np.linalg.norm(found.positions - x, axis=2).max(axis=1)
    assert np.all(moved > 0.05)
    # the potential energy on the way never exceeds what there is, and uses much of it
    climbed = found.highest - BOTTOM
    assert np.all(climbed < 1.05 * kinetic)
    assert np.all(climbed > 0.1 * kinetic)
    assert np.all(found.gradient_calls > escape.CLUSTERS.steps + 1)


def test_walkers_escape_as_they_would_alone(potential, bottom):
    x, kinetic = np.repeat(bottom[None], 3, axis=0), np.array([2.0, 4.0, 6.0])
    together = escape.escape(potential, x, kinetic, directions(3), escape.CLUSTERS)
    for k in range(3):
        lane = slice(k, k + 1)
        alone = escape.escape(
            potential, x[lane], kinetic[lane], directions(3)[lane], escape.CLUSTERS
        )
        for field, whole in zip(alone, together, strict=True):
            np.testing.assert_array_equal(field, whole[lane])
    # one that blows up takes no other with it, and ends where it was last sound
    hot = kinetic.copy()
    hot[1] = 1e13
    mixed = escape.escape(potential, x, hot, directions(3), escape.CLUSTERS)
    np.testing.assert_array_equal(mixed.positions[[0, 2]], together.positions[[0, 2]])
    assert np.isfinite(mixed.positions).all()


def test_walkers_soften_and_pass_as_much_as_each_is_told(potential, bottom):
    x, kinetic = np.repeat(bottom[None], 4, axis=0), np.full(4, 6.0)
    softened, minima = np.array([0, 20, 3, 3]), np.array([1, 1, 1, 3])
    start = directions(4)
    start[3] = start[2]
    found = escape.escape(potential, x, kinetic, start, escape.CLUSTERS, softened, minima)
    for k in range(4):
        pace = escape.CLUSTERS._replace(steps=int(softened[k]), minima=int(minima[k]))
        lane = slice(k, k + 1)
        alone = escape.escape(potential, x[lane], kinetic[lane], start[lane], pace)
        for field, whole in zip(alone, found, strict=True):
            np.testing.assert_array_equal(field, whole[lane])
    # the same way, two minima further
    assert found.gradient_calls[3] > found.gradient_calls[2]
