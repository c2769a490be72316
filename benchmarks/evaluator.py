"""Time of one evaluation: energy and forces of a structure, beside so3krates-torch.

    python benchmarks/evaluator.py --threads 1 --torch-python OTHER/bin/python --json evaluator.json

For helices of polyalanine of 22 to 1002 atoms and several batches it prints milliseconds per
structure and microseconds per atom: for SO3LR with and without long range (every pair, no cutoff)
and for the network of the journal's default size with random parameters, in float32.

- Ours is a call of `Potential.energies_and_forces`: numpy in, numpy out, neighbour lists and all.
  Structures of a batch share calls from the start, where they get the bits of alone (`company`);
  in a search that begins when so many were evaluated that another compilation pays.
- so3krates-torch's is a call of its network on a batch that was made before, so without its
  neighbour list and data loader; forces end as numpy. The network of the journal's size has
  Gaussian radial functions there, since the package lacks PhysNet's.
- Both take turns in one run, on the same structures and the same number of threads; each
  repetition is the mean of as many calls as fill a quarter of a second.
- The share of the device's limit sets what the plain layout of edges needs per evaluation (1.1
  MFLOP and 0.21 MB per directed edge at F 128, L 3) against rates of matrix products and memory
  copies of the same run. More than 100 % means that less was computed, or moved, than that.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import joined
import threads


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--atoms", type=int, nargs="+", default=[22, 42, 162, 1002], help="10 n + 12 each")
    add("--batches", type=int, nargs="+", default=[1, 8, 64, 512], help="structures per call")
    names = ["so3lr-short", "so3lr", "journal"]
    known = [*names, "peptide"]
    add("--networks", nargs="+", default=names, choices=known, metavar="NAME",
        help=", ".join(known))  # fmt: skip
    add("--layouts", nargs="+", default=["auto"], metavar="NAME",
        help="auto (the package's choice, the default), edges, rows, all; with :exact behind"
        " it the radial networks themselves, not their tables")  # fmt: skip
    add("--shape", choices=["helix", "extended"], default="helix", help="of the peptides")
    add("--device", choices=["cpu", "gpu"], help="jax's choice if not given")
    add("--threads", type=int, default=1, help="cores both may use (1); 0 for all")
    add("--torch-python", metavar="PATH",
        help="interpreter of an environment that has so3krates-torch 0.2.1")  # fmt: skip
    add("--torch-batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32],
        help="batches among which so3krates-torch may find its best")  # fmt: skip
    add("--torch-compile", action="store_true",
        help="time it behind torch.compile too (compiles for minutes), if its forces stay the"
        " same")  # fmt: skip
    add("--torch-memory", type=float, default=8, help="GB that it may use (8)")
    add("--repetitions", type=int, default=7)
    add("--least", type=float, default=0.25, help="seconds of calls in a repetition (0.25)")
    add("--time-limit", type=float, default=10, help="skip batches that take longer, s (10)")
    add("--no-precision", action="store_true", help="leave out the force noise")
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def main() -> None:
    options = parser().parse_args()
    wrong = [
        name
        for name in ("atoms", "batches", "torch_batches", "repetitions", "least", "time_limit")
        if any(v <= 0 for v in _listed(getattr(options, name)))
    ]
    if wrong or options.threads < 0:
        sys.exit(f"error: --{(wrong or ['threads'])[0].replace('_', '-')} must be above 0")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        sys.exit(f"error: --json {options.json}: there is no such folder")
    options.threads = options.threads or None
    if options.threads is not None:
        threads.limit(options.threads)

    from topokrates.model.errors import InputError

    try:
        run(options)
    except InputError as error:
        sys.exit(f"error: {error}")


def run(options: argparse.Namespace) -> None:
    """Measures and prints; exits with 1 if the two programs disagree."""
    import jax
    from evaluator_tables import best_table, main_table, precision_table
    from limits import description, headline, measure
    from peers.client import Torch
    from tables import save
    from timing import TOLERANCE, Timing

    from topokrates.model import models

    joined.at_once()
    field = models.load("LJ", device=options.device)  # refuses a device that is not there
    device = getattr(field, "device", None) or jax.devices()[0]
    about = description(device, options.threads)
    report("measuring matrix products and memory copies")
    limits = measure(device)
    peer = None
    if options.torch_python:
        peer = Torch(options.torch_python, options.threads, device.platform)
        about["peer"] = peer.about
    timing = Timing(options, peer, limits, report)
    print(headline(about))
    if peer is not None:
        print("so3krates-torch:", ", ".join(f"{k} {v}" for k, v in peer.about["versions"].items()))
    print(
        f"limits: {limits.flops / 1e9:.4g} GFLOP/s (float32 matrix products),"
        f" {limits.bytes / 1e9:.4g} GB/s (copies, read and written)\n"
    )
    results: dict[str, Any] = {"about": about, "limits": limits._asdict(), "networks": {}}
    try:
        for name in options.networks:
            measured = timing.network(name)
            results["networks"][name] = measured
            print(main_table(name, measured, options), "\n", sep="", flush=True)
        print(best_table(results["networks"]), "\n", sep="")
        if not options.no_precision:
            results["precision"] = timing.precision()
            print(precision_table(results["precision"]), "\n", sep="")
    finally:
        if peer is not None:
            peer.close()
    save(results, options.json)
    apart = [m["apart"] for n in results["networks"].values() for m in n if m["apart"] is not None]
    if apart:
        verdict = "the same" if max(apart) < TOLERANCE else "NOT the same"
        print(
            f"check: both programs compute {verdict}: forces of SO3LR differ by {max(apart):.1e}"
            f" eV/Å at most (allowed: {TOLERANCE:.0e})"
        )
        if max(apart) >= TOLERANCE:
            sys.exit(1)


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
