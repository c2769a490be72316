"""The verb: from a molecule to its landscape.

Wires a searcher, the minimiser, the landscape and its store, then the search for transition
states. The rounds of a search are in `rounds`.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from topokrates.analysis.harmonics import own_potential
from topokrates.choice import model_for, unfit
from topokrates.defaults import AUTO, MODEL, QUENCHES, SEARCHER, WALKERS
from topokrates.identity.integrity import allowed_kinds
from topokrates.landscape import Landscape
from topokrates.model import models
from topokrates.model.errors import InputError
from topokrates.model.potential import Potential
from topokrates.model.progress import Progress, Silent
from topokrates.molecule import Molecule
from topokrates.pathways.connect import Connected, check_options, connect_minima
from topokrates.provenance import IMPORTED, model_of, refuse_other_potential
from topokrates.rounds import Search
from topokrates.search import configured, searcher_module
from topokrates.stopping import Rules


def explore(
    molecule: str | Molecule,
    *,
    model: str | models.ForceField = MODEL,
    searcher: str = SEARCHER,
    settings: Mapping[str, float] | None = None,
    walkers: int = WALKERS,
    quenches: int = QUENCHES,
    wall_time: float | None = None,
    stale: int | None = None,
    window: float | None = None,
    coverage: float | None = None,
    allow: Sequence[str] = (),
    seed: int = 0,
    database: str | PathLike[str] | None = None,
    connect: bool = True,
    attempts: int | None = None,
    saddles: int | None = None,
    long_range_cutoff: float | None = None,
    dtype: str = "float32",
    device: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Landscape:
    """Searches a molecule's minima and connects them by transition states.

    Args:
        molecule: a `Molecule`, or what `Molecule.from_text` reads: a peptide ("Ac-Ala-NHMe"),
            "smiles:...", a file, a cluster ("LJ13").
        model: a name that `models.load` knows, a weights file, or a force field; "auto" takes the
            one that the database was made with, else the one that fits the molecule.
        searcher: "basin-hopping", "parallel-tempering" or "minima-hopping".
        settings: parameters of the searcher that shall differ from its own choice for the
            molecule, {"temperature": 0.05}; see `Settings` of its module for names and units.
        walkers: searches side by side, in one batch.
        quenches: how many this search shall have made in all, earlier runs of the same search in
            the same database counted in.
        wall_time: seconds of search after which no new round begins.
        stale: ends the search when so many quenches in a row brought no new minimum.
        window: only new minima so little above the lowest count for that, kcal/mol (epsilon for
            clusters).
        coverage: ends the search when the estimated chance that a quench meets a known minimum
            reaches this share; see `topokrates.stopping`.
        allow: kinds of changed structures to keep: "stereo", "cis-trans", "bonds", "dissociated".
            What is not allowed is counted and left out.
        seed: of everything random. Searches differ by searcher, settings, seed and walkers.
        database: SQLite file, made if it does not exist; None keeps the landscape in memory.
        connect: search transition states afterwards until the graph hangs together.
        attempts: pairs of minima to try to connect, at most; None for four times the minima found.
        saddles: single-ended searches from each minimum, until so many in a row met nothing new;
            None for 800 for small clusters, which completes their networks, else none.
        long_range_cutoff, dtype, device, threads: see `models.load`.
        progress: who is told.

    Returns:
        The landscape, with everything found so far.

    Raises:
        InputError: for anything that cannot be used, before any work is done.
    """
    progress = progress or Silent()
    searcher_module(searcher)  # refuses a wrong name before any work
    if walkers < 1:
        raise InputError(f"{walkers} walkers: give at least 1")
    if window is not None and stale is None:
        raise InputError("an energy window says which minima count for stale: give stale too")
    reach = float("inf") if window is None else window
    rules = Rules(quenches, wall_time, stale, reach, coverage)
    rules.check()
    for value, word in ((attempts, "attempts"), (saddles, "saddles")):
        if value is not None and value < 0:
            raise InputError(f"{value} {word}: give at least 0")
    allowed_kinds(allow)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}: give a whole number from 0 to 2^63 - 1")
    if isinstance(molecule, str):
        molecule = Molecule.from_text(molecule)
    configured(searcher, molecule, settings)
    if model == AUTO and database is not None and _holds_something(Path(database)):
        with Landscape.open(database) as earlier:  # goes on with what it was made with
            if earlier.provenance["name"] != IMPORTED:
                model = model_of(earlier.provenance)
    potential = potential_of(
        molecule,
        model,
        long_range_cutoff=long_range_cutoff,
        dtype=dtype,
        device=device,
        threads=threads,
        progress=progress,
    )
    landscape = Landscape.create(molecule, potential.provenance(), database, allow=allow)
    for note in molecule.notes:
        progress.note(note)
    try:
        rules = rules._replace(window=reach / landscape.factor)
        search = Search(landscape, potential, searcher, walkers, seed, settings)
        reason = search.run(rules, progress)
        if reason is not None:
            progress.note(f"search ended: {reason}")
        if connect:
            connect_minima(landscape, potential, limit=attempts, saddles=saddles, progress=progress)
    except BaseException:
        landscape.close()
        raise
    return landscape


def _holds_something(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def potential_of(
    molecule: Molecule,
    model: str | models.ForceField = MODEL,
    *,
    long_range_cutoff: float | None = None,
    dtype: str = "float32",
    device: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Potential:
    """A model bound to a molecule; "auto" takes the one that fits, see `choice.model_for`.

    Raises:
        InputError: for a model that does not exist or does not know an element.
    """
    if isinstance(model, str):
        model = model_for(molecule, model)
        note = progress.note if progress else None
        if progress and (doubt := unfit(molecule, model)):
            progress.note(doubt)
        model = models.load(model, long_range_cutoff, dtype, device, threads, note)
    if molecule.is_cluster != (model.name == "LJ"):
        raise InputError(
            f"{molecule.name} with {model.name}: LJ is for clusters such as LJ13, and they for it"
        )
    return model.bind(molecule.numbers, molecule.charge, molecule.unpaired_electrons)


def connect(
    landscape: Landscape,
    potential: Potential | None = None,
    device: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Connected:
    """See `Landscape.connect`. Wrong options are refused before a potential is looked for."""
    check_options(landscape, **options)
    if potential is None:
        potential = own_potential(landscape, device=device, threads=threads, progress=progress)
    else:
        stored, given = landscape.provenance, potential.provenance()
        refuse_other_potential(landscape.store.path, stored, given)
    return connect_minima(landscape, potential, progress=progress, **options)
