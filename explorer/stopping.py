"""When a search has done enough: rules that a person can reason about.

How much is still unseen is estimated after Good and Turing (Biometrika 40, 237 (1953)): of n
quenches that ended in a minimum, the minima met exactly once, n1, say how likely the next quench is
to meet one that was never met: n1 / n. One minus that is the coverage: the share of the search's
own outcomes, weighted by how often they come, that is known by now. How many minima are unseen at
least follows from those met once and twice, n1 (n1 - 1) / (2 (n2 + 1)) (Chao, Scand. J. Stat. 11,
265 (1984)). Quenches of one walker are not independent, and rare minima can hide: both are
estimates of what this search would find, not of what there is.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from topokrates.model.errors import InputError
from topokrates.storage.records import QuenchRecord


class Coverage(NamedTuple):
    """What a search has seen of what it could.

    Attributes:
        quenches: that ended in a minimum of the landscape.
        minima: distinct ones among them.
        once, twice: minima met exactly so often.
    """

    quenches: int = 0
    minima: int = 0
    once: int = 0
    twice: int = 0

    @property
    def coverage(self) -> float:
        """Estimated chance that the next quench ends in a minimum that was met before."""
        return 1 - self.once / self.quenches if self.quenches else 0.0

    @property
    def unseen(self) -> float:
        """Estimated number of minima not met yet, a lower bound."""
        return self.once * (self.once - 1) / (2 * (self.twice + 1))

    @classmethod
    def of(cls, visits: Mapping[int, int]) -> "Coverage":
        """From how often each minimum was met."""
        times = list(visits.values())
        return cls(sum(times), len(times), times.count(1), times.count(2))


class Rules(NamedTuple):
    """When a search ends, whatever comes first.

    Attributes:
        quenches: of the search in all its runs together.
        seconds: of this run.
        stale: quenches in a row without a new minimum within `window` of the lowest.
        window: energy above the lowest minimum, in the landscape's unit; infinite for any.
        coverage: estimated share, see `Coverage`.
    """

    quenches: int
    seconds: float | None = None
    stale: int | None = None
    window: float = float("inf")
    coverage: float | None = None

    def check(self) -> None:
        """Raises InputError for a rule that means nothing."""
        if self.quenches < 0:
            raise InputError(f"{self.quenches} quenches: give at least 0")
        if self.seconds is not None and not self.seconds > 0:
            raise InputError(f"a wall time of {self.seconds:g} s: give a time above 0")
        if self.stale is not None and self.stale < 1:
            raise InputError(f"stale after {self.stale} quenches: give at least 1")
        if not self.window > 0:
            raise InputError(f"an energy window of {self.window:g}: give an energy above 0")
        if self.coverage is not None and not 0 < self.coverage < 1:
            raise InputError(f"a coverage of {self.coverage:g}: give a share between 0 and 1")


class Tally:
    """What a search's quenches came to, round by round; says when the rules are met."""

    def __init__(self) -> None:
        self.visits: dict[int, int] = {}
        self._quenches = 0
        self._news: list[tuple[int, float]] = []  # after how many quenches, energy

    def add(self, rows: Iterable[QuenchRecord]) -> None:
        """Takes in the quenches of whole rounds, in the order of steps and walkers."""
        for row in rows:
            self._quenches += 1
            if row.minimum is not None:
                self.visits[row.minimum] = self.visits.get(row.minimum, 0) + 1
                if row.status == "new" and row.energy is not None:
                    self._news.append((self._quenches, row.energy))

    @property
    def coverage(self) -> Coverage:
        return Coverage.of(self.visits)

    def reason(self, rules: Rules, seconds: float, lowest: float) -> str | None:
        """Why the search ends now, or None.

        Args:
            rules: when it shall.
            seconds: that this run has taken.
            lowest: energy of the lowest minimum of the landscape.
        """
        if rules.seconds is not None and seconds >= rules.seconds:
            return f"wall time: {seconds:.0f} s"
        if rules.stale is not None:
            near = [after for after, energy in self._news if energy <= lowest + rules.window]
            since = self._quenches - max(near, default=0)
            if since >= rules.stale:
                return f"no new minimum in {since} quenches"
        found = self.coverage
        # a few quenches that all fell back say nothing
        enough = found.quenches >= 4 * max(found.minima, 5)
        if rules.coverage is not None and enough and found.coverage >= rules.coverage:
            return f"estimated coverage {100 * found.coverage:.1f} %"
        return None
