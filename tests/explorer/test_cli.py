"""The command line: what it prints where, its exit codes, and that nothing is lost."""

import inspect
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule as ase_molecule

from topokrates.cli import app as cli
from topokrates.model import so3lr, weights

COMMANDS = ("explore", "show", "plot", "export", "import", "relax", "evaluate", "models")
MINIMUM_KEYS = {
    "id",
    "energy",
    "relative_kcal_mol",
    "visits",
    "max_force",
    "lowest_eigenvalue",
    "phi_psi",
}
LANDSCAPE_KEYS = {
    "molecule",
    "formula",
    "potential",
    "units",
    "minima",
    "links",
    "connected_components",
    "searches",
    "connection",
}
# Wales's database: all minima of LJ7
LJ7_MINIMA = [-16.505384, -15.935043, -15.593211, -15.533060]
LJ7 = ("explore", "LJ7", "--quenches", "40", "--no-connect", "--json")


@pytest.fixture
def refused(run):
    """Runs a command line that must be refused in one line, and returns that line."""

    def refused(*arguments: str | Path) -> str:
        result = run(*arguments)
        assert result.code == 2
        assert result.out == ""
        assert result.err.count("\n") == 1, result.err
        assert result.err.endswith("\n")
        assert result.err.startswith("topokrates: ")
        assert not set("╭╮╰╯│").intersection(result.err)
        return result.err

    return refused


@pytest.fixture(scope="module")
def lj7(tmp_path_factory, topokrates) -> Path:
    """A database with the minima of LJ7, made in a process of its own."""
    folder = tmp_path_factory.mktemp("lj7")
    done = topokrates(*LJ7, cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "out.json").write_text(done.stdout)
    (folder / "log").write_text(done.stderr)
    return folder / "LJ7.db"


def needs_so3lr() -> None:
    if not (weights.cache_folder() / "so3lr.safetensors").is_file() and not so3lr.installed():
        pytest.skip("the weights of SO3LR are not on this machine")


# --- help ---------------------------------------------------------------------------------------


def test_help_imports_nothing_heavy():
    code = (
        "import sys, topokrates.cli.app; topokrates.cli.app.main(['explore', '--help']);"
        "print({'jax', 'numpy', 'rdkit', 'ase', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(run, command):
    result = run(command, "--help")
    assert result.code == 0
    assert result.err == ""
    assert result.out.startswith(f"Usage: topokrates {command}")
    assert command in run("--help").out


def test_defaults_are_those_of_the_api():
    from topokrates.exploration import explore

    of_api = inspect.signature(explore).parameters
    of_cli = inspect.signature(cli.explore).parameters
    for name in ("model", "searcher", "walkers", "quenches", "seed", "dtype", "device", "threads"):
        assert of_cli[name].default == of_api[name].default


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (("explore", "Ac-Alb-NHMe"), "Alb"),
        (("explore", "smiles:CC("), "CC("),
        (("explore", "LJ1"), "LJ1"),
        (("explore", "nothing-here.xyz"), "nothing-here.xyz"),
        (("explore", "LJ7", "--walkers", "0"), "0 walkers"),
        (("explore", "LJ7", "--walkers", "-2"), "-2 walkers"),
        (("explore", "LJ7", "--walkers", "many"), "'many'"),
        (("explore", "LJ7", "--quenches", "-1"), "-1 quenches"),
        (("explore", "LJ7", "--seed", "-1"), "seed -1"),
        (("explore", "LJ7", "--searcher", "luck"), "luck"),
        (("explore", "LJ7", "--model", "xyzzy"), "xyzzy"),
        (("explore", "LJ7", "--dtype", "float16"), "float16"),
        (("explore", "LJ7", "--device", "abacus"), "abacus"),
        (("explore", "LJ7", "--threads", "0"), "0 threads"),
        (("explore", "LJ7", "--long-range-cutoff", "far"), "far"),
        (("explore", "LJ7", "--long-range-cutoff", "nan"), "nan"),
        (("explore", "LJ7", "--database", "/proc/nowhere/x.db"), "/proc/nowhere"),
        (("explore", "LJ7", "--database", "missing/x.db"), "missing"),
        (("explore", "LJ7", "--database", "x.html"), "x.html"),
        (("explore", "LJ7", "--walker", "2"), "--walker"),
        (("explore", "LJ7", "LJ8"), "LJ8"),
        (("explore",), "MOLECULE"),
        (("explode",), "explode"),
        (("--nonsense",), "--nonsense"),
        (("show", "missing.db"), "missing.db"),
        (("plot", "missing.db"), "missing.db"),
        (("plot", "missing.db", "-o", "x.gif"), "x.gif"),
        (("export", "missing.db", "--format", "cif"), "cif"),
        (("relax", "missing.xyz"), "missing.xyz"),
        (("evaluate", "missing.xyz"), "missing.xyz"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(refused, tmp_path, arguments, culprit):
    assert culprit in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_an_element_that_the_model_does_not_know_is_named(refused):
    needs_so3lr()
    assert "Se" in refused("explore", "smiles:C[SeH]")


def test_a_file_is_no_folder(refused, tmp_path):
    (tmp_path / "file").write_text("")
    assert "file" in refused("explore", "LJ7", "--database", tmp_path / "file" / "x.db")


@pytest.mark.parametrize("command", ["explore", "relax", "evaluate"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01 no structure", None])
def test_unreadable_structures_are_named(refused, tmp_path, command, content):
    path = tmp_path / "broken.xyz"
    path.mkdir() if content is None else path.write_bytes(content)
    assert "broken.xyz" in refused(command, path)


@pytest.mark.parametrize("command", ["explore", "relax", "evaluate"])
@pytest.mark.parametrize("where", [[np.nan, 0, 0], [0, 0, 1e-4]])
def test_bad_coordinates_name_file_and_frame(refused, tmp_path, command, where):
    good, bad = ase_molecule("H2O"), ase_molecule("H2O")
    bad.positions[1] = bad.positions[0] + where
    ase.io.write(tmp_path / "water.xyz", [good, bad], format="extxyz")
    line = refused(command, tmp_path / "water.xyz", "--model", "ase:ase.calculators.emt:EMT")
    assert "water.xyz" in line
    assert command == "explore" or "frame 1" in line


@pytest.mark.parametrize(
    ("info", "culprit"),
    [
        ({"charge": 0.5}, "charge"),
        ({"unpaired_electrons": 1}, "1 unpaired"),
        ({"multiplicity": 2}, "1 unpaired"),
        ({"spin": 2}, "spin"),
    ],
)
def test_impossible_charge_and_spin_are_refused(refused, tmp_path, info, culprit):
    atoms = ase_molecule("H2O")
    atoms.info |= info
    ase.io.write(tmp_path / "ion.xyz", atoms, format="extxyz")
    line = refused("evaluate", tmp_path / "ion.xyz", "--model", "ase:ase.calculators.emt:EMT")
    assert culprit in line
    assert "ion.xyz, frame 0" in line


def test_a_periodic_cell_is_refused(refused, tmp_path):
    crystal = Atoms("Cu4", positions=np.eye(4, 3) * 2, cell=[9, 9, 9], pbc=True)
    ase.io.write(tmp_path / "crystal.xyz", crystal, format="extxyz")
    line = refused("evaluate", tmp_path / "crystal.xyz", "--model", "ase:ase.calculators.emt:EMT")
    assert "periodic" in line


@pytest.mark.parametrize("command", ["show", "plot", "export"])
def test_a_corrupt_database_is_named(refused, lj7, tmp_path, command):
    broken = tmp_path / "broken.db"
    data = lj7.read_bytes()
    for content in (b"no database at all", b"", data[: len(data) // 2]):
        broken.write_bytes(content)
        assert "broken.db" in refused(command, broken)
        assert broken.read_bytes() == content


def test_a_database_of_another_molecule_is_refused(refused, lj7):
    before = lj7.read_bytes()
    line = refused("explore", "LJ8", "--database", lj7)
    assert "LJ7" in line
    assert "LJ8" in line
    assert lj7.read_bytes() == before


class _Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_malicious_weights_file_is_refused_and_not_executed(refused, tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.model", "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps(_Malicious(), protocol=2))
    line = refused("explore", "Ac-Ala-NHMe", "--model", tmp_path / "bad.model")
    assert "bad.model" in line
    assert "system" in line
    assert not (tmp_path / "executed").exists()


def test_a_truncated_weights_file_is_refused(refused, tmp_path):
    needs_so3lr()
    cached = weights.cache_folder() / "so3lr.safetensors"
    if not cached.is_file():
        pytest.skip("installed, not cached")
    (tmp_path / "cut.safetensors").write_bytes(cached.read_bytes()[:100_000])
    line = refused("explore", "Ac-Ala-NHMe", "--model", tmp_path / "cut.safetensors")
    assert "cut.safetensors" in line


def test_control_characters_in_a_name_stay_on_the_line(refused):
    assert "\x1b" not in refused("explore", "no\x1b[31m\nthing.xyz")


# --- the main job -------------------------------------------------------------------------------


def test_explore_finds_the_minima_of_lj7(lj7):
    found = json.loads((lj7.parent / "out.json").read_text())
    assert set(found) == LANDSCAPE_KEYS
    assert found["units"] == {
        "energy": "epsilon",
        "force": "epsilon/sigma",
        "eigenvalue": "epsilon/sigma^2",
    }
    assert all(set(minimum) == MINIMUM_KEYS for minimum in found["minima"])
    energies = [minimum["energy"] for minimum in found["minima"]]
    np.testing.assert_allclose(energies, LJ7_MINIMA, atol=1e-6)
    assert all(minimum["relative_kcal_mol"] is None for minimum in found["minima"])
    assert all(minimum["lowest_eigenvalue"] > 0 for minimum in found["minima"])
    assert sum(minimum["visits"] for minimum in found["minima"]) == 40
    assert (found["connected_components"], found["links"]) == (4, [])
    assert found["searches"][0]["quenches_done"] == 40
    page = (lj7.parent / "LJ7.html").read_text()
    assert "LJ7" in page
    assert "Plotly.newPlot" in page


def test_the_log_is_made_of_plain_lines(lj7):
    log = (lj7.parent / "log").read_text().splitlines()
    assert all(re.match(r"\[\d+:\d\d\] (search|page)", line) for line in log)
    assert any("40/40" in line for line in log)
    assert len(log) < 40


def test_a_finished_search_says_so_and_changes_nothing(lj7, topokrates):
    again = topokrates(*LJ7, cwd=lj7.parent)
    assert again.returncode == 0
    assert again.stdout == (lj7.parent / "out.json").read_text()
    assert "already" in again.stderr


def test_show_prints_what_explore_printed(run, lj7):
    result = run("show", lj7, "--json")
    assert (result.code, result.err) == (0, "")
    assert result.out == (lj7.parent / "out.json").read_text()


def test_show_prints_whole_tables_in_80_columns(run, lj7, monkeypatch):
    wide = run("show", lj7).out
    monkeypatch.setenv("COLUMNS", "20")
    narrow = run("show", lj7).out
    assert narrow == wide
    assert max(map(len, wide.splitlines()[2:])) <= 80
    assert "…" not in wide
    for energy in LJ7_MINIMA:
        assert f"{energy:.6f}" in wide


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_plot_writes_by_the_suffix(run, lj7, tmp_path, name, start):
    result = run("plot", lj7, "-o", tmp_path / name)
    assert (result.code, result.err) == (0, "")
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_bigger_picture_is_bigger(run, lj7, tmp_path):
    from matplotlib.image import imread

    run("plot", lj7, "-o", tmp_path / "a.png", "--width", "4", "--height", "2", "--dpi", "100")
    assert imread(tmp_path / "a.png").shape[:2] == (200, 400)


def test_plot_and_export_never_replace_the_database(run, refused, lj7, tmp_path):
    copy = tmp_path / "copy.html"
    copy.write_bytes(lj7.read_bytes())
    assert "copy.html" in refused("plot", copy)
    assert "copy.html" in refused("export", copy, "-o", copy)
    assert copy.read_bytes() == lj7.read_bytes()


def test_export_writes_frames_with_energies(run, lj7, tmp_path):
    assert run("export", lj7, "--format", "extxyz", "-o", tmp_path / "a.xyz").code == 0
    frames = ase.io.read(tmp_path / "a.xyz", ":")
    energies = [frame.get_potential_energy() for frame in frames]
    np.testing.assert_allclose(energies, LJ7_MINIMA, atol=1e-6)


def test_models_are_listed(run):
    listed = json.loads(run("models", "--json").out)
    assert all(set(row) == {"name", "found", "elements", "licence", "citation"} for row in listed)
    text = run("models").out
    from topokrates.model import models

    assert [row["name"] for row in listed] == models.names()
    assert all(name in text for name in models.names())


def test_an_interrupt_says_where_everything_is(run, monkeypatch):
    def interrupted(*_, **__):
        Path("LJ7.db").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("topokrates.exploration.explore", interrupted)
    result = run("explore", "LJ7")
    assert result.code == 130
    assert result.out == ""
    assert "LJ7.db" in result.err
    assert result.err.count("\n") == 1


def test_a_reader_that_leaves_is_no_error(lj7, topokrates):
    with subprocess.Popen(
        topokrates.command("show", str(lj7), "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
