"""One HTML page that holds a landscape and works offline.

The disconnectivity graph; a structure in three dimensions, or a path that plays, for the branch,
junction or row that is clicked; a scatter of order parameters; minima and transition states as
tables that sort; units and provenance. plotly's JavaScript is written into the page, from plotly's
package; our own is in the folder `page`. Nothing depends on the date: the same database gives the
same page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

from topokrates.model.replacing import replacing

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    import plotly.graph_objects as go

    from topokrates.drawing.disconnectivity import Tree
    from topokrates.drawing.scales import Scale
    from topokrates.landscape import Landscape

MAX_ROWS = 2000  # of a table on the page: a browser must still scroll it
SCRIPTS = ("structure.js", "tree.js", "tables.js", "main.js")


def report_html(
    landscape: Landscape,
    tree: Tree | None = None,
    title: str | None = None,
    scale: str | None = None,
    labels: str = "angles",
) -> str:
    """The page as text.

    `tree` is a tree laid out with other options than the default ones. `scale` is the unit of all
    relative energies (kcal/mol, kJ/mol or eV; epsilon for Lennard-Jones particles), `labels` as in
    `topokrates.drawing.plots.tree_figure`.
    """
    from plotly.offline import get_plotlyjs

    from topokrates.drawing.pagedata import page_data
    from topokrates.drawing.plots import tree_figure
    from topokrates.drawing.scales import caption, scale_of

    if tree is None:
        tree = landscape.disconnectivity_graph()
    axis = scale_of(tree, scale)
    figure = tree_figure(tree, scale, labels=labels)
    figure.update_layout(title=None, margin_t=60)  # the headings of the page say it
    name = title or landscape.molecule.name
    minima = _table(_in_unit(landscape.minima, landscape, axis), "minima")
    links = _table(_in_unit(landscape.links, landscape, axis), "links")
    return Template(_page("page.html")).substitute(
        name=escape(name),
        style=_page("page.css"),
        plotly=get_plotlyjs(),
        formula=escape(landscape.molecule.formula),
        potential=escape(landscape.provenance["name"]),
        summary=escape(landscape.summary()),
        caption=escape(f"Drawn: {caption(tree)}."),
        legend=escape(_legend(tree, axis)),
        minima="\n".join(minima),
        links="\n".join(links),
        provenance="\n".join(_provenance(landscape)),
        data=_embedded(json.dumps(page_data(landscape, tree, axis), allow_nan=False)),
        script="".join(map(_page, SCRIPTS)) + f"begin({_figure(figure)});\n",
    )


def write_report(
    landscape: Landscape, path: str | PathLike[str], tree: Tree | None = None, **options: Any
) -> None:
    """Write the page, atomically; `options` are those of `report_html`.

    Raises InputError if the file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(report_html(landscape, tree, **options), encoding="utf-8")


def _page(name: str) -> str:
    return (files("topokrates.drawing") / "page" / name).read_text(encoding="utf-8")


def _figure(figure: go.Figure) -> str:
    return _embedded(str(figure.to_json()))


def _embedded(text: str) -> str:
    """JSON in which no text can end the script that it stands in."""
    return text.replace("<", "\\u003c")


def _in_unit(frame: pd.DataFrame, landscape: Landscape, axis: Scale) -> pd.DataFrame:
    """A table with its relative energies in the unit of the page."""
    own = f"({landscape.relative_unit})"
    columns = [c for c in frame.columns if str(c).endswith(own)]
    frame = frame.copy()
    frame[columns] = frame[columns] * (axis.factor / landscape.factor)
    return frame.rename(columns={c: str(c).replace(own, f"({axis.unit})") for c in columns})


def _legend(tree: Tree, axis: Scale) -> str:
    quantity = tree.quantity[:1].lower() + tree.quantity[1:]
    text = (
        f"Each line ends at the {quantity} of a minimum and joins others at the first level at or"
        " above the lowest transition state that connects them."
    )
    if len(tree.levels) > 1:
        text += f" Levels every {(tree.levels[1] - tree.levels[0]) * axis.factor:.3g} {axis.unit}."
    if any(line.estimated for line in tree.lines):
        text += " Dashed: connected by estimates only, upper bounds of a barrier."
    if tree.hidden:
        text += f" {tree.hidden} minima are not drawn."
    if tree.flat:
        text += " A link no higher than one of its minima is drawn at that minimum."
    if tree.metric is not None:
        name = tree.metric.name
        name = name[:1].lower() + name[1:] if name[1:2].islower() else name
        text += f" Each line stands at the {name} of its minimum, others at their mean."
    return f"{text} Click a line for its structure, a junction for the paths that meet there."


def _table(frame: pd.DataFrame, name: str) -> Iterator[str]:
    if frame.empty:
        yield "<p>None yet.</p>"
        return
    formats = [_format(str(column)) for column in frame.columns]
    yield f'<div class="scroll"><table class="sortable" id="{name}-table"><thead><tr>'
    yield "".join(f"<th>{escape(str(column))}</th>" for column in frame.columns)
    yield "</tr></thead><tbody>"
    for row in frame.head(MAX_ROWS).itertuples(index=False):
        cells = (_cell(value, form) for value, form in zip(row, formats, strict=True))
        yield f'<tr data-id="{row[0]}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</tbody></table></div>"
    if len(frame) > MAX_ROWS:
        yield f'<p class="quiet">The lowest {MAX_ROWS} of {len(frame)} are shown.</p>'


def _format(column: str) -> str:
    """How the numbers of a column are written, by its name."""
    forms = {"relative": ".2f", "barrier": ".2f", "energy": ".6f", "max force": ".1e"}
    forms |= {"lowest eigenvalue": ".4f", "phi": ".1f", "psi": ".1f"}
    return next((form for start, form in forms.items() if column.startswith(start)), "")


def _cell(value: Any, form: str) -> str:
    import pandas as pd

    if pd.isna(value):
        return "–"
    return escape(format(value, form)).replace("-", "−") if form else escape(str(value))


def _provenance(landscape: Landscape) -> Iterator[str]:
    rows = dict(_flat(landscape.provenance, "potential"))
    rows["charge"] = landscape.molecule.charge
    for number, search in enumerate(landscape.to_dict()["searches"], 1):
        search.pop("settings")
        rows[f"search {number}"] = ", ".join(
            f"{key.replace('_', ' ')} {value}" for key, value in search.items()
        )
    yield '<div class="scroll"><table class="pairs"><tbody>'
    for key, value in rows.items():
        text = "none" if value is None else str(value)
        yield f"<tr><th>{escape(key)}</th><td>{escape(text)}</td></tr>"
    yield "</tbody></table></div>"


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}: {key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, name)
        else:
            yield name, value
