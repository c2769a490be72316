"""`topokrates train`: its options, and what it does."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from topokrates.cli.options import Device, Json, Threads


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.toml", help="What to train, on what, and how.")
    ],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Of the run: weights, checkpoint, learning curve. [default: the name of CONFIG]",
        ),
    ] = None,
    as_json: Json = False,
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Train a SO3krates network on energies and forces, or go on with a run.

    The same command again goes on from the last checkpoint, with the same result.
    """
    from topokrates.cli import terminal
    from topokrates.cli.commands import print_json

    folder = folder or Path(config.stem)
    try:
        with terminal.progress() as progress:
            from topokrates.model.models import devices
            from topokrates.model.training import train as run

            found = run(config, folder, progress, devices(device, threads))
            from topokrates.drawing.learning import save_learning_curve

            picture = folder / "learning_curve.svg"
            save_learning_curve(found.history, picture)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped: the same command goes on from the last checkpoint in {folder}"
        ) from None
    parts: dict[str, Any] = {"validation": asdict(found.validation), "test": asdict(found.test)}
    parts = {name: errors for name, errors in parts.items() if errors["frames"]}
    if as_json:
        print_json({
            "weights": str(found.weights),
            "steps": found.steps,
            "errors": parts,
            "history": found.history,
        })  # fmt: skip
        return 0
    from topokrates.cli.listing import print_errors

    print_errors(parts)
    sys.stdout.write(f"\n{found.weights}\n{picture}\n")
    return 0
