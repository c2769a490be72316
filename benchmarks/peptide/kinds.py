"""Errors of a force field on held-out sequences, by kinds of frames: the table of the card.

    python benchmarks/peptide/kinds.py --model peptide

Energies are relative to the median of the molecule's frames, near clashes left out, in kcal/mol;
forces in meV/Å; mean absolute errors.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import units

FOLDER = Path(__file__).parent
FILES = ["test_minima.npz", "test.npz"]
CLASH = "clash"
KCAL_MOL = units.kcal / units.mol


def errors(path: Path, model: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Of each frame: its kind, its energy's error in kcal/mol, its forces' errors in meV/Å."""
    from topokrates.frames import evaluate_frames
    from topokrates.labelled import read_labelled
    from topokrates.model.models import load

    with np.load(path) as kept:
        sequences, kinds = kept["sequence"], kept["kind"]
    frames = read_labelled(path)
    results = sorted(evaluate_frames(frames, load(model)), key=lambda result: result.frame)
    labels = np.array([frame.get_potential_energy() for frame in frames])
    energies = (np.array([r.energy for r in results]) - labels) / KCAL_MOL
    for sequence in np.unique(sequences):
        ours = sequences == sequence
        energies[ours] -= np.median(energies[ours & (kinds != CLASH)])
    forces = [
        1e3 * np.abs(result.forces - frame.get_forces())
        for result, frame in zip(results, frames, strict=True)
    ]
    return kinds, np.abs(energies), forces


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="peptide")
    options = parser.parse_args()
    print(f"{'kind':<12}{'frames':>7}{'energy, kcal/mol':>18}{'forces, meV/Å':>15}")
    for name in FILES:
        kinds, energies, forces = errors(FOLDER / name, options.model)
        for kind in np.unique(kinds):
            rows = np.flatnonzero(kinds == kind)
            mean = np.mean(np.concatenate([forces[row].ravel() for row in rows]))
            print(f"{kind:<12}{len(rows):>7}{energies[rows].mean():>18.2f}{mean:>15.1f}")


if __name__ == "__main__":
    main()
