"""A force field beside labels: files that carry energies and forces, and how far off it is.

Absolute energies of two programs differ by a constant per element. Where the weights know the
reference energies of their training data, and the labels count from the same zero, nothing is
adjusted; otherwise labels and energies are compared after the constants that fit them best are
taken off, and the comparison says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from topokrates.frames import Evaluated
from topokrates.model.training import data, references
from topokrates.model.training.accuracy import Errors, Predictions, errors
from topokrates.model.training.config import Data
from topokrates.perception import read_frames

WORST = 10
OTHER_ZERO = 0.2  # eV per atom off in the middle: these labels are of another method


@dataclass(frozen=True, eq=False)
class Comparison:
    """Energies and forces of M frames beside their labels.

    Attributes:
        errors: over all of them.
        aligned: what was taken off energies before: "" for nothing, "elements" for a constant of
            each element, fitted to the difference.
        frames: numbers of the frames that carry labels, (M,).
        energy_errors: predicted minus label, (M,), meV.
        force_errors: root mean square over the components of each frame, (M,), meV/Å.
        energies: labels and predictions, (M,) each, eV, aligned.
        forces: labels and predictions, all components of all frames, eV/Å.
        relative_mae: mean absolute error of energies relative to the median of all frames with
            the same atoms in the same order, meV; None where no two frames have that.
    """

    errors: Errors
    aligned: str
    frames: np.ndarray
    energy_errors: np.ndarray
    force_errors: np.ndarray
    energies: tuple[np.ndarray, np.ndarray]
    forces: tuple[np.ndarray, np.ndarray]
    relative_mae: float | None

    def worst(self, count: int = WORST) -> list[dict[str, float]]:
        """Frames with the largest force errors: frame, energy_error (meV), force_rmse (meV/Å)."""
        order = np.argsort(-self.force_errors, kind="stable")[:count]
        return [
            {
                "frame": int(self.frames[k]),
                "energy_error": float(self.energy_errors[k]),
                "force_rmse": float(self.force_errors[k]),
            }
            for k in order
        ]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "errors": asdict(self.errors),
            "relative_energy_mae": self.relative_mae,
            "aligned": self.aligned,
            "worst": self.worst(),
        }


def positions_of(source: str | PathLike[str] | Iterable[Atoms], numbers: np.ndarray) -> np.ndarray:
    """Positions (M, N, 3), Å, of the frames that have these atoms in this order.

    Args:
        source: a file as `topokrates train` reads it, in eV and Å, or ASE atoms.
        numbers: atomic numbers, (N,).

    Raises:
        InputError: if the file cannot be read.
    """
    if isinstance(source, str | PathLike):
        name = str(source)
        read = data.read(name, Path(), Data(files=[name]))
        frames: list[Any] = [(f.numbers, f.positions) for f in read]
    else:
        frames = [(a.numbers, a.positions) for a in source]
    ours = [np.asarray(x, float) for z, x in frames if np.array_equal(z, numbers)]
    return np.reshape(ours, (-1, len(numbers), 3))


def read_labelled(path: Path) -> list[Atoms]:
    """Frames with their labels as calculator results, where they have any.

    Args:
        path: an npz with arrays as `topokrates.model.training.data` reads them, in eV and Å, or
            whatever ASE reads.

    Raises:
        InputError: if it cannot be read.
    """
    if path.suffix != ".npz":
        return read_frames(path)
    frames = []
    for frame in data.read(str(path), Path(), Data(files=[str(path)])):
        atoms = Atoms(frame.numbers, frame.positions)
        atoms.info |= {"charge": frame.charge}
        atoms.calc = SinglePointCalculator(atoms, energy=frame.energy, forces=frame.forces)
        frames.append(atoms)
    return frames


def compare(
    frames: Sequence[Atoms],
    results: Sequence[Evaluated],
    reference_energies: Mapping[int, float] | None = None,
) -> Comparison | None:
    """Results beside the labels of their frames.

    Args:
        frames: with labels as calculator results.
        results: of `evaluate_frames`; those that are not finite do not count.
        reference_energies: of the force field, eV by atomic number; None if it has none.

    Returns:
        The comparison, or None where no frame carries both an energy and forces.
    """
    rows = []
    for result in results:
        labels = getattr(frames[result.frame].calc, "results", {})
        known = labels.get("energy"), labels.get("forces")
        finite = np.isfinite(result.energy) and np.isfinite(result.forces).all()
        if finite and known[0] is not None and known[1] is not None:
            rows.append((result, float(known[0]), np.asarray(known[1], float)))
    if not rows:
        return None
    numbers = [frames[result.frame].numbers for result, _, _ in rows]
    found = np.array([result.energy for result, _, _ in rows])
    wanted = np.array([energy for _, energy, _ in rows])
    constants = dict(reference_energies or {})
    if constants:
        own = np.array([references.total(z, constants) for z in numbers])
        sizes = np.array([len(z) for z in numbers])
        if np.median(np.abs(found + own - wanted) / sizes) > OTHER_ZERO:
            constants = {}
    aligned = "" if constants else "elements"
    if not constants:
        bare = [data.Frame(z, np.zeros((len(z), 3)), 0.0, np.zeros((len(z), 3))) for z in numbers]
        constants = references.fit(bare, wanted - found)
    found = found + np.array([references.total(z, constants) for z in numbers])
    forces = [result.forces for result, _, _ in rows]
    labels = [label for _, _, label in rows]
    nothing = np.zeros(len(rows))
    pairs = list(zip(forces, labels, strict=True))
    return Comparison(
        errors(Predictions(found, wanted, forces, labels, nothing)),
        aligned,
        np.array([result.frame for result, _, _ in rows]),
        1e3 * (found - wanted),
        np.array([1e3 * np.sqrt(np.mean((a - b) ** 2)) for a, b in pairs]),
        (wanted, found),
        (
            np.concatenate([b.ravel() for _, b in pairs]),
            np.concatenate([a.ravel() for a, _ in pairs]),
        ),
        _relative_mae(numbers, 1e3 * (found - wanted)),
    )


def _relative_mae(numbers: Sequence[np.ndarray], errors: np.ndarray) -> float | None:
    """Of errors relative to the median of each molecule's."""
    rows: dict[bytes, list[int]] = {}
    for row, z in enumerate(numbers):
        rows.setdefault(np.asarray(z, np.int64).tobytes(), []).append(row)
    several = [errors[of_one] for of_one in rows.values() if len(of_one) > 1]
    if not several:
        return None
    return float(np.mean(np.abs(np.concatenate([e - np.median(e) for e in several]))))
