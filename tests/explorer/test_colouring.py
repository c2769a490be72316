"""Colour: branches by their minimum, superbasins only where all agree."""

import pytest

from topokrates.drawing.colouring import NEUTRAL, OTHER, PALETTE, Colouring
from topokrates.drawing.disconnectivity import disconnectivity_tree
from topokrates.drawing.plots import tree_figure
from topokrates.model.errors import InputError
from topokrates.observables import Observable

ENERGIES = {1: 0.0, 2: 1.0, 3: 1.5, 4: 2.0}
LINKS = [(1, 2, 3.0, True), (3, 4, 3.0, True), (2, 3, 6.0, True)]


def colours(values, **options):
    """The colour of the line of each superbasin, by its minima."""
    tree = disconnectivity_tree(
        ENERGIES, LINKS, levels=6, colouring=Colouring("v", values, **options)
    )
    by_line = tree.colouring.of_lines(tree)
    return tree, {
        tuple(sorted(tree.across[x.first : x.last + 1])): colour
        for x, colour in zip(tree.lines, by_line, strict=True)
    }


def test_groups():
    tree, found = colours({1: "a", 2: "a", 3: "b", 4: "a"})
    assert found[1,] == found[2,] == found[1, 2] == found[4,] == PALETTE[0]
    assert found[3,] == PALETTE[1]
    assert found[3, 4] == found[1, 2, 3, 4] == NEUTRAL
    assert tree.colouring.groups == {"a": PALETTE[0], "b": PALETTE[1]}


def test_values():
    tree, found = colours({1: 0.0, 2: 0.5, 3: 10.0, 4: None})
    bar = dict(enumerate(colour for _, colour in tree.colouring.bar()))
    assert found[1,] == bar[0]
    assert found[3,] == bar[len(bar) - 1]
    assert found[1, 2] not in (NEUTRAL, OTHER)  # within a tenth of the bar
    assert found[3, 4] == found[1, 2, 3, 4] == NEUTRAL
    assert found[4,] == OTHER
    assert tree.colouring.range == (0.0, 10.0)


def test_an_angle_has_a_bar_that_closes():
    tree, found = colours({1: -179.0, 2: 179.0, 3: 0.0, 4: 90.0}, unit="°", period=360.0)
    assert found[1, 2] not in (NEUTRAL, OTHER)
    assert found[3, 4] == NEUTRAL
    bar = [colour for _, colour in tree.colouring.bar()]

    def apart(a, b):
        return max(abs(int(a[k : k + 2], 16) - int(b[k : k + 2], 16)) for k in (1, 3, 5))

    assert apart(bar[0], bar[-1]) <= 4
    assert apart(bar[0], bar[len(bar) // 2]) > 60
    assert tree.colouring.range == (-180.0, 180.0)


def test_few_counts_become_groups_in_their_order():
    counts = Observable("h", "Hydrogen bonds", "", {1: 2.0, 2: 0.0, 3: 2.0, 4: None}, whole=True)
    assert list(Colouring.of(counts).groups) == ["0", "2"]
    many = Observable("v", "Visits", "", {n: float(n) for n in range(99)}, whole=True)
    assert not Colouring.of(many).grouped


def test_more_groups_than_colours_leave_the_smallest_without():
    values = {n: str(n % 8) + "x" for n in range(30)}
    colouring = Colouring("v", values)
    assert len(colouring.groups) == len(PALETTE)
    assert colouring.of_minimum(7) == OTHER


def test_numbers_and_groups_do_not_mix():
    with pytest.raises(InputError, match="not by both"):
        Colouring("v", {1: "a", 2: 1.0})


def test_the_figure_has_a_legend_of_groups_or_a_bar_of_values():
    tree, _ = colours({1: "a", 2: "a", 3: "<b>", 4: "a"})
    figure = tree_figure(tree)
    names = [t.name for t in figure.data if t.showlegend is not False]
    assert names == ["v: a", "v: &lt;b&gt;"]
    assert figure.layout.showlegend
    tree, _ = colours({1: 0.0, 2: 0.5, 3: 10.0, 4: None}, unit="Å")
    figure = tree_figure(tree)
    bar = next(t for t in figure.data if t.name == "bar").marker
    assert (bar.cmin, bar.cmax, bar.colorbar.title.text) == (0.0, 10.0, "v (Å)")
    assert not figure.layout.showlegend
