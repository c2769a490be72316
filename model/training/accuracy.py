"""How far a network's energies and forces are from labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from topokrates.model.training.batches import Bucket, in_order
from topokrates.model.training.data import Frame
from topokrates.model.training.trainer import Trainer


@dataclass(frozen=True, eq=False)
class Predictions:
    """What was found of M frames, in their order.

    Attributes:
        energies: predicted, (M,), eV, without reference energies.
        energies_wanted: of the labels, likewise.
        forces, forces_wanted: lists of (N, 3), eV/Å.
        losses: (M,).
    """

    energies: np.ndarray
    energies_wanted: np.ndarray
    forces: list[np.ndarray]
    forces_wanted: list[np.ndarray]
    losses: np.ndarray


@dataclass(frozen=True)
class Errors:
    """Mean absolute and root mean square errors.

    Attributes:
        energy_mae, energy_rmse: meV per structure.
        energy_mae_per_atom: meV.
        force_mae, force_rmse: of all components of all frames, meV/Å.
        frames: how many.
    """

    energy_mae: float
    energy_rmse: float
    energy_mae_per_atom: float
    force_mae: float
    force_rmse: float
    frames: int


def predictions(
    run: Trainer, params: object, buckets: Sequence[Bucket], frames: Sequence[Frame], size: int
) -> Predictions:
    """Energies and forces of labelled frames, `size` at a time; buckets from `batches.sort`."""
    energies, wanted, losses = (np.empty(len(frames)) for _ in range(3))
    forces: list[np.ndarray] = [np.empty(0)] * len(frames)
    for numbers, batch in in_order(buckets, size):
        found = run.predict(params, batch)
        e, f, loss = (np.asarray(part, float) for part in found)
        for lane, k in enumerate(numbers):
            energies[k], wanted[k], losses[k] = e[lane], batch.energy[lane], loss[lane]
            forces[k] = f[lane, : len(frames[k].numbers)]
    return Predictions(energies, wanted, forces, [frame.forces for frame in frames], losses)


def errors(found: Predictions) -> Errors:
    """Errors over all frames; NaN if there are none."""
    if not len(found.energies):
        nothing = float("nan")
        return Errors(nothing, nothing, nothing, nothing, nothing, 0)
    de = 1e3 * (found.energies - found.energies_wanted)
    pairs = zip(found.forces, found.forces_wanted, strict=True)
    df = 1e3 * np.concatenate([(a - b).ravel() for a, b in pairs])
    atoms = np.array([len(f) for f in found.forces])
    return Errors(
        float(np.mean(np.abs(de))),
        float(np.sqrt(np.mean(de**2))),
        float(np.mean(np.abs(de) / atoms)),
        float(np.mean(np.abs(df))),
        float(np.sqrt(np.mean(df**2))),
        len(de),
    )
