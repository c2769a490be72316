"""Equations of motion on springs, whose motion is known, and on Lennard-Jones clusters."""

import json
from dataclasses import replace

import ase.io
import numpy as np
import pytest
from helpers.stopping import Stopper
from scipy.spatial.transform import Rotation

from topokrates.dynamics.integrators import ENSEMBLES, Ensemble, System, integrator
from topokrates.dynamics.run import dynamics
from topokrates.dynamics.starts import starts_of
from topokrates.model.errors import InputError
from topokrates.model.models import load
from topokrates.model.potential import ELECTRONVOLT, REDUCED, Potential
from topokrates.molecule import Molecule

STIFFNESS = 3.0  # of the springs
QUIET = Ensemble("nve", temperature=0.05, timestep=0.01, friction=1.0, period=0.5, seed=3)


class Springs(Potential):
    """Each atom on a spring of its own to where it began; E = k x^2 / 2."""

    name, compiled = "springs", False

    def __init__(self, rest, units=REDUCED, stiffness=STIFFNESS):
        self.rest, self.units, self.stiffness = rest, units, stiffness
        self.numbers, self.dtype = np.zeros(len(rest), int), np.dtype("float64")

    def energies_and_forces(self, positions, active=None):
        moved = positions - self.rest
        energies = self.stiffness / 2 * np.sum(moved**2, axis=(1, 2))
        return energies, -self.stiffness * moved

    def hessian_vector_products(self, positions, vectors):
        raise NotImplementedError

    def with_dtype(self, dtype):
        return self

    def provenance(self):
        return {"name": self.name}


@pytest.fixture(scope="module")
def cluster():
    """LJ7 near its global minimum."""
    molecule = Molecule.from_text("LJ7")
    ring = [(np.cos(t), np.sin(t), 0.0) for t in 2 * np.pi / 5 * np.arange(5)]
    x = np.array([*ring, (0, 0, 0.6), (0, 0, -0.6)]) * 0.95
    return molecule, load("LJ").bind(molecule.numbers), x


@pytest.fixture
def springs():
    return Springs(np.random.default_rng(0).normal(size=(5, 3)) * 2)


def trajectory(motion, x, steps):
    states = [motion.init(x)]
    for _ in range(steps):
        states.append(motion.step(states[-1]))
    return states


# --- laws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_a_replica_moves_as_it_would_alone(cluster, kind):
    """The first of three; noise and velocities are those of its number."""
    _, potential, x = cluster
    motion = integrator(potential, replace(QUIET, kind=kind))
    together = trajectory(motion, np.stack([x, 1.02 * x, 0.99 * x]), 20)[-1]
    alone = trajectory(motion, x[None], 20)[-1]
    np.testing.assert_array_equal(together.positions[0], alone.positions[0])
    np.testing.assert_array_equal(together.velocities[0], alone.velocities[0])
    assert np.abs(together.velocities[0] - together.velocities[1]).max() > 1e-3


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_a_replica_that_fails_stays_and_touches_no_other(cluster, kind):
    _, potential, x = cluster
    motion = integrator(potential, replace(QUIET, kind=kind))
    bad = np.stack([x, np.full_like(x, np.nan), x])
    states = trajectory(motion, bad, 5)
    assert [s.alive.tolist() for s in states] == [[True, False, True]] * 6
    whole = trajectory(motion, np.stack([x, x, x]), 5)[-1]
    np.testing.assert_array_equal(states[-1].positions[[0, 2]], whole.positions[[0, 2]])


def test_first_velocities_have_no_rigid_motion_and_the_temperature(cluster):
    _, potential, x = cluster
    count = 400
    motion = integrator(potential, replace(QUIET, temperature=0.2))
    state = motion.init(np.repeat(x[None], count, axis=0))
    np.testing.assert_allclose(state.velocities.sum(axis=1), 0, atol=1e-12)
    turning = np.cross(x - x.mean(axis=0), state.velocities).sum(axis=1)
    np.testing.assert_allclose(turning, 0, atol=1e-12)
    assert state.freedom[0] == 15
    found = motion.temperature(state)
    assert abs(found.mean() - 0.2) < 4 * found.std() / np.sqrt(count)


def test_linear_molecules_turn_about_two_axes():
    rest = np.array([[0, 0, -1.0], [0, 0, 0], [0, 0, 1.2]])
    motion = integrator(Springs(rest), QUIET)
    assert motion.init(rest[None]).freedom[0] == 4
    assert integrator(Springs(rest), replace(QUIET, kind="langevin")).init(rest[None]).freedom == 9


def test_verlet_goes_back_where_it_came_from(cluster):
    _, potential, x = cluster
    motion = integrator(potential, QUIET)
    end = trajectory(motion, x[None], 50)[-1]
    back = end._replace(velocities=-end.velocities)
    for _ in range(50):
        back = motion.step(back)
    np.testing.assert_allclose(back.positions[0], x, atol=1e-9)


def test_rotated_starts_turn_the_whole_motion(cluster):
    """Of given velocities: the motion knows no direction in space."""
    _, potential, x = cluster
    turn = Rotation.random(random_state=1).as_matrix()
    motion = integrator(potential, replace(QUIET, kind="nose-hoover"))
    one = motion.init(x[None])
    other = motion.init(x[None] @ turn.T)._replace(velocities=one.velocities @ turn.T)
    for _ in range(30):
        one, other = motion.step(one), motion.step(other)
    np.testing.assert_allclose(other.positions, one.positions @ turn.T, atol=1e-9)


@pytest.mark.parametrize("kind", ENSEMBLES)
def test_what_is_conserved_wavers_with_the_square_of_the_time_step(cluster, kind):
    _, potential, x = cluster

    def waver(dt):
        motion = integrator(potential, replace(QUIET, kind=kind, timestep=dt, friction=0.5))
        states = trajectory(motion, x[None], round(1.0 / dt))
        kept = np.array([motion.conserved(s)[0] for s in states])
        energies = np.array([s.energies[0] for s in states])
        assert np.ptp(energies) > 20 * np.ptp(kept)
        return np.ptp(kept)

    # noise differs from step to step, so for langevin only roughly
    low, high = (2, 8) if kind == "langevin" else (3, 5)
    assert low < waver(0.01) / waver(0.005) < high


# --- known answers ------------------------------------------------------------------------------


def test_a_spring_swings_with_its_frequency():
    """In eV, Å, amu and fs: an atom of mass m on a spring of k has the period 2 pi sqrt(m/k)."""
    potential = Springs(np.zeros((4, 3)) + np.arange(4)[:, None], ELECTRONVOLT, stiffness=30.0)
    potential.numbers = np.array([1, 6, 7, 8])
    motion = integrator(potential, replace(QUIET, timestep=0.05))
    masses = System.of(potential).masses[:, 0]
    # 1 amu Å^2 / eV = 1.03642696e-28 s^2
    period = 2 * np.pi * np.sqrt(masses / 30.0 * 103.642696)
    assert period[0] == pytest.approx(11.725, abs=0.01)
    for atom in range(4):
        state = motion.init(potential.rest[None])
        still = state._replace(velocities=0 * state.velocities, positions=state.positions.copy())
        still.positions[0, atom, 0] += 0.1
        still = still._replace(forces=potential.energies_and_forces(still.positions)[1])
        for _ in range(round(period[atom] / 0.05)):
            still = motion.step(still)
        assert still.positions[0, atom, 0] - potential.rest[atom, 0] == pytest.approx(0.1, rel=1e-3)


def test_langevin_samples_the_canonical_ensemble(springs):
    """<x^2> = kT / k and <T> = T; 15 coordinates in 64 replicas."""
    ensemble = replace(QUIET, kind="langevin", temperature=0.3, timestep=0.1)
    motion = integrator(springs, ensemble)
    start = np.repeat(springs.rest[None], 64, axis=0)
    states = trajectory(motion, start, 600)[100:]
    moved = np.array([s.positions - springs.rest for s in states])
    temperature = np.array([motion.temperature(s) for s in states])
    assert np.mean(moved**2) == pytest.approx(0.3 / STIFFNESS, rel=0.05)
    # BAOAB errs in the velocities, by (omega dt)^2 / 4
    assert temperature.mean() == pytest.approx(0.3, rel=0.05)


def test_nose_hoover_keeps_the_temperature(cluster):
    """Of a molecule that moves in itself; springs alone would not share their energy."""
    _, potential, x = cluster
    motion = integrator(potential, replace(QUIET, kind="nose-hoover", timestep=0.02))
    states = trajectory(motion, np.repeat(x[None], 16, axis=0), 1500)
    temperatures = np.array([motion.temperature(s) for s in states[300:]])
    assert temperatures.mean() == pytest.approx(0.05, rel=0.03)
    # in the canonical ensemble, of 15 degrees of freedom, T varies by sqrt(2 / 15)
    assert temperatures.std() == pytest.approx(0.05 * np.sqrt(2 / 15), rel=0.15)


# --- runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["langevin", "nose-hoover"])
@pytest.mark.parametrize("at", [7, 20, 43])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not(cluster, tmp_path, monkeypatch, kind, at):
    molecule, potential, x = cluster
    monkeypatch.setattr("topokrates.dynamics.run.PATIENCE", 0.0)
    ensemble = replace(QUIET, kind=kind, temperature=0.1)
    starts = [x, 1.01 * x]

    def go(path, progress=None):
        return dynamics(potential, molecule, starts, ensemble, 60, 10, path, progress)

    whole = go(tmp_path / "whole.extxyz")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "stopped.extxyz", Stopper(at))
    again = go(tmp_path / "stopped.extxyz")
    assert again.replicas == whole.replicas
    expected = (tmp_path / "whole.extxyz").read_bytes()
    assert (tmp_path / "stopped.extxyz").read_bytes() == expected
    frames = ase.io.read(tmp_path / "whole.extxyz", index=":")
    assert [(f.info["replica"], f.info["time_tau"]) for f in frames] == [
        (lane, pytest.approx(0.1 * k)) for k in range(7) for lane in range(2)
    ]
    energies, forces = potential.energies_and_forces(np.array([f.positions for f in frames]))
    np.testing.assert_allclose([f.get_potential_energy() for f in frames], energies, atol=1e-5)
    np.testing.assert_allclose([f.get_forces() for f in frames], forces, atol=1e-4)
    # and on, further than was asked for at first
    more = dynamics(potential, molecule, starts, ensemble, 80, 10, tmp_path / "stopped.extxyz")
    longer = dynamics(potential, molecule, starts, ensemble, 80, 10)
    assert more.replicas == longer.replicas


def test_another_run_does_not_go_on_in_the_same_file(cluster, tmp_path):
    molecule, potential, x = cluster
    path = tmp_path / "a.extxyz"
    dynamics(potential, molecule, [x], QUIET, 10, 10, path)
    for other, start in ((replace(QUIET, seed=4), x), (QUIET, 1.01 * x)):
        with pytest.raises(InputError, match="other settings"):
            dynamics(potential, molecule, [start], other, 10, 10, path)
    (tmp_path / "a.extxyz.checkpoint").unlink()
    with pytest.raises(InputError, match="exists"):
        dynamics(potential, molecule, [x], QUIET, 10, 10, path)


def test_what_comes_apart_is_told_and_left_alone(cluster):
    """One of two replicas is blown up."""
    molecule, _, x = cluster

    class Torn(Springs):
        """The first particle of the second replica is pushed away."""

        def energies_and_forces(self, positions, active=None):
            forces = np.zeros_like(positions)
            forces[1, 0] = 100 * (x[0] / np.linalg.norm(x[0]))
            return np.zeros(len(positions)), forces

    torn = Torn(x)
    torn.numbers = molecule.numbers
    found = dynamics(torn, molecule, [x, x], replace(QUIET, temperature=1e-9), 100, 10)
    assert [r.kept for r in found.replicas] == [True, False]
    assert "dissociated" in found.replicas[1].reason
    assert found.kept == 0.5
    # 0.65 sigma further or more at 50 t^2, looked at every 0.1
    assert 0.1 <= found.replicas[1].time == found.first_failure <= 0.3
    assert found.replicas[0].time == found.time == pytest.approx(1.0)


# --- the command --------------------------------------------------------------------------------


def test_the_command_writes_a_trajectory(run, tmp_path):
    path = tmp_path / "lj.extxyz"
    options = ("--time", 0.5, "--replicas", 2, "--every", 50, "-o", path)
    done = run("md", "LJ5", *options, "--json")
    assert done.code == 0
    found = json.loads(done.out)
    assert found["kept"] == 1
    assert found["first_failure"] is None
    assert [r["replica"] for r in found["replicas"]] == [0, 1]
    assert len(ase.io.read(path, index=":")) == 2 * 3
    told = run("md", "LJ5", *options)
    assert "100 % of 2 replicas kept all bonds" in told.out
    # frames of a file are starts
    assert len(starts_of(str(path))[1]) == 6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--ensemble", "npt"], "langevin"),
        (["--temperature", "-3"], "temperature"),
        (["--timestep", "0"], "timestep"),
        (["--time", "0"], "steps"),
        (["--replicas", "0"], "replicas"),
        (["--every", "0"], "every"),
        (["--model", "ase:ase.calculators.lj:LennardJones"], "LJ is for clusters"),
        (["--output", "no/such/folder/a.extxyz"], "folder"),
    ],
)
def test_bad_options_are_told_in_one_line(run, options, words):
    done = run("md", "LJ4", *options)
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert words in done.err
