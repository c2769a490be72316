"""Data frames, whose columns are named with their units, as tables for people and as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from topokrates.cli import listing

if TYPE_CHECKING:
    from rich.table import Table


def plain(column: str) -> str:
    """The key of a column in JSON: its name without unit."""
    return column.partition(" (")[0].replace(" ", "_").replace("-", "_")


def rows(found: pd.DataFrame) -> list[dict[str, Any]]:
    """What JSON can hold: what is infinite or missing is null."""
    return [
        {plain(name): None if _nothing(v) else v for name, v in row.items()}
        for row in found.to_dict("records")
    ]


def _nothing(value: Any) -> bool:
    return value is pd.NA or (isinstance(value, float) and not math.isfinite(value))


def table(found: pd.DataFrame) -> Table:
    """For people."""
    listed = listing.table(*(name.replace(" (", "\n(", 1) for name in found.columns))
    for row in found.itertuples(index=False):
        listed.add_row(*map(cell, found.columns, row))
    return listed


def cell(column: str, value: Any) -> str:
    """A value as it is printed below the name of its column."""
    if value is pd.NA or value != value:
        return "none"
    if isinstance(value, list):
        return " ".join(map(str, value))
    if not isinstance(value, float):
        return str(value)
    rounded = column.startswith("log10") or "/mol" in column
    text = f"{value:.2f}" if rounded else f"{value:.3f}" if "(Å)" in column else f"{value:.5g}"
    return text.lstrip("-") if float(text) == 0 else text
