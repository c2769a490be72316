"""What every potential promises: true derivatives, lanes apart, sizes that do not show."""

import jax
import numpy as np
import pytest

from topokrates.model import compiled as module
from topokrates.model.analytic import LennardJones
from topokrates.model.compiled import CompiledPotential

ATOMS = 6


@pytest.fixture(scope="module", params=["network", "LJ"])
def molecule(request, network, structure):
    """A potential in float64 and a batch of four structures of it."""
    numbers, x = structure(ATOMS)
    if request.param == "LJ":
        potential, x = LennardJones().bind(np.zeros(ATOMS, int)), x * 0.8
    else:
        potential = network.bind(numbers, charge=1)
    batch = x + 0.1 * np.random.default_rng(3).normal(size=(4, ATOMS, 3))
    return potential, batch


# --- derivatives --------------------------------------------------------------------------------


def test_forces_are_the_negative_gradient(molecule):
    potential, batch = molecule
    x, direction = batch[0], np.random.default_rng(0).normal(size=(ATOMS, 3))
    step = 1e-6 * direction
    high, low = potential.energies_and_forces(np.stack([x + step, x - step]))[0]
    slope = (high - low) / 2e-6
    force = potential.energies_and_forces(x[None])[1][0]
    assert slope == pytest.approx(-np.sum(force * direction), rel=1e-6)
    assert abs(slope) > 1e-3


def test_products_are_differences_of_forces(molecule):
    potential, batch = molecule
    vectors = np.random.default_rng(1).normal(size=batch.shape)
    step = 1e-5 * vectors
    ahead, behind = (potential.energies_and_forces(batch + s)[1] for s in (step, -step))
    products = potential.hessian_vector_products(batch, vectors)
    np.testing.assert_allclose(products, (behind - ahead) / 2e-5, rtol=1e-5, atol=1e-5)
    assert np.abs(products).max() > 0.1


def test_a_hessian_is_made_of_its_products(molecule):
    potential, batch = molecule
    hessians = potential.hessians(batch[:2])
    assert hessians.shape == (2, 3 * ATOMS, 3 * ATOMS)
    np.testing.assert_array_equal(hessians, hessians.transpose(0, 2, 1))
    for lane in range(2):
        basis = np.eye(3 * ATOMS).reshape(-1, ATOMS, 3)
        columns = potential.hessian_vector_products(
            np.repeat(batch[lane : lane + 1], 3 * ATOMS, axis=0), basis
        )
        np.testing.assert_allclose(
            hessians[lane], columns.reshape(3 * ATOMS, -1), atol=1e-9 * np.abs(columns).max()
        )
    # moving all atoms alike costs nothing
    along = np.tile(np.eye(3), (ATOMS, 1))
    np.testing.assert_allclose(hessians[0] @ along, 0, atol=1e-8 * np.abs(hessians).max())
    assert potential.hessians(batch[:0]).shape == (0, 3 * ATOMS, 3 * ATOMS)


def test_columns_are_those_of_the_hessian(molecule):
    potential, batch = molecule
    directions = np.random.default_rng(5).normal(size=(4, ATOMS, 3))
    columns = potential.hessian_columns(batch[0], directions)
    (exact,) = potential.hessians(batch[:1])
    expected = (directions.reshape(4, -1) @ exact).reshape(directions.shape)
    np.testing.assert_allclose(columns, expected, atol=1e-9 * np.abs(exact).max())
    slow = super(type(potential), potential).hessian_columns(batch[0], directions)
    np.testing.assert_allclose(slow, columns, atol=1e-9 * np.abs(exact).max())
    assert np.isnan(potential.hessian_columns(np.nan * batch[0], directions)).all()


def test_hessians_by_products_are_the_compiled_ones(molecule):
    """The slow road, which potentials without a compiler take, leads to the same place."""
    potential, batch = molecule
    slow = super(CompiledPotential, potential).hessians(batch[:1])
    exact = potential.hessians(batch[:1])
    np.testing.assert_allclose(slow, exact, atol=1e-9 * np.abs(exact).max())


# --- lanes --------------------------------------------------------------------------------------


def test_a_batch_gives_each_lane_what_it_gets_alone(molecule):
    potential, batch = molecule
    vectors = np.random.default_rng(2).normal(size=batch.shape)
    energies, forces = potential.energies_and_forces(batch)
    products = potential.hessian_vector_products(batch, vectors)
    hessians = potential.hessians(batch)
    assert len(set(energies)) == len(batch)
    for k in range(len(batch)):
        lane = slice(k, k + 1)
        energy, force = potential.energies_and_forces(batch[lane])
        np.testing.assert_array_equal(energy, energies[lane])
        np.testing.assert_array_equal(force, forces[lane])
        product = potential.hessian_vector_products(batch[lane], vectors[lane])
        np.testing.assert_array_equal(product, products[lane])
        np.testing.assert_array_equal(potential.hessians(batch[lane]), hessians[lane])


BROKEN = {"not a number": np.nan, "at infinity": np.inf, "far too far": 1e200}


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_broken_lane_breaks_no_other(molecule, value, lanes):
    """One lane per call, as on a CPU, or several in one, as on a GPU."""
    potential, batch = molecule
    potential = replace_lanes(potential, lanes)
    sound_energies, sound_forces = potential.energies_and_forces(batch)
    broken, others = batch.copy(), [0, 1, 3]
    broken[2, 1, 0] = value
    energies, forces = potential.energies_and_forces(broken)
    np.testing.assert_array_equal(energies[others], sound_energies[others])
    np.testing.assert_array_equal(forces[others], sound_forces[others])
    if lanes == 1 or potential.name == "LJ":  # a network's batch of products compiles slowly
        sound_products = potential.hessian_vector_products(batch, batch)
        products = potential.hessian_vector_products(broken, batch)
        np.testing.assert_array_equal(products[others], sound_products[others])
    if value is np.nan:
        assert np.isnan(energies[2])


def test_atoms_on_one_spot_break_no_other_lane(molecule):
    potential, batch = molecule
    sound = potential.energies_and_forces(batch)[0]
    broken = batch.copy()
    broken[1, 0] = broken[1, 1]
    energies, forces = potential.energies_and_forces(broken)
    np.testing.assert_array_equal(energies[[0, 2, 3]], sound[[0, 2, 3]])
    assert np.isfinite(forces[[0, 2, 3]]).all()
    # what cannot be told (in which direction to push?) is not made up
    assert not (np.isfinite(energies[1]) and np.isfinite(forces[1]).all())


def test_lanes_that_are_not_active_are_not_evaluated(molecule):
    potential, batch = molecule
    everything = potential.energies_and_forces(batch)
    active = np.array([False, True, False, True])
    energies, forces = potential.energies_and_forces(batch, active)
    for found, expected in zip((energies, forces), everything, strict=True):
        np.testing.assert_array_equal(found[active], expected[active])
        assert np.isnan(found[~active]).all()
    energies, forces = potential.energies_and_forces(batch, np.zeros(4, bool))
    assert np.isnan(energies).all()
    assert forces.shape == batch.shape


@pytest.mark.parametrize("count", [1, 3, 4])
def test_chunks_of_any_length_come_back_whole(molecule, count):
    """A device that takes two lanes a call: chunks that are full, short, and single."""
    potential, batch = molecule
    energies, forces = potential.energies_and_forces(batch[:count])
    found = replace_lanes(potential, 2).energies_and_forces(batch[:count])
    np.testing.assert_allclose(found[0], energies, atol=1e-11)
    np.testing.assert_allclose(found[1], forces, atol=1e-9)


def replace_lanes(potential, lanes):
    """The same potential on a device that takes that many lanes in one compiled call."""
    copy = CompiledPotential.__new__(CompiledPotential)
    copy.__dict__.update(potential.__dict__)
    copy.__dict__["lanes_per_call"] = lanes
    return copy


def test_a_device_of_many_processors_gives_the_same_second_derivatives(molecule, monkeypatch):
    """There products of several lanes, and columns of a Hessian, are computed side by side."""
    potential, batch = molecule
    vectors = np.random.default_rng(5).normal(size=batch.shape)
    expected = potential.hessian_vector_products(batch, vectors), potential.hessians(batch[:1])
    monkeypatch.setattr(CompiledPotential, "_platform", "gpu")
    many = replace_lanes(potential, 4)
    found = many.hessian_vector_products(batch, vectors), many.hessians(batch[:1])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_a_device_that_is_too_small_gets_fewer_lanes_at_a_time(molecule, monkeypatch):
    """What does not fit is halved until it does, and that is remembered."""
    potential, batch = molecule
    asked = []

    def limited(self, kernel, static, lists, positions):
        asked.append(len(positions))
        if len(positions) > 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return run(self, kernel, static, lists, positions)

    run = module.CompiledPotential._run
    energies, forces = potential.energies_and_forces(batch)
    monkeypatch.setattr(module.CompiledPotential, "_run", limited)
    monkeypatch.setattr(module, "_LANES_FOUND", {})
    small = replace_lanes(potential, 8)
    for _ in range(2):
        found = small.energies_and_forces(np.concatenate([batch, batch]))
        np.testing.assert_allclose(found[0], np.tile(energies, 2), atol=1e-11)
        np.testing.assert_allclose(found[1], np.tile(forces, (2, 1, 1)), atol=1e-9)
    assert asked[0] > 2
    assert all(size == 2 for size in asked[-2:])
    assert small.lanes_per_call == 2


# --- sizes --------------------------------------------------------------------------------------


def test_padding_is_invisible(molecule, network):
    """Four atoms in arrays for six, and by themselves; second derivatives are true ones too."""
    potential, batch = molecule
    numbers, x = potential.numbers[:4], batch[:, :4]
    if potential.name == "LJ":
        padded, bare = (LennardJones().bind(numbers, atoms=atoms) for atoms in (ATOMS, None))
    else:
        padded, bare = (network.bind(numbers, charge=1, atoms=atoms) for atoms in (ATOMS, None))
    for found, expected in zip(
        padded.energies_and_forces(x), bare.energies_and_forces(x), strict=True
    ):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-11)
    vectors = np.random.default_rng(4).normal(size=x.shape)
    ahead, behind = (bare.energies_and_forces(x + s * vectors)[1] for s in (1e-5, -1e-5))
    products = padded.hessian_vector_products(x, vectors)
    np.testing.assert_allclose(products, (behind - ahead) / 2e-5, rtol=1e-5, atol=1e-5)
    hessians = padded.hessians(x[:1])
    assert hessians.shape == (1, 12, 12)
    along = hessians[0] @ vectors[0].ravel()
    np.testing.assert_allclose(along, products[0].ravel(), rtol=1e-8, atol=1e-8)


# --- precision ----------------------------------------------------------------------------------


def test_precisions_agree_and_say_what_they_are(molecule):
    potential, batch = molecule
    single = potential.with_dtype("float32")
    assert potential.with_dtype("float64") is potential
    assert single.provenance() == potential.provenance()
    energies, forces = single.energies_and_forces(batch)
    assert energies.dtype == forces.dtype == single.dtype == np.float32
    expected, expected_forces = potential.energies_and_forces(batch)
    assert expected.dtype == expected_forces.dtype == np.float64
    np.testing.assert_allclose(energies, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(forces, expected_forces, rtol=1e-4, atol=1e-3)
    assert np.abs(energies - expected).max() > 0
    # and back again nothing is lost: parameters are cast from what was read, not from float32
    again = single.with_dtype("float64").energies_and_forces(batch)
    np.testing.assert_array_equal(again[0], expected)


# --- Lennard-Jones ------------------------------------------------------------------------------


def test_lennard_jones_pair():
    potential = LennardJones().bind(np.zeros(2, int))
    bottom = 2 ** (1 / 6)
    for distance, energy in ((1.0, 0.0), (bottom, -1.0), (2.0, 4 * (2.0**-12 - 2.0**-6))):
        x = np.array([[[0.0, 0, 0], [distance, 0, 0]]])
        energies, forces = potential.energies_and_forces(x)
        assert energies[0] == pytest.approx(energy, abs=1e-14)
        pull = 24 * (2 * distance**-13 - distance**-7)
        np.testing.assert_allclose(forces[0], [[-pull, 0, 0], [pull, 0, 0]], atol=1e-12)
    stiffness = potential.hessians(np.array([[[0.0, 0, 0], [bottom, 0, 0]]]))[0][3, 3]
    assert stiffness == pytest.approx(72 / 2 ** (1 / 3))


@pytest.mark.parametrize(
    ("atoms", "energy"), [(3, -3.0), (4, -6.0)], ids=["triangle", "tetrahedron"]
)
def test_lennard_jones_regular_clusters(atoms, energy):
    corners = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])[:atoms]
    x = corners * 2 ** (1 / 6) / np.sqrt(8)
    energies, forces = LennardJones().bind(np.zeros(atoms, int)).energies_and_forces(x[None])
    assert energies[0] == pytest.approx(energy)
    np.testing.assert_allclose(forces, 0, atol=1e-12)
