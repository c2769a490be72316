"""Errors against labels that are known because they were put in."""

import json

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from topokrates.frames import Evaluated
from topokrates.labelled import compare, read_labelled
from topokrates.model.models import load

SQUARE = np.array([[0.0, 0, 0], [1.1, 0, 0], [0, 1.1, 0], [1.1, 1.1, 0.3]])


def labelled(symbols, energy=None, forces=None):
    atoms = Atoms(symbols, np.arange(3 * len(Atoms(symbols))).reshape(-1, 3))
    results = {"energy": energy, "forces": forces}
    results = {k: v for k, v in results.items() if v is not None}
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def found(frame, atoms, energy, forces):
    return Evaluated(frame, atoms, energy, np.asarray(forces, float))


def test_errors_are_those_that_were_put_in():
    zero = np.zeros((3, 3))
    frames = [
        labelled("H2O", -10.0, zero),
        labelled("H2O"),
        labelled("H2O", -10.0, zero),
        labelled("H2O", 1.0, zero),
    ]
    one = zero.copy()
    one[0, 0] = 0.9
    results = [
        found(0, frames[0], 2.001, zero),
        found(1, frames[1], 5.0, zero),
        found(2, frames[2], 1.996, one),
        found(3, frames[3], np.nan, zero),
    ]
    told = compare(frames, results, {1: -1.0, 8: -10.0})
    assert told is not None
    assert told.aligned == ""
    assert told.frames.tolist() == [0, 2]
    np.testing.assert_allclose(told.energy_errors, [1.0, -4.0], atol=1e-9)
    assert told.errors.energy_mae == pytest.approx(2.5)
    assert told.errors.energy_rmse == pytest.approx(np.sqrt(17 / 2))
    assert told.errors.energy_mae_per_atom == pytest.approx(2.5 / 3)
    assert told.errors.force_mae == pytest.approx(900 / 18)
    np.testing.assert_allclose(told.force_errors, [0, 300])
    assert told.relative_mae == pytest.approx(2.5)
    assert [row["frame"] for row in told.worst(1)] == [2]
    assert json.loads(json.dumps(told.to_dict()))["errors"]["frames"] == 2


def test_relative_energies_are_those_within_a_molecule():
    """Whole molecules are off by 1 and 7 eV; within, by 0, 30 and 0, and by 10 and 10 meV."""
    energies = {"H2O": (1.0, 1.03, 1.0), "O2": (7.0, 7.02), "HOH": (3.0,)}
    frames, results = [], []
    for symbols, found_ones in energies.items():
        for energy in found_ones:
            frames.append(labelled(symbols, 0.0, np.zeros((len(Atoms(symbols)), 3))))
            results.append(found(len(results), frames[-1], energy, frames[-1].get_forces()))
    told = compare(frames, results, {1: 0.0, 8: 0.0})
    assert told is not None
    assert told.relative_mae == pytest.approx((30 + 10 + 10) / 5)
    alone = compare(frames[-1:], [found(0, frames[-1], 3.0, np.zeros((3, 3)))])
    assert alone is not None
    assert alone.relative_mae is None


@pytest.mark.parametrize("own", [None, {1: -13.0, 8: -2000.0}])
def test_without_references_constants_of_the_elements_do_not_count(own):
    """Labels of another zero: -1 per hydrogen, -7 per oxygen, and an error of one frame."""
    rng = np.random.default_rng(0)
    frames, results = [], []
    for k, symbols in enumerate(["H2O", "H2O2", "H2", "O3", "H2O", "H4O2"]):
        forces = rng.normal(size=(len(Atoms(symbols)), 3))
        energy = rng.normal()
        z = Atoms(symbols).numbers
        frames.append(labelled(symbols, energy - np.sum(z == 1) - 7.0 * np.sum(z == 8), forces))
        results.append(found(k, frames[-1], energy, forces))
    told = compare(frames, results, own)  # or with those of another method
    assert told is not None
    assert told.aligned == "elements"
    np.testing.assert_allclose(told.energy_errors, 0, atol=1e-9)
    assert told.errors.force_mae == 0
    assert compare([labelled("H2O")], [found(0, labelled("H2O"), 1.0, np.zeros((3, 3)))]) is None


@pytest.fixture
def file(tmp_path):
    """Three frames of LJ4; the second has a wrong energy, and one force is wrong in the third."""
    x = SQUARE + np.random.default_rng(1).normal(0, 0.05, (3, 4, 3))
    energies, forces = load("LJ").bind(np.zeros(4, int)).energies_and_forces(x)
    energies[1] += 0.25
    forces[2, 0, 0] -= 0.5
    frames = []
    for positions, energy, force in zip(x, energies, forces, strict=True):
        atoms = Atoms("X4", positions)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=force)
        frames.append(atoms)
    path = tmp_path / "labelled.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return path


def test_the_command_compares_where_there_are_labels(run, file, tmp_path):
    told = json.loads(run("evaluate", file, "--json", "--parity", "parity.svg").out)
    assert told["aligned"] == "elements"
    assert told["errors"]["force_mae"] == pytest.approx(500 / 36, rel=1e-4)
    assert told["worst"][0]["frame"] == 2
    # one constant for all: the mean of 0, 0.25, 0 is taken off
    assert told["worst"][1]["energy_error"] == pytest.approx(1e3 * 0.25 / 3, rel=1e-3)
    assert len(told["frames"]) == 3
    assert (tmp_path / "parity.svg").read_text().startswith("<?xml")
    assert told["relative_energy_mae"] == pytest.approx(250 / 3, rel=1e-3)
    out = run("evaluate", file).out
    assert "force RMSE" in out
    assert "relative to the median of the same molecule: MAE 83.33 meV (1.92 kcal/mol)" in out
    assert isinstance(json.loads(run("evaluate", file, "--json", "--no-labels").out), list)


def test_nothing_to_compare_with_is_told(run, tmp_path):
    ase.io.write(tmp_path / "bare.xyz", Atoms("X4", SQUARE))
    for options in (["--labels"], ["--parity", "a.svg"]):
        done = run("evaluate", "bare.xyz", *options)
        assert done.code == 2
        assert "no frame carries" in done.err
    done = run("evaluate", "bare.xyz", "--parity", "a.gif")
    assert done.code == 2


def test_npz_files_are_read_as_training_reads_them(tmp_path):
    x = SQUARE[:3]
    arrays = {"z": [8, 1, 1], "R": x[None], "E": [-3.0], "F": np.ones((1, 3, 3))}
    np.savez(tmp_path / "a.npz", **arrays)
    (atoms,) = read_labelled(tmp_path / "a.npz")
    assert atoms.get_potential_energy() == -3.0
    np.testing.assert_array_equal(atoms.get_forces(), np.ones((3, 3)))
    np.testing.assert_array_equal(atoms.numbers, [8, 1, 1])
