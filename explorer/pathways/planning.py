"""What to connect next.

Missing connections (Carr, Trygubenko and Wales, J. Chem. Phys. 122, 234903 (2005)): between a
component of the graph and that of the global minimum runs a shortest path over all minima, where a
verified link costs nothing, a gap the square of its RMSD, and one that was tried in every way is
closed. All gaps on such paths can be tried at once. When all hangs together, near pairs are tried
that were not; the lowest path rarely is the first. Last come estimates that no verified path beats:
another climb starts from their tops. Two more strategies spend attempts where a graph
is likely wrong: low minima behind high barriers, and the highest pass between two given minima.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import networkx as nx

from topokrates.landscape import Landscape
from topokrates.pathways.distances import Distances

SHORT, LONG = "band", "band, the long way round"
WAYS = (SHORT, LONG)
TOP = "from the top of an estimate"
STRATEGIES = ("all", "untrap", "shorten")
CANDIDATES = 12  # nearest others over which paths of gaps run
NEIGHBOURS = 3  # nearest others that each minimum is tried with
AGAIN = 4.0  # a gap that failed once looks so much longer
CLOSE_FUNNELS = 4  # partners of a trapped minimum that are tried in one round


class Gap(NamedTuple):
    """A pair of minima to be tried, and in which way."""

    a: int
    b: int
    way: str


class Planner:
    """Chooses gaps in a landscape.

    Args:
        landscape: whose minima are to be connected.
        distances: between them.
        neighbours: how many nearest others each minimum is tried with once all is connected.
    """

    def __init__(self, landscape: Landscape, distances: Distances, neighbours: int = NEIGHBOURS):
        self.landscape, self.distances, self.neighbours = landscape, distances, neighbours
        self.tried: set[Gap] = set()

    def gaps(self, lowest: int | None = None) -> list[Gap]:
        """What to try next so that everything, or the lowest minima, hang together; best first."""
        minima = [m.id for m in self.landscape.minimum_list]
        graph = self._verified()
        wanted = set(minima[:lowest])
        home = nx.node_connected_component(graph, minima[0]) if minima else set()
        apart = [part for part in nx.connected_components(graph) if part & wanted - home]
        rank = {name: k for k, name in enumerate(minima)}
        apart.sort(key=lambda part: min(rank[name] for name in part))
        if apart and (gaps := self._missing(graph, home, apart)):
            return gaps
        return self._near(minima[:lowest]) or self._doubtful(graph, wanted)

    def untrapping(self) -> list[Gap]:
        """Gaps out of low minima behind high barriers, those that look most wrong first.

        A minimum looks wrong when its barrier to something lower is high beside its height above
        the global minimum; it is tried with the nearest minima on the other side.
        """
        energies = {m.id: m.energy for m in self.landscape.minimum_list}
        bottom, top = min(energies.values()), max(energies.values())
        scale = max(top - bottom, 1e-12)
        order, below = [], {}
        basins = {name: {name} for name in energies}
        home = {name: name for name in energies}
        for energy, a, b in sorted(
            (link.energy, *link.minima) for link in self.landscape.link_list if link.verified
        ):
            one, other = home[a], home[b]
            if one == other:
                continue
            low, high = sorted((one, other), key=lambda name: (energies[name], name))
            climb = energy - energies[high]
            order.append((climb / (energies[high] - bottom + 0.1 * scale), high))
            below[high] = set(basins[low])
            for name in basins[high]:
                home[name] = low
            basins[low] |= basins.pop(high)
        gaps = []
        for _, name in sorted(order, key=lambda row: (-row[0], row[1])):
            others = self.distances.bridge({name}, below[name], 3 * CLOSE_FUNNELS)
            others.sort(key=lambda pair: (self.distances.between(*pair), pair))
            gaps += self._open(others[:CLOSE_FUNNELS])
        return list(dict.fromkeys(gaps))

    def shortening(self, start: int, end: int) -> list[Gap]:
        """Gaps that may lead to a lower highest pass between two minima.

        First the nearest pairs across it, on the path. Then what is missing between all that hangs
        together with the one below that pass, and with the other: no lower path can do without.
        """
        graph = self._verified()
        if not nx.has_path(graph, start, end):
            parts = [nx.node_connected_component(graph, name) for name in (start, end)]
            return self._missing(graph, parts[0], [parts[1]])
        forest = nx.minimum_spanning_tree(graph, weight="energy")
        path = nx.shortest_path(forest, start, end)
        passes = [forest.edges[step]["energy"] for step in pairwise(path)]
        highest = max(range(len(passes)), key=passes.__getitem__)
        before, after = path[: highest + 1][-6:], path[highest + 1 :][:6]
        pairs = [(a, b) for a in before for b in after]
        pairs.sort(key=lambda pair: (self.distances.between(*pair), pair))
        if gaps := self._open(pairs):
            return gaps
        limit = passes[highest]
        below = graph.subgraph(m.id for m in self.landscape.minimum_list if m.energy < limit).copy()
        below.remove_edges_from([
            (a, b) for a, b, energy in below.edges(data="energy") if energy >= limit
        ])  # fmt: skip
        parts = [nx.node_connected_component(below, name) for name in (start, end)]
        return self._missing(below, parts[0], [parts[1]])

    def _verified(self) -> nx.Graph:
        """Minima, and the lowest verified link of each pair."""
        graph = nx.Graph()
        graph.add_nodes_from(m.id for m in self.landscape.minimum_list)
        for link in self.landscape.link_list:
            if link.verified and not graph.has_edge(*link.minima):
                graph.add_edge(*link.minima, energy=link.energy, weight=0.0)
        return graph

    def _missing(self, graph: nx.Graph, home: set[int], apart: list[set[int]]) -> list[Gap]:
        """Gaps on the shortest paths from components to the home of the global minimum."""
        paths = graph.copy()
        for name in graph:
            for other in self.distances.nearest(name, CANDIDATES):
                if other in graph:
                    self._offer(paths, name, other)
        self._bridge(paths, home, apart)
        gaps: list[Gap] = []
        found: Any = nx.multi_source_dijkstra(paths, home, weight="weight")
        length, route = found
        for part in apart:
            reached = [name for name in sorted(part) if name in length]
            if not reached:
                continue
            way = route[min(reached, key=lambda name: (length[name], name))]
            for a, b in pairwise(way):
                if not graph.has_edge(a, b):
                    gaps += self._open([(a, b)])
        return list(dict.fromkeys(gaps))

    def _bridge(self, paths: nx.Graph, home: set[int], apart: list[set[int]]) -> None:
        """Edges to what is farther away, for components that near ones do not lead home."""
        islands: list[set[int]] = list(nx.connected_components(paths))
        where = {name: k for k, island in enumerate(islands) for name in island}
        count = CANDIDATES
        for part in apart:
            one = next(iter(part))
            while islands[where[one]].isdisjoint(home):
                island = islands[where[one]]
                before = paths.number_of_edges()
                nearest = self.distances.bridge(island, set(paths) - island, count)
                for a, b in nearest:
                    self._offer(paths, a, b)
                if paths.number_of_edges() > before:
                    islands = list(nx.connected_components(paths))
                    where = {name: k for k, island in enumerate(islands) for name in island}
                    count = CANDIDATES
                elif len(nearest) < count:
                    break  # all was tried in vain
                else:
                    count *= 4

    def _offer(self, paths: nx.Graph, a: int, b: int) -> None:
        """An edge for a pair that may still be tried."""
        if paths.has_edge(a, b):
            return
        if (gap := self._open([(a, b)])) != []:
            again = AGAIN if gap[0].way != SHORT else 1.0
            paths.add_edge(a, b, weight=again * self.distances.between(a, b) ** 2)

    def _near(self, minima: Iterable[int]) -> list[Gap]:
        pairs = {
            (min(a, b), max(a, b))
            for a in minima
            for b in self.distances.nearest(a, self.neighbours)
        }
        new = [pair for pair in pairs if Gap(*pair, SHORT) not in self.tried]
        new.sort(key=lambda pair: (self.distances.between(*pair), pair))
        return [Gap(*pair, SHORT) for pair in new]

    def _doubtful(self, graph: nx.Graph, wanted: set[int]) -> list[Gap]:
        """The lowest estimate that lies below every verified path between its minima.

        One at a time, since what comes of it may do away with the next.
        """
        forest = nx.minimum_spanning_tree(graph, weight="energy")
        for link in self.landscape.link_list:
            a, b = link.minima
            gap = Gap(min(a, b), max(a, b), TOP)
            if link.verified or a == b or not wanted & {a, b} or gap in self.tried:
                continue
            if nx.has_path(forest, a, b):
                steps = pairwise(nx.shortest_path(forest, a, b))
                if max(forest.edges[step]["energy"] for step in steps) <= link.energy:
                    continue
            return [gap]
        return []

    def _open(self, pairs: Iterable[tuple[int, int]]) -> list[Gap]:
        """Each pair in the first way in which it was not tried; none for those that are closed."""
        found = []
        for a, b in pairs:
            ways = (Gap(min(a, b), max(a, b), way) for way in WAYS)
            found += [gap for gap in ways if gap not in self.tried][:1]
        return found
