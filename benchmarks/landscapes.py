"""Landscapes of peptides on one force field beside those on its reference and on others.

    python benchmarks/landscapes.py --models so3lr peptide tblite:GFN2-xTB

The first model is the reference. Each molecule is explored with each, connected (large ones between
their lowest minima), and compared: how many of the reference's minima are found, how many are
invented, errors of energies and barriers, and how many quenches ended in another molecule.
Databases are kept in --output, and gone on with.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

MOLECULES = ["Ac-Ala-NHMe", "Ac-Gly-NHMe", "Ac-Ser-NHMe", "Ac-Ala3-NHMe"]
LOWEST, LIMIT = 10, 60  # minima of a large molecule to connect, by how many attempts at most


def landscape(options: argparse.Namespace, molecule: str, model: str, progress: Any) -> Any:
    """Explored, and connected where that is wanted."""
    from topokrates import explore

    database = options.output / f"{molecule}-{model.replace(':', '-').replace('/', '-')}.db"
    large = molecule.count("-") > 2 or any(c.isdigit() for c in molecule)
    found = explore(
        molecule,
        model=model,
        quenches=options.quenches * (3 if large else 1),
        seed=options.seed,
        connect=options.connect and not large,
        threads=options.threads,
        database=database,
        progress=progress,
    )
    if options.connect and large:
        found.connect(lowest=LOWEST, limit=LIMIT, threads=options.threads, progress=progress)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--molecules", nargs="+", default=MOLECULES)
    parser.add_argument("--models", nargs="+", default=["so3lr", "peptide", "tblite:GFN2-xTB"])
    parser.add_argument("--quenches", type=int, default=160, help="three times as many of Ala3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--connect", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--output", type=Path, default=Path("landscapes"))
    options = parser.parse_args()

    from topokrates.cli import terminal

    options.output.mkdir(parents=True, exist_ok=True)
    records = []
    for molecule in options.molecules:
        found = {}
        for model in options.models:
            begin = time.perf_counter()
            with terminal.progress() as progress:
                found[model] = landscape(options, molecule, model, progress)
            seconds = time.perf_counter() - begin
            print(f"{molecule}: {found[model].summary()}; {seconds:.0f} s this time", flush=True)
        reference = found[options.models[0]]
        for model in options.models[1:]:
            compared = reference.compare(found[model])
            print(f"{molecule}: {compared}", flush=True)
            records.append({"molecule": molecule} | compared.summary())
    (options.output / "landscapes.json").write_text(json.dumps(records, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
