"""Paths, bands and saddles; what is called a transition state is one, and LJ7's are known."""

import json
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from topokrates.identity.matching import Matcher
from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.compiled import CompiledPotential
from topokrates.model.potential import REDUCED
from topokrates.model.progress import Silent
from topokrates.molecule import Molecule, dihedral, set_rotor
from topokrates.pathways import saddle as saddle_module
from topokrates.pathways.band import relax_band
from topokrates.pathways.connect import connect_minima
from topokrates.pathways.interpolate import interpolate
from topokrates.pathways.saddle import find_saddle, find_saddles, internal_hessian
from topokrates.relaxation.certify import CERTIFIED_FORCE, largest_force, modes, rigid_motions
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Status, descend
from topokrates.rounds import Search
from topokrates.stopping import Rules

LJ7 = json.loads((Path(__file__).parent / "lj_networks.json").read_text())["LJ7"]
MINIMA, SADDLES = LJ7["minima"], [(energy, tuple(sides)) for energy, sides in LJ7["saddles"]]


# --- interpolation ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def glycol():
    """Ethylene glycol, its coordinates, and the same molecule with the backbone turned far."""
    molecule = Molecule.from_text("smiles:OCCO")
    internal = coordinates(molecule.bonds, molecule.positions)
    rotor = max(molecule.rotatable, key=lambda r: min(molecule.numbers[list(r.atoms)]))
    assert molecule.numbers[list(rotor.atoms)].tolist() == [8, 6, 6, 8]
    return molecule, internal, rotor, set_rotor(molecule.positions, rotor, 2.5)


def lengths(molecule, path):
    i, j = np.asarray(molecule.bonds).T
    return np.linalg.norm(path[:, i] - path[:, j], axis=2)


def turns(rotor, path):
    """The dihedral along a path, without jumps, from 0."""
    angles = np.unwrap(dihedral(path, rotor.atoms))
    return angles - angles[0]


def test_a_path_keeps_its_ends_and_its_bonds(glycol):
    molecule, internal, rotor, end = glycol
    start = np.array(molecule.positions)
    path = interpolate(internal, start, end, 9)
    assert path.shape == (9, 10, 3)
    np.testing.assert_allclose(path[0], start, atol=1e-12)
    assert Matcher(molecule).rmsd(path[-1], end) < 1e-6
    distances = np.linalg.norm(path[-1][:, None] - path[-1][None], axis=2)
    np.testing.assert_allclose(
        distances, np.linalg.norm(end[:, None] - end[None], axis=2), atol=1e-9
    )
    assert np.ptp(lengths(molecule, path), axis=0).max() < 0.01
    np.testing.assert_allclose(turns(rotor, path), np.linspace(0, 2.5, 9), atol=0.02)
    # a straight line in space would press the molecule flat on its way
    straight = start + np.linspace(0, 1, 9)[:, None, None] * (end - start)
    assert np.ptp(lengths(molecule, straight), axis=0).max() > 0.2


def test_the_long_way_round(glycol):
    molecule, internal, rotor, end = glycol
    path = interpolate(internal, np.array(molecule.positions), end, 11, long_way=True)
    np.testing.assert_allclose(turns(rotor, path), np.linspace(0, 2.5 - 2 * np.pi, 11), atol=0.05)
    assert np.ptp(lengths(molecule, path), axis=0).max() < 0.03
    distances = np.linalg.norm(path[-1][:, None] - path[-1][None], axis=2)
    np.testing.assert_allclose(
        distances, np.linalg.norm(end[:, None] - end[None], axis=2), atol=1e-9
    )


def test_clusters_go_straight():
    start, end = np.random.default_rng(0).normal(size=(2, 5, 3))
    path = interpolate(coordinates(np.zeros((0, 2), int), start), start, end, 5)
    np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-12)
    np.testing.assert_allclose(np.diff(path, axis=0), np.repeat([(end - start) / 4], 4, axis=0))


# --- bands --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BentValley:
    """One particle: minima at (-1, 0) and (1, 0), a saddle of height 1 at (0, 1/2), and a valley
    between them that bends away from the straight line, whose top has 4.75."""

    def __call__(self, inputs, positions, lists):
        x, y, z = positions[0]
        return (x**2 - 1) ** 2 + 15 * (y - 0.5 * (1 - x**2)) ** 2 + z**2


@pytest.fixture(scope="module")
def valley():
    potential = CompiledPotential(
        "valley", np.zeros(1, int), BentValley(), {}, REDUCED, {}, dtype="float64"
    )
    ends = np.array([[[-1.0, 0, 0]], [[1.0, 0, 0]]])
    internal = coordinates(np.zeros((0, 2), int), ends[0])
    return potential, internal, interpolate(internal, *ends, 10)


def test_a_band_finds_the_valley(valley):
    potential, internal, path = valley
    assert potential.energies_and_forces(np.zeros((1, 1, 3)))[0][0] == 4.75
    band = relax_band(potential, internal, path, (0.0, 0.0))
    x, y, z = band.positions[:, 0].T
    np.testing.assert_array_equal(band.positions[[0, -1]], path[[0, -1]])
    np.testing.assert_allclose(y, 0.5 * (1 - x**2), atol=0.05)
    np.testing.assert_allclose(z, 0, atol=1e-12)
    np.testing.assert_allclose(band.energies, potential.energies_and_forces(band.positions)[0])
    # an even number of images: the two beside the top are its maxima, one of them or both
    assert len(band.maxima) == 1
    assert abs(x[band.maxima[0]]) < 0.2
    assert band.energies.max() == pytest.approx(1, abs=0.1)
    assert abs(band.tangents[band.maxima[0], 0, 0]) > 3 * abs(band.tangents[band.maxima[0], 0, 1])
    # springs keep the images apart
    gaps = np.linalg.norm(np.diff(band.positions[:, 0], axis=0), axis=1)
    assert gaps.max() < 2 * gaps.min()


def test_a_band_counts_its_gradients(valley):
    potential, internal, path = valley
    assert relax_band(potential, internal, path, (0.0, 0.0), steps=3).gradient_calls == 4 * 8
    full = relax_band(potential, internal, path, (0.0, 0.0))
    again = relax_band(potential, internal, full.positions, (0.0, 0.0))
    assert again.gradient_calls < full.gradient_calls


def test_maxima_come_highest_first(valley):
    potential, internal, path = valley
    band = relax_band(potential, internal, path, (0.0, 0.0), steps=0)
    energies = np.array([0, 2, 1, 5, 5, 3, 4, 0, 0, 9.0])
    assert band._replace(energies=energies).maxima == [4, 6, 1]
    assert band._replace(energies=np.arange(10.0)).maxima == []


def test_an_image_that_explodes_is_pulled_back(valley):
    """It counts as high, and its neighbours take it along; the rest of the path stays sound."""
    potential, internal, path = valley
    broken = path.copy()
    broken[4] = np.inf
    values = relax_band(potential, internal, broken, (0.0, 0.0), steps=0).energies
    assert np.isfinite(values).all()
    assert np.argmax(values) == 4


# --- Lennard-Jones, seven particles -------------------------------------------------------------


@pytest.fixture(scope="module")
def potential():
    return LennardJones().bind(np.zeros(7, int))


@pytest.fixture(scope="module")
def connected(potential):
    """LJ7 searched and connected."""
    molecule = Molecule.from_text("LJ7")
    landscape = Landscape.create(molecule, potential.provenance())
    Search(landscape, potential, "basin-hopping", 8, 0).run(Rules(60), Silent())
    found = [m.energy for m in landscape.minimum_list]
    np.testing.assert_allclose(found, MINIMA, atol=1e-6)
    connect_minima(landscape, potential, saddles=0)
    return landscape


def verified(landscape):
    return [link for link in landscape.link_list if link.verified]


def test_transition_states_are_known_ones(connected):
    order = [m.id for m in connected.minimum_list]
    np.testing.assert_allclose([m.energy for m in connected.minimum_list], MINIMA, atol=1e-6)
    links = verified(connected)
    # enough to hang together; what else is found on the way is chance
    assert len(links) >= len(MINIMA) - 1
    for link in links:
        sides = tuple(sorted(order.index(name) for name in link.minima))
        assert any(
            abs(link.energy - energy) < 1e-5 and sides == known for energy, known in SADDLES
        ), (link.energy, sides)
    # none is there twice
    energies = np.sort([link.energy for link in links])
    assert np.all(np.diff(energies) > 1e-5)
    # the lowest way out of the global minimum is not missed
    assert energies[0] == pytest.approx(SADDLES[0][0], abs=1e-5)


def test_transition_states_are_proven(connected, potential):
    """Everything that a link says, computed anew."""
    for link in verified(connected):
        energies, forces = potential.energies_and_forces(link.positions[None])
        assert energies[0] == pytest.approx(link.energy, abs=1e-10)
        assert largest_force(forces[0]) <= CERTIFIED_FORCE
        assert link.max_force <= CERTIFIED_FORCE
        values = modes(potential.hessians(link.positions[None])[0], link.positions).values
        assert np.sum(values < 0) == link.negative_eigenvalues == 1
        assert values[0] == pytest.approx(link.lowest_eigenvalue, rel=1e-3)
        assert all(connected.minimum(name).energy < link.energy for name in link.minima)


def test_all_hangs_together_and_estimates_lie_above_their_minima(connected):
    graph = nx.Graph([link.minima for link in verified(connected)])
    assert set(graph) == {m.id for m in connected.minimum_list}
    assert nx.is_connected(graph)
    assert connected.connected_components == 1
    for link in connected.link_list:
        if not link.verified:
            assert link.negative_eigenvalues is None
            ends = [connected.minimum(name).energy for name in link.minima]
            assert link.energy >= max(ends)
            # an estimate is a bound of the lowest pass between the two
            pair = tuple(
                sorted([m.id for m in connected.minimum_list].index(n) for n in link.minima)
            )
            passes = [energy for energy, sides in SADDLES if sides == pair]
            if passes:
                assert link.energy > min(passes) - 1e-6


def test_a_second_call_does_nothing_new(connected, potential, monkeypatch):
    def state():
        links = [(link.id, link.energy, link.minima) for link in connected.link_list]
        visits = [(m.id, m.visits) for m in connected.minimum_list]
        return links, visits, connected.store.attempts()

    before = state()
    assert len(before[2]) >= 3
    monkeypatch.setattr(type(potential), "energies_and_forces", None)
    connect_minima(connected, potential, saddles=0)
    assert state() == before


def test_connecting_in_pieces_is_connecting(connected, potential):
    """Attempt by attempt, as after kills: the same transition states in the end."""
    molecule = Molecule.from_text("LJ7")
    landscape = Landscape.create(molecule, potential.provenance())
    for m in sorted(connected.minimum_list, key=lambda m: m.id):
        landscape.add_minimum(m.energy, m.positions, m.max_force, m.lowest_eigenvalue)
    for limit in range(1, 8):
        connect_minima(landscape, potential, limit=limit, saddles=0)
        assert sum(a.times for a in landscape.store.attempts()) <= limit
    connect_minima(landscape, potential, saddles=0)
    found = [(link.minima, link.verified) for link in landscape.link_list]
    assert found == [(link.minima, link.verified) for link in connected.link_list]
    np.testing.assert_allclose(
        [link.energy for link in landscape.link_list],
        [link.energy for link in connected.link_list],
        atol=1e-6,
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_climb_ends_on_a_saddle(connected, potential, seed):
    """From beside each known one back to it, along its mode; whatever it finds is one of the 12."""
    internal = coordinates(np.zeros((0, 2), int), connected.molecule.positions)
    rng = np.random.default_rng(seed)
    for link in verified(connected)[:3]:
        spectrum = modes(potential.hessians(link.positions[None])[0], link.positions)
        mode = spectrum.vectors[:, 0].reshape(7, 3)
        start = link.positions + 0.02 * rng.normal(size=(7, 3))
        saddle = find_saddle(potential, internal, start, -3 * mode)
        assert saddle.status is Status.SADDLE
        assert saddle.negative_eigenvalues == 1
        assert saddle.lowest_eigenvalue < 0
        assert saddle.max_force <= CERTIFIED_FORCE
        assert saddle.energy == pytest.approx(link.energy, abs=1e-8)
        # to its symmetry: the mode is an eigenvector of the Hessian there
        hessian = potential.hessians(saddle.positions[None])[0]
        along = saddle.mode.ravel()
        np.testing.assert_allclose(
            hessian @ along, saddle.lowest_eigenvalue * along, atol=1e-3 * abs(hessian).max()
        )


def test_climbs_that_end_nowhere_say_so(potential):
    internal = coordinates(np.zeros((0, 2), int), np.zeros((7, 3)))
    x = np.zeros((7, 3))
    x[:, 0] = np.arange(7) * 1.1
    x[1] = x[0]
    assert find_saddle(potential, internal, x, np.ones((7, 3))).status is Status.EXPLODED


def test_the_climb_of_a_molecule_ends_where_it_must(peroxide):
    """Flat, the ends on one side: nothing else of it is a saddle of the first order."""
    molecule, potential, internal = peroxide
    turned = molecule.positions + np.random.default_rng(0).normal(scale=0.05, size=(4, 3))
    saddle = find_saddles(potential, internal, [turned], [np.zeros((4, 3))])[0]
    assert saddle.status is Status.SADDLE
    angle = dihedral(saddle.positions[None], (2, 0, 1, 3))[0]
    assert abs(angle) < 1e-3


def test_a_guide_saves_products_and_changes_no_saddle(peroxide):
    """The Hessian of the minimum leads climbs in a batch as it would each alone."""
    molecule, potential, internal = peroxide
    (bottom,) = descend(potential, internal, [molecule.positions], 1e-6, lanes=1)
    guide = internal_hessian(potential, internal, bottom.positions)
    # at the minimum it is the Hessian there
    jacobian = np.asarray(internal.jacobian(jnp.asarray(bottom.positions)))
    (exact,) = potential.hessians(bottom.positions[None])
    np.testing.assert_allclose(jacobian.T @ guide @ jacobian, exact, atol=1e-4 * abs(exact).max())
    rng = np.random.default_rng(1)
    guesses = [molecule.positions + rng.normal(scale=0.05, size=(4, 3)) for _ in range(6)]
    nowhere = [np.zeros((4, 3))] * 6
    without = find_saddles(potential, internal, guesses, nowhere)
    led = find_saddles(potential, internal, guesses, nowhere, guide)
    good = [(a, b) for a, b in zip(without, led, strict=True) if a.status is Status.SADDLE]
    assert len(good) >= 3
    for one, other in good:
        assert other.status is Status.SADDLE
        assert other.energy == pytest.approx(one.energy, abs=1e-6)
    spent = [sum(s.hessian_vector_products for s in found) for found in (without, led)]
    assert spent[1] < spent[0]
    for x, saddle in zip(guesses, led, strict=True):
        (alone,) = find_saddles(potential, internal, [x], nowhere[:1], guide)
        np.testing.assert_array_equal(alone.positions, saddle.positions)


def test_a_guide_corrected_along_everything_is_the_exact_hessian(peroxide, monkeypatch):
    molecule, potential, internal = peroxide
    rng = np.random.default_rng(2)
    guesses = [molecule.positions + rng.normal(scale=0.1, size=(4, 3)) for _ in range(4)]
    directions = list(rng.normal(size=(4, 4, 3)))
    poor = np.eye(internal.count) * 3.0
    monkeypatch.setattr(saddle_module, "GUIDED", 1.0)
    without = find_saddles(potential, internal, guesses, directions)
    led = find_saddles(potential, internal, guesses, directions, poor)
    for one, other in zip(without, led, strict=True):
        assert other.gradient_calls == one.gradient_calls
        np.testing.assert_allclose(other.positions, one.positions, atol=1e-6)


def test_a_guide_is_made_exact_along_the_way(peroxide, monkeypatch):
    """Of all directions the way up is the one that must be known, however stiff it is."""
    molecule, potential, internal = peroxide
    x = molecule.positions + np.random.default_rng(3).normal(scale=0.05, size=(4, 3))
    bond = np.zeros((4, 3))
    bond[2] = x[2] - x[0]  # the stiffest there is
    asked = []
    columns = type(potential).hessian_columns

    def seen(self, positions, directions):
        asked.append((positions, directions))
        return columns(self, positions, directions)

    monkeypatch.setattr(type(potential), "hessian_columns", seen)
    guide = np.diag(np.linspace(50.0, 1.0, internal.count))  # bonds come first
    find_saddles(potential, internal, [x], [bond], guide)
    positions, directions = asked[0]
    rigid = rigid_motions(positions)
    way = bond.ravel() - rigid @ (rigid.T @ bond.ravel())
    basis = directions.reshape(len(directions), -1)
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(basis)), atol=1e-9)
    assert np.linalg.norm(basis @ way) == pytest.approx(np.linalg.norm(way), rel=1e-6)
