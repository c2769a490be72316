"""Networks trained on ab-initio data: their errors, and how long their dynamics lasts.

    python benchmarks/training.py DATA --molecule ethanol --output runs

DATA is a folder with rmd17_ethanol.npz, rmd17_aspirin.npz, rmd17_malonaldehyde.npz (950 training
and 50 validation frames of the official split 1, 1,000 test frames) and acetylacetone.npz (450
and 50 of its 500 frames at 300 K; test sets of its own, two of them with energies alone, are
measured one by one). A run that was stopped goes on. Then replicas start from test frames, at 300 K
and at 500 K, with a Langevin thermostat: which of them keep every bond, and for how long (not of
acetylacetone, whose proton hops from one oxygen to the other in the frames already). Figures of
MACE: Batatia et al., NeurIPS 2022 (rMD17).
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

MACE = {"aspirin": (2.2, 6.6), "ethanol": (0.4, 2.1), "malonaldehyde": (0.8, 4.1)}  # meV, meV/Å
TESTS = ("test_MD_300K", "test_MD_600K", "test_H_transfer", "test_dihedral")  # of acetylacetone
TEMPERATURES = (300.0, 500.0)
TIMESTEP = 0.5  # fs
EVERY = 50  # steps between looks at the bonds


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The configuration of the run, as TOML would have it."""
    name, folder = options.molecule, options.data.resolve()
    if name == "acetylacetone":
        file = f"{folder / name}.npz"
        data = {"files": [f"{file}#train_300K"], "test_files": [f"{file}#{TESTS[0]}"]}
        data |= {"validation": 50}
    else:
        file = str(folder / f"rmd17_{name}.npz")
        row = options.split - 1
        data = {"files": [file], "train": 950, "validation": 50}
        data |= {"train_index": f"{file}#train_idx/{row}", "test_index": f"{file}#test_idx/{row}"}
    return {
        "data": data,
        "network": {
            "features": options.features,
            "layers": options.layers,
            "cutoff": options.cutoff,
        },
        "loss": {"energy": options.energy, "forces": 1 - options.energy},
        "optimiser": {
            "method": options.method,
            "steps": options.steps,
            "batch": options.batch,
            **({"learning_rate": options.learning_rate} if options.learning_rate else {}),
            "weight_decay": options.weight_decay,
        },
        "run": {"name": name, "validate_every": max(100, options.steps // 100)},
    }


def by_set(options: argparse.Namespace, weights: Path) -> dict[str, dict[str, float]]:
    """Errors on each test set of acetylacetone; NaN of what is not in it."""
    from topokrates.model.models import load

    rows, force_field = {}, load(str(weights), threads=options.threads)
    with np.load(options.data / "acetylacetone.npz") as archive:
        potential = force_field.bind(archive["z"])
        free = force_field.weights.reference_energies  # potentials are without them
        atoms = sum(free[int(z)] for z in archive["z"])
        for name in TESTS:
            energies, forces = potential.energies_and_forces(archive[f"R_{name}"].astype(float))
            wrong = energies + atoms - archive[f"E_{name}"]
            rows[name] = {
                "frames": len(energies),
                "energy_mae": 1e3 * float(np.mean(np.abs(wrong))),
                "force_mae": 1e3 * float(np.mean(np.abs(forces - archive[f"F_{name}"]))),
            }
    return rows


def stability(options: argparse.Namespace, weights: Path, progress: Any) -> list[dict[str, Any]]:
    """Dynamics from test frames at each temperature."""
    from ase import Atoms

    from topokrates.dynamics.integrators import Ensemble
    from topokrates.dynamics.run import dynamics
    from topokrates.model.models import load
    from topokrates.molecule import Molecule

    numbers, frames = _test_frames(options)
    force_field = load(str(weights), threads=options.threads)
    rows = []
    for temperature in TEMPERATURES:
        chosen = np.linspace(0, len(frames) - 1, options.replicas).round().astype(int)
        molecule = Molecule.from_atoms(Atoms(numbers, frames[chosen[0]]), name=options.molecule)
        potential = force_field.bind(molecule.numbers)
        begin = time.perf_counter()
        found = dynamics(
            potential,
            molecule,
            [frames[k] for k in chosen],
            Ensemble("langevin", temperature, TIMESTEP),
            round(options.picoseconds * 1000 / TIMESTEP),
            EVERY,
            progress=progress,
        )
        seconds = time.perf_counter() - begin
        rows.append(
            {
                "temperature": temperature,
                "replicas": options.replicas,
                "ps": options.picoseconds,
                "kept": found.kept,
                "first_failure_ps": found.first_failure and found.first_failure / 1000,
                "steps_per_s": len(chosen) * options.picoseconds * 1000 / TIMESTEP / seconds,
            }
        )
    return rows


def _test_frames(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    with np.load(options.data / f"rmd17_{options.molecule}.npz") as archive:
        return archive["z"], archive["R"][archive["test_idx"][options.split - 1]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    choices = [*MACE, "acetylacetone"]
    parser.add_argument("--molecule", default="ethanol", choices=choices)
    parser.add_argument("--split", type=int, default=1, choices=range(1, 6))
    parser.add_argument("--output", type=Path, default=Path("training-runs"))
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=5)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--cutoff", type=float, default=5.0, help="Å")
    parser.add_argument("--method", default="muon", choices=["adam", "muon"])
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--energy", type=float, default=0.1, help="weight of energies, of 1")
    parser.add_argument("--replicas", type=int, default=20)
    parser.add_argument("--picoseconds", type=float, default=50.0)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()

    from topokrates.cli import terminal
    from topokrates.model.models import devices
    from topokrates.model.training.config import of_table
    from topokrates.model.training.runs import train

    used = devices(None, options.threads)
    share = max(k for k in range(1, len(used) + 1) if options.batch % k == 0)
    folder = options.output / f"{options.molecule}-{options.split}"
    begin = time.perf_counter()
    with terminal.progress() as progress:
        made = train(of_table(settings(options)), folder, progress, used[:share])
        seconds = time.perf_counter() - begin
        sets, lasted = {}, []
        if options.molecule == "acetylacetone":
            sets = by_set(options, made.weights)
        elif options.replicas:
            lasted = stability(options, made.weights, progress)
    test, reference = made.test, MACE.get(options.molecule)
    print(
        f"{options.molecule}, split {options.split}: {made.steps} steps, {seconds:.0f} s this time"
    )
    print(f"device: {used[0].device_kind} x {share}, {platform.processor() or platform.machine()}")
    print(f"test: energy MAE {test.energy_mae:.2f} meV, force MAE {test.force_mae:.2f} meV/Å")
    for name, row in sets.items():
        print(
            f"{name}: {row['frames']} frames, energy MAE {row['energy_mae']:.2f} meV, force MAE"
            f" {row['force_mae']:.2f} meV/Å"
        )
    if reference:
        print(f"MACE: energy MAE {reference[0]} meV, force MAE {reference[1]} meV/Å")
    for row in lasted:
        first = row["first_failure_ps"]
        failed = "none lost a bond" if first is None else f"first bond lost after {first:.2f} ps"
        print(
            f"{row['temperature']:.0f} K, {row['replicas']} replicas of {row['ps']:g} ps:"
            f" {row['kept']:.0%} kept every bond, {failed}; {row['steps_per_s']:.0f} steps/s"
        )
    record = {"steps": made.steps, "test": test.__dict__, "sets": sets, "stability": lasted}
    (folder / "benchmark.json").write_text(json.dumps(record, indent=2, default=float))
    return 0


if __name__ == "__main__":
    sys.exit(main())
