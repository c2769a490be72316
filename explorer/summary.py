"""A landscape in a few words: what it prints as."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topokrates.landscape import Landscape


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
    """What a terminal shows: the line, and the lowest ten minima."""
    lines = [f"Landscape of {_title(landscape)}"]
    if len(landscape):
        lines.append(landscape.minima.head(10).to_string(index=False))
    if len(landscape) > 10:
        lines.append(f"... and {len(landscape) - 10} more minima")
    return "\n".join(lines)


def html(landscape: Landscape) -> str:
    """What a notebook shows."""
    table = landscape.minima.to_html(index=False, max_rows=20) if len(landscape) else ""
    return f"<p><b>Landscape of {escape(_title(landscape))}</b></p>{table}"


def _title(landscape: Landscape) -> str:
    return f"{landscape.molecule.name} with {landscape.provenance['name']}: {line(landscape)}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
