"""The disconnectivity graph of a landscape: what its tree is made of, and what is written on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from topokrates.drawing.colouring import Colouring
    from topokrates.drawing.disconnectivity import Metric, Tree
    from topokrates.landscape import Landscape


def chart(
    landscape: Landscape,
    *,
    levels: int | None = None,
    spacing: float | None = None,
    lowest: int | None = None,
    window: float | None = None,
    monotonic: bool = False,
    min_degree: int = 0,
    persistence: float = 0.0,
    order: str | Mapping[int, float | None] = "size",
    metric: str | Mapping[int, float | None] | None = None,
    colour: str | Mapping[int, float | str | None] | Colouring | None = None,
    energies: Mapping[int, float] | None = None,
    link_energies: Mapping[int, float] | None = None,
    quantity: str = "Energy",
    title: str | None = None,
) -> Tree:
    """The disconnectivity graph of a landscape.

    Args:
        landscape: its minima and links, verified or not.
        levels, spacing: number of levels (default 25), or their distance instead.
        lowest, window, monotonic, min_degree, persistence: what is hidden, see
            `trimming.Trim`. `spacing`, `window` and `persistence` are in kcal/mol
            (epsilon for Lennard-Jones particles).
        order: "size" or "energy", from the global minimum outwards; the name of an observable
            (`topokrates.observables`) or a value of each minimum, from left to right.
        metric: an observable, or a value of each minimum, at which its branch stands.
        colour: an observable, "component", a number or the name of a group for each minimum, or a
            `colouring.Colouring`.
        energies, link_energies: by id, instead of the potential energies, for example free
            energies at a temperature; `quantity` says what they are.
        title: of the drawing; by default the names of molecule and potential.

    Raises InputError for options out of range and observables that the molecule does not have.
    """
    from topokrates.drawing.disconnectivity import disconnectivity_tree

    minima, links = landscape.contents()
    height = energies if energies is not None else {m.id: m.energy for m in minima}
    tops = link_energies if link_energies is not None else {x.id: x.energy for x in links}
    name = f"{landscape.molecule.name}, {landscape.provenance['name']}"
    return disconnectivity_tree(
        {m.id: height[m.id] for m in minima},
        [(*link.minima, tops[link.id], link.verified) for link in links],
        unit=landscape.energy_unit,
        levels=levels,
        spacing=None if spacing is None else spacing / landscape.factor,
        lowest=lowest,
        window=None if window is None else window / landscape.factor,
        monotonic=monotonic,
        min_degree=min_degree,
        persistence=persistence / landscape.factor,
        order=_order(landscape, order),
        metric=_metric(landscape, metric),
        title=name if title is None else title,
        labels=_labels(landscape),
        notes=_notes(landscape),
        quantity=quantity,
        colouring=_colouring(landscape, colour),
    )


def _order(
    landscape: Landscape, order: str | Mapping[int, float | None]
) -> str | Mapping[int, float | None]:
    from topokrates.drawing.arrangement import BY_ENERGY, BY_SIZE
    from topokrates.observables import names, observe, unwrapped

    if not isinstance(order, str) or order in (BY_SIZE, BY_ENERGY):
        return order
    if order not in names(landscape.molecule):
        choices = ", ".join(dict.fromkeys((BY_SIZE, BY_ENERGY, *names(landscape.molecule))))
        raise InputError(f"order {order!r}: choose one of {choices}")
    found = observe(landscape, order)
    return found.values if found.period is None else unwrapped(found.values, found.period)


def _metric(landscape: Landscape, metric: str | Mapping[int, float | None] | None) -> Metric | None:
    from topokrates.drawing.disconnectivity import Metric
    from topokrates.observables import observe, unwrapped

    if metric is None:
        return None
    if not isinstance(metric, str):
        return Metric("Value", "", metric)
    found = observe(landscape, metric)
    values = found.values if found.period is None else unwrapped(found.values, found.period)
    return Metric(found.label, found.unit, values, found.period)


def _colouring(
    landscape: Landscape, colour: str | Mapping[int, float | str | None] | Colouring | None
) -> Colouring | None:
    from topokrates.drawing.colouring import Colouring
    from topokrates.observables import names, observe

    if colour is None or isinstance(colour, Colouring):
        return colour
    if not isinstance(colour, str):
        return Colouring("Value", colour)
    if colour == "component":
        return Colouring("Component", _components(landscape))
    if colour not in names(landscape.molecule):
        choices = ", ".join((*names(landscape.molecule), "component"))
        raise InputError(f"colour {colour!r}: choose one of {choices}")
    return Colouring.of(observe(landscape, colour))


def _components(landscape: Landscape) -> dict[int, float | str | None]:
    """The component of each minimum over all links, 1 being that of the global minimum."""
    import networkx as nx

    graph = nx.Graph(landscape.graph)
    found: dict[int, float | str | None] = {}
    number = 0
    for m in landscape.minimum_list:
        if m.id not in found:
            number += 1
            found |= dict.fromkeys(nx.node_connected_component(graph, m.id), str(number))
    return found


def _notes(landscape: Landscape) -> dict[int, tuple[str, ...]]:
    notes = {}
    for m in landscape.minimum_list:
        pairs = landscape.phi_psi(m.positions)
        lines = [f"{m.energy:.6f} {landscape.energy_unit}", f"visits: {m.visits}"]
        for number, (phi, psi) in enumerate(pairs, 1):
            residue = f" of residue {number}" if len(pairs) > 1 else ""
            lines.append(f"φ, ψ{residue}: {_angle(phi)}, {_angle(psi)}")
        notes[m.id] = tuple(lines)
    return notes


def _labels(landscape: Landscape) -> dict[int, str]:
    """What stands below the ids: phi and psi of a molecule that has one residue."""
    labels = {}
    for m in landscape.minimum_list:
        pairs = landscape.phi_psi(m.positions)
        if len(pairs) == 1 and None not in pairs[0]:
            labels[m.id] = "({}, {})".format(*(_angle(angle, "") for angle in pairs[0]))
    return labels


def _angle(value: float | None, unit: str = "°") -> str:
    return "none" if value is None else f"{value:.0f}{unit}".replace("-", "−")
