"""Landscapes of one molecule, judged by a reference that is too slow to explore with.

    PYTHONPATH=benchmarks/peptide python benchmarks/teacher.py --reference ase:aiqm2:AIQM2 \\
        landscapes/Ac-Ala-NHMe-*.db

The minima of all landscapes, or the lowest of each, are relaxed on the reference and certified
there; what they become are the reference's minima. With --climbs, the lowest transition states of
each are climbed to on the reference as well. Each landscape is then compared with what that gives:
how many minima it has, how many it invents, and errors of relative energies and of barriers. With
--database, the same command again, or one with more landscapes, does what is missing.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ALIKE = 0.1  # Å: of starts that lie so close one is enough
TOGETHER = 4  # climbs side by side


def part(path: Path, most: int | None) -> Any:
    """The landscape of a database, with so many of its lowest minima alone."""
    from topokrates import Landscape

    whole = Landscape.open(path)
    lowest = Landscape.create(whole.molecule, whole.provenance, matcher=whole.matcher)
    minima = whole.minimum_list[:most]
    kept = {minimum.id for minimum in minima}
    lowest.store.fill(minima, [link for link in whole.link_list if kept.issuperset(link.minima)])
    return lowest


class Reference:
    """The landscape of the reference, and the structures that were tried on it."""

    def __init__(self, landscape: Any, model: str, database: Path | None, progress: Any):
        from topokrates import Landscape
        from topokrates.exploration import potential_of
        from topokrates.pathways.connector import Connector
        from topokrates.quench import Quencher

        potential = potential_of(landscape.molecule, model)
        description = potential.provenance()
        self.found = Landscape.create(
            landscape.molecule, description, database, matcher=landscape.matcher
        )
        self.quencher = Quencher(self.found, potential)
        self.connector = Connector(self.found, potential)
        self.progress = progress
        self.file = database.with_suffix(".tried.npz") if database else None
        self.tried: dict[str, list[np.ndarray]] = {"minima": [], "saddles": []}
        if self.file and self.file.exists():
            with np.load(self.file) as kept:
                self.tried = {kind: list(kept[kind]) for kind in self.tried}

    def relax(self, structures: Iterable[np.ndarray]) -> None:
        """Relaxes what is unlike all that was tried, and adds the minima that it becomes."""
        starts, outcomes = list(self._new("minima", structures)), Counter[str]()
        self.progress.stage("reference", len(starts))
        for count, x in enumerate(starts):
            (end,) = self.quencher.descend([x], lanes=1)
            outcomes[self.quencher.settle(end.positions, end.energy, end.status).outcome] += 1
            self._keep("minima", [x])
            self.progress.advance(count + 1, f"{len(self.found)} minima")
        print(f"{len(starts)} starts: {dict(outcomes)}; {self.found.summary()}", flush=True)

    def climb(self, structures: Iterable[np.ndarray]) -> None:
        """Climbs from what is unlike all that was tried, and adds verified transition states."""
        starts = list(self._new("saddles", structures))
        self.progress.stage("climb", len(starts))
        for first in range(0, len(starts), TOGETHER):
            chosen = starts[first : first + TOGETHER]
            self.connector.climb_from(chosen)
            self._keep("saddles", chosen)
            self.progress.advance(first + len(chosen), self.found.summary())
        print(f"{len(starts)} climbs: {self.found.summary()}", flush=True)

    def _new(self, kind: str, structures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        seen = list(self.tried[kind])
        for x in structures:
            if not any(self.found.matcher.rmsd(x, other) < ALIKE for other in seen):
                seen.append(x)
                yield x

    def _keep(self, kind: str, structures: list[np.ndarray]) -> None:
        self.tried[kind] += structures
        if self.file:
            blank = np.zeros((0, *structures[0].shape))
            np.savez(self.file, **{k: np.array(v) if v else blank for k, v in self.tried.items()})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("landscapes", nargs="+", type=Path, help="databases of one molecule")
    parser.add_argument("--reference", default="ase:aiqm2:AIQM2", help="a model, as for explore")
    parser.add_argument("--most", type=int, help="so many of the lowest minima of each")
    parser.add_argument("--climbs", type=int, default=0, help="so many transition states of each")
    parser.add_argument("--database", type=Path, help="where the reference's landscape is kept")
    options = parser.parse_args()

    from topokrates import InputError
    from topokrates.cli import terminal
    from topokrates.provenance import refuse_other_molecule
    from topokrates.storage.records import located

    begin = time.perf_counter()
    landscapes = [part(path, options.most) for path in options.landscapes]
    ours = landscapes[0].molecule.to_json()
    for path, landscape in zip(options.landscapes, landscapes, strict=True):
        try:  # before the work of hours
            refuse_other_molecule(path, landscape.molecule.to_json(), ours)
        except InputError as error:
            parser.error(str(error))
    with terminal.progress() as progress:
        reference = Reference(landscapes[0], options.reference, options.database, progress)
        reference.relax(located(m) for each in landscapes for m in each.minimum_list)
        if options.climbs:
            verified = [[x for x in each.link_list if x.verified] for each in landscapes]
            lowest = [sorted(links, key=lambda link: link.energy) for links in verified]
            reference.climb(located(x) for links in lowest for x in links[: options.climbs])
    for path, landscape in zip(options.landscapes, landscapes, strict=True):
        print(f"{path.stem}: {reference.found.compare(landscape)}", flush=True)
    print(f"{time.perf_counter() - begin:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
