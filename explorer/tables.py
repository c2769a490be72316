"""A landscape in other shapes: tables, JSON and extended XYZ."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

from topokrates.model.errors import InputError
from topokrates.model.replacing import replacing
from topokrates.stopping import Coverage
from topokrates.storage.records import CONNECTING, located

if TYPE_CHECKING:
    import pandas as pd

    from topokrates.landscape import Landscape


def units(landscape: Landscape) -> dict[str, str]:
    """The units of energy, force and eigenvalues, e.g. eV, eV/Å and eV/Å^2."""
    energy, length = landscape.energy_unit, landscape.provenance["units"]["length"]
    return {
        "energy": energy,
        "force": f"{energy}/{length}",
        "eigenvalue": f"{energy}/{length}^2",
    }


def as_dict(landscape: Landscape) -> dict[str, Any]:
    """See `Landscape.to_dict`.

    Energies are absolute; `*_kcal_mol` is None where the unit is not an energy per mole.
    `barriers_kcal_mol` are those seen from either minimum, in the order of `minima`.
    `connected_components` counts over verified links alone.
    """
    minima, links = landscape.contents()
    energies = {m.id: m.energy for m in minima}
    molar = landscape.energy_unit == "eV"

    def kcal_mol(difference: float) -> float | None:
        return difference * landscape.factor if molar else None

    return {
        "molecule": landscape.molecule.name,
        "formula": landscape.molecule.formula,
        "potential": landscape.provenance["name"],
        "units": units(landscape),
        "minima": [
            {
                "id": m.id,
                "energy": m.energy,
                "relative_kcal_mol": kcal_mol(m.energy - minima[0].energy),
                "visits": m.visits,
                "max_force": m.max_force,
                "lowest_eigenvalue": m.lowest_eigenvalue,
                "phi_psi": landscape.phi_psi(m.positions),
            }
            for m in minima
        ],
        "links": [
            {
                "minima": list(link.minima),
                "energy": link.energy,
                "barriers_kcal_mol": [kcal_mol(link.energy - energies[i]) for i in link.minima],
                "verified": link.verified,
                "negative_eigenvalues": link.negative_eigenvalues,
            }
            for link in links
        ],
        "connected_components": landscape.connected_components,
        "searches": [
            {
                "searcher": search.settings.get("searcher"),
                "seed": search.settings.get("seed"),
                "walkers": search.settings.get("walkers"),
                "quenches_done": search.done,
                "quenches_target": search.target,
                "gradient_calls": search.gradient_calls,
                "hessian_vector_products": search.hessian_vector_products,
                **_outcomes(landscape, search.id),
                "settings": search.settings,
            }
            for search in landscape.store.searches()
        ],
        "connection": _connection(landscape),
    }


def _connection(landscape: Landscape) -> dict[str, Any] | None:
    """What the search for transition states has done; None if there was none."""
    record = landscape.store.load_search(CONNECTING)
    if record is None:
        return None
    outcomes = Counter(row.outcome for row in landscape.store.attempts())
    return {
        "attempts": record.done,
        "gradient_calls": record.gradient_calls,
        "hessian_vector_products": record.hessian_vector_products,
        "outcomes": dict(sorted(outcomes.items(), key=lambda item: (-item[1], item[0]))),
    }


def _outcomes(landscape: Landscape, search: int) -> dict[str, Any]:
    """How its quenches ended, and what a search estimates of what it has not seen."""
    rows = landscape.store.quenches(search)
    outcomes = Counter(row.status for row in rows)
    found = Coverage.of(Counter(row.minimum for row in rows if row.minimum is not None))
    return {
        "outcomes": dict(sorted(outcomes.items(), key=lambda item: (-item[1], item[0]))),
        "coverage": found.coverage if found.quenches else None,
        "unseen_minima": found.unseen if found.quenches else None,
    }


def minima_table(landscape: Landscape) -> pd.DataFrame:
    """See `Landscape.minima`."""
    import pandas as pd

    unit = units(landscape)
    columns = [
        "id",
        f"relative energy ({landscape.relative_unit})",
        f"energy ({unit['energy']})",
        "visits",
        f"max force ({unit['force']})",
        f"lowest eigenvalue ({unit['eigenvalue']})",
    ]
    residues = len(landscape.molecule.phi_psi)
    for number in range(1, residues + 1):
        suffix = f" {number}" if residues > 1 else ""
        columns += [f"phi{suffix} (°)", f"psi{suffix} (°)"]
    rows = []
    minima = landscape.minimum_list
    for m in minima:
        angles = [angle for pair in landscape.phi_psi(m.positions) for angle in pair]
        numbers = [(m.energy - minima[0].energy) * landscape.factor, m.energy, m.visits]
        rows.append([m.id, *numbers, m.max_force, m.lowest_eigenvalue, *angles])
    return pd.DataFrame(rows, columns=pd.Index(columns))


def links_table(landscape: Landscape) -> pd.DataFrame:
    """See `Landscape.links`."""
    import pandas as pd

    minima, links = landscape.contents()
    energies = {m.id: m.energy for m in minima}
    relative, unit = landscape.relative_unit, units(landscape)
    columns = [
        "id",
        "kind",
        "minimum a",
        "minimum b",
        f"relative energy ({relative})",
        f"barrier from a ({relative})",
        f"barrier from b ({relative})",
        f"energy ({unit['energy']})",
        "negative eigenvalues",
    ]
    rows = []
    for link in links:
        barriers = [(link.energy - energies[i]) * landscape.factor for i in link.minima]
        kind = "transition state" if link.verified else "estimate"
        above = (link.energy - minima[0].energy) * landscape.factor
        numbers = [*link.minima, above, *barriers, link.energy, link.negative_eigenvalues]
        rows.append([link.id, kind, *numbers])
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    return table.astype({"negative eigenvalues": "Int64"})


def write_extxyz(landscape: Landscape, path: str | os.PathLike[str]) -> None:
    """See `Landscape.export_extxyz`.

    `info` of each frame: kind (minimum, transition_state, estimate), id, energy (absolute, of
    the landscape's unit, which is given), and visits or the ids of the two minima. Atomic: a
    file that was there stays whole until the new one is. Raises InputError if it cannot be
    written.
    """
    import ase.io

    minima, links = landscape.contents()
    frames = []
    for m in minima:
        atoms = landscape.molecule.atoms(located(m))
        atoms.info |= {"kind": "minimum", "id": m.id, "visits": m.visits}
        numbers = (m.energy, m.max_force, m.lowest_eigenvalue)
        frames.append((atoms, numbers))
    for link in links:
        atoms = landscape.molecule.atoms(located(link))
        kind = "transition_state" if link.verified else "estimate"
        a, b = link.minima
        atoms.info |= {"kind": kind, "id": link.id, "minimum_a": a, "minimum_b": b}
        if link.negative_eigenvalues is not None:
            atoms.info["negative_eigenvalues"] = link.negative_eigenvalues
        frames.append((atoms, (link.energy, link.max_force, link.lowest_eigenvalue)))
    for atoms, (energy, max_force, eigenvalue) in frames:
        atoms.info |= {"energy": energy, "energy_unit": landscape.energy_unit}
        atoms.info["molecule"] = landscape.molecule.name
        atoms.info["potential"] = landscape.provenance["name"]
        if max_force is not None:
            atoms.info["max_force"] = max_force
        if eigenvalue is not None:
            atoms.info["lowest_eigenvalue"] = eigenvalue
    if not frames:
        raise InputError(f"nothing to write to {path}: the landscape has no minima yet")
    with replacing(path) as temporary:
        ase.io.write(temporary, [atoms for atoms, _ in frames], format="extxyz")
