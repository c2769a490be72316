"""Relative energies of conformers of peptides, against CCSD(T).

    python benchmarks/relative_energies.py peptide_conformers --models peptide so3lr \\
        tblite:GFN2-xTB

Reads FILE.extxyz, geometries with `set` in their header, and FILE.json, reference energy
differences in kcal/mol between pairs of them. Prints the mean absolute deviation of each model in
each set, with a bootstrap standard error over the pairs. Only pairs that all models can compute
are compared, so that the rows of the table are of the same pairs.
"""

import argparse
import json
import sys
from pathlib import Path

import ase.io
import numpy as np
from ase import units

KCAL_MOL = units.kcal / units.mol


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="without its ending")
    parser.add_argument("--models", nargs="+", default=["peptide", "so3lr", "tblite:GFN2-xTB"])
    options = parser.parse_args()

    from topokrates.frames import evaluate_frames
    from topokrates.model.errors import InputError
    from topokrates.model.models import load

    frames = ase.io.read(options.file.with_suffix(".extxyz"), ":")
    pairs = json.loads(options.file.with_suffix(".json").read_text())["pairs"]
    ends = np.array([(pair["reference"], pair["conformer"]) for pair in pairs])
    expected = np.array([pair["delta_energy_kcal_mol"] for pair in pairs])
    sets = np.array([frames[first].info["set"] for first, _ in ends])
    errors = {}
    for name in options.models:
        force_field = load(name)
        energies = np.full(len(frames), np.nan)
        for index, atoms in enumerate(frames):
            try:
                energies[index] = next(iter(evaluate_frames([atoms], force_field))).energy
            except InputError as error:
                print(f"{name}: {error}", file=sys.stderr)
        found = (energies[ends[:, 1]] - energies[ends[:, 0]]) / KCAL_MOL
        errors[name] = np.abs(found - expected)
    shared = np.all([np.isfinite(error) for error in errors.values()], axis=0)
    rng = np.random.default_rng(0)
    print("mean absolute deviation, kcal/mol")
    for name, error in errors.items():
        cells = []
        for which in (*dict.fromkeys(sets), "all"):
            rows = np.flatnonzero(shared & ((sets == which) | (which == "all")))
            means = [error[rng.choice(rows, len(rows))].mean() for _ in range(1000)]
            mean = f"{error[rows].mean():.2f} +- {np.std(means):.2f}"
            cells.append(f"{which} ({len(rows)}): {mean}")
        print(f"{name:>20}   " + "   ".join(cells))
    return 0


if __name__ == "__main__":
    sys.exit(main())
