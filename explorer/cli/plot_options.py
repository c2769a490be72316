"""The options of `topokrates plot`, as types of its parameters, and which of them goes where."""

from pathlib import Path
from typing import Annotated, Any

import typer

from topokrates.cli.options import number, real

ENERGY = "KCAL/MOL"
VALUE = "NAME"

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="A picture (.png, .svg, .pdf) or a page (.html). [default: DB's name with .html,"
        " nothing with --json]",
    ),
]
Levels = Annotated[int | None, number("Of energy levels. [default: 25]")]
Spacing = Annotated[float | None, real("Of the levels instead (epsilon for LJ).", ENERGY)]
Lowest = Annotated[int | None, number("Draw only that many minima.")]
Window = Annotated[
    float | None, real("Draw minima up to so much above the lowest (epsilon for LJ).", ENERGY)
]
Monotonic = Annotated[
    bool,
    typer.Option("--trim-monotonic", help="Draw only minima that have no link to a lower one."),
]
Degree = Annotated[
    int | None, number("Draw only minima that are linked to so many others.", "--min-degree")
]
Persistence = Annotated[
    float | None,
    real("Draw only minima with such a barrier towards a lower one (epsilon for LJ).", ENERGY),
]
Order = Annotated[
    str | None,
    typer.Option(
        metavar=VALUE,
        help="Of the branches: size, energy, or a value such as phi, psi, radius-of-gyration,"
        " hydrogen-bonds, end-to-end; q4, q6, neighbours of clusters. A wrong name lists them."
        " [default: size]",
    ),
]
Metric = Annotated[
    str | None, typer.Option(metavar=VALUE, help="Put every branch at this value instead.")
]
Colour = Annotated[
    str | None, typer.Option(metavar=VALUE, help="Colour by a value, visits or component.")
]
Unit = Annotated[str | None, typer.Option(help="kcal/mol, kJ/mol or eV.", metavar="UNIT")]
Labels = Annotated[str | None, typer.Option(metavar="angles|ids|none", help="Below the branches.")]
Look = Annotated[
    str | None,
    typer.Option("--style", metavar="paper|slides|plain", help="Of a picture. [default: paper]"),
]
Font = Annotated[str | None, typer.Option(metavar="FAMILY", help="Of a picture.")]
Width = Annotated[
    float | None,
    typer.Option(help="Of a picture. [default: 6.5]", metavar="INCHES", min=1, max=100),
]
Height = Annotated[
    float | None, typer.Option(help="Of a picture. [default: 5]", metavar="INCHES", min=1, max=100)
]
FontSize = Annotated[
    float | None,
    typer.Option(
        help="Of a picture. [default: that of the style]", metavar="POINTS", min=1, max=100
    ),
]
Resolution = Annotated[
    float | None,
    typer.Option("--dpi", help="Of a PNG. [default: 300]", metavar="N", min=10, max=2000),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given on the command line."""
    return {name: value for name, value in options.items() if value is not None}
