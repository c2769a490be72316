"""Frequencies and point groups: laws and known answers."""

import ase
import numpy as np
import pytest
from ase.build import molecule
from ase.vibrations import VibrationsData
from scipy import constants
from scipy.spatial.transform import Rotation

from topokrates.analysis.point_group import PointGroup, order_of, point_group
from topokrates.analysis.vibrations import masses, moments_of_inertia, vibrations
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError

ICOSAHEDRON = 1.08  # sigma: from the centre of LJ13 to a vertex, near enough for a group


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


def icosahedron():
    golden = (1 + 5**0.5) / 2
    corners = [(0, a, b * golden) for a in (1, -1) for b in (1, -1)]
    corners = [np.roll(c, k) for c in corners for k in range(3)]
    x = np.array(corners) / np.hypot(1, golden) * ICOSAHEDRON
    return np.vstack([np.zeros(3), x])


# --- frequencies --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["H2O", "CH3OH", "NH3"])
def test_frequencies_are_those_of_ase(name):
    atoms = molecule(name)
    x = turned(atoms.positions)
    hessian = springs(x)
    found = vibrations(hessian, x, atoms.numbers)
    moved = ase.Atoms(atoms.numbers, x)
    reference = VibrationsData.from_2d(moved, hessian).get_frequencies()
    # ase keeps the rigid motions: they are its six smallest
    reference = np.sort(np.abs(reference))
    assert reference[5] < 1e-3
    np.testing.assert_allclose(found.frequencies, reference[6:], rtol=1e-6)
    ours = moments_of_inertia(x, masses(atoms.numbers))
    np.testing.assert_allclose(found.moments, moved.get_moments_of_inertia(), rtol=1e-6)
    np.testing.assert_allclose(found.moments, ours)


def test_a_gradient_left_over_does_not_leak_into_rigid_motions():
    x = molecule("H2O").positions
    noisy = springs(x)
    rng = np.random.default_rng(1)
    noise = rng.normal(size=noisy.shape)
    found = vibrations(noisy + 1e-9 * noise, x, [8, 1, 1])
    assert len(found.frequencies) == 3
    np.testing.assert_allclose(found.frequencies, vibrations(noisy, x, [8, 1, 1])[0], rtol=1e-6)


def test_a_line_has_one_vibration_more_even_if_bent_by_rounding():
    x = np.array([[0, 0, 0], [1.2, 0, 0], [2.4, 0, 0]], float)
    bend = np.zeros((9, 9))
    for axis in (1, 2):
        row = np.zeros(9)
        row[axis::3] = 1, -2, 1
        bend += np.outer(row, row)
    for tilt in (0, 3e-5):
        there = x + np.array([[0, 0, 0], [0, tilt, 0], [0, 0, 0]])
        found = vibrations(springs(x) + bend, there, [8, 6, 8])
        assert len(found.frequencies) == 4
        np.testing.assert_allclose(found.frequencies[0], found.frequencies[1], rtol=1e-3)
        assert found.moments[0] == 0


def test_particles_have_mass_one_and_a_pair_of_them_the_known_frequency():
    x = np.array([[0, 0, 0], [2 ** (1 / 6), 0, 0]])
    potential = LennardJones().bind(np.zeros(2, int))
    found = vibrations(potential.hessians(x[None])[0], x, [0, 0], "epsilon")
    # V'' = 72 / 2^(1/3), reduced mass 1/2
    expected = np.sqrt(72 / 2 ** (1 / 3) * 2) / (2 * np.pi)
    np.testing.assert_allclose(found.frequencies, [expected], rtol=1e-10)


def test_wavenumber_of_a_known_spring():
    # a pair of carbon atoms, 10 eV/Å^2: omega = sqrt(2 k / m)
    x = np.array([[0, 0, 0], [1.5, 0, 0]])
    block = np.diag([10.0, 0, 0])
    found = vibrations(np.block([[block, -block], [-block, block]]), x, [6, 6])
    mass = 12.011 * constants.atomic_mass / 2
    omega = np.sqrt(10 * constants.e / constants.angstrom**2 / mass)
    np.testing.assert_allclose(found.frequencies, omega / (200 * np.pi * constants.c), rtol=1e-6)


@pytest.mark.parametrize("bad", ["shape", "nan", "unit"])
def test_bad_hessians_are_refused(bad):
    x, unit = molecule("H2O").positions, "kJ" if bad == "unit" else "eV"
    hessian = springs(x)[:6] if bad == "shape" else springs(x)
    if bad == "nan":
        hessian[0, 0] = np.nan
    with pytest.raises(InputError):
        vibrations(hessian, x, [8, 1, 1], unit)


# --- point groups -------------------------------------------------------------------------------

GROUPS = [
    ("H2O", "C2v", 2, False),
    ("CH4", "Td", 12, False),
    ("C6H6", "D6h", 12, False),
    ("C2H6", "D3d", 6, False),
    ("H2O2", "C2", 2, True),
    ("CO2", "D*h", 2, False),
    ("HCN", "C*v", 1, False),
    ("CH3OH", "Cs", 1, False),
]


@pytest.mark.parametrize(("name", "symbol", "number", "chiral"), GROUPS)
def test_point_groups_of_molecules(name, symbol, number, chiral):
    atoms = molecule(name)
    noise = np.random.default_rng(2).normal(size=atoms.positions.shape)
    size = 1e-4 if symbol[1] == "*" else 1e-3
    found = point_group(atoms.numbers, turned(atoms.positions + size * noise))
    assert (found.number, found.chiral) == (number, chiral)
    assert found.symbol == symbol


def test_point_groups_of_clusters():
    assert point_group(np.zeros(13, int), icosahedron()) == PointGroup("Ih", 120, 60, False)
    angle = 2 * np.pi * np.arange(5) / 5
    ring = 1.13 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1) * 0.82
    x = np.vstack([ring, [[0, 0, 0.55], [0, 0, -0.55]]])
    assert point_group(np.zeros(7, int), turned(x)) == PointGroup("D5h", 20, 10, False)
    corners = np.vstack([np.eye(3), -np.eye(3)]) * 0.79
    assert point_group(np.zeros(6, int), turned(corners)).number == 24
    # one of them another element: four-fold only
    assert point_group([1, 0, 0, 0, 0, 0], corners) == PointGroup("C4v", 8, 4, False)


def test_what_has_no_symmetry_is_chiral_unless_it_is_flat():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(6, 3)) * 2
    assert point_group(np.zeros(6, int), x) == PointGroup("C1", 1, 1, True)
    x[:, 2] = 0
    assert point_group(np.zeros(6, int), turned(x)) == PointGroup("Cs", 2, 1, False)


def test_tolerance_decides_about_a_distortion():
    x = icosahedron()
    x[1] *= 1 + 0.06 / ICOSAHEDRON
    assert point_group(np.zeros(13, int), x, 0.02) == PointGroup("C5v", 10, 5, False)
    assert point_group(np.zeros(13, int), x, 0.2).order == 120
    assert order_of("D5h") == 20
    assert order_of("S4") == 4
    assert order_of("D*h") is None
    with pytest.raises(InputError, match="tolerance"):
        point_group(np.zeros(13, int), x, 0)
