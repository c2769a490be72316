"""Searchers: what to quench next.

A searcher is a module with no state of its own: `settings` gives its parameters for a molecule,
`init` a `State`, `propose` the structures to be quenched next, `step` the `State` after their
quenches and an `Info` for people. States are NamedTuples of arrays, so that they can be stored.
What a walker proposes depends on its state, the seed, the walker and the step, and on nothing
else: a search that was killed goes on as if it had not been.
"""

from topokrates.model.errors import InputError
from topokrates.search import basin_hopping, minima_hopping

SEARCHERS = {"basin-hopping": basin_hopping, "minima-hopping": minima_hopping}


def searcher_module(name: str):
    """The module of a searcher; InputError for a name that is none."""
    if name not in SEARCHERS:
        raise InputError(f"unknown searcher {name!r}: use {' or '.join(SEARCHERS)}")
    return SEARCHERS[name]
