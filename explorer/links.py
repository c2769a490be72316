"""Which links of a pair of minima are kept: the rule by which a landscape merges them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from topokrates.storage.records import Link

LINK_ENERGY_TOLERANCE = 1e-5  # eV or epsilon


def compare(
    pair: Iterable[Link],
    energy: float,
    positions: np.ndarray,
    verified: bool,
    same: Callable[[np.ndarray, np.ndarray], bool],
) -> tuple[int | None, list[int]]:
    """What a new link means to those that the pair has already.

    A verified one is known if the pair has one of the same energy and structure (one stored
    without positions cannot be compared). Of the estimates only the lowest is kept, since each is
    an upper bound of the same barrier, and none that lies at or above a verified link.

    Args:
        pair: the links between the same two minima.
        energy, positions: of the new one, (N, 3).
        verified: whether it is a transition state or an estimate.
        same: whether two structures are one.

    Returns:
        The id of the link that stands for it, or None, and then the ids of those it replaces.
    """
    pair = list(pair)
    for link in pair:
        if verified and link.verified:
            near = abs(link.energy - energy) <= LINK_ENERGY_TOLERANCE
            if near and link.positions is not None and same(link.positions, positions):
                return link.id, []
        elif not verified and link.energy <= energy + LINK_ENERGY_TOLERANCE:
            return link.id, []
    least = energy - LINK_ENERGY_TOLERANCE
    return None, [link.id for link in pair if not link.verified and link.energy >= least]
