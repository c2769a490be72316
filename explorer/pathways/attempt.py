"""Attempts to connect minima: paths, bands, saddles, and quenches down both sides of each.

Computes and decides nothing about the landscape; `connect` takes the results in. All attempts of a
round go side by side, and each comes to what it would come to alone.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from topokrates.identity.matching import Matcher, changes
from topokrates.landscape import Minimum
from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.pathways.band import Band, relax_bands
from topokrates.pathways.interpolate import interpolate, superimposed
from topokrates.pathways.saddle import Saddle, find_saddles
from topokrates.relaxation.internals import Coordinates
from topokrates.relaxation.relax import Descent, Status, descend
from topokrates.storage.records import located

IMAGES, MOST_IMAGES = 11, 41
SPACING = 1.0  # Å or sigma, of whole structures: longer paths get more images
# Of the maxima of a band the highest is the barrier; lower ones are tried while they are few.
SADDLES_PER_BAND = 3
DISTORTION = 0.3  # sigma
PUSH_OFF = 0.1  # Å, of the atom that moves most
CAREFUL_STEP = 0.1  # Å or radians: a longer step down from a saddle could leave its basin


class Climb(NamedTuple):
    """Where to look for a saddle: a structure and a direction, (N, 3) each; what it cost so far."""

    positions: np.ndarray
    direction: np.ndarray
    gradient_calls: int = 0


class Candidate(NamedTuple):
    """A verified first-order saddle and the ends of the descents on its two sides."""

    saddle: Saddle
    sides: tuple[Descent, Descent]


class Attempt(NamedTuple):
    """What came of it.

    Attributes:
        candidates: saddles with both sides at rest.
        known: the minima on both sides of saddles that were recognised; nobody went down there.
        top: highest point of the band, (N, 3), and its energy: an upper bound of the barrier.
        top_energy: NaN if the band is no path at all, or there was none.
        gradient_calls, hessian_vector_products: spent.
    """

    candidates: list[Candidate]
    known: list[tuple[int, int]]
    top: np.ndarray | None
    top_energy: float
    gradient_calls: int
    hessian_vector_products: int


def _unknown(saddle: Saddle) -> tuple[int, int] | None:
    return None


class Room(NamedTuple):
    """What every attempt needs.

    Attributes:
        molecule, potential, coordinates, matcher: what they say.
        recognise: the two minima that a saddle links, if it is a known transition state.
        guide: of climbs, see `find_saddles`.
    """

    molecule: Molecule
    potential: Potential
    coordinates: Coordinates
    matcher: Matcher
    recognise: Callable[[Saddle], tuple[int, int] | None] = _unknown
    guide: np.ndarray | None = None


def attempts(room: Room, pairs: Sequence[tuple[Minimum, Minimum, bool]]) -> list[Attempt]:
    """Searches transition states between pairs of minima.

    Args:
        room: see there; saddles use the potential's float64 form.
        pairs: two minima each, and whether to go the long way: a molecule turns the torsion that
            changes most by the other way round, a cluster's particles change places otherwise.
    """
    paths = [_path(room, *pair) for pair in pairs]
    ends = [(start.energy, end.energy) for start, end, _ in pairs]
    bands = relax_bands(room.potential, room.coordinates, paths, ends)
    climbs = [
        [
            Climb(band.positions[image], band.tangents[image])
            for image in band.maxima[:SADDLES_PER_BAND]
            if np.isfinite(band.energies[image])
        ]
        for band in bands
    ]
    found = climbed(room, climbs)
    tops = [_top(room.molecule, band) for band in bands]
    return [
        one._replace(
            top=top, top_energy=energy, gradient_calls=one.gradient_calls + band.gradient_calls
        )
        for one, band, (top, energy) in zip(found, bands, tops, strict=True)
    ]


def climbed(room: Room, starts: Sequence[Sequence[Climb]]) -> list[Attempt]:
    """Climbs to saddles and down both their sides; an attempt for each group of starts."""
    flat = [(group, climb) for group, climbs in enumerate(starts) for climb in climbs]
    saddles = find_saddles(
        room.potential,
        room.coordinates,
        [climb.positions for _, climb in flat],
        [climb.direction for _, climb in flat],
        room.guide,
    )
    calls, products = np.zeros(len(starts), int), np.zeros(len(starts), int)
    good: list[tuple[int, Saddle]] = []
    known: list[list[tuple[int, int]]] = [[] for _ in starts]
    for (group, climb), saddle in zip(flat, saddles, strict=True):
        calls[group] += climb.gradient_calls + saddle.gradient_calls
        products[group] += saddle.hessian_vector_products
        if saddle.status is not Status.SADDLE or _in_pieces(room.molecule, saddle.positions):
            continue
        if (pair := room.recognise(saddle)) is not None:
            known[group].append(pair)
            continue
        others = [other for k, other in good if k == group]
        if not any(room.matcher.same(saddle.positions, other.positions) for other in others):
            good.append((group, saddle))
    candidates: list[list[Candidate]] = [[] for _ in starts]
    descents = descend_sides(room.potential, room.coordinates, [saddle for _, saddle in good])
    for (group, saddle), sides in zip(good, descents, strict=True):
        calls[group] += sum(side.gradient_calls for side in sides)
        candidates[group].append(Candidate(saddle, sides))
    return [
        Attempt(group, known[k], None, np.nan, int(calls[k]), int(products[k]))
        for k, group in enumerate(candidates)
    ]


def descend_sides(
    potential: Potential, coordinates: Coordinates, saddles: Sequence[Saddle]
) -> list[tuple[Descent, Descent]]:
    """Descents from both sides of saddles, along and against their modes."""
    starts = []
    for saddle in saddles:
        push = saddle.mode * (PUSH_OFF / np.sqrt(np.max(np.sum(saddle.mode**2, axis=1))))
        starts += [saddle.positions + push, saddle.positions - push]
    lanes = max(2, len(starts))
    found = descend(potential, coordinates, starts, lanes=lanes, largest_step=CAREFUL_STEP)
    ends = sorted(found, key=lambda end: end.index)
    return list(zip(ends[::2], ends[1::2], strict=True))


def _path(room: Room, start: Minimum, end: Minimum, long_way: bool) -> np.ndarray:
    """Images between two minima, more where they are far apart."""
    first, last = located(start), located(end)
    towards = first
    if long_way and room.molecule.is_cluster:
        # who goes where is settled with a distorted start, and is another choice as a rule
        rng = np.random.default_rng([start.id, end.id])
        towards = first + rng.normal(scale=DISTORTION, size=first.shape)
    aligned = room.matcher.align(towards, last, keep_handedness=True)
    aligned = superimposed(aligned, first)
    length = float(np.linalg.norm(aligned - first))
    images = int(np.clip(2 * np.ceil(length / SPACING / 2) + 1, IMAGES, MOST_IMAGES))
    return interpolate(room.coordinates, first, aligned, images, long_way)


def _in_pieces(molecule: Molecule, positions: np.ndarray) -> bool:
    """Whether a bond is broken there; stereo is judged at the minima on both sides."""
    return str(changes(molecule, positions).kind) in ("bonds", "dissociated", "not finite")


def _top(molecule: Molecule, band: Band) -> tuple[np.ndarray, float]:
    image = int(np.argmax(band.energies))
    top, energy = band.positions[image], float(band.energies[image])
    possible = np.isfinite(energy) and not _in_pieces(molecule, top)
    return top, energy if possible else np.nan
