"""Starts and moves: the molecule stays what it is, and chance comes from the walker alone."""

import numpy as np
import pytest

from topokrates.identity.integrity import changes
from topokrates.model.analytic import LennardJones
from topokrates.molecule import Molecule, dihedral
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import descend
from topokrates.search import basin_hopping
from topokrates.search.cluster_moves import (
    CONTACT,
    bindings,
    displaced,
    random_cluster,
    resurfaced,
    symmetrised,
)
from topokrates.search.embedding import embedded
from topokrates.search.hinges import crankshaft_angle, crankshafts, fold, puckers, swung
from topokrates.search.moves import CLASH, molecule_moves, smallest_gaps, start
from topokrates.search.state import generator

KINDS = ("torsions", "every", "side chains", "crankshaft")


@pytest.fixture(scope="module")
def dipeptide():
    return Molecule.from_text("Ac-Ala-NHMe")


@pytest.fixture(scope="module")
def proline():
    return Molecule.from_text("Ac-Gly-Pro-NHMe")


def moves(molecule, kind, size=np.pi, count=15, seed=0):
    rngs = [np.random.default_rng([seed, k]) for k in range(count)]
    x = np.repeat(molecule.positions[None], count, axis=0)
    return molecule_moves(molecule, x, rngs, [size] * count, [kind] * count)


def lengths(molecule, x):
    i, j = np.asarray(molecule.bonds).T
    return np.linalg.norm(x[..., i, :] - x[..., j, :], axis=-1)


def turned(molecule, x, quads):
    """How far dihedrals are from those of the given structure, radians."""
    before, after = (dihedral(y, quads) for y in (molecule.positions, x))
    return np.abs((after - before + np.pi) % (2 * np.pi) - np.pi)


# --- molecules ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "text", ["Ac-Ala-NHMe", "smiles:C[C@H](O)[C@@H](N)CC", "Ac-Gly-Pro-NHMe", "smiles:C1CCCCC1"]
)
def test_moves_keep_the_molecule(text, kind):
    """Bonds, handedness and amides, whatever is turned and by however much."""
    molecule = Molecule.from_text(text)
    x = moves(molecule, kind)
    assert x.shape == (15, molecule.n_atoms, 3)
    assert np.all(smallest_gaps(molecule, x) >= CLASH)
    assert not any(changes(molecule, one) for one in x)
    # the rattle alone changes bonds: 0.05 Å per coordinate
    assert np.abs(lengths(molecule, x) - lengths(molecule, molecule.positions)).max() < 0.4
    for amide in molecule.peptide_bonds:
        assert turned(molecule, x, amide.atoms).max() < 0.8
    assert np.all(np.abs(x - molecule.positions).max(axis=(1, 2)) > 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_walker_moves_as_it_would_alone(proline, kind):
    together = moves(proline, kind, count=6)
    for k in range(6):
        rng = np.random.default_rng([0, k])
        alone = molecule_moves(proline, proline.positions[None], [rng], [np.pi], [kind])
        np.testing.assert_array_equal(alone[0], together[k])


def test_moves_reach_everywhere(dipeptide):
    """All four quadrants of phi and psi, from anywhere, by full turns."""
    tables = [dipeptide.dihedral_table(x)[0] for x in moves(dipeptide, "every", count=60)]
    assert len({(phi > 0, psi > 0) for phi, psi in tables}) == 4


def test_small_moves_turn_by_little(dipeptide):
    before = np.array(dipeptide.dihedral_table()[0])
    for x in moves(dipeptide, "torsions", size=0.2):
        turn = np.array(dipeptide.dihedral_table(x)[0]) - before
        # 0.2 radians, and what the rattle adds
        assert np.abs((turn + 180) % 360 - 180).max() < np.degrees(0.2) + 25


def test_side_chains_turn_alone():
    leucine = Molecule.from_text("Ac-Leu-NHMe")
    x = moves(leucine, "side chains")
    backbone = [quad for pair in leucine.phi_psi for quad in pair]
    assert turned(leucine, x, backbone).max() < 0.5
    chi = [rotor.atoms for rotor in leucine.rotatable if rotor.kind == "chi"]
    assert turned(leucine, x, chi).max() > 1.5
    # a molecule without any turns what it has
    glycine = Molecule.from_text("Ac-Gly-NHMe")
    backbone = [quad for pair in glycine.phi_psi for quad in pair]
    assert turned(glycine, moves(glycine, "side chains"), backbone).max() > 1.5


def test_what_cannot_be_turned_is_rattled():
    water = Molecule.from_text("smiles:O")
    moved = moves(water, "torsions", count=1)[0]
    assert 0 < np.abs(moved - water.positions).max() <= 0.1 * np.pi


def test_gaps_are_those_of_the_nearest_atoms_that_are_not_bonded():
    water = Molecule.from_text("smiles:O")
    between = np.linalg.norm(water.positions[1] - water.positions[2])
    assert smallest_gaps(water, water.positions[None])[0] == pytest.approx(between / 0.62)
    diatomic = Molecule.from_text("smiles:Cl")
    assert smallest_gaps(diatomic, diatomic.positions[None])[0] == np.inf


# --- crankshafts and puckers --------------------------------------------------------------------


def test_a_backbone_swings_between_alpha_carbons():
    """Ac-Ala3-NHMe: five pivots, and every pair of them holds a segment."""
    molecule = Molecule.from_text("Ac-Ala3-NHMe")
    hinges = crankshafts(molecule)
    assert len(hinges) == 10
    assert [len(hinge.moving) for hinge in hinges] == [4] * 4 + [14] * 3 + [24] * 2 + [34]
    for hinge in hinges:
        x = swung(molecule.positions, hinge, 0.7)
        np.testing.assert_allclose(
            lengths(molecule, x), lengths(molecule, molecule.positions), atol=1e-12
        )
        resting = np.setdiff1d(np.arange(molecule.n_atoms), hinge.moving)
        np.testing.assert_array_equal(x[resting], molecule.positions[resting])
        assert np.abs(x - molecule.positions)[list(hinge.moving)].max() > 0.1
        assert not changes(molecule, x)
    # the shortest: C, O, N and H of one peptide group
    assert sorted(molecule.numbers[list(hinges[0].moving)]) == [1, 6, 7, 8]
    assert crankshafts(Molecule.from_text("smiles:CCO")) == ()


def test_crankshafts_strain_their_pivots_little(dipeptide):
    hinge = crankshafts(dipeptide)[0]
    rng = np.random.default_rng(0)
    angles = [
        crankshaft_angle(dipeptide, dipeptide.positions, hinge, np.pi, rng) for _ in range(50)
    ]
    assert min(np.abs(angles)) > 0
    assert np.ptp(angles) > 1
    assert max(np.abs(angles)) < 0.9 * np.pi


def test_a_proline_ring_puckers(proline):
    """All but N fold over and back, and CA takes a part of the backbone along."""
    hinges = puckers(proline)
    assert [len(hinge.moving) for hinge in hinges] == [10, 3, 3, 3]
    for hinge in hinges:
        before = fold(proline.positions, hinge)
        x = swung(proline.positions, hinge, -2 * before)
        assert fold(x, hinge) == pytest.approx(-before)
        np.testing.assert_allclose(
            lengths(proline, x), lengths(proline, proline.positions), atol=1e-12
        )
        assert not changes(proline, x)
    # the atom in the envelope's flap stands out most, and moves come out on both sides
    flap = max(hinges, key=lambda hinge: abs(fold(proline.positions, hinge)))
    folds = [fold(x, flap) for x in moves(proline, "torsions", count=30)]
    assert min(folds) < -0.2 < 0.2 < max(folds)


def test_flat_and_fused_rings_do_not_pucker():
    assert puckers(Molecule.from_text("Ac-Phe-NHMe")) == ()
    assert len(puckers(Molecule.from_text("smiles:C1CCCCC1"))) == 6
    # the bridgeheads of norbornane hold three rings together, its other atoms two at least
    for hinge in puckers(Molecule.from_text("smiles:C1CC2CCC1C2")):
        assert len(hinge.moving) == 3


# --- starts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("atoms", [2, 7, 13, 38])
def test_clusters_never_overlap_at_the_start(atoms):
    for seed in range(5):
        x = random_cluster(atoms, np.random.default_rng(seed))
        distances = np.linalg.norm(x[:, None] - x[None], axis=2) + 9 * np.eye(atoms)
        assert distances.min() > CONTACT
        # compact: all within reach of the potential
        assert np.linalg.norm(x, axis=1).max() < 1.2 * atoms ** (1 / 3) + 0.6


def test_a_given_structure_is_tried_once(dipeptide):
    """By walker 0 at step 0; all others start from turned ones, also a walker 0 that failed."""
    first = start(dipeptide, generator(0, 0, 0), 0)
    np.testing.assert_array_equal(first, dipeptide.positions)
    settings = basin_hopping.settings(dipeptide)
    state = basin_hopping.init(settings, dipeptide, 2)
    for step, as_given in ((0, [True, False]), (1, [False, False])):
        x, calls = basin_hopping.propose(settings, state, dipeptide, None, 0, step, [0, 1])
        assert [np.array_equal(row, dipeptide.positions) for row in x] == as_given
        assert np.all(calls == 0)


@pytest.mark.parametrize("text", ["Ac-D-Ala-Pro-NHMe", "smiles:C[C@H](O)/C=C/F"])
def test_embedded_structures_are_the_molecule(text):
    molecule = Molecule.from_text(text)
    x = [embedded(molecule, seed) for seed in (11, 12, 13, 14)]
    assert not any(one is None or changes(molecule, one) for one in x)
    np.testing.assert_array_equal(x[1], embedded(molecule, 12))
    assert min(np.abs(distances(one) - distances(x[0])).max() for one in x[1:]) > 0.1


def test_what_cannot_be_embedded_starts_from_torsions():
    pair = Molecule.from_text("smiles:CCO.O")
    assert embedded(pair, 0) is None
    assert start(pair, np.random.default_rng(0), 1).shape == (12, 3)


# --- clusters -----------------------------------------------------------------------------------


def test_cartesian_moves_stay_in_their_box():
    x = random_cluster(13, np.random.default_rng(0))
    x -= x.mean(axis=0)
    moved = displaced(x, np.random.default_rng(1), 0.4)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=1e-12)
    shift = moved - x
    assert 0.3 < np.ptp(shift) <= 0.8


def distances(x):
    return np.linalg.norm(x[:, None] - x[None], axis=2)[np.triu_indices(len(x), 1)]


@pytest.fixture(scope="module")
def icosahedron():
    """The global minimum of LJ13: a particle in the middle of twelve."""
    golden = (1 + 5**0.5) / 2
    corners = [np.roll([0, a, b * golden], k) for k in range(3) for a in (1, -1) for b in (1, -1)]
    x = np.array([np.zeros(3), *corners])
    return x * 1.08 / np.linalg.norm(x[1])


def test_the_least_bound_land_elsewhere_on_the_surface(icosahedron):
    strayed = icosahedron.copy()
    strayed[5] *= 1.7
    assert np.argmin(bindings(strayed)) == 5
    landed = []
    for seed in range(30):
        x = resurfaced(strayed, np.random.default_rng(seed))
        assert distances(x).min() > 0.9
        moved = np.abs(distances(x) - distances(strayed)) > 1e-9
        # whoever rests keeps its distances to the others that rest
        resting = [k for k in range(13) if np.sum(moved[pairs_with(k)]) <= 4]
        assert 13 - 4 <= len(resting) <= 12
        assert 5 not in resting
        landed.append(x[5])
    assert np.ptp(landed, axis=0).min() > 1


def pairs_with(k):
    i, j = np.triu_indices(13, 1)
    return (i == k) | (j == k)


def test_a_symmetry_that_is_nearly_there_is_completed(icosahedron):
    """An icosahedron with two corners out of place comes back by most moves; displacements of all
    particles bring it back in one of five."""
    broken = icosahedron.copy()
    broken[3], broken[7] = [1.5, 1.2, 0.3], [1.9, 0.4, -0.7]
    potential = LennardJones().bind(np.zeros(13, int))
    frame = coordinates(np.zeros((0, 2), int), broken)
    tried = [symmetrised(broken, np.random.default_rng(seed)) for seed in range(60)]
    for x in tried:
        assert x.shape == (13, 3)
        assert distances(x).min() > CONTACT - 0.15
        np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    energies = np.array([end.energy for end in descend(potential, frame, tried, lanes=8)])
    assert energies.min() == pytest.approx(-44.326801, abs=1e-5)
    assert np.sum(energies < -44.3267) > 30
    assert np.array_equal(tried[3], symmetrised(broken, np.random.default_rng(3)))
