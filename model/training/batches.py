"""Frames sorted by pairs, so that few programs are compiled, and taken in an order that repeats.

All frames of a bucket are padded to the same number of atoms and the same number of pairs. A batch
comes from one bucket; which one, and which frames, depends on the seed and the epoch alone, so that
a run that was killed goes on as if it had not been.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from topokrates.model.layout import Edges
from topokrates.model.neighbours import ROUNDING
from topokrates.model.training.data import Frame
from topokrates.model.training.references import total

BUCKETS = 6  # programs that a data set may cost
PER_ATOM = 3  # pairs that cost as much as an atom
MULTIPLE = 4  # atoms and pairs are rounded up to
SAVING = 0.03  # of all padded pairs, that makes one bucket more worth its program
STEP = 8  # pairs between sizes that a bucket may have


class Batch(NamedTuple):
    """Padded frames side by side; B of them, N atoms, E unordered pairs.

    Attributes:
        numbers: (B, N).
        real: False for padding atoms, (B, N).
        positions: (B, N, 3), Å.
        charge, unpaired: (B,).
        near: pairs within the network's cutoff, (B, E) each.
        energy: without the reference energies, (B,), eV.
        forces: (B, N, 3), eV/Å.
        dipole: (B, 3), e Å; NaN where it is not known.
        weight: (B,); 0 for a lane that fills up a batch.
    """

    numbers: np.ndarray
    real: np.ndarray
    positions: np.ndarray
    charge: np.ndarray
    unpaired: np.ndarray
    near: Edges
    energy: np.ndarray
    forces: np.ndarray
    dipole: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class Bucket:
    """Frames of similar size.

    Attributes:
        frames: which ones, in rising order, (M,).
        everything: all of them as one batch; pairs as uint16.
    """

    frames: np.ndarray
    everything: Batch

    def take(self, rows: np.ndarray, size: int) -> Batch:
        """Some rows as a batch of `size`, filled up with repetitions of no weight."""
        filled = np.resize(rows, size)
        a = self.everything
        near = Edges(*(end[filled].astype(np.int32) for end in a.near))
        parts: dict[str, Any] = {k: v[filled] for k, v in a._asdict().items() if k != "near"}
        parts["weight"] = (np.arange(size) < len(rows)).astype(np.float32)
        return Batch(near=near, **parts)


def sort(frames: Sequence[Frame], references: dict[int, float], cutoff: float) -> list[Bucket]:
    """Frames in buckets.

    Args:
        frames: of any molecules.
        references: energies of the elements that are taken off, eV.
        cutoff: of the network, Å.
    """
    near = [_pairs(frame.positions, cutoff) for frame in frames]
    pairs = np.array([near_frame.shape[1] for near_frame in near])
    edges = _limits(pairs, np.array([len(frame.numbers) for frame in frames]))
    return [
        _bucket(frames, near, np.flatnonzero((pairs > low) & (pairs <= high)), references)
        for low, high in zip([-1, *edges[:-1]], edges, strict=True)
    ]


def _limits(pairs: np.ndarray, atoms: np.ndarray) -> list[int]:
    """Most pairs in each of at most `BUCKETS` buckets: those that pad the least.

    A bucket more is made only where it saves `SAVING` of all.
    """
    kinds, kind_of = np.unique(-(-pairs // STEP) * STEP, return_inverse=True)
    before = np.concatenate([[0], np.cumsum(np.bincount(kind_of))])
    largest = np.zeros(len(kinds), int)
    np.maximum.at(largest, kind_of, atoms)
    # of the best division of the first m kinds into so many buckets: what it costs, where it ends
    costs: list[float] = [0.0] + [np.inf] * len(kinds)
    ends: list[list[int]] = [[] for _ in costs]
    whole: list[tuple[float, list[int]]] = []
    for _ in range(min(BUCKETS, len(kinds))):
        fresh, places = [np.inf] * len(costs), list(ends)
        for last in range(1, len(costs)):
            most = np.maximum.accumulate(largest[:last][::-1])[::-1]  # from each to the last
            own = (before[last] - before[:last]) * (kinds[last - 1] + PER_ATOM * most)
            sums = np.array(costs[:last]) + own
            first = int(np.argmin(sums))
            fresh[last], places[last] = sums[first], [*ends[first], int(kinds[last - 1])]
        costs, ends = fresh, places
        if whole and costs[-1] > (1 - SAVING) * whole[-1][0]:
            break
        whole.append((costs[-1], ends[-1]))
    return whole[-1][1]


def _bucket(
    frames: Sequence[Frame],
    near: Sequence[np.ndarray],
    members: np.ndarray,
    references: dict[int, float],
) -> Bucket:
    ours = [frames[k] for k in members]
    size = -(-max(len(f.numbers) for f in ours) // MULTIPLE) * MULTIPLE
    if len({len(f.numbers) for f in ours}) == 1:
        size = len(ours[0].numbers)  # nothing to pad
    count = len(ours)
    numbers, real = np.zeros((count, size), np.int32), np.zeros((count, size), bool)
    positions, forces = (np.zeros((count, size, 3), np.float32) for _ in range(2))
    for k, f in enumerate(ours):
        n = len(f.numbers)
        numbers[k, :n], real[k, :n] = f.numbers, True
        # about the origin: float32 has few digits to spare
        positions[k, :n], forces[k, :n] = f.positions - f.positions.mean(axis=0), f.forces
    energy = np.array([f.energy - total(f.numbers, references) for f in ours], np.float32)
    unknown = np.full(3, np.nan)
    dipole = np.array([unknown if f.dipole is None else f.dipole for f in ours], np.float32)
    batch = Batch(
        numbers,
        real,
        positions,
        np.array([f.charge for f in ours], np.float32),
        np.array([f.unpaired for f in ours], np.float32),
        _side_by_side([near[k] for k in members], size),
        energy,
        forces,
        dipole,
        np.ones(count, np.float32),
    )
    return Bucket(np.asarray(members), batch)


def _pairs(positions: np.ndarray, cutoff: float) -> np.ndarray:
    """Pairs of a structure within the cutoff, each once, (2, E), as uint16."""
    i, j = np.triu_indices(len(positions), 1)
    near = np.sum((positions[j] - positions[i]) ** 2, axis=-1) < (cutoff + ROUNDING) ** 2
    return np.stack([i[near], j[near]]).astype(np.uint16)


def _side_by_side(near: Sequence[np.ndarray], atoms: int) -> Edges:
    """Pairs of structures, (M, E) each, padded with atom 0."""
    length = max(1, -(-max(pairs.shape[1] for pairs in near) // MULTIPLE) * MULTIPLE)
    ends = np.zeros((2, len(near), min(length, max(atoms * (atoms - 1) // 2, 1))), np.uint16)
    for k, pairs in enumerate(near):
        ends[:, k, : pairs.shape[1]] = pairs
    return Edges(ends[0], ends[1])


def epoch(
    buckets: Sequence[Bucket], size: int, seed: int, number: int
) -> list[tuple[int, np.ndarray]]:
    """Which frames go together in one pass over all of them: (bucket, rows) per batch."""
    rng = np.random.default_rng([seed, number])
    batches = []
    for which, bucket in enumerate(buckets):
        order = rng.permutation(len(bucket.frames))
        batches += [(which, order[k : k + size]) for k in range(0, len(order), size)]
    return [batches[k] for k in rng.permutation(len(batches))]


def in_order(buckets: Sequence[Bucket], size: int) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every frame once: (frame numbers, batch), the numbers as long as there are real lanes."""
    for bucket in buckets:
        for start in range(0, len(bucket.frames), size):
            rows = np.arange(start, min(start + size, len(bucket.frames)))
            yield bucket.frames[rows], bucket.take(rows, size)
