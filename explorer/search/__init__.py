"""Searchers: what to quench next.

A searcher is a module with no state of its own: `settings` gives its parameters for a molecule,
`init` a `State`, `propose` the structures to be quenched next, `step` the `State` after their
quenches and an `Info` for people. States are NamedTuples of arrays, so that they can be stored.
What a walker proposes depends on its state, the seed, the walker and the step, and on nothing
else: a search that was killed goes on as if it had not been.
"""

import math
from collections.abc import Mapping
from typing import Any

from topokrates.model.errors import InputError
from topokrates.search import basin_hopping, minima_hopping, parallel_tempering

SEARCHERS = {
    "basin-hopping": basin_hopping,
    "minima-hopping": minima_hopping,
    "parallel-tempering": parallel_tempering,
}


def searcher_module(name: str):
    """The module of a searcher; InputError for a name that is none."""
    if name not in SEARCHERS:
        *others, last = SEARCHERS
        raise InputError(f"unknown searcher {name!r}: use {', '.join(others)} or {last}")
    return SEARCHERS[name]


def configured(name: str, molecule: Any, changed: Mapping[str, float] | None = None) -> Any:
    """A searcher's settings for a molecule, some of them changed.

    Raises InputError for a setting that the searcher does not have, and for a value that cannot
    be: none may be negative or infinite, and shares of moves make at most 1 together.
    """
    settings = searcher_module(name).settings(molecule)
    for key, value in (changed or {}).items():
        if key not in settings._fields:
            known = ", ".join(settings._fields)
            raise InputError(f"{name} has no setting {key!r}: it has {known}")
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{key} = {value:g}: give a number that is not negative")
    settings = settings._replace(**{key: float(v) for key, v in (changed or {}).items()})
    shares = getattr(settings, "shares", {})
    if sum(shares.values()) > 1:
        raise InputError(f"{', '.join(shares)} are shares: together at most 1")
    for key in ("temperature", "kinetic", "acceptance", "move"):
        if getattr(settings, key, 1) == 0:
            raise InputError(f"{key} = 0: give a number above 0")
    return settings
