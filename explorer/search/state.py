"""What all searchers share: the outcome of a round of quenches, and states as bytes."""

import io
from typing import Any, NamedTuple

import numpy as np


class Outcome(NamedTuple):
    """What the proposals of one step came to, a row per walker.

    Attributes:
        positions: (W, N, 3): the minima reached.
        energies: (W,).
        minima: (W,) ids of the minima in the landscape; -1 where the quench failed or ended in
            another molecule.
        visits: (W,) how often this search had been in that minimum before, results taken in the
            order of step and walker.
    """

    positions: np.ndarray
    energies: np.ndarray
    minima: np.ndarray
    visits: np.ndarray


def generator(seed: int, walker: int, step: int) -> np.random.Generator:
    """Random numbers that depend on nothing but seed, walker and step."""
    return np.random.default_rng([seed, walker, step])


def pack(state: Any) -> bytes:
    """A NamedTuple of arrays as the bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez(buffer, **state._asdict())
    return buffer.getvalue()


def unpack(kind: type, data: bytes) -> Any:
    """The NamedTuple `kind` from the bytes of `pack`."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return kind(**{name: arrays[name] for name in kind._fields})
