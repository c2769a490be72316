"""Transition states between the minima of a landscape: what a caller may ask for.

The rounds themselves are in `connector`.
"""

from topokrates.landscape import Landscape
from topokrates.model.errors import InputError
from topokrates.model.potential import Potential
from topokrates.model.progress import Progress, Silent
from topokrates.pathways.connector import BATCH, Connected, Connector
from topokrates.pathways.planning import NEIGHBOURS, STRATEGIES

__all__ = ["Connected", "check_options", "connect_minima"]


def connect_minima(
    landscape: Landscape,
    potential: Potential,
    *,
    strategy: str = "all",
    between: tuple[int, int] | None = None,
    lowest: int | None = None,
    neighbours: int = NEIGHBOURS,
    limit: int | None = None,
    saddles: int | None = None,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Connected:
    """Searches transition states between the minima of a landscape.

    Args:
        landscape: what is connected; new minima on the way are added.
        potential: that the landscape was made with.
        strategy: "all" joins what is not connected, then tries near pairs; "untrap" tries low
            minima behind high barriers; "shorten" the highest pass on the lowest path `between`
            two minima.
        between: ids of two minima, for "shorten".
        lowest: connect only so many of the lowest minima; None for all.
        neighbours: how many nearest others each minimum is tried with once all is connected.
        limit: pairs to try at most, those of earlier calls counted in; None for four times the
            minima that searches found, and at least 20. New minima met on the way can be many.
        saddles: single-ended searches from each minimum without anything new after which it is
            left; 0 for none, None for 200 where gradients cost next to nothing and minima are few.
        batch: attempts side by side.
        progress: who is told.

    Raises:
        InputError: for a strategy that does not exist, or minima that do not.
    """
    check_options(landscape, strategy, between, lowest, limit, saddles, batch, neighbours)
    connector = Connector(landscape, potential, neighbours, batch)
    return connector.run(strategy, between, lowest, limit, saddles, progress or Silent())


def check_options(
    landscape: Landscape,
    strategy: str = "all",
    between: tuple[int, int] | None = None,
    lowest: int | None = None,
    limit: int | None = None,
    saddles: int | None = None,
    batch: int = BATCH,
    neighbours: int = NEIGHBOURS,
) -> None:
    """Raises InputError for options of `connect_minima` that cannot be used."""
    if strategy not in STRATEGIES:
        raise InputError(f"unknown strategy {strategy!r}: use {', '.join(STRATEGIES)}")
    if (between is None) is (strategy == "shorten"):
        raise InputError("two minima go with the strategy shorten, and it needs two")
    known = {m.id for m in landscape.minimum_list}
    for name in between or ():
        if name not in known:
            raise InputError(f"there is no minimum {name}")
    if between is not None and between[0] == between[1]:
        raise InputError(f"from minimum {between[0]} to itself there is no path to shorten")
    for value, word in ((limit, "attempts"), (saddles, "saddles")):
        if value is not None and value < 0:
            raise InputError(f"{value} {word}: give at least 0")
    for value, word in (
        (lowest, "lowest minima"),
        (batch, "attempts side by side"),
        (neighbours, "neighbours"),
    ):
        if value is not None and value < 1:
            raise InputError(f"{value} {word}: give at least 1")
