"""The minimiser: every start comes to rest, and no lane knows of another."""

from dataclasses import dataclass
from itertools import combinations

import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.model.analytic import LennardJones
from topokrates.model.compiled import CompiledPotential
from topokrates.model.potential import REDUCED, Potential
from topokrates.molecule import Molecule, dihedral, set_rotor
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import DESCENT_FORCE, Status, Usage, descend
from topokrates.search.cluster_moves import random_cluster

LJ7 = (-16.505384, -15.935043, -15.593211, -15.533060)


@pytest.fixture(scope="module", params=["inside one compiled loop", "by a model Hessian"])
def potential(request):
    """One that a compiled loop can hold, and the same behind a face that hides that."""
    cluster = LennardJones().bind(np.zeros(7, int))
    return Counting(cluster) if "Hessian" in request.param else cluster


@pytest.fixture(scope="module")
def starts():
    return [random_cluster(7, np.random.default_rng(seed)) for seed in range(10)]


@pytest.fixture(scope="module")
def cartesian(starts):
    return coordinates(np.zeros((0, 2), int), starts[0])


def relaxed(potential, cartesian, starts, lanes, **settings):
    """By start, whatever ended first."""
    ends = list(descend(potential, cartesian, starts, lanes=lanes, **settings))
    assert sorted(end.index for end in ends) == list(range(len(starts)))
    return sorted(ends, key=lambda end: end.index)


@pytest.fixture(scope="module")
def ends(potential, cartesian, starts):
    return relaxed(potential, cartesian, starts, lanes=4)


def assert_equal(found, expected):
    assert found._replace(positions=None) == expected._replace(positions=None)
    np.testing.assert_array_equal(found.positions, expected.positions)


class Counting(Potential):
    """Counts the evaluations of another potential, lane by lane."""

    compiled = False

    def __init__(self, inner):
        self.inner, self.dtype, self.numbers = inner, inner.dtype, inner.numbers
        self.name, self.units, self.evaluated, self.batches = inner.name, inner.units, 0, []

    def energies_and_forces(self, positions, active=None):
        self.batches.append(len(positions))
        self.evaluated += len(positions) if active is None else int(np.sum(active))
        return self.inner.energies_and_forces(positions, active)

    def hessian_vector_products(self, positions, vectors):
        return self.inner.hessian_vector_products(positions, vectors)

    def with_dtype(self, dtype):
        return self

    def provenance(self):
        return self.inner.provenance()


def test_every_start_comes_to_rest(potential, starts, ends):
    before = potential.energies_and_forces(np.stack(starts))[0]
    energies, forces = potential.energies_and_forces(np.stack([end.positions for end in ends]))
    largest = np.linalg.norm(forces, axis=2).max(axis=1)
    for k, end in enumerate(ends):
        assert end.status is Status.CONVERGED
        assert end.energy == energies[k]
        assert end.max_force == pytest.approx(largest[k])
        assert end.max_force <= DESCENT_FORCE
        assert end.energy < before[k]
        # all bound, and one of the four minima (none of these starts meets a saddle)
        assert min(abs(end.energy - known) for known in LJ7) < 1e-5


def test_a_tighter_end_is_met(potential, cartesian, starts):
    for end in relaxed(potential, cartesian, starts[:2], lanes=2, max_force=1e-9):
        assert end.status is Status.CONVERGED
        assert end.max_force <= 1e-9


@pytest.mark.parametrize("lanes", [1, 2, 3, 16])
def test_lanes_do_not_know_of_each_other(potential, cartesian, starts, ends, lanes):
    """To the last bit, however many there are, and whoever sat in the slot before."""
    for found, expected in zip(
        relaxed(potential, cartesian, starts, lanes=lanes), ends, strict=True
    ):
        assert_equal(found, expected)


def test_order_of_starts_does_not_matter(potential, cartesian, starts, ends):
    found = relaxed(potential, cartesian, starts[::-1], lanes=4)
    for end, expected in zip(found[::-1], ends, strict=True):
        assert_equal(end._replace(index=9 - end.index), expected)


def test_freed_lanes_are_refilled(potential, cartesian, starts):
    """Starts are read when there is room for them, and the batch never waits for its slowest."""
    counting, read = Counting(potential), []

    def reading():
        for k, start in enumerate(starts):
            read.append(k)
            yield start

    done = 0
    for _ in descend(counting, cartesian, reading(), lanes=3):
        assert len(read) <= done + 3
        done += 1
    assert done == len(read) == len(starts)
    assert max(counting.batches) == 3
    # a smaller batch only when nothing waits any more
    assert counting.batches == sorted(counting.batches, reverse=True)


def test_every_gradient_is_counted(potential, cartesian, starts):
    counting = Counting(potential)
    found = relaxed(counting, cartesian, starts, lanes=4)
    assert sum(end.gradient_calls for end in found) == counting.evaluated
    assert len({end.gradient_calls for end in found}) > 1
    # a start at rest costs the one gradient that says so
    again = relaxed(counting, cartesian, [found[0].positions], lanes=4)[0]
    assert again.gradient_calls == 1
    np.testing.assert_array_equal(again.positions, found[0].positions)


@pytest.mark.parametrize("broken", ["not a number", "two on one spot", "far too close"])
def test_an_exploded_lane_leaves_the_others_alone(potential, cartesian, starts, ends, broken):
    wreck = starts[0].copy()
    if broken == "not a number":
        wreck[2, 1] = np.nan
    else:
        wreck[2] = wreck[3] + (0.0 if broken == "two on one spot" else [1e-3, 0, 0])
    mixed = [starts[0], wreck, *starts[1:5]]
    found = relaxed(potential, cartesian, mixed, lanes=4)
    assert found[1].status is Status.EXPLODED
    assert found[1].gradient_calls == 1
    for end, expected in zip([found[0], *found[2:]], ends, strict=False):
        assert end._replace(positions=None, index=0) == expected._replace(positions=None, index=0)
        np.testing.assert_array_equal(end.positions, expected.positions)


def test_whoever_takes_too_long_is_given_up(potential, cartesian, starts, ends):
    quickest = min(end.gradient_calls for end in ends)
    slowest = max(end.gradient_calls for end in ends)
    limit = (quickest + slowest) // 2
    for end, free in zip(
        relaxed(potential, cartesian, starts, lanes=4, max_steps=limit), ends, strict=True
    ):
        if free.gradient_calls <= limit:
            assert_equal(end, free)
        else:
            assert end.status is Status.NOT_CONVERGED
            assert end.gradient_calls == limit
            assert end.max_force > DESCENT_FORCE


def test_no_lane_is_idle():
    """Of 64 lanes and 200 starts, hardly a lane-step is computed for nothing."""
    cluster = LennardJones().bind(np.zeros(8, int))
    starts = [random_cluster(8, np.random.default_rng(seed)) for seed in range(200)]
    space, usage = coordinates(np.zeros((0, 2), int), starts[0]), Usage()
    counting = Counting(cluster)
    found = relaxed(counting, space, starts, lanes=64, usage=usage)
    assert usage.gradient_calls == sum(end.gradient_calls for end in found) == counting.evaluated
    assert usage.useful_lane_steps == usage.gradient_calls <= usage.lane_steps
    assert usage.useful >= 0.93
    assert usage.handed_over == 0
    # a lane that was moved when the batch shrank is what it is alone
    slow = int(np.argmax([end.gradient_calls for end in found]))
    assert_equal(
        relaxed(counting, space, [starts[slow]], lanes=1)[0]._replace(index=slow), found[slow]
    )


def test_clusters_take_few_gradients():
    """L-BFGS without a model Hessian takes more than twice as many."""
    starts = [random_cluster(38, np.random.default_rng(seed)) for seed in range(8)]
    space = coordinates(np.zeros((0, 2), int), starts[0])
    ends = relaxed(Counting(LennardJones().bind(np.zeros(38, int))), space, starts, lanes=8)
    assert all(end.status is Status.CONVERGED for end in ends)
    assert np.median([end.gradient_calls for end in ends]) < 150
    assert all(-173.93 < end.energy < -155 for end in ends)


def test_nothing_to_do(potential, cartesian):
    assert list(descend(potential, cartesian, [], lanes=4)) == []


# --- in internal coordinates --------------------------------------------------------------------


@dataclass(frozen=True)
class Springs:
    """A molecule whose minimum is known: springs on all distances up to two bonds, and torsions.

    `inputs`: pairs (P, 2), lengths (P,), quads (T, 4), angles (T,).
    """

    def __call__(self, inputs, positions, lists):
        i, j = inputs["pairs"].T
        lengths = jnp.linalg.norm(positions[i] - positions[j], axis=1)
        a, b, c, d = (positions[k] for k in inputs["quads"].T)
        u, v, w = b - a, c - b, d - c
        across, along = jnp.cross(u, v), jnp.cross(v, w)
        sine = jnp.linalg.norm(v, axis=1) * jnp.sum(u * along, axis=1)
        angles = jnp.arctan2(sine, jnp.sum(across * along, axis=1))
        bonded = 15 * jnp.sum((lengths - inputs["lengths"]) ** 2)
        return bonded + 0.2 * jnp.sum(1 - jnp.cos(angles - inputs["angles"]))


@pytest.fixture(scope="module")
def butane():
    """Butane, its springs, and coordinates."""
    molecule = Molecule.from_text("smiles:CCCC")
    internal = coordinates(molecule.bonds, molecule.positions)
    near = {frozenset(bond) for bond in molecule.bonds.tolist()}
    near |= {frozenset((i, j)) for i, _, j in internal.angles.tolist()}
    pairs = np.array(sorted(sorted(pair) for pair in near))
    x = molecule.positions
    inputs = {
        "pairs": pairs,
        "lengths": np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1),
        "quads": internal.torsions,
        "angles": dihedral(x, internal.torsions),
    }
    potential = CompiledPotential(
        "springs", molecule.numbers, Springs(), inputs, REDUCED, {}, dtype="float64"
    )
    return molecule, internal, potential


@pytest.fixture(scope="module")
def turned(butane):
    """Turned, bent and stretched starts."""
    molecule, _, _ = butane
    rng, starts = np.random.default_rng(0), []
    for _ in range(4):
        x = np.array(molecule.positions)
        for rotor in molecule.rotatable:
            x = set_rotor(x, rotor, rng.uniform(-0.9, 0.9))
        starts.append(x + 0.1 * rng.normal(size=x.shape))
    return starts


def test_a_molecule_finds_its_way_back(butane, turned):
    """To the one minimum, in few gradients."""
    molecule, internal, potential = butane
    assert not internal.cartesian
    for end in relaxed(potential, internal, turned, lanes=2):
        assert end.status is Status.CONVERGED
        assert end.energy < 1e-6
        assert end.gradient_calls < 40
        for i, j in combinations(range(molecule.n_atoms), 2):
            expected = np.linalg.norm(molecule.positions[i] - molecule.positions[j])
            length = np.linalg.norm(end.positions[i] - end.positions[j])
            assert length == pytest.approx(expected, abs=2e-2)


def test_lanes_of_a_molecule_do_not_know_of_each_other(butane, turned):
    _, internal, potential = butane
    together = relaxed(potential, internal, turned, lanes=4)
    for lanes in (1, 2):
        found = relaxed(potential, internal, turned, lanes=lanes)
        for end, expected in zip(found, together, strict=True):
            assert_equal(end, expected)


def test_internal_coordinates_earn_their_keep(butane):
    """The same descent in space takes half as many gradients again, at the least."""
    molecule, internal, potential = butane
    start = np.array(molecule.positions)
    for rotor in molecule.rotatable:
        start = set_rotor(start, rotor, 0.8)
    starts = [start, start + 0.05]
    inside = relaxed(potential, internal, starts, lanes=2)[0]
    space = relaxed(potential, internal.as_cartesian(), starts, lanes=2)[0]
    assert inside.energy == pytest.approx(space.energy, abs=1e-5)
    assert 1.5 * inside.gradient_calls < space.gradient_calls


@pytest.fixture(scope="module")
def straight(butane):
    """Butane with its carbons 0, 1 and 2 at an angle of 178 degrees."""
    molecule, internal, _ = butane
    heavy = [row for row in internal.angles if (molecule.numbers[row] == 6).all()]
    i, k, j = heavy[0]
    x = np.array(molecule.positions)
    u, v = x[i] - x[k], x[j] - x[k]
    axis = np.cross(u, v) / np.linalg.norm(np.cross(u, v))
    angle = np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))
    turn = Rotation.from_rotvec((np.deg2rad(178) - angle) * axis)
    side = _side(molecule, k, j)
    x[side] = turn.apply(x[side] - x[k]) + x[k]
    return x


def _side(molecule, here, there):
    """Atoms on the far side of a bond."""
    graph = nx.Graph(molecule.bonds.tolist())
    graph.remove_edge(here, there)
    return sorted(nx.node_connected_component(graph, there))


def test_a_straight_angle_is_handed_over(butane, turned, straight):
    """It arrives all the same, and those beside it are none the wiser."""
    _, internal, potential = butane
    alone = relaxed(potential, internal, turned, lanes=4)
    usage, counting = Usage(), Counting(potential)
    mixed = relaxed(counting, internal, [*turned, straight], lanes=5, usage=usage)
    for end, expected in zip(mixed, alone, strict=False):
        assert_equal(end, expected)
    assert usage.handed_over == 1
    assert mixed[4].status is Status.CONVERGED
    assert mixed[4].energy < 1e-5
    # what was spent before counts
    assert sum(end.gradient_calls for end in mixed) == counting.evaluated
    assert_equal(relaxed(potential, internal, [straight], lanes=1)[0]._replace(index=4), mixed[4])


def test_a_torn_bond_is_handed_over(butane, turned):
    """A fragment that is far off has no internal coordinates with the rest, and comes back."""
    molecule, internal, potential = butane
    i, j = molecule.bonds[0]
    torn = np.array(molecule.positions)
    side = _side(molecule, i, j)
    torn[side] += 1.6 * (torn[j] - torn[i])
    usage = Usage()
    ends = relaxed(potential, internal, [turned[0], torn], lanes=2, usage=usage)
    assert usage.handed_over == 1
    assert_equal(ends[0], relaxed(potential, internal, turned[:1], lanes=2)[0])
    assert ends[1].status is Status.CONVERGED


def test_a_molecule_that_is_not_a_number_is_alone_in_it(butane, turned):
    _, internal, potential = butane
    wreck = turned[1].copy()
    wreck[0, 0] = np.nan
    found = relaxed(potential, internal, [turned[0], wreck, turned[2]], lanes=3)
    alone = relaxed(potential, internal, turned, lanes=4)
    assert found[1].status is Status.EXPLODED
    assert_equal(found[0], alone[0])
    assert_equal(found[2], alone[2])


def test_no_step_of_the_compiled_loop_goes_up():
    """Cut short anywhere, a descent has come down from where it was cut short before."""
    cluster = LennardJones().bind(np.zeros(13, int))
    starts = [0.9 * random_cluster(13, np.random.default_rng(seed)) for seed in range(8)]
    space = coordinates(np.zeros((0, 2), int), starts[0])
    before = np.full(8, np.inf)
    for steps in range(2, 60, 3):
        ends = relaxed(cluster, space, starts, lanes=8, max_steps=steps)
        energies = np.array([end.energy for end in ends])
        assert np.all(energies <= before + 1e-9)
        before = energies
