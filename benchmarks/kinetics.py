"""How long thermodynamics and kinetics of a large landscape take.

    python benchmarks/kinetics.py --minima 10000 --links 50000 --modes 120 --json kinetics.json

The landscape is made up. Minima lie in funnels, on a tree of funnels: --local of the links that are
more than a tree needs join minima near each other, as found landscapes have it; with --local 0 they
join any two, which is the hardest network to eliminate. Energies and barriers are in kcal/mol and
the temperature is 300 K. --cold also takes the times at a temperature so low that logarithms have
to be added. Wall times, one thread unless --threads says otherwise.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--minima", type=int, default=10_000)
    add("--links", type=int, default=50_000)
    add("--modes", type=int, default=120, help="vibrations of each minimum (120)")
    add("--temperatures", type=int, default=50, help="points of the heat capacity curve (50)")
    add("--local", type=float, default=0.98, help="share of links between near minima (0.98)")
    add("--threshold", type=float, default=3.0, help="of regrouping, kcal/mol (3)")
    add("--cold", action="store_true", help="times at 20 K too")
    add("--sparse", action="store_true", help="compare with a sparse factorisation")
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=0)
    add("--json", type=Path, metavar="PATH")
    return result


def main() -> None:
    options = parser().parse_args()
    if options.minima < 3 or options.links < options.minima - 1 or not 0 <= options.local <= 1:
        sys.exit("error: give at least 3 minima, a link less than that, --local from 0 to 1")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        sys.exit(f"error: {options.json}: there is no such folder")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    results = measure(options)
    for name, value in results.items():
        print(f"{name:50s} {value if isinstance(value, str) else f'{value:.4g}'}")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from topokrates.analysis.kinetics import network, regroup
    from topokrates.analysis.passage import fastest_path, log_times, passage, sparse_times
    from topokrates.analysis.thermodynamics import States, thermodynamics
    from topokrates.analysis.vibrations import scale
    from topokrates.model.errors import InputError

    rng, count, unit = np.random.default_rng(options.seed), options.minima, scale("eV")
    kcal = 1 / 23.060547830619
    near = np.maximum(1, count // 100)
    parents = [max(0, k - 1 - int(rng.integers(near))) for k in range(1, count)]
    pairs = {(parent, k + 1) for k, parent in enumerate(parents)}
    while len(pairs) < options.links:
        a = int(rng.integers(count))
        far = rng.random() >= options.local
        b = int(rng.integers(count)) if far else a + 1 + int(rng.integers(30))
        if b < count and a != b:
            pairs.add((min(a, b), max(a, b)))
    ends = np.array(sorted(pairs))
    energies = kcal * rng.gamma(4.0, 2.0, count)
    tops = energies[ends].max(axis=1) + kcal * rng.gamma(2.0, 2.0, len(ends))

    def wells(energies: np.ndarray, modes: int) -> States:
        frequencies = 10 ** rng.uniform(1.4, 3.5, modes) * rng.uniform(0.9, 1.1, (1, modes))
        spread = rng.uniform(0.95, 1.05, (len(energies), modes))
        ones = np.ones(len(energies))
        return States(energies, frequencies * spread, ones, None, unit)

    minima, links = wells(energies, options.modes), wells(tops, options.modes - 1)
    results: dict[str, Any] = {"minima": count, "links": len(ends), "modes": options.modes}

    def timed(name: str, work: Any) -> Any:
        start = time.perf_counter()
        found = work()
        results[f"{name} (s)"] = time.perf_counter() - start
        return found

    grid = np.linspace(50, 600, options.temperatures)
    name = f"heat capacity at {options.temperatures} temperatures"
    timed(f"{name}, classical", lambda: thermodynamics(minima, grid))
    timed(f"{name}, quantum", lambda: thermodynamics(minima, grid, quantum=True))
    ids = np.arange(1, count + 1)
    net = timed("rates", lambda: network(ids, minima, ends + 1, links, 300, quantum=True))
    times = timed("first passage times from all", lambda: log_times(net, [1]))
    there = timed("there, with committors", lambda: passage(net, [1, 2, 3], [count]))
    results["log10 time (s) of that"] = there.log10_time
    timed("fastest path", lambda: fastest_path(net, 1, count))
    groups = timed("regrouping", lambda: regroup(net, options.threshold * kcal))
    results["groups"] = len(groups.ids)
    timed("first passage times of the groups", lambda: log_times(groups, [1]))
    if options.cold:
        cold = network(ids, minima, ends + 1, links, 20, quantum=True)
        timed("first passage times at 20 K", lambda: log_times(cold, [1]))
        results["span of ln fluxes at 20 K"] = float(np.ptp(cold.log_fluxes))
    if options.sparse:
        try:
            direct = timed("sparse factorisation", lambda: sparse_times(net, [1]))
            error = np.abs(np.exp(times[1:]) / direct[1:] - 1).max()
            results["largest relative difference"] = float(error)
        except InputError as error:
            results["sparse factorisation"] = str(error)
    return results


if __name__ == "__main__":
    main()
