"""Disconnectivity graphs: which minima interconvert below which energy, as a tree.

At a threshold E, the minima that can be reached from one another without rising above E form a
superbasin. Lowering E through evenly spaced levels splits superbasins until each minimum is
alone: a tree, whose branches end at the energies of the minima. A branch joins the others at the
first level at or above the lowest transition state that connects it, never below it
(Becker and Karplus, J. Chem. Phys. 106, 1495 (1997); Wales, Miller and Walsh, Nature 394, 758
(1998)).

This is graph work alone: energies and links in, branches and lines out, in the caller's unit of
energy (or free energies, for a tree at a temperature). Connectivity comes first, from all minima
(`superbasins`); trimming only hides branches (`topokrates.drawing.trimming`), the order only
moves them sideways (`arrangement`). Verified links are preferred: an estimate joins
only what no verified link joins at any energy, and what hangs on it is marked. The same landscape
gives the same tree, in whatever order it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from topokrates.drawing.arrangement import BY_ENERGY, BY_SIZE, Values, arrange
from topokrates.drawing.superbasins import (
    MAX_LEVELS,
    Node,
    Order,
    even_levels,
    highest_join,
    placed,
    spanning_forest,
    superbasins,
)
from topokrates.drawing.trimming import Trim
from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from os import PathLike

    import plotly.graph_objects as go

    from topokrates.drawing.colouring import Colouring

BARE_STEM = 0.05  # length of the stem where all energies are the same


class Metric(NamedTuple):
    """A coordinate that gives the branches their place: a value of each minimum.

    `period` (360 for an angle) only says how the axis is labelled: values must be in one piece.
    """

    name: str
    unit: str
    values: Values
    period: float | None = None


@dataclass(frozen=True)
class Branch:
    """The line of one minimum, at the horizontal place `x` (one unit per branch, or the metric).

    It meets another line at the level `joins_at` (None: it meets none). `estimated` says that
    only an estimate connects it with the lowest minimum of the superbasin that it joins.
    """

    minimum: int
    energy: float
    joins_at: float | None
    estimated: bool
    component: int
    x: float


@dataclass(frozen=True)
class Line:
    """A stroke of the drawing: (x, energy) points from top to bottom.

    It is the line of the minima `Tree.across[first:last + 1]`: of one, or of a superbasin.
    """

    points: tuple[tuple[float, float], ...]
    estimated: bool
    component: int
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class Junction:
    """Where lines meet, at (x, energy of the level), and the links that join them there.

    Each link is (id, id, energy, verified), as given: those of this level, the lowest first, then
    lower ones that lead to them over hidden minima.
    """

    x: float
    energy: float
    links: tuple[tuple[int, int, float, bool], ...]


@dataclass(frozen=True)
class Component:
    """One connected tree of the drawing and the x of its outermost branches."""

    size: int
    lowest: int
    left: float
    right: float


@dataclass(frozen=True)
class Tree:
    """A disconnectivity graph, laid out. Energies are absolute, in `unit`.

    `branches` are sorted by energy, `across` names their minima from left to right, `levels`
    ascend. `components` stand from left to right, the one of the global minimum first (with a
    `metric` they stand where their minima are). `top` is where the stem of each tree ends; it is
    one spacing above the highest level. `flat` counts the links that are no higher than the higher
    one of their minima, as happens with free energies. What is left has no part in the layout:
    `quantity` names what the energies are, `labels` and `notes` (by minimum) are what a drawing
    writes at the branch ends and shows on hover, `colouring` says what the lines are coloured by.
    """

    unit: str
    levels: tuple[float, ...]
    branches: tuple[Branch, ...]
    lines: tuple[Line, ...]
    components: tuple[Component, ...]
    hidden: int
    top: float
    zero: float
    title: str = ""
    labels: Mapping[int, str] = field(default_factory=dict)
    notes: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    across: tuple[int, ...] = ()
    junctions: tuple[Junction, ...] = ()
    metric: Metric | None = None
    quantity: str = "Energy"
    colouring: Colouring | None = None
    flat: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The tree as JSON-able data; `joins_at` is a level, or None."""
        return {
            "unit": self.unit,
            "levels": list(self.levels),
            "minima_drawn": len(self.branches),
            "minima_hidden": self.hidden,
            "components": len(self.components),
            "branches": [
                {"minimum": b.minimum, "energy": b.energy, "joins_at": b.joins_at}
                for b in self.branches
            ],
        }

    # The two verbs of the public interface; the plotting itself knows this module, not the
    # other way round, so it is imported only when asked for.
    def figure(self, **options: Any) -> go.Figure:
        """An interactive figure; the options are those of `plots.tree_figure`."""
        from topokrates.drawing.plots import tree_figure

        return tree_figure(self, **options)

    def save(self, path: str | PathLike[str], **options: Any) -> None:
        """Write PNG, SVG or PDF; the options are those of `pictures.save_static`."""
        from topokrates.drawing.pictures import save_static

        save_static(self, path, **options)


def disconnectivity_tree(
    energies: Mapping[int, float],
    links: Iterable[tuple[int, int, float, bool]],
    *,
    unit: str = "eV",
    levels: int | None = None,
    spacing: float | None = None,
    lowest: int | None = None,
    window: float | None = None,
    monotonic: bool = False,
    min_degree: int = 0,
    persistence: float = 0.0,
    order: str | Values = BY_SIZE,
    metric: Metric | None = None,
    title: str = "",
    labels: Mapping[int, str] | None = None,
    notes: Mapping[int, tuple[str, ...]] | None = None,
    quantity: str = "Energy",
    colouring: Colouring | None = None,
) -> Tree:
    """The disconnectivity graph of minima (id: energy) and links (id, id, energy, verified).

    Args:
        energies, links: all of them, in `unit`. Degenerate rearrangements (both ids the same)
            give no branch. A link given below one of its minima counts at the energy of that
            minimum, as happens with free energies.
        levels: how many, between the global minimum and the highest point that matters
            (default 25).
        spacing: the distance of the levels instead.
        lowest, window, monotonic, min_degree, persistence: what is hidden, see
            `topokrates.drawing.trimming.Trim`.
        order: "size" (of the superbasins, default) or "energy", from the global minimum outwards,
            or a value of each minimum, from left to right.
        metric: a coordinate that places the branches instead; none of its values may be missing.
        title, labels, notes, quantity, colouring: kept for the drawing, see `Tree`.

    Raises InputError for options out of range; ValueError for energies that are not finite and
    links of unknown minima.
    """
    trim = Trim(lowest, window, monotonic, min_degree, persistence)
    _check_options(levels, spacing, order)
    for name, energy in energies.items():
        if not np.isfinite(energy):
            raise ValueError(f"the energy of minimum {name} is {energy}")
    ascending = sorted((float(energy), name) for name, energy in energies.items())
    if not ascending:
        return Tree(unit, (), (), (), (), 0, 0.0, 0.0, title, quantity=quantity)
    every = placed(ascending, links)
    joins = spanning_forest(len(ascending), every)
    drawn = trim.drawn(ascending, every, joins)
    _check_metric(metric, [ascending[i][1] for i in drawn])
    zero = ascending[0][0]
    highest = max(ascending[drawn[-1]][0], highest_join(len(ascending), drawn, joins))
    grid = even_levels(zero, highest, levels, spacing)
    roots = superbasins(ascending, drawn, joins, grid)
    leaves = arrange(roots, order, metric.values if metric else None)
    step = float(grid[0]) - zero or BARE_STEM
    top = float(grid[-1]) + step
    branches, lines, components, junctions = _strokes(roots, leaves, ascending, grid, step, top)
    return Tree(
        unit=unit,
        levels=tuple(grid.tolist()),
        branches=branches,
        lines=lines,
        components=components,
        hidden=len(ascending) - len(drawn),
        top=top,
        zero=zero,
        title=title,
        labels=dict(labels or {}),
        notes=dict(notes or {}),
        across=tuple(leaf.key[1] for tree in leaves for leaf in tree),
        junctions=junctions,
        metric=metric,
        quantity=quantity,
        colouring=colouring,
        flat=sum(link.energy == ascending[link.high][0] for link in every),
    )


def _check_options(levels: int | None, spacing: float | None, order: str | Values) -> None:
    if levels is not None and spacing is not None:
        raise InputError("give the number of levels or their spacing, not both")
    if levels is not None and not 1 <= levels <= MAX_LEVELS:
        raise InputError(f"the number of levels must be from 1 to {MAX_LEVELS}, not {levels}")
    if spacing is not None and not (np.isfinite(spacing) and spacing > 0):
        raise InputError("the spacing of the levels must be above 0")
    if isinstance(order, str) and order not in (BY_SIZE, BY_ENERGY):
        raise InputError(
            f"order {order!r}: choose {BY_SIZE}, {BY_ENERGY} or give a value of each minimum"
        )


def _check_metric(metric: Metric | None, drawn: list[int]) -> None:
    if metric is None:
        return
    values = [metric.values.get(name) for name in drawn]
    missing = sum(value is None or not np.isfinite(value) for value in values)
    if missing:
        raise InputError(
            f"{metric.name} cannot place the branches: {missing} of {len(drawn)} minima lack it"
        )


def _strokes(
    roots: list[Node],
    leaves: list[list[Node]],
    order: Order,
    grid: np.ndarray,
    step: float,
    top: float,
) -> tuple[tuple[Branch, ...], tuple[Line, ...], tuple[Component, ...], tuple[Junction, ...]]:
    """Draw each child from its parent, oblique for one level, then down."""
    branches: list[Branch] = []
    lines: list[Line] = []
    components: list[Component] = []
    junctions: list[Junction] = []
    stack: list[tuple[Node, float | None, tuple[tuple[float, float], ...]]]
    for number, (root, below) in enumerate(zip(roots, leaves, strict=True)):
        across = [leaf.x for leaf in below]
        components.append(Component(len(below), root.key[1], min(across), max(across)))
        stack = [(root, None, ((root.x, top),))]
        while stack:
            node, join, points = stack.pop()
            end = node.key[0] if node.level is None else float(grid[node.level])
            if points[-1] != (node.x, end):
                points = (*points, (node.x, end))
            last = node.first + node.size - 1
            lines.append(Line(points, node.estimated, number, node.first, last))
            if node.level is None:
                branches.append(Branch(node.key[1], end, join, node.estimated, number, node.x))
                continue
            joined = [(order[j.low][1], order[j.high][1], j.energy, j.verified) for j in node.joins]
            junctions.append(Junction(node.x, end, tuple(joined)))
            for child in node.children:
                foot = child.key[0] if child.level is None else float(grid[child.level])
                knee = (child.x, max(foot, end - step))
                stack.append((child, end, ((node.x, end), knee)))
    branches.sort(key=lambda branch: (branch.energy, branch.minimum))
    return tuple(branches), tuple(lines), tuple(components), tuple(junctions)
