"""Energies of the elements: what a total energy is measured from.

A network learns what a structure adds to its atoms. Total energies are thousands of eV, which
float32 could not hold to a meV; so a constant per element is fitted to the training frames by
least squares, taken off in float64, and kept with the weights.
"""

from collections.abc import Sequence

import numpy as np

from topokrates.model.training.data import Frame


def fit(frames: Sequence[Frame], energies: np.ndarray | None = None) -> dict[int, float]:
    """Reference energies by least squares, of smallest norm where frames do not decide.

    Args:
        frames: for training.
        energies: of the frames, (M,), eV, where it is not their own that is fitted: what is left
            of them after a network's, for a second reference.

    Returns:
        eV by atomic number.
    """
    elements = sorted({int(z) for frame in frames for z in np.unique(frame.numbers)})
    counts = np.array([[np.sum(f.numbers == z) for z in elements] for f in frames], float)
    if energies is None:
        energies = np.array([frame.energy for frame in frames])
    solution = np.linalg.lstsq(counts, energies, rcond=1e-10)[0]
    return dict(zip(elements, solution.tolist(), strict=True))


def total(numbers: np.ndarray, references: dict[int, float]) -> float:
    """Sum of the reference energies of atoms (N,), eV; 0 for an element without one."""
    kinds, counts = np.unique(numbers, return_counts=True)
    return float(sum(references.get(int(z), 0.0) * n for z, n in zip(kinds, counts, strict=True)))
