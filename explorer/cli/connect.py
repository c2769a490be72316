"""`topokrates connect`: its options, and what it does."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from topokrates.cli.options import Database, Device, Json, Saddles, Threads, number

Strategy = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="all joins what is apart, then near pairs; untrap tries low minima behind high"
        " barriers; shorten the highest pass --between two.",
    ),
]
Between = Annotated[
    tuple[int, int] | None, typer.Option(metavar="ID ID", help="Two minima, for shorten.")
]


def connect(
    database: Database,
    strategy: Strategy = "all",
    between: Between = None,
    lowest: Annotated[int | None, number("Connect only so many of the lowest minima.")] = None,
    attempts: Annotated[
        int | None,
        number("Pairs to try at most, earlier ones counted in. [default: four for each minimum]"),
    ] = None,
    saddles: Saddles = None,
    as_json: Json = False,
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Search transition states in a database until its graph hangs together.

    The same command again goes on from what the database holds.
    """
    from topokrates.cli import terminal
    from topokrates.cli.commands import print_json

    try:
        with terminal.progress() as progress:
            from topokrates.landscape import Landscape

            with Landscape.open(database) as landscape:
                done = landscape.connect(
                    strategy=strategy,
                    between=between,
                    lowest=lowest,
                    limit=attempts,
                    saddles=saddles,
                    device=device,
                    threads=threads,
                    progress=progress,
                )
    except KeyboardInterrupt:
        message = (
            f"stopped: everything found so far is in {database}; the same command goes on from"
            " there"
        )
        raise KeyboardInterrupt(message) from None
    with Landscape.open(Path(database)) as landscape:
        if as_json:
            print_json(done._asdict() | {"connected_components": landscape.connected_components})
            return 0
        from topokrates.cli.listing import print_landscape

        print_landscape(landscape)
    sys.stdout.write(
        f"\nthis call: {done.attempts} attempts, {done.transition_states} new transition states, "
        f"{done.minima} new minima\n"
    )
    return 0
