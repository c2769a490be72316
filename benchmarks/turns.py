"""How many times as fast one force field is as another, both timed in turns in one process.

    python benchmarks/turns.py so3lr peptide --atoms 22 42 62

Each round evaluates the same structures of a helical polyalanine with every force field, sixteen or
a call's in a row, so that a machine that is slower for a while is slower for all and no call finds
the other's arrays in the caches. The fastest round of each is what other work on the machine
disturbed least; the ratio of medians stands beside that of the fastest.
"""

import argparse
import sys
from pathlib import Path

import joined
import threads

IN_A_ROW = 16  # structures that each evaluates in a round, at least


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("models", nargs="+", help="as for explore; ratios are to the first")
    add("--atoms", type=int, nargs="+", default=[22, 42, 62], help="10 n + 12 each")
    add("--batches", type=int, nargs="+", default=[1, 16], help="structures in a call")
    add("--rounds", type=int, default=40)
    add("--threads", type=int, default=1, help="cores (1)")
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def main() -> int:
    options = parser().parse_args()
    if min(*options.atoms, *options.batches, options.rounds, options.threads) < 1:
        sys.exit("error: atoms, batches, rounds and threads must be above 0")
    threads.limit(options.threads)

    from topokrates.model.errors import InputError

    try:
        return run(options)
    except InputError as error:
        sys.exit(f"error: {error}")


def run(options: argparse.Namespace) -> int:
    """Measures and prints."""
    import jax
    import numpy as np
    from limits import description, headline, timed
    from structures import helix, polyalanine, rattled
    from tables import save, table

    from topokrates.model import models

    joined.at_once()
    print(headline(description(jax.devices()[0], options.threads)))
    fields = [models.load(model) for model in options.models]
    rows, results = [], []
    for atoms in options.atoms:
        molecule = polyalanine(atoms)
        potentials = [field.bind(molecule.numbers) for field in fields]
        for batch in options.batches:
            x = rattled(helix(molecule), batch)
            repeats = -(-IN_A_ROW // batch)

            def several(potential, x=x, repeats=repeats):
                for _ in range(repeats):
                    potential.energies_and_forces(x)

            for potential in potentials:
                joined.settle(potential, lambda p=potential: several(p))
            times = np.array(
                [[timed(lambda p=p: several(p)) for p in potentials] for _ in range(options.rounds)]
            )
            times /= repeats
            least, median = times.min(axis=0), np.median(times, axis=0)
            for k, model in enumerate(options.models):
                row = [atoms, batch, model, *(1e3 * t[k] / batch for t in (least, median))]
                rows.append([*row, least[0] / least[k], median[0] / median[k]])
                results.append({"atoms": atoms, "batch": batch, "model": model})
                results[-1] |= {"seconds": times[:, k].tolist()}
    header = ["atoms", "in a call", "model", "fastest, ms", "median, ms", "ratio", "of medians"]
    print(table(header, rows))
    save(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
