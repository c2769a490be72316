"""Figures: the disconnectivity graph, interactive and static, and the Ramachandran scatter.

Both drawings of a tree come from the one layout that `topokrates.disconnectivity` computed; here
are only colours, scales and text. Colours are those of Okabe and Ito, which the colour-blind can
tell apart.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from topokrates.drawing import (
    ACCENT,
    BAND,
    FONT,
    GREY,
    INK,
    TURN_ABOVE,
    WARNING,
    Scale,
    caption,
    dot_size,
    energy_range,
    labels_of,
    line_width,
    scale_of,
    strokes,
    unconnected,
)
from topokrates.model.errors import InputError
from topokrates.tables import replacing

if TYPE_CHECKING:
    from os import PathLike

    import plotly.graph_objects as go

    from topokrates.disconnectivity import Tree
    from topokrates.landscape import Landscape

FORMATS = ("png", "svg", "pdf")


def tree_figure(tree: Tree, scale: str | None = None, height: int = 620) -> go.Figure:
    """The disconnectivity graph as an interactive plotly figure, `height` pixels high.

    `scale` is kcal/mol (default), kJ/mol or eV; epsilon for Lennard-Jones particles. Hover shows
    the energy relative to the global minimum and absolute, and the notes of the tree.
    """
    import plotly.graph_objects as go

    axis = scale_of(tree, scale)
    figure = go.Figure()
    for estimated, name in ((False, "verified transition states"), (True, "estimates only")):
        lines = [line for line in tree.lines if line.estimated == estimated]
        if not lines:
            continue
        x, y = strokes(lines, axis)
        style = {"color": WARNING if estimated else INK, "width": line_width(tree)}
        style |= {"dash": "4px,3px"} if estimated else {}
        figure.add_scatter(
            x=x, y=y, mode="lines", line=style, hoverinfo="skip", name=f"joined by {name}"
        )
    hover = []
    for b in tree.branches:
        notes = [f"{axis(b.energy):.2f} {axis.unit}", *tree.notes.get(b.minimum, ())]
        if b.joins_at is not None:
            how = " by an estimate" if b.estimated else ""
            notes.append(f"joins at {axis(b.joins_at):.2f} {axis.unit}{how}")
        hover.append("<br>".join([f"<b>minimum {b.minimum}</b>", *map(escape, notes)]))
    colours = [ACCENT if b.energy == tree.zero else INK for b in tree.branches]
    figure.add_scatter(
        x=[b.x for b in tree.branches],
        y=[axis(b.energy) for b in tree.branches],
        mode="markers",
        marker={"size": dot_size(tree), "color": colours},
        customdata=[b.minimum for b in tree.branches],
        hovertext=hover,
        hoverinfo="text",
        name="minima",
        showlegend=False,
    )
    crowded = len(tree.branches) > TURN_ABOVE
    for x, energy, text in labels_of(tree, " " if crowded else "<br>"):
        figure.add_annotation(
            x=x,
            y=axis(energy),
            text=escape(text, quote=False).replace("&lt;br&gt;", "<br>"),
            textangle=-90 if crowded else 0,
            showarrow=False,
            yanchor="top",
            yshift=-5,
            font={"size": 11, "color": INK},
            name="label",
        )
    if band := unconnected(tree):
        figure.add_vrect(*band, fillcolor=BAND, line_width=0, layer="below")
        figure.add_annotation(
            x=band[1],
            xanchor="right",
            y=1,
            yref="paper",
            yanchor="bottom",
            text="not connected",
            showarrow=False,
            font={"size": 12, "color": GREY},
            name="apart",
        )
    low, high = energy_range(tree, axis, crowded, (height - 140) / 11)
    right = tree.components[-1].right if tree.components else 1.0
    title = f"<b>{escape(tree.title)}</b>" if tree.title else ""
    figure.update_layout(
        title={
            "text": title,
            "subtitle": {"text": caption(tree), "font": {"color": GREY, "size": 13}},
            "x": 0,
            "xref": "paper",
            "font": {"size": 17},
        },
        template="none",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 64, "r": 16, "t": 96, "b": 44},
        hoverlabel={"bgcolor": "white", "bordercolor": GREY, "font": {"family": FONT, "size": 13}},
        showlegend=any(line.estimated for line in tree.lines),
        legend={"orientation": "h", "x": 0, "y": 0, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
    )
    figure.update_xaxes(visible=False, range=[-0.8, right + 0.8])
    figure.update_yaxes(
        title={"text": axis.title, "standoff": 8, "font": {"size": 14}},
        range=[low, high],
        showgrid=False,
        zeroline=False,
        showline=True,
        linecolor=INK,
        ticks="outside",
        tickcolor=INK,
        ticklen=5,
    )
    return figure


def save_static(
    tree: Tree,
    path: str | PathLike[str],
    scale: str | None = None,
    width: float = 6.5,
    height: float = 5.0,
    font_size: float = 9.0,
    dpi: float = 300.0,
) -> None:
    """Write the disconnectivity graph as PNG, SVG or PDF, by the ending of the name.

    `width` and `height` in inches, `font_size` in points, `dpi` for PNG; `scale` as in
    `tree_figure`. Needs no browser and leaves matplotlib's settings alone; the same tree gives
    the same bytes. Raises InputError for another ending or a file that cannot be written.
    """
    from pathlib import Path

    import matplotlib as mpl

    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"{path}: the name of a picture must end in .png, .svg or .pdf")
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    style: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": font_size,
        "svg.hashsalt": "topokrates",
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(style), replacing(path) as temporary:
        figure = _static_figure(tree, scale_of(tree, scale), width, height, font_size)
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)


def _static_figure(tree: Tree, axis: Scale, width: float, height: float, font_size: float) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    pen = 0.75 * line_width(tree)
    for estimated, name in ((False, "verified transition states"), (True, "estimates only")):
        lines = [line for line in tree.lines if line.estimated == estimated]
        if not lines:
            continue
        x, y = strokes(lines, axis)
        gaps = float("nan")
        colour, dash = (WARNING, (0, (3, 2))) if estimated else (INK, "solid")
        axes.plot(
            [gaps if v is None else v for v in x],
            [gaps if v is None else v for v in y],
            color=colour,
            linestyle=dash,
            linewidth=pen,
            solid_joinstyle="round",
            label=f"joined by {name}",
        )
    colours = [ACCENT if b.energy == tree.zero else INK for b in tree.branches]
    places = [b.x for b in tree.branches], [axis(b.energy) for b in tree.branches]
    axes.scatter(*places, s=(0.6 * dot_size(tree)) ** 2, c=colours, zorder=3, linewidths=0)
    crowded = len(tree.branches) > TURN_ABOVE
    for x, energy, text in labels_of(tree, " " if crowded else "\n"):
        axes.annotate(
            text,
            (x, axis(energy)),
            xytext=(0, -4),
            textcoords="offset points",
            ha="center",
            va="top",
            rotation=90 if crowded else 0,
            fontsize="small",
            color=INK,
        )
    if band := unconnected(tree):
        axes.axvspan(*band, color=BAND, linewidth=0, zorder=0)
        axes.annotate(
            "not connected",
            (band[1], 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            fontsize="small",
            color=GREY,
        )
    low, high = energy_range(tree, axis, crowded, 0.8 * height * 72 / (0.85 * font_size))
    axes.set_ylim(low, high)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= high])
    axes.set_xlim(-0.8, (tree.components[-1].right if tree.components else 1.0) + 0.8)
    axes.set_ylabel(axis.title)
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    if any(line.estimated for line in tree.lines):
        figure.legend(loc="outside lower left", frameon=False, ncols=2, fontsize="small")
    if tree.title:
        figure.suptitle(tree.title, x=0.01, ha="left", fontweight="bold", fontsize="large")
    if tree.hidden or len(tree.components) > 1:
        axes.set_title(caption(tree), loc="left", color=GREY, fontsize="small")
    return figure


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
