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
        """Gaps across the highest pass between two minima, the nearest pairs first."""
        graph = self._verified()
        if not nx.has_path(graph, start, end):
            parts = [nx.node_connected_component(graph, name) for name in (start, end)]
            return self._missing(graph, parts[0], [parts[1]])
        forest = nx.minimum_spanning_tree(graph, weight="energy")
        path = nx.shortest_path(forest, start, end)
        steps = list(pairwise(path))
        highest = max(range(len(steps)), key=lambda k: forest.edges[steps[k]]["energy"])
        before, after = path[: highest + 1][-6:], path[highest + 1 :][:6]
        pairs = [(a, b) for a in before for b in after]
        pairs.sort(key=lambda pair: (self.distances.between(*pair), pair))
        return self._open(pairs)

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
                self._offer(paths, name, other)
        gaps: list[Gap] = []
        for part in apart:
            count = CANDIDATES
            rest = set(graph) - part
            while not any(other in rest for name in part for other in paths[name]):
                # everything near was tried in vain: look further
                bridge = self.distances.bridge(part, rest, count)
                for a, b in bridge:
                    self._offer(paths, a, b)
                if len(bridge) < count:
                    break
                count *= 4
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
