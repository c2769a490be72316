"""First encounters: how many quenches walkers of basin hopping make until they meet a minimum.

Each walker has a start of its own. First encounters are distributed exponentially, so the mean of n
of them is known to 1 / sqrt(n): the interval is the exact one of that distribution (chi-squared),
and walkers that met nothing within the limit count with the quenches that they made. Here for the
global minima of Lennard-Jones clusters: Wales and Doye, J. Phys. Chem. A 101, 5111 (1997).
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from peers.client import Pele

# Cambridge Cluster Database, epsilon
LOWEST = {
    4: -6.0, 5: -9.103852, 6: -12.712062, 7: -16.505384, 8: -19.821489, 9: -24.113360,
    10: -28.422532, 11: -32.765970, 12: -37.967600, 13: -44.326801, 14: -47.845157,
    15: -52.322627, 16: -56.815742, 17: -61.317995, 18: -66.530949, 19: -72.659782,
    20: -77.177043, 21: -81.684571, 22: -86.809782, 23: -92.844472, 24: -97.348815,
    25: -102.372663, 26: -108.315616, 27: -112.873584, 28: -117.822402, 29: -123.587371,
    30: -128.286571, 31: -133.586422, 32: -139.635524, 33: -144.842719, 34: -150.044528,
    35: -155.756643, 36: -161.825363, 37: -167.033672, 38: -173.928427,
}  # fmt: skip
NEAR = 1e-4  # epsilon
LANES = 32


def summary(
    encounters: Sequence[int], spent: Sequence[int], calls: int, seconds: float
) -> dict[str, Any]:
    """What the walkers of one program came to.

    Args:
        encounters: number of the quench at which each walker met the minimum, 0 for never.
        spent: quenches of each walker.
        calls: energies (with gradients) of all walkers together.
        seconds: of all walkers together, in one process.
    """
    from scipy.stats import chi2

    found = sum(met > 0 for met in encounters)
    total = sum(spent)
    events = max(found, 1)  # none at all: a lower bound, and no upper one
    high = 2 * total / chi2.ppf(0.025, 2 * events) if found else float("inf")
    return {
        "found": found,
        "mean": total / events,
        "interval": (2 * total / chi2.ppf(0.975, 2 * events), high),
        "median": float(np.median(spent)),
        "calls": calls / total,
        "milliseconds": 1e3 * seconds / total,
        "seconds": seconds,
        "encounters": list(encounters),
        "spent": list(spent),
    }


def of_ours(
    size: int, walkers: int, limit: int, seed: int, shares: dict[str, float]
) -> dict[str, Any]:
    """The package's own moves, minimiser and Metropolis rule, all walkers side by side.

    Without the store and without certificates, which change nothing of a walk. `shares` are those
    settings of the search that are not left as they are.
    """
    from topokrates.identity.integrity import changes
    from topokrates.model.analytic import LennardJones
    from topokrates.molecule import Molecule
    from topokrates.relaxation.internals import coordinates
    from topokrates.relaxation.relax import Status, descend
    from topokrates.search import basin_hopping as search
    from topokrates.search.state import Outcome

    molecule = Molecule.from_text(f"LJ{size}")
    potential = LennardJones().bind(molecule.numbers)
    frame = coordinates(molecule.bonds, molecule.positions)
    settings = search.settings(molecule)._replace(**shares)
    state = search.init(settings, molecule, walkers)
    met, spent = np.zeros(walkers, int), np.zeros(walkers, int)
    calls, began = 0, time.perf_counter()
    for step in range(limit):
        active = [walker for walker in range(walkers) if not met[walker]]
        if not active:
            break
        starts, _ = search.propose(settings, state, molecule, potential, seed, step, active)
        outcome = Outcome(
            np.zeros((walkers, size, 3)),
            np.full(walkers, np.inf),
            np.full(walkers, -1),
            np.zeros(walkers, int),
        )
        for end in descend(potential, frame, starts, lanes=LANES):
            walker = active[end.index]
            spent[walker], calls = step + 1, calls + end.gradient_calls
            if end.status is Status.CONVERGED and not changes(molecule, end.positions):
                outcome.positions[walker], outcome.energies[walker] = end.positions, end.energy
                outcome.minima[walker] = 0
                if end.energy < LOWEST[size] + NEAR:
                    met[walker] = step + 1
        state, _ = search.step(settings, state, outcome, seed, step)
    return summary(met.tolist(), spent.tolist(), calls, time.perf_counter() - began)


def of_pele(peer: Pele, size: int, walkers: int, limit: int, seed: int) -> dict[str, Any]:
    """pele's, one walker after the other, with seeds of their own from `seed` on.

    Raises `PeerError` where pele fails.
    """
    target = LOWEST[size] + NEAR
    walks = [
        peer.ask("walk", size=size, seed=seed + walker, target=target, limit=limit)
        for walker in range(walkers)
    ]
    if wrong := [walk["energy"] for walk in walks if walk["energy"] < LOWEST[size] - NEAR]:
        raise RuntimeError(f"LJ{size}: pele went to {wrong[0]}, below the global minimum")
    return summary(
        [walk["met"] for walk in walks],
        [walk["quenches"] for walk in walks],
        sum(walk["calls"] for walk in walks),
        sum(walk["seconds"] for walk in walks),
    )
