"""Relaxed structures with their methyl groups turned, with labels of AIQM2, to learn from.

    OMP_NUM_THREADS=1 PYTHONPATH=benchmarks/peptide python benchmarks/peptide/turned.py \\
        OUTPUT.npz benchmarks/peptide/minima.npz benchmarks/peptide/more.npz

A methyl group turns over a tenth of a kcal/mol, and a network that ripples by less than that makes
two minima of one. Of each molecule in the files some relaxed structures are taken, and each of
their methyl groups is turned by an angle of its own.
"""

import sys
from pathlib import Path

import numpy as np
from aiqm2 import AIQM2  # pyright: ignore[reportMissingImports]
from ase import Atoms
from shaken import save

PER_MOLECULE = 8
BOND = {1: 1.25, 6: 1.7, 7: 1.6, 8: 1.6}  # Å: a carbon's neighbours are closer
SULPHUR = 16  # AIQM2 does not know it


def methyls(numbers: np.ndarray, positions: np.ndarray) -> list[tuple[int, int, list[int]]]:
    """What carries the group, its carbon, its hydrogens."""
    found = []
    for carbon in np.flatnonzero(numbers == 6):
        distances = np.linalg.norm(positions - positions[carbon], axis=1)
        limits = np.array([BOND.get(int(z), 0.0) for z in numbers])
        near = [int(k) for k in np.flatnonzero(distances < limits) if k != carbon]
        hydrogens = [k for k in near if numbers[k] == 1]
        if len(hydrogens) == 3 and len(near) == 4:
            (anchor,) = set(near) - set(hydrogens)
            found.append((anchor, int(carbon), hydrogens))
    return found


def main() -> None:
    output, files = Path(sys.argv[1]), sys.argv[2:]
    calculator, rng, frames = AIQM2(), np.random.default_rng(0), []
    for name in files:
        with np.load(name) as kept:
            data = dict(kept)
        known = (data["numbers"] != SULPHUR).all(axis=1) & (data["kind"] == "minimum")
        for sequence in np.unique(data["sequence"][known]):
            rows = np.flatnonzero(known & (data["sequence"] == sequence))
            for row in rng.permutation(rows)[:PER_MOLECULE]:
                size = data["n_atoms"][row]
                atoms = Atoms(data["numbers"][row, :size], data["positions"][row, :size])
                groups = methyls(atoms.numbers, atoms.positions)
                for anchor, carbon, hydrogens in groups:
                    turned = atoms[hydrogens]
                    axis = atoms.positions[carbon] - atoms.positions[anchor]
                    turned.rotate(rng.uniform(0, 120), axis, atoms.positions[carbon])
                    atoms.positions[hydrogens] = turned.positions
                if groups:
                    atoms.calc = calculator
                    forces = atoms.get_forces()
                    energy = atoms.get_potential_energy()
                    frames.append((atoms, energy, forces, str(sequence), "methyl"))
    save(output, frames)


if __name__ == "__main__":
    main()
