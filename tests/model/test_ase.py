"""ASE on both sides: the same numbers through either door, and loops that need no compiler."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones as ASELennardJones

from topokrates.model import models
from topokrates.model.analytic import LennardJones
from topokrates.model.ase import ASEForceField, ForceFieldCalculator
from topokrates.relaxation.certify import certify
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Status, descend

NO_BONDS = np.zeros((0, 2), int)


def ase_lennard_jones(charge=0, unpaired=0):
    # a cutoff so far away that nothing is cut and nothing shifted
    return ASELennardJones(sigma=1.0, epsilon=1.0, rc=1e6, smooth=False)


@pytest.fixture(scope="module")
def host():
    """Seven Lennard-Jones particles, computed by ASE."""
    return ASEForceField("ase:lj", ase_lennard_jones, {}).bind(np.ones(7, int))


@pytest.fixture(scope="module")
def ours():
    return LennardJones().bind(np.zeros(7, int))


@pytest.fixture
def batch(structure):
    _, x = structure(7, spacing=1.15)
    return x + 0.05 * np.random.default_rng(0).normal(size=(3, 7, 3))


def test_a_potential_made_from_ase_is_the_calculator(host, ours, batch):
    energies, forces = host.energies_and_forces(batch)
    expected, expected_forces = ours.energies_and_forces(batch)
    np.testing.assert_allclose(energies, expected, atol=1e-9)
    np.testing.assert_allclose(forces, expected_forces, atol=1e-9)
    assert np.abs(forces).max() > 1
    assert not host.compiled


def test_products_by_differences_agree_with_exact_ones(host, ours, batch):
    """Whatever the length of the vector: the step is of the atom that moves most."""
    vectors = (
        np.random.default_rng(1).normal(size=batch.shape) * np.array([1e-3, 1, 1e3])[:, None, None]
    )
    vectors[1, 3:] = 0
    exact = ours.hessian_vector_products(batch, vectors)
    found = host.hessian_vector_products(batch, vectors)
    for lane in range(3):
        scale = np.abs(exact[lane]).max()
        np.testing.assert_allclose(found[lane], exact[lane], atol=5e-3 * scale)
    assert np.all(host.hessian_vector_products(batch, 0 * vectors) == 0)
    hessian, expected = host.hessians(batch[:1])[0], ours.hessians(batch[:1])[0]
    np.testing.assert_allclose(hessian, expected, atol=5e-3 * np.abs(expected).max())
    np.testing.assert_array_equal(hessian, hessian.T)


def test_differences_have_the_stated_step(batch):
    """One call at +step and one at -step, 0.005 Å of the atom that moves most."""
    seen = []

    class Recording(Calculator):
        implemented_properties = ("energy", "forces")

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            seen.append(self.atoms.positions.copy())
            self.results = {"energy": 0.0, "forces": np.zeros((7, 3))}

    potential = ASEForceField("r", lambda charge, unpaired: Recording(), {}).bind(np.ones(7, int))
    vector = np.zeros((1, 7, 3))
    vector[0, 2], vector[0, 4] = [0, 3.0, 4.0], [1.0, 0, 0]
    potential.hessian_vector_products(batch[:1], vector)
    moves = [x - batch[0] for x in seen]
    assert len(moves) == 2
    np.testing.assert_allclose(moves[0], -moves[1], atol=1e-12)
    np.testing.assert_allclose(np.abs(moves[0][2]), [0, 0.003, 0.004], atol=1e-12)


def test_lanes_that_fail_fail_alone(host, batch):
    energies, forces = host.energies_and_forces(batch)
    broken = batch.copy()
    broken[1, 0, 0] = np.nan
    found, found_forces = host.energies_and_forces(broken, np.array([True, True, False]))
    assert np.isnan(found[1:]).all()
    np.testing.assert_array_equal(found[0], energies[0])
    np.testing.assert_array_equal(found_forces[0], forces[0])
    assert np.isnan(found_forces[1:]).all()


def test_a_calculation_that_raises_is_a_lane_that_failed(batch):
    class Moody(ASELennardJones):
        def calculate(self, atoms=None, properties=None, system_changes=all_changes):
            if atoms.positions[0, 0] > 50:
                raise RuntimeError("SCF not converged")
            super().calculate(atoms, properties, system_changes)

    make = lambda charge, unpaired: Moody(rc=1e6)  # noqa: E731
    potential = ASEForceField("moody", make, {}).bind(np.ones(7, int))
    expected = potential.energies_and_forces(batch)[0]
    broken = batch.copy()
    broken[1, 0, 0] = 60
    found = potential.energies_and_forces(broken)[0]
    np.testing.assert_array_equal(np.isnan(found), [False, True, False])
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])


def test_the_calculator_gets_charge_and_spin():
    asked = []

    def make(charge, unpaired):
        asked.append((charge, unpaired))
        return ase_lennard_jones()

    potential = ASEForceField("lj", make, {"accuracy": 1}).bind(np.array([1, 1]), -1, 1)
    assert asked == [(-1, 1)]
    assert potential.provenance() == {
        "name": "lj",
        "weights": None,
        "units": {"energy": "eV", "length": "Å"},
        "accuracy": 1,
    }
    assert potential.with_dtype("float32") is potential


def test_minimisation_and_certificate_need_no_compiled_potential(host, ours, batch, monkeypatch):
    # the same way down for both
    monkeypatch.setattr(type(ours), "closed", False)
    internal = coordinates(NO_BONDS, batch[0])
    ends = sorted(descend(host, internal, batch, lanes=2), key=lambda end: end.index)
    compiled = sorted(descend(ours, internal, batch, lanes=2), key=lambda end: end.index)
    for end, expected in zip(ends, compiled, strict=True):
        assert end.status is Status.CONVERGED
        assert end.energy == pytest.approx(expected.energy, abs=1e-6)
    proof = certify(host, internal, ends[0].positions)
    assert proof.status is Status.CERTIFIED
    exact = certify(ours, internal, ends[0].positions)
    assert proof.energy == pytest.approx(exact.energy, abs=1e-8)
    assert proof.lowest_eigenvalue == pytest.approx(exact.lowest_eigenvalue, rel=1e-2)


# --- a calculator for ASE -----------------------------------------------------------------------


def test_a_calculator_is_the_potential(network, structure):
    numbers, x = structure(6)
    atoms = Atoms(numbers, x, info={"charge": 1})
    atoms.calc = ForceFieldCalculator(network)
    energies, forces = network.bind(numbers, charge=1).energies_and_forces(x[None])
    assert atoms.get_potential_energy() == energies[0]
    np.testing.assert_array_equal(atoms.get_forces(), forces[0])
    # a structure that moved, and atoms of another kind
    atoms.positions[0] += 0.1
    energies, _ = network.bind(numbers, charge=1).energies_and_forces(atoms.positions[None])
    assert atoms.get_potential_energy() == energies[0]
    atoms.numbers = numbers[::-1]
    energies, _ = network.bind(numbers[::-1], charge=1).energies_and_forces(atoms.positions[None])
    assert atoms.get_potential_energy() == energies[0]


def test_a_calculator_follows_charge_and_spin(network, structure):
    """ASE does not know them, and would hand out what it computed before they changed."""
    numbers, x = structure(6)
    atoms = Atoms(numbers, x)
    atoms.calc = ForceFieldCalculator(network)
    atoms.get_potential_energy()
    for state in ({"charge": 1}, {"charge": 1, "unpaired_electrons": 1}, {}):
        atoms.info = dict(state)
        unpaired = state.get("unpaired_electrons", 0)
        potential = network.bind(numbers, state.get("charge", 0), unpaired)
        assert atoms.get_potential_energy() == potential.energies_and_forces(x[None])[0][0]


def test_there_and_back(network, structure):
    """A force field, as a calculator, as a force field again."""
    numbers, x = structure(6)

    def make(charge, unpaired):
        return ForceFieldCalculator(network)

    potential = ASEForceField("twice", make, {}).bind(numbers, charge=-1)
    for found, expected in zip(
        potential.energies_and_forces(x[None]),
        network.bind(numbers, charge=-1).energies_and_forces(x[None]),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)


# --- tblite -------------------------------------------------------------------------------------

WATER = np.array([[0.0, 0, 0.119], [0.0, 0.763, -0.477], [0.0, -0.763, -0.477]])


@pytest.fixture(scope="module")
def xtb():
    pytest.importorskip("tblite")
    return models.load("tblite:GFN2-xTB")


def test_xtb_relaxes_water_tightly(xtb):
    """The energy of GFN2-xTB water is -5.070544 hartree (Grimme's xtb: -5.07054); forces at the
    bottom are tight enough for a certificate."""
    potential = xtb.bind(np.array([8, 1, 1]))
    internal = coordinates(np.array([[0, 1], [0, 2]]), WATER)
    proof = certify(potential, internal, WATER)
    assert proof.status is Status.CERTIFIED
    assert proof.max_force <= 1e-4
    assert proof.energy / 27.211386 == pytest.approx(-5.0705, abs=2e-4)
    # the bend of water: below the stretches by far, and no soft mode at all
    assert proof.lowest_eigenvalue > 1


def test_xtb_forces_repeat(xtb):
    """To what differences of forces need, whatever was computed before."""
    potential = xtb.bind(np.array([8, 1, 1]))
    batch = np.stack([WATER, WATER * 1.1, WATER])
    _, forces = potential.energies_and_forces(batch)
    np.testing.assert_allclose(forces[0], forces[2], atol=1e-6)


def test_xtb_takes_charge_and_spin(xtb):
    neutral = xtb.bind(np.array([8, 1, 1])).energies_and_forces(WATER[None])[0][0]
    cation = xtb.bind(np.array([8, 1, 1]), 1, 1).energies_and_forces(WATER[None])[0][0]
    assert 10 < cation - neutral < 25  # eV: an ionisation (12.6 in experiment, xTB shifts it up)
