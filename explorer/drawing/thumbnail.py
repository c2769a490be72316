"""A small drawing of a disconnectivity graph as SVG text, for a notebook."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

from topokrates.drawing.scales import (
    caption,
    dot_colours,
    dot_size,
    extent,
    line_width,
    pens,
    scale_of,
)

if TYPE_CHECKING:
    from topokrates.drawing.disconnectivity import Tree

WIDTH, HEIGHT = 420, 260  # pixels
LEFT, TOP, BOTTOM = 44, 8, 22
MOST_TICKS = 6


def thumbnail(tree: Tree, scale: str | None = None) -> str:
    """The tree as one `<svg>` element of 420 x 260 pixels, with its scale; no script, no style."""
    axis = scale_of(tree, scale)
    low, high = extent(tree)
    span = axis(tree.top) or 1.0

    def across(x: float) -> float:
        return LEFT + (WIDTH - LEFT - 4) * (x - low) / (high - low)

    def up(energy: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (1 - axis(energy) / span)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="10"'
        f' style="background:#fff"><title>{escape(tree.title)}: {escape(caption(tree))}</title>'
    ]
    for pen in pens(tree):
        path = "".join(
            "M" + "L".join(f"{across(x):.1f} {up(e):.1f}" for x, e in line.points)
            for line in pen.lines
        )
        dash = ' stroke-dasharray="4 3"' if pen.estimated else ""
        parts.append(
            f'<path d="{path}" fill="none" stroke="{pen.colour}"'
            f' stroke-width="{0.8 * line_width(tree):.2f}"{dash}/>'
        )
    for branch, colour in zip(tree.branches, dot_colours(tree), strict=True):
        place = f'cx="{across(branch.x):.1f}" cy="{up(branch.energy):.1f}"'
        parts.append(f'<circle {place} r="{0.35 * dot_size(tree):.2f}" fill="{colour}"/>')
    step = _step(span)
    for k in range(int(span / step) + 1):
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - k * step / span)
        parts.append(
            f'<text x="{LEFT - 8}" y="{y + 3:.1f}" text-anchor="end">{k * step:g}</text>'
            f'<path d="M{LEFT - 5} {y:.1f}H{LEFT}" stroke="#1a1a1a"/>'
        )
    parts.append(
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}" stroke="#1a1a1a"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 6}">{escape(axis.title)}, {escape(caption(tree))}</text>'
        "</svg>"
    )
    return "".join(parts)


def _step(span: float) -> float:
    """A round distance of at most so many ticks: 1, 2 or 5 times a power of ten."""
    least = span / (MOST_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
