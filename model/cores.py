"""The cores of a CPU that may be used, and work that is divided among them.

A compiled call for one structure of a peptide's size is too short for XLA to divide. It lets go of
Python's lock, though, so that several threads can make such calls at once; each structure gets the
same bits as it would alone.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

LIMITS = ("PJRT_NPROC", "NPROC")  # read by XLA when it starts its pool of threads


def limit(count: int) -> None:
    """Cores to use from now on; by XLA, if it has not begun."""
    for name in LIMITS:
        os.environ[name] = str(count)


def available() -> int:
    """Cores that may be used."""
    given = os.environ.get(LIMITS[0], "")
    if given.isdecimal() and int(given):
        return int(given)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """What `work` makes of each item, in their order; as many at once as there are cores."""
    cores = available()
    workers = min(cores, len(items))
    if workers < 2:
        return [work(item) for item in items]

    def share(first: int) -> list[Result]:
        return [work(item) for item in items[first::workers]]

    results: list[Any] = [None] * len(items)
    for first, part in enumerate(_pool(os.getpid(), cores).map(share, range(workers))):
        results[first::workers] = part
    return results


@lru_cache(maxsize=4)
def _pool(_process: int, cores: int) -> ThreadPoolExecutor:
    """Threads of this process: those of the one that it was forked from are not there."""
    return ThreadPoolExecutor(cores, thread_name_prefix="core")
