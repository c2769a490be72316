"""Thermodynamics and kinetics of a landscape, as tables for people.

    harmonics = frequencies(landscape, potential)
    heat_capacity(landscape, harmonics, range(100, 600, 10))
    free_energies(landscape, harmonics, 300)
    network = rate_network(landscape, harmonics, 300)
    rate_table(landscape, network)
    passage_table(landscape, network, [1], [2])

A landscape holds structures; their vibrations come from the potential that it was made with, one
float64 Hessian each. Only verified links take part: an estimate has no harmonic mode to leave by.

Vibrations of molecules are quantised unless `quantum=False`, those of particles are classical.
Rotation is left out unless asked for: see `topokrates.thermodynamics`.

A minimum counts once for each of its mirror images that the landscape does not hold on its own.
Clusters are lumped with their images. A molecule with stereocentres has none: its image is another
molecule. Of other molecules a chiral minimum stands for its image too unless that is stored, and so
does a transition state whose image would join the same two minima.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from topokrates import kinetics, thermodynamics
from topokrates.kinetics import Network
from topokrates.links import LINK_ENERGY_TOLERANCE
from topokrates.model.errors import InputError
from topokrates.passage import passage
from topokrates.pointgroup import PointGroup, point_group
from topokrates.progress import Progress, Silent
from topokrates.provenance import refuse_other_potential
from topokrates.records import Link, Minimum, located
from topokrates.thermodynamics import States, states
from topokrates.vibrations import Scale, Vibrations, scale, vibrations

if TYPE_CHECKING:
    import pandas as pd

    from topokrates.landscape import Landscape
    from topokrates.model.potential import Potential


class Harmonic(NamedTuple):
    """A stationary point as a harmonic body: its vibrations, its symmetry, its mirror image.

    `image` says whether the landscape holds its mirror image as a structure of its own.
    """

    vibrations: Vibrations
    group: PointGroup
    image: bool


@dataclass(frozen=True)
class Harmonics:
    """What is known of minima and of verified links, by id."""

    minima: dict[int, Harmonic] = field(default_factory=dict)
    links: dict[int, Harmonic] = field(default_factory=dict)


def frequencies(
    landscape: Landscape,
    potential: Potential,
    known: Harmonics | None = None,
    *,
    links: bool = True,
    progress: Progress | None = None,
) -> Harmonics:
    """Vibrations and point groups of all minima and verified links, a Hessian for each new one.

    Args:
        landscape: with positions of every structure.
        potential: the one that the landscape was made with, in any precision.
        known: from an earlier call; only what is missing is computed.
        links: whether those of transition states are wanted.
        progress: told about each structure.

    Raises:
        InputError: for another potential, a structure without positions, or one that has another
            number of imaginary frequencies than it should.
    """
    known, progress = known or Harmonics(), progress or Silent()
    refuse_other_potential(landscape.store.path, landscape.provenance, potential.provenance())
    potential = potential.with_dtype("float64")
    all_minima, all_links = landscape.contents()
    wanted: list[Minimum | Link] = [m for m in all_minima if m.id not in known.minima]
    if links:
        wanted += [x for x in all_links if x.verified and x.id not in known.links]
    ids = {m.id for m in all_minima}
    found = Harmonics(
        {name: known.minima[name] for name in known.minima if name in ids},
        {x.id: known.links[x.id] for x in all_links if x.id in known.links},
    )
    progress.stage("frequencies", len(wanted))
    numbers = landscape.molecule.numbers
    for done, row in enumerate(wanted, 1):
        x = located(row)
        hessian = potential.hessians(x[None])[0]
        modes = vibrations(hessian, x, numbers, landscape.energy_unit)
        group = point_group(numbers, x)
        expected = int(isinstance(row, Link))
        if modes.imaginary != expected:
            what = "link" if expected else "minimum"
            raise InputError(
                f"{what} {row.id} has {modes.imaginary} imaginary frequencies, not {expected}"
            )
        image = group.chiral and _has_image(landscape, row, all_links)
        into = found.links if expected else found.minima
        into[row.id] = Harmonic(modes, group, image)
        progress.advance(done)
    return found


def _has_image(landscape: Landscape, row: Minimum | Link, links: list[Link]) -> bool:
    """Whether the mirror image of a chiral structure is stored as another one."""
    image = -located(row)
    if isinstance(row, Minimum):
        return landscape.find(row.energy, image) not in (None, row.id)
    return any(
        other.id != row.id
        and other.verified
        and other.positions is not None
        and abs(other.energy - row.energy) <= LINK_ENERGY_TOLERANCE
        and landscape.matcher.same(other.positions, image)
        for other in links
    )


def minima_states(landscape: Landscape, harmonics: Harmonics) -> tuple[np.ndarray, States]:
    """Ids (M,) of the minima by energy, and the minima as wells.

    Raises InputError for one whose frequencies are not known.
    """
    rows = landscape.minimum_list
    of = [_known(harmonics.minima, m.id, "minimum") for m in rows]
    copies = thermodynamics.copies([h.group for h in of], [_doubled(landscape, h) for h in of])
    wells = states([m.energy for m in rows], [h.vibrations for h in of], copies, _scale(landscape))
    return np.array([m.id for m in rows], dtype=int), wells


def link_states(landscape: Landscape, harmonics: Harmonics) -> tuple[np.ndarray, States]:
    """Ends (L, 2) of the verified links by energy, and the links as wells without a mode."""
    rows = [link for link in landscape.link_list if link.verified]
    of = [_known(harmonics.links, link.id, "link") for link in rows]
    twice = []
    for link, harmonic in zip(rows, of, strict=True):
        ends = [_known(harmonics.minima, name, "minimum") for name in link.minima]
        # of an end with an image of its own, the link's image joins that one
        same_pair = all(_doubled(landscape, end) or not end.group.chiral for end in ends)
        twice.append(_doubled(landscape, harmonic) and same_pair)
    copies = thermodynamics.copies([h.group for h in of], twice)
    wells = states(
        [link.energy for link in rows],
        [h.vibrations for h in of],
        copies,
        _scale(landscape),
        transition=True,
    )
    return np.array([link.minima for link in rows], dtype=int).reshape(-1, 2), wells


def _doubled(landscape: Landscape, harmonic: Harmonic) -> bool:
    """Whether a structure stands for its mirror image, too."""
    return harmonic.group.chiral and not harmonic.image and not landscape.molecule.stereocentres


def _known(table: dict[int, Harmonic], name: int, what: str) -> Harmonic:
    if name not in table:
        raise InputError(f"the frequencies of {what} {name} are not known: compute them first")
    return table[name]


def _scale(landscape: Landscape) -> Scale:
    return scale(landscape.energy_unit)


def _quantum(landscape: Landscape, quantum: bool | None) -> bool:
    return not _scale(landscape).reduced if quantum is None else quantum


def _heat_unit(landscape: Landscape) -> tuple[str, float]:
    """Name and size of k_B in the unit that heat capacities are shown in."""
    if _scale(landscape).reduced:
        return "k_B", 1.0
    from scipy import constants

    return "cal/mol/K", constants.R / constants.calorie


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
        wells, list(temperatures), quantum=_quantum(landscape, quantum), rotation=rotation
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
    options = {"quantum": _quantum(landscape, quantum), "rotation": rotation}
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


def rate_network(
    landscape: Landscape,
    harmonics: Harmonics,
    temperature: float,
    *,
    quantum: bool | None = None,
    rotation: bool = False,
    regroup: float | None = None,
) -> Network:
    """Rates between minima over verified links; see `topokrates.kinetics`.

    regroup: threshold of free energy below which states become groups, in kcal/mol (epsilon).
    """
    ids, wells = minima_states(landscape, harmonics)
    ends, tops = link_states(landscape, harmonics)
    network = kinetics.network(
        ids,
        wells,
        ends,
        tops,
        temperature,
        quantum=_quantum(landscape, quantum),
        rotation=rotation,
    )
    return network if regroup is None else kinetics.regroup(network, regroup / landscape.factor)


def rate_table(landscape: Landscape, network: Network) -> pd.DataFrame:
    """Each pair of states in both directions, fastest first: barrier and rate."""
    import pandas as pd

    unit, time = landscape.relative_unit, _scale(landscape).time
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
                    f"log10 rate (1/({time}))": logarithm,
                    f"rate (1/({time}))": np.power(10.0, logarithm),
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    keys = [f"log10 rate (1/({time}))", "from", "to"]
    return table.sort_values(keys, ascending=[False, True, True], ignore_index=True)


def passage_table(
    landscape: Landscape, network: Network, sources: Iterable[int], targets: Iterable[int]
) -> pd.DataFrame:
    """There and back between two sets of minima: times and rates; see `passage.Passage`."""
    import pandas as pd

    sources, targets, time = list(sources), list(targets), _scale(landscape).time
    rows = []
    for start, end in ((sources, targets), (targets, sources)):
        there = passage(network, start, end)
        rows.append(
            {
                "from": start,
                "to": end,
                f"log10 mean first passage time ({time})": there.log10_time,
                f"log10 rate (1/({time}))": there.log10_rate,
                f"log10 steady-state rate (1/({time}))": there.log10_steady_rate,
            }
        )
    return pd.DataFrame(rows)
