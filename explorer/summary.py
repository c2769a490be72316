"""A landscape in a few words: what it prints as."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topokrates.landscape import Landscape

ROWS = 10  # of the table
MOST_DRAWN = 200


def line(landscape: Landscape) -> str:
    """See `Landscape.summary`."""
    links = landscape.link_list
    verified = sum(link.verified for link in links)
    parts = [
        _count(len(landscape), "minimum", "minima"),
        _count(verified, "transition state", "transition states"),
    ]
    if len(links) > verified:
        parts.append(_count(len(links) - verified, "estimate", "estimates"))
    components = landscape.connected_components
    if components > 1:
        parts.append(f"{components} components that no transition state connects")
    return ", ".join(parts)


def text(landscape: Landscape) -> str:
    """What a terminal shows: the line, and the lowest minima."""
    lines = [f"Landscape of {_title(landscape)}"]
    if len(landscape):
        lines.append(landscape.minima.head(ROWS).to_string(index=False))
    if len(landscape) > ROWS:
        lines.append(f"... and {len(landscape) - ROWS} more minima")
    return "\n".join(lines)


def html(landscape: Landscape) -> str:
    """What a notebook shows: the line, a drawing of the tree, the lowest minima."""
    parts = [f"<p><b>Landscape of {escape(_title(landscape))}</b></p>"]
    if len(landscape):
        from topokrates.drawing.thumbnail import thumbnail

        # only what is close to the lowest minimum shows at this size
        parts.append(thumbnail(landscape.disconnectivity_graph(lowest=MOST_DRAWN)))
        table = landscape.minima.head(ROWS)
        long = [c for c in table.columns if str(c).startswith(("energy", "max", "lowest"))]
        parts.append(table.drop(columns=long).to_html(index=False, float_format="{:.2f}".format))
    if len(landscape) > ROWS:
        parts.append(f"<p>... and {len(landscape) - ROWS} more minima</p>")
    return "".join(parts)


def _title(landscape: Landscape) -> str:
    return f"{landscape.molecule.name} with {landscape.provenance['name']}: {line(landscape)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
