"""The rounds of a search: all walkers propose, all are quenched, all results are taken in.

A search survives being killed at any moment. Each descent is committed as it ends, each result
together with what it does to the landscape, and the searcher's state at the end of the round. The
next run proposes the same structures again (a proposal depends on state, seed, walker and step
alone), finds which of them the store holds, and does the rest. Results enter the search in the
order of the walkers whatever finished first, so that it ends as an undisturbed one would. What a
round brings that is not recognised is certified as one batch; a certificate does not depend on who
is beside it, and what it cost is entered with the quench that needed it.
"""

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from topokrates.landscape import Landscape
from topokrates.model.potential import Potential
from topokrates.model.progress import Progress
from topokrates.quench import Quencher, Settled
from topokrates.relaxation.certify import Certificate
from topokrates.relaxation.relax import Status
from topokrates.search import configured, searcher_module
from topokrates.search.state import Outcome, pack, unpack
from topokrates.stopping import Rules, Tally
from topokrates.storage.records import QuenchRecord

WAITING = "waiting"  # a descent that converged and is not settled yet


@dataclass
class _Spent:
    """What the quenches of a search have cost."""

    done: int = 0
    gradient_calls: int = 0
    hessian_vector_products: int = 0

    def add(self, row: QuenchRecord, instead_of: QuenchRecord | None = None) -> None:
        for one, sign in ((row, 1), (instead_of, -1)):
            if one is not None:
                self.done += sign * (one.status != WAITING)
                self.gradient_calls += sign * one.gradient_calls
                self.hessian_vector_products += sign * one.hessian_vector_products


class Search:
    """One search in a landscape, known by searcher, seed, walkers and settings.

    Args:
        landscape: where minima go, and whose store the search lives in.
        potential: for dynamics and descents.
        searcher: its name.
        walkers: proposals per round.
        seed: of everything random.
        settings: of the searcher, where they are not its own for the molecule.

    Raises:
        InputError: for a searcher or a setting that does not exist.
    """

    def __init__(
        self,
        landscape: Landscape,
        potential: Potential,
        searcher: str,
        walkers: int,
        seed: int,
        settings: Mapping[str, float] | None = None,
    ):
        self.module = searcher_module(searcher)
        self.landscape, self.potential = landscape, potential
        self.walkers, self.seed = walkers, seed
        self.settings = configured(searcher, landscape.molecule, settings)
        described = {
            "searcher": searcher,
            "seed": seed,
            "walkers": walkers,
            "settings": self.settings._asdict(),
        }
        self.key = json.dumps(described, sort_keys=True)
        self.id = landscape.store.search(self.key, described)
        self.quencher = Quencher(landscape, potential)
        self._spent, self._tally = _Spent(), Tally()

    def run(self, rules: Rules, progress: Progress) -> str | None:
        """Goes on until the rules say that it is enough; the rule that did, None for quenches."""
        began, quenches = time.monotonic(), rules.quenches
        record = self.landscape.store.load_search(self.key)
        assert record is not None
        step, target = record.step, max(quenches, record.target)
        self._spent, self._tally = _Spent(), Tally()
        earlier = self.landscape.store.quenches(self.id)
        for row in earlier:
            self._spent.add(row)
        self._tally.add(row for row in earlier if row.step < step)
        state = (
            unpack(self.module.State, record.state)
            if record.state is not None
            else self.module.init(self.settings, self.landscape.molecule, self.walkers)
        )
        progress.stage("search", quenches, min(step * self.walkers, quenches))
        self._save(step, target, None)
        while step * self.walkers < quenches:
            lowest = min((m.energy for m in self.landscape.minimum_list[:1]), default=np.inf)
            if reason := self._tally.reason(rules, time.monotonic() - began, lowest):
                progress.advance(step * self.walkers, self._standing())
                return reason
            wanted = min(self.walkers, quenches - step * self.walkers)
            rows = self._quench(state, step, wanted, progress)
            if wanted < self.walkers:
                # the rest of this round is for a longer run of the same search
                self._save(step, target, None)
                return None
            state = self._follow(state, step, rows)
            step += 1
            self._save(step, target, pack(state))
        progress.advance(quenches, self._standing())
        return None

    def _save(self, step: int, target: int, state: bytes | None) -> None:
        self.landscape.store.save_search(
            self.key,
            step=step,
            done=self._spent.done,
            target=target,
            gradient_calls=self._spent.gradient_calls,
            hessian_vector_products=self._spent.hessian_vector_products,
            state=state,
        )

    def _quench(self, state: Any, step: int, wanted: int, progress: Progress) -> list[QuenchRecord]:
        """The results of the first `wanted` walkers; only what the store lacks is computed."""
        rows = {row.walker: row for row in self.landscape.store.quenches(self.id, step)}
        missing = [walker for walker in range(wanted) if walker not in rows]
        over = step * self.walkers
        progress.advance(over, self._standing())
        if missing:
            # every walker proposes, wanted or not: so a batch of dynamics is always the same one
            proposals, spent = self.module.propose(
                self.settings,
                state,
                self.landscape.molecule,
                self.potential,
                self.seed,
                step,
                list(range(self.walkers)),
            )
            starts = [proposals[walker] for walker in missing]
            for descent in self.quencher.descend(starts, lanes=self.walkers):
                walker = missing[descent.index]
                converged = descent.status is Status.CONVERGED
                rows[walker] = QuenchRecord(
                    step,
                    walker,
                    WAITING if converged else str(descent.status),
                    descent.energy,
                    descent.positions if converged else None,
                    descent.gradient_calls + int(spent[walker]),
                    None,
                )
                self._log(rows[walker])
                self._spent.add(rows[walker])
        proofs = self._prove([rows[walker] for walker in range(wanted)])
        for walker in range(wanted):
            if rows[walker].status == WAITING:
                rows[walker] = self._settle(rows[walker], proofs[walker])
            progress.advance(over + walker + 1, self._standing())
        return [rows[walker] for walker in range(wanted)]

    def _prove(self, rows: list[QuenchRecord]) -> dict[int, Certificate | None]:
        """Certificates of what waits, by walker: one batch, and none knows of another."""
        waiting = [row for row in rows if row.status == WAITING]
        ends = [
            (row.positions, row.energy)
            for row in waiting
            if row.positions is not None and row.energy is not None
        ]
        proofs = self.quencher.prove(ends)
        return {row.walker: proof for row, proof in zip(waiting, proofs, strict=True)}

    def _settle(self, row: QuenchRecord, proof: Certificate | None) -> QuenchRecord:
        assert row.positions is not None
        assert row.energy is not None

        def after(settled: Settled) -> QuenchRecord:
            return row._replace(
                status=settled.outcome,
                energy=settled.energy,
                positions=None,
                gradient_calls=row.gradient_calls + settled.gradient_calls,
                hessian_vector_products=settled.hessian_vector_products,
                minimum=settled.minimum,
            )

        settled = after(
            self.quencher.settle(
                row.positions,
                row.energy,
                Status.CONVERGED,
                lambda settled: self._log(after(settled)),
                proof,
            )
        )
        self._spent.add(settled, instead_of=row)
        return settled

    def _log(self, row: QuenchRecord) -> None:
        self.landscape.store.log_quench(
            self.id,
            row.walker,
            row.step,
            row.status,
            row.energy,
            row.positions,
            row.gradient_calls,
            row.minimum,
            row.hessian_vector_products,
        )

    def _follow(self, state: Any, step: int, rows: list[QuenchRecord]) -> Any:
        """The searcher's state after a round."""
        seen = Counter(self._tally.visits)
        atoms = self.landscape.molecule.n_atoms
        positions, energies = np.zeros((len(rows), atoms, 3)), np.full(len(rows), np.inf)
        minima, visits = np.full(len(rows), -1), np.zeros(len(rows), int)
        for walker, row in enumerate(rows):
            if row.minimum is not None:
                minimum = self.landscape.minimum(row.minimum)
                positions[walker], energies[walker] = minimum.positions, minimum.energy
                minima[walker], visits[walker] = row.minimum, seen[row.minimum]
                seen[row.minimum] += 1
        self._tally.add(rows)
        outcome = Outcome(positions, energies, minima, visits)
        return self.module.step(self.settings, state, outcome, self.seed, step)[0]

    def _standing(self) -> str:
        minima = self.landscape.minimum_list
        if not minima:
            return "no minimum yet"
        unit = self.landscape.energy_unit
        word = "minimum" if len(minima) == 1 else "minima"
        found = self._tally.coverage
        covered = f", coverage {100 * found.coverage:.0f} %" if found.quenches else ""
        return f"{len(minima)} {word}, lowest {minima[0].energy:.4f} {unit}{covered}"
