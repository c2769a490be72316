"""Quenches until the global minimum of a Lennard-Jones cluster is met for the first time.

    python benchmarks/clusters.py --sizes 13 19 31 38 --seeds 50 --json clusters.json

One walker of basin hopping per seed, from a random start, by the package's own moves, minimiser and
Metropolis rule; without the store and without certificates, which change nothing of a walk. First
encounters are distributed exponentially, so the mean of n of them is known to 1 / sqrt(n): the
interval is the exact one of that distribution (chi-squared), and walkers that met nothing within
the limit count with the quenches that they made. Global minima: Wales and Doye, J. Phys. Chem. A
101, 5111 (1997). Asked: what pele's documentation says, and for LJ38 GMIN's.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# Cambridge Cluster Database, epsilon
LOWEST = {
    4: -6.0, 5: -9.103852, 6: -12.712062, 7: -16.505384, 8: -19.821489, 9: -24.113360,
    10: -28.422532, 11: -32.765970, 12: -37.967600, 13: -44.326801, 14: -47.845157,
    15: -52.322627, 16: -56.815742, 17: -61.317995, 18: -66.530949, 19: -72.659782,
    20: -77.177043, 21: -81.684571, 22: -86.809782, 23: -92.844472, 24: -97.348815,
    25: -102.372663, 26: -108.315616, 27: -112.873584, 28: -117.822402, 29: -123.587371,
    30: -128.286571, 31: -133.586422, 32: -139.635524, 33: -144.842719, 34: -150.044528,
    35: -155.756643, 36: -161.825363, 37: -167.033672, 38: -173.928427,
}  # fmt: skip
ASKED = {13: 25, 19: 58, 31: 654, 38: 2825}
NEAR = 1e-4  # epsilon


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--sizes", type=int, nargs="+", default=[13, 19, 31, 38], help="particles, 4 to 38")
    add("--seeds", type=int, default=50, help="walkers, each with a start of its own (50)")
    add("--limit", type=int, default=20_000, help="quenches after which a walker gives up")
    add("--surface", type=float, help="share of moves of the worst placed particles")
    add("--symmetry", type=float, help="share of moves towards a symmetry")
    add("--first-seed", type=int, default=0)
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def main() -> None:
    options = parser().parse_args()
    if wrong := [n for n in options.sizes if n not in LOWEST]:
        sys.exit(f"error: --sizes {wrong[0]}: give 4 to 38")
    shares = [share for share in (options.surface, options.symmetry) if share is not None]
    if min(shares, default=0) < 0 or sum(shares) > 1:
        sys.exit("error: --surface and --symmetry are shares: give 0 to 1, together at most 1")
    if options.seeds < 1 or options.limit < 1:
        sys.exit("error: --seeds and --limit must be above 0")
    import jax
    from limits import description, headline
    from tables import save, table

    print(headline(description(jax.devices()[0], 1)))
    rows, results = [], []
    for size in options.sizes:
        result = first_encounters(size, options)
        results.append(result)
        low, high = result["interval"]
        rows.append(
            [
                f"LJ{size}",
                f"{result['found']} of {options.seeds}",
                f"{result['mean']:.0f}",
                f"{low:.0f} to {high:.0f}",
                str(ASKED.get(size, "")),
                f"{result['median']:.0f}",
                f"{result['calls']:.0f}",
                f"{1e3 * result['seconds'] / result['quenches']:.2f}",
            ]
        )
        print(f"LJ{size}: {result['mean']:.0f} quenches, {result['seconds']:.0f} s",
              file=sys.stderr, flush=True)  # fmt: skip
        save({"results": results}, options.json)
    header = ["cluster", "found", "mean quenches", "95 %", "asked", "median", "calls/quench",
              "ms/quench"]  # fmt: skip
    print(table(header, rows))


def first_encounters(size: int, options: argparse.Namespace) -> dict[str, Any]:
    """Walkers side by side until each has met the global minimum."""
    from scipy.stats import chi2

    from topokrates.integrity import changes
    from topokrates.internals import coordinates
    from topokrates.model.analytic import LennardJones
    from topokrates.molecule import Molecule
    from topokrates.relax import Status, descend
    from topokrates.search import basin_hopping as search
    from topokrates.search.state import Outcome

    molecule = Molecule.from_text(f"LJ{size}")
    potential = LennardJones().bind(molecule.numbers)
    frame = coordinates(molecule.bonds, molecule.positions)
    settings = search.settings(molecule)
    shares = {"surface": options.surface, "symmetry": options.symmetry}
    settings = settings._replace(**{k: v for k, v in shares.items() if v is not None})
    walkers = options.seeds
    state = search.init(settings, molecule, walkers)
    met = np.zeros(walkers, int)
    quenches, calls, began = 0, 0, time.perf_counter()
    for step in range(options.limit):
        active = [walker for walker in range(walkers) if not met[walker]]
        if not active:
            break
        starts, _ = search.propose(
            settings, state, molecule, potential, options.first_seed, step, active
        )
        outcome = Outcome(
            np.zeros((walkers, size, 3)),
            np.full(walkers, np.inf),
            np.full(walkers, -1),
            np.zeros(walkers, int),
        )
        for end in descend(potential, frame, starts, lanes=32):
            quenches, calls = quenches + 1, calls + end.gradient_calls
            walker = active[end.index]
            if end.status is Status.CONVERGED and not changes(molecule, end.positions):
                outcome.positions[walker], outcome.energies[walker] = end.positions, end.energy
                outcome.minima[walker] = 0
                if end.energy < LOWEST[size] + NEAR:
                    met[walker] = step + 1
        state, _ = search.step(settings, state, outcome, options.first_seed, step)
    found = int((met > 0).sum())
    spent = np.where(met > 0, met, options.limit)
    total = float(spent.sum())
    return {
        "size": size,
        "found": found,
        "mean": total / max(found, 1),
        "interval": (
            2 * total / chi2.ppf(0.975, 2 * max(found, 1)),
            2 * total / chi2.ppf(0.025, 2 * max(found, 1)),
        ),
        "median": float(np.median(spent)),
        "encounters": met.tolist(),
        "quenches": quenches,
        "calls": calls / quenches,
        "seconds": time.perf_counter() - began,
    }


if __name__ == "__main__":
    main()
