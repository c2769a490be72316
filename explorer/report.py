"""One HTML page that holds a landscape and works offline.

The disconnectivity graph and the Ramachandran scatter, to hover and to zoom; the minima and the
transition states as tables; units and provenance. plotly's JavaScript is written into the page.
Nothing in it depends on the date: the same database gives the same page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from topokrates.tables import replacing

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd
    import plotly.graph_objects as go

    from topokrates.disconnectivity import Tree
    from topokrates.landscape import Landscape

MAX_ROWS = 1000  # of a table on the page: a browser must still scroll it

STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1200px; padding: 1rem; background: #fff; color: #1a1a1a;
  font: 15px/1.5 Helvetica, Arial, sans-serif; }
h1 { font-size: 1.6rem; margin: .2rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p { margin: .3rem 0; } .quiet { color: #595959; }
.figure { width: 100%; }
.narrow { max-width: 640px; }
.scroll { overflow: auto; max-height: 32rem; border: 1px solid #e3e3e3; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap; }
thead th { position: sticky; top: 0; background: #fff; box-shadow: 0 1px #1a1a1a; }
tbody tr:nth-child(even) { background: #f7f7f7; }
table.pairs th, table.pairs td { text-align: left; white-space: normal; vertical-align: top;
  overflow-wrap: anywhere; }
table.pairs th { font-weight: normal; color: #595959; white-space: nowrap; }
"""

# Labels at the branch ends must not overlap, and only the page knows its width: upright if that
# fits, else turned, and of those that still collide the one of the lower minimum stays.
SCRIPT = """
function fitLabels(div) {
  const full = div._fullLayout, size = 6.3, all = div.layout.annotations || [];
  const spots = all.map(a => a.name === 'label' ?
    {x: full.xaxis.d2p(a.x), y: full.yaxis.d2p(a.y), rows: (a.fullText || a.text).split('<br>')}
    : null);
  const kept = turned => {
    const boxes = [];
    return spots.map(s => {
      if (!s) return true;
      const wide = size * Math.max(...s.rows.map(r => r.length)) + 4;
      const long = size * s.rows.join(' ').length + 4;
      Object.assign(s, turned ? {w: 14, h: long} : {w: wide, h: 14 * s.rows.length});
      const free = boxes.every(b => Math.abs(b.x - s.x) >= (b.w + s.w) / 2 ||
        b.y + b.h <= s.y || s.y + s.h <= b.y);
      if (free) boxes.push({x: s.x, y: s.y, w: s.w, h: s.h});
      return free;
    });
  };
  let turned = false, visible = kept(turned);
  if (visible.includes(false)) { turned = true; visible = kept(turned); }
  const reach = Math.max(0, ...spots.map(s => s ? s.y + 8 + s.h : 0));
  const range = div.layout.yaxis.range, height = full._size.h;
  const update = {annotations: all.map((a, i) => spots[i] ? {...a,
    visible: visible[i], textangle: turned ? -90 : 0, fullText: spots[i].rows.join('<br>'),
    text: spots[i].rows.join(turned ? ' ' : '<br>')} : a)};
  update.dragmode = innerWidth < 640 ? false : 'zoom';  // a finger scrolls the page
  if (reach > height) update['yaxis.range'] =
    [range[0] - (range[1] - range[0]) * (reach - height) / height, range[1]];
  return Plotly.relayout(div, update);
}
"""


def report_html(landscape: Landscape, tree: Tree | None = None, title: str | None = None) -> str:
    """The page as text. `tree` is a tree laid out with other options than the default ones."""
    from plotly.offline import get_plotlyjs

    from topokrates.plots import ramachandran_figure

    if tree is None:
        tree = landscape.disconnectivity_graph()
    figures = {"tree": tree.figure()}
    scatter = ramachandran_figure(landscape)
    if scatter is not None:
        figures["ramachandran"] = scatter
    for figure in figures.values():
        figure.update_layout(title=None, margin_t=64)  # the headings of the page say it
    name = title or landscape.molecule.name
    potential = landscape.provenance["name"]
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(name)}: energy landscape</title>",
        f"<style>{STYLE}</style>",
        f"<script>{get_plotlyjs()}</script></head><body>",
        f"<h1>{escape(name)}</h1>",
        f"<p>{escape(landscape.molecule.formula)}, potential {escape(potential)}</p>",
        f'<p class="quiet">{escape(landscape.summary())}</p>',
        "<h2>Disconnectivity graph</h2>",
        '<div class="figure" id="tree"></div>',
        f'<p class="quiet">{escape(_legend(landscape, tree))}</p>',
    ]
    if scatter is not None:
        parts.append("<h2>Ramachandran plot of the minima</h2>")
        parts.append('<div class="figure narrow" id="ramachandran"></div>')
    parts += ["<h2>Minima</h2>", *_table(landscape.minima)]
    parts += ["<h2>Transition states and estimates</h2>", *_table(landscape.links)]
    parts += ["<h2>Provenance</h2>", *_provenance(landscape)]
    parts += [f"<script>{SCRIPT}{_draw(figures)}</script>", "</body></html>"]
    return "\n".join(parts) + "\n"


def write_report(
    landscape: Landscape,
    path: str | PathLike[str],
    tree: Tree | None = None,
    title: str | None = None,
) -> None:
    """Write the page, atomically. Raises InputError if the file cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(report_html(landscape, tree, title), encoding="utf-8")


def _draw(figures: Mapping[str, go.Figure]) -> str:
    """The calls that draw; no text in a figure can end the script that it stands in."""
    buttons = {"modeBarButtonsToRemove": ["select2d", "lasso2d"]}
    config = json.dumps({"responsive": True, "displaylogo": False, **buttons})
    resize = "addEventListener('resize', () => setTimeout(() => fitLabels(div), 250));"
    calls = [f"const config = {config};", "if (innerWidth < 640) config.displayModeBar = false;"]
    for name, figure in figures.items():
        data = str(figure.to_json()).replace("<", "\\u003c")
        then = f".then(div => {{ fitLabels(div); {resize} }})" if name == "tree" else ""
        draw = f"Plotly.newPlot('{name}', f.data, f.layout, config){then};"
        calls.append(f"{{const f = {data}; {draw}}}")
    return "\n".join(calls)


def _legend(landscape: Landscape, tree: Tree) -> str:
    unit = landscape.relative_unit
    text = (
        "Each line ends at the energy of a minimum and joins others at the first level at or"
        " above the lowest transition state that connects them."
    )
    if len(tree.levels) > 1:
        step = (tree.levels[1] - tree.levels[0]) * landscape.factor
        text += f" Levels every {step:.3g} {unit}."
    if any(line.estimated for line in tree.lines):
        text += " Dashed: connected by estimates only, upper bounds of a barrier."
    if tree.hidden:
        text += f" {tree.hidden} minima are not drawn."
    return text


def _table(frame: pd.DataFrame) -> Iterator[str]:
    if frame.empty:
        yield "<p>None yet.</p>"
        return
    formats = [_format(str(column)) for column in frame.columns]
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{escape(str(column))}</th>" for column in frame.columns)
    yield "</tr></thead><tbody>"
    for row in frame.head(MAX_ROWS).itertuples(index=False):
        cells = (_cell(value, form) for value, form in zip(row, formats, strict=True))
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
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
