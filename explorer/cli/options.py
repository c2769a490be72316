"""The options that several commands of `topokrates` share, as types of their parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a whole number") from None


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number") from None


SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _duration(text: str) -> float:
    """Seconds of 90s, 30m, 2h or 1.5d."""
    try:
        return float(text[:-1]) * SECONDS[text[-1:].lower()]
    except (ValueError, KeyError):
        raise typer.BadParameter(f"{text!r} is not a time: write 90s, 30m, 2h or 1.5d") from None


def real(help_text: str, metavar: str) -> Any:
    """An option that takes a number."""
    return typer.Option(help=help_text, parser=_real, metavar=metavar)


def duration(help_text: str) -> Any:
    """An option that takes a time; in seconds."""
    return typer.Option(help=help_text, parser=_duration, metavar="TIME")


def number(help_text: str, *names: str) -> Any:
    """An option that takes a whole number."""
    return typer.Option(*names, help=help_text, parser=_whole, metavar="N")


_MODEL_HELP = "A name from `topokrates models`, or a weights file; auto takes the one that fits."
Model = Annotated[str, typer.Option("--model", metavar="NAME|FILE", help=_MODEL_HELP)]
Cutoff = Annotated[
    str,
    typer.Option(
        "--long-range-cutoff",
        metavar="Å|none",
        help="Of electrostatics and dispersion, in Å; none takes all pairs. Part of the potential.",
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="float32|float64",
        help="Of the arithmetic; minima are always certified in float64.",
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="cpu|gpu", help="[default: a GPU if there is one]")
]
Threads = Annotated[
    int | None,
    number("Structures side by side on a CPU. [default: one per core]", "--threads"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A setting of the searcher: temperature=0.05, patience=200. A wrong name lists them.",
    ),
]
Saddles = Annotated[
    int | None,
    number(
        "Single-ended searches for transition states from each minimum, until so many in a row met"
        " nothing new. [default: 800 for small clusters, else none]",
        "--saddles",
    ),
]
All = Annotated[bool, typer.Option("--all", help="Every row of the tables.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to stdout.")]
Database = Annotated[Path, typer.Argument(metavar="DB", help="A database that explore wrote.")]
Structures = Annotated[Path, typer.Argument(metavar="FILE", help="Any file that ASE reads.")]
Frames = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="OUT.extxyz", help="Where results go.")
]


def searcher_settings(texts: Sequence[str]) -> dict[str, float]:
    """The settings of a searcher from texts such as "temperature=0.05"."""
    settings = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            settings[name.strip().replace("-", "_")] = float(value)
        except ValueError:
            raise typer.BadParameter(f"--set {text}: give NAME=VALUE, VALUE a number") from None
    return settings


def model_settings(
    model: str, cutoff: str, dtype: str, device: str | None, threads: int | None
) -> dict[str, Any]:
    """The keyword arguments of `models.load`."""
    try:
        length = None if cutoff.strip().lower() == "none" else float(cutoff)
    except ValueError:
        raise typer.BadParameter(
            f"--long-range-cutoff {cutoff}: give a length in Å, or none"
        ) from None
    return {
        "model": model,
        "long_range_cutoff": length,
        "dtype": dtype,
        "device": device,
        "threads": threads,
    }
