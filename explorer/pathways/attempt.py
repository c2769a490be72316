"""One attempt to connect two minima: path, band, saddles, and a quench down both sides of each.

Computes and decides nothing about the landscape, so that attempts can run side by side; `connect`
takes their results in.
"""

from typing import NamedTuple

import numpy as np

from topokrates.identity import Matcher, changes
from topokrates.internals import Coordinates
from topokrates.landscape import Minimum
from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.pathways.band import Band, relax_band
from topokrates.pathways.interpolate import interpolate
from topokrates.pathways.saddle import Saddle, find_saddle
from topokrates.records import located
from topokrates.relax import Descent, Status, descend

IMAGES = 11
# Of the maxima of a band the highest is the barrier; lower ones are tried while they are few.
SADDLES_PER_BAND = 3
PUSH_OFF = 0.1  # Å, of the atom that moves most
CAREFUL_STEP = 0.1  # Å or radians: a longer step down from a saddle could leave its basin


class Candidate(NamedTuple):
    """A verified first-order saddle and the ends of the descents on its two sides."""

    saddle: Saddle
    sides: tuple[Descent, Descent]


class Attempt(NamedTuple):
    """What came of it.

    Attributes:
        candidates: saddles with both sides at rest.
        top: highest point of the band, (N, 3), and its energy: an upper bound of the barrier.
        top_energy: NaN if the band is no path at all.
        gradient_calls, hessian_vector_products: spent.
    """

    candidates: list[Candidate]
    top: np.ndarray
    top_energy: float
    gradient_calls: int
    hessian_vector_products: int


def attempt(
    molecule: Molecule,
    potential: Potential,
    coordinates: Coordinates,
    matcher: Matcher,
    start: Minimum,
    end: Minimum,
    long_way: bool = False,
) -> Attempt:
    """Searches transition states between two minima.

    Args:
        molecule: what they are minima of.
        potential: for the band and the descents; saddles use its float64 form.
        coordinates: of the molecule.
        matcher: aligns the ends.
        start, end: the minima.
        long_way: turn the torsion that changes most by the other way round.
    """
    first, last = located(start), located(end)
    aligned = matcher.align(first, last, keep_handedness=True)
    path = interpolate(coordinates, first, aligned, IMAGES, long_way)
    band = relax_band(potential, coordinates, path, (start.energy, end.energy))
    calls, products = band.gradient_calls, 0
    candidates: list[Candidate] = []
    for image in band.maxima[:SADDLES_PER_BAND]:
        if not np.isfinite(band.energies[image]):
            continue
        saddle = find_saddle(potential, coordinates, band.positions[image], band.tangents[image])
        calls += saddle.gradient_calls
        products += saddle.hessian_vector_products
        if saddle.status is not Status.SADDLE or _in_pieces(molecule, saddle.positions):
            continue
        if any(matcher.same(saddle.positions, other.saddle.positions) for other in candidates):
            continue
        sides = descend_sides(potential, coordinates, saddle)
        calls += sum(side.gradient_calls for side in sides)
        candidates.append(Candidate(saddle, sides))
    top, energy = _top(molecule, band)
    return Attempt(candidates, top, energy, calls, products)


def descend_sides(
    potential: Potential, coordinates: Coordinates, saddle: Saddle
) -> tuple[Descent, Descent]:
    """Descents from both sides of a saddle, along and against its mode."""
    push = saddle.mode * (PUSH_OFF / np.sqrt(np.max(np.sum(saddle.mode**2, axis=1))))
    starts = [saddle.positions + push, saddle.positions - push]
    ends = descend(potential, coordinates, starts, lanes=2, largest_step=CAREFUL_STEP)
    first, second = sorted(ends, key=lambda end: end.index)
    return first, second


def _in_pieces(molecule: Molecule, positions: np.ndarray) -> bool:
    """Whether a bond is broken there; stereo is judged at the minima on both sides."""
    return str(changes(molecule, positions).kind) in ("bonds", "dissociated", "not finite")


def _top(molecule: Molecule, band: Band) -> tuple[np.ndarray, float]:
    image = int(np.argmax(band.energies))
    top, energy = band.positions[image], float(band.energies[image])
    possible = np.isfinite(energy) and not _in_pieces(molecule, top)
    return top, energy if possible else np.nan
