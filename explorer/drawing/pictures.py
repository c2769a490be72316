"""The disconnectivity graph as a picture for print: PNG, SVG or PDF, without a browser.

The same tree and options give the same bytes: no date, no random names, and by default the font
that comes with matplotlib.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from topokrates.drawing.scales import (
    BAND,
    GREY,
    INK,
    WARNING,
    Scale,
    caption,
    dot_colours,
    dot_size,
    energy_range,
    extent,
    fitted,
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
from topokrates.model.errors import InputError
from topokrates.model.replacing import replacing

if TYPE_CHECKING:
    from os import PathLike

    from topokrates.drawing.disconnectivity import Tree

FORMATS = ("png", "svg", "pdf")
FONT = "DejaVu Sans"  # comes with matplotlib
APART = "not connected"
SMALL = 0.833  # of small text, to the font size
LETTER = 0.53  # how wide, to its size


@dataclass(frozen=True)
class Style:
    """Line widths and dots relative to the default, the size of the text in points, and whether
    lines may be coloured."""

    pen: float
    dots: float
    font_size: float
    coloured: bool = True


STYLES = {
    "paper": Style(pen=0.75, dots=0.6, font_size=9.0),
    "slides": Style(pen=1.6, dots=1.0, font_size=14.0),
    "plain": Style(pen=0.75, dots=0.0, font_size=9.0, coloured=False),
}


def save_static(
    tree: Tree,
    path: str | PathLike[str],
    scale: str | None = None,
    width: float = 6.5,
    height: float = 5.0,
    font_size: float | None = None,
    dpi: float = 300.0,
    font: str = FONT,
    style: str = "paper",
    labels: str = "angles",
) -> None:
    """Write the disconnectivity graph as PNG, SVG or PDF, by the ending of the name.

    Args:
        tree: laid out.
        path: of the file; it is replaced at the end, or not at all.
        scale, labels: as in `topokrates.drawing.plots.tree_figure`.
        width, height: in inches.
        font_size: in points; by default that of the style.
        dpi: of PNG.
        font: a family that is installed.
        style: "paper"; "slides", with stronger lines and larger text; "plain", black lines without
            dots, as journals without colour print it.

    Leaves matplotlib's settings alone. Raises InputError for another ending, an unknown style or
    font, or a file that cannot be written.
    """
    from pathlib import Path

    import matplotlib as mpl

    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"{path}: the name of a picture must end in .png, .svg or .pdf")
    require_look(style, font)
    look = STYLES[style]
    size = look.font_size if font_size is None else font_size
    metadata = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    settings: dict[Any, Any] = {
        "font.family": [font],
        "font.size": size,
        "mathtext.fontset": "dejavusans",
        "svg.hashsalt": "topokrates",
        "pdf.fonttype": 42,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(settings), replacing(path) as temporary:
        figure = _draw(tree, scale_of(tree, scale), width, height, size, look, labels)
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)


def require_look(style: str, font: str) -> None:
    """Raises InputError for an unknown style, or a font that is not installed."""
    from matplotlib import font_manager

    if style not in STYLES:
        raise InputError(f"style {style!r}: choose one of {', '.join(STYLES)}")
    try:
        font_manager.findfont(font, fallback_to_default=False)
    except ValueError:
        known = sorted(set(font_manager.get_font_names()))
        some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
        raise InputError(f"font {font!r} is not installed: choose one of {some}") from None


def _draw(
    tree: Tree,
    axis: Scale,
    width: float,
    height: float,
    font_size: float,
    look: Style,
    labels: str,
) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    for pen in pens(tree):
        x, y = strokes(pen.lines, axis)
        gap = float("nan")
        axes.plot(
            [gap if v is None else v for v in x],
            [gap if v is None else v for v in y],
            color=pen.colour if look.coloured else INK,
            linestyle=(0, (3, 2)) if pen.estimated else "solid",
            linewidth=look.pen * line_width(tree),
            solid_joinstyle="round",
        )
    if look.dots:
        places = [b.x for b in tree.branches], [axis(b.energy) for b in tree.branches]
        size = (look.dots * dot_size(tree)) ** 2
        axes.scatter(*places, s=size, c=dot_colours(tree), zorder=3, linewidths=0)
    left, right = extent(tree)
    points = 0.85 * width * 72 / (right - left), 0.7 * height * 72 / ((tree.top - tree.zero) or 1)
    turned, kept = fitted(labels_of(tree, labels), *points, 0.83 * font_size)
    for x, energy, rows in kept:
        axes.annotate(
            (" " if turned else "\n").join(rows),
            (x, axis(energy)),
            xytext=(0, -4),
            textcoords="offset points",
            ha="center",
            va="top",
            rotation=90 if turned else 0,
            fontsize="small",
            color=INK,
        )
    _mark_unconnected(axes, tree)
    low, high = energy_range(tree, axis, turned, 0.8 * height * 72 / (0.85 * font_size), labels)
    axes.set_ylim(low, high)
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= high])
    axes.set_xlim(left, right)
    wide = 0.6 * font_size * len(axis.title) > 0.85 * height * 72
    axes.set_ylabel(axis.title.replace(" global", "\nglobal") if wide else axis.title)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if tree.metric is None:
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
    else:
        axes.set_xlabel(metric_title(tree))
        if ticks := metric_ticks(tree):
            axes.set_xticks(*ticks)
    _keys(figure, axes, tree, look)
    if tree.title:
        figure.suptitle(tree.title, x=0.01, ha="left", fontweight="bold", fontsize="large")
    if tree.hidden or tree.flat or len(tree.components) > 1:
        # as wide as the axes, beside what stands above those that are not connected
        room = 0.8 * width * 72 / (LETTER * SMALL * font_size)
        room -= len(f"  {APART}") if unconnected(tree) else 0
        whole = caption(tree).replace(" ", "\u00a0").replace(",\u00a0", ", ")  # break at commas
        rows = textwrap.wrap(whole, max(int(room), 1), break_long_words=False)
        text = "\n".join(rows).replace("\u00a0", " ")
        axes.set_title(text, loc="left", color=GREY, fontsize="small")
    return figure


def _mark_unconnected(axes: Any, tree: Tree) -> None:
    if not (band := unconnected(tree)):
        return
    axes.axvspan(*band, color=BAND, linewidth=0, zorder=0)
    axes.annotate(
        APART,
        (band[1], 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize="small",
        color=GREY,
    )


def _keys(figure: Any, axes: Any, tree: Tree, look: Style) -> None:
    """The legend of estimates and groups, and the bar of values."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.lines import Line2D

    entries = []
    if any(line.estimated for line in tree.lines):
        estimates = WARNING if look.coloured and tree.colouring is None else INK
        entries = [
            Line2D([], [], color=INK, label="joined by verified transition states"),
            Line2D([], [], color=estimates, linestyle=(0, (3, 2)), label="by estimates only"),
        ]
    if tree.colouring is not None and look.coloured:
        for name, colour in legend_of(tree):
            label = f"{tree.colouring.name}: {name}"
            entries.append(Line2D([], [], color=colour, linewidth=2.5, label=label))
        if not tree.colouring.grouped:
            colours = LinearSegmentedColormap.from_list("bar", tree.colouring.bar())
            values = ScalarMappable(Normalize(*tree.colouring.range), colours)
            bar = figure.colorbar(values, ax=axes, shrink=0.6, aspect=30, pad=0.02)
            bar.set_label(tree.colouring.title)
            bar.outline.set_visible(False)
            if tree.colouring.period == 360:
                bar.set_ticks(range(-180, 181, 90))
    if entries:
        size = axes.yaxis.label.get_fontsize()
        room = figure.get_figwidth() * 72 / (SMALL * size)
        figure.legend(
            handles=entries,
            loc="outside lower left",
            frameon=False,
            ncols=_columns([str(entry.get_label()) for entry in entries], room),
            fontsize="small",
        )


def _columns(labels: list[str], room: float) -> int:
    """Into how many columns a legend fits, which is filled column by column; in font sizes."""
    for number in (3, 2):
        rows, more = divmod(len(labels), number)
        starts = [rows * k + min(k, more) for k in range(number + 1)]
        longest = [max(map(len, labels[a:b]), default=0) for a, b in pairwise(starts)]
        if sum(LETTER * count + 5 for count in longest) <= room:
            return number
    return 1
