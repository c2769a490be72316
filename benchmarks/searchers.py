"""How many true minima a search finds per gradient call, beside ASE's minima hopping.

    python benchmarks/searchers.py --molecule Ac-Ala3-NHMe --model so3lr --quenches 500 --work DIR

Each searcher of the package makes its quenches. ASE's minima hopping may then call for as many
gradients as the search did: its defaults, or with --mdmin a dynamics that passes more minima, and
with --superpose a comparison that a molecule's rotation does not mislead (without it, ASE takes
every structure for a new one and cools down until it no longer escapes); the same start, the same
potential by a calculator. What the Hessians of certificates cost is printed
apart, and ASE's structures get theirs for nothing. The end of every quench that ASE makes counts,
accepted or not. Both sets go through the same descent, the same check of the molecule, the same
certificate and the same comparison of structures; what is left are distinct true minima of the
molecule. Databases stay in DIR, and what is there already is not computed again.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def parser() -> argparse.ArgumentParser:
    text, _, details = (__doc__ or "").partition("\n\n")
    result = argparse.ArgumentParser(
        description=text, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--molecule", default="Ac-Ala3-NHMe")
    add("--model", default="so3lr")
    add("--searchers", nargs="+", default=["basin-hopping", "minima-hopping"], metavar="NAME")
    add("--quenches", type=int, default=500, help="of each searcher (500)")
    add("--walkers", type=int, default=10)
    add("--seed", type=int, default=0)
    add("--no-peer", action="store_true", help="leave ASE out")
    add("--superpose", action="store_true", help="ASE compares structures after superposition")
    add("--mdmin", type=int, default=2, help="minima that ASE's dynamics passes (2, its default)")
    add("--peer-calls", type=int, help="of ASE, if fewer than the searches took")
    add("--work", type=Path, metavar="DIR", help="where databases and ASE's structures stay")
    add("--json", type=Path, metavar="PATH", help="write all results there too")
    return result


def main() -> None:
    options = parser().parse_args()
    import jax
    from limits import description, headline
    from tables import save, table

    from topokrates.exploration import potential_of
    from topokrates.model import models
    from topokrates.molecule import Molecule

    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    molecule = Molecule.from_text(options.molecule)
    force_field = models.load(options.model)
    potential = potential_of(molecule, force_field)
    print(headline(description(jax.devices()[0], 1)))
    runs: list[dict[str, Any]] = []
    for name in options.searchers:
        runs.append(search(name, molecule, force_field, options, work))
        print(f"{name}: {runs[-1]['minima']} minima", file=sys.stderr, flush=True)
    if not options.no_peer:
        budget = max(run["gradient_calls"] for run in runs)
        kind = "superposed" if options.superpose else "plain"
        path = work / f"ase-{kind}-mdmin{options.mdmin}-{options.seed}.npz"
        if not path.exists():
            budget = min(budget, options.peer_calls or budget)
            hop(molecule, force_field, budget, options, path)
        for run in list(runs):
            runs.append(peer(run, path, molecule, potential, work))
    shared = overlap([run for run in runs if "database" in run])
    save({"runs": runs, "overlap": shared}, options.json)
    header = ["search", "quenches", "gradient calls", "Hessian-vector products",
              "distinct minima", "calls/minimum", "coverage", "seconds"]  # fmt: skip
    rows = [
        [
            run["search"],
            str(run["quenches"]),
            f"{run['gradient_calls']:,}",
            f"{run['hessian_vector_products']:,}",
            str(run["minima"]),
            f"{run['gradient_calls'] / max(run['minima'], 1):.0f}",
            f"{100 * run['coverage']:.0f} %" if "coverage" in run else "",
            f"{run['seconds']:.0f}",
        ]
        for run in runs
    ]
    print(table(header, rows))
    print(json.dumps(shared, indent=1))


def search(
    name: str, molecule: Any, force_field: Any, options: argparse.Namespace, work: Path
) -> dict[str, Any]:
    """A search of the package, to its number of quenches."""
    from topokrates.cli import terminal
    from topokrates.exploration import explore

    path, began = work / f"{name}-{options.seed}.db", time.perf_counter()
    with terminal.progress() as progress, explore(
        molecule,
        model=force_field,
        searcher=name,
        quenches=options.quenches,
        walkers=options.walkers,
        seed=options.seed,
        database=path,
        connect=False,
        progress=progress,
    ) as landscape:  # fmt: skip
        record = landscape.to_dict()["searches"][-1]
        return {
            "search": name,
            "database": str(path),
            "quenches": record["quenches_done"],
            "gradient_calls": record["gradient_calls"],
            "hessian_vector_products": record["hessian_vector_products"],
            "minima": len(landscape),
            "coverage": record["coverage"],
            "unseen": record["unseen_minima"],
            "outcomes": record["outcomes"],
            "lowest": landscape.minimum_list[0].energy,
            "seconds": time.perf_counter() - began,
        }


class Enough(Exception):
    """The budget of gradient calls is used up."""


class Superposed:
    """ASE's comparison of positions, after the best rotation: a molecule in vacuum turns."""

    def __init__(self, translate: bool = True):
        pass

    def __call__(self, one: Any, other: Any) -> float:
        from topokrates.pathways.interpolate import superimposed

        moved = superimposed(one.positions, other.positions)
        return float(np.linalg.norm(moved - other.positions, axis=1).max())


def hop(
    molecule: Any, force_field: Any, budget: int, options: argparse.Namespace, path: Path
) -> None:
    """ASE's minima hopping; writes the end of every quench and the calls made until then."""
    from ase.optimize import QuasiNewton, minimahopping

    from topokrates.model.ase import ForceFieldCalculator

    spent, ends, counts = 0, [], []

    class Counted(ForceFieldCalculator):
        def calculate(self, *arguments: Any, **keywords: Any) -> None:
            nonlocal spent
            if spent >= budget:
                raise Enough
            super().calculate(*arguments, **keywords)
            spent += 1

    class Noted(QuasiNewton):
        def run(self, *arguments: Any, **keywords: Any) -> Any:
            done = super().run(*arguments, **keywords)
            ends.append(self.optimizable.atoms.positions.copy())  # pyright: ignore
            counts.append(spent)
            return done

    if options.superpose:
        minimahopping.ComparePositions = Superposed
    np.random.seed(options.seed)  # noqa: NPY002 - ASE draws velocities from numpy's own
    atoms = molecule.atoms()
    atoms.calc = Counted(force_field)
    here, began = Path.cwd(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            search = minimahopping.MinimaHopping(atoms, optimizer=Noted, mdmin=options.mdmin)
            search(totalsteps=1_000_000)
        except Enough:
            pass
        finally:
            os.chdir(here)
    np.savez(path, ends=ends, counts=counts, seconds=time.perf_counter() - began)
    print(f"ASE: {len(ends)} quenches, {spent} calls", file=sys.stderr, flush=True)


def peer(run: dict[str, Any], path: Path, molecule: Any, potential: Any, work: Path):
    """What ASE's quenches within the calls of a search come to."""
    from topokrates.landscape import Landscape
    from topokrates.quench import Quencher

    with np.load(path) as data:
        ends, counts, seconds = data["ends"], data["counts"], float(data["seconds"])
    within = counts <= run["gradient_calls"]
    database = work / f"{path.stem}-{run['search']}.db"
    database.unlink(missing_ok=True)
    landscape = Landscape.create(molecule, potential.provenance(), database)
    quencher, outcomes = Quencher(landscape, potential), {}
    for descent in quencher.descend(list(ends[within]), lanes=8):
        settled = quencher.settle(descent.positions, descent.energy, descent.status)
        outcomes[settled.outcome] = outcomes.get(settled.outcome, 0) + 1
    with landscape:
        return {
            "search": f"ASE, calls of {run['search']}",
            "database": str(database),
            "quenches": int(within.sum()),
            "gradient_calls": int(counts[within].max()),
            "hessian_vector_products": 0,
            "minima": len(landscape),
            "outcomes": outcomes,
            "lowest": landscape.minimum_list[0].energy,
            "ratio": run["minima"] / len(landscape),
            "seconds": seconds * float(counts[within].max() / counts.max()),
        }


def overlap(runs: list[dict[str, Any]]) -> dict[str, int]:
    """How many minima each two searches share."""
    from topokrates.landscape import Landscape
    from topokrates.storage.records import located

    found = {}
    for k, one in enumerate(runs):
        for other in runs[k + 1 :]:
            with Landscape.open(one["database"]) as a, Landscape.open(other["database"]) as b:
                known = [a.find(m.energy, located(m)) for m in b.minimum_list]
            shared = len({name for name in known if name is not None})
            found[f"{one['search']} and {other['search']}"] = shared
    return found


if __name__ == "__main__":
    main()
