"""How a network learned, and how its energies and forces compare with labels; as pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates.drawing.pictures import FONT, FORMATS
from topokrates.drawing.scales import GREY, INK
from topokrates.model.errors import InputError
from topokrates.model.replacing import replacing

if TYPE_CHECKING:
    from os import PathLike

BLUE, ORANGE = "#0072B2", "#D55E00"  # of Okabe and Ito
INCH = 3.3


@contextmanager
def _panels(path: str | PathLike[str], count: int) -> Iterator[list[Any]]:
    """Axes side by side, written to a file at the end; the same data give the same bytes."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"{path}: the name of a picture must end in .png, .svg or .pdf")
    settings: dict[Any, Any] = {
        "font.family": [FONT],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "topokrates",
        "pdf.fonttype": 42,
    }
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with mpl.rc_context(settings), replacing(path) as temporary:
        figure = Figure(figsize=(INCH * count, 3.0), layout="constrained")
        FigureCanvasAgg(figure)
        yield list(np.atleast_1d(figure.subplots(1, count)))
        figure.savefig(temporary, format=kind, dpi=200, metadata=metadata)


def save_learning_curve(rows: Sequence[Mapping[str, float]], path: str | PathLike[str]) -> None:
    """Losses and errors against steps, as SVG, PDF or PNG.

    Args:
        rows: of the history of `topokrates.model.training.runs.Trained`.
        path: of the picture.

    Raises:
        InputError: for another ending, or a file that cannot be written.
    """
    rows = [row for row in rows if row["step"] > 0]
    steps = [row["step"] for row in rows]
    with _panels(path, 2) as (losses, errors):
        for axes, what, colour, label in (
            (losses, "loss", GREY, "training"),
            (losses, "validation_loss", INK, "validation"),
            (errors, "force_mae", BLUE, "forces, meV/Å"),
            (errors, "energy_mae", ORANGE, "energies, meV"),
        ):
            values = [row[what] for row in rows]
            axes.plot(
                steps, values, color=colour, label=label, marker="." if len(rows) < 20 else ""
            )
        losses.set_ylabel("loss")
        errors.set_ylabel("mean absolute error, validation")
        for axes in (losses, errors):
            axes.set_xlabel("step")
            axes.set_yscale("log")
            axes.legend(frameon=False)


def save_parity(
    energies: tuple[np.ndarray, np.ndarray],
    forces: tuple[np.ndarray, np.ndarray],
    path: str | PathLike[str],
) -> None:
    """Predicted against labelled energies and forces, as SVG, PDF or PNG.

    Args:
        energies: labels and predictions, (M,) each, eV; drawn relative to the lowest label.
        forces: labels and predictions, components of all frames, eV/Å.
        path: of the picture.

    Raises:
        InputError: for another ending, or a file that cannot be written.
    """
    zero = np.min(energies[0])
    with _panels(path, 2) as (left, right):
        _parity(left, energies[0] - zero, energies[1] - zero, "energy, eV", 1e3, "meV")
        _parity(right, *forces, "force component, eV/Å", 1e3, "meV/Å")


def _parity(
    axes: Any, wanted: np.ndarray, found: np.ndarray, what: str, factor: float, unit: str
) -> None:
    low, high = float(min(wanted.min(), found.min())), float(max(wanted.max(), found.max()))
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=0)
    # as pixels: a hundred thousand vector dots are nobody's friend
    axes.plot(wanted, found, ".", color=BLUE, markersize=2.5, alpha=0.5, rasterized=True)
    mae = factor * float(np.mean(np.abs(found - wanted)))
    axes.set_title(f"mean absolute error {mae:.3g} {unit}", fontsize=9)
    axes.set_xlabel(f"label: {what}")
    axes.set_ylabel(f"predicted: {what}")
    axes.set_aspect("equal")
