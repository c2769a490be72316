"""Thermodynamics and kinetics of a landscape, as tables for people.

    harmonics = frequencies(landscape)
    heat_capacity(landscape, harmonics, range(100, 600, 10))
    free_energies(landscape, harmonics, 300)
    network = rate_network(landscape, harmonics, 300)
    rate_table(landscape, network)
    passage_table(landscape, network, [1], [2])

What counts, and how, is said in `topokrates.analysis.wells`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates.analysis import thermodynamics
from topokrates.analysis.harmonics import Harmonics
from topokrates.analysis.kinetics import Network
from topokrates.analysis.passage import fastest_path, passage
from topokrates.analysis.wells import (
    free_energy_levels,
    minima_states,
    quantised,
    rate_network,
    scale_of,
)
from topokrates.model.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from topokrates.landscape import Landscape

Ids = int | Iterable[int]  # of one minimum, or of a set


def _heat_unit(landscape: Landscape) -> tuple[str, float]:
    """Name and size of k_B in the unit that heat capacities are shown in."""
    if scale_of(landscape).reduced:
        return "k_B", 1.0
    from scipy import constants

    return "cal/(mol K)", constants.R / constants.calorie


def heat_capacity(
    landscape: Landscape,
    harmonics: Harmonics,
    temperatures: Iterable[float],
    *,
    quantum: bool | None = None,
    rotation: bool = False,
) -> pd.DataFrame:
    """Free energy, internal energy, heat capacity and entropy at each temperature.

    Energies are relative to the potential energy of the global minimum. Temperatures in K, or in
    epsilon/k_B.
    """
    import pandas as pd

    wells = minima_states(landscape, harmonics)[1]
    curve = thermodynamics.thermodynamics(
        wells, list(temperatures), quantum=quantised(landscape, quantum), rotation=rotation
    )
    zero, unit = landscape.minimum_list[0].energy, landscape.relative_unit
    name, size = _heat_unit(landscape)
    return pd.DataFrame(
        {
            f"temperature ({wells.scale.temperature})": curve.temperatures,
            f"free energy ({unit})": (curve.free_energy - zero) * landscape.factor,
            f"internal energy ({unit})": (curve.internal_energy - zero) * landscape.factor,
            f"heat capacity ({name})": curve.heat_capacity * size,
            f"entropy ({name})": curve.entropy * size,
        }
    )


def free_energies(
    landscape: Landscape,
    harmonics: Harmonics,
    temperature: float,
    *,
    quantum: bool | None = None,
    rotation: bool = False,
) -> pd.DataFrame:
    """Minima by free energy: relative free energy, probability, symmetry, lowest frequency."""
    import pandas as pd

    ids, wells = minima_states(landscape, harmonics)
    options = {"quantum": quantised(landscape, quantum), "rotation": rotation}
    free = thermodynamics.free_energies(wells, temperature, **options)
    share = thermodynamics.occupations(wells, temperature, **options)
    unit, zero = landscape.relative_unit, min(wells.energies, default=0.0)
    groups = [harmonics.minima[name].group for name in ids]
    frequency = [float(harmonics.minima[name].vibrations.frequencies[0]) for name in ids]
    table = pd.DataFrame(
        {
            "id": ids,
            f"relative free energy ({unit})": (free - min(free, default=0.0)) * landscape.factor,
            f"relative energy ({unit})": (wells.energies - zero) * landscape.factor,
            "probability": share,
            "point group": [g.symbol for g in groups],
            "symmetry number": [g.number for g in groups],
            "copies": wells.copies,
            f"lowest frequency ({wells.scale.frequency})": frequency,
        }
    )
    return table.sort_values([f"relative free energy ({unit})", "id"], ignore_index=True)


def transition_states(
    landscape: Landscape,
    harmonics: Harmonics,
    temperature: float,
    *,
    quantum: bool | None = None,
    rotation: bool = False,
) -> pd.DataFrame:
    """Verified links by free energy, relative to that of the lowest minimum."""
    import pandas as pd

    energies, tops = free_energy_levels(
        landscape, harmonics, temperature, quantum=quantum, rotation=rotation
    )
    rows = [link for link in landscape.link_list if link.verified]
    unit, zero = landscape.relative_unit, min((m.energy for m in landscape.minimum_list), default=0)
    lowest = min(energies.values(), default=0.0)
    modes = [float(harmonics.links[link.id].vibrations.frequencies[0]) for link in rows]
    table = pd.DataFrame(
        {
            "id": [link.id for link in rows],
            "minima": [list(link.minima) for link in rows],
            f"relative free energy ({unit})": [
                (tops[link.id] - lowest) * landscape.factor for link in rows
            ],
            f"relative energy ({unit})": [(link.energy - zero) * landscape.factor for link in rows],
            "point group": [harmonics.links[link.id].group.symbol for link in rows],
            f"imaginary frequency ({scale_of(landscape).frequency})": modes,
        }
    )
    return table.sort_values([f"relative free energy ({unit})", "id"], ignore_index=True)


def rates(
    landscape: Landscape, harmonics: Harmonics, temperature: float, **options: Any
) -> pd.DataFrame:
    """`rate_table` of the network that `rate_network` makes with these options."""
    return rate_table(landscape, rate_network(landscape, harmonics, temperature, **options))


def rate_table(landscape: Landscape, network: Network) -> pd.DataFrame:
    """Each pair of states in both directions, fastest first: barrier and rate."""
    import pandas as pd

    unit, per_time = landscape.relative_unit, _per_time(landscape)
    rows = []
    for side in (0, 1):
        start, end = network.pairs[:, side], network.pairs[:, 1 - side]
        barrier = (network.barriers - network.free_energies[start]) * landscape.factor
        logarithm = network.log_rates[:, side] / np.log(10)
        rows.append(
            pd.DataFrame(
                {
                    "from": network.ids[start],
                    "to": network.ids[end],
                    f"free energy barrier ({unit})": barrier,
                    f"log10 rate ({per_time})": logarithm,
                    f"rate ({per_time})": np.power(10.0, logarithm),
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    keys = [f"log10 rate ({per_time})", "from", "to"]
    return table.sort_values(keys, ascending=[False, True, True], ignore_index=True)


def passage_table(
    landscape: Landscape, network: Network, sources: Iterable[int], targets: Iterable[int]
) -> pd.DataFrame:
    """There and back between two sets of minima: times and rates; see `passage.Passage`.

    Between two single minima the fastest path is given as well, and how likely it is among all
    walks. Raises InputError if the sets overlap, or no path leads from one to the other.
    """
    import pandas as pd

    sources, targets = list(sources), list(targets)
    time, per_time = scale_of(landscape).time, _per_time(landscape)
    rows = []
    for start, end in ((sources, targets), (targets, sources)):
        there = passage(network, start, end)
        row = {
            "from": start,
            "to": end,
            f"log10 mean first passage time ({time})": there.log10_time,
            f"log10 rate ({per_time})": there.log10_rate,
            f"log10 steady-state rate ({per_time})": there.log10_steady_rate,
        }
        if not np.isfinite(there.log10_steady_rate):
            names = " and ".join(", ".join(map(str, group)) for group in (start, end))
            raise InputError(f"minima {names} are not connected by verified transition states")
        if len(start) == len(end) == 1:
            path = fastest_path(network, start[0], end[0])
            row["fastest path"] = list(path.states)
            row["log10 path probability"] = path.log10_probability
        rows.append(row)
    return pd.DataFrame(rows)


def state_table(landscape: Landscape, network: Network) -> pd.DataFrame:
    """The states of a network by free energy, and the minima that each consists of."""
    import pandas as pd

    free, unit = network.free_energies, landscape.relative_unit
    table = pd.DataFrame(
        {
            "id": network.ids,
            f"relative free energy ({unit})": (free - free.min()) * landscape.factor,
            "probability": network.probabilities,
            "minima": [list(group) for group in network.members],
        }
    )
    return table.sort_values([f"relative free energy ({unit})", "id"], ignore_index=True)


def _per_time(landscape: Landscape) -> str:
    time = scale_of(landscape).time
    return f"1/({time})" if " " in time else f"1/{time}"


def passages(
    landscape: Landscape,
    harmonics: Harmonics,
    sources: Ids,
    targets: Ids,
    temperature: float,
    **options: Any,
) -> pd.DataFrame:
    """`passage_table` of one minimum or a set and another, which `regroup` does not merge."""
    ends = [[int(e)] if isinstance(e, int | np.integer) else list(e) for e in (sources, targets)]
    network = rate_network(landscape, harmonics, temperature, apart=ends, **options)
    return passage_table(landscape, network, *ends)


def heights(
    landscape: Landscape, harmonics: Harmonics, temperature: float, **options: Any
) -> dict[str, Any]:
    """What `topokrates.drawing.charting.chart` needs to draw free energies."""
    energies, links = free_energy_levels(landscape, harmonics, temperature, **options)
    unit = scale_of(landscape).temperature
    return {
        "energies": energies,
        "link_energies": links,
        "quantity": f"Free energy at {temperature:g} {unit}",
    }
