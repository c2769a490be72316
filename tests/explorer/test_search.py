"""Searchers: chance comes from seed, walker and step alone, and the published rules hold."""

import numpy as np
import pytest

from topokrates.certify import certify, rigid_motions
from topokrates.identity import changes
from topokrates.internals import coordinates
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, dihedral
from topokrates.relax import descend
from topokrates.search import SEARCHERS, basin_hopping, escape, minima_hopping, searcher_module
from topokrates.search.cluster_moves import (
    CONTACT,
    bindings,
    displaced,
    random_cluster,
    resurfaced,
    symmetrised,
)
from topokrates.search.moves import dihedral_move, smallest_gap, start
from topokrates.search.state import Outcome, generator, pack, unpack


@pytest.fixture(scope="module")
def cluster():
    return Molecule.from_text("LJ7")


@pytest.fixture(scope="module")
def dipeptide():
    return Molecule.from_text("Ac-Ala-NHMe")


@pytest.fixture(scope="module")
def potential():
    return LennardJones().bind(np.zeros(7, int))


def outcome(energies, minima=None, visits=None, atoms=7):
    count = len(energies)
    positions = np.arange(count)[:, None, None] + np.zeros((count, atoms, 3))
    minima = np.arange(count) if minima is None else np.asarray(minima)
    visits = np.zeros(count, int) if visits is None else np.asarray(visits)
    return Outcome(positions, np.asarray(energies, float), minima, visits)


def started(module, molecule, walkers=4):
    """Settings, and a state whose walkers are in minima of their own."""
    settings = module.settings(molecule)
    state = module.init(settings, molecule, walkers)
    positions = np.stack([random_cluster(7, generator(9, w, 0)) for w in range(walkers)])
    places = {"positions": positions, "energies": np.zeros(walkers), "minima": np.arange(walkers)}
    return settings, state._replace(**places)


# --- chance -------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", SEARCHERS.values(), ids=SEARCHERS)
@pytest.mark.parametrize("begun", [False, True])
def test_proposals_depend_on_seed_walker_and_step_alone(module, begun, cluster, potential):
    settings, state = started(module, cluster)
    if not begun:
        state = module.init(settings, cluster, 4)

    def propose(seed=1, step=3, walkers=(0, 1, 2, 3)):
        found = module.propose(settings, state, cluster, potential, seed, step, list(walkers))[0]
        assert found.shape == (len(walkers), 7, 3)
        return found

    together = propose()
    np.testing.assert_array_equal(propose(), together)
    # whoever else is asked, and in which order
    np.testing.assert_array_equal(propose(walkers=(2, 0)), together[[2, 0]])
    for walker in range(4):
        np.testing.assert_array_equal(propose(walkers=(walker,)), together[[walker]])
    for other in (propose(seed=2), propose(step=4), together[[1, 2, 3, 0]]):
        assert np.all(np.abs(other - together).max(axis=(1, 2)) > 0)


def test_streams_are_apart():
    drawn = {generator(*key).random() for key in np.ndindex(3, 3, 3)}
    assert len(drawn) == 27
    assert generator(1, 2, 3).random() == generator(1, 2, 3).random()


@pytest.mark.parametrize("module", SEARCHERS.values(), ids=SEARCHERS)
def test_states_survive_as_bytes(module, cluster):
    _, state = started(module, cluster)
    data = pack(state)
    assert isinstance(data, bytes)
    again = unpack(module.State, data)
    assert type(again) is module.State
    for name in state._fields:
        old, new = getattr(state, name), getattr(again, name)
        assert old.dtype == new.dtype
        np.testing.assert_array_equal(new, old)


def test_unknown_searchers_are_named():
    with pytest.raises(InputError, match="unknown searcher 'lucky-dip': use basin-hopping or"):
        searcher_module("lucky-dip")


# --- starts and moves ---------------------------------------------------------------------------


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


@pytest.mark.parametrize("text", ["Ac-Ala-NHMe", "smiles:C[C@H](O)[C@@H](N)CC", "Ac-Pro-NHMe"])
def test_dihedral_moves_keep_the_molecule(text):
    """Bonds, handedness and amides, whatever is turned and by however much."""
    molecule = Molecule.from_text(text)
    bonds = np.asarray(molecule.bonds)

    def lengths(x):
        return np.linalg.norm(x[bonds[:, 0]] - x[bonds[:, 1]], axis=1)

    x = np.array(molecule.positions)
    for seed in range(15):
        x = dihedral_move(molecule, x, np.random.default_rng(seed), np.pi)
        # atoms may come near enough to look bonded; a quench is what drives them apart
        change = changes(molecule, x)
        assert all(reason.endswith("formed") for reason in change.reasons)
        # the rattle alone changes them: 0.05 Å per coordinate and move, so start afresh each time
        assert np.abs(lengths(x) - lengths(molecule.positions)).max() < 0.5
        assert smallest_gap(molecule, x) > 0.5
        for amide in molecule.peptide_bonds:
            before, after = (dihedral(y, amide.atoms) for y in (molecule.positions, x))
            assert abs(np.angle(np.exp(1j * (after - before)))) < 0.8
        x = np.array(molecule.positions)


def test_dihedral_moves_reach_everywhere(dipeptide):
    """All four quadrants of phi and psi, from anywhere, by full turns."""
    rng, seen = np.random.default_rng(0), set()
    for _ in range(60):
        x = dihedral_move(dipeptide, dipeptide.positions, rng, np.pi, every=True)
        phi, psi = dipeptide.dihedral_table(x)[0]
        seen.add((phi > 0, psi > 0))
    assert len(seen) == 4


def test_small_moves_turn_by_little(dipeptide):
    before = np.array(dipeptide.dihedral_table()[0])
    for seed in range(10):
        x = dihedral_move(dipeptide, dipeptide.positions, np.random.default_rng(seed), 0.2)
        turn = np.array(dipeptide.dihedral_table(x)[0]) - before
        # 0.2 radians, and what the rattle adds
        assert np.abs((turn + 180) % 360 - 180).max() < np.degrees(0.2) + 25


def test_what_cannot_be_turned_is_rattled():
    water = Molecule.from_text("smiles:O")
    moved = dihedral_move(water, water.positions, np.random.default_rng(0), np.pi)
    assert 0 < np.abs(moved - water.positions).max() <= 0.1 * np.pi


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


def test_moves_without_a_size_do_not_change_it():
    cluster = Molecule.from_text("LJ7")
    settings, state = started(basin_hopping, cluster, walkers=4)
    for shares, same in (({"surface": 1.0}, True), ({"symmetry": 1.0}, True), ({}, False)):
        chosen = settings._replace(**{"surface": 0.0, "symmetry": 0.0} | shares)
        new, _ = basin_hopping.step(chosen, state, outcome(np.full(4, -1.0)), 5, 1)
        assert np.array_equal(new.move, state.move) is same


# --- basin hopping ------------------------------------------------------------------------------


def test_metropolis():
    """Downhill always; uphill with exp(-rise / T), as often as it should be; lost: never."""
    cluster = Molecule.from_text("LJ7")
    settings, state = started(basin_hopping, cluster, walkers=4)
    assert settings.temperature == 0.8  # epsilon: Wales and Doye
    settings = settings._replace(temperature=0.5)
    rise = np.array([-1.0, 0.5, 80.0, 0.0])
    accepted = np.zeros(4)
    for step in range(600):
        new, info = basin_hopping.step(settings, state, outcome(rise), 5, step)
        accepted += info.accepted
        expected = np.where(info.accepted, rise, 0)
        np.testing.assert_array_equal(new.energies, expected)
        np.testing.assert_array_equal(
            new.positions[info.accepted], outcome(rise).positions[info.accepted]
        )
        np.testing.assert_array_equal(
            new.positions[~info.accepted], state.positions[~info.accepted]
        )
    assert accepted[0] == accepted[3] == 600
    assert accepted[2] == 0
    assert accepted[1] / 600 == pytest.approx(np.exp(-1), abs=0.06)


def test_walkers_that_failed_stay_where_they_are(cluster):
    for module in (basin_hopping, minima_hopping):
        settings, state = started(module, cluster)
        lost = outcome(np.full(4, np.inf), minima=[-1] * 4)
        with np.errstate(all="raise"):
            new, info = module.step(settings, state, lost, 0, 1)
        assert not info.accepted.any()
        np.testing.assert_array_equal(new.positions, state.positions)
        np.testing.assert_array_equal(new.minima, state.minima)
        # and one that is nowhere yet takes the first minimum that it meets, however high
        fresh = module.init(settings, cluster, 4)
        mixed = outcome([np.inf, 7.0, 1e6, -3.0], minima=[-1, 1, 2, 3])
        with np.errstate(all="raise"):
            new, info = module.step(settings, fresh, mixed, 0, 0)
        np.testing.assert_array_equal(info.accepted, [False, True, True, True])
        np.testing.assert_array_equal(new.minima, [-1, 1, 2, 3])


def test_moves_adapt_to_the_acceptance(cluster):
    settings, state = started(basin_hopping, cluster)
    settings = settings._replace(surface=0.0, symmetry=0.0)
    up, _ = basin_hopping.step(settings, state, outcome(np.full(4, -1.0)), 0, 1)
    down, _ = basin_hopping.step(settings, state, outcome(np.full(4, 1e3)), 0, 1)
    assert np.all(up.move > state.move)
    assert np.all(down.move < state.move)
    np.testing.assert_allclose(up.move * down.move, state.move**2)  # balance at one half
    for energy, bound in ((-1.0, settings.largest), (1e3, settings.smallest)):
        moving = state
        for step in range(200):
            moving, _ = basin_hopping.step(settings, moving, outcome(np.full(4, energy)), 0, step)
            moving = moving._replace(energies=np.zeros(4))
        np.testing.assert_allclose(moving.move, bound)


# --- minima hopping -----------------------------------------------------------------------------


def test_feedback_on_the_kinetic_energy(cluster):
    """Goedecker's three cases: fell back, known, new; and what is no minimum cools as a new one."""
    settings, state = started(minima_hopping, cluster, walkers=4)
    seen = outcome([0.0, 0.1, 0.1, np.inf], minima=[0, 8, 9, -1], visits=[5, 1, 0, 0])
    new, info = minima_hopping.step(settings, state, seen, 0, 1)
    factors = new.kinetic / state.kinetic
    np.testing.assert_allclose(factors, [1.1, 1.1, 1 / 1.1, 1 / 1.1])
    np.testing.assert_array_equal(info.kinetic, new.kinetic)
    # the kinds are told apart by their settings, not by chance alike
    odd = settings._replace(fell_back=2.0, known=3.0, new=5.0)
    factors = minima_hopping.step(odd, state, seen, 0, 1)[0].kinetic / state.kinetic
    np.testing.assert_allclose(factors, [2, 3, 5, 5])
    # a walker that is nowhere yet has nothing to learn
    fresh = minima_hopping.init(odd, cluster, 4)
    learnt = minima_hopping.step(odd, fresh, seen, 0, 0)[0]
    np.testing.assert_array_equal(learnt.kinetic, fresh.kinetic)
    np.testing.assert_array_equal(learnt.threshold, fresh.threshold)


def test_feedback_on_the_threshold(cluster):
    settings, state = started(minima_hopping, cluster, walkers=4)
    below, above = settings.threshold - 0.01, settings.threshold + 0.01
    seen = outcome([below, above, 0.0, np.inf], minima=[8, 9, 2, -1])
    new, info = minima_hopping.step(settings, state, seen, 0, 1)
    np.testing.assert_array_equal(info.accepted, [True, False, False, False])
    # fallen back or lost is neither accepted nor refused
    np.testing.assert_allclose(new.threshold / state.threshold, [0.98, 1 / 0.98, 1, 1])
    np.testing.assert_array_equal(new.minima, [8, 1, 2, 3])
    np.testing.assert_array_equal(new.energies, [below, 0, 0, 0])


# --- escapes ------------------------------------------------------------------------------------

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
