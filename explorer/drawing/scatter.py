"""The Ramachandran scatter of a landscape's minima."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from topokrates.drawing.scales import FONT, GREY, INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from topokrates.landscape import Landscape


def ramachandran_figure(landscape: Landscape, height: int = 600) -> go.Figure | None:
    """phi and psi of every minimum, coloured by energy; None if no residue has both angles."""
    import plotly.graph_objects as go

    symbols = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon")
    points: dict[int, list[tuple[float, float, float, str]]] = {}
    unit = landscape.relative_unit
    for m in landscape.minimum_list:
        energy = landscape.relative(m.energy)
        for residue, (phi, psi) in enumerate(landscape.phi_psi(m.positions), 1):
            if phi is None or psi is None:
                continue
            text = f"<b>minimum {m.id}</b><br>{energy:.2f} {unit}<br>φ {phi:.0f}°, ψ {psi:.0f}°"
            points.setdefault(residue, []).append(
                (phi, psi, energy, f"{text}<br>visits: {m.visits}")
            )
    if not points:
        return None
    figure = go.Figure()
    for residue, rows in sorted(points.items()):
        phi, psi, energy, text = zip(*rows, strict=True)
        figure.add_scatter(
            x=phi,
            y=psi,
            mode="markers",
            name=f"residue {residue}",
            hovertext=text,
            hoverinfo="text",
            marker={
                "size": 11 if len(rows) <= 40 else 7,
                "symbol": symbols[(residue - 1) % len(symbols)],
                "color": energy,
                "coloraxis": "coloraxis",
                "line": {"width": 0.7, "color": INK},
            },
        )
    figure.update_layout(
        title={
            "text": "<b>Ramachandran plot of the minima</b>",
            "x": 0,
            "xref": "paper",
            "font": {"size": 17},
        },
        template="none",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 64, "r": 16, "t": 60, "b": 16},
        coloraxis={
            "colorscale": "Cividis",
            "colorbar": {
                "title": {"text": f"Energy ({unit})", "side": "bottom"},
                "orientation": "h",
                "y": -0.14,
                "yanchor": "top",
                "thickness": 10,
                "outlinewidth": 0,
            },
        },
        hoverlabel={"bgcolor": "white", "bordercolor": GREY, "font": {"family": FONT, "size": 13}},
        showlegend=len(points) > 1,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    both: dict[str, Any] = {
        "range": [-180, 180],
        "tickvals": list(range(-180, 181, 60)),
        "ticksuffix": "°",
        "gridcolor": "#ececec",
        "zerolinecolor": "#cfcfcf",
        "showline": True,
        "mirror": True,
        "linecolor": INK,
    }
    figure.update_xaxes(title={"text": "φ (°)", "standoff": 4}, **both, constrain="domain")
    figure.update_yaxes(
        title={"text": "ψ (°)", "standoff": 4}, **both, scaleanchor="x", constrain="domain"
    )
    return figure
