"""Minima beside the data that their force field learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from topokrates.drawing.learning import BLUE, ORANGE

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from topokrates.novelty import Novelty


def novelty_figure(found: Novelty) -> go.Figure:
    """Relative energy of each minimum against the RMSD to the nearest training frame.

    New minima are orange diamonds, known ones blue dots; of those that a reference method has
    optimised anew the hover text says error and displacement, and the symbol has a ring.
    """
    import plotly.graph_objects as go

    unit = found.energy_unit
    energy, error = f"relative energy ({unit})", f"energy error ({unit})"
    figure = go.Figure()
    for new, colour, symbol, name in (
        (False, BLUE, "circle", "known"),
        (True, ORANGE, "diamond", "new"),
    ):
        rows = found.table[found.table["new"] == new]
        if rows.empty:
            continue
        checked = np.isfinite(np.asarray(rows[error], float))
        texts = [
            f"{row['id']}<br>descriptor distance {row['descriptor distance']:.2f}"
            + (
                f"<br>energy error {row[error]:+.2f} {unit}, moved {row['displacement (Å)']:.2f} Å"
                if is_checked
                else ""
            )
            for (_, row), is_checked in zip(rows.iterrows(), checked, strict=True)
        ]
        figure.add_scatter(
            x=rows["RMSD to a frame (Å)"],
            y=rows[energy],
            mode="markers",
            name=f"{name} ({len(rows)})",
            hovertext=texts,
            hoverinfo="text",
            marker={
                "color": colour,
                "symbol": symbol,
                "size": 8,
                "line": {"color": "black", "width": [1.5 if c else 0 for c in checked]},
            },
        )
    figure.update_layout(
        template="simple_white",
        xaxis_title="symmetric RMSD to the nearest training frame (Å)",
        yaxis_title=energy,
        legend={"title": f"{found.frames} training frames"},
        width=640,
        height=440,
    )
    return figure
