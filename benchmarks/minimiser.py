"""Gradient calls, failures and descents per minute of the batched minimiser, beside others.

    python benchmarks/minimiser.py --threads 1 --torch-python OTHER/bin/python --json minimiser.json

Starts: for peptides 60 fs of dynamics at 800 K from a minimum (SO3LR in float32, velocity Verlet,
1 fs), for LJ38 random particles in a sphere; one seed per start. Each is minimised to a largest
force of 1e-3 eV/Å (epsilon/sigma for LJ38) and then certified: 1e-4, and a positive Hessian in
float64.

- ours: `relax.descend` in float32 with 64 lanes, then `certify_all` without hints.
  Descents run twice, before and after the others; their time is the mean of both.
- ASE L-BFGS, ASE FIRE and Sella (order 0, internal coordinates; Cartesian ones for a cluster) on
  the same starts and the same potential through our ASE calculator, one start at a time; the polish
  goes on in float64 with the same method, to 1e-4, and pays one exact float64 Hessian, ours.
- ASE L-BFGS on so3krates-torch's ASE calculator (all pairs in both), float32, the polish in
  float64; the Hessian is the package's own. Neighbour lists are in its time, as in any use of it.

Calls are evaluations of energy and forces. What has not come to rest after --max-steps (others) or
1000 of them (ours, its default) counts as a failure. Times are wall times; each begins with a few
steps that are not timed, for compilers.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import threads

MOLECULES = ["Ac-Ala-NHMe", "Ac-Ala-Ala-Ala-NHMe", "Ac-Phe-Ser-NHMe", "LJ38"]
FORCES = (1e-3, 1e-4)


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--molecules", nargs="+", default=MOLECULES, metavar="MOLECULE", help="peptides or LJn")
    add("--starts", type=int, default=200, help="per molecule (200)")
    add("--lanes", type=int, default=64, help="of the live batch (64)")
    peers = ["lbfgs", "fire", "sella"]
    add("--peers", nargs="*", default=peers, choices=peers, metavar="NAME",
        help=", ".join(peers) + "; no name leaves them out")  # fmt: skip
    add("--peer-starts", nargs="+", default=["200"], metavar="N|NAME=N",
        help="of the starts for each peer (200): 20, or 50 fire=5 torch=100")  # fmt: skip
    add("--peer-time", type=float, default=1e9,
        help="seconds after which a peer begins no new start of a molecule (none)")  # fmt: skip
    add("--max-steps", type=int, default=3000, help="of a peer's descent (3000)")
    add("--no-polish", action="store_true", help="peers only descend to 1e-3")
    add("--polish-fire", action="store_true", help="FIRE is polished too: thousands of calls")
    add("--torch-python", metavar="PATH",
        help="interpreter of an environment that has so3krates-torch 0.2.1")  # fmt: skip
    add("--device", choices=["cpu", "gpu"], help="jax's choice if not given")
    add("--threads", type=int, default=1, help="cores each may use (1); 0 for all")
    add("--seed", type=int, default=0)
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def main() -> None:
    options = parser().parse_args()
    if options.starts < 2 or options.lanes < 2 or options.max_steps < 1 or options.threads < 0:
        sys.exit("error: give at least 2 starts and lanes, 1 step, 0 threads")
    if options.json is not None and not options.json.absolute().parent.is_dir():
        sys.exit(f"error: --json {options.json}: there is no such folder")
    options.peer_starts = _counts(options.peer_starts)
    options.threads = options.threads or None
    if options.threads is not None:
        threads.limit(options.threads)

    from topokrates.model.errors import InputError

    try:
        run(options)
    except InputError as error:
        sys.exit(f"error: {error}")


def run(options: argparse.Namespace) -> None:
    """Measures and prints, molecule by molecule."""
    import jax
    from limits import description, headline
    from peers.client import Torch
    from peers.optimisers import check
    from tables import save

    from topokrates.model import models
    from topokrates.molecule import Molecule

    for text in options.molecules:  # what cannot be is refused before anything is measured
        Molecule.from_text(text)
    check(options.peers)

    field = models.load("LJ", device=options.device)  # refuses a device that is not there
    device = getattr(field, "device", None) or jax.devices()[0]
    about = description(device, options.threads)
    peer = None
    if options.torch_python:
        peer = Torch(options.torch_python, options.threads, device.platform)
        about["peer"] = peer.about
    print(headline(about))
    if peer is not None:
        print("so3krates-torch:", ", ".join(f"{k} {v}" for k, v in peer.about["versions"].items()))
    print()
    results: dict[str, Any] = {"about": about, "molecules": {}}
    try:
        for text in options.molecules:
            results["molecules"][text] = molecule(text, options, peer)
            save(results, options.json)  # after each: what was measured is not lost
    finally:
        if peer is not None:
            peer.close()


def molecule(text: str, options: argparse.Namespace, peer: Any) -> dict[str, Any]:
    """Everything about one molecule, printed as it is known."""
    from descents import certified, minimise, prepare, summary, warm
    from peers.optimisers import TITLES, OnOurs, OnTorch, runs
    from tables import table

    from topokrates.model import models

    name = "LJ" if text.upper().startswith("LJ") else "so3lr"
    single = models.load(name, device=options.device)
    double = models.load(name, dtype="float64", device=options.device)
    case = prepare(text, single, options.starts, options.seed, report)
    units = case.potential.units
    warm(case, FORCES[0], options.lanes)
    first = minimise(case, FORCES[0], options.lanes, report)
    first = certified(case, first, options.lanes, report)

    rows, found = [], {}
    methods = [
        "sella-cartesian" if case.molecule.is_cluster and m == "sella" else m for m in options.peers
    ]
    if peer is not None and not case.molecule.is_cluster:
        methods.append("torch")
    for method in methods:
        limits = (options.max_steps, FORCES)
        numbers = case.molecule.numbers
        if method == "torch" and peer is not None:
            made = OnTorch(peer, numbers, *limits)
        else:
            made = OnOurs(method, single, double, numbers, *limits)
        wanted = options.peer_starts.get(method.split("-")[0], options.peer_starts[""])
        polish = not options.no_polish and (method != "fire" or options.polish_fire)
        done = []
        for one in runs(made, case.starts[:wanted], polish, options.peer_time):
            done.append(one)
            if len(done) % 10 == 0 or len(done) == wanted:
                report(f"{text}: {TITLES[method]}, {len(done)} of {min(wanted, options.starts)}")
        found[method] = [one._asdict() for one in done]
        rows.append(peer_row(TITLES[method], done, polish))

    again = minimise(case, FORCES[0], options.lanes, report)
    same = [d.energy for d in again.descents] == [d.energy for d in first.descents]
    ours = ours_row(first, again)
    told = summary(first)
    header = ["minimiser", "starts", "failed", "calls to 1e-3", "90 %", "most", "descents/min"]
    header += ["calls to certified", "90 %", "most", "HVP/start", "certified", "certified/min"]
    forces = units.force
    print(f"{text}, {case.molecule.n_atoms} atoms; forces in {forces}, calls are medians\n")
    print(table(header, [ours, *rows]), "\n", sep="")
    print(
        f"ours: {told['certified']} of {told['starts']} ends certified as minima"
        f" ({told['distinct_energies']} distinct energies); {told['fell_further']} ends lay more"
        f" than 1e-3 {units.energy} above their minimum (at most {told['largest_fall']:.1e});"
        f" {told['handed_over']} went on in Cartesian coordinates;"
        f" useful work {100 * told['useful']:.1f} % of the lane-steps computed,"
        f" {100 * told['of_all_lanes']:.1f} % of all {options.lanes} lanes until the last ended;"
        f" descents {first.descent_seconds:.1f} and {again.descent_seconds:.1f} s, certificates"
        f" {first.certify_seconds:.1f} s;"
        f" the second run {'repeated' if same else 'DID NOT repeat'} the first"
    )
    per_minute = ours[header.index("descents/min")]
    for row in rows:
        theirs = row[header.index("descents/min")]
        line = (
            f"descents per minute, ours over {row[0]}: {per_minute / theirs:.3g}" if theirs else ""
        )
        if theirs and row[-1]:
            line += f"; certified: {ours[-1] / row[-1]:.3g}"
        print(line)
    print(flush=True)
    return {
        "atoms": case.molecule.n_atoms,
        "units": {"energy": units.energy, "force": forces},
        "ours": told
        | {
            "calls": [d.gradient_calls for d in first.descents],
            "status": [str(d.status) for d in first.descents],
            "polish_calls": [c.gradient_calls for c in first.certificates],
            "products": [c.hessian_vector_products for c in first.certificates],
            "energies": [c.energy for c in first.certificates],
            "descent_seconds": [first.descent_seconds, again.descent_seconds],
            "certify_seconds": first.certify_seconds,
            "repeated": same,
        },
        "peers": found,
    }


def ours_row(first: Any, again: Any) -> list[Any]:
    from topokrates.relaxation.relax import Status

    rested = [d for d in first.descents if d.status is Status.CONVERGED]
    certified = sum(c.status is Status.CERTIFIED for c in first.certificates)
    descents = (first.descent_seconds + again.descent_seconds) / 2
    both = descents + first.certify_seconds
    calls = [d.gradient_calls for d in rested]
    total = [
        d.gradient_calls + c.gradient_calls for d, c in zip(rested, first.certificates, strict=True)
    ]
    products = sum(c.hessian_vector_products for c in first.certificates)
    return [
        "ours",
        len(first.descents),
        len(first.descents) - len(rested),
        *spread(calls),
        60 * len(rested) / descents,
        *spread(total),
        products / max(len(rested), 1),
        certified,
        60 * certified / both,
    ]


def peer_row(title: str, done: list[Any], polish: bool) -> list[Any]:
    rested = [one for one in done if one.converged]
    seconds = sum(one.seconds for one in done)
    certified = sum(one.certified for one in done)
    both = seconds + sum(one.polish_seconds for one in done)
    row = [title, len(done), len(done) - len(rested), *spread([one.calls for one in rested])]
    row += [60 * len(rested) / seconds if seconds else None]
    if not polish:
        return [*row, *[None] * 6]
    return [
        *row,
        *spread([one.calls + one.polish_calls for one in rested]),
        sum(one.products for one in rested) / max(len(rested), 1),
        certified,
        60 * certified / both if both else None,
    ]


def spread(values: list[int]) -> list[Any]:
    """Median, 90 % and largest."""
    import numpy as np

    if not values:
        return [None] * 3
    return [float(np.median(values)), float(np.quantile(values, 0.9)), max(values)]


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _counts(words: list[str]) -> dict[str, int]:
    """Starts per peer; "" holds what the others get."""
    counts = {"": 200}
    for word in words:
        name, _, number = word.rpartition("=")
        if name not in ("", "lbfgs", "fire", "sella", "torch") or not number.isdecimal():
            sys.exit(f"error: --peer-starts {word!r}: a number, or lbfgs=, fire=, sella=, torch=N")
        if not int(number):
            sys.exit(f"error: --peer-starts {word!r}: give at least 1")
        counts[name] = int(number)
    return counts


if __name__ == "__main__":
    main()
