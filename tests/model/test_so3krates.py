"""The network: what it may not depend on, and SO3LR's energies, part by part."""

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.model.errors import InputError
from topokrates.model.network import NetworkForceField
from topokrates.model.parameters import check_shapes, flatten
from topokrates.model.so3krates import SO3krates

NUMBERS = np.array([8, 1, 1, 6, 1, 7])


def positions(seed=0):
    return 1.4 * np.random.default_rng(seed).normal(size=(6, 3))


def moved(x, seed=1):
    """A copy somewhere else, turned; and the rotation."""
    rotation = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    return x @ rotation.T + [0.3, -2.0, 11.0], rotation


# The journal's network has neither norms nor physics; a net with cosine cutoff must do as well.
VARIANTS = {
    "so3lr's switches": {},
    "the journal's": {
        "degrees": [1, 2, 3, 4],
        "radial_basis": "physnet",
        "cutoff_function": "cosine",
        "message_norm": None,
        **dict.fromkeys(
            ("layer_norm", "residual_mlp", "embed_charge", "embed_spin", "energy_scale"), False
        ),
        **dict.fromkeys(("zbl", "electrostatics", "dispersion"), False),
    },
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, make_network):
    return make_network(**VARIANTS[request.param])


def test_rotated_and_shifted_molecules_have_the_same_energy(variant):
    potential, x = variant.bind(NUMBERS, charge=1, unpaired=1), positions()
    y, rotation = moved(x)
    energies, forces = potential.energies_and_forces(np.stack([x, y]))
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    np.testing.assert_allclose(forces[1], forces[0] @ rotation.T, atol=1e-9)
    assert np.abs(forces).max() > 1e-2


def test_reflected_molecules_have_the_same_energy(variant):
    """All of the network's invariants are squares, so it is blind to handedness: O(3)."""
    potential, x = variant.bind(NUMBERS), positions()
    energies, forces = potential.energies_and_forces(np.stack([x, -x]))
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)
    np.testing.assert_allclose(forces[1], -forces[0], atol=1e-9)


def test_parts_add_up(variant):
    potential, x = variant.bind(NUMBERS), positions()
    found = potential.parts(x)
    energy = potential.energies_and_forces(x[None])[0][0]
    assert float(found.total) == pytest.approx(energy, abs=1e-10)
    added = [found.repulsion, found.electrostatics, found.dispersion]
    assert all((part != 0) == variant.weights.architecture["zbl"] for part in added)


def test_order_of_atoms_does_not_matter(variant):
    order, x = np.array([4, 0, 5, 2, 1, 3]), positions()
    energy, forces = variant.bind(NUMBERS, charge=-1).energies_and_forces(x[None])
    same, permuted = variant.bind(NUMBERS[order], charge=-1).energies_and_forces(x[None, order])
    assert same[0] == pytest.approx(energy[0], abs=1e-9)
    np.testing.assert_allclose(permuted[0], forces[0, order], atol=1e-9)


def test_no_net_force_and_no_net_torque(variant):
    x = positions()
    force = variant.bind(NUMBERS).energies_and_forces(x[None])[1][0]
    np.testing.assert_allclose(force.sum(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cross(x, force).sum(axis=0), 0, atol=1e-9)


def test_elements_and_directions_matter(network):
    """A network that ignored its input would pass all of the above."""
    x = positions()
    energy = network.bind(NUMBERS).energies_and_forces(x[None])[0][0]
    exchanged = network.bind(NUMBERS[[3, 1, 2, 0, 4, 5]]).energies_and_forces(x[None])[0][0]
    assert abs(energy - exchanged) > 1e-3
    # the hydrogens are beyond the cutoff from each other: only the oxygen can see the angle
    water = network.bind(np.array([8, 1, 1]), atoms=6)
    bent = np.zeros((2, 3, 3))
    for x, angle in zip(bent, (2.2, 2.9), strict=True):
        x[1, 0], x[2, :2] = 2.4, 2.4 * np.array([np.cos(angle), np.sin(angle)])
        assert np.linalg.norm(x[1] - x[2]) > network.weights.architecture["cutoff"]
    energies = [float(water.parts(x).network) for x in bent]
    assert abs(energies[0] - energies[1]) > 1e-5


@pytest.fixture(scope="module")
def bare(make_network):
    """Without what reaches beyond the cutoff."""
    return make_network(electrostatics=False, dispersion=False)


def test_an_atom_beyond_the_cutoff_is_not_seen_by_the_network(bare):
    together = positions()
    apart = together.copy()
    apart[3:] += [40.0, 0, 0]
    energy = bare.bind(NUMBERS).energies_and_forces(apart[None])[0][0]
    halves = [
        bare.bind(NUMBERS[s], atoms=6).energies_and_forces(together[None, s])[0][0]
        for s in (slice(3), slice(3, 6))
    ]
    assert energy == pytest.approx(sum(halves), abs=1e-10)
    whole = bare.bind(NUMBERS).energies_and_forces(together[None])[0][0]
    assert abs(whole - energy) > 1e-3


def test_the_surface_is_smooth_where_a_neighbour_enters(bare):
    """Forces and their slope go to zero at the cutoff as (cutoff - r)^2 and (cutoff - r)."""
    potential = bare.bind(np.array([8, 1, 6]), atoms=6)

    def force(inside):
        x = np.array([[0.0, 0, 0], [1.0, 0, 0], [inside - 4.0, 0, 0]])
        return potential.energies_and_forces(x[None])[1][0, 2, 0]

    assert force(-1e-9) == 0
    assert abs(force(0.5)) > 1e-4
    slopes = [(force(d + 1e-5) - force(d)) / 1e-5 for d in (1e-1, 1e-2, 1e-3)]
    assert abs(slopes[1]) < 0.3 * abs(slopes[0])
    assert abs(slopes[2]) < 0.3 * abs(slopes[1])


@pytest.mark.parametrize("charge", [-2, 0, 1])
def test_charges_sum_to_the_total_charge(network, charge):
    potential = network.bind(NUMBERS[:4], charge=charge, atoms=6)
    charges = potential.parts(positions()[:4]).charges
    assert charges.shape == (4,)
    assert charges.sum() == pytest.approx(charge, abs=1e-12)
    assert np.ptp(charges) > 1e-3


def test_charge_and_spin_embeddings_vanish_for_a_neutral_closed_shell(network):
    """Their weights do not matter then, to the last bit; and they do for an ion or a radical."""
    x = positions()
    kept = network.weights
    without = dict(kept.params)
    for name in ("charge_embedding", "spin_embedding"):
        without[name] = jax.tree.map(lambda value: value * 3 + 1, without[name])
    changed = NetworkForceField(kept._replace(params=without), dtype="float64")

    def energy(force_field, **state):
        return force_field.bind(NUMBERS, **state).energies_and_forces(x[None])[0][0]

    assert energy(network) == energy(changed)
    for state in ({"charge": 1}, {"charge": -1}, {"unpaired": 2}):
        assert abs(energy(network, **state) - energy(changed, **state)) > 1e-6
    # and what is positive and what is negative is not embedded alike
    plus, minus = energy(network, charge=1), energy(network, charge=-1)
    assert abs(plus - minus) > 1e-6


def test_parameters_are_those_that_a_weights_file_lists(network):
    architecture = network.weights.architecture
    module = SO3krates(**architecture | {"degrees": tuple(architecture["degrees"])})
    arguments = (NUMBERS, positions().astype(np.float32), np.ones(6, bool), np.float32(0))
    shapes = jax.eval_shape(module.init, jax.random.key(0), *arguments, np.float32(0))["params"]
    found = {name: leaf.shape for name, leaf in flatten(shapes).items()}
    check_shapes(architecture, found)


def test_an_unknown_element_is_named(network):
    with pytest.raises(InputError, match=r"does not know the element Cl; it knows H C N O"):
        network.bind(np.array([17, 1]))


# --- SO3LR ---------------------------------------------------------------------------------------

# A water dimer with the authors' code in float64: energies in eV, forces in eV/Å.
WATER_NUMBERS = np.array([8, 1, 1, 8, 1, 1])
WATER_DIMER = np.array(
    [
        [0.0, 0.0, 0.0],
        [0.9572, 0.0, 0.0],
        [-0.23998721, 0.92662721, 0.0],
        [2.91, 0.05, 0.02],
        [3.26152937, -0.409, 0.77695033],
        [3.26152937, -0.409, -0.73695033],
    ]
)
NETWORK, REPULSION, DISPERSION = -11.274179130338176, 2.7238538922118845, -0.01196826402142396
# long-range cutoff: electrostatics, total, force on the first hydrogen
REFERENCE = {
    12.0: (
        -1.7675650724494345,
        -10.32985857459715,
        [0.6444887205508697, 0.14622149102694487, 0.011680093034912641],
    ),
    1000.0: (
        -2.511516066515335,
        -11.07380956866305,
        [0.45604820252567246, 0.0299856041978466, 0.011888521944875906],
    ),
    None: (
        -2.5205521105836497,
        -11.082845612731365,
        [0.4537594001197129, 0.028573800726804655, 0.011891053526701272],
    ),
}
CHARGES = [-0.67454634, 0.30209865, 0.32326622, -0.61787916, 0.33362177, 0.33343887]
RATIOS = [0.77988374, 0.67058263, 0.60794109, 0.6244593, 0.56285076, 0.56285126]


@pytest.fixture(scope="module")
def dimer(so3lr):
    return so3lr.bind(WATER_NUMBERS)


@pytest.mark.parametrize("cutoff", REFERENCE)
def test_so3lr_parts_agree_with_its_authors(so3lr, cutoff):
    electrostatics, total, _ = REFERENCE[cutoff]
    potential = NetworkForceField(so3lr.weights, cutoff, "float64").bind(WATER_NUMBERS)
    found = potential.parts(WATER_DIMER)
    assert float(found.network) == pytest.approx(NETWORK, abs=1e-6)
    assert float(found.repulsion) == pytest.approx(REPULSION, abs=1e-6)
    assert float(found.electrostatics) == pytest.approx(electrostatics, abs=1e-6)
    assert float(found.dispersion) == pytest.approx(DISPERSION, abs=1e-6)
    assert float(found.total) == pytest.approx(total, abs=1e-6)
    np.testing.assert_allclose(found.charges, CHARGES, atol=1e-7)
    np.testing.assert_allclose(found.hirshfeld_ratios, RATIOS, atol=1e-7)


@pytest.mark.parametrize(
    "cutoff", [None, *(pytest.param(cutoff, marks=pytest.mark.slow) for cutoff in (12.0, 1000.0))]
)
def test_so3lr_agrees_with_its_authors(so3lr, cutoff):
    _, total, force = REFERENCE[cutoff]
    potential = NetworkForceField(so3lr.weights, cutoff, "float64").bind(WATER_NUMBERS)
    energies, forces = potential.energies_and_forces(WATER_DIMER[None])
    assert energies[0] == pytest.approx(total, abs=1e-6)
    np.testing.assert_allclose(forces[0, 1], force, atol=1e-6)


def test_so3lr_in_single_precision(dimer):
    _, total, force = REFERENCE[None]
    energies, forces = dimer.with_dtype("float32").energies_and_forces(WATER_DIMER[None])
    assert energies.dtype == forces.dtype == np.float32
    assert energies[0] == pytest.approx(total, abs=1e-4)
    np.testing.assert_allclose(forces[0, 1], force, atol=5e-5)


def test_so3lr_names_the_element_that_it_does_not_know(so3lr):
    with pytest.raises(InputError, match="does not know the element Na, Br; it knows H C N O F"):
        so3lr.bind(np.array([1, 11, 35]))


def test_descriptors_turn_nothing_and_follow_their_atoms(network, structure):
    """What the last layer knows of an atom: invariant, and its own whatever its number."""
    numbers, x = structure(9, 3)
    order = np.random.default_rng(1).permutation(9)
    turn = Rotation.random(random_state=2).as_matrix()
    moved = (x @ turn.T + 3.0)[order]
    found = network.bind(numbers).descriptors(np.stack([x, np.full_like(x, np.nan)]))
    assert found.shape == (2, 9, network.weights.architecture["features"])
    assert np.isnan(found[1]).all()
    other = network.bind(numbers[order], atoms=16).descriptors(moved[None])[0]
    np.testing.assert_allclose(other, found[0][order], atol=1e-9)
    assert np.ptp(found[0], axis=0).max() > 1e-3
