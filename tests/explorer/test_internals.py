"""Internal coordinates: derivatives, angles that wrap, and motions that none may miss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.molecule import Molecule, dihedral
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.stiffness import LOOSE, pair_springs


@pytest.fixture(scope="module")
def ethanol():
    return Molecule.from_text("smiles:CCO")


@pytest.fixture(scope="module")
def internal(ethanol):
    return coordinates(ethanol.bonds, ethanol.positions)


@pytest.fixture(scope="module")
def functions(internal):
    """q(x), B(x) and the model Hessian, compiled."""
    return jax.jit(internal.values), jax.jit(internal.jacobian), jax.jit(internal.model_hessian)


@pytest.fixture
def x(ethanol):
    return ethanol.positions + 0.1 * np.random.default_rng(0).normal(size=(9, 3))


def test_what_ethanol_is_made_of(internal):
    assert not internal.cartesian
    # 8 bonds; 6 angles about each carbon and one about oxygen; 3 x 3 torsions C-C and 3 x 1 C-O
    assert [len(k) for k in (internal.bonds, internal.angles, internal.torsions)] == [8, 13, 12]
    assert internal.count == 33
    assert len({frozenset(angle) for angle in internal.angles.tolist()}) == 13
    assert len({tuple(t) for t in internal.torsions.tolist()}) == 12


def test_values_are_lengths_angles_and_torsions(internal, functions, x):
    q = np.asarray(functions[0](x))
    b, a, t = internal.bonds, internal.angles, internal.torsions
    np.testing.assert_allclose(q[:8], np.linalg.norm(x[b[:, 0]] - x[b[:, 1]], axis=1))
    u, v = x[a[:, 0]] - x[a[:, 1]], x[a[:, 2]] - x[a[:, 1]]
    cosine = np.sum(u * v, axis=1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)
    np.testing.assert_allclose(q[8:21], np.arccos(cosine))
    # the sign convention is that of what people read
    np.testing.assert_allclose(q[21:], dihedral(x, t), atol=1e-12)


def test_b_is_the_derivative_of_q(internal, functions, x):
    values, jacobian, _ = functions
    b, step = np.asarray(jacobian(x)), 1e-6
    assert b.shape == (33, 27)
    for column in range(27):
        shift = np.zeros(27)
        shift[column] = step
        ahead, behind = (values(x + s.reshape(9, 3)) for s in (shift, -shift))
        slope = np.asarray(internal.difference(ahead, behind)) / (2 * step)
        np.testing.assert_allclose(b[:, column], slope, atol=1e-8)


def test_rigid_motions_change_nothing(functions, x):
    values, jacobian, _ = functions
    turned = x @ Rotation.random(rng=np.random.default_rng(1)).as_matrix().T + [1.0, 2.0, 3.0]
    np.testing.assert_allclose(values(turned), values(x), atol=1e-12)
    for axis in np.eye(3):
        np.testing.assert_allclose(jacobian(x) @ np.cross(axis, x).ravel(), 0, atol=1e-12)
        np.testing.assert_allclose(jacobian(x) @ np.tile(axis, 9), 0, atol=1e-12)


def test_torsions_are_compared_the_short_way_round(internal):
    old, new = np.zeros(33), np.zeros(33)
    old[[0, 10, 21, 22]] = [1.0, 3.0, 3.1, -3.0]
    new[[0, 10, 21, 22]] = [9.0, -3.0, -3.1, 3.0]
    change = np.asarray(internal.difference(jnp.asarray(new), jnp.asarray(old)))
    wrapped = 2 * np.pi - 6.2, 6.0 - 2 * np.pi
    # lengths and angles are not on a circle
    np.testing.assert_allclose(change[[0, 10, 21, 22]], [8.0, -6.0, *wrapped], atol=1e-12)
    assert np.abs(np.delete(change, [0, 10, 21, 22])).max() == 0


@pytest.mark.parametrize(
    "text",
    ["smiles:C=O", "smiles:N", "smiles:C", "smiles:O", "smiles:OO", "smiles:C1CC1", "smiles:NC=O"],
)
def test_no_motion_is_missed(text):
    """B has 3N - 6 directions, or the coordinates are Cartesian and miss none.

    Formaldehyde is the trap: planar, and without a torsion that would feel the plane being left.
    Ammonia is another, since it is planar half way through its inversion.
    """
    molecule = Molecule.from_text(text)
    internal = coordinates(molecule.bonds, molecule.positions)
    b = np.asarray(jax.jit(internal.jacobian)(molecule.positions))
    if internal.cartesian:
        np.testing.assert_array_equal(b, np.eye(3 * molecule.n_atoms))
    else:
        strengths = np.linalg.svd(b, compute_uv=False)
        assert np.sum(strengths > 0.05) == 3 * molecule.n_atoms - 6
    assert internal.cartesian == (text in ("smiles:C=O", "smiles:N"))


@pytest.mark.parametrize(
    ("bonds", "positions", "why"),
    [
        ([[0, 1], [0, 2]], [[0, 0, 0], [1.2, 0, 0], [-1.2, 0.05, 0]], "linear"),
        ([[0, 1], [2, 3]], [[0, 0, 0], [1, 0, 0], [5, 0, 0], [5, 1, 0]], "two fragments"),
        ([[0, 1]], [[0, 0, 0], [1, 0, 0]], "two atoms"),
        (np.zeros((0, 2)), np.random.default_rng(0).normal(size=(5, 3)), "a cluster"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_cartesian_where_nothing_else_will_do(bonds, positions, why):
    internal = coordinates(np.array(bonds, int), np.array(positions, float))
    x = jnp.asarray(positions, jnp.float64)
    assert internal.cartesian
    assert internal.count == x.size
    np.testing.assert_array_equal(internal.values(x), x.ravel())
    np.testing.assert_array_equal(internal.jacobian(x), np.eye(x.size))
    far = internal.values(x) + 7.0
    np.testing.assert_allclose(internal.difference(far, internal.values(x)), 7.0)
    hessian = np.asarray(jax.jit(internal.model_hessian)(x))
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    assert np.linalg.eigvalsh(hessian)[0] > 0.5


def test_acetylene_is_cartesian_and_knows_its_bonds():
    molecule = Molecule.from_text("smiles:C#C")
    internal = coordinates(molecule.bonds, molecule.positions)
    assert internal.cartesian
    hessian = np.asarray(jax.jit(internal.model_hessian)(molecule.positions))
    along = np.zeros((4, 3))
    i, j = molecule.bonds[0]
    along[i] = molecule.positions[i] - molecule.positions[j]
    along[j] = -along[i]
    along = along.ravel() / np.linalg.norm(along)
    assert along @ hessian @ along > 40, "a bond is stiff, whatever the coordinates are called"


def test_model_hessian_in_internals_and_in_space_agree(internal, functions, x):
    """The fallback's, less what stands in for all that no bond holds, is B' H B."""
    _, jacobian, model = functions
    b = np.asarray(jacobian(x))
    space = np.asarray(jax.jit(internal.as_cartesian().model_hessian)(x))
    np.testing.assert_allclose(space - np.eye(27), b.T @ np.asarray(model(x)) @ b, atol=1e-10)


def test_coordinates_that_can_be_met_are_met(internal, functions, ethanol, x):
    values, _, _ = functions
    found = jax.jit(internal.approach)(jnp.asarray(ethanol.positions), values(x))
    missing = np.asarray(internal.difference(values(found), values(x)))
    np.testing.assert_allclose(missing, 0, atol=1e-4)
    # and no rotation has crept in: the centre stays
    np.testing.assert_allclose(found.mean(axis=0), ethanol.positions.mean(axis=0), atol=1e-8)


def test_a_displacement_follows_the_curve(internal, functions, ethanol):
    """A turn about a bond by half a radian leaves all bonds as long as they were."""
    values, jacobian, _ = functions
    x = np.array(ethanol.positions)
    q, dq = np.asarray(values(x)), np.zeros(33)
    central = np.sort(internal.torsions[:, 1:3], axis=1)
    turning = 21 + np.flatnonzero((central == central[0]).all(axis=1))
    dq[turning] = 0.5
    dx = (np.linalg.pinv(np.asarray(jacobian(x))) @ dq).reshape(x.shape)
    moved = internal.displaced(x, dx)
    change = np.asarray(internal.difference(values(moved), q))
    np.testing.assert_allclose(change[turning], 0.5, atol=1e-3)
    np.testing.assert_allclose(change[:21], 0, atol=1e-3)
    straight = np.asarray(internal.difference(values(x + dx), q))
    assert np.abs(straight[:8]).max() > 0.02


def test_bend_is_what_curved_coordinates_add_to_a_hessian(internal, functions, x):
    _, jacobian, _ = functions
    g = np.random.default_rng(2).normal(size=33)
    bend = np.asarray(jax.jit(internal.bend)(x, g))
    np.testing.assert_allclose(bend, bend.T, atol=1e-9)
    step = 1e-5 * np.random.default_rng(3).normal(size=(9, 3))
    change = g @ (np.asarray(jacobian(x + step)) - np.asarray(jacobian(x - step))) / 2
    np.testing.assert_allclose(bend @ step.ravel(), change, rtol=1e-5, atol=1e-9)
    assert np.abs(np.asarray(internal.as_cartesian().bend(jnp.asarray(x), g[:27]))).max() == 0


def test_planes_are_felt_where_three_meet():
    """Formamide: impropers at carbon and nitrogen, with derivatives, and stiffer than torsions."""
    molecule = Molecule.from_text("smiles:NC=O")
    internal = coordinates(molecule.bonds, molecule.positions)
    assert len(internal.impropers) == 2
    assert internal.count == len(internal.stiffness)
    bonded = {frozenset(bond) for bond in molecule.bonds.tolist()}
    for i, j, k, m in internal.impropers.tolist():
        assert all(frozenset((end, k)) in bonded for end in (i, j, m))
    x = molecule.positions + 0.05 * np.random.default_rng(0).normal(size=(6, 3))
    b, step = np.asarray(internal.jacobian(jnp.asarray(x))), 1e-6
    shift = step * np.random.default_rng(1).normal(size=x.shape)
    ahead, behind = (internal.values(jnp.asarray(x + s)) for s in (shift, -shift))
    slope = np.asarray(internal.difference(ahead, behind)) / 2
    np.testing.assert_allclose(b @ shift.ravel(), slope, atol=1e-12)


def test_stiffness_knows_bonds_by_their_length():
    """Formamide: C=O above N-H above C-H, and a turn about the amide bond above one of ethanol."""
    molecule = Molecule.from_text("smiles:NC=O")
    internal = coordinates(molecule.bonds, molecule.positions)
    kinds = ["".join(sorted(molecule.symbols[i] for i in bond)) for bond in molecule.bonds]
    stiff = {kind: internal.stiffness[row] for row, kind in enumerate(kinds)}
    assert stiff["CO"] > stiff["HN"] > stiff["CH"] > 20
    first = len(internal.bonds) + len(internal.angles)
    ethanol = Molecule.from_text("smiles:CCO")
    single = coordinates(ethanol.bonds, ethanol.positions).stiffness[-1]
    assert np.all(internal.stiffness[first : first + len(internal.torsions)] > 2 * single)


@pytest.mark.parametrize("atoms", [2, 13])
def test_springs_between_pairs(atoms):
    """Positive, symmetric, and a shift of all costs no more than what holds the loose."""
    x = 1.2 * np.stack(np.meshgrid(*[np.arange(3.0)] * 3, indexing="ij"), -1).reshape(-1, 3)[:atoms]
    hessian = np.asarray(pair_springs(jnp.asarray(x)))
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
    assert np.linalg.eigvalsh(hessian)[0] > LOOSE - 1e-9
    shift = np.tile([1.0, 2.0, 3.0], atoms)
    np.testing.assert_allclose(hessian @ shift, LOOSE * shift, atol=1e-9)
