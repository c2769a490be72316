"""The vibrations of a landscape's structures: computed once, kept in its database.

A landscape holds structures; their vibrations come from the potential that it was made with, one
float64 Hessian each, and are stored one by one, so that what was computed is never computed again.
Only verified links take part: an estimate has no harmonic mode to leave by.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from topokrates.analysis.point_group import PointGroup, point_group
from topokrates.analysis.vibrations import Vibrations, vibrations
from topokrates.links import LINK_ENERGY_TOLERANCE
from topokrates.model.errors import InputError
from topokrates.model.progress import Progress, Silent
from topokrates.provenance import IMPORTED, model_of, refuse_other_potential
from topokrates.storage.records import Link, Minimum, VibrationRecord, located

if TYPE_CHECKING:
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
    potential: Potential | None = None,
    *,
    links: bool = True,
    progress: Progress | None = None,
) -> Harmonics:
    """Vibrations and point groups of all minima and verified links.

    What the database lacks is computed, a Hessian for each, and stored at once.

    Args:
        landscape: with positions of every structure whose frequencies are not stored.
        potential: the one that the landscape was made with, in any precision; None finds it by
            its name (`own_potential`), and only if something is lacking.
        links: whether those of transition states are wanted.
        progress: told about each structure.

    Raises:
        InputError: for another potential, a structure without positions, or one that has another
            number of imaginary frequencies than it should.
    """
    progress = progress or Silent()
    if potential is not None:
        refuse_other_potential(landscape.store.path, landscape.provenance, potential.provenance())
    minima, all_links = landscape.contents()
    rows: list[Minimum | Link] = [*minima]
    if links:
        rows += [link for link in all_links if link.verified]
    known = landscape.store.vibrations()
    lacking = [row for row in rows if _key(row) not in known]
    for row in lacking:
        located(row)  # before any work is done
    if lacking:
        if potential is None:
            potential = own_potential(landscape, dtype="float64", progress=progress)
        potential = potential.with_dtype("float64")
        progress.stage("frequencies", len(lacking))
        for done, row in enumerate(lacking, 1):
            known[_key(row)] = record = _computed(landscape, potential, row)
            landscape.store.save_vibration(record)
            progress.advance(done)
    found = Harmonics()
    for row in rows:
        record = known[_key(row)]
        group = PointGroup(record.symbol, record.group_order, record.number, record.chiral)
        harmonic = Harmonic(
            Vibrations(record.frequencies, record.moments),
            group,
            group.chiral and _has_image(landscape, row, all_links),
        )
        (found.links if isinstance(row, Link) else found.minima)[row.id] = harmonic
    return found


def own_potential(
    landscape: Landscape,
    model: str | None = None,
    *,
    dtype: str = "float32",
    device: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Potential:
    """The potential that a landscape was made with, found by its name.

    Args:
        landscape: its provenance says name and settings.
        model: the name or file to load instead, where the name alone does not lead to it.
        dtype, device, threads, progress: as of `topokrates.exploration.potential_of`.

    Raises:
        InputError: if the landscape was imported from where no potential is known, if the model is
            not found, or if what is found is another one.
    """
    from topokrates.exploration import potential_of

    stored, path = landscape.provenance, landscape.store.path
    if stored["name"] == IMPORTED:
        raise InputError(
            f"{path or 'the landscape'} was imported from {stored.get('source')}"
            f" ({stored.get('format')}), and which potential it is of is not known: nothing can be"
            " computed in it"
        )
    try:
        potential = potential_of(
            landscape.molecule,
            model or model_of(stored),
            long_range_cutoff=stored.get("long_range_cutoff"),
            dtype=dtype,
            device=device,
            threads=threads,
            progress=progress,
        )
    except InputError as error:
        if model is not None:
            raise
        raise InputError(
            f"{path or 'the landscape'} was made with {stored['name']}, which cannot be loaded"
            f" ({error}): name the model, or give its potential"
        ) from error
    refuse_other_potential(path, stored, potential.provenance())
    return potential


def _key(row: Minimum | Link) -> tuple[str, int]:
    return ("link" if isinstance(row, Link) else "minimum", row.id)


def _computed(landscape: Landscape, potential: Potential, row: Minimum | Link) -> VibrationRecord:
    kind, name = _key(row)
    numbers, x = landscape.molecule.numbers, located(row)
    modes = vibrations(potential.hessians(x[None])[0], x, numbers, landscape.energy_unit)
    expected = int(kind == "link")
    if modes.imaginary != expected:
        raise InputError(
            f"{kind} {name} has {modes.imaginary} imaginary frequencies, not {expected}"
        )
    return VibrationRecord(kind, name, *modes, *point_group(numbers, x))


def _has_image(landscape: Landscape, row: Minimum | Link, links: list[Link]) -> bool:
    """Whether the mirror image of a chiral structure is stored as another one."""
    if landscape.molecule.is_cluster or landscape.molecule.stereocentres or row.positions is None:
        return False  # lumped with it, another molecule, or not to be told
    image = -row.positions
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
