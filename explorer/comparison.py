"""Two landscapes of one molecule side by side: what one force field finds that another does not.

    found = teacher.compare(student)
    found.summary()
    found.minima

Minima correspond one to one if their symmetric RMSD is within a limit, closest pairs first. What
the reference has and the other lacks is *missed*; what only the other has is *invented*. Energies
are compared after their mean difference over the pairs is taken off. The barrier between two
minima is the lowest highest transition state on a way through verified links, above the lower of
the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np

from topokrates.model.errors import InputError
from topokrates.model.progress import Progress, Silent
from topokrates.provenance import refuse_other_molecule
from topokrates.storage.records import Link, located

if TYPE_CHECKING:
    import pandas as pd

    from topokrates.landscape import Landscape

WITHIN = 0.65  # Å; what one basin differs by between force fields, less than conformers do


@dataclass(frozen=True, eq=False)
class LandscapeComparison:
    """What `compare` found; energies in `unit`.

    Attributes:
        minima: a row for each minimum of either: ids (missing where there is none), relative
            energies, each above the lowest of its landscape, RMSD of a pair, energy error.
        barriers: a row for each two neighbours in the reference whose counterparts are connected:
            ids in the reference, the two barriers, error.
        unit, length: "kcal/mol" and "Å", or "epsilon" and "sigma" for a cluster.
        names: of the two potentials.
    """

    minima: pd.DataFrame
    barriers: pd.DataFrame
    unit: str
    length: str
    names: tuple[str, str]

    @property
    def missed(self) -> list[int]:
        """Ids of the reference's minima that the other lacks."""
        return self.minima.loc[self.minima["id there"].isna(), "id"].tolist()

    @property
    def invented(self) -> list[int]:
        """Ids, in the other, of minima that the reference lacks."""
        return self.minima.loc[self.minima["id"].isna(), "id there"].tolist()

    def summary(self) -> dict[str, Any]:
        """Counts, and mean absolute errors; None where nothing can be compared."""
        unit = f"({self.unit})"
        paired = len(self.minima) - len(self.missed) - len(self.invented)
        return {
            "reference": self.names[0],
            "other": self.names[1],
            "minima": paired + len(self.missed),
            "found": paired,
            "missed": len(self.missed),
            "invented": len(self.invented),
            f"energy MAE {unit}": _mae(self.minima[f"energy error {unit}"]),
            f"mean RMSD ({self.length})": _mae(self.minima[f"RMSD ({self.length})"]),
            "barriers": len(self.barriers),
            f"barrier MAE {unit}": _mae(self.barriers[f"error {unit}"]),
        }

    def __str__(self) -> str:
        told = self.summary()
        energy, barrier = f"energy MAE ({self.unit})", f"barrier MAE ({self.unit})"
        parts = [
            f"{told['other']} finds {told['found']} of the {told['minima']} minima of"
            f" {told['reference']}, and {told['invented']} that it lacks"
        ]
        if told["found"]:
            parts.append(f"energies differ by {told[energy]:.2f} {self.unit} on average")
        if told["barriers"]:
            parts.append(f"{told['barriers']} barriers by {told[barrier]:.2f}")
        return ", ".join(parts)


def _mae(values: Any) -> float | None:
    found = np.abs(np.asarray(values, float))
    found = found[np.isfinite(found)]
    return float(found.mean()) if len(found) else None


def compare(
    reference: Landscape,
    other: Landscape,
    *,
    within: float = WITHIN,
    progress: Progress | None = None,
) -> LandscapeComparison:
    """Compares two landscapes; see the module.

    Args:
        reference, other: of the same molecule, with positions, usually of two potentials.
        within: largest symmetric RMSD of two minima that correspond, Å (sigma).
        progress: told how it goes.

    Raises:
        InputError: for different molecules, no minimum, positions that an import did not bring, or
            a limit that is no length.
    """
    import pandas as pd

    if not (0 < within < float("inf")):
        raise InputError(f"within {within} Å: give a length above 0")
    if reference.energy_unit != other.energy_unit:
        raise InputError(f"energies in {reference.energy_unit} and in {other.energy_unit}")
    ours, theirs = reference.molecule.to_json(), other.molecule.to_json()
    refuse_other_molecule(reference.store.path, ours, theirs)
    (minima, links), (others, other_links) = reference.contents(), other.contents()
    if not minima or not others:
        raise InputError("there is no minimum in one of the landscapes")
    a, b = (np.stack([located(m) for m in rows]) for rows in (minima, others))
    pairs = _pairs(reference.matcher, a, b, within, progress or Silent())
    factor, unit = reference.factor, reference.relative_unit
    heights = [np.array([m.energy for m in rows]) * factor for rows in (minima, others)]
    shift = np.mean([heights[1][k] - heights[0][i] for i, k, _ in pairs]) if pairs else 0.0
    low = [height.min() for height in heights]
    rows: list[tuple[Any, ...]] = [
        (
            minima[i].id,
            others[k].id,
            heights[0][i] - low[0],
            heights[1][k] - low[1],
            rmsd,
            heights[1][k] - heights[0][i] - shift,
        )
        for i, k, rmsd in pairs
    ]
    left, right = {i for i, _, _ in pairs}, {k for _, k, _ in pairs}
    rows += [
        (m.id, None, heights[0][i] - low[0], np.nan, np.nan, np.nan)
        for i, m in enumerate(minima)
        if i not in left
    ]
    rows += [
        (None, m.id, np.nan, heights[1][k] - low[1], np.nan, np.nan)
        for k, m in enumerate(others)
        if k not in right
    ]
    length = reference.provenance["units"]["length"]
    columns = [
        "id",
        "id there",
        f"energy ({unit})",
        f"energy there ({unit})",
        f"RMSD ({length})",
        f"energy error ({unit})",
    ]
    table = pd.DataFrame(rows, columns=pd.Index(columns))
    table[["id", "id there"]] = table[["id", "id there"]].astype("Int64")
    order = table[columns[2]].fillna(table[columns[3]]).argsort(kind="stable")
    names = {minima[i].id: others[k].id for i, k, _ in pairs}
    energies = [{m.id: m.energy for m in found} for found in (minima, others)]
    return LandscapeComparison(
        table.iloc[order].reset_index(drop=True),
        _barriers(links, other_links, names, energies, factor, unit),
        unit,
        length,
        (str(reference.provenance["name"]), str(other.provenance["name"])),
    )


def _pairs(
    matcher: Any, a: np.ndarray, b: np.ndarray, within: float, progress: Progress
) -> list[tuple[int, int, float]]:
    """(row of a, row of b, RMSD) of those that correspond, the closest pairs first."""
    progress.stage("compare", len(a))
    close: list[tuple[float, int, int]] = []
    for i, x in enumerate(a):
        for k in np.flatnonzero(matcher.bounds(x, b) <= within):
            rmsd = matcher.rmsd(x, b[k])
            if rmsd <= within:
                close.append((rmsd, i, int(k)))
        progress.advance(i + 1)
    taken: tuple[set[int], set[int]] = set(), set()
    pairs = []
    for rmsd, i, k in sorted(close):
        if i not in taken[0] and k not in taken[1]:
            taken[0].add(i)
            taken[1].add(k)
            pairs.append((i, k, float(rmsd)))
    return pairs


def _barriers(
    links: Sequence[Link],
    other_links: Sequence[Link],
    names: dict[int, int],
    energies: list[dict[int, float]],
    factor: float,
    unit: str,
) -> pd.DataFrame:
    """Of each two neighbours in the reference: both barriers, from the lower minimum."""
    import pandas as pd

    ways = [_passes(rows) for rows in (links, other_links)]
    neighbours = sorted({link.minima for link in links if link.verified})
    rows = []
    for one, two in neighbours:
        if one == two or one not in names or two not in names:
            continue
        passes = [_pass(ways[0], one, two), _pass(ways[1], names[one], names[two])]
        if passes[0] is None or passes[1] is None:
            continue
        start = min((one, two), key=energies[0].__getitem__)
        ours = (passes[0] - energies[0][start]) * factor
        theirs = (passes[1] - energies[1][names[start]]) * factor
        rows.append((one, two, ours, theirs, theirs - ours))
    columns = ["from", "to", *(f"{x} ({unit})" for x in ("barrier", "barrier there", "error"))]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def _passes(links: Sequence[Link]) -> nx.Graph:
    """The spanning forest of lowest transition states: the best way between any two is in it."""
    graph = nx.Graph()
    for link in links:
        one, two = link.minima
        if link.verified and one != two:
            known = graph.get_edge_data(one, two, {"energy": np.inf})["energy"]
            graph.add_edge(one, two, energy=min(known, link.energy))
    return nx.minimum_spanning_tree(graph, weight="energy")


def _pass(forest: nx.Graph, one: int, two: int) -> float | None:
    """The highest transition state on the best way; None where there is no way."""
    if one not in forest or two not in forest or not nx.has_path(forest, one, two):
        return None
    way = nx.shortest_path(forest, one, two)
    return max(forest.edges[step]["energy"] for step in pairwise(way))
