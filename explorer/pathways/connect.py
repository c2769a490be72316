"""What to connect next: until the graph hangs together, then the near pairs that remain.

First the components of the graph (joined by verified transition states) are joined at their
nearest pairs; then each minimum is tried with its nearest others, since the lowest path rarely is
the first. A pair that was tried is in the store and is not tried again, so that the same call goes
on where it stopped.
"""

from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import networkx as nx
import numpy as np

from topokrates.identity import Matcher
from topokrates.landscape import Landscape
from topokrates.model.potential import Potential
from topokrates.pathways.attempt import Attempt, Candidate, attempt
from topokrates.progress import Progress, Silent
from topokrates.quench import Quencher
from topokrates.records import located

NEIGHBOURS = 3  # nearest others that each minimum is tried with
ATTEMPTS_PER_MINIMUM, LEAST_ATTEMPTS = 4, 20
SHORT, LONG = "band", "band, the long way round"


class Gap(NamedTuple):
    """A pair of minima to be tried, by a strategy."""

    a: int
    b: int
    strategy: str


def connect_minima(
    landscape: Landscape,
    potential: Potential,
    *,
    neighbours: int = NEIGHBOURS,
    limit: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Searches transition states between the minima of a landscape.

    Args:
        landscape: what is connected; new minima on the way are added.
        potential: that the landscape was made with.
        neighbours: how many nearest others each minimum is tried with once all is connected.
        limit: attempts at most, those of earlier calls counted in; None for four times the minima
            that searches found, and at least 20. New minima met on the way can be many.
        progress: who is told.
    """
    Connector(landscape, potential, neighbours).run(limit, progress or Silent())


class Connector:
    """The state of connecting one landscape."""

    def __init__(self, landscape: Landscape, potential: Potential, neighbours: int = NEIGHBOURS):
        self.landscape, self.potential, self.neighbours = landscape, potential, neighbours
        self.quencher = Quencher(landscape, potential)
        self.matcher = Matcher(landscape.molecule, allow=landscape.allow)
        self._distances: dict[tuple[int, int], float] = {}

    def run(self, limit: int | None, progress: Progress) -> None:
        """Tries the best gap until none is left."""
        if limit is None:
            limit = max(LEAST_ATTEMPTS, ATTEMPTS_PER_MINIMUM * len(self._searched()))
        tried = sum(record.times for record in self._attempts())
        progress.stage("connect", limit, min(tried, limit))
        while tried < limit and (gaps := self.gaps()):
            progress.advance(tried, self._standing(gaps[0]))
            self._take_in(gaps[0], self._attempt(gaps[0]))
            tried += 1
        progress.advance(min(tried, limit), self._standing(None))

    def _searched(self) -> set[int]:
        """Minima that searches found: the same number however often this is called."""
        store = self.landscape.store
        quenches = (row for search in store.searches() for row in store.quenches(search.id))
        return {row.minimum for row in quenches if row.minimum is not None}

    def gaps(self) -> list[Gap]:
        """What to try next, best first; pairs that were tried are left out."""
        minima = [m.id for m in self.landscape.minimum_list]
        tried = {(*sorted(record.minima), record.strategy) for record in self._attempts()}
        links = [link.minima for link in self.landscape.link_list if link.verified]
        graph = nx.Graph()
        graph.add_nodes_from(minima)
        graph.add_edges_from(links)
        component = {
            name: k for k, names in enumerate(nx.connected_components(graph)) for name in names
        }
        apart = [(a, b) for a, b in combinations(sorted(minima), 2) if component[a] != component[b]]
        for strategy in (SHORT, LONG):
            open_pairs = [pair for pair in apart if (*pair, strategy) not in tried]
            if open_pairs:
                return self._disjoint(open_pairs, component, strategy)
        near = {
            tuple(sorted((a, b)))
            for a in minima
            for b in sorted((b for b in minima if b != a), key=lambda b: self.distance(a, b))[
                : self.neighbours
            ]
        }
        open_pairs = [(a, b) for a, b in near if (a, b, SHORT) not in tried]
        open_pairs.sort(key=lambda pair: (self.distance(*pair), pair))
        return [Gap(a, b, SHORT) for a, b in open_pairs]

    def distance(self, a: int, b: int) -> float:
        """Symmetric RMSD between two minima, Å or sigma."""
        pair = (min(a, b), max(a, b))
        if pair not in self._distances:
            first, second = (located(self.landscape.minimum(name)) for name in pair)
            self._distances[pair] = self.matcher.rmsd(first, second)
        return self._distances[pair]

    def _disjoint(
        self, pairs: Iterable[tuple[int, int]], component: dict[int, int], strategy: str
    ) -> list[Gap]:
        """Nearest pairs first, one for each two components."""
        ordered = sorted(pairs, key=lambda pair: (self.distance(*pair), pair))
        seen, chosen = set(), []
        for a, b in ordered:
            joined = frozenset((component[a], component[b]))
            if joined not in seen:
                seen.add(joined)
                chosen.append(Gap(a, b, strategy))
        return chosen

    def _attempts(self):
        return self.landscape.store.attempts()

    def _attempt(self, gap: Gap) -> Attempt:
        return attempt(
            self.landscape.molecule,
            self.potential,
            self.quencher.coordinates,
            self.matcher,
            self.landscape.minimum(gap.a),
            self.landscape.minimum(gap.b),
            long_way=gap.strategy == LONG,
        )

    def _take_in(self, gap: Gap, found: Attempt) -> None:
        linked = [pair for candidate in found.candidates if (pair := self._verify(candidate))]
        wanted = (min(gap.a, gap.b), max(gap.a, gap.b))
        with self.landscape.transaction():
            if wanted not in linked and np.isfinite(found.top_energy):
                # a band's top is no lower than its ends, whatever its rounding
                ends = [self.landscape.minimum(name).energy for name in wanted]
                energy = max(found.top_energy, *ends)
                self.landscape.add_link(wanted, energy, found.top, verified=False)
            outcome = "linked" if wanted in linked else "linked others" if linked else "nothing"
            self.landscape.store.log_attempt(*wanted, outcome, gap.strategy)

    def _verify(self, candidate: Candidate) -> tuple[int, int] | None:
        """Stores a transition state if both its sides are minima of this molecule."""
        ends = [
            self.quencher.settle(side.positions, side.energy, side.status)
            for side in candidate.sides
        ]
        a, b = (end.minimum for end in ends)
        saddle = candidate.saddle
        if a is None or b is None:
            return None
        if saddle.energy < max(self.landscape.minimum(name).energy for name in (a, b)):
            return None  # a side that was quenched past its own basin
        self.landscape.add_link(
            (a, b),
            saddle.energy,
            saddle.positions,
            True,
            saddle.max_force,
            saddle.negative_eigenvalues,
            saddle.lowest_eigenvalue,
        )
        return (min(a, b), max(a, b))

    def _standing(self, gap: Gap | None) -> str:
        links = self.landscape.link_list
        verified = sum(link.verified for link in links)
        state = "state" if verified == 1 else "states"
        parts = [f"{verified} transition {state}"]
        components = self.landscape.connected_components
        parts.append("all connected" if components == 1 else f"{components} components")
        if gap is not None:
            parts.append(f"trying {gap.a}-{gap.b}")
        return ", ".join(parts)
