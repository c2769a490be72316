"""Basin hopping in parallel tempering: walkers at several temperatures exchange their minima.

Hot walkers cross what cold ones cannot, and cold ones search what hot ones have found. The ladder
of temperatures is geometric; after each step neighbours on it exchange their minima with the
probability that keeps each at its temperature, min(1, exp((1/T - 1/T')(E - E'))), even and odd
pairs in turn (Strodel, Lee, Whittleston and Wales, J. Am. Chem. Soc. 132, 13300 (2010)). The size
of the moves belongs to the temperature and is not exchanged.
"""

import numpy as np

from topokrates.molecule import Molecule
from topokrates.search import basin_hopping
from topokrates.search.basin_hopping import Info, Settings, State, init, propose, temperatures
from topokrates.search.state import Outcome, generator

__all__ = ["Info", "Settings", "State", "exchanged", "init", "propose", "settings", "step"]


def settings(molecule: Molecule) -> Settings:
    """Basin hopping's, from half its temperature (clusters) or a third of it to twice as much."""
    usual = basin_hopping.settings(molecule)
    share = 0.5 if molecule.is_cluster else 0.3
    return usual._replace(temperature=share * usual.temperature, hottest=2 * usual.temperature)


def step(
    settings: Settings, state: State, outcome: Outcome, seed: int, step: int
) -> tuple[State, Info]:
    """The walkers after their quenches and exchanges."""
    state, info = basin_hopping.step(settings, state, outcome, seed, step)
    return exchanged(settings, state, seed, step), info


def exchanged(settings: Settings, state: State, seed: int, step: int) -> State:
    """The walkers after neighbours on the ladder have exchanged what chance and energy allow."""
    walkers = len(state.energies)
    inverse = 1 / temperatures(settings, walkers)
    order = np.arange(walkers)
    for low in range(step % 2, walkers - 1, 2):
        if min(state.minima[low], state.minima[low + 1]) < 0:
            continue
        gain = (inverse[low] - inverse[low + 1]) * (state.energies[low] - state.energies[low + 1])
        # streams after those of the moves and of the decisions
        if generator(seed, 2 * walkers + low, step).random() < np.exp(min(0.0, gain)):
            order[[low, low + 1]] = low + 1, low
    carried = ("positions", "energies", "minima", "lowest", "bottoms", "idle")
    return state._replace(**{name: getattr(state, name)[order] for name in carried})
