"""Errors of a force field on held-out sequences, by kinds of frames: the table of the card.

    python benchmarks/peptide/kinds.py --model peptide

Energies are relative to the median of the molecule's frames, near clashes left out, in kcal/mol;
forces in meV/Å; mean absolute errors.
"""

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms, units

FOLDER = Path(__file__).parent
FILES = ["test_minima.npz", "test.npz"]
CLASH = "clash"
KCAL_MOL = units.kcal / units.mol


def errors(path: Path, model: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Of each frame: its kind, its energy's error in kcal/mol, its forces' errors in meV/Å."""
    from topokrates.frames import evaluate_frames
    from topokrates.model.models import load

    with np.load(path) as kept:
        data = dict(kept)
    sizes, sequences, kinds = data["n_atoms"], data["sequence"], data["kind"]
    frames = [
        Atoms(z[:n], x[:n])
        for z, x, n in zip(data["numbers"], data["positions"], sizes, strict=True)
    ]
    results = sorted(evaluate_frames(frames, load(model)), key=lambda result: result.frame)
    energies = (np.array([r.energy for r in results]) - data["energy"]) / KCAL_MOL
    for sequence in np.unique(sequences):
        ours = sequences == sequence
        energies[ours] -= np.median(energies[ours & (kinds != CLASH)])
    forces = [
        1e3 * np.abs(r.forces - label[:n])
        for r, label, n in zip(results, data["forces"], sizes, strict=True)
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
