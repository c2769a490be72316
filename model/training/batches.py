"""Frames sorted by size, so that few programs are compiled, and taken in an order that repeats.

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

BUCKETS = 5  # programs that a data set may cost
MULTIPLE = 4  # atoms and pairs are rounded up to
CHUNK = 256  # frames whose distances are held at once


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
    sizes = np.array([len(frame.numbers) for frame in frames])
    edges = _limits(sizes)
    return [
        _bucket(frames, np.flatnonzero((sizes > low) & (sizes <= high)), references, cutoff)
        for low, high in zip([0, *edges[:-1]], edges, strict=True)
    ]


def _limits(sizes: np.ndarray) -> list[int]:
    """Largest sizes of at most `BUCKETS` buckets: those that pad the fewest pairs of atoms."""
    kinds, counts = np.unique(sizes, return_counts=True)
    best: list[tuple[float, list[int]]] = [(0.0, [])]
    table = [best]
    for _ in range(min(BUCKETS, len(kinds))):
        rows = [(np.inf, [])] * (len(kinds) + 1)
        for last in range(1, len(kinds) + 1):
            for first in range(last):
                if first >= len(table[-1]) or not np.isfinite(table[-1][first][0]):
                    continue
                cost = float(np.sum(counts[first:last]) * kinds[last - 1] ** 2)
                cost += table[-1][first][0]
                if cost < rows[last][0]:
                    rows[last] = (cost, [*table[-1][first][1], int(kinds[last - 1])])
        table.append(rows)
    whole = [rows[-1] for rows in table[1:]]
    return min(whole, key=lambda entry: (entry[0], len(entry[1])))[1]


def _bucket(
    frames: Sequence[Frame], members: np.ndarray, references: dict[int, float], cutoff: float
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
        _pairs(positions, real, cutoff),
        energy,
        forces,
        dipole,
        np.ones(count, np.float32),
    )
    return Bucket(np.asarray(members), batch)


def _pairs(positions: np.ndarray, real: np.ndarray, cutoff: float) -> Edges:
    """Pairs of each structure within the cutoff, (M, E) each as uint16, padded with atom 0."""
    size = positions.shape[1]
    i, j = np.triu_indices(size, 1)
    found = []
    for start in range(0, len(positions), CHUNK):
        x, there = positions[start : start + CHUNK], real[start : start + CHUNK]
        near = np.sum((x[:, j] - x[:, i]) ** 2, axis=-1) < (cutoff + ROUNDING) ** 2
        found += [np.flatnonzero(row) for row in near & there[:, i] & there[:, j]]
    length = max(1, -(-max(len(row) for row in found) // MULTIPLE) * MULTIPLE)
    ends = np.zeros((2, len(found), min(length, max(len(i), 1))), np.uint16)
    for k, row in enumerate(found):
        ends[0, k, : len(row)], ends[1, k, : len(row)] = i[row], j[row]
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
