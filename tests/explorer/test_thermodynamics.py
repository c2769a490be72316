"""Free energies and heat capacities: laws and known answers."""

import numpy as np
import pytest
from ase.build import molecule
from ase.thermochemistry import HarmonicThermo, IdealGasThermo
from scipy import constants
from scipy.spatial.transform import Rotation

from topokrates.analysis import tables
from topokrates.analysis.harmonics import Harmonics, frequencies
from topokrates.analysis.point_group import PointGroup, point_group
from topokrates.analysis.thermodynamics import (
    States,
    copies,
    free_energies,
    occupations,
    states,
    thermodynamics,
    wells,
)
from topokrates.analysis.vibrations import Vibrations, masses, moments_of_inertia, scale
from topokrates.analysis.wells import minima_states
from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule

EV, LJ = scale("eV"), scale("epsilon")
K_B = constants.k / constants.e  # eV/K


def springs(positions, seed=0):
    """A Hessian (3N, 3N) of springs between all pairs at rest: rigid motions cost nothing."""
    rng, n = np.random.default_rng(seed), len(positions)
    full = np.zeros((n, 3, n, 3))
    for i in range(n):
        for j in range(i):
            along = positions[i] - positions[j]
            block = rng.uniform(5, 30) * np.outer(along, along) / (along @ along)
            full[i, :, i] += block
            full[j, :, j] += block
            full[i, :, j] -= block
            full[j, :, i] -= block
    return full.reshape(3 * n, 3 * n)


def turned(x, seed=0):
    return x @ Rotation.random(rng=np.random.default_rng(seed)).as_matrix().T + 3.0


def test_an_image_counts_only_what_is_chiral():
    groups = [PointGroup("C1", 1, 1, True), PointGroup("C2v", 4, 2, False)]
    np.testing.assert_array_equal(copies(groups, [True, True]), [2, 0.5])
    np.testing.assert_array_equal(copies(groups, [False, False]), [1, 0.5])


# --- free energies ------------------------------------------------------------------------------


def made_up(count=40, modes=12, unit=EV, seed=0):
    rng = np.random.default_rng(seed)
    spread = 0.1 if unit is EV else 2.0
    middle = 800.0 if unit is EV else 2.0
    return States(
        -500 + rng.exponential(spread, count),
        middle * rng.uniform(0.3, 3, (count, modes)),
        1 / rng.integers(1, 4, count),
        np.sort(rng.uniform(50, 500, (count, 3)), axis=1),
        unit,
    )


def test_quantum_free_energy_is_that_of_ase():
    one = made_up(1)
    thermo = HarmonicThermo(one.frequencies[0] * EV.planck, potentialenergy=one.energies[0])
    expected = thermo.get_helmholtz_energy(310.0, verbose=False)
    expected -= K_B * 310 * np.log(one.copies[0])
    assert free_energies(one, 310.0, quantum=True)[0] == pytest.approx(expected, abs=1e-7)
    curve = thermodynamics(one, [310.0], quantum=True)
    inner = thermo.get_internal_energy(310.0, verbose=False)
    assert curve.internal_energy[0] == pytest.approx(inner, abs=1e-7)


@pytest.mark.parametrize(("name", "geometry"), [("H2O", "nonlinear"), ("CO2", "linear")])
def test_rotation_is_that_of_ase(name, geometry):
    atoms, temperature = molecule(name), 300.0
    count = 3 * len(atoms) - (6 if geometry == "nonlinear" else 5)
    modes = np.linspace(700, 3000, count)
    moments = moments_of_inertia(atoms.positions, masses(atoms.numbers))
    number = point_group(atoms.numbers, atoms.positions).number
    assert number == 2
    well = Vibrations(modes, moments)
    found = states([-3.0], [well], np.array([1 / number]), EV)
    thermo = IdealGasThermo(
        modes * EV.planck, geometry, -3.0, atoms=atoms, symmetrynumber=number, spin=0
    )
    gibbs = thermo.get_gibbs_energy(temperature, 1e5, verbose=False)
    # an ideal gas has its translation besides: G = -kT ln(q / N)
    thermal = constants.k * temperature
    mass = atoms.get_masses().sum() * constants.atomic_mass
    wave = (2 * np.pi * mass * thermal / constants.h**2) ** 1.5
    translation = -K_B * temperature * np.log(wave * thermal / 1e5)
    ours = free_energies(found, temperature, quantum=True, rotation=True)[0]
    assert ours + translation == pytest.approx(gibbs, abs=1e-5)
    heat = [thermodynamics(found, [300], quantum=True, rotation=r).heat_capacity for r in (0, 1)]
    assert heat[1] - heat[0] == pytest.approx(1.5 if geometry == "nonlinear" else 1.0)


@pytest.mark.parametrize("unit", [EV, LJ])
def test_one_classical_well_has_a_heat_capacity_of_one_per_mode(unit):
    one = made_up(1, unit=unit)
    found = thermodynamics(one, [0.01, 0.5, 300.0])
    np.testing.assert_allclose(found.heat_capacity, 12)
    expected = one.energies + 12 * unit.boltzmann * found.temperatures
    np.testing.assert_allclose(found.internal_energy, expected, rtol=1e-14)


@pytest.mark.parametrize("quantum", [False, True])
@pytest.mark.parametrize("rotation", [False, True])
def test_the_curve_is_the_derivative_of_ln_z(quantum, rotation):
    many, step = made_up(), 0.05
    options = {"quantum": quantum, "rotation": rotation}
    grid = np.arange(-2, 3) * step + 250.0
    curve = thermodynamics(many, grid, **options)
    # U = k T^2 d ln Z / dT; the zero of energy takes digits, so it goes first
    log_z = -(curve.free_energy + 500) / (K_B * grid)
    slope = (log_z[3] - log_z[1]) / (2 * step)
    assert K_B * 250**2 * slope == pytest.approx(curve.internal_energy[2] + 500, rel=1e-6)
    rise = (curve.internal_energy[3] - curve.internal_energy[1]) / (2 * step) / K_B
    assert rise == pytest.approx(curve.heat_capacity[2], rel=1e-6)
    fall = -(curve.free_energy[3] - curve.free_energy[1]) / (2 * step) / K_B
    assert fall == pytest.approx(curve.entropy[2], rel=1e-6)


def test_quantum_becomes_classical_when_hot_and_keeps_the_zero_point_when_cold():
    many = made_up()
    hot = [free_energies(many, 1e6, quantum=q) for q in (False, True)]
    np.testing.assert_allclose((hot[1] - hot[0]) / (K_B * 1e6), 0, atol=1e-4)
    cold = free_energies(many, 0.01, quantum=True)
    zero = many.energies + many.frequencies.sum(axis=1) * EV.planck / 2
    np.testing.assert_allclose(cold, zero, atol=1e-5)
    assert thermodynamics(many, [0.01], quantum=True).heat_capacity[0] == pytest.approx(0, abs=1e-9)


def test_no_temperature_is_too_low_and_occupations_sum_to_one():
    many = made_up()
    for temperature in (1e-3, 1.0, 300.0, 1e5):
        share = occupations(many, temperature)
        assert share.sum() == pytest.approx(1)
        assert np.isfinite(thermodynamics(many, [temperature]).heat_capacity).all()
    assert occupations(many, 1e-3).argmax() == many.energies.argmin()
    free = free_energies(many, 300.0)
    ratio = np.exp(-(free[1] - free[0]) / (K_B * 300))
    share = occupations(many, 300.0)
    assert share[1] / share[0] == pytest.approx(ratio, rel=1e-6)


def test_identical_wells_add_only_the_entropy_of_their_number():
    one = made_up(1)
    seven = States(*(np.repeat(a, 7, axis=0) for a in one[:4]), EV)
    a, b = (thermodynamics(s, [200.0], quantum=True) for s in (one, seven))
    assert b.heat_capacity == pytest.approx(a.heat_capacity)
    assert b.entropy - a.entropy == pytest.approx(np.log(7), abs=1e-7)


def test_two_states_have_the_schottky_peak():
    two = States(np.array([0, 1.0]), np.ones((2, 3)), np.array([1, 100.0]), None, LJ)
    grid = np.linspace(0.05, 0.6, 400)
    extra = thermodynamics(two, grid).heat_capacity - 3
    ratio = 100 * np.exp(-1 / grid)
    np.testing.assert_allclose(extra, ratio / (grid * (1 + ratio)) ** 2, rtol=1e-6, atol=1e-12)
    assert 0.15 < grid[extra.argmax()] < 0.25


def test_what_makes_no_sense_is_refused():
    some = made_up(2, unit=LJ)
    for temperature in (0, -1, np.nan):
        with pytest.raises(InputError, match="temperature"):
            wells(some, temperature)
    with pytest.raises(InputError, match="Planck"):
        wells(some, 1.0, quantum=True)
    with pytest.raises(InputError, match="moments"):
        wells(some._replace(moments=None), 1.0, rotation=True)
    bad = Vibrations(np.array([-1.0, 2, 3]), np.ones(3))
    with pytest.raises(InputError, match="imaginary"):
        states([0.0], [bad], np.ones(1), LJ)
    assert states([0.0], [bad], np.ones(1), LJ, transition=True).frequencies.tolist() == [[2, 3]]
    with pytest.raises(InputError, match="no minima"):
        thermodynamics(made_up(0), [1.0])


# --- of a landscape -----------------------------------------------------------------------------


def test_lj4_of_a_landscape():
    potential = LennardJones().bind(np.zeros(4, int))
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    tetrahedron = turned(corners * 2 ** (1 / 6) / 8**0.5)
    with Landscape.create(Molecule.from_text("LJ4"), potential.provenance()) as landscape:
        name, _ = landscape.add_minimum(-6.0, tetrahedron)
        harmonics = frequencies(landscape, potential)
        modes = harmonics.minima[name].vibrations.frequencies * 2 * np.pi
        # a tetrahedron of springs k = 72 / 2^(1/3): omega^2 = k, 2k, 4k
        unit = 72 / 2 ** (1 / 3)
        np.testing.assert_allclose(modes**2 / unit, [1, 1, 2, 2, 2, 4], rtol=1e-6)
        assert harmonics.minima[name].group == PointGroup("Td", 24, 12, False)
        heat = tables.heat_capacity(landscape, harmonics, [0.1, 0.2])
        np.testing.assert_allclose(heat["heat capacity (k_B)"], 6)
        table = tables.free_energies(landscape, harmonics, 0.1)
        assert table["probability"].tolist() == [1.0]
        with pytest.raises(InputError, match="not known"):
            tables.heat_capacity(landscape, Harmonics(), [0.1])


class Springs:
    """What `frequencies` asks of a potential: springs at rest wherever the atoms are."""

    def provenance(self):
        return {"name": "springs", "units": {"energy": "eV", "length": "Å"}}

    def with_dtype(self, dtype):
        assert dtype == "float64"
        return self

    def hessians(self, positions):
        return np.stack([springs(x) for x in positions])


@pytest.mark.parametrize("stored", [1, 2])
def test_a_chiral_minimum_stands_for_its_image_unless_that_is_stored(stored):
    peroxide = Molecule.from_atoms(molecule("H2O2"), name="peroxide")
    with Landscape.create(peroxide, Springs().provenance()) as landscape:
        for x in (peroxide.positions, -turned(peroxide.positions))[:stored]:
            landscape.add_minimum(-1.0, x)
        assert len(landscape) == stored
        harmonics = frequencies(landscape, Springs())
        found = minima_states(landscape, harmonics)[1]
        # C2, so half of a copy each: two images make one
        assert found.copies.sum() == 1
        table = tables.free_energies(landscape, harmonics, 300)
        assert table["point group"].tolist() == ["C2"] * stored
        np.testing.assert_allclose(table["probability"], 1 / stored)
        heat = tables.heat_capacity(landscape, harmonics, [300.0])
        one = minima_states(landscape, harmonics)[1]
        size = constants.R / constants.calorie
        expected = thermodynamics(one, [300.0], quantum=True).heat_capacity * size
        np.testing.assert_allclose(heat["heat capacity (cal/(mol K))"], expected)


def test_the_image_of_a_molecule_with_stereocentres_is_another_molecule():
    alcohol = Molecule.from_text("smiles:C[C@H](O)F")
    with Landscape.create(alcohol, Springs().provenance()) as landscape:
        landscape.add_minimum(-1.0, alcohol.positions)
        harmonics = frequencies(landscape, Springs())
        assert harmonics.minima[1].group.chiral
        assert minima_states(landscape, harmonics)[1].copies.tolist() == [1]


def test_only_the_potential_of_the_landscape_will_do():
    peroxide = Molecule.from_atoms(molecule("H2O2"), name="peroxide")
    other = {"name": "wires", "units": {"energy": "eV", "length": "Å"}}
    with Landscape.create(peroxide, other) as landscape, pytest.raises(InputError):
        frequencies(landscape, Springs())
