"""Which minima can reach one another below which energy: superbasins, and the tree they form.

Minima are named by their place in the order of energy, so the least name in a set is its lowest
minimum. The links that join anything are those of a minimum spanning forest; superbasins are its
pieces below a level. Minima that are not drawn are followed all the same: what connects through
them stays connected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from topokrates.model.errors import InputError

MAX_LEVELS = 10_000
Order = Sequence[tuple[float, int]]  # energy and id of every minimum, ascending


class Join(NamedTuple):
    """A link between minima `low` and `high` (places in the order) that joins two superbasins."""

    energy: float
    low: int
    high: int
    verified: bool


@dataclass(eq=False)
class Node:
    """A superbasin with more than one drawn minimum (`level` is its index), or one minimum.

    `key` is the energy and the id of its lowest drawn minimum: the order that breaks all ties.
    `estimated` says that only an estimate connects it with the lowest minimum of its parent.
    `joins` are the links on the ways between its children, first those of its level, then those
    that lead to them over minima that are not drawn. Its minima are `size` in a row, from
    the one that is `first` from the left.
    """

    key: tuple[float, int]
    level: int | None = None
    children: tuple[Node, ...] = ()
    size: int = 1
    estimated: bool = False
    joins: tuple[Join, ...] = ()
    x: float = 0.0
    first: int = 0


class UnionFind:
    """Disjoint sets of 0..size-1; the root of a set is its least member."""

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


def placed(order: Order, links: Iterable[tuple[int, int, float, bool]]) -> list[Join]:
    """The links between different minima, verified ones first, each kind by energy.

    A link given below one of its minima counts at the energy of that minimum. Raises ValueError
    for a link of unknown minima or of an energy that is not finite.
    """
    index = {name: i for i, (_, name) in enumerate(order)}
    found = []
    for a, b, energy, verified in links:
        if a not in index or b not in index:
            raise ValueError(f"a link of minima {a} and {b}: there is no such minimum")
        if not np.isfinite(energy):
            raise ValueError(f"the energy of the link of minima {a} and {b} is {energy}")
        low, high = sorted((index[a], index[b]))
        if low != high:
            found.append((not verified, max(float(energy), order[high][0]), low, high))
    found.sort()
    return [Join(energy, low, high, not estimate) for estimate, energy, low, high in found]


def spanning_forest(size: int, links: Iterable[Join]) -> list[Join]:
    """The links that join anything (Kruskal), of `links` in the order of preference.

    As `placed` has verified links first, an estimate joins only what no verified link joins at
    any energy.
    """
    sets = UnionFind(size)
    return [link for link in links if sets.union(link.low, link.high)]


def highest_join(size: int, drawn: Collection[int], joins: Iterable[Join]) -> float:
    """The highest energy at which two drawn minima, or their superbasins, meet; -inf if none do."""
    sets, highest = UnionFind(size), -np.inf
    shown = [False] * size
    for i in drawn:
        shown[i] = True
    for energy, low, high, _ in sorted(joins):
        a, b = sets.find(low), sets.find(high)
        if shown[a] and shown[b]:
            highest = energy
        sets.union(a, b)
        shown[min(a, b)] = shown[a] or shown[b]
    return highest


def even_levels(low: float, high: float, levels: int | None, spacing: float | None) -> np.ndarray:
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
            f"such a spacing makes {number:.0f} levels: at most {MAX_LEVELS} are drawn"
        )
    grid = low + spacing * np.arange(1, int(number) + 1)
    return grid if grid[-1] >= high else np.append(grid, low + spacing * (number + 1))


def superbasins(
    order: Order, drawn: Iterable[int], joins: Sequence[Join], grid: np.ndarray
) -> list[Node]:
    """Join the drawn minima, level by level, into one tree per component.

    The tree of the lowest drawn minimum comes first, then the others by size.
    """
    levels = np.searchsorted(grid, [join.energy for join in joins]).tolist()
    by_level: dict[int, list[Join]] = {}
    for level, join in zip(levels, joins, strict=True):
        by_level.setdefault(level, []).append(join)
    every, verified = UnionFind(len(order)), UnionFind(len(order))
    inside = UnionFind(len(order))  # the superbasins that are nodes
    node: dict[int, Node] = {i: Node(order[i]) for i in drawn}
    place = {node[i].key[1]: i for i in node}
    carried: dict[int, list[Join]] = {}  # joins of pieces that hold fewer than two drawn minima
    for level in sorted(by_level):
        touched: set[int] = set()
        for join in by_level[level]:
            touched |= {every.find(join.low), every.find(join.high)}
        for join in by_level[level]:
            every.union(join.low, join.high)
            if join.verified:
                verified.union(join.low, join.high)
        pieces: dict[int, list[Join]] = {}
        for root in sorted(touched):
            pieces.setdefault(every.find(root), []).extend(carried.pop(root, ()))
        for join in by_level[level]:
            pieces[every.find(join.low)].append(join)
        groups: dict[int, list[Node]] = {root: [] for root in pieces}
        for root in sorted(touched):
            if root in node:
                groups[every.find(root)].append(node.pop(root))
        for root, children in groups.items():
            if len(children) < 2:
                carried[root] = pieces[root]
                if children:
                    node[root] = children[0]
                continue
            children.sort(key=lambda child: child.key)
            main = verified.find(place[children[0].key[1]])
            for child in children:
                child.estimated = verified.find(place[child.key[1]]) != main
            count = sum(child.size for child in children)
            held = _between(pieces[root], [place[child.key[1]] for child in children], inside)
            held.sort(key=lambda join: (level > 0 and join.energy <= grid[level - 1], join))
            for join in pieces[root]:
                inside.union(join.low, join.high)
            node[root] = Node(children[0].key, level, tuple(children), count, joins=tuple(held))
    roots = sorted(node.values(), key=lambda root: root.key)
    return roots[:1] + sorted(roots[1:], key=lambda root: (-root.size, root.key))


def _between(joins: Sequence[Join], ends: Iterable[int], inside: UnionFind) -> list[Join]:
    """Those of the joins, a tree, that lie between its ends: no dead ends of hidden minima."""
    kept = {inside.find(end) for end in ends}
    at: dict[int, dict[Join, int]] = {}  # the joins at each superbasin, and where they lead
    for join in joins:
        a, b = inside.find(join.low), inside.find(join.high)
        at.setdefault(a, {})[join] = b
        at.setdefault(b, {})[join] = a
    dead = [name for name, found in at.items() if len(found) == 1 and name not in kept]
    while dead:
        for join, other in at.pop(dead.pop()).items():
            del at[other][join]
            if len(at[other]) == 1 and other not in kept:
                dead.append(other)
    return list(dict.fromkeys(join for found in at.values() for join in found))
