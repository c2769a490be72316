"""What the page of a landscape embeds: numbers, structures and paths, compact and JSON-able.

Coordinates are base64 of little-endian numbers: float32 for minima, 16-bit integers in steps of
`step` for the frames of paths, which are only looked at. Each structure is turned to show its broad
side. Only so many of them are embedded; `notices` says what is left out.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates.drawing.animation import FRAMES, framed, path_frames
from topokrates.observables import NEIGHBOUR, observe_all

if TYPE_CHECKING:
    from topokrates.drawing.disconnectivity import Tree
    from topokrates.drawing.scales import Scale
    from topokrates.landscape import Landscape
    from topokrates.storage.records import Link, Minimum

MAX_STRUCTURES, MAX_PATHS = 2000, 500


def page_data(landscape: Landscape, tree: Tree, scale: Scale) -> dict[str, Any]:
    """See the module; energies are relative, in the unit of `scale`."""
    minima, links = landscape.contents()
    located = [m for m in minima if m.positions is not None]
    shown, paths = located[:MAX_STRUCTURES], _paths(landscape, tree)
    lowest = minima[0].energy if minima else 0.0
    return {
        "name": landscape.molecule.name,
        "unit": scale.unit,
        "energyUnit": landscape.energy_unit,
        "molecule": _molecule(landscape),
        "minima": {
            "id": [m.id for m in minima],
            "energy": [round((m.energy - lowest) * scale.factor, 6) for m in minima],
            "absolute": [m.energy for m in minima],
            "visits": [m.visits for m in minima],
        },
        "links": {
            "id": [link.id for link in links],
            "ends": [list(link.minima) for link in links],
            "energy": [round((link.energy - lowest) * scale.factor, 6) for link in links],
            "verified": [link.verified for link in links],
        },
        "first": tree.branches[0].minimum if tree.branches else None,
        "quantity": tree.quantity,
        "drawn": {str(b.minimum): round(scale(b.energy), 6) for b in tree.branches}
        if tree.quantity != "Energy"
        else {},
        "observables": _observables(landscape),
        "structures": {"id": [m.id for m in shown], "xyz": _structures(shown)},
        "paths": {"id": [link.id for link in paths], **_frames(landscape, paths)},
        "junctions": _junctions(tree, links),
        "strokes": _strokes(tree, scale),
        "notices": _notices(len(minima), len(shown), len(located), len(links), len(paths)),
    }


def _molecule(landscape: Landscape) -> dict[str, Any]:
    """Elements with their colours (of Jmol) and radii, and which atoms are bonded."""
    molecule = landscape.molecule
    if molecule.is_cluster:
        kinds = [{"symbol": "X", "colour": "#4f86c6", "radius": 0.32}]
        return {
            "kinds": kinds,
            "atoms": [0] * molecule.n_atoms,
            "bonds": None,
            "reach": NEIGHBOUR,
            "length": "sigma",
            "stick": 0.06,
        }
    from ase.data import chemical_symbols, covalent_radii
    from ase.data.colors import jmol_colors

    elements = sorted(set(molecule.numbers.tolist()))
    kinds = []
    for z in elements:
        red, green, blue = (round(255 * min(float(c), 0.93)) for c in jmol_colors[z])
        colour = f"#{red:02x}{green:02x}{blue:02x}" if z != 6 else "#505050"
        size = round(0.45 * float(covalent_radii[z]) + 0.08, 3)
        kinds.append({"symbol": chemical_symbols[z], "colour": colour, "radius": size})
    return {
        "kinds": kinds,
        "atoms": [elements.index(z) for z in molecule.numbers.tolist()],
        "bonds": molecule.bonds.tolist(),
        "reach": None,
        "length": "Å",
        "stick": 0.12,
    }


def _observables(landscape: Landscape) -> list[dict[str, Any]]:
    """In the order of the minima; those that come with the minima anyway are left out."""
    order = [m.id for m in landscape.minimum_list]
    rows = []
    for found in observe_all(landscape):
        if found.name in ("energy", "visits"):
            continue
        values = [found.values[name] for name in order]
        rows.append(
            {
                "name": found.name,
                "title": found.title,
                "period": found.period,
                "values": [None if v is None else round(v, 4) for v in values],
            }
        )
    return rows


def _structures(minima: Sequence[Minimum]) -> str:
    turned = []
    for m in minima:
        assert m.positions is not None
        centre, axes = framed(m.positions)
        turned.append((m.positions - centre) @ axes.T)
    return _encoded(np.array(turned), "<f4")


def _paths(landscape: Landscape, tree: Tree) -> list[Link]:
    """The links whose paths are embedded: those that hold the tree together, then low ones."""
    ends = {m.id for m in landscape.minimum_list if m.positions is not None}
    links = [
        link
        for link in landscape.link_list
        if link.positions is not None and ends.issuperset(link.minima)
    ]
    holding = {name for names in _junctions(tree, landscape.link_list) for name in names}
    ranked = sorted(links, key=lambda link: (link.id not in holding, link.energy, link.id))
    return ranked[:MAX_PATHS]


def _frames(landscape: Landscape, links: Sequence[Link]) -> dict[str, Any]:
    from topokrates.identity.matching import Matcher

    frames = []
    matcher = Matcher(landscape.molecule, allow=landscape.allow) if links else None
    for link in links:
        assert matcher is not None
        a, b = (landscape.minimum(name).positions for name in link.minima)
        assert a is not None
        assert b is not None
        assert link.positions is not None
        path = path_frames(landscape.molecule, matcher, a, link.positions, b)
        centre, axes = framed(link.positions)
        frames.append((path - centre) @ axes.T)
    largest = max((float(np.abs(path).max()) for path in frames), default=1.0)
    step = largest / 32000 or 1.0
    whole = np.round(np.array(frames) / step)
    return {"frames": FRAMES, "step": step, "xyz": _encoded(whole, "<i2")}


def _junctions(tree: Tree, links: Sequence[Link]) -> list[list[int]]:
    """The ids of the links at each junction of the tree, in its order."""
    lowest: dict[tuple[tuple[int, ...], bool], int] = {}
    for link in links:  # by energy
        lowest.setdefault((tuple(link.minima), link.verified), link.id)
    return [
        [lowest[tuple(sorted((a, b))), verified] for a, b, _, verified in junction.links]
        for junction in tree.junctions
    ]


def _strokes(tree: Tree, scale: Scale) -> list[list[float]]:
    """What a click can hit: the line above each minimum or junction, [what, x, y, x, y, ...].

    what: the id of the minimum, or -1 - the place of the junction at its lower end.
    """
    junctions = {(j.x, j.energy): place for place, j in enumerate(tree.junctions)}
    strokes = []
    for line in tree.lines:
        single = line.first == line.last
        what = tree.across[line.first] if single else -1 - junctions[line.points[-1]]
        points = [c for x, energy in line.points for c in (round(x, 6), round(scale(energy), 6))]
        strokes.append([what, *points])
    return strokes


def _notices(minima: int, shown: int, located: int, links: int, paths: int) -> list[str]:
    notices = []
    if shown < located:
        notices.append(f"This page holds the structures of the lowest {shown} of {minima} minima.")
    if located < minima:
        notices.append(f"{minima - located} minima are stored without a structure.")
    if paths < links:
        notices.append(
            f"This page holds {paths} of {links} paths: first those that hold the tree together."
        )
    return notices


def _encoded(numbers: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, dtype=kind).tobytes()).decode("ascii")
