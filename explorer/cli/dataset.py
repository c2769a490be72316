"""`topokrates dataset`: its options, and what it does."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from topokrates.cli.options import Json, number
from topokrates.defaults import LABELS


def dataset(
    molecules: Annotated[
        list[str],
        typer.Argument(
            metavar="MOLECULE...",
            help="As for explore, or a database: what a search found; @FILE: one in each line.",
        ),
    ],
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Of pieces and the dataset.")
    ] = Path("dataset"),
    model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="That labels; a name from `topokrates models`.")
    ] = LABELS,
    walker: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE",
            help="That descents and dynamics run on. [default: the one that labels]",
        ),
    ] = None,
    frames: Annotated[int, number("Of each molecule, about.")] = 100,
    per_piece: Annotated[int, number("Frames that are made together.", "--per-piece")] = 100,
    unlike: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Of labelled frames; what a search found of them is left out."
        ),
    ] = None,
    workers: Annotated[int, number("Processes, each with one thread.")] = 1,
    seed: Annotated[int, number("Of everything random.")] = 0,
    as_json: Json = False,
) -> int:
    """Make labelled structures of molecules, to train a network with.

    Minima of all basins, paths down to them, thermal motion, escapes, transition regions, near
    clashes; of a database its minima and transition states, those first of which its model is least
    sure, and its minima shaken. The same command again makes the pieces that are missing.
    """
    from topokrates.cli import terminal
    from topokrates.cli.commands import print_json

    try:
        with terminal.progress() as progress:
            from topokrates.dataset.make import make, pieces

            todo = pieces(_names(molecules), frames, model, walker, per_piece, seed, unlike or [])
            path = make(todo, folder, workers, progress)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: the same command makes the pieces that are missing in {folder}"
        ) from None
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        kinds, counts = np.unique(archive["kind"], return_counts=True)
    rows = dict(zip(kinds.tolist(), counts.tolist(), strict=True))
    if as_json:
        print_json({"dataset": str(path), "frames": int(counts.sum()), "kinds": rows})
        return 0
    told = ", ".join(f"{count} {kind}" for kind, count in rows.items())
    sys.stdout.write(f"{counts.sum()} frames: {told}\n{path}\n")
    return 0


def _names(texts: list[str]) -> list[str]:
    """Molecules, those of files put in their place."""
    from topokrates.model.errors import InputError

    names: list[str] = []
    for text in texts:
        if not text.startswith("@"):
            names.append(text)
            continue
        try:
            lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {text[1:]}: {error}") from error
        found = [line.split("#")[0].strip() for line in lines]
        names += [name for name in found if name]
    if not names:
        raise InputError("no molecule is named")
    return names
