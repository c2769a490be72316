"""How fast a disconnectivity graph is laid out and drawn.

    python benchmarks/trees.py --minima 10000 --links 50000 --json trees.json

A landscape of random energies and links, one in ten of them an estimate. Timed by the wall and by
the processor: the tree (superbasins and layout) for each order, with a metric coordinate and
trimmed; then a picture of it as SVG. The best of --repeats.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--minima", type=int, default=10_000, help="(10000)")
    add("--links", type=int, default=50_000, help="(50000)")
    add("--repeats", type=int, default=3, help="(3)")
    add("--seed", type=int, default=0)
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def best(action: Callable[[], object], repeats: int) -> dict[str, float]:
    """Seconds by the wall and by the processor, of the run that took the processor least."""
    times = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    cpu, wall = min(times)
    return {"cpu_s": round(cpu, 3), "wall_s": round(wall, 3)}


def main() -> None:
    options = parser().parse_args()
    if min(options.minima, options.repeats) < 1 or options.links < 0:
        sys.exit("error: give at least 1 minimum and repeat")
    import numpy as np

    from topokrates.drawing.disconnectivity import Metric, disconnectivity_tree
    from topokrates.drawing.pictures import save_static

    rng = np.random.default_rng(options.seed)
    energies = {i + 1: float(e) for i, e in enumerate(rng.random(options.minima))}
    values = {name: float(v) for name, v in zip(energies, rng.random(len(energies)), strict=True)}
    ends = rng.integers(1, options.minima + 1, (options.links, 2)).tolist()
    tops, kinds = 1 + rng.random(options.links), rng.random(options.links) < 0.9
    links = [(a, b, float(e), bool(v)) for (a, b), e, v in zip(ends, tops, kinds, strict=True)]
    cases = {
        "by size": {},
        "by energy": {"order": "energy"},
        "by a value": {"order": values},
        "metric": {"metric": Metric("value", "", values)},
        "monotonic bottoms": {"monotonic": True},
        "persistence 0.5": {"persistence": 0.5},
    }
    rows = {}
    for name, settings in cases.items():
        tree = disconnectivity_tree(energies, links, **settings)
        rows[name] = best(
            lambda settings=settings: disconnectivity_tree(energies, links, **settings),
            options.repeats,
        ) | {"drawn": len(tree.branches)}
    tree = disconnectivity_tree(energies, links)
    with tempfile.TemporaryDirectory() as folder:
        rows["svg"] = best(lambda: save_static(tree, Path(folder) / "a.svg"), options.repeats)
    for name, row in rows.items():
        print(f"{name:18}", "  ".join(f"{key} {value:g}" for key, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
