"""What training reads: labelled frames, settings, splits, energies of the elements."""

from dataclasses import replace

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from topokrates.model.errors import InputError
from topokrates.model.training import config, data, references, splits

# --- data ---------------------------------------------------------------------------------------


def reading(**changes):
    return config.Data(files=["a"], **changes)


def same(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.numbers, other.numbers)
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-7)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-7)
        assert one.energy == pytest.approx(other.energy, abs=1e-7)


def test_every_format_says_the_same(frames, tmp_path, save_npz):
    bare = [replace(f, dipole=None) for f in frames]
    save_npz(tmp_path / "a.npz", bare)
    atoms = []
    for f in bare:
        one = Atoms(f.numbers, f.positions)
        one.calc = SinglePointCalculator(one, energy=f.energy, forces=f.forces)
        atoms.append(one)
    ase.io.write(tmp_path / "a.extxyz", atoms)
    with ase.db.connect(tmp_path / "a.db") as database:
        for one in atoms:
            database.write(one)
    for name in ("a.npz", "a.extxyz", "a.db"):
        same(data.read(name, tmp_path, reading()), bare)
    assert data.digest(bare) == data.digest(data.read("a.npz", tmp_path, reading()))
    assert data.digest(bare[1:]) != data.digest(bare)


def test_other_units_and_names(frames, tmp_path, save_npz):
    eV, bohr = units.mol / units.kcal, 1 / units.Bohr
    save_npz(
        tmp_path / "a.npz",
        frames,
        R=None,
        positions_300K=np.array([f.positions * bohr for f in frames[1::2]]),
        E_300K=[f.energy * eV for f in frames[1::2]],
        F_300K=np.array([f.forces * eV / bohr for f in frames[1::2]]),
        z_300K=np.array([f.numbers for f in frames[1::2]]),
    )
    found = data.read("a.npz#300K", tmp_path, reading(energy_unit="kcal/mol", length_unit="bohr"))
    same(found, frames[1::2])
    atoms = Atoms("OH", [[0, 0, 0], [0, 0, 1.0]])
    atoms.info["E"] = 2.0
    atoms.arrays["F"] = np.ones((2, 3))
    ase.io.write(tmp_path / "b.extxyz", atoms)
    (one,) = data.read("b.extxyz", tmp_path, reading(energy_key="E", forces_key="F"))
    assert one.energy == 2.0
    assert (one.forces == 1).all()
    assert one.unpaired == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"E": None}, "no energy"),
        ({"E": [1.0]}, "energies for"),
        ({"F": np.zeros((2, 2))}, "both must be"),
        ({"z": np.full((17, 5), 200)}, "atomic numbers"),
        ({"E": np.full(17, np.nan)}, "frame 0"),
    ],
)
def test_bad_data_are_refused_in_words(frames, tmp_path, changes, words, save_npz):
    save_npz(tmp_path / "a.npz", frames, **changes)
    with pytest.raises(InputError, match=words):
        data.read("a.npz", tmp_path, reading())


def test_files_that_are_none(tmp_path):
    (tmp_path / "a.npz").write_text("nonsense")
    (tmp_path / "a.xyz").write_text("nonsense")
    for name in ("a.npz", "a.xyz", "none.npz"):
        with pytest.raises(InputError, match=name):
            data.read(name, tmp_path, reading())


# --- settings and splits ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "data is missing"),
        ({"data": {}}, "files is missing"),
        ({"data": {"files": ["a"]}, "optimizer": {}}, "optimizer is not a setting"),
        ({"data": {"files": ["a"], "trian": 3}}, "trian is not a setting; there are files"),
        ({"data": {"files": ["a"]}, "optimiser": {"steps": "many"}}, "optimiser.steps is 'many'"),
        ({"data": {"files": ["a"]}, "optimiser": {"steps": 0}}, "optimiser.steps is 0"),
        ({"data": {"files": ["a"]}, "network": {"features": 7}}, "features 7"),
        ({"data": {"files": ["a"]}, "loss": {"energy": 0.0, "forces": 0.0}}, "no weight"),
        ({"data": {"files": ["a"]}, "loss": {"dipole": 1.0}}, "electrostatics"),
        ({"data": {"files": ["a"]}, "start": {"freeze": ["x"]}}, "freeze"),
    ],
)
def test_wrong_settings_are_named(table, words):
    with pytest.raises(InputError, match=words) as caught:
        config.of_table(table)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_toml_is_told(tmp_path):
    (tmp_path / "a.toml").write_text("[data\n")
    with pytest.raises(InputError, match="not a TOML file"):
        config.load(tmp_path / "a.toml")
    with pytest.raises(InputError, match="no such file"):
        config.load(tmp_path / "none.toml")


def test_splits_are_disjoint_repeat_and_hold_what_was_asked(tmp_path):
    asked = reading(train=20, validation=5, test=10)
    split = splits.divide(50, asked, tmp_path)
    assert [len(part) for part in split] == [20, 5, 10]
    assert len(np.unique(np.concatenate(split))) == 35
    again = splits.divide(50, asked, tmp_path)
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))
    other = splits.divide(50, reading(train=20, validation=5, test=10, seed=1), tmp_path)
    assert not np.array_equal(split.train, other.train)
    rest = splits.divide(50, reading(), tmp_path)
    assert [len(part) for part in rest] == [48, 2, 0]


def test_index_files_of_each_kind(tmp_path):
    rows = np.array([[1, 3, 5, 7], [2, 4, 6, 8]])
    np.savez(tmp_path / "i.npz", train=rows, test=np.array([9, 10]))
    np.save(tmp_path / "i.npy", rows[0])
    np.savetxt(tmp_path / "i.csv", rows[:1], fmt="%d", delimiter=",")
    np.savetxt(tmp_path / "i.txt", rows[0], fmt="%d")
    for name in ("i.npz#train/0", "i.npy", "i.csv", "i.txt"):
        split = splits.divide(12, reading(train_index=name, validation=1), tmp_path)
        assert set(split.train) | set(split.validation) == {1, 3, 5, 7}
        assert set(split.test) == {0, 2, 4, 6, 8, 9, 10, 11}
    split = splits.divide(
        12, reading(train_index="i.npy", test_index="i.npz#test", train=2, validation=2), tmp_path
    )
    assert split.test.tolist() == [9, 10]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": 60}, "60 frames for training"),
        ({"train_index": "none.txt"}, "no such file"),
        ({"train_index": "i.npz#other"}, "i.npz#key"),
        ({"train_index": "i.npz#far"}, "from 0 to 49"),
        ({"train_index": "i.npz#a", "test_index": "i.npz#a"}, "twice"),
    ],
)
def test_splits_that_cannot_be(tmp_path, changes, words):
    np.savez(tmp_path / "i.npz", a=[1, 2, 3], far=[50])
    with pytest.raises(InputError, match=words):
        splits.divide(50, reading(**changes), tmp_path)


def test_references_are_found_exactly_and_of_one_molecule_as_a_sum(labelled, reference_energies):
    frames = labelled(20)
    bare = [references.total(f.numbers, reference_energies) for f in frames]
    found = references.fit(frames, np.array(bare))
    assert found == pytest.approx(reference_energies)
    water = [data.Frame(np.array([8, 1, 1]), np.eye(3), -7.0, np.zeros((3, 3)))] * 3
    assert references.total(np.array([8, 1, 1]), references.fit(water)) == pytest.approx(-7.0)
