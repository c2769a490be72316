"""Both drawings show the one layout, with units; the page works alone and tells no lies."""

import base64
import json
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest

from topokrates.drawing import pagedata
from topokrates.drawing.disconnectivity import Metric, disconnectivity_tree
from topokrates.drawing.pictures import STYLES, save_static
from topokrates.drawing.plots import tree_figure
from topokrates.drawing.report import report_html, write_report
from topokrates.drawing.scales import LABELS_WHEN_THIN
from topokrates.drawing.scatter import ramachandran_figure
from topokrates.landscape import KCAL_MOL_PER_EV, Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule

PROVENANCE = {"name": "so3lr", "weights": "ab" * 32, "units": {"energy": "eV", "length": "Å"}}


class Never:
    """Takes no two structures for the same."""

    def same(self, a, b):
        return False

    def find(self, positions, energy, candidates, energy_tolerance):
        return None


@pytest.fixture
def tree():
    energies = {1: -10.0, 2: -9.9, 3: -9.8, 4: -9.7}
    links = [(1, 2, -9.6, True), (2, 3, -9.5, False)]
    labels = {1: "(−83, 69)"}
    notes = {1: ("-10.000000 eV", "visits: 3", "φ, ψ: −83°, 69°")}
    return disconnectivity_tree(energies, links, title="a <b>", labels=labels, notes=notes)


@pytest.fixture
def landscape():
    landscape = Landscape.create(Molecule.from_text("Ac-Ala-NHMe"), PROVENANCE, matcher=Never())
    start = landscape.molecule.positions
    for energy in (0.0, 0.05, 0.1, 0.15):
        landscape.add_minimum(energy, start, 1e-5, 0.003)
    landscape.add_link((1, 2), 0.2, start, True, 1e-5, 1, -0.1)
    landscape.add_link((2, 3), 0.3, start, False)
    landscape.store.search("key", {"searcher": "minima-hopping", "seed": 5, "walkers": 4})
    return landscape


def many(number):
    energies = {n: float(abs(n - number // 2)) for n in range(1, number + 1)}
    links = [(n, n + 1, number + 0.0, True) for n in range(1, number)]
    return disconnectivity_tree(energies, links, unit="epsilon")


def traces(figure):
    return {trace.name: trace for trace in figure.data}


def labels(figure):
    return [a for a in figure.layout.annotations if a.name == "label"]


def test_the_figure_shows_the_layout_above_the_global_minimum(tree):
    figure = tree_figure(tree)
    minima = traces(figure)["minima"]
    assert list(minima.x) == [b.x for b in tree.branches]
    expected = [(b.energy + 10) * KCAL_MOL_PER_EV for b in tree.branches]
    assert list(minima.y) == pytest.approx(expected)
    drawn = [
        (x, y)
        for trace in figure.data
        if trace.mode == "lines"
        for x, y in zip(trace.x, trace.y, strict=True)
        if x is not None
    ]
    points = [(x, (e + 10) * KCAL_MOL_PER_EV) for line in tree.lines for x, e in line.points]
    np.testing.assert_allclose(sorted(drawn), sorted(points))


@pytest.mark.parametrize(
    ("scale", "factor"),
    [(None, KCAL_MOL_PER_EV), ("kJ/mol", 96.48533212331), ("eV", 1.0)],
)
def test_the_axis_names_its_unit(tree, scale, factor):
    figure = tree_figure(tree, scale=scale)
    title = figure.layout.yaxis.title.text
    assert title == f"Energy above the global minimum ({scale or 'kcal/mol'})"
    assert traces(figure)["minima"].y[1] == pytest.approx(0.1 * factor)


def test_particles_are_drawn_in_epsilon_and_in_nothing_else():
    assert "(epsilon)" in tree_figure(many(3)).layout.yaxis.title.text
    with pytest.raises(InputError, match="choose epsilon"):
        tree_figure(many(3), scale="kcal/mol")


def test_estimates_are_dashed_and_explained(tree):
    shown = traces(tree_figure(tree))
    dashed = shown["joined by estimates only"]
    assert dashed.line.dash
    assert not shown["joined by verified transition states"].line.dash
    assert tree_figure(tree).layout.showlegend
    branch = next(b for b in tree.branches if b.minimum == 3)
    assert branch.x in dashed.x
    assert not tree_figure(many(3)).layout.showlegend


def test_trees_that_are_not_connected_are_marked(tree):
    figure = tree_figure(tree)
    assert "not connected" in [a.text for a in figure.layout.annotations]
    (band,) = figure.layout.shapes
    alone = next(b for b in tree.branches if b.minimum == 4)
    assert [band.x0 < b.x < band.x1 for b in tree.branches] == [b is alone for b in tree.branches]
    assert not tree_figure(many(3)).layout.shapes


def test_hover_and_labels_say_what_a_branch_is(tree):
    figure = tree_figure(tree)
    hover = traces(figure)["minima"].hovertext
    for text in ("minimum 1", "0.00 kcal/mol", "-10.000000 eV", "visits: 3", "−83°", "joins at"):
        assert text in hover[0]
    assert "by an estimate" in hover[2]
    assert "joins at" not in hover[3]
    assert [a.text for a in labels(figure)] == ["1<br>(−83, 69)", "2", "3", "4"]


def test_text_is_not_taken_for_markup(tree):
    assert "a &lt;b&gt;" in tree_figure(tree).layout.title.text


def test_labels_turn_and_thin_out_as_branches_crowd():
    assert {a.textangle for a in labels(tree_figure(many(8)))} == {0}
    turned = labels(tree_figure(many(30)))
    assert len(turned) == 30
    assert {a.textangle for a in turned} == {-90}
    crowd = labels(tree_figure(many(300)))
    assert 1 <= len(crowd) <= LABELS_WHEN_THIN
    assert "150" in [a.text for a in crowd]  # the global minimum
    places = np.sort([a.x for a in crowd])
    assert len(places) == 1 or np.diff(places).min() >= 300 / 40 - 1


@pytest.mark.parametrize("number", [1, 2])
def test_the_smallest_trees_can_be_drawn(number, tmp_path):
    small = disconnectivity_tree(dict.fromkeys(range(number), 1.0), [])
    low, high = tree_figure(small).layout.yaxis.range
    assert low < 0 < high
    save_static(small, tmp_path / "a.png", dpi=50)


@pytest.mark.parametrize(
    ("kind", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")]
)
def test_static_files_are_the_same_bytes_every_time(tree, tmp_path, kind, start):
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        save_static(tree, path, dpi=60)
    assert paths[0].read_bytes().startswith(start)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert len(os.listdir(tmp_path)) == 2


def test_another_process_writes_the_same_bytes(tmp_path):
    program = (
        "from topokrates.drawing.disconnectivity import disconnectivity_tree as t;"
        "tree = t({1: -10.0, 2: -9.9}, [(1, 2, -9.6, True)], title='x');"
        "[tree.save(f'{name}.{kind}') for kind in ('svg', 'pdf')]"
    )
    tree = disconnectivity_tree({1: -10.0, 2: -9.9}, [(1, 2, -9.6, True)], title="x")
    environment = os.environ | {"PYTHONHASHSEED": "5"}
    other = program.replace("{name}", "other")
    subprocess.run([sys.executable, "-c", other], check=True, env=environment, cwd=tmp_path)
    for kind in ("svg", "pdf"):
        tree.save(tmp_path / f"here.{kind}")
        here, there = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("here", "other"))
        assert here == there


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("labels", ["angles", "ids", "none"])
def test_styles_and_labels(tree, tmp_path, style, labels):
    save_static(tree, tmp_path / "a.svg", style=style, labels=labels)
    svg = (tmp_path / "a.svg").read_text()
    assert ("(−83, 69)" in svg) == (labels == "angles")
    assert ("<!-- 3 -->" in svg) == (labels != "none")
    assert ("#d55e00" in svg) == (style != "plain")  # the colour of estimates
    assert "stroke-dasharray" in svg


@pytest.mark.parametrize("options", [{"style": "x"}, {"font": "No Such Font"}, {"labels": "x"}])
def test_looks_that_do_not_exist_are_refused(tree, tmp_path, options):
    with pytest.raises(InputError) as error:
        save_static(tree, tmp_path / "a.svg", **options)
    assert "choose one of" in str(error.value)
    assert os.listdir(tmp_path) == []


def test_the_number_hidden_is_written_on_the_plot(tmp_path):
    energies = {n: float(n) for n in range(5)}
    small = disconnectivity_tree(energies, [(n, n + 1, 9.0, True) for n in range(4)], lowest=2)
    assert "3 more hidden" in tree_figure(small).layout.title.subtitle.text
    save_static(small, tmp_path / "a.svg")
    assert "2 minima, 3 more hidden" in (tmp_path / "a.svg").read_text()


def test_a_metric_has_an_axis_with_its_unit(tmp_path):
    energies, links = {1: 0.0, 2: 1.0}, [(1, 2, 3.0, True)]
    metric = Metric("φ", "°", {1: 170.0, 2: 200.0}, 360.0)
    turned = disconnectivity_tree(energies, links, metric=metric)
    figure = tree_figure(turned)
    assert figure.layout.xaxis.title.text == "φ (°)"
    ticks = dict(zip(figure.layout.xaxis.tickvals, figure.layout.xaxis.ticktext, strict=True))
    assert ticks[195.0] == "−165"
    save_static(turned, tmp_path / "a.svg")
    assert "φ (°)" in (tmp_path / "a.svg").read_text()


def test_free_energies_are_named_on_the_axis(landscape):
    energies = {1: 0.0, 2: -0.1, 3: 0.1, 4: 0.2}
    links = {1: 0.3, 2: 0.5}
    tree = landscape.disconnectivity_graph(
        energies=energies, link_energies=links, quantity="Free energy at 300 K"
    )
    assert {b.minimum: b.energy for b in tree.branches} == energies
    title = tree_figure(tree).layout.yaxis.title.text
    assert title == "Free energy at 300 K above the global minimum (kcal/mol)"
    assert '"quantity": "Free energy at 300 K"' in report_html(landscape, tree)


def test_a_notebook_shows_the_tree_and_a_short_table(landscape):
    shown = landscape._repr_html_()
    assert shown == landscape._repr_html_()
    svg = ElementTree.fromstring(re.findall(r"<svg.*</svg>", shown)[0])
    circles = [node for node in svg.iter() if node.tag.endswith("circle")]
    assert len(circles) == 4
    assert "kcal/mol" in shown
    assert shown.count("<tr") == 5
    assert "<script" not in shown


def test_a_static_file_has_the_size_that_was_asked_for(tree, tmp_path):
    tree.save(tmp_path / "a.png", width=3.0, height=2.0, dpi=100)
    header = (tmp_path / "a.png").read_bytes()[16:24]
    assert (int.from_bytes(header[:4]), int.from_bytes(header[4:])) == (300, 200)


def test_drawing_leaves_the_settings_of_matplotlib_alone(tree, tmp_path):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    save_static(tree, tmp_path / "a.svg")
    assert dict(mpl.rcParams) == before
    program = (
        "import sys, topokrates.drawing.plots, topokrates.drawing.pictures;"
        "assert not {'plotly', 'matplotlib', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["a.jpg", "a", "none/a.png", "."])
def test_a_picture_that_cannot_be_written_is_refused(tree, tmp_path, name):
    with pytest.raises(InputError) as error:
        save_static(tree, tmp_path / name)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


def test_the_ramachandran_plot_shows_every_minimum(landscape):
    figure = ramachandran_figure(landscape)
    (trace,) = figure.data
    (phi, psi) = landscape.phi_psi(landscape.molecule.positions)[0]
    assert list(trace.x) == pytest.approx([phi] * 4)
    assert list(trace.y) == pytest.approx([psi] * 4)
    assert trace.marker.color[1] == pytest.approx(0.05 * KCAL_MOL_PER_EV)
    cluster = Landscape.create(Molecule.from_text("LJ4"), {"name": "lj"} | PROVENANCE)
    assert ramachandran_figure(cluster) is None


def test_the_page_works_alone(landscape, tmp_path):
    path = tmp_path / "page.html"
    write_report(landscape, path, title="<script>alert(1)</script>")
    page = path.read_text(encoding="utf-8")
    assert len(page) > 3_000_000  # plotly is in it
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"<(link|img|iframe|object)|(src|href)\s*=|url\(", body)
    assert "alert(1)" not in re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert "&lt;script&gt;alert(1)" in body
    assert 'name="viewport"' in body
    assert report_html(landscape) == report_html(landscape)
    assert os.listdir(tmp_path) == ["page.html"]


def test_the_page_holds_tables_units_and_provenance(landscape):
    page = report_html(landscape)
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", body)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    assert ["1", "0.00", "0.000000", "1"] in [row[:4] for row in cells]
    assert ["2", "1.15", "0.050000", "1"] in [row[:4] for row in cells]
    assert ["1", "transition state", "1", "2", "4.61", "4.61", "3.46"] in [row[:7] for row in cells]
    for text in ("kcal/mol", "eV/Å^2", "so3lr", "ab" * 32, "minima-hopping", "seed 5"):
        assert text in body
    assert "4 minima, 1 transition state, 1 estimate" in body
    assert "upper bounds" in body


def test_nothing_on_the_page_can_end_its_script(landscape):
    tree = landscape.disconnectivity_graph(title="</script><b>", colour={1: "</script>", 2: "b"})
    page = report_html(landscape, tree)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.S)
    assert len(scripts) == 3  # plotly, the data, our own
    assert json.loads(scripts[1])["minima"]["id"] == [1, 2, 3, 4]
    assert scripts[2].rstrip().endswith(");")


def test_the_page_embeds_structures_and_paths(landscape):
    page = report_html(landscape)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, flags=re.S)[0])
    atoms = landscape.molecule.n_atoms
    xyz = np.frombuffer(base64.b64decode(data["structures"]["xyz"]), "<f4").reshape(-1, atoms, 3)
    assert data["structures"]["id"] == [1, 2, 3, 4]

    def distances(x):
        return np.linalg.norm(x[:, None] - x[None], axis=-1)

    expected = distances(landscape.molecule.positions)
    np.testing.assert_allclose(distances(xyz[2]), expected, atol=1e-5)
    paths = np.frombuffer(base64.b64decode(data["paths"]["xyz"]), "<i2") * data["paths"]["step"]
    paths = paths.reshape(-1, data["paths"]["frames"], atoms, 3)
    assert data["paths"]["id"] == [1, 2]
    np.testing.assert_allclose(distances(paths[1][6]), expected, atol=2e-3)
    assert data["junctions"] == [[2], [1]]
    assert data["notices"] == []


def test_the_page_says_what_it_leaves_out(landscape, monkeypatch):
    monkeypatch.setattr(pagedata, "MAX_STRUCTURES", 3)
    monkeypatch.setattr(pagedata, "MAX_PATHS", 1)
    page = report_html(landscape)
    data = json.loads(re.findall(r'id="data">(.*?)</script>', page, flags=re.S)[0])
    assert data["structures"]["id"] == [1, 2, 3]
    assert "lowest 3 of 4 minima" in data["notices"][0]
    assert "1 of 2 paths" in data["notices"][1]


def test_the_page_has_one_unit(landscape):
    page = report_html(landscape, scale="kJ/mol")
    assert "kcal/mol" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", page)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows]
    assert ["2", "4.82", "0.050000"] in [row[:3] for row in cells]


def test_an_empty_landscape_has_a_page():
    landscape = Landscape.create(Molecule.from_text("LJ4"), {"name": "lj"} | PROVENANCE)
    assert "None yet" in report_html(landscape)


def test_a_page_that_cannot_be_written_is_refused(landscape, tmp_path):
    with pytest.raises(InputError, match="none"):
        write_report(landscape, tmp_path / "none" / "page.html")
