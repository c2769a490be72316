"""Structures that searches have met, chosen to be labelled.

Frames drawn at random show a network the molecule; a search goes where the network's own errors
lead it. Minima and transition states that it found, labelled and learned from, mend those errors,
and what is found after another training is closer to the truth: active learning.

Of more structures than are wanted, those come first that the network is least sure of: where the
members of a committee disagree most. A single model cannot tell, and then those come first that
are farthest from all that is known or chosen already.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from topokrates.model.committee import CommitteePotential
from topokrates.model.potential import Potential

if TYPE_CHECKING:
    from topokrates.identity.matching import Matcher
    from topokrates.landscape import Landscape

ALIKE = 0.01  # Å, of fingerprints: no symmetric RMSD is smaller than their distance
MINIMUM, TRANSITION = "minimum", "transition"


class Found(NamedTuple):
    """Structures of one landscape.

    Attributes:
        kinds: "minimum" or "transition", (M,).
        ids: of the minimum or link, (M,).
        positions: (M, N, 3), Å.
    """

    kinds: list[str]
    ids: list[int]
    positions: np.ndarray

    @property
    def labels(self) -> tuple[tuple[str, int], ...]:
        """Kind and id of each."""
        return tuple(zip(self.kinds, self.ids, strict=True))

    @property
    def digest(self) -> str:
        """Of the positions."""
        return sha256(np.ascontiguousarray(self.positions).tobytes()).hexdigest()

    def take(self, rows: Sequence[int]) -> Found:
        """Some of them."""
        return Found(
            [self.kinds[k] for k in rows], [self.ids[k] for k in rows], self.positions[list(rows)]
        )


def structures(landscape: Landscape) -> Found:
    """Minima and verified transition states that have positions, each by energy."""
    minima, links = landscape.contents()
    rows = [(MINIMUM, m.id, m.positions) for m in minima]
    rows += [(TRANSITION, link.id, link.positions) for link in links if link.verified]
    there = [(kind, name, x) for kind, name, x in rows if x is not None]
    return Found(
        [kind for kind, _, _ in there],
        [name for _, name, _ in there],
        np.reshape([x for _, _, x in there], (-1, landscape.molecule.n_atoms, 3)),
    )


def choose(
    found: Found,
    count: int,
    matcher: Matcher,
    known: np.ndarray | None = None,
    potential: Potential | None = None,
) -> Found:
    """At most so many structures that nothing known equals, those first that tell the most.

    Args:
        found: what there is.
        count: how many are wanted.
        matcher: of the molecule.
        known: frames that have labels, (K, N, 3), Å.
        potential: a committee's, to say where it is unsure.

    Returns:
        Them, in the order in which they were chosen.
    """
    prints = matcher.fingerprint(found.positions)
    apart = np.full(len(prints), np.inf)  # from the nearest that is known or chosen
    if known is not None and len(known):
        theirs = matcher.fingerprint(known)
        apart = np.array([np.linalg.norm(theirs - one, axis=1).min() for one in prints])
    sure = np.zeros(len(prints))
    if isinstance(potential, CommitteePotential) and len(prints):
        sure = -potential.disagreement(found.positions)[1].max(axis=1)
        sure[~np.isfinite(sure)] = np.inf  # what the network cannot compute is no structure
    rows: list[int] = []
    while len(rows) < count and (apart >= ALIKE).any():
        left = np.flatnonzero(apart >= ALIKE)
        row = int(left[np.lexsort((-apart[left], sure[left]))[0]])
        rows.append(row)
        apart = np.minimum(apart, np.linalg.norm(prints - prints[row], axis=1))
    return found.take(rows)
