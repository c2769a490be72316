"""Relaxed structures of molecules by one force field: what another is to label.

    python benchmarks/peptide/relaxed.py OUTPUT MODEL SEED COUNT MOLECULE...

Random starts of each molecule, cis amides among them, go down to 0.01 eV/Å or for 300 steps. Of
those within 1 eV of the lowest no two alike are kept, in OUTPUT/MOLECULE.npz: numbers (N,),
positions (M, N, 3) in Å, and the energies of MODEL, eV. Molecules that are there are passed over.
"""

import os
import sys
from pathlib import Path

import numpy as np

from topokrates.dataset.make import chosen
from topokrates.dataset.sampling import _some_amide_turned
from topokrates.identity.matching import Matcher
from topokrates.model import models
from topokrates.molecule import Molecule
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import descend
from topokrates.search.moves import start

WINDOW = 1.0  # eV above the lowest


def relaxed(name: str, model: models.ForceField, rng: np.random.Generator, count: int):
    molecule = Molecule.from_text(name)
    potential = model.bind(molecule.numbers, molecule.charge, molecule.unpaired_electrons)
    internal = coordinates(molecule.bonds, molecule.positions)
    starts = [
        _some_amide_turned(molecule, start(molecule, rng, walker + 1), rng)
        for walker in range(count)
    ]
    ends = descend(potential, internal, starts, max_force=0.01, max_steps=300, lanes=8)
    x = np.stack([end.positions for end in ends if np.isfinite(end.positions).all()])
    energies, forces = (np.asarray(a, float) for a in potential.energies_and_forces(x))
    good = chosen(Matcher(molecule).fingerprint(x), energies, forces)
    good = good[energies[good] < energies[good].min() + WINDOW]
    return molecule.numbers, x[good], energies[good]


def main() -> None:
    folder, model, seed, count = Path(sys.argv[1]), models.load(sys.argv[2]), *sys.argv[3:5]
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(sys.argv[5:]):
        path = folder / f"{name}.npz"
        if path.exists():
            continue
        rng = np.random.default_rng([int(seed), k])
        numbers, x, energies = relaxed(name, model, rng, int(count))
        part = path.with_suffix(".part.npz")
        np.savez(part, numbers=numbers, positions=x, energy=energies, sequence=name)
        os.replace(part, path)
        print(f"{name}: {len(x)} of {count}", flush=True)


if __name__ == "__main__":
    main()
