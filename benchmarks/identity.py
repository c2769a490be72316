"""How fast, and how rightly, structures are told apart and recognised: peptides and clusters.

    python benchmarks/identity.py --minima 4000 --copies 3 --set ala3.npz --json identity.json

Peptides: distinct MMFF94 minima (`conformers.py`: told apart by torsions, without a superposition).
Each comes --copies times, turned at random, with equivalent atoms exchanged at random (hydrogens of
each methyl group included) and every coordinate off by a normal deviate of --noise; all are
shuffled and added one after another to a landscape in memory. A wrong merge is a minimum that was
taken for another one, a wrong split a copy that was taken for new. A second order of arrival must
give the same partition.

Clusters: distinct Lennard-Jones minima from random quenches, certified in float64 and told apart by
their energies alone (more than 1e-8 epsilon). --finds copies, turned, permuted, every second one
inverted, are looked up among the stored ones.

Deduplication is timed by the wall and by the processor, single finds by the processor.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import threads

ENERGY_NOISE = 1e-6  # eV or epsilon: what certified quenches of one minimum differ by
DEGENERATE = 1e-8  # epsilon


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--molecule", default="Ac-Ala-Ala-Ala-NHMe", help="a peptide without symmetric side chains")
    add("--minima", type=int, default=2000, help="distinct minima of the peptide (2000)")
    add("--copies", type=int, default=5, help="of each (5)")
    add("--noise", type=float, default=1e-3, help="on every coordinate, Å or sigma (0.001)")
    add("--set", type=Path, metavar="PATH", help="npz file that keeps the distinct minima")
    clusters = ["LJ10=2000", "LJ13=2000", "LJ38=300"]
    add("--clusters", nargs="*", default=clusters, metavar="LJn=QUENCHES",
        help="clusters, and random quenches to collect minima from")  # fmt: skip
    add("--finds", type=int, default=2000, help="copies of cluster minima looked up (2000)")
    add("--threads", type=int, default=1, help="cores it may use (1); 0 for all")
    add("--seed", type=int, default=0)
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def main() -> None:
    options = parser().parse_args()
    if min(options.copies, options.finds) < 1 or options.minima < 0 or options.noise < 0:
        sys.exit("error: give at least 1 copy and find, 0 minima, noise 0")
    for path in (options.json, options.set):
        if path is not None and not path.absolute().parent.is_dir():
            sys.exit(f"error: {path}: there is no such folder")
    options.threads = options.threads or None
    if options.threads is not None:
        threads.limit(options.threads)

    from limits import description, headline
    from tables import save

    from topokrates.model.errors import InputError

    about = description(None, options.threads)
    print(headline(about), "\n")
    results: dict[str, Any] = {"about": about, "peptides": {}, "clusters": {}}
    try:
        if options.minima:
            results["peptides"][options.molecule] = peptide(options)
            save(results, options.json)
        for entry in options.clusters:
            name, _, quenches = entry.partition("=")
            results["clusters"][name] = cluster(name, int(quenches or 1000), options)
            save(results, options.json)
    except InputError as error:
        sys.exit(f"error: {error}")


def peptide(options: argparse.Namespace) -> dict[str, Any]:
    """Deduplicates copies of the minima of a peptide, in two orders of arrival."""
    import numpy as np
    from conformers import conformers
    from tables import table

    from topokrates.identity.matching import Matcher
    from topokrates.molecule import Molecule

    molecule = Molecule.from_text(options.molecule)
    made = conformers(molecule, options.minima, options.seed, options.set)
    rng = np.random.default_rng(options.seed)
    symmetry = Matcher(molecule).symmetry
    assert symmetry is not None
    origins = np.repeat(np.arange(len(made.energies)), options.copies)
    structures = [_copy(molecule, symmetry, made.positions[k], options.noise, rng) for k in origins]
    energies = made.energies[origins] + ENERGY_NOISE * rng.normal(size=len(origins))
    rows, partitions, result = [], [], {}
    for arrival in ("first order", "second order"):
        order = rng.permutation(len(origins))
        names, seconds, processor = _deduplicate(molecule, energies, structures, order)
        merges, splits = _mistakes(origins, names)
        partitions.append(names)
        found = len(set(names.tolist()))
        result[arrival] = {
            "seconds": seconds,
            "processor_seconds": processor,
            "found": found,
            "wrong_merges": merges,
            "wrong_splits": splits,
        }
        counts = [len(origins), len(made.energies), found]
        rows.append([arrival, *counts, seconds, processor, merges, splits])
    pairs = set(zip(partitions[0].tolist(), partitions[1].tolist(), strict=True))
    same = len(pairs) == len(set(partitions[0].tolist())) == len(set(partitions[1].tolist()))
    print(f"{molecule.name}, {molecule.n_atoms} atoms, {symmetry.size} automorphisms; generation "
          f"{made.seconds:.0f} s for {made.starts} starts\n")  # fmt: skip
    print(table(["arrival", "structures", "distinct", "found", "wall s", "CPU s", "wrong merges",
                 "wrong splits"], rows))  # fmt: skip
    print(f"the same partition from both: {'yes' if same else 'no'}\n")
    return result | {
        "structures": len(origins),
        "distinct": len(made.energies),
        "starts": made.starts,
        "generation_seconds": made.seconds,
        "same_partition": same,
    }


def _copy(molecule: Any, symmetry: Any, x: Any, noise: float, rng: Any) -> Any:
    """A copy turned at random, equivalent atoms exchanged, with noise."""
    from scipy.spatial.transform import Rotation

    order = symmetry.orders[rng.integers(len(symmetry.orders))].copy()
    for carrier in range(molecule.n_atoms):
        near = molecule.bonds[(molecule.bonds == carrier).any(1)].ravel()
        hydrogens = [j for j in near if molecule.numbers[j] == 1]
        if molecule.numbers[carrier] != 1:
            order[hydrogens] = rng.permutation(order[hydrogens])
    turned = x[order] @ Rotation.random(rng=rng).as_matrix().T + rng.normal(scale=5, size=3)
    return turned + noise * rng.normal(size=x.shape)


def _deduplicate(
    molecule: Any, energies: Any, structures: list, order: Any
) -> tuple[Any, float, float]:
    """Adds all in this order to a landscape in memory: the minimum of each, wall and CPU time."""
    import numpy as np

    from topokrates.landscape import Landscape

    units = {"energy": "eV", "length": "Å"}
    names = np.empty(len(order), dtype=int)
    with Landscape.create(molecule, {"name": "MMFF94", "units": units}) as landscape:
        begin = time.perf_counter(), time.process_time()
        for k in order:
            names[k] = landscape.add_minimum(energies[k], structures[k])[0]
        return names, time.perf_counter() - begin[0], time.process_time() - begin[1]


def _mistakes(origins: Any, names: Any) -> tuple[int, int]:
    """Minima taken for another one, and copies taken for new."""
    pairs = set(zip(origins.tolist(), names.tolist(), strict=True))
    return len(pairs) - len(set(names.tolist())), len(pairs) - len(set(origins.tolist()))


def cluster(name: str, quenches: int, options: argparse.Namespace) -> dict[str, Any]:
    """Looks up copies of the minima of a cluster among all of them."""
    import numpy as np
    from tables import table

    from topokrates.identity.index import MinimumIndex
    from topokrates.identity.matching import Matcher
    from topokrates.molecule import Molecule
    from topokrates.storage.records import Minimum

    molecule = Molecule.from_text(name)
    begin = time.perf_counter()
    energies, minima = _cluster_minima(molecule, quenches, options.seed)
    generation = time.perf_counter() - begin
    matcher, index = Matcher(molecule), MinimumIndex()
    for k, (energy, x) in enumerate(zip(energies, minima, strict=True)):
        index.add(Minimum(k, float(energy), x, None, None, 1))
    rng = np.random.default_rng(options.seed)
    origins = rng.integers(len(minima), size=options.finds)
    copies = [_scrambled(minima[k], options.noise, rng, improper=i % 2 == 1)
              for i, k in enumerate(origins)]  # fmt: skip
    noisy = energies[origins] + ENERGY_NOISE * rng.normal(size=len(origins))
    times, wrong, missed = [], 0, 0
    for k, energy, x in zip(origins, noisy, copies, strict=True):
        begin = time.process_time()
        found = index.find(matcher, float(energy), x, 1e-3)
        times.append(1e3 * (time.process_time() - begin))
        missed += int(found is None)
        wrong += int(found is not None and found != k)
    gaps = np.diff(energies)
    row = [name, quenches, len(minima), float(gaps.min()), len(copies), float(np.mean(times)),
           float(np.median(times)), float(np.max(times)), wrong, missed]  # fmt: skip
    print(table(["cluster", "quenches", "minima", "least gap", "finds", "mean ms", "median ms",
                 "most ms", "taken for another", "not found"], [row]))  # fmt: skip
    print(f"generation {generation:.0f} s\n")
    return {
        "quenches": quenches,
        "minima": len(minima),
        "least_gap": float(gaps.min()),
        "finds": len(copies),
        "mean_ms": float(np.mean(times)),
        "median_ms": float(np.median(times)),
        "most_ms": float(np.max(times)),
        "taken_for_another": wrong,
        "not_found": missed,
        "generation_seconds": generation,
    }


def _cluster_minima(molecule: Any, quenches: int, seed: int) -> tuple[Any, Any]:
    """Energies (M,) and structures (M, N, 3) of the distinct minima that random quenches end in."""
    import numpy as np
    from structures import cluster_starts

    from topokrates.identity.matching import changes
    from topokrates.model import models
    from topokrates.relaxation.certify import certify_all
    from topokrates.relaxation.internals import coordinates
    from topokrates.relaxation.relax import Status, descend

    potential = models.load("LJ").bind(molecule.numbers)
    frame = coordinates(molecule.bonds, molecule.positions)
    starts = cluster_starts(molecule.n_atoms, quenches, seed)
    ends = [
        end.positions
        for end in descend(potential, frame, starts, lanes=64)
        if end.status is Status.CONVERGED and not changes(molecule, end.positions)
    ]
    proofs = [p for p in certify_all(potential, frame, ends) if p.status is Status.CERTIFIED]
    energies = np.array([p.energy for p in proofs])
    order = np.argsort(energies, kind="stable")
    first = np.diff(energies[order], prepend=-np.inf) > DEGENERATE
    return energies[order][first], np.array([proofs[k].positions for k in order[first]])


def _scrambled(x: Any, noise: float, rng: Any, improper: bool) -> Any:
    from scipy.spatial.transform import Rotation

    turned = x[rng.permutation(len(x))] @ Rotation.random(rng=rng).as_matrix().T
    turned = turned + noise * rng.normal(size=x.shape) + rng.normal(scale=3, size=3)
    return -turned if improper else turned


if __name__ == "__main__":
    main()
