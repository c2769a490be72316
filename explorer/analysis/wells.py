"""A landscape as harmonic wells: what thermodynamics and kinetics take of it.

Vibrations of molecules are quantised unless `quantum=False`, those of particles are classical.
Rotation is left out unless asked for: see `topokrates.analysis.thermodynamics`.

A minimum counts once for each of its mirror images that the landscape does not hold on its own.
Clusters are lumped with their images. A molecule with stereocentres has none: its image is another
molecule. Of other molecules a chiral minimum stands for its image too unless that is stored, and so
does a transition state whose image would join the same two minima.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import numpy as np

from topokrates.analysis import kinetics, thermodynamics
from topokrates.analysis.harmonics import Harmonic, Harmonics
from topokrates.analysis.kinetics import Network
from topokrates.analysis.thermodynamics import States, states
from topokrates.analysis.vibrations import Scale, scale
from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from topokrates.landscape import Landscape


def minima_states(landscape: Landscape, harmonics: Harmonics) -> tuple[np.ndarray, States]:
    """Ids (M,) of the minima by energy, and the minima as wells.

    Raises InputError for one whose frequencies are not known.
    """
    rows = landscape.minimum_list
    of = [_known(harmonics.minima, m.id, "minimum") for m in rows]
    copies = thermodynamics.copies([h.group for h in of], [_doubled(landscape, h) for h in of])
    wells = states(
        [m.energy for m in rows], [h.vibrations for h in of], copies, scale_of(landscape)
    )
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
        scale_of(landscape),
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


def scale_of(landscape: Landscape) -> Scale:
    """The units that its heat and rates are counted in."""
    return scale(landscape.energy_unit)


def quantised(landscape: Landscape, quantum: bool | None) -> bool:
    """Whether vibrations are, by default."""
    return not scale_of(landscape).reduced if quantum is None else quantum


def free_energy_levels(
    landscape: Landscape,
    harmonics: Harmonics,
    temperature: float,
    *,
    quantum: bool | None = None,
    rotation: bool = False,
) -> tuple[dict[int, float], dict[int, float]]:
    """Absolute free energies of minima and of links, by id, in the landscape's unit of energy.

    What a disconnectivity graph at a temperature is drawn from. An estimate has no frequencies: it
    is given the mean F - E of the two minima that it joins, and stays an estimate.
    """
    options = {"quantum": quantised(landscape, quantum), "rotation": rotation}
    ids, wells = minima_states(landscape, harmonics)
    free = thermodynamics.free_energies(wells, temperature, **options).tolist()
    minima = dict(zip(ids.tolist(), free, strict=True))
    thermal = dict(zip(ids.tolist(), (free - wells.energies).tolist(), strict=True))
    tops = link_states(landscape, harmonics)[1]
    verified = thermodynamics.free_energies(tops, temperature, **options).tolist()
    links, known = {}, iter(verified)
    for link in landscape.link_list:
        shift = sum(thermal[name] for name in link.minima) / 2
        links[link.id] = next(known) if link.verified else link.energy + shift
    return minima, links


def rate_network(
    landscape: Landscape,
    harmonics: Harmonics,
    temperature: float,
    *,
    quantum: bool | None = None,
    rotation: bool = False,
    regroup: float | None = None,
    apart: Iterable[Collection[int]] = (),
) -> Network:
    """Rates between minima over verified links; see `topokrates.analysis.kinetics`.

    regroup: threshold of free energy below which states become groups, in kcal/mol (epsilon).
    apart: sets of minima that never become one.

    Raises InputError where no verified link joins two different minima.
    """
    require_transition_states(landscape)
    ids, wells = minima_states(landscape, harmonics)
    ends, tops = link_states(landscape, harmonics)
    network = kinetics.network(
        ids,
        wells,
        ends,
        tops,
        temperature,
        quantum=quantised(landscape, quantum),
        rotation=rotation,
    )
    if regroup is None:
        return network
    return kinetics.regroup(network, regroup / landscape.factor, apart)


def require_transition_states(landscape: Landscape) -> None:
    """Raises InputError where no verified link joins two different minima."""
    if not any(x.verified and x.minima[0] != x.minima[1] for x in landscape.link_list):
        raise InputError(
            f"{landscape.store.path or 'the landscape'} has no verified transition state between"
            " different minima, so there are no rates"
        )
