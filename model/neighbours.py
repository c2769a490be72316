"""Lists of pairs within a cutoff, made on the host for what is compiled.

Each call selects the pairs of each structure anew among candidates: for a small molecule these are
all pairs, for a larger one those within the cutoff and a skin, found with a k-d tree (linear in
the number of atoms) and found again when an atom has moved by half the skin. What is selected
depends on the structure alone, never on the candidates' age or on other structures, and is sorted.

A list is padded to one of a few lengths, since each length is compiled. The length is chosen by
what was found, so nothing can overflow.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import KDTree

from topokrates.model.layout import Edges, Rows

SKIN = 1.0  # Å
# Up to here, measuring all distances is faster than asking whether candidates are still good
ALL_CANDIDATES = 128
TOGETHER = 8_000  # distances measured at once: more leave a core's nearer caches
# Å: a pair that the host's float64 sees outside the cutoff may be inside in float32
ROUNDING = 1e-3

Ends = tuple[np.ndarray, np.ndarray]  # i < j of pairs, sorted


class _Candidates(NamedTuple):
    positions: np.ndarray  # (N, 3): where they were found
    pairs: Ends


class _AllCandidates:
    """All pairs of a few atoms as candidates, of several structures at once."""

    def __init__(self, atoms: int):
        index = np.arange(atoms, dtype=np.int32)
        self._i, self._j = np.repeat(index, atoms), np.tile(index, atoms)
        self._once = index[:, None] < index
        self._lanes = max(TOGETHER // max(atoms, 1) ** 2, 1)

    def within(self, limit: float, positions: np.ndarray) -> list[Ends]:
        """Pairs of structures (B, N, 3) that are closer than a limit, Å."""
        found = []
        for start in range(0, len(positions), self._lanes):
            # an axis at a time: arithmetic on rows of three numbers costs three times as much
            axes = np.ascontiguousarray(positions[start : start + self._lanes].transpose(2, 0, 1))
            squares = np.zeros((axes.shape[1], *self._once.shape))
            with np.errstate(over="ignore"):  # infinitely far is far enough
                for x in axes:
                    differences = x[:, None] - x[:, :, None]
                    differences *= differences
                    squares += differences
            for near in (squares < limit**2) & self._once:
                pairs = np.flatnonzero(near)
                found.append((self._i[pairs], self._j[pairs]))
        return found


class NeighbourList:
    """Pairs within a cutoff, of structures of one molecule.

    Args:
        cutoff: Å.
        atoms: N, without padding.
        size: N with padding: molecules of one size share lengths of lists.
        layout: "edges" or "rows".
    """

    def __init__(self, cutoff: float, atoms: int, size: int | None = None, layout: str = "edges"):
        self.cutoff, self.atoms, self.size, self.layout = cutoff, atoms, size or atoms, layout
        self._all = _AllCandidates(atoms) if atoms <= ALL_CANDIDATES else None
        self._kept: dict[int, _Candidates] = {}
        self.built = 0  # k-d trees so far

    def __call__(self, lanes: np.ndarray, positions: np.ndarray) -> Edges | Rows:
        """Lists of some structures.

        Args:
            lanes: (B,) numbers under which candidates are kept from call to call.
            positions: (B, N or more, 3), finite, Å.

        Returns:
            int32 arrays with B in front: (B, E), or (B, size, K).
        """
        return self._listed(self._found(lanes, positions))

    def each(self, lanes: np.ndarray, positions: np.ndarray) -> list[Edges | Rows]:
        """As a call, but a list for each structure, of its own length and with a 1 in front."""
        return [self._listed([pairs]) for pairs in self._found(lanes, positions)]

    def _listed(self, found: list[Ends]) -> Edges | Rows:
        if self.layout == "rows":
            return self._rows(found)
        capacity = self._capacity(max(len(i) for i, _ in found))
        ends = np.zeros((2, len(found), capacity), np.int32)
        for lane, (i, j) in enumerate(found):
            ends[0, lane, : len(i)], ends[1, lane, : len(i)] = i, j
        return Edges(ends[0], ends[1])

    def _found(self, lanes: np.ndarray, positions: np.ndarray) -> list[Ends]:
        x = np.asarray(positions[:, : self.atoms], float)
        limit = self.cutoff + ROUNDING
        if self._all is not None:
            return self._all.within(limit, x)
        return [self._pairs(int(lane), each, limit) for lane, each in zip(lanes, x, strict=True)]

    def _pairs(self, lane: int, x: np.ndarray, limit: float) -> Ends:
        i, j = self._candidates(lane, x)
        vectors = x[j] - x[i]
        near = np.einsum("ij,ij->i", vectors, vectors) < limit**2
        return i[near], j[near]

    def _candidates(self, lane: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        kept = self._kept.get(lane)
        if kept is None or np.max(np.sum((x - kept.positions) ** 2, axis=1)) > SKIN**2 / 4:
            pairs = KDTree(x).query_pairs(self.cutoff + ROUNDING + SKIN, output_type="ndarray")
            pairs = np.sort(pairs, axis=1)
            pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
            kept = self._kept[lane] = _Candidates(x.copy(), (pairs[:, 0], pairs[:, 1]))
            self.built += 1
        return kept.pairs

    def _capacity(self, found: int) -> int:
        """Length of a list of edges for so many pairs."""
        n = self.size
        every = max(n * (n - 1) // 2, 1)
        # what conformers of peptides of 19 to 55 atoms need at 4.5 Å, and no more than a protein
        usual = n * min((4.8 + 0.128 * n) * (self.cutoff / 4.5) ** 2, 0.21 * self.cutoff**3)
        # of a larger molecule, extended conformers are worth a program of their own
        length = usual if n <= 32 else 0.8 * usual
        while length < found:
            length *= 1.25
        length = -(-int(length) // 8) * 8
        return every if length > 0.85 * every else length

    def _rows(self, found: list[Ends]) -> Rows:
        tables = []
        for i, j in found:
            order = np.lexsort((np.concatenate([j, i]), np.concatenate([i, j])))
            receivers = np.concatenate([i, j])[order]
            tables.append((receivers, np.concatenate([j, i])[order]))
        counts = [np.bincount(receivers, minlength=1) for receivers, _ in tables]
        width = max(8, -(-max(int(count.max()) for count in counts) // 8) * 8)
        width, size = min(width, self.size), self.size
        own = np.arange(size, dtype=np.int32)[:, None]
        senders = np.broadcast_to(own, (len(found), size, width)).copy()
        for lane, ((receivers, others), count) in enumerate(zip(tables, counts, strict=True)):
            column = np.arange(len(receivers)) - (np.cumsum(count) - count)[receivers]
            senders[lane, receivers, column] = others
        return Rows(senders)


Lists = dict[str, Edges | Rows]


class PairLists:
    """The lists that a potential needs, by name.

    Args:
        cutoffs: of each list, Å.
        atoms: N, without padding.
        size: N with padding.
        layout: of the near list; others are edges.
    """

    def __init__(self, cutoffs: dict[str, float], atoms: int, size: int, layout: str):
        self._arguments = cutoffs, atoms, size, layout
        self.lists = {
            name: NeighbourList(cutoff, atoms, size, layout if name == "near" else "edges")
            for name, cutoff in cutoffs.items()
        }

    def fresh(self) -> "PairLists":
        """The same without anything kept."""
        return PairLists(*self._arguments)

    def __call__(self, lanes: np.ndarray, positions: np.ndarray) -> Lists:
        """Lists of some structures; see `NeighbourList`."""
        return {name: listed(lanes, positions) for name, listed in self.lists.items()}

    def each(self, lanes: np.ndarray, positions: np.ndarray) -> list[Lists]:
        """Lists of each structure by itself."""
        columns = [listed.each(lanes, positions) for listed in self.lists.values()]
        return [dict(zip(self.lists, row, strict=True)) for row in zip(*columns, strict=True)]


def every_pair(size: int) -> Edges:
    """All unordered pairs of so many atoms."""
    i, j = np.triu_indices(size, 1)
    return Edges(i.astype(np.int32), j.astype(np.int32))
