"""Relaxing and evaluating the frames of a file, by the API and by the command line."""

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from topokrates.cli import app as cli

RELAX_KEYS = {
    "frame",
    "energy",
    "max_force",
    "gradient_calls",
    "hessian_vector_products",
    "lowest_eigenvalue",
    "status",
}


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command line in an empty folder: exit code and standard output."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        return code, capsys.readouterr().out

    return run


def _cluster(numbers: int, seed: int) -> Atoms:
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3)[:numbers]
    noise = np.random.default_rng(seed).normal(scale=0.02, size=(numbers, 3))
    return Atoms("X" * numbers, positions=1.1 * grid + noise)


def test_relax_certifies_frames_of_different_molecules(run, tmp_path):
    ase.io.write(tmp_path / "in.xyz", [_cluster(3, 0), _cluster(2, 0), _cluster(3, 1)])
    code, out = run("relax", "in.xyz", "-o", "out.xyz", "--json")
    rows = json.loads(out)
    assert code == 0
    assert all(set(row) == RELAX_KEYS for row in rows)
    assert [row["frame"] for row in rows] == [0, 1, 2]
    assert {row["status"] for row in rows} == {"certified"}
    np.testing.assert_allclose([row["energy"] for row in rows], [-3, -1, -3], atol=1e-6)
    assert all(row["max_force"] <= 1e-4 and row["lowest_eigenvalue"] > 0 for row in rows)
    assert all(row["hessian_vector_products"] >= 6 for row in rows)
    written = ase.io.read(tmp_path / "out.xyz", ":")
    assert [len(frame) for frame in written] == [3, 2, 3]
    assert written[1].get_distance(0, 1) == pytest.approx(2 ** (1 / 6), abs=1e-6)
    assert written[0].get_potential_energy() == pytest.approx(rows[0]["energy"], abs=1e-9)
    assert "certified" in run("relax", "in.xyz")[1]


def test_relax_counts_every_force_evaluation(tmp_path, monkeypatch):
    from topokrates.frames import relax_frames
    from topokrates.model import models
    from topokrates.model.compiled import CompiledPotential

    calls = 0
    original = CompiledPotential.energies_and_forces

    def counting(self, positions, active=None):
        nonlocal calls
        calls += len(positions) if active is None else int(np.sum(active))
        return original(self, positions, active)

    monkeypatch.setattr(CompiledPotential, "energies_and_forces", counting)
    frames = [_cluster(3, seed) for seed in range(3)]
    results = list(relax_frames(frames, models.load("LJ")))
    assert sum(result.gradient_calls for result in results) == calls


def test_a_frame_that_fails_has_its_status_and_the_exit_code_says_so(run, tmp_path, monkeypatch):
    from topokrates.model.compiled import CompiledPotential

    original = CompiledPotential.energies_and_forces

    def failing(self, positions, active=None):
        energies, forces = original(self, positions, active)
        # the frame of four fails
        return (energies, forces) if len(self.numbers) != 4 else (energies * np.nan, forces)

    monkeypatch.setattr(CompiledPotential, "energies_and_forces", failing)
    ase.io.write(tmp_path / "in.xyz", [_cluster(4, 0), _cluster(2, 0)])
    code, out = run("relax", "in.xyz", "--json", "-o", "out.xyz")
    rows = json.loads(out)
    assert code == 1
    assert [row["status"] for row in rows] == ["not finite", "certified"]
    assert rows[0]["energy"] is None
    assert rows[0]["lowest_eigenvalue"] is None
    assert "none" in run("relax", "in.xyz")[1]


def test_evaluate_writes_energies_and_forces(run, tmp_path):
    from ase.calculators.emt import EMT

    frames = [Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]]), Atoms("Cu", [[0, 0, 0]])]
    frames += [Atoms("Cu2", [[0, 0, 0], [0, 0, 2.5]])]
    ase.io.write(tmp_path / "in.xyz", frames, format="extxyz")
    model = ("--model", "ase:ase.calculators.emt:EMT")
    code, out = run("evaluate", "in.xyz", *model, "-o", "out.xyz", "--json")
    assert code == 0
    rows = json.loads(out)
    written = ase.io.read(tmp_path / "out.xyz", ":")
    for index, atoms in enumerate(frames):
        atoms.calc = EMT()
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        assert rows[index]["frame"] == index
        assert rows[index]["energy"] == pytest.approx(energy, abs=1e-12)
        np.testing.assert_allclose(rows[index]["forces"], forces, atol=1e-12)
        assert written[index].get_potential_energy() == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(written[index].get_forces(), forces, atol=1e-7)


def test_charge_and_spin_reach_the_model(tmp_path):
    from topokrates.frames import evaluate_frames
    from topokrates.model import models

    asked = []

    class Asking:
        name = "asking"

        def bind(self, numbers, charge=0, unpaired=0, atoms=None):
            asked.append((charge, unpaired))
            return models.load("ase:ase.calculators.emt:EMT").bind(numbers)

    def frame(**info):
        return Atoms("Cu2", [[0, 0, 0], [0, 0, 2.3]], info=info)

    cases = {
        (0, 0): frame(),
        (1, 1): frame(charge=1),
        (-1, 3): frame(charge=-1, unpaired_electrons=3),
        (0, 2): frame(multiplicity=3),
        (2, 0): frame(charge=2, spin=1),
    }
    for expected, atoms in cases.items():
        asked.clear()
        list(evaluate_frames([atoms], Asking()))
        assert set(asked) == {expected}


def test_padding_is_invisible():
    """Frames of other sizes in the file change nothing."""
    from topokrates.frames import evaluate_frames
    from topokrates.model import models

    small, large = _cluster(5, 0), _cluster(7, 0)
    together = list(evaluate_frames([small, large], models.load("LJ")))
    for atoms, result in zip((small, large), together, strict=True):
        bound = models.load("LJ").bind(atoms.numbers)
        energies, forces = bound.energies_and_forces(atoms.positions[None])
        assert result.energy == pytest.approx(energies[0], abs=1e-12)
        np.testing.assert_allclose(result.forces, forces[0], atol=1e-11)
