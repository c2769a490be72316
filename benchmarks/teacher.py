"""Landscapes of one molecule, judged by a reference that is too slow to explore with.

    PYTHONPATH=benchmarks/peptide python benchmarks/teacher.py --reference ase:aiqm2:AIQM2 \\
        landscapes/Ac-Ala-NHMe-*.db

The minima of all landscapes, or the lowest of each, are relaxed on the reference and certified
there; what they become are the reference's minima. With --climbs, the lowest transition states of
each are climbed to on the reference as well. Each landscape is then compared with what that gives:
how many minima it has, how many it invents, and errors of relative energies and of barriers.
"""

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ALIKE = 0.1  # Å: of starts that lie so close one is enough


def lowest(path: Path, most: int | None) -> Any:
    """The landscape of a database, with so many of its lowest minima alone."""
    from topokrates import Landscape

    whole = Landscape.open(path)
    part = Landscape.create(whole.molecule, whole.provenance, matcher=whole.matcher)
    minima = whole.minimum_list[:most]
    kept = {minimum.id for minimum in minima}
    part.store.fill(minima, [link for link in whole.link_list if kept.issuperset(link.minima)])
    return part


def relaxed(landscapes: list[Any], reference: str, database: Path | None, progress: Any) -> Any:
    """The landscape of what the minima become on the reference."""
    from topokrates import Landscape
    from topokrates.exploration import potential_of
    from topokrates.quench import Quencher

    first = landscapes[0]
    starts: list[np.ndarray] = []
    for landscape in landscapes:
        for minimum in landscape.minimum_list:
            x = minimum.positions
            if not any(first.matcher.rmsd(x, other) < ALIKE for other in starts):
                starts.append(x)
    potential = potential_of(first.molecule, reference)
    found = Landscape.create(first.molecule, potential.provenance(), database, first.matcher)
    quencher, outcomes = Quencher(found, potential), Counter()
    progress.stage("reference", len(starts))
    for count, end in enumerate(quencher.descend(starts, lanes=1)):
        outcomes[quencher.settle(end.positions, end.energy, end.status).outcome] += 1
        progress.advance(count + 1, f"{len(found)} minima")
    print(f"{len(starts)} starts on {reference}: {dict(outcomes)}", flush=True)
    return found


def climbed(
    landscapes: list[Any], paths: list[Path], found: Any, reference: str, most: int, progress: Any
) -> None:
    """Adds what the lowest transition states of each landscape become on the reference."""
    from topokrates import Landscape
    from topokrates.exploration import potential_of
    from topokrates.pathways.connector import Connector
    from topokrates.storage.records import located

    guesses: list[np.ndarray] = []
    for path in paths:
        links = [link for link in Landscape.open(path).link_list if link.verified]
        for link in sorted(links, key=lambda link: link.energy)[:most]:
            x = located(link)
            if not any(found.matcher.rmsd(x, other) < ALIKE for other in guesses):
                guesses.append(x)
    potential = potential_of(landscapes[0].molecule, reference)
    Connector(found, potential, batch=4).climb_from(guesses, progress)
    print(f"{len(guesses)} climbs: {found.summary()}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("landscapes", nargs="+", type=Path, help="databases of one molecule")
    parser.add_argument("--reference", default="ase:aiqm2:AIQM2", help="a model, as for explore")
    parser.add_argument("--most", type=int, help="so many of the lowest minima of each")
    parser.add_argument("--climbs", type=int, help="from so many transition states of each")
    parser.add_argument("--database", type=Path, help="where the reference's minima are kept")
    options = parser.parse_args()

    from topokrates import InputError
    from topokrates.cli import terminal
    from topokrates.provenance import refuse_other_molecule

    begin = time.perf_counter()
    landscapes = [lowest(path, options.most) for path in options.landscapes]
    ours = landscapes[0].molecule.to_json()
    for path, landscape in zip(options.landscapes, landscapes, strict=True):
        try:  # before the work of hours
            refuse_other_molecule(path, landscape.molecule.to_json(), ours)
        except InputError as error:
            parser.error(str(error))
    with terminal.progress() as progress:
        reference = relaxed(landscapes, options.reference, options.database, progress)
        if options.climbs:
            climbed(
                landscapes,
                options.landscapes,
                reference,
                options.reference,
                options.climbs,
                progress,
            )
    for path, landscape in zip(options.landscapes, landscapes, strict=True):
        print(f"{path.stem}: {reference.compare(landscape)}", flush=True)
    print(f"{time.perf_counter() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
