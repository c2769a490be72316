"""How many verified transition states double-ended searches find per gradient call.

    python benchmarks/pathways.py --pele-python PYTHON --pairs 20 --ase-pairs 6

Each program gets the same pairs of minima and its own settings. LJ13 beside pele's double-ended
connect (which goes on between what it meets until a pair is joined; the package makes one attempt
for a pair). Ac-Ala-NHMe beside ASE: a nudged elastic band (improved tangents, IDPP path, 9 images,
FIRE to 0.5 eV/Å or 60 steps, then climbing to 0.05 or 200 steps), and the dimer method from its
highest image to 1e-3 eV/Å; the image counts too, if it is one, should the dimer leave it. What any
program calls a transition state goes through the same climb from where it is, the same proof by
the exact Hessian, and the same comparison of structures; that costs a peer nothing. Energies alone
count as gradients; Hessian-vector products are printed apart.
"""

import argparse
import sys
import time
from itertools import combinations
from typing import Any

import numpy as np

IMAGES, STEPS = 9, 500  # of ASE's bands; steps of its dimer
NEAR = 0.1  # Å or sigma


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--pele-python", metavar="PYTHON", help="of an environment with pele 0.1.2")
    add("--pairs", type=int, default=20, help="of LJ13, the nearest among its 15 lowest (20)")
    add("--ase-pairs", type=int, default=6, help="of Ac-Ala-NHMe, the nearest (6); 0 for none")
    add("--model", default="so3lr", help="of Ac-Ala-NHMe")
    return result


def main() -> None:
    options = parser().parse_args()
    import jax
    from limits import description, headline
    from tables import table

    print(headline(description(jax.devices()[0], 1)))
    rows = clusters(options) + (peptides(options) if options.ase_pairs else [])
    header = ["molecule", "program", "pairs", "transition states", "gradient calls",
              "Hessian-vector products", "calls each", "seconds"]  # fmt: skip
    print(table(header, rows))


def clusters(options: argparse.Namespace) -> list[list[Any]]:
    """LJ13: the package, and pele where there is one."""
    landscape, pairs = prepared("LJ13", None, 1000, 15, options.pairs)
    minima = [landscape.minimum(name) for pair in pairs for name in pair]
    unique = {m.id: k for k, m in enumerate({m.id: m for m in minima}.values())}
    listed = [(m.energy, m.positions.tolist()) for m in {m.id: m for m in minima}.values()]
    rows = []
    if options.pele_python:
        from peers.client import Pele

        with Pele(options.pele_python) as pele:
            said = pele.ask(
                "join", size=13, minima=listed, pairs=[(unique[a], unique[b]) for a, b in pairs]
            )
        found = distinct(room(landscape, None), [np.array(x) for x in said["transition_states"]])
        print(f"pele joined {said['joined']} pairs", file=sys.stderr)
        rows = [row(landscape, "pele 0.1.2", pairs, found, said["calls"], None, said["seconds"])]
    return [ours(landscape, pairs, None), *rows]


def peptides(options: argparse.Namespace) -> list[list[Any]]:
    """Ac-Ala-NHMe: the package and ASE."""
    landscape, pairs = prepared("Ac-Ala-NHMe", options.model, 120, 8, options.ase_pairs)
    return [ours(landscape, pairs, options.model), by_ase(landscape, pairs, options.model)]


def prepared(name: str, model: str | None, quenches: int, lowest: int, count: int) -> Any:
    """A landscape without links, and the nearest pairs of its lowest minima."""
    from topokrates import explore
    from topokrates.identity.matching import Matcher

    chosen = {} if model is None else {"model": model}
    landscape = explore(name, quenches=quenches, walkers=8, seed=0, connect=False, **chosen)
    matcher, low = Matcher(landscape.molecule), landscape.minimum_list[:lowest]
    pairs = [(a.id, b.id, matcher.rmsd(a.positions, b.positions)) for a, b in combinations(low, 2)]
    return landscape, [(a, b) for a, b, _ in sorted(pairs, key=lambda pair: pair[2])[:count]]


def room(landscape: Any, model: str | None) -> Any:
    """What attempts need."""
    from topokrates.exploration import potential_of
    from topokrates.identity.matching import Matcher
    from topokrates.model import models
    from topokrates.pathways.attempt import Room
    from topokrates.pathways.saddle import internal_hessian
    from topokrates.relaxation.internals import coordinates

    molecule = landscape.molecule
    potential = potential_of(molecule, models.load(model or "LJ"))
    frame = coordinates(molecule.bonds, molecule.positions)
    first = landscape.minimum(1).positions
    guide = internal_hessian(potential, frame, first)
    return Room(molecule, potential, frame, Matcher(molecule), guide=guide)


def ours(landscape: Any, pairs: list[tuple[int, int]], model: str | None) -> list[Any]:
    """One attempt of the package for each pair, all in one batch."""
    from topokrates.pathways.attempt import attempts

    place = room(landscape, model)
    began = time.perf_counter()
    ends = [(landscape.minimum(a), landscape.minimum(b), False) for a, b in pairs]
    found = attempts(place, ends)
    seconds = time.perf_counter() - began
    saddles = [candidate.saddle.positions for one in found for candidate in one.candidates]
    calls = sum(one.gradient_calls for one in found)
    products = sum(one.hessian_vector_products for one in found)
    return row(landscape, "topokrates", pairs, distinct(place, saddles), calls, products, seconds)


def by_ase(landscape: Any, pairs: list[tuple[int, int]], model: str) -> list[Any]:
    """ASE's band and dimer for each pair."""
    from ase import Atoms
    from ase.mep import NEB, DimerControl, MinModeAtoms, MinModeTranslate
    from ase.optimize import FIRE

    from topokrates.model import models
    from topokrates.model.ase import ForceFieldCalculator

    class Counted(ForceFieldCalculator):
        calls = 0

        def calculate(self, *arguments: Any, **keywords: Any) -> None:
            Counted.calls += 1
            super().calculate(*arguments, **keywords)

    place = room(landscape, model)
    field = models.load(model, dtype="float64")
    calculator, numbers, ends = Counted(field), landscape.molecule.numbers, []
    began = time.perf_counter()
    for a, b in pairs:
        first, last = (landscape.minimum(name).positions for name in (a, b))
        last = place.matcher.align(first, last, keep_handedness=True)
        images = [Atoms(numbers, x) for x in [first] * (IMAGES + 1) + [last]]
        for image in images:
            image.calc = calculator
        band = NEB(images, k=0.1, method="improvedtangent", allow_shared_calculator=True)
        band.interpolate("idpp")
        FIRE(band, logfile=None).run(fmax=0.5, steps=60)
        band.climb = True
        FIRE(band, logfile=None).run(fmax=0.05, steps=200)
        energies = [image.get_potential_energy() for image in images]
        top = int(np.argmax(energies[1:-1])) + 1
        tangent = images[top + 1].positions - images[top - 1].positions
        ends.append(images[top].positions.copy())
        with DimerControl(logfile=None, eigenmode_logfile=None, max_num_rot=10) as control:
            climber = MinModeAtoms(images[top], control, eigenmodes=[tangent])
            MinModeTranslate(climber, logfile=None).run(fmax=1e-3, steps=STEPS)
        ends.append(images[top].positions.copy())
        print(f"ASE {a}-{b}: {Counted.calls} calls", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - began
    return row(landscape, "ASE", pairs, distinct(place, ends), Counted.calls, None, seconds)


def distinct(place: Any, structures: list[np.ndarray]) -> int:
    """How many different first-order saddle points these are, or are next to."""
    from topokrates.pathways.saddle import find_saddles

    modes = [np.zeros_like(x) for x in structures]
    known: list[Any] = []
    for start, saddle in zip(
        structures, find_saddles(place.potential, place.coordinates, structures, modes), strict=True
    ):
        # what climbs on from where a program stopped was not found by it
        near = place.matcher.rmsd(start, saddle.positions) < NEAR
        if saddle.negative_eigenvalues == 1 and near:
            same = any(place.matcher.same(saddle.positions, other) for other in known)
            known += [] if same else [saddle.positions]
    return len(known)


def row(
    landscape: Any, program: str, pairs: Any, states: int, calls: int, products: Any, seconds: float
) -> list[Any]:
    name = landscape.molecule.name
    each = round(calls / max(states, 1))
    return [name, program, len(pairs), states, calls, products or "", each, round(seconds, 1)]


if __name__ == "__main__":
    main()
