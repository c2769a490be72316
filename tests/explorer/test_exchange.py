"""Import and export: what comes back, and what an imported landscape is good for."""

from pathlib import Path

import numpy as np
import pytest

from topokrates import exchange
from topokrates.cli import app as cli
from topokrates.exchange.pathsample import moments_of_inertia
from topokrates.landscape import KCAL_MOL_PER_EV, Landscape
from topokrates.molecule import Molecule

EV = {"name": "so3lr", "units": {"energy": "eV", "length": "Å"}}
FORMATS = exchange.FORMATS


@pytest.fixture(scope="module")
def water():
    return Molecule.from_text("smiles:O")


@pytest.fixture(scope="module")
def energies(rows):
    def energies(landscape):
        minima, links = rows(landscape)
        return [m["energy"] for m, _ in minima], [(x["minima"], x["energy"]) for x, _ in links]

    return energies


# what comes back


@pytest.mark.parametrize("format", ["json", "pele"])
def test_everything_comes_back_to_the_bit(made_lj4, tmp_path, format, rows):
    exchange.export(made_lj4, tmp_path / "out", format)
    with exchange.read(tmp_path / "out", format, "LJ4", tmp_path / "new.db") as back:
        assert rows(back) == rows(made_lj4)
    with Landscape.open(tmp_path / "new.db") as again:
        assert rows(again) == rows(made_lj4)


def test_extxyz_rounds_positions_alone(made_lj4, tmp_path, rows):
    exchange.export(made_lj4, tmp_path / "out", "extxyz")
    with exchange.read(tmp_path / "out", "extxyz", "LJ4") as back:
        for found, ours in zip(rows(back), rows(made_lj4), strict=True):
            assert [row for row, _ in found] == [row for row, _ in ours]
            for (_, a), (_, b) in zip(found, ours, strict=True):
                np.testing.assert_allclose(np.frombuffer(a), np.frombuffer(b), atol=1e-8)


def test_pathsample_brings_estimates_back(made_lj4, tmp_path, rows, energies):
    notes = exchange.export(made_lj4, tmp_path / "out", "pathsample")
    assert any("epsilon" in note for note in notes)
    assert "epsilon" in (tmp_path / "out" / "units.txt").read_text()
    with exchange.read(tmp_path / "out", "pathsample", "LJ4") as back:
        assert energies(back) == energies(made_lj4)
        for found, ours in zip(rows(back), rows(made_lj4), strict=True):
            assert [x for _, x in found] == [x for _, x in ours]
        assert not any(link.verified for link in back.link_list)
        assert all(m.max_force is m.lowest_eigenvalue is None for m in back.minimum_list)
        assert {m.visits for m in back.minimum_list} == {1}
        assert exchange.export(back, tmp_path / "two", "pathsample")
    for name in ("min.data", "ts.data", "points.min", "points.ts"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize("format", FORMATS)
def test_molecules_in_ev_come_back_too(water, tmp_path, format, energies, made):
    with made(water, EV) as ours:
        exchange.export(ours, tmp_path / "out", format)
        with exchange.read(tmp_path / "out", format, water) as back:
            assert energies(back) == energies(ours)
            assert back.energy_unit == "eV"


def test_the_columns_of_pathsample(made_lj4, lj4, tmp_path, positions):
    exchange.export(made_lj4, tmp_path / "out", "pathsample")
    first = (tmp_path / "out" / "min.data").read_text().split("\n")[0].split()
    assert [float(first[0]), *first[1:3]] == [-1 / 3, "1.0", "1"]
    moments = moments_of_inertia(positions(lj4, 0), lj4.numbers)
    np.testing.assert_allclose(np.array(first[3:], float), moments, atol=1e-9)
    lines = (tmp_path / "out" / "ts.data").read_text().splitlines()
    assert [line.split()[3:5] for line in lines] == [["1", "2"], ["2", "3"], ["3", "3"]]
    raw = np.fromfile(tmp_path / "out" / "points.ts", "<f8").reshape(3, 4, 3)
    assert (raw[1] == positions(lj4, 11)).all()


def test_moments_of_inertia_of_a_square_of_unit_masses():
    square = np.array([[1, 0, 5], [0, 1, 5], [-1, 0, 5], [0, -1, 5.0]])
    found = moments_of_inertia(square, np.zeros(4, int))
    np.testing.assert_allclose(found, [2, 2, 4], atol=1e-12)


@pytest.mark.parametrize("name", ["LJ38", "Ac-Gly-NHMe"])
def test_energies_and_links_are_enough(dps, tmp_path, capsys, name, refusal, rows, energies):
    molecule = Molecule.from_text(name)
    with exchange.read(dps, "pathsample", molecule, tmp_path / "a.db") as back:
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


def test_points_in_either_byte_order(made_lj4, tmp_path, rows):
    exchange.export(made_lj4, tmp_path / "out", "pathsample")
    points = tmp_path / "out" / "points.min"
    points.write_bytes(np.fromfile(points, "<f8").astype(">f8").tobytes())
    with exchange.read(tmp_path / "out", "pathsample", "LJ4") as back:
        assert [x for _, x in rows(back)[0]] == [x for _, x in rows(made_lj4)[0]]


def test_units_are_converted(dps, water, refusal, energies):
    with exchange.read(dps, "pathsample", water, unit="kcal/mol") as back:
        assert energies(back)[0][1] == pytest.approx(-2.5 / KCAL_MOL_PER_EV, rel=1e-14)
    message = refusal(exchange.read, dps, "pathsample", "LJ4", unit="kcal/mol")
    assert "epsilon" in message
    assert "calorie" in refusal(exchange.read, dps, "pathsample", water, unit="calorie")


def test_minima_are_not_merged(tmp_path, positions):
    folder = tmp_path / "dps"
    folder.mkdir()
    (folder / "min.data").write_text("-1.0 1.0 1 1 1 1\n" * 2)
    np.tile(positions(Molecule.from_text("LJ4"), 0), (2, 1)).tofile(folder / "points.min")
    with exchange.read(folder, "pathsample", "LJ4") as back:
        assert len(back) == 2


# what an imported landscape is good for


@pytest.mark.parametrize("format", ["pele", "extxyz", "pathsample"])
def test_no_potential_continues_what_was_imported(made_lj4, lj4, tmp_path, format, refusal):
    lj = made_lj4.provenance
    exchange.export(made_lj4, tmp_path / "out", format)
    path = tmp_path / "new.db"
    with exchange.read(tmp_path / "out", format, lj4, path) as back:
        said = {"name": "imported", "format": format, "source": "out", "units": lj["units"]}
        assert back.provenance == (said if format == "pathsample" else said | {"potential": "LJ"})
    message = refusal(Landscape.create, lj4, lj, path)
    assert f"imported from out ({format})" in message


def test_json_goes_on_with_its_own_potential_alone(made_lj4, lj4, tmp_path, refusal, rows):
    lj = made_lj4.provenance
    exchange.export(made_lj4, tmp_path / "out", "json")
    exchange.read(tmp_path / "out", "json", None, tmp_path / "new.db").close()
    other = lj | {"cutoff": 3.0}
    assert "cutoff" in refusal(Landscape.create, lj4, other, tmp_path / "new.db")
    with Landscape.create(lj4, lj | {"version": "2"}, tmp_path / "new.db") as back:
        assert rows(back) == rows(made_lj4)


def test_the_commands(dps, tmp_path, capsys, monkeypatch):
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
