"""Tables for people: landscapes, results of frames, models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from topokrates import tables

if TYPE_CHECKING:
    from topokrates.dynamics.run import Dynamics
    from topokrates.labelled import Comparison
    from topokrates.landscape import Landscape
    from topokrates.storage.records import Link, Minimum

ROWS = 50  # of each table, unless all are asked for


def output() -> Console:
    """Standard output; names with brackets and colons in them come out as they are."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def say(console: Console, text: str = "") -> None:
    """A line, not broken."""
    console.print(text, soft_wrap=True)


def write(console: Console, listed: Table) -> None:
    """A table, wider than the terminal rather than cut."""
    for column in listed.columns:
        if column.no_wrap:
            lines = [line for text in (column.header, *column.cells) for line in _lines(text)]
            column.min_width = max(map(cell_len, lines))
    unlimited = console.options.update_width(10_000)
    needed = Measurement.get(console, unlimited, listed).minimum
    console.width = max(console.width, needed)
    console.print(listed)


def _lines(text: Any) -> list[str]:
    return str(text).split("\n")


def print_landscape(landscape: Landscape, everything: bool = False) -> None:
    """The molecule, its minima, transition states and searches.

    Of each table the lowest `ROWS` rows, unless `everything` is wanted.
    """
    console = output()
    minima, links = landscape.contents()
    molecule = landscape.molecule
    formula = "" if molecule.formula == molecule.name else f" ({molecule.formula})"
    potential = landscape.provenance["name"]
    say(console, f"{molecule.name}{formula} with {potential}: {landscape.summary()}")
    rows = None if everything else ROWS
    if minima:
        say(console)
        write(console, _minima(landscape, minima[:rows]))
        _rest(console, "minima", len(minima), rows)
    if links:
        say(console)
        write(console, _links(landscape, links[:rows], {m.id: m.energy for m in minima}))
        _rest(console, "transition states and estimates", len(links), rows)
        if any(not link.verified for link in links):
            say(console, "An estimate is an upper bound of a barrier, not a transition state.")
    if minima:
        say(console)
    contents = landscape.to_dict()
    for search in contents["searches"]:
        say(
            console,
            f"search: {search['searcher']}, seed {search['seed']}, {search['walkers']} walkers, "
            f"{search['quenches_done']} of {search['quenches_target']} quenches,",
        )
        say(
            console,
            f"  {search['gradient_calls']} gradient calls, "
            f"{search['hessian_vector_products']} Hessian-vector products",
        )
        if search["outcomes"]:
            ends = ", ".join(f"{count} {name}" for name, count in search["outcomes"].items())
            say(console, f"  quenches: {ends}")
        if search["coverage"] is not None:
            say(
                console,
                f"  estimated coverage {100 * search['coverage']:.1f} %, at least "
                f"{search['unseen_minima']:.0f} minima unseen",
            )

    if (connection := contents["connection"]) is not None:
        say(
            console,
            f"transition states: {connection['attempts']} attempts, "
            f"{connection['gradient_calls']} gradient calls, "
            f"{connection['hessian_vector_products']} Hessian-vector products",
        )
        ends = ", ".join(f"{count} {name}" for name, count in connection["outcomes"].items())
        if ends:
            say(console, f"  attempts: {ends}")


def _rest(console: Console, what: str, number: int, rows: int | None) -> None:
    if rows is not None and number > rows:
        say(console, f"The lowest {rows} of {number} {what}; --all shows every one.")


def table(*columns: str) -> Table:
    """An empty table of right-aligned columns that are never cut."""
    empty = _empty()
    for column in columns:
        empty.add_column(column, justify="right", no_wrap=True)
    return empty


def _empty() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1))


def _minima(landscape: Landscape, minima: list[Minimum]) -> Table:
    unit, relative = tables.units(landscape), landscape.relative_unit
    residues = len(landscape.molecule.phi_psi)
    columns = ["minimum", f"relative\n{relative}", f"energy\n{unit['energy']}"]
    columns += ["φ\n°", "ψ\n°"] if residues == 1 else []
    columns += ["visits", f"lowest eigenvalue\n{unit['eigenvalue']}"]
    listed = table(*columns)
    if residues > 1:
        # as many pairs on a line as there is room for, the rest below
        listed.add_column("φ, ψ of each residue\n°", overflow="fold")
    for m in minima:
        pairs = [
            [_number(angle, ".0f" if residues > 1 else ".1f") for angle in pair]
            for pair in landscape.phi_psi(m.positions)
        ]
        cells = [str(m.id), _number(landscape.relative(m.energy), _digits(landscape))]
        cells.append(f"{m.energy:.6f}")
        cells += pairs[0] if residues == 1 else []
        cells += [str(m.visits), _number(m.lowest_eigenvalue, ".4f")]
        if residues > 1:
            cells.append(" ".join(f"({phi},\u00a0{psi})" for phi, psi in pairs))
        listed.add_row(*cells)
    return listed


def _links(landscape: Landscape, links: list[Link], energies: dict[int, float]) -> Table:
    relative, digits = landscape.relative_unit, _digits(landscape)
    listed = table(
        "a",
        "b",
        f"relative\n{relative}",
        f"energy\n{landscape.energy_unit}",
        f"barrier from a\n{relative}",
        f"barrier from b\n{relative}",
    )
    listed.add_column("transition\nstate", no_wrap=True)
    for link in links:
        barriers = [(link.energy - energies[name]) * landscape.factor for name in link.minima]
        listed.add_row(
            *map(str, link.minima),
            _number(landscape.relative(link.energy), digits),
            f"{link.energy:.6f}",
            *(_number(barrier, digits) for barrier in barriers),
            "verified" if link.verified else "estimate",
        )
    return listed


def _digits(landscape: Landscape) -> str:
    return ".2f" if landscape.relative_unit == "kcal/mol" else ".4f"


def _number(value: Any, form: str) -> str:
    if value is None:
        return "none"
    text = format(value, form)
    return text.lstrip("-") if isinstance(value, float) and float(text) == 0 else text


def print_frames(rows: list[dict[str, Any]], unit: str) -> None:
    """What `Relaxed.to_dict` or `Evaluated.to_dict` gave, energies in `unit`, as a table."""
    length = "Å" if unit == "eV" else "sigma"
    names = {
        "energy": f"energy\n{unit}",
        "max_force": f"max force\n{unit}/{length}",
        "gradient_calls": "gradient\ncalls",
        "hessian_vector_products": "Hessian-vector\nproducts",
        "lowest_eigenvalue": f"lowest eigenvalue\n{unit}/{length}^2",
    }
    forms = {"energy": ".6f", "max_force": ".3g", "lowest_eigenvalue": ".4f"}
    listed = table(*(names.get(key, key) for key in rows[0]))
    for row in rows:
        listed.add_row(*(_number(value, forms.get(key, "")) for key, value in row.items()))
    write(output(), listed)


def print_errors(parts: Mapping[str, Mapping[str, float]]) -> None:
    """Errors of parts of the data, as `asdict` of `accuracy.Errors` gives them, as a table."""
    listed = table(
        "part",
        "frames",
        "energy MAE\nmeV",
        "energy RMSE\nmeV",
        "per atom MAE\nmeV",
        "force MAE\nmeV/Å",
        "force RMSE\nmeV/Å",
    )
    columns = ("energy_mae", "energy_rmse", "energy_mae_per_atom", "force_mae", "force_rmse")
    for name, row in parts.items():
        values = (_number(row[column], ".2f") for column in columns)
        listed.add_row(name, str(row["frames"]), *values)
    write(output(), listed)


def print_comparison(found: Comparison) -> None:
    """Errors against labels, and the frames with the worst forces."""
    from topokrates.landscape import KCAL_MOL_PER_EV

    print_errors({"all": asdict(found.errors)})
    if found.aligned:
        sys.stdout.write("energies are compared up to a constant of each element, fitted here\n")
    if found.relative_mae is not None:
        relative = found.relative_mae
        sys.stdout.write(
            f"energies relative to the median of the same molecule: MAE {relative:.2f} meV"
            f" ({1e-3 * relative * KCAL_MOL_PER_EV:.2f} kcal/mol)\n"
        )
    sys.stdout.write("\n")
    listed = table("worst\nframe", "energy error\nmeV", "force RMSE\nmeV/Å")
    for row in found.worst():
        errors = (_number(row[key], ".2f") for key in ("energy_error", "force_rmse"))
        listed.add_row(str(row["frame"]), *errors)
    write(output(), listed)


def print_dynamics(found: Dynamics, unit: str) -> None:
    """How replicas fared, `unit` being that of time."""
    energy, kelvin, long = ("meV", "K", "ps") if unit == "fs" else ("epsilon", "epsilon/k", unit)
    listed = table(
        "replica", f"followed\n{unit}", f"mean temperature\n{kelvin}",
        f"drift\n{energy}/atom/{long}", "bonds",
    )  # fmt: skip
    for r in found.replicas:
        numbers = _number(r.time, "g"), _number(r.temperature, ".4g"), _number(r.drift, ".2g")
        listed.add_row(str(r.replica), *numbers, r.reason or "kept")
    write(output(), listed)


def print_models(rows: list[dict[str, Any]]) -> None:
    """What `catalogue` gave, as a table."""
    from ase.data import chemical_symbols

    listed = _empty()
    for column in ("model", "elements", "licence", "where"):
        listed.add_column(column, no_wrap=True)
    for row in rows:
        elements = row["elements"]
        symbols = [chemical_symbols[z] for z in elements]
        if not symbols:
            known = "none: particles"
        elif elements == list(range(elements[0], elements[-1] + 1)):
            known = f"{symbols[0]} to {symbols[-1]}"
        else:
            known = " ".join(symbols)
        listed.add_row(row["name"], known, row["licence"], row["found"])
    write(output(), listed)
