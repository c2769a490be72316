"""`topokrates plot`: every option reaches the drawing, and JSON is the tree as data."""

import json

import numpy as np
import pytest

from topokrates.cli import app as cli
from topokrates.landscape import Landscape
from topokrates.molecule import Molecule
from topokrates.storage.records import Link, Minimum, VibrationRecord

LJ = {"name": "LJ", "units": {"energy": "epsilon", "length": "sigma"}, "version": "1"}


@pytest.fixture
def database(tmp_path):
    """Five minima of a cluster: 1 and 2 close, 4 behind an estimate, 5 alone."""
    path = tmp_path / "LJ5.db"
    molecule = Molecule.from_text("LJ5")
    rows = [
        Minimum(n, energy, molecule.positions * (1 + 0.1 * n), 1e-6, 1.0, n)
        for n, energy in enumerate((-9.0, -8.8, -8.0, -7.0, -6.5), 1)
    ]
    links = [
        Link(n, ends, energy, molecule.positions, verified)
        for n, (ends, energy, verified) in enumerate(
            [((1, 2), -8.7, True), ((1, 3), -6.0, True), ((3, 4), -6.2, False)], 1
        )
    ]
    with Landscape.create(molecule, LJ, path) as landscape:
        landscape.store.fill(rows, links)
    return path


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = cli.main(["plot", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def tree(run, database):
    """The JSON that the command prints with some options."""

    def tree(*options):
        code, out, err = run(database, "--json", *options)
        assert (code, err) == (0, "")
        return json.loads(out)

    return tree


def test_json_is_the_tree_in_the_unit_of_the_database(tree, tmp_path):
    found = tree("--spacing", "1")
    assert list(found) == [
        "unit",
        "levels",
        "minima_drawn",
        "minima_hidden",
        "components",
        "branches",
    ]
    assert found == {
        "unit": "epsilon",
        "levels": [-8.0, -7.0, -6.0],
        "minima_drawn": 5,
        "minima_hidden": 0,
        "components": 2,
        "branches": [
            {"minimum": 1, "energy": -9.0, "joins_at": -8.0},
            {"minimum": 2, "energy": -8.8, "joins_at": -8.0},
            {"minimum": 3, "energy": -8.0, "joins_at": -6.0},
            {"minimum": 4, "energy": -7.0, "joins_at": -6.0},
            {"minimum": 5, "energy": -6.5, "joins_at": None},
        ],
    }
    assert [path.name for path in tmp_path.iterdir()] == ["LJ5.db"]


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        (("--lowest", "2"), [1, 2]),
        (("--window", "1.5"), [1, 2, 3]),
        (("--trim-monotonic",), [1, 5]),
        (("--min-degree", "1"), [1, 2, 3, 4]),
        (("--min-degree", "2"), [1, 3]),
        (("--persistence", "0.5"), [1, 3, 4, 5]),
        (("--persistence", "0.5", "--lowest", "3"), [1, 3, 4]),
    ],
)
def test_trimming(tree, options, drawn):
    found = tree(*options)
    assert [branch["minimum"] for branch in found["branches"]] == drawn
    assert (found["minima_drawn"], found["minima_hidden"]) == (len(drawn), 5 - len(drawn))


def test_free_energies_show_progress_once_and_refuse_before_they_are_computed(
    run, database, monkeypatch
):
    computed = []
    from topokrates.analysis import harmonics

    def vibrations(landscape, potential, row):
        computed.append(row.id)
        kind = "link" if isinstance(row, Link) else "minimum"
        modes = np.ones(9) if kind == "minimum" else np.array([-1.0] + [1.0] * 8)
        return VibrationRecord(kind, row.id, modes, np.ones(3), "C1", 1, 1, True)

    monkeypatch.setattr(harmonics, "_computed", vibrations)
    for wrong in (("--unit", "eV"), ("--style", "x"), ("--font", "x"), ("--labels", "x")):
        code, _, err = run(database, "--free-energy-at", "0.1", "-o", "a.svg", *wrong)
        assert (code, err.count("\n"), computed) == (2, 1, [])
    code, _, err = run(database, "--free-energy-at", "0.1", "-o", "a.svg")
    assert code == 0
    assert "frequencies 7/7" in err  # five minima, two transition states
    assert len(computed) == 7
    code, _, err = run(database, "--free-energy-at", "0.1", "-o", "a.svg")
    assert (code, err, len(computed)) == (0, "", 7)


def test_the_order_changes_nothing_in_the_data(tree):
    plain = tree("--levels", "7")
    assert len(plain["levels"]) == 7
    for options in (("--order", "energy"), ("--order", "q6"), ("--metric", "radius-of-gyration")):
        assert tree("--levels", "7", *options) == plain


def test_pictures_differ_where_the_options_do(run, database, tmp_path):
    looks = [
        (),
        ("--order", "radius-of-gyration"),
        ("--metric", "radius-of-gyration"),
        ("--colour", "radius-of-gyration"),
        ("--colour", "component"),
        ("--style", "slides"),
        ("--style", "plain"),
        ("--labels", "none"),
        ("--font", "DejaVu Serif"),
        ("--font-size", "12"),
        ("--width", "3"),
    ]
    pictures = []
    for number, options in enumerate(looks):
        path = tmp_path / f"{number}.svg"
        assert run(database, "-o", path, *options) == (0, f"{path}\n", "")
        pictures.append(path.read_text())
    assert len(set(pictures)) == len(looks)
    assert "Radius of gyration (sigma)" in pictures[2]
    assert "Component: 2" in pictures[4]


def test_a_page_and_json_together(run, database, tmp_path):
    path = tmp_path / "page.html"
    code, out, _ = run(database, "-o", path, "--json", "--lowest", "3", "--colour", "visits")
    assert code == 0
    assert json.loads(out)["minima_drawn"] == 3
    assert "2 more hidden" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--order", "beauty"), "choose one of size, energy, radius-of-gyration"),
        (("--colour", "phi"), "visits, component"),
        (("--metric", "phi"), "choose one of radius-of-gyration"),
        (("--unit", "kcal/mol", "-o", "a.svg"), "choose epsilon"),
        (("--unit", "epsilon", "--json"), "-o"),
        (("--style", "paper"), "pictures"),
        (("--style", "x", "-o", "a.svg"), "paper, slides, plain"),
        (("--font", "No Such Font", "-o", "a.svg"), "not installed"),
        (("--labels", "x", "-o", "a.svg"), "angles, ids, none"),
        (("--persistence", "-1"), "persistence"),
        (("--window", "nan"), "window must be at least 0"),
        (("--free-energy-at", "0"), "above 0"),
        (("--min-degree", "-1"), "degree"),
        (("--spacing", "x"), "not a number"),
        (("--spacing", "1", "--levels", "2"), "not both"),
        (("--color", "q6"), "--color"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(run, database, tmp_path, options, says):
    code, out, err = run(database, *options)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert [path.name for path in tmp_path.iterdir()] == ["LJ5.db"]
