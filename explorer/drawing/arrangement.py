"""The order of the branches of a disconnectivity graph, and where each of them stands.

What interconverts stays together: the branches of a superbasin stand side by side, whatever the
order. By size and by energy the funnel of the global minimum is in the middle; by a value the
branches go from small to large, as far as the tree lets them. With a metric coordinate every
branch stands at its own value, and a superbasin at the mean of its minima
(Smeeton, Oakley and Johnston, J. Comput. Chem. 35, 1481 (2014)).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from topokrates.drawing.superbasins import Node

GAP = 1.0  # extra room between trees that are not connected, in branches
BY_SIZE, BY_ENERGY = "size", "energy"
Values = Mapping[int, float | None]


def arrange(roots: list[Node], order: str | Values, metric: Values | None) -> list[list[Node]]:
    """Set `x` and `first` of every node; returns the minima of each tree from left to right.

    order: "size", "energy" or a value of each minimum. metric: their places, of which none may be
    missing.
    """
    trees = []
    x, number = 0.0, 0
    for root in roots:
        if metric is not None:
            means = _means(root, metric)
            leaves = _ascending(root, means)
            for node, mean in means.items():
                node.x = mean
        else:
            if isinstance(order, str):
                leaves = _outwards(root, _by_size if order == BY_SIZE else _by_energy)
            else:
                leaves = _ascending(root, _means(root, order))
            for leaf in leaves:
                leaf.x, x = x, x + 1.0
            _centre(root)
            x += GAP
        for leaf in leaves:
            leaf.first, number = number, number + 1
        for node in _downwards(root)[::-1]:
            if node.children:
                node.first = min(child.first for child in node.children)
        trees.append(leaves)
    return trees


def _by_size(node: Node) -> tuple[object, ...]:
    return (-node.size, node.key)


def _by_energy(node: Node) -> tuple[object, ...]:
    return node.key


def _outwards(root: Node, rank: Callable[[Node], tuple[object, ...]]) -> list[Node]:
    """The minima of a tree from left to right, the global minimum central.

    In each superbasin the child with the lowest minimum of the whole tree, else the first by
    rank, stands in the middle; the others follow outwards by rank, each on the side where fewer
    branches stand so far.
    """
    leaves: list[Node] = []
    stack = [(root, 0)]  # with the surplus of branches to the right of it, over those to the left
    while stack:
        node, surplus = stack.pop()
        if node.level is None:
            leaves.append(node)
            continue
        ranked = sorted(node.children, key=lambda c: (c.key != root.key, *rank(c)))
        left: list[Node] = []
        right: list[Node] = []
        for child in ranked[1:]:
            side, sign = (left, -1) if surplus > 0 else (right, 1)
            side.append(child)
            surplus += sign * child.size
        middle = [(ranked[0], surplus)]
        across = [(c, 0) for c in left[::-1]] + middle + [(c, 0) for c in right]
        stack.extend(reversed(across))
    return leaves


def _ascending(root: Node, means: Mapping[Node, float]) -> list[Node]:
    """The minima of a tree, in each superbasin the child of the smallest mean first.

    Those without a value come last.
    """
    leaves: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if node.level is None:
            leaves.append(node)
        ranked = sorted(node.children, key=lambda c: (np.isnan(means[c]), means[c], c.key))
        stack.extend(reversed(ranked))
    return leaves


def _means(root: Node, values: Values) -> dict[Node, float]:
    """The mean of the values of the drawn minima in every superbasin; NaN where none has one."""
    totals: dict[Node, tuple[float, int]] = {}
    for node in _downwards(root)[::-1]:
        if node.children:
            sums = [totals[child] for child in node.children]
            totals[node] = sum(s for s, _ in sums), sum(n for _, n in sums)
        else:
            value = values.get(node.key[1])
            if value is None or not np.isfinite(value):
                totals[node] = 0.0, 0
            else:
                totals[node] = float(value), 1
    return {node: s / n if n else np.nan for node, (s, n) in totals.items()}


def _centre(root: Node) -> None:
    """Place every superbasin above the middle of its branches, from the bottom up.

    A child that holds most of them is then nearly below its parent: funnels stand upright.
    """
    spans: dict[Node, tuple[float, float]] = {}
    for node in _downwards(root)[::-1]:
        if node.children:
            below = [spans.pop(child) for child in node.children]
            spans[node] = min(left for left, _ in below), max(right for _, right in below)
            node.x = sum(spans[node]) / 2
        else:
            spans[node] = node.x, node.x


def _downwards(root: Node) -> list[Node]:
    """All nodes, every one after its parent."""
    nodes = [root]
    for node in nodes:
        nodes.extend(node.children)
    return nodes
