"""Minima beside the data that their force field learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates.drawing.learning import BLUE, ORANGE

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from topokrates.novelty import Novelty


def novelty_figure(found: Novelty) -> go.Figure:
    """Relative energy of each minimum against the RMSD to the nearest training frame.

    New minima are orange diamonds, known ones blue dots. Those that a reference method has
    optimised anew have a ring, and stand in a second panel below with the error of their energy.
    """
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    unit = found.energy_unit
    energy, error = f"relative energy ({unit})", f"energy error ({unit})"
    judged = bool(np.isfinite(np.asarray(found.table[error], float)).any())
    figure = go.Figure()
    if judged:
        figure = make_subplots(
            rows=2, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.06
        )
    for new, colour, symbol, name in (
        (False, BLUE, "circle", "known"),
        (True, ORANGE, "diamond", "new"),
    ):
        rows = found.table[found.table["new"] == new]
        if rows.empty:
            continue
        checked = np.isfinite(np.asarray(rows[error], float))
        texts = np.array([_text(row, unit) for _, row in rows.iterrows()])
        for panel, column, shown in ((1, energy, checked | True), (2, error, checked)):
            if panel == 2 and not judged:
                continue
            figure.add_scatter(
                x=rows["RMSD to a frame (Å)"][shown],
                y=rows[column][shown],
                mode="markers",
                name=f"{name} ({len(rows)})",
                legendgroup=name,
                showlegend=panel == 1,
                hovertext=texts[shown],
                hoverinfo="text",
                marker={
                    "color": colour,
                    "symbol": symbol,
                    "size": 8,
                    "line": {"color": "black", "width": [1.5 * c for c in checked[shown]]},
                },
                xaxis=f"x{panel}" if judged else "x",
                yaxis=f"y{panel}" if judged else "y",
            )
    figure.update_layout(
        template="simple_white",
        yaxis_title=energy,
        legend={"title": f"{found.frames} training frames", "tracegroupgap": 0},
        margin={"t": 24},
        width=640,
        height=620 if judged else 440,
    )
    if judged:
        figure.update_yaxes(title=error, row=2)
        figure.add_hline(y=0, line={"color": "grey", "width": 1}, layer="below", row=2, col=1)  # pyright: ignore[reportArgumentType]
    title = "symmetric RMSD to the nearest training frame (Å)"
    figure.update_xaxes(title=title, row=2 if judged else None)
    return figure


def _text(row: Any, unit: str) -> str:
    """What is told of one minimum."""
    text = f"{row['id']}<br>descriptor distance {row['descriptor distance']:.2f}"
    error, moved = row[f"energy error ({unit})"], row["displacement (Å)"]
    if np.isfinite(error):
        text += f"<br>energy error {error:+.2f} {unit}, moved {moved:.2f} Å"
    return text
