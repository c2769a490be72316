"""SO3LR against reference energies, forces and components of its authors' code.

    python benchmarks/reference.py so3lr_reference.npz

The file holds, for each of `names`, numbers, positions and total charge, and for the long-range
settings lr12 (12 Å), lr1000 (1000 Å) and lrnone (all pairs) energy, forces, components and charges.
Prints the largest deviations; asked for are 1e-6 eV and eV/Å in float64, 1e-4 eV and 5e-5 eV/Å in
float32.
"""

import sys

import numpy as np

from topokrates.model import models

CUTOFFS = {"lr12": 12.0, "lr1000": 1000.0, "lrnone": None}
PARTS = {
    "network": "nn",
    "repulsion": "zbl",
    "electrostatics": "coulomb",
    "dispersion": "dispersion",
}


def main(path: str) -> None:
    data = np.load(path, allow_pickle=False)
    print(f"{'molecule':28s} {'setting':8s} {'dtype':8s} {'energy':>9s} {'forces':>9s}", *PARTS)
    for name in data["names"]:
        for setting, cutoff in CUTOFFS.items():
            for dtype in ("float64", "float32"):
                field = models.load("so3lr", cutoff, dtype)
                potential = field.bind(data[f"{name}/numbers"], int(data[f"{name}/total_charge"]))
                positions = data[f"{name}/positions"]
                energies, forces = potential.energies_and_forces(positions[None])
                row = [
                    abs(energies[0] - data[f"{name}/{setting}/energy"]),
                    np.abs(forces[0] - data[f"{name}/{setting}/forces"]).max(),
                ]
                if dtype == "float64":
                    parts = potential.parts(positions)
                    row += [
                        abs(float(getattr(parts, ours)) - data[f"{name}/{setting}/energy_{theirs}"])
                        for ours, theirs in PARTS.items()
                    ]
                print(f"{name:28s} {setting:8s} {dtype:8s}", *(f"{value:9.1e}" for value in row))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
