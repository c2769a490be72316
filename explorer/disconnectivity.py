"""Disconnectivity graphs: which minima interconvert below which energy, as a tree.

At a threshold E, the minima that can be reached from one another without rising above E form a
superbasin. Lowering E through evenly spaced levels splits superbasins until each minimum is
alone: a tree, whose branches end at the energies of the minima. A branch joins the others at the
first level at or above the lowest transition state that connects it, never below it
(Becker and Karplus, J. Chem. Phys. 106, 1495 (1997); Wales, Miller and Walsh, Nature 394, 758
(1998)).

This is graph work alone: energies and links in, branches and lines out, in the caller's unit of
energy. Connectivity comes first, from all minima; trimming only hides branches. Verified links
are preferred: an estimate joins only what no verified link joins at any energy, and what hangs
on it is marked. The same landscape gives the same tree, in whatever order it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from os import PathLike

    import plotly.graph_objects as go

MAX_LEVELS = 10_000
BARE_STEM = 0.05  # length of the stem where all energies are the same
GAP = 1.0  # extra room between trees that are not connected, in branches


@dataclass(frozen=True)
class Branch:
    """The line of one minimum, at the horizontal place `x` (one unit per branch).

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
    """A stroke of the drawing: (x, energy) points from top to bottom."""

    points: tuple[tuple[float, float], ...]
    estimated: bool
    component: int


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

    `branches` are sorted by energy, `levels` ascend, `components` stand from left to right, the
    one of the global minimum first. `top` is where the stem of each tree ends; it is one spacing
    above the highest level. `labels` and `notes` (by minimum) are what a drawing writes at the
    branch ends and shows on hover; they have no part in the layout.
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
        """An interactive figure; the options are those of `topokrates.plots.tree_figure`."""
        from topokrates.plots import tree_figure

        return tree_figure(self, **options)

    def save(self, path: str | PathLike[str], **options: Any) -> None:
        """Write PNG, SVG or PDF; the options are those of `topokrates.plots.save_static`."""
        from topokrates.plots import save_static

        save_static(self, path, **options)


@dataclass(eq=False)
class _Node:
    """A superbasin with more than one drawn minimum (`level` is its index), or one minimum."""

    key: tuple[float, int]  # energy and id of its lowest minimum: the order that breaks all ties
    level: int | None = None
    children: tuple[_Node, ...] = ()
    size: int = 1
    estimated: bool = False
    x: float = 0.0


def disconnectivity_tree(
    energies: Mapping[int, float],
    links: Iterable[tuple[int, int, float, bool]],
    *,
    unit: str = "eV",
    levels: int | None = None,
    spacing: float | None = None,
    lowest: int | None = None,
    window: float | None = None,
    title: str = "",
    labels: Mapping[int, str] | None = None,
    notes: Mapping[int, tuple[str, ...]] | None = None,
) -> Tree:
    """The disconnectivity graph of minima (id: energy) and links (id, id, energy, verified).

    `levels` is the number of levels between the global minimum and the highest point that
    matters (default 25), `spacing` their distance instead, in the unit of the energies.
    `lowest` draws only that many minima, `window` only those up to that far above the global
    minimum; both hide branches and never change which minima are connected below what energy.
    Degenerate rearrangements (both ids the same) give no branch. A link given below one of its
    minima counts at the energy of that minimum.

    Raises InputError for options out of range; ValueError for energies that are not finite and
    links of unknown minima.
    """
    _check_options(levels, spacing, lowest, window)
    for name, energy in energies.items():
        if not np.isfinite(energy):
            raise ValueError(f"the energy of minimum {name} is {energy}")
    order = sorted((float(energy), name) for name, energy in energies.items())
    if not order:
        return Tree(unit, (), (), (), (), 0, 0.0, 0.0, title)
    index = {name: i for i, (_, name) in enumerate(order)}
    joins = _joins(order, index, links)
    zero = order[0][0]
    drawn = [i for i, (energy, _) in enumerate(order) if window is None or energy <= zero + window]
    drawn = drawn[:lowest]
    highest = max(order[drawn[-1]][0], _highest_join(len(order), len(drawn), joins))
    grid = _grid(zero, highest, levels, spacing)
    roots = _superbasins([order[i] for i in drawn], len(order), joins, grid)
    step = float(grid[0]) - zero or BARE_STEM
    top = float(grid[-1]) + step
    branches, lines, components = _layout(roots, grid, step, top)
    return Tree(
        unit=unit,
        levels=tuple(grid.tolist()),
        branches=branches,
        lines=lines,
        components=components,
        hidden=len(order) - len(drawn),
        top=top,
        zero=zero,
        title=title,
        labels=dict(labels or {}),
        notes=dict(notes or {}),
    )


def _check_options(
    levels: int | None, spacing: float | None, lowest: int | None, window: float | None
) -> None:
    if levels is not None and spacing is not None:
        raise InputError("give the number of levels or their spacing, not both")
    if levels is not None and not 1 <= levels <= MAX_LEVELS:
        raise InputError(f"the number of levels must be from 1 to {MAX_LEVELS}, not {levels}")
    if spacing is not None and not (np.isfinite(spacing) and spacing > 0):
        raise InputError(f"the spacing of the levels must be positive, not {spacing}")
    if lowest is not None and lowest < 1:
        raise InputError(f"the number of minima to draw must be at least 1, not {lowest}")
    if window is not None and not window >= 0:
        raise InputError(f"the energy window must not be negative, not {window}")


class _UnionFind:
    def __init__(self, size: int):
        self.parent = list(range(size))

    def find(self, i: int) -> int:
        parent = self.parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def union(self, i: int, j: int) -> bool:
        """Join two sets under the smaller root; False if they were one already."""
        i, j = self.find(i), self.find(j)
        self.parent[max(i, j)] = min(i, j)
        return i != j


def _joins(
    order: list[tuple[float, int]],
    index: Mapping[int, int],
    links: Iterable[tuple[int, int, float, bool]],
) -> list[tuple[float, int, int, bool]]:
    """The links that join anything (energy, i, j, verified), verified ones before estimates.

    A minimum spanning forest (Kruskal) of the verified links, then of the estimates between the
    trees of that forest. Minima are named by their place in `order`.
    """
    candidates = []
    for a, b, energy, verified in links:
        if a not in index or b not in index:
            raise ValueError(f"a link of minima {a} and {b}: there is no such minimum")
        if not np.isfinite(energy):
            raise ValueError(f"the energy of the link of minima {a} and {b} is {energy}")
        i, j = sorted((index[a], index[b]))
        candidates.append((not verified, max(float(energy), order[j][0]), i, j))
    candidates.sort()
    sets = _UnionFind(len(order))
    return [
        (energy, i, j, not estimate) for estimate, energy, i, j in candidates if sets.union(i, j)
    ]


def _highest_join(size: int, drawn: int, joins: list[tuple[float, int, int, bool]]) -> float:
    """The highest energy at which two of the first `drawn` minima, or their basins, meet."""
    sets, highest = _UnionFind(size), -np.inf
    for energy, i, j, _ in sorted(joins):
        # The root of a set is its lowest minimum: one that is not drawn has none that is.
        if max(sets.find(i), sets.find(j)) < drawn:
            highest = energy
        sets.union(i, j)
    return highest


def _grid(low: float, high: float, levels: int | None, spacing: float | None) -> np.ndarray:
    """Evenly spaced levels above `low`, the last one at or above `high`."""
    if high == low:
        return np.array([high])
    if spacing is None:
        grid = np.linspace(low, high, (levels or 25) + 1)[1:]
        grid[-1] = high
        return grid
    number = np.ceil((high - low) / spacing)
    if number > MAX_LEVELS:
        raise InputError(
            f"a spacing of {spacing:g} makes {number:.0f} levels: at most {MAX_LEVELS} are drawn"
        )
    grid = low + spacing * np.arange(1, int(number) + 1)
    return grid if grid[-1] >= high else np.append(grid, low + spacing * (number + 1))


def _superbasins(
    drawn: list[tuple[float, int]],
    size: int,
    joins: list[tuple[float, int, int, bool]],
    grid: np.ndarray,
) -> list[_Node]:
    """Join the drawn minima, level by level, into one tree per component.

    The places of `drawn` are the first ones of all `size` minima; the others are followed
    without being drawn, so that what connects through them stays connected.
    """
    levels = np.searchsorted(grid, [energy for energy, *_ in joins]).tolist()
    by_level: dict[int, list[tuple[int, int, bool]]] = {}
    for level, (_, i, j, verified) in zip(levels, joins, strict=True):
        by_level.setdefault(level, []).append((i, j, verified))
    all_sets, verified_sets = _UnionFind(size), _UnionFind(size)
    place = {name: i for i, (_, name) in enumerate(drawn)}
    node: dict[int, _Node] = {i: _Node(key) for i, key in enumerate(drawn)}
    for level in sorted(by_level):
        touched: set[int] = set()
        for i, j, _ in by_level[level]:
            touched |= {all_sets.find(i), all_sets.find(j)}
        for i, j, verified in by_level[level]:
            all_sets.union(i, j)
            if verified:
                verified_sets.union(i, j)
        groups: dict[int, list[_Node]] = {}
        for root in sorted(touched):
            if root in node:
                groups.setdefault(all_sets.find(root), []).append(node.pop(root))
        for root, children in groups.items():
            if len(children) == 1:
                node[root] = children[0]
                continue
            children.sort(key=lambda child: child.key)
            main = verified_sets.find(place[children[0].key[1]])
            for child in children:
                child.estimated = verified_sets.find(place[child.key[1]]) != main
            count = sum(child.size for child in children)
            node[root] = _Node(children[0].key, level, tuple(children), count)
    roots = sorted(node.values(), key=lambda root: root.key)
    return roots[:1] + sorted(roots[1:], key=lambda root: (-root.size, root.key))


def _arranged(root: _Node) -> list[_Node]:
    """The minima of a tree from left to right.

    In each superbasin the child with the lowest minimum of the whole tree, else the largest
    child, stands in the middle; the others follow outwards by size, then by energy, each on the
    side where fewer branches stand so far.
    """
    leaves: list[_Node] = []
    stack = [(root, 0)]  # with the surplus of branches to the right of it, over those to the left
    while stack:
        node, surplus = stack.pop()
        if node.level is None:
            leaves.append(node)
            continue
        ranked = sorted(node.children, key=lambda c: (c.key != root.key, -c.size, c.key))
        left: list[_Node] = []
        right: list[_Node] = []
        for child in ranked[1:]:
            side, sign = (left, -1) if surplus > 0 else (right, 1)
            side.append(child)
            surplus += sign * child.size
        middle = [(ranked[0], surplus)]
        across = [(c, 0) for c in left[::-1]] + middle + [(c, 0) for c in right]
        stack.extend(reversed(across))
    return leaves


def _layout(
    roots: list[_Node], grid: np.ndarray, step: float, top: float
) -> tuple[tuple[Branch, ...], tuple[Line, ...], tuple[Component, ...]]:
    """Place the trees side by side and draw each child from its parent, oblique for one level."""
    branches: list[Branch] = []
    lines: list[Line] = []
    components: list[Component] = []
    x = 0.0
    for number, root in enumerate(roots):
        leaves = _arranged(root)
        for leaf in leaves:
            leaf.x, x = x, x + 1.0
        components.append(Component(len(leaves), root.key[1], leaves[0].x, leaves[-1].x))
        x += GAP
        _centre(root)
        stack: list[tuple[_Node, float | None, tuple[tuple[float, float], ...]]]
        stack = [(root, None, ((root.x, top),))]
        while stack:
            node, join, points = stack.pop()
            end = node.key[0] if node.level is None else float(grid[node.level])
            if points[-1] != (node.x, end):
                points = (*points, (node.x, end))
            lines.append(Line(points, node.estimated, number))
            if node.level is None:
                branches.append(Branch(node.key[1], end, join, node.estimated, number, node.x))
            for child in node.children:
                foot = child.key[0] if child.level is None else float(grid[child.level])
                knee = (child.x, max(foot, end - step))
                stack.append((child, end, ((node.x, end), knee)))
    branches.sort(key=lambda branch: (branch.energy, branch.minimum))
    return tuple(branches), tuple(lines), tuple(components)


def _centre(root: _Node) -> None:
    """Place every superbasin above the middle of its branches, from the bottom up.

    A child that holds most of them is then nearly below its parent: funnels stand upright.
    """
    order = [root]
    for node in order:
        order.extend(node.children)
    spans: dict[int, tuple[float, float]] = {}
    for node in reversed(order):
        if node.children:
            below = [spans.pop(id(child)) for child in node.children]
            spans[id(node)] = min(left for left, _ in below), max(right for _, right in below)
            node.x = sum(spans[id(node)]) / 2
        else:
            spans[id(node)] = node.x, node.x
