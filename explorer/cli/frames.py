"""`topokrates relax` and `evaluate`: their options. What they do is in `commands`."""

from pathlib import Path
from typing import Annotated

import typer

from topokrates.cli.options import (
    Cutoff,
    Device,
    Frames,
    Json,
    Model,
    Precision,
    Structures,
    Threads,
    model_settings,
)
from topokrates.defaults import MODEL


def relax(
    file: Structures,
    model: Model = MODEL,
    output: Frames = None,
    as_json: Json = False,
    long_range_cutoff: Cutoff = "none",
    dtype: Precision = "float32",
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Relax every frame of a file to a certified minimum.

    Frames may be different molecules. Charges are read from atoms.info["charge"].
    """
    from topokrates.cli import commands

    settings = model_settings(model, long_range_cutoff, dtype, device, threads)
    return commands.relax(file, output, as_json, settings)


def evaluate(
    file: Structures,
    model: Model = MODEL,
    output: Frames = None,
    labels: Annotated[
        bool | None,
        typer.Option(
            "--labels/--no-labels",
            help="Compare with the energies and forces in the file. [default: if it has any]",
        ),
    ] = None,
    parity: Annotated[
        Path | None,
        typer.Option(metavar="OUT.svg", help="Picture of predicted against labelled values."),
    ] = None,
    as_json: Json = False,
    long_range_cutoff: Cutoff = "none",
    dtype: Precision = "float32",
    device: Device = None,
    threads: Threads = None,
) -> int:
    """Energies and forces of every frame of a file, and their errors if it has labels.

    Charges are read from atoms.info["charge"], the number of unpaired electrons from
    atoms.info["unpaired_electrons"] or ["multiplicity"].
    """
    from topokrates.cli import commands

    settings = model_settings(model, long_range_cutoff, dtype, device, threads)
    return commands.evaluate(file, output, as_json, settings, labels, parity)
