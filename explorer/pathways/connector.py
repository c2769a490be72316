"""Connecting a landscape, round by round, until its graph hangs together and nothing new is met.

A round is a batch of attempts that the planner chose; it is stored before it is begun, and each
attempt is stored with all that it did to the landscape. Killed at any moment, the same call goes on
with what the round still lacks, and ends as an undisturbed one would. When all hangs together,
single-ended searches go on from every minimum until a number of them in a row met nothing new.
"""

import bisect
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from topokrates.identity.matching import Matcher
from topokrates.landscape import Landscape, Link
from topokrates.links import LINK_ENERGY_TOLERANCE
from topokrates.model.potential import Potential
from topokrates.model.progress import Progress
from topokrates.pathways.attempt import Attempt, Candidate, Climb, Room, attempts, climbed
from topokrates.pathways.distances import Distances
from topokrates.pathways.planning import LONG, NEIGHBOURS, TOP, Gap, Planner
from topokrates.pathways.saddle import Saddle, internal_hessian
from topokrates.pathways.swift_climb import applies
from topokrates.pathways.uphill import uphill
from topokrates.quench import Quencher
from topokrates.relaxation.certify import Certificate
from topokrates.relaxation.relax import Status
from topokrates.storage.records import CONNECTING, located

ATTEMPTS_PER_MINIMUM, LEAST_ATTEMPTS = 4, 20
BATCH = 8  # attempts to a round
UPHILL = "uphill"  # the way of a single-ended search, followed by its number
CHEAP_BATCH = 64  # of single-ended searches whose gradients cost less than a call does
SADDLES, SMALL = 800, 100  # single-ended searches by default, of so many minima at most


class Connected(NamedTuple):
    """What a call has done: attempts, new transition states and minima, and what it cost."""

    attempts: int
    transition_states: int
    minima: int
    gradient_calls: int
    hessian_vector_products: int


class Connector:
    """The state of connecting one landscape."""

    def __init__(
        self,
        landscape: Landscape,
        potential: Potential,
        neighbours: int = NEIGHBOURS,
        batch: int = BATCH,
    ):
        self.landscape, self.potential, self.batch = landscape, potential, batch
        self.quencher = Quencher(landscape, potential)
        matcher = Matcher(landscape.molecule, allow=landscape.allow)
        coordinates = self.quencher.coordinates
        self.room = Room(landscape.molecule, potential, coordinates, matcher, self._recognised)
        self.planner = Planner(landscape, Distances(landscape, matcher), neighbours)
        self._barren: dict[int, list[tuple[int, bool]]] = {}
        self._last_link = 0
        self._cheap = applies(potential, coordinates)
        store = landscape.store
        store.search(CONNECTING, {"searcher": CONNECTING})
        for record in store.attempts():
            self._note(Gap(*record.minima, record.strategy), record.outcome)
        self.record = store.load_search(CONNECTING)
        assert self.record is not None
        self._calls = self.record.gradient_calls
        self._products = self.record.hessian_vector_products

    def run(
        self,
        strategy: str,
        between: tuple[int, int] | None,
        lowest: int | None,
        limit: int | None,
        saddles: int | None,
        progress: Progress,
    ) -> Connected:
        """See `connect_minima`."""
        if limit is None:
            limit = max(LEAST_ATTEMPTS, ATTEMPTS_PER_MINIMUM * len(self._searched()))
        before = self._account()
        progress.stage("connect", limit, min(self._pairs, limit))

        def plan() -> list[Gap]:
            if strategy == "untrap":
                return self.planner.untrapping()
            if between is not None:
                return self.planner.shortening(*between)
            return self.planner.gaps(lowest)

        while self._pairs < limit and (gaps := self._pending() or self._begin(plan())):
            progress.advance(self._pairs, self._standing(gaps))
            self._try(gaps[: limit - self._pairs], progress, limit)
        progress.advance(min(self._pairs, limit), self._standing([]))
        if strategy == "all":
            self._uphill(self._default(saddles), lowest, progress)
        return Connected(*(now - then for now, then in zip(self._account(), before, strict=True)))

    def climb_from(self, guesses: Sequence[np.ndarray]) -> None:
        """Climbs from structures (N, 3), such as transition states of another potential.

        What they lead to is stored if it is verified, and the minima on both sides with it.
        """
        self._guide()
        self._last_link = max((link.id for link in self.landscape.link_list), default=0)
        # one group, so that a saddle that several climbs end on is gone down from once
        (found,) = climbed(self.room, [[Climb(x, np.zeros_like(x)) for x in guesses]])
        proofs = self._prove([side for c in found.candidates for side in c.sides])
        with self.landscape.transaction():
            for candidate in found.candidates:
                self._verify(candidate, proofs)
            self._calls += found.gradient_calls
            self._products += found.hessian_vector_products
            self._save()

    # rounds

    def _pending(self) -> list[Gap]:
        """What is left of a round that was begun."""
        record = self.landscape.store.load_search(CONNECTING)
        if record is None or record.state is None:
            return []
        plan = json.loads(record.state)
        self._last_link = plan["last_link"]
        planned = [Gap(int(a), int(b), str(way)) for a, b, way in plan["gaps"]]
        return [gap for gap in planned if gap not in self.planner.tried]

    def _begin(self, gaps: list[Gap], size: int | None = None) -> list[Gap]:
        """Stores the plan of a round."""
        chosen = gaps[: size or self.batch]
        self._last_link = max((link.id for link in self.landscape.link_list), default=0)
        self._save(json.dumps({"last_link": self._last_link, "gaps": chosen}).encode())
        return chosen

    def _recognised(self, saddle: Saddle) -> tuple[int, int] | None:
        """The minima on both sides, if the saddle was known when the round began.

        Not what the round itself has brought: a round that was broken off must go on as it began.
        """
        links = self.landscape.link_list
        low = bisect.bisect_left(links, saddle.energy - LINK_ENERGY_TOLERANCE, key=_energy)
        high = bisect.bisect_right(links, saddle.energy + LINK_ENERGY_TOLERANCE, key=_energy)
        for link in links[low:high]:
            early = link.verified and link.id <= self._last_link
            if early and self.room.matcher.same(located(link), saddle.positions):
                return link.minima
        return None

    def _save(self, plan: bytes | None = None) -> None:
        done = len(self.planner.tried)
        self.landscape.store.save_search(
            CONNECTING,
            step=done,
            done=done,
            target=done,
            gradient_calls=self._calls,
            hessian_vector_products=self._products,
            state=plan,
        )

    def _try(self, gaps: Sequence[Gap], progress: Progress, limit: int | None = None) -> None:
        """One round: all that is computed goes side by side, and is taken in one by one."""
        minima = {name: self.landscape.minimum(name) for gap in gaps for name in gap[:2]}
        self._guide()
        if gaps[0].way.startswith(UPHILL):
            starts = [(minima[gap.a], _number(gap)) for gap in gaps]
            climbs = uphill(
                self.landscape.molecule,
                self.potential,
                self.quencher.coordinates,
                starts,
                self._saddles() if self._cheap else [],
            )
            found = climbed(self.room, [[climb] for climb in climbs])
        elif gaps[0].way == TOP:
            found = climbed(self.room, [[self._top(gap)] for gap in gaps])
        else:
            pairs = [(minima[gap.a], minima[gap.b], gap.way == LONG) for gap in gaps]
            found = attempts(self.room, pairs)
        sides = [side for one in found for c in one.candidates for side in c.sides]
        proofs = self._prove(sides)
        for gap, one in zip(gaps, found, strict=True):
            with self.landscape.transaction():
                self._take_in(gap, one, proofs)
            if limit is not None:
                progress.advance(min(self._pairs, limit), self._standing([]))

    def _guide(self) -> None:
        """Climbs are led by the Hessian of the minimum that was found first."""
        coordinates = self.quencher.coordinates
        if self.room.guide is not None or coordinates.cartesian:
            return
        first = located(min(self.landscape.minimum_list, key=lambda minimum: minimum.id))
        guide = internal_hessian(self.potential, coordinates, first)
        self.room = self.room._replace(guide=guide)
        if not self.planner.tried:  # paid for by the first attempt, whoever goes on
            self._products += first.size

    def _saddles(self) -> list[np.ndarray]:
        """Verified ones that were known when the round began."""
        links = sorted(self.landscape.link_list, key=lambda link: link.id)
        return [located(link) for link in links if link.verified and link.id <= self._last_link]

    def _top(self, gap: Gap) -> Climb:
        """From the lowest estimate of a pair along the softest mode, not along its band."""
        wanted = {gap.a, gap.b}
        top = next(
            link
            for link in self.landscape.link_list
            if not link.verified and set(link.minima) == wanted
        )
        return Climb(located(top), np.zeros_like(located(top)))

    def _prove(self, sides: Sequence) -> dict[int, Certificate | None]:
        """Certificates of the ends of descents that want one, by the identity of the descent."""
        converged = [side for side in sides if side.status is Status.CONVERGED]
        proofs = self.quencher.prove([(side.positions, side.energy) for side in converged])
        return {id(side): proof for side, proof in zip(converged, proofs, strict=True)}

    def _take_in(self, gap: Gap, found: Attempt, proofs: dict[int, Certificate | None]) -> None:
        linked, new = list(found.known), False
        for candidate in found.candidates:
            pair, added = self._verify(candidate, proofs)
            new = new or added
            linked += [pair] if pair else []
        wanted = (gap.a, gap.b)
        if found.top is not None and wanted not in linked and np.isfinite(found.top_energy):
            # a band's top is no lower than its ends, whatever its rounding
            ends = [self.landscape.minimum(name).energy for name in wanted]
            energy = max(found.top_energy, *ends)
            self.landscape.add_link(wanted, energy, found.top, verified=False)
        outcome = "linked" if wanted in linked else "linked others" if linked else "nothing"
        if found.top is None:
            outcome = "new" if new else "known" if linked else "nothing"
        self.landscape.store.log_attempt(*wanted, outcome, gap.way)
        self._calls += found.gradient_calls
        self._products += found.hessian_vector_products
        self._note(gap, outcome)
        self._save()

    def _verify(
        self, candidate: Candidate, proofs: dict[int, Certificate | None]
    ) -> tuple[tuple[int, int] | None, bool]:
        """Stores a transition state if both its sides are minima of this molecule.

        Returns the pair that it links, or None, and whether it is new.
        """
        ends = []
        for side in candidate.sides:
            proof = proofs.get(id(side))
            end = self.quencher.settle(side.positions, side.energy, side.status, proof=proof)
            self._calls += end.gradient_calls
            self._products += end.hessian_vector_products
            ends.append(end.minimum)
        a, b = ends
        saddle = candidate.saddle
        if a is None or b is None:
            return None, False
        if saddle.energy < max(self.landscape.minimum(name).energy for name in (a, b)):
            return None, False  # a side that was quenched past its own basin
        _, new = self.landscape.add_link(
            (a, b),
            saddle.energy,
            saddle.positions,
            True,
            saddle.max_force,
            saddle.negative_eigenvalues,
            saddle.lowest_eigenvalue,
        )
        return (min(a, b), max(a, b)), new

    # single-ended

    def _default(self, saddles: int | None) -> int:
        if saddles is not None:
            return saddles
        few = self.landscape.molecule.n_atoms > 2 and len(self.landscape) <= SMALL
        return SADDLES if few and self._cheap else 0

    def _uphill(self, saddles: int, lowest: int | None, progress: Progress) -> None:
        """Searches from every minimum until `saddles` in a row met nothing new."""
        size = CHEAP_BATCH if self._cheap else self.batch
        if saddles:
            progress.stage("saddles", None)
        while saddles:
            gaps = self._pending()
            if not gaps:
                wanted = [
                    [Gap(m.id, m.id, f"{UPHILL} {first + k}") for k in range(saddles - barren)]
                    for m in self.landscape.minimum_list[:lowest]
                    for first, barren in [self._searches(m.id)]
                ]
                # one of each minimum before the next of any
                most = max((len(row) for row in wanted), default=0)
                turns = [row[k] for k in range(most) for row in wanted if k < len(row)]
                gaps = self._begin(turns, size) if turns else []
            if not gaps:
                break
            self._try(gaps, progress)
            left = sum(max(saddles - self._searches(m.id)[1], 0)
                       for m in self.landscape.minimum_list[:lowest])  # fmt: skip
            progress.advance(0, f"{self._standing([])}, {left} searches left")

    def _searches(self, name: int) -> tuple[int, int]:
        """Single-ended searches made from a minimum, and those in a row without anything new."""
        made = sorted(self._barren.get(name, []))
        fruitful = [k for k, (_, new) in enumerate(made) if new]
        return len(made), len(made) - 1 - max(fruitful, default=-1)

    # what is known

    def _note(self, gap: Gap, outcome: str) -> None:
        self.planner.tried.add(gap)
        if gap.way.startswith(UPHILL):
            self._barren.setdefault(gap.a, []).append((_number(gap), outcome == "new"))

    @property
    def _pairs(self) -> int:
        """How many pairs were tried, single-ended searches not counted."""
        return len(self.planner.tried) - sum(len(made) for made in self._barren.values())

    def _searched(self) -> set[int]:
        """Minima that searches found: the same number however often this is called."""
        store = self.landscape.store
        quenches = (row for search in store.searches() for row in store.quenches(search.id))
        return {row.minimum for row in quenches if row.minimum is not None}

    def _account(self) -> tuple[int, int, int, int, int]:
        minima, links = self.landscape.contents()
        states = sum(link.verified for link in links)
        return len(self.planner.tried), states, len(minima), self._calls, self._products

    def _standing(self, gaps: Sequence[Gap]) -> str:
        verified = sum(link.verified for link in self.landscape.link_list)
        parts = [f"{verified} transition {'state' if verified == 1 else 'states'}"]
        components = self.landscape.connected_components
        parts.append("all connected" if components == 1 else f"{components} components")
        if gaps:
            names = ", ".join(f"{gap.a}-{gap.b}" for gap in gaps[:3])
            parts.append(f"trying {names}" + (" and others" if len(gaps) > 3 else ""))
        return ", ".join(parts)


def _energy(link: Link) -> float:
    return link.energy


def _number(gap: Gap) -> int:
    return int(gap.way.removeprefix(UPHILL))
