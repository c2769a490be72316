"""Quenches until the global minimum of a Lennard-Jones cluster is met for the first time.

    python benchmarks/clusters.py --sizes 13 19 31 38 --seeds 50 --json clusters.json
    python benchmarks/clusters.py --pele-python OTHER/bin/python

One walker of basin hopping per seed, from a random start; what is counted, and how the interval
comes about, is said in benchmarks/encounters.py. With --pele-python, pele 0.1.2 beside it in the
same run: its own basin hopping, settings and minimiser, from its own random starts. Times are those
of one process with one thread, all its quenches together. Asked: what pele's documentation says,
and for LJ38 GMIN's.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from encounters import LOWEST, of_ours, of_pele

ASKED = {13: 25, 19: 58, 31: 654, 38: 2825}
HEADER = ["cluster", "program", "found", "mean quenches", "95 %", "asked", "median",
          "calls/quench", "ms/quench"]  # fmt: skip


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
    add("--pele-python", metavar="PATH", help="Python of an environment with pele 0.1.2")
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def main() -> None:
    options = parser().parse_args()
    if wrong := [n for n in options.sizes if n not in LOWEST]:
        sys.exit(f"error: --sizes {wrong[0]}: give 4 to 38")
    given = {"surface": options.surface, "symmetry": options.symmetry}
    shares = {name: share for name, share in given.items() if share is not None}
    if min(shares.values(), default=0) < 0 or sum(shares.values()) > 1:
        sys.exit("error: --surface and --symmetry are shares: give 0 to 1, together at most 1")
    if options.seeds < 1 or options.limit < 1:
        sys.exit("error: --seeds and --limit must be above 0")
    if options.first_seed < 0:
        sys.exit("error: --first-seed must not be below 0")
    import jax
    from limits import description, headline
    from peers.client import PeerError, Pele
    from tables import save, table

    from topokrates.model.errors import InputError

    with ExitStack() as stack:
        pele = None
        if options.pele_python is not None:
            try:
                pele = stack.enter_context(Pele(options.pele_python))
            except InputError as error:
                sys.exit(f"error: {error}")
        about = description(jax.devices()[0], 1)
        if pele is not None:
            about["peer"] = pele.about
        print(headline(about))
        rows: list[list[Any]] = []
        results: list[dict[str, Any]] = []
        walks = (options.seeds, options.limit, options.first_seed)
        for size in options.sizes:
            for peer in (None,) if pele is None else (None, pele):
                name = "topokrates" if peer is None else f"pele {peer.about['versions']['pele']}"
                try:
                    measured = (
                        of_ours(size, *walks, shares)
                        if peer is None
                        else of_pele(peer, size, *walks)
                    )
                except PeerError as error:
                    sys.exit(f"error: {name}, LJ{size}: {error}")
                result = {"size": size, "program": name, **measured}
                results.append(result)
                rows.append(_row(result, first=peer is None))
                print(f"LJ{size}, {name}: {result['mean']:.0f} quenches,"
                      f" {result['seconds']:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
                save({"about": about, "results": results}, options.json)
    print(table(HEADER, rows))


def _row(result: dict[str, Any], first: bool) -> list[Any]:
    """A row of the table; the cluster and what is asked stand in its first one."""
    low, high = result["interval"]
    return [
        f"LJ{result['size']}" if first else "",
        result["program"],
        f"{result['found']} of {len(result['spent'])}",
        f"{result['mean']:.0f}",
        f"{low:.0f} to {high:.0f}",
        str(ASKED.get(result["size"], "")) if first else "",
        f"{result['median']:.0f}",
        f"{result['calls']:.0f}",
        f"{result['milliseconds']:.2f}",
    ]


if __name__ == "__main__":
    main()
