"""The disconnectivity graph as an interactive figure.

This and the static pictures (`pictures`) draw the one layout that
`disconnectivity` computed; here are only colours, scales and text. Colours are those of
Okabe and Ito, which the colour-blind can tell apart.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from topokrates.drawing.scales import (
    BAND,
    FONT,
    GREY,
    INK,
    TURN_ABOVE,
    Scale,
    caption,
    dot_colours,
    dot_size,
    energy_range,
    extent,
    labels_of,
    legend_of,
    line_width,
    metric_ticks,
    metric_title,
    pens,
    scale_of,
    strokes,
    unconnected,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from topokrates.drawing.disconnectivity import Junction, Tree

LINKS_ON_HOVER = 5


def tree_figure(
    tree: Tree, scale: str | None = None, height: int = 620, labels: str = "angles"
) -> go.Figure:
    """The disconnectivity graph as an interactive plotly figure, `height` pixels high.

    `scale` is kcal/mol (default), kJ/mol or eV; epsilon for Lennard-Jones particles. `labels`
    below the branches: "angles" (with phi and psi of a single residue), "ids" or "none". Hover
    shows the energy relative to the global minimum and absolute, and the notes of the tree; at a
    junction, the links that meet there. `customdata` of the traces named minima and junctions:
    the id, and the place in `tree.junctions`.
    """
    import plotly.graph_objects as go

    axis = scale_of(tree, scale)
    figure = go.Figure()
    _lines(figure, tree, axis)
    _junctions(figure, tree, axis)
    _minima(figure, tree, axis)
    crowded = len(tree.branches) > TURN_ABOVE
    for x, energy, rows in labels_of(tree, labels):
        figure.add_annotation(
            x=x,
            y=axis(energy),
            text=(" " if crowded else "<br>").join(escape(row, quote=False) for row in rows),
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
    keys = _colour_keys(figure, tree)
    low, high = energy_range(tree, axis, crowded, (height - 140) / 11, labels)
    figure.update_layout(
        title={
            "text": f"<b>{escape(tree.title)}</b>" if tree.title else "",
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
        showlegend=keys or any(line.estimated for line in tree.lines),
        legend={
            "orientation": "h",
            "x": 0,
            "y": 0 if tree.metric is None else -0.12,
            "yanchor": "top",
            "bgcolor": "rgba(0,0,0,0)",
            "itemclick": False,
            "itemdoubleclick": False,
        },
    )
    rule: dict[str, Any] = {"showgrid": False, "zeroline": False, "showline": True}
    rule |= {"linecolor": INK, "ticks": "outside", "tickcolor": INK, "ticklen": 5}
    figure.update_xaxes(visible=False, range=list(extent(tree)))
    if tree.metric is not None:
        title = {"text": metric_title(tree), "standoff": 8, "font": {"size": 14}}
        figure.update_xaxes(visible=True, title=title, **rule)
        if ticks := metric_ticks(tree):
            figure.update_xaxes(tickvals=ticks[0], ticktext=ticks[1])
        figure.update_layout(margin_b=64)
    figure.update_yaxes(
        title={"text": axis.title, "standoff": 8, "font": {"size": 14}}, range=[low, high], **rule
    )
    return figure


def _lines(figure: go.Figure, tree: Tree, axis: Scale) -> None:
    known: set[str] = set()
    estimates = any(line.estimated for line in tree.lines)
    for pen in pens(tree):
        x, y = strokes(pen.lines, axis)
        style = {"color": pen.colour, "width": line_width(tree)}
        style |= {"dash": "4px,3px"} if pen.estimated else {}
        figure.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line=style,
            hoverinfo="skip",
            name=pen.name,
            legendrank=2 if pen.estimated else 1,
            showlegend=estimates and tree.colouring is None and pen.name not in known,
        )
        known.add(pen.name)
    if estimates and tree.colouring is not None:  # their colours stand for something else
        for name in sorted(known, reverse=True):
            style = {"color": INK, "width": line_width(tree)}
            style |= {"dash": "4px,3px"} if "estimates" in name else {}
            figure.add_scatter(x=[None], y=[None], mode="lines", line=style, name=name)


def _junctions(figure: go.Figure, tree: Tree, axis: Scale) -> None:
    """Marks that appear under the pointer only, where lines meet: what is there to click."""
    shown = [(place, j) for place, j in enumerate(tree.junctions) if j.links]
    if not shown:
        return
    figure.add_scatter(
        x=[j.x for _, j in shown],
        y=[axis(j.energy) for _, j in shown],
        mode="markers",
        marker={"size": 11, "color": "rgba(107,107,107,0)"},
        customdata=[place for place, _ in shown],
        hovertext=[_links_text(j, axis) for _, j in shown],
        hoverinfo="text",
        name="junctions",
        showlegend=False,
    )


def _links_text(junction: Junction, axis: Scale) -> str:
    number = len(junction.links)
    rows = [f"<b>{number} {'link meets' if number == 1 else 'links meet'} here</b>"]
    for a, b, energy, verified in junction.links[:LINKS_ON_HOVER]:
        kind = "" if verified else ", estimate"
        rows.append(f"{a} – {b}: {axis(energy):.2f} {axis.unit}{kind}")
    if number > LINKS_ON_HOVER:
        rows.append(f"and {number - LINKS_ON_HOVER} more")
    return "<br>".join(rows)


def _minima(figure: go.Figure, tree: Tree, axis: Scale) -> None:
    hover = []
    for b in tree.branches:
        notes = [f"{axis(b.energy):.2f} {axis.unit}", *tree.notes.get(b.minimum, ())]
        if tree.colouring is not None:
            value = tree.colouring.values.get(b.minimum)
            text = "none" if value is None else value if isinstance(value, str) else f"{value:.4g}"
            notes.append(f"{tree.colouring.title}: {text}")
        if b.joins_at is not None:
            how = " by an estimate" if b.estimated else ""
            notes.append(f"joins at {axis(b.joins_at):.2f} {axis.unit}{how}")
        hover.append("<br>".join([f"<b>minimum {b.minimum}</b>", *map(escape, notes)]))
    figure.add_scatter(
        x=[b.x for b in tree.branches],
        y=[axis(b.energy) for b in tree.branches],
        mode="markers",
        marker={"size": dot_size(tree), "color": dot_colours(tree)},
        customdata=[b.minimum for b in tree.branches],
        hovertext=hover,
        hoverinfo="text",
        name="minima",
        showlegend=False,
    )


def _colour_keys(figure: go.Figure, tree: Tree) -> bool:
    """The legend of groups, or the bar of values; whether there is a legend."""
    if tree.colouring is None:
        return False
    if groups := legend_of(tree):
        for name, colour in groups:
            figure.add_scatter(
                x=[None],
                y=[None],
                mode="lines",
                line={"color": colour, "width": 3},
                name=escape(f"{tree.colouring.name}: {name}"),
            )
        return True
    low, high = tree.colouring.range
    bar = {
        "title": {"text": escape(tree.colouring.title), "side": "right"},
        "thickness": 10,
        "outlinewidth": 0,
        "len": 0.6,
    }
    if tree.colouring.period == 360:
        bar |= {"tickvals": list(range(-180, 181, 90))}
    marker = {"color": [low], "cmin": low, "cmax": high, "showscale": True, "size": 0}
    marker |= {"colorscale": [list(pair) for pair in tree.colouring.bar()], "colorbar": bar}
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        marker=marker,
        name="bar",
        showlegend=False,
        hoverinfo="skip",
    )
    return False
