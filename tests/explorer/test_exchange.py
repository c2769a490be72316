"""Import and export: what comes back, what is refused, and that nothing is left half-written."""

import json
import os
import pickle
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from topokrates import cli, exchange, sqlite
from topokrates.exchange.pathsample import moments_of_inertia
from topokrates.landscape import KCAL_MOL_PER_EV, Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule

LJ = {"name": "LJ", "units": {"energy": "epsilon", "length": "sigma"}, "version": "1"}
EV = {"name": "so3lr", "units": {"energy": "eV", "length": "Å"}}
FORMATS = exchange.FORMATS


@pytest.fixture(scope="module")
def cluster():
    return Molecule.from_text("LJ4")


@pytest.fixture(scope="module")
def water():
    return Molecule.from_text("smiles:O")


def positions(molecule, seed):
    return np.random.default_rng(seed).normal(size=(molecule.n_atoms, 3))


def made(molecule, provenance, database=None):
    """Three minima, a transition state, a degenerate one, and an estimate."""
    landscape = Landscape.create(molecule, provenance, database)
    for k, energy in enumerate([-1 / 3, -2 / 3, 0.1 + 0.2]):
        landscape.add_minimum(energy, positions(molecule, k), 1e-5 / 3, 0.1 + k)
    landscape.visit(2)
    landscape.add_link((1, 2), 1 / 7, positions(molecule, 10), True, 1e-6, 1, -1 / 3)
    landscape.add_link((3, 2), 5 / 7, positions(molecule, 11), False)
    landscape.add_link((3, 3), 6 / 7, positions(molecule, 12), True)
    return landscape


@pytest.fixture
def landscape(cluster, tmp_path):
    with made(cluster, LJ, tmp_path / "ours.db") as landscape:
        yield landscape


@pytest.fixture
def folder(tmp_path):
    """A PATHSAMPLE folder without coordinates, as another program would write it."""
    folder = tmp_path / "dps"
    folder.mkdir()
    (folder / "min.data").write_text(
        "      -3.0000000001        1.5    6       1.0  1.0   1.0\n-2.5D0,1.25,1,1.0,1.0,1.0\n\n"
    )
    (folder / "ts.data").write_text("-2.0 1.0 1 2 1 1.0 1.0 1.0\n-1.5 1.0 1 2 2 1.0 1.0 1.0\n")
    return folder


def rows(landscape):
    """All fields of minima and links, by id; positions as bytes."""

    def plain(row):
        values = {field.name: getattr(row, field.name) for field in fields(row)}
        x = values.pop("positions")
        return values, None if x is None else x.tobytes()

    minima, links = landscape.contents()
    by_id = [sorted(found, key=lambda row: row.id) for found in (minima, links)]
    return [[plain(row) for row in found] for found in by_id]


def energies(landscape):
    minima, links = rows(landscape)
    return [m["energy"] for m, _ in minima], [(x["minima"], x["energy"]) for x, _ in links]


def refusal(action, *arguments, **options):
    with pytest.raises(InputError) as error:
        action(*arguments, **options)
    message = str(error.value)
    assert "\n" not in message
    return message


# what comes back


@pytest.mark.parametrize("format", ["json", "pele"])
def test_everything_comes_back_to_the_bit(landscape, tmp_path, format):
    exchange.export(landscape, tmp_path / "out", format)
    with exchange.read(tmp_path / "out", format, "LJ4", tmp_path / "new.db") as back:
        assert rows(back) == rows(landscape)
    with Landscape.open(tmp_path / "new.db") as again:
        assert rows(again) == rows(landscape)


def test_extxyz_rounds_positions_alone(landscape, tmp_path):
    exchange.export(landscape, tmp_path / "out", "extxyz")
    with exchange.read(tmp_path / "out", "extxyz", "LJ4") as back:
        for found, ours in zip(rows(back), rows(landscape), strict=True):
            assert [row for row, _ in found] == [row for row, _ in ours]
            for (_, a), (_, b) in zip(found, ours, strict=True):
                np.testing.assert_allclose(np.frombuffer(a), np.frombuffer(b), atol=1e-8)


def test_pathsample_brings_estimates_back(landscape, tmp_path):
    notes = exchange.export(landscape, tmp_path / "out", "pathsample")
    assert any("epsilon" in note for note in notes)
    assert "epsilon" in (tmp_path / "out" / "units.txt").read_text()
    with exchange.read(tmp_path / "out", "pathsample", "LJ4") as back:
        assert energies(back) == energies(landscape)
        for found, ours in zip(rows(back), rows(landscape), strict=True):
            assert [x for _, x in found] == [x for _, x in ours]
        assert not any(link.verified for link in back.link_list)
        assert all(m.max_force is m.lowest_eigenvalue is None for m in back.minimum_list)
        assert {m.visits for m in back.minimum_list} == {1}
        assert exchange.export(back, tmp_path / "two", "pathsample")
    for name in ("min.data", "ts.data", "points.min", "points.ts"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_molecules_in_ev_come_back_too(water, tmp_path, format):
    with made(water, EV) as ours:
        exchange.export(ours, tmp_path / "out", format)
        with exchange.read(tmp_path / "out", format, water) as back:
            assert energies(back) == energies(ours)
            assert back.energy_unit == "eV"


def test_the_columns_of_pathsample(landscape, cluster, tmp_path):
    exchange.export(landscape, tmp_path / "out", "pathsample")
    first = (tmp_path / "out" / "min.data").read_text().split("\n")[0].split()
    assert [float(first[0]), *first[1:3]] == [-1 / 3, "1.0", "1"]
    moments = moments_of_inertia(positions(cluster, 0), cluster.numbers)
    np.testing.assert_allclose(np.array(first[3:], float), moments, atol=1e-9)
    lines = (tmp_path / "out" / "ts.data").read_text().splitlines()
    assert [line.split()[3:5] for line in lines] == [["1", "2"], ["2", "3"], ["3", "3"]]
    raw = np.fromfile(tmp_path / "out" / "points.ts", "<f8").reshape(3, 4, 3)
    assert (raw[1] == positions(cluster, 11)).all()


def test_moments_of_inertia_of_a_square_of_unit_masses():
    square = np.array([[1, 0, 5], [0, 1, 5], [-1, 0, 5], [0, -1, 5.0]])
    found = moments_of_inertia(square, np.zeros(4, int))
    np.testing.assert_allclose(found, [2, 2, 4], atol=1e-12)


@pytest.mark.parametrize("name", ["LJ38", "Ac-Gly-NHMe"])
def test_energies_and_links_are_enough(folder, tmp_path, capsys, name):
    molecule = Molecule.from_text(name)
    with exchange.read(folder, "pathsample", molecule, tmp_path / "a.db") as back:
        assert energies(back) == ([-3.0000000001, -2.5], [((1, 2), -2.0), ((2, 2), -1.5)])
        assert all(row.positions is None for row in (*back.minimum_list, *back.link_list))
        assert len(back.disconnectivity_graph().components) == 1
        for format in ("json", "pele", "pathsample"):
            exchange.export(back, tmp_path / format, format)
            with exchange.read(tmp_path / format, format, molecule) as again:
                assert rows(again) == rows(back)
        for minimum in back.to_dict()["minima"]:
            assert all(pair == [None, None] for pair in minimum["phi_psi"])
        assert "positions" in refusal(exchange.export, back, tmp_path / "x", "extxyz")
        assert not (tmp_path / "x").exists()
    for command in (["show"], ["show", "--json"], ["plot", "-o", str(tmp_path / "a.svg")]):
        assert cli.main([command[0], str(tmp_path / "a.db"), *command[1:]]) == 0
    assert cli.main(["plot", str(tmp_path / "a.db"), "-o", str(tmp_path / "a.html")]) == 0
    capsys.readouterr()


def test_points_in_either_byte_order(landscape, tmp_path):
    exchange.export(landscape, tmp_path / "out", "pathsample")
    points = tmp_path / "out" / "points.min"
    points.write_bytes(np.fromfile(points, "<f8").astype(">f8").tobytes())
    with exchange.read(tmp_path / "out", "pathsample", "LJ4") as back:
        assert [x for _, x in rows(back)[0]] == [x for _, x in rows(landscape)[0]]


def test_units_are_converted(folder, water):
    with exchange.read(folder, "pathsample", water, unit="kcal/mol") as back:
        assert energies(back)[0][1] == pytest.approx(-2.5 / KCAL_MOL_PER_EV, rel=1e-14)
    message = refusal(exchange.read, folder, "pathsample", "LJ4", unit="kcal/mol")
    assert "epsilon" in message
    assert "calorie" in refusal(exchange.read, folder, "pathsample", water, unit="calorie")


def test_minima_are_not_merged(tmp_path):
    folder = tmp_path / "dps"
    folder.mkdir()
    (folder / "min.data").write_text("-1.0 1.0 1 1 1 1\n" * 2)
    np.tile(positions(Molecule.from_text("LJ4"), 0), (2, 1)).tofile(folder / "points.min")
    with exchange.read(folder, "pathsample", "LJ4") as back:
        assert len(back) == 2


# pele

PELE = """
    CREATE TABLE tbl_minima (_id INTEGER NOT NULL, energy FLOAT, coords BLOB, fvib FLOAT,
        pgorder INTEGER, invalid INTEGER, user_data BLOB, PRIMARY KEY (_id));
    CREATE TABLE tbl_transition_states (_id INTEGER NOT NULL, energy FLOAT, coords BLOB,
        _minimum1_id INTEGER, _minimum2_id INTEGER, eigenval FLOAT, eigenvec BLOB, fvib FLOAT,
        pgorder INTEGER, invalid INTEGER, user_data BLOB, PRIMARY KEY (_id));
    CREATE TABLE tbl_system_property (_id INTEGER NOT NULL, property_name VARCHAR,
        int_value INTEGER, float_value FLOAT, string_value VARCHAR, pickle_value BLOB,
        PRIMARY KEY (_id));
    PRAGMA user_version = 2;
"""
# np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) as Python 2 and its numpy pickled it
OLD_ARRAY = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87R"
    b"(K\x01K\x06\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
    b"J\xff\xff\xff\xffK\x00tb\x89U0" + np.arange(1.0, 7.0).tobytes() + b"tb."
)


def of_pele(path, minima, states=()):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(PELE)
        sql = "INSERT INTO tbl_minima (_id, energy, coords, invalid) VALUES (?, ?, ?, ?)"
        connection.executemany(sql, minima)
        connection.executemany(
            "INSERT INTO tbl_transition_states (energy, coords, _minimum1_id, _minimum2_id,"
            " eigenval, invalid) VALUES (?, ?, ?, ?, ?, 0)",
            states,
        )
        connection.commit()
    return path


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_database_of_pele_is_read(tmp_path, protocol):
    x = np.random.default_rng(0).normal(size=(5, 6))
    blobs = [pickle.dumps(row, protocol=protocol) for row in x]
    path = of_pele(
        tmp_path / "pele.db",
        [(2, -1.5, blobs[0], 0), (5, -1 / 3, blobs[1], 0), (7, -1, blobs[2], 1)],
        [(0.5, blobs[3], 5, 2, -0.25), (0.75, blobs[4], 5, 7, None)],
    )
    before = path.read_bytes()
    with exchange.read(path, "pele", "LJ2") as back:
        (first, second), (state,) = rows(back)
        assert [first[0]["energy"], second[0]["energy"]] == [-1.5, -1 / 3]
        assert first[1] == x[0].tobytes()
        assert second[1] == x[1].tobytes()
        assert (state[0]["minima"], state[0]["energy"]) == ((1, 2), 0.5)
        assert (state[0]["verified"], state[0]["lowest_eigenvalue"]) == (False, -0.25)
        assert state[1] == x[3].tobytes()
        assert first[0]["max_force"] is first[0]["lowest_eigenvalue"] is None
    assert path.read_bytes() == before


def test_arrays_of_python_2_and_none_at_all(tmp_path):
    nothing = pickle.dumps(np.zeros(1), protocol=2)
    minima = [(1, -1.0, OLD_ARRAY, 0), (2, -0.5, nothing, 0), (3, -0.25, None, 0)]
    with exchange.read(of_pele(tmp_path / "a.db", minima), "pele", "LJ2") as back:
        first, second, third = back.minimum_list
        assert first.positions is not None
        assert first.positions.ravel().tolist() == [1, 2, 3, 4, 5, 6]
        assert second.positions is third.positions is None


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bomb",)


@pytest.mark.parametrize("place", ["coords", "user_data"])
def test_a_pickle_that_runs_code_is_not_run(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    array = pickle.dumps(np.ones(6), protocol=2)
    path = of_pele(tmp_path / "a.db", [(1, -1.0, array, 0)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE tbl_minima SET {place} = ?", (pickle.dumps(Bomb()),))
        connection.commit()
    if place == "coords":
        assert "nothing was run" in refusal(exchange.read, path, "pele", "LJ2", "new.db")
        assert not Path("new.db").exists()
    else:
        exchange.read(path, "pele", "LJ2").close()
    assert os.listdir(tmp_path) == ["a.db"]


def test_what_pele_reads(landscape, cluster, tmp_path):
    exchange.export(landscape, tmp_path / "out", "pele")
    with closing(sqlite3.connect(tmp_path / "out")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        ours = [
            row[1]
            for table in ("tbl_minima", "tbl_transition_states", "tbl_system_property")
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
        coords = connection.execute("SELECT coords FROM tbl_minima WHERE _id = 2").fetchone()[0]
        ends = connection.execute(
            "SELECT _minimum1_id, _minimum2_id, eigenval FROM tbl_transition_states"
        ).fetchall()
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(PELE)
        theirs = [
            row[1]
            for table in ("tbl_minima", "tbl_transition_states", "tbl_system_property")
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
    assert ours == theirs
    array = pickle.loads(coords)  # our own
    assert array.shape == (12,)
    assert (array == positions(cluster, 1).ravel()).all()
    assert ends == [(1, 2, -1 / 3), (2, 3, None), (3, 3, None)]


# what is refused, with nothing left behind


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
def test_damaged_lines_of_pathsample(folder, tmp_path, file, text, expected):
    changed(folder / file, 0, text)
    before = sorted(os.listdir(tmp_path))
    assert expected in refusal(exchange.read, folder, "pathsample", "LJ4", tmp_path / "new.db")
    assert sorted(os.listdir(tmp_path)) == before


def test_folders_that_are_none(folder, tmp_path):
    read = exchange.read
    assert "no such" in refusal(read, tmp_path / "none", "pathsample", "LJ4")
    assert "no min.data" in refusal(read, tmp_path, "pathsample", "LJ4")
    assert "is a file" in refusal(read, folder / "min.data", "pathsample", "LJ4")
    (folder / "min.data").write_text("")
    assert "no minima" in refusal(read, folder, "pathsample", "LJ4")
    assert "xyzzy" in refusal(read, folder, "xyzzy", "LJ4")
    assert "pathsample" in refusal(read, folder, "pathsample")


@pytest.mark.parametrize("name", ["points.min", "points.ts"])
def test_points_that_do_not_fit(landscape, tmp_path, name):
    exchange.export(landscape, tmp_path / "out", "pathsample")
    points = tmp_path / "out" / name
    whole = points.read_bytes()
    points.write_bytes(whole[:-5])
    assert name in refusal(exchange.read, tmp_path / "out", "pathsample", "LJ4")
    points.write_bytes(whole[:-8] + np.array([np.nan]).tobytes())
    assert "not finite" in refusal(exchange.read, tmp_path / "out", "pathsample", "LJ4")


@pytest.mark.parametrize("format", FORMATS)
def test_another_molecule_is_refused(landscape, water, tmp_path, format):
    exchange.export(landscape, tmp_path / "out", format)
    for other, name in (("LJ5", "LJ5"), (water, water.name)):
        assert name in refusal(exchange.read, tmp_path / "out", format, other)
    assert sorted(os.listdir(tmp_path)) == ["ours.db", "ours.db-shm", "ours.db-wal", "out"]


@pytest.mark.parametrize("format", ["pele", "extxyz", "json"])
@pytest.mark.parametrize("damage", ["text", "cut", "folder"])
def test_files_that_are_not_of_the_format(landscape, tmp_path, format, damage):
    path = tmp_path / "out"
    exchange.export(landscape, path, format)
    if damage == "folder":
        path = tmp_path
    elif damage == "text":
        path.write_text("no such format\n" * 20)
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert str(path) in refusal(exchange.read, path, format, "LJ4", tmp_path / "new.db")
    assert not (tmp_path / "new.db").exists()


def test_a_document_is_checked(landscape, tmp_path):
    path = tmp_path / "out"
    exchange.export(landscape, path, "json")
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


def test_frames_are_checked(landscape, water, tmp_path):
    path = tmp_path / "out"
    exchange.export(landscape, path, "extxyz")
    text = path.read_text()
    path.write_text(text.replace("minimum_b=2", "minimum_b=9"))
    assert "joins minimum 9" in refusal(exchange.read, path, "extxyz", "LJ4")
    path.write_text(text.replace("id=2", "id=1"))
    assert "id 1" in refusal(exchange.read, path, "extxyz", "LJ4")
    path.write_text("3\nenergy=1.0\nH 0 0 0\nO 1 0 0\nH 0 1 0\n")
    assert "atom 1 is H" in refusal(exchange.read, path, "extxyz", water)
    path.write_text("3\n\nO 0 0 0\nH 1 0 0\nH 0 1 0\n")
    assert "no energy" in refusal(exchange.read, path, "extxyz", water)


def test_an_existing_database_is_not_added_to(folder, landscape, tmp_path):
    before = rows(landscape)
    message = refusal(exchange.read, folder, "pathsample", "LJ4", tmp_path / "ours.db")
    assert "exists already" in message
    assert rows(landscape) == before


def test_exports_replace_no_folder_and_no_database(landscape, folder, tmp_path):
    before = (folder / "min.data").read_bytes()
    assert "exists already" in refusal(exchange.export, landscape, folder, "pathsample")
    assert (folder / "min.data").read_bytes() == before
    for format in ("pele", "json", "extxyz"):
        message = refusal(exchange.export, landscape, tmp_path / "ours.db", format)
        assert "database itself" in message
        place = tmp_path / "none" / "out"
        assert str(place) in refusal(exchange.export, landscape, place, format)
    empty = tmp_path / "empty"
    empty.mkdir()
    exchange.export(landscape, empty, "pathsample")
    assert (empty / "points.ts").stat().st_size == 3 * 12 * 8


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_written_of_nothing(cluster, tmp_path, format):
    with Landscape.create(cluster, LJ) as empty:
        assert "no minima" in refusal(exchange.export, empty, tmp_path / "out", format)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_no_database(folder, tmp_path, monkeypatch):
    (folder / "min.data").write_text("-1.0 1.0 1 1 1 1\n" * 5000)
    connect = sqlite.connect

    def small(path, mode):
        connection = connect(path, mode)
        connection.execute("PRAGMA max_page_count = 20")
        return connection

    monkeypatch.setattr(sqlite, "connect", small)
    before = sorted(os.listdir(tmp_path))
    message = refusal(exchange.read, folder, "pathsample", "LJ4", tmp_path / "new.db")
    assert message.startswith(f"{tmp_path / 'new.db'} cannot grow: the disk is full")
    assert sorted(os.listdir(tmp_path)) == before


# what an imported landscape is good for


@pytest.mark.parametrize("format", ["pele", "extxyz", "pathsample"])
def test_no_potential_continues_what_was_imported(landscape, cluster, tmp_path, format):
    exchange.export(landscape, tmp_path / "out", format)
    path = tmp_path / "new.db"
    with exchange.read(tmp_path / "out", format, cluster, path) as back:
        said = {"name": "imported", "format": format, "source": "out", "units": LJ["units"]}
        assert back.provenance == (said if format == "pathsample" else said | {"potential": "LJ"})
    message = refusal(Landscape.create, cluster, LJ, path)
    assert f"imported from out ({format})" in message


def test_json_goes_on_with_its_own_potential_alone(landscape, cluster, tmp_path):
    exchange.export(landscape, tmp_path / "out", "json")
    exchange.read(tmp_path / "out", "json", None, tmp_path / "new.db").close()
    other = LJ | {"cutoff": 3.0}
    assert "cutoff" in refusal(Landscape.create, cluster, other, tmp_path / "new.db")
    with Landscape.create(cluster, LJ | {"version": "2"}, tmp_path / "new.db") as back:
        assert rows(back) == rows(landscape)


def test_the_commands(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    command = ("import", "dps", "--format", "pathsample", "--molecule", "LJ4", "--database", "a.db")
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert "2 minima" in out
    assert "a.db" in out
    code, out, err = run(*command)
    assert (code, out, err.count("\n")) == (2, "", 1)
    code, out, err = run("explore", "LJ4", "--database", "a.db", "--quenches", "1", "--no-plot")
    assert code == 2
    assert "imported from dps (pathsample)" in err.splitlines()[-1]
    for format in ("json", "pele", "pathsample"):
        assert run("export", "a.db", "--format", format, "-o", f"a.{format}")[:2] == (
            0,
            f"a.{format}\n",
        )
    assert run("export", "a.db", "--format", "json")[1] == "a.json\n"
    code, out, err = run("import", "a.json", "--format", "json", "--database", "b.db")
    assert (code, err) == (0, "")
    assert run("show", "b.db", "--json")[1] == run("show", "a.db", "--json")[1]
    assert run("import", "none", "--format", "json", "--database", "c.db")[0] == 2
    assert not Path("c.db").exists()
