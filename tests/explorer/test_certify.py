"""What is stored is a minimum: saddles are left, and the rigid motions do not count."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.model.analytic import LennardJones
from topokrates.relaxation.certify import (
    CERTIFIED_DECREASE,
    CERTIFIED_FORCE,
    Hint,
    certify,
    certify_all,
    chord_steps,
    largest_force,
    modes,
    rigid_motions,
)
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Status
from topokrates.search.cluster_moves import random_cluster

BOND = 2 ** (1 / 6)
LJ7 = (-16.505384, -15.935043, -15.593211, -15.533060)


def cluster(atoms):
    return LennardJones().bind(np.zeros(atoms, int))


def proof_of(x, **settings):
    x = np.asarray(x, float)
    return certify(cluster(len(x)), coordinates(np.zeros((0, 2), int), x), x, **settings)


# --- rigid motions ------------------------------------------------------------------------------

LINE = np.array([[0.0, 0, 0], [1, 0, 0], [2.3, 0, 0], [3.1, 0, 0]])


@pytest.mark.parametrize(("atoms", "count"), [(2, 5), (3, 6), (7, 6)])
def test_rigid_motions_of_clusters(atoms, count):
    x = np.random.default_rng(atoms).normal(size=(atoms, 3)) + 5
    rigid = rigid_motions(x)
    assert rigid.shape == (3 * atoms, count)
    np.testing.assert_allclose(rigid.T @ rigid, np.eye(count), atol=1e-12)
    # a rigid motion keeps all distances, to first order
    i, j = np.triu_indices(atoms, 1)
    for motion in rigid.T.reshape(count, atoms, 3):
        stretch = np.sum((x[i] - x[j]) * (motion[i] - motion[j]), axis=1)
        np.testing.assert_allclose(stretch, 0, atol=1e-12)


def test_a_line_turns_in_two_ways_only():
    rotation = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    assert rigid_motions(LINE @ rotation.T + 4).shape == (12, 5)
    bent = LINE.copy()
    bent[1, 1] = 0.05
    assert rigid_motions(bent).shape == (12, 6)


@pytest.mark.parametrize(("x", "count"), [(LINE, 12 - 5), (LINE + np.eye(4, 3), 12 - 6)])
def test_modes_that_are_left(x, count):
    """As many as there should be, orthogonal to rigid motions, and true modes of the Hessian."""
    hessian = cluster(4).hessians(x[None])[0]
    found = modes(hessian, x)
    assert found.values.shape == (count,)
    assert found.vectors.shape == (12, count)
    assert np.all(np.diff(found.values) >= 0)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(count), atol=1e-12)
    np.testing.assert_allclose(found.vectors.T @ rigid_motions(x), 0, atol=1e-12)
    np.testing.assert_allclose(
        found.vectors.T @ hessian @ found.vectors, np.diag(found.values), atol=1e-9
    )


def test_modes_of_the_dimer():
    """One stretch: the curvature of the pair potential over the reduced mass of 1/2."""
    x = np.array([[0.0, 0, 0], [0, BOND, 0]])
    values = modes(cluster(2).hessians(x[None])[0], x).values
    np.testing.assert_allclose(values, [2 * 72 / 2 ** (1 / 3)])


# --- certificates -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_certificate_is_what_it_says(seed):
    potential = cluster(7)
    proof = proof_of(random_cluster(7, np.random.default_rng(seed)))
    assert proof.status is Status.CERTIFIED
    assert min(abs(proof.energy - known) for known in LJ7) < 1e-6
    # everything it says, computed anew
    energies, forces = potential.energies_and_forces(proof.positions[None])
    assert energies[0] == pytest.approx(proof.energy, abs=1e-12)
    assert largest_force(forces[0]) == pytest.approx(proof.max_force, abs=1e-10)
    assert proof.max_force <= CERTIFIED_FORCE
    spectrum = modes(potential.hessians(proof.positions[None])[0], proof.positions)
    assert proof.lowest_eigenvalue == pytest.approx(spectrum.values[0], rel=1e-3)
    assert proof.lowest_eigenvalue > 0
    assert proof.negative_eigenvalues == 0
    along = spectrum.vectors.T @ forces[0].ravel()
    assert np.sum(along**2 / spectrum.values) / 2 < CERTIFIED_DECREASE
    # one Hessian, and a few products for the softest mode where it led
    assert 21 <= proof.hessian_vector_products % 42 < 30


@pytest.mark.parametrize(
    ("start", "energy"),
    [
        # three in a row, symmetric: both bends go down
        ([[-1.1, 0, 0], [0, 0, 0], [1.1, 0, 0]], -3.0),
        # a flat rhombus, whose forces never leave its plane
        ([[0, 0.56, 0], [0, -0.56, 0], [0.97, 0, 0], [-0.97, 0, 0]], -6.0),
    ],
    ids=["row", "rhombus"],
)
def test_a_saddle_is_left_for_the_minimum_below(start, energy):
    proof = proof_of(start)
    assert proof.status is Status.CERTIFIED
    assert proof.energy == pytest.approx(energy, abs=1e-9)
    assert proof.negative_eigenvalues == 0
    # once for the saddle, once for the minimum
    assert proof.hessian_vector_products >= 2 * 3 * len(start)


def test_two_atoms():
    proof = proof_of([[0, 0, 0], [1.3, 0, 0]])
    assert proof.status is Status.CERTIFIED
    assert proof.energy == pytest.approx(-1)
    assert np.linalg.norm(proof.positions[0] - proof.positions[1]) == pytest.approx(BOND)


def test_a_single_precision_potential_is_certified_in_double():
    potential = LennardJones(dtype="float32").bind(np.zeros(4, int))
    x = random_cluster(4, np.random.default_rng(0))
    proof = certify(potential, coordinates(np.zeros((0, 2), int), x), x)
    assert proof.status is Status.CERTIFIED
    assert proof.energy == pytest.approx(-6, abs=1e-10)


def test_what_cannot_be_certified_is_not():
    x = random_cluster(7, np.random.default_rng(0))
    given_up = proof_of(x, max_steps=5)
    assert given_up.status is Status.NOT_CONVERGED
    assert given_up.gradient_calls == 5
    assert np.isnan(given_up.lowest_eigenvalue)
    x[0] = x[1]
    assert proof_of(x).status is Status.EXPLODED


def test_newton_steps_converge_quadratically_to_stationary_points_of_any_order():
    """Near the row of three, a saddle of second order: up and down by the Hessian's own word."""
    potential = cluster(3)
    x = np.array([[-1.12, 0, 0], [0, 0.01, 0], [1.12, 0, 0]])
    spectrum = modes(potential.hessians(x[None])[0], x)
    assert np.sum(spectrum.values < 0) == 1  # bent a little, it has the five rigid motions no more
    coordinate = coordinates(np.zeros((0, 2), int), x)
    polished = chord_steps(potential, coordinate, x, spectrum, newton=True)
    assert largest_force(polished.gradient) < 1e-4
    lengths = np.linalg.norm(polished.positions[[0, 2]] - polished.positions[1], axis=1)
    assert lengths[0] == pytest.approx(lengths[1], abs=1e-4)
    # downhill along every mode it would have left the row
    straight = polished.positions - polished.positions.mean(axis=0)
    assert np.linalg.svd(straight, compute_uv=False)[1] < 1e-2
    assert polished.energy > -2.1


# --- many at once -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    """Clusters of four: two random ones, a saddle, a wreck, and one that is at rest."""
    saddle = np.array([[0, 0.56, 0], [0, -0.56, 0], [0.97, 0, 0], [-0.97, 0, 0]])
    first, second = (random_cluster(4, np.random.default_rng(seed)) for seed in (0, 1))
    wreck = first.copy()
    wreck[0] = np.nan
    return [first, saddle, wreck, second, proof_of(first).positions]


def test_each_gets_what_it_would_get_alone(mixed):
    space = coordinates(np.zeros((0, 2), int), mixed[0])
    together = certify_all(cluster(4), space, mixed)
    for proof, x in zip(together, mixed, strict=True):
        alone = proof_of(x)
        np.testing.assert_array_equal(proof.positions, alone.positions)
        assert proof[1:3] == pytest.approx(alone[1:3], abs=0, nan_ok=True)
        assert proof.lowest_eigenvalue == pytest.approx(alone.lowest_eigenvalue, abs=0, nan_ok=True)
        assert proof[4:] == alone[4:]
    found = [proof.status for proof in together]
    assert found == [Status.CERTIFIED] * 2 + [Status.EXPLODED] + [Status.CERTIFIED] * 2
    assert together[1].energy == pytest.approx(-6, abs=1e-9)
    assert certify_all(cluster(4), space, []) == []


def test_a_known_hessian_near_by_spares_one():
    """The same minimum, for a few products; one too far off is no hint."""
    start = random_cluster(7, np.random.default_rng(0))
    proof = proof_of(start)
    hessian = cluster(7).hessians(proof.positions[None])[0]
    beside = proof.positions + 3e-3 * np.random.default_rng(1).normal(size=(7, 3))
    hint = Hint(proof.positions + 1e-3, hessian)
    hinted, plain = proof_of(beside, hint=hint), proof_of(beside)
    assert hinted.status is plain.status is Status.CERTIFIED
    assert hinted.energy == pytest.approx(plain.energy, abs=1e-9)
    assert hinted.lowest_eigenvalue == pytest.approx(plain.lowest_eigenvalue, rel=1e-3)
    assert 0 < hinted.hessian_vector_products < 12 < 21 <= plain.hessian_vector_products
    far = proof_of(beside, hint=Hint(proof.positions + 1, hessian))
    assert far[1:] == plain[1:]


def test_a_bad_hint_does_no_harm():
    """Neither a Hessian of something else nor one that calls a saddle a minimum."""
    x = proof_of(random_cluster(7, np.random.default_rng(0))).positions
    bad = proof_of(x + 1e-3 * np.eye(7, 3), hint=Hint(x, 5 * np.eye(21)))
    assert bad.status is Status.CERTIFIED
    assert min(abs(bad.energy - known) for known in LJ7) < 1e-6
    rhombus = np.array([[0, 0.56, 0], [0, -0.56, 0], [0.97, 0, 0], [-0.97, 0, 0]])
    flat = proof_of(rhombus, hint=Hint(rhombus + 1e-3, 100 * np.eye(12)))
    assert flat.status is Status.CERTIFIED
    assert flat.energy == pytest.approx(-6, abs=1e-9)
