"""Relaxed structures, and each of them shaken, with labels of AIQM2, as one file to learn from.

    OMP_NUM_THREADS=1 PYTHONPATH=benchmarks/peptide python benchmarks/peptide/shaken.py \\
        FOLDER OUTPUT.npz

FOLDER holds what `relaxed.py` wrote. Shaken are all atoms, by a normal deviate of 0.05 Å.
"""

import sys
from pathlib import Path

import numpy as np
from aiqm2 import AIQM2  # pyright: ignore[reportMissingImports]
from ase import Atoms

AMPLITUDE = 0.05  # Å
STRONGEST = 20.0  # eV/Å: a frame with a larger force is left out

Frame = tuple[Atoms, float, np.ndarray, str, str]  # with energy, forces, molecule, kind


def save(output: Path, frames: list[Frame]) -> None:
    """Labelled frames as one file."""
    most = max(len(frame[0]) for frame in frames)
    sizes = np.array([len(frame[0]) for frame in frames])
    blank = np.zeros((len(frames), most, 3), np.float32)
    columns = {"positions": blank, "forces": blank.copy()}
    columns["numbers"] = np.zeros((len(frames), most), np.uint8)
    for row, (atoms, _, forces, *_) in enumerate(frames):
        columns["numbers"][row, : sizes[row]] = atoms.numbers
        columns["positions"][row, : sizes[row]] = atoms.positions
        columns["forces"][row, : sizes[row]] = forces
    np.savez_compressed(
        output,
        **columns,
        energy=np.array([frame[1] for frame in frames]),
        n_atoms=sizes.astype(np.int16),
        charge=np.zeros(len(frames), np.int8),
        sequence=np.array([frame[3] for frame in frames]),
        kind=np.array([frame[4] for frame in frames]),
    )
    print(f"{len(frames)} frames")


def main() -> None:
    folder, output = map(Path, sys.argv[1:3])
    calculator, rng, frames = AIQM2(), np.random.default_rng(0), []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as relaxed:
            numbers, sequence = relaxed["numbers"], str(relaxed["sequence"])
            structures = relaxed["positions"]
        for minimum in structures:
            shaken = minimum + rng.normal(0, AMPLITUDE, minimum.shape)
            for kind, x in (("minimum", minimum), ("thermal", shaken)):
                atoms = Atoms(numbers, x, calculator=calculator)
                forces = atoms.get_forces()
                if np.abs(forces).max() < STRONGEST:
                    frames.append((atoms, atoms.get_potential_energy(), forces, sequence, kind))
    save(output, frames)


if __name__ == "__main__":
    main()
