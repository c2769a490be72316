"""Import and export: what is refused, with nothing left behind."""

import json
import os

import numpy as np
import pytest

from topokrates import exchange
from topokrates.cli import app as cli
from topokrates.exchange.contents import units
from topokrates.landscape import Landscape
from topokrates.molecule import Molecule
from topokrates.storage import sqlite

FORMATS = exchange.FORMATS


@pytest.fixture(scope="module")
def water():
    return Molecule.from_text("smiles:O")


def changed(path, line, text):
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("min.data", "-1.0 1.0 1 1.0 1.0", "line 1 has 5 columns"),
        ("min.data", "-1.0 1.0 1 1.0 1.0 x", "no number"),
        ("min.data", "nan 1.0 1 1.0 1.0 1.0", "not finite"),
        ("ts.data", "-2.0 1.0 1 2 1", "line 1 has 5 columns"),
        ("ts.data", "-2.0 1.0 1 2 3 1.0 1.0 1.0", "joins minimum 3"),
        ("ts.data", "-2.0 1.0 1 0 1 1.0 1.0 1.0", "joins minimum 0"),
        ("ts.data", "-2.0 1.0 1 1.5 1 1.0 1.0 1.0", "two minima"),
        ("ts.data", "1D999 1.0 1 1 2 1.0 1.0 1.0", "not finite"),
        ("min.data", "\u00e9 1.0 1 1.0 1.0 1.0", "min.data"),
    ],
)
def test_damaged_lines_of_pathsample(dps, tmp_path, file, text, expected, refusal):
    changed(dps / file, 0, text)
    before = sorted(os.listdir(tmp_path))
    assert expected in refusal(exchange.read, dps, "pathsample", "LJ4", tmp_path / "new.db")
    assert sorted(os.listdir(tmp_path)) == before


def test_folders_that_are_none(dps, tmp_path, refusal):
    read = exchange.read
    assert "no such" in refusal(read, tmp_path / "none", "pathsample", "LJ4")
    assert "no min.data" in refusal(read, tmp_path, "pathsample", "LJ4")
    assert "is a file" in refusal(read, dps / "min.data", "pathsample", "LJ4")
    (dps / "min.data").write_text("")
    assert "no minima" in refusal(read, dps, "pathsample", "LJ4")
    assert "xyzzy" in refusal(read, dps, "xyzzy", "LJ4")
    assert "pathsample" in refusal(read, dps, "pathsample")


def test_pathsample_of_ours_knows_its_unit(made_lj4, tmp_path, refusal):
    exchange.export(made_lj4, tmp_path / "out", "pathsample")
    of = Molecule.from_text("smiles:C#C")  # four atoms, too
    assert "'epsilon'" in refusal(exchange.read, tmp_path / "out", "pathsample", of)
    (tmp_path / "out" / "units.txt").write_text("of somebody else")
    with exchange.read(tmp_path / "out", "pathsample", "LJ4") as back:
        assert back.energy_unit == "epsilon"


@pytest.mark.parametrize("name", ["points.min", "points.ts"])
def test_points_that_do_not_fit(made_lj4, tmp_path, name, refusal):
    exchange.export(made_lj4, tmp_path / "out", "pathsample")
    points = tmp_path / "out" / name
    whole = points.read_bytes()
    points.write_bytes(whole[:-5])
    assert name in refusal(exchange.read, tmp_path / "out", "pathsample", "LJ4")
    points.write_bytes(whole[:-8] + np.array([np.nan]).tobytes())
    assert "not finite" in refusal(exchange.read, tmp_path / "out", "pathsample", "LJ4")


@pytest.mark.parametrize("format", FORMATS)
def test_another_molecule_is_refused(made_lj4, water, tmp_path, format, refusal):
    exchange.export(made_lj4, tmp_path / "out", format)
    for other, name in (("LJ5", "LJ5"), (water, water.name)):
        assert name in refusal(exchange.read, tmp_path / "out", format, other)
    assert sorted(os.listdir(tmp_path)) == ["ours.db", "ours.db-shm", "ours.db-wal", "out"]


@pytest.mark.parametrize("format", ["pele", "extxyz", "json"])
@pytest.mark.parametrize("damage", ["text", "cut", "folder"])
def test_files_that_are_not_of_the_format(made_lj4, tmp_path, format, damage, refusal):
    path = tmp_path / "out"
    exchange.export(made_lj4, path, format)
    if damage == "folder":
        path = tmp_path
    elif damage == "text":
        path.write_text("no such format\n" * 20)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert str(path) in refusal(exchange.read, path, format, "LJ4", tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_document_is_checked(made_lj4, tmp_path, refusal):
    path = tmp_path / "out"
    exchange.export(made_lj4, path, "json")
    good = json.loads(path.read_text())

    def broken(change):
        data = json.loads(json.dumps(good))
        change(data)
        path.write_text(json.dumps(data))
        return refusal(exchange.read, path, "json", "LJ4")

    assert "joins minimum 9" in broken(lambda d: d["links"][0].update(minima=[1, 9]))
    assert "energy" in broken(lambda d: d["minima"][1].update(energy="low"))
    assert "energy" in broken(lambda d: d["minima"][1].update(energy=float("nan")))
    assert "visits" in broken(lambda d: d["minima"][1].pop("visits"))
    assert "verified" in broken(lambda d: d["links"][0].update(verified=1))
    assert "coordinates" in broken(lambda d: d["minima"][0].update(positions=[[0, 0, 0]]))
    assert "provenance" in broken(lambda d: d.pop("provenance"))
    assert "version" in broken(lambda d: d.update(version=2))


def test_frames_are_checked(made_lj4, water, tmp_path, refusal):
    path = tmp_path / "out"
    exchange.export(made_lj4, path, "extxyz")
    text = path.read_text()
    path.write_text(text.replace("minimum_b=2", "minimum_b=9"))
    assert "joins minimum 9" in refusal(exchange.read, path, "extxyz", "LJ4")
    path.write_text(text.replace("id=2", "id=1"))
    assert "id 1" in refusal(exchange.read, path, "extxyz", "LJ4")
    path.write_text("3\nenergy=1.0\nH 0 0 0\nO 1 0 0\nH 0 1 0\n")
    assert "atom 1 is H" in refusal(exchange.read, path, "extxyz", water)
    path.write_text("3\n\nO 0 0 0\nH 1 0 0\nH 0 1 0\n")
    assert "no energy" in refusal(exchange.read, path, "extxyz", water)


def test_an_existing_database_is_not_added_to(dps, made_lj4, tmp_path, refusal, rows):
    before = rows(made_lj4)
    message = refusal(exchange.read, dps, "pathsample", "LJ4", tmp_path / "ours.db")
    assert "exists already" in message
    assert rows(made_lj4) == before


def test_exports_replace_no_folder_and_no_database(made_lj4, dps, tmp_path, refusal):
    before = (dps / "min.data").read_bytes()
    assert "exists already" in refusal(exchange.export, made_lj4, dps, "pathsample")
    assert (dps / "min.data").read_bytes() == before
    for format in ("pele", "json", "extxyz"):
        message = refusal(exchange.export, made_lj4, tmp_path / "ours.db", format)
        assert "database itself" in message
        place = tmp_path / "none" / "out"
        assert str(place) in refusal(exchange.export, made_lj4, place, format)
    empty = tmp_path / "empty"
    empty.mkdir()
    exchange.export(made_lj4, empty, "pathsample")
    assert (empty / "points.ts").stat().st_size == 3 * 12 * 8


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_written_of_nothing(lj4, tmp_path, format, refusal):
    with Landscape.create(lj4, {"name": "LJ", "units": units(lj4)}) as empty:
        assert "no minima" in refusal(exchange.export, empty, tmp_path / "out", format)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_no_database(dps, tmp_path, monkeypatch, refusal):
    (dps / "min.data").write_text("-1.0 1.0 1 1 1 1\n" * 5000)
    connect = sqlite.connect

    def small(path, mode):
        connection = connect(path, mode)
        connection.execute("PRAGMA max_page_count = 20")
        return connection

    monkeypatch.setattr(sqlite, "connect", small)
    before = sorted(os.listdir(tmp_path))
    message = refusal(exchange.read, dps, "pathsample", "LJ4", tmp_path / "new.db")
    assert message.startswith(f"{tmp_path / 'new.db'} cannot grow: the disk is full")
    assert sorted(os.listdir(tmp_path)) == before


# structures that are not the molecule


@pytest.fixture(scope="module")
def alanine():
    return Molecule.from_text("Ac-Ala-NHMe")


def written(folder, structures):
    """A PATHSAMPLE folder of these structures (N, 3), without transition states."""
    folder.mkdir()
    (folder / "min.data").write_text("-1.0 1.0 1 1 1 1\n" * len(structures))
    np.stack(structures).astype("<f8").tofile(folder / "points.min")
    return folder


def hydrogens_beside(molecule):
    """The order of PDB files: each hydrogen after the atom that holds it, not after them all."""
    owner = np.arange(molecule.n_atoms)
    for a, b in molecule.bonds:
        if molecule.numbers[b] == 1:
            owner[b] = a
    return np.argsort(owner, kind="stable")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda m, x: x[hydrogens_beside(m)], "in the order of Ac-Ala-NHMe"),
        (lambda m, x: x / 0.529177, "lengths in Å"),
        (lambda m, x: x * [1, 1, -1], "another isomer"),
    ],
    ids=["order", "bohr", "mirror image"],
)
def test_minima_that_are_all_of_another_molecule(
    alanine, positions, tmp_path, refusal, change, expected
):
    folder = written(
        tmp_path / "dps", [change(alanine, positions(alanine, seed)) for seed in range(3)]
    )
    message = refusal(exchange.read, folder, "pathsample", alanine, tmp_path / "new.db")
    assert message.startswith(f"{folder}: 3 of 3 minima are not Ac-Ala-NHMe (")
    assert expected in message
    assert "first minimum 1: " in message
    assert os.listdir(tmp_path) == ["dps"]


@pytest.mark.parametrize("format", FORMATS)
def test_some_that_are_not_are_said_and_allowed(alanine, positions, tmp_path, format):
    """They keep their places and links; the landscape says which kinds it holds, as do copies."""
    structures = [positions(alanine, seed) for seed in range(4)]
    structures[1] = structures[1] * [1, 1, -1]
    structures[3] = structures[3][hydrogens_beside(alanine)]
    folder, said, again = written(tmp_path / "dps", structures), [], []
    with exchange.read(folder, "pathsample", alanine, report=said.append) as found:
        assert len(found) == 4
        assert {str(kind) for kind in found.allow} == {"stereo", "dissociated"}
        exchange.export(found, tmp_path / "out", format)
    (note,) = said
    assert note.startswith("2 of 4 minima are not Ac-Ala-NHMe (1 stereo, 1 dissociated)")
    assert "minimum 2: stereocentre" in note
    assert "\n" not in note
    with exchange.read(tmp_path / "out", format, alanine, report=again.append) as copy:
        assert copy.allow == found.allow
    assert again == ([] if format == "json" else said)  # JSON knows that it was meant


def test_minima_of_the_molecule_need_no_word(alanine, positions, tmp_path):
    folder, said = written(tmp_path / "dps", [positions(alanine, 0)]), []
    with exchange.read(folder, "pathsample", alanine, report=said.append) as found:
        assert found.allow == frozenset()
    assert said == []


def test_a_cluster_that_has_come_apart_is_said(lj4, positions, tmp_path):
    """Nothing can be out of order there, and all may be scattered."""
    far = positions(lj4, 0)
    far[0] += 9
    said = []
    folder = written(tmp_path / "dps", [far])
    with exchange.read(folder, "pathsample", lj4, report=said.append) as found:
        assert {str(kind) for kind in found.allow} == {"dissociated"}
    assert said == [
        "1 of 1 minimum is not LJ4 (dissociated), first minimum 1: cluster dissociated into 2"
        " fragments: are lengths in sigma?"
    ]


def test_the_command_says_so_on_standard_error(alanine, positions, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = positions(alanine, 0), positions(alanine, 1) * [1, 1, -1]
    written(tmp_path / "some", [good, bad])
    written(tmp_path / "all", [bad, bad])

    def run(source):
        arguments = ["--format", "pathsample", "--molecule", "Ac-Ala-NHMe", "--database", "a.db"]
        return cli.main(["import", source, *arguments]), *capsys.readouterr()

    code, out, err = run("all")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("topokrates: all: 2 of 2 minima are not Ac-Ala-NHMe (stereo)")
    code, out, err = run("some")
    assert (code, err.count("\n")) == (0, 1)
    assert err.startswith("topokrates: 1 of 2 minima are not Ac-Ala-NHMe (stereo)")
    assert "2 minima" in out
