"""What is written on a picture stays on it, and apart from the rest of the text."""

import json
import re

import matplotlib as mpl
import numpy as np
import pytest

from topokrates.drawing.colouring import Colouring
from topokrates.drawing.disconnectivity import disconnectivity_tree
from topokrates.drawing.pictures import APART, FONT, STYLES, _draw
from topokrates.drawing.plots import tree_figure
from topokrates.drawing.report import report_html
from topokrates.drawing.scales import caption, scale_of
from topokrates.landscape import Landscape
from topokrates.molecule import Molecule


def tree(groups, lowest=None):
    """Twelve minima in five trees, one line dashed, coloured by groups."""
    energies = {n: 0.01 * n for n in range(12)}
    links = [(n, n + 1, 0.01 * n + 0.05, n != 3) for n in range(7)]
    values = {n: f"number {n % groups}" for n in energies}
    colouring = Colouring("Group", values)
    return disconnectivity_tree(energies, links, title="T", lowest=lowest, colouring=colouring)


@pytest.mark.parametrize(
    ("style", "width"),
    [("paper", 3.25), *((style, width) for style in STYLES for width in (6.5, 9))],
)
@pytest.mark.parametrize("groups", [2, 6])
def test_legend_and_caption_stay_on_the_picture_and_apart(style, width, groups):
    look, drawn = STYLES[style], tree(groups, lowest=11)
    with mpl.rc_context({"font.family": [FONT], "font.size": look.font_size}):
        figure = _draw(drawn, scale_of(drawn, None), width, 5.0, look.font_size, look, "none")
        figure.canvas.draw()
        whole, axes = figure.bbox, figure.axes[0]
        (apart,) = (text for text in axes.texts if text.get_text() == APART)
        title = axes._left_title
        boxes = [legend.get_window_extent() for legend in figure.legends]
        boxes += [text.get_window_extent() for text in (apart, title)]
    assert title.get_text().replace("\n", " ") == caption(drawn)
    for box in boxes:
        assert whole.x0 <= box.x0 <= box.x1 <= whole.x1
        assert whole.y0 <= box.y0 <= box.y1 <= whole.y1
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])


@pytest.mark.parametrize(("top", "flat"), [(0.5, 1), (1.0, 1), (1.1, 0)])
def test_links_without_a_barrier_are_counted_on_the_plot(top, flat):
    drawn = disconnectivity_tree({1: 0.0, 2: 1.0}, [(1, 2, top, True), (2, 2, 0.5, True)])
    assert drawn.flat == flat
    assert ("1 link without a barrier" in caption(drawn)) == bool(flat)


def test_the_legend_of_estimates_has_no_colour_of_a_group():
    shown = [trace for trace in tree_figure(tree(3)).data if trace.name.startswith("joined by")]
    named = [trace for trace in shown if trace.showlegend is not False]
    assert [trace.name for trace in named] == [
        "joined by verified transition states",
        "joined by estimates only",
    ]
    assert {trace.line.color for trace in named} == {"#1a1a1a"}
    assert [trace.line.dash for trace in named] == [None, "4px,3px"]


def test_the_page_begins_with_the_lowest_minimum_that_is_drawn():
    provenance = {"name": "LJ", "units": {"energy": "epsilon", "length": "sigma"}}
    molecule = Molecule.from_text("LJ4")
    landscape = Landscape.create(molecule, provenance)
    for energy in (-6.0, -5.0, -4.0):
        landscape.add_minimum(energy, molecule.positions + np.arange(4)[:, None] * energy)
    free = {1: 3.0, 2: 1.0, 3: 2.0}
    drawn = landscape.disconnectivity_graph(
        energies=free, link_energies={}, quantity="Free energy at 0.2 epsilon/k_B", lowest=2
    )
    page = report_html(landscape, drawn)
    assert json.loads(re.findall(r'id="data">(.*?)</script>', page, flags=re.S)[0])["first"] == 2
    assert "ends at the free energy at 0.2 epsilon/k_B of a minimum" in page
