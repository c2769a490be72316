"""`topokrates compare`: its options, and what is printed."""

from pathlib import Path
from typing import Annotated

import typer

from topokrates.cli.options import All, Database, Json, real

ROWS = 50  # of a table, unless all are asked for

Other = Annotated[Path, typer.Argument(metavar="OTHER", help="Another, of the same molecule.")]
Within = Annotated[
    float | None, real("Largest symmetric RMSD of minima that correspond. [default: 0.65]", "Å")
]


def compare(
    reference: Database,
    other: Other,
    within: Within = None,
    everything: All = False,
    as_json: Json = False,
) -> int:
    """What another force field finds of a landscape, what it lacks and adds, and its errors."""
    from topokrates.cli import columns, listing, terminal
    from topokrates.cli.commands import print_json
    from topokrates.comparison import WITHIN
    from topokrates.landscape import Landscape

    with Landscape.open(reference) as ours, Landscape.open(other) as theirs:
        with terminal.progress() as progress:
            limit = WITHIN if within is None else within
            found = ours.compare(theirs, within=limit, progress=progress)
        name = ours.molecule.name
    summary = found.summary()
    tables = {"minima": found.minima, "barriers": found.barriers}
    if as_json:
        head = {"molecule": name, "units": {"energy": found.unit, "length": found.length}}
        head |= {columns.plain(key): value for key, value in summary.items()}
        print_json({"summary": head} | {key: columns.rows(t) for key, t in tables.items()})
        return 0
    console = listing.output()
    listing.say(console, f"{name}: {found}")
    for key, table in tables.items():
        listing.say(console)
        rows = len(table) if everything else ROWS
        if table.empty:
            listing.say(console, f"{key}: none to compare")
            continue
        listing.write(console, columns.table(table.head(rows)))
        if len(table) > rows:
            listing.say(console, f"{rows} of {len(table)} rows; --all shows every one.")
    return 0
