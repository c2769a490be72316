"""Basin hopping (Wales and Doye, J. Phys. Chem. A 101, 5111 (1997)).

Each walker moves its minimum at random, quenches, and takes the new minimum by Metropolis's rule
at a temperature. The size of the move follows the acceptance of the walker. Walkers share nothing
but the landscape: several chains from different starts forget a bad start faster than one.
"""

from typing import NamedTuple

import numpy as np

from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.search import cluster_moves, moves
from topokrates.search.state import Outcome, generator

ADAPTATION = 1.05  # factor on the move after each step


class Settings(NamedTuple):
    """Parameters; energies and lengths in the units of the potential, angles in radians.

    Attributes:
        temperature: k_B T of the Metropolis rule.
        move: first size of a move.
        smallest, largest: its bounds.
        acceptance: what the size of the move is adapted to.
        surface, symmetry: shares of a cluster's moves that put its worst placed particles
            elsewhere, and that bring it nearer to a symmetry; the others displace everything.
    """

    temperature: float
    move: float
    smallest: float
    largest: float
    acceptance: float
    surface: float = 0.0
    symmetry: float = 0.0


class State(NamedTuple):
    """Where the walkers are: positions (W, N, 3), energies (W,), move (W,), minima (W,) ids."""

    positions: np.ndarray
    energies: np.ndarray
    move: np.ndarray
    minima: np.ndarray


class Info(NamedTuple):
    """What a step did: accepted (W,) bool; the size of the moves (W,)."""

    accepted: np.ndarray
    move: np.ndarray


def settings(molecule: Molecule) -> Settings:
    """For clusters the values of Wales and Doye; molecules turn by up to half a circle.

    A peptide's walkers run at k_B T = 0.1 eV (1160 K), so that minima up to 10 kcal/mol are seen.
    """
    if molecule.is_cluster:
        return Settings(0.8, 0.4, 0.1, 1.0, 0.5, surface=0.1, symmetry=0.2)
    return Settings(0.1, 2 * np.pi / 3, np.pi / 6, np.pi, 0.5)


def init(settings: Settings, molecule: Molecule, walkers: int) -> State:
    """No walker is anywhere yet; the first proposals are the starts."""
    return State(
        np.zeros((walkers, molecule.n_atoms, 3)),
        np.full(walkers, np.inf),
        np.full(walkers, settings.move),
        np.full(walkers, -1),
    )


def propose(
    settings: Settings,
    state: State,
    molecule: Molecule,
    potential: Potential,
    seed: int,
    step: int,
    walkers: list[int],
) -> tuple[np.ndarray, np.ndarray]:
    """Structures to quench for some walkers, (W, N, 3), and gradient calls spent on each (none)."""
    proposals = []
    for walker in walkers:
        rng = generator(seed, walker, step)
        if state.minima[walker] < 0:
            # walker 0 tries the structure that was given, once
            proposals.append(moves.start(molecule, rng, walker if step == 0 else walker + 1))
        elif molecule.is_cluster:
            size, positions = state.move[walker], state.positions[walker]
            kind = _kind(settings, rng.random())
            if kind == "surface":
                proposals.append(cluster_moves.resurfaced(positions, rng))
            elif kind == "symmetry":
                proposals.append(cluster_moves.symmetrised(positions, rng))
            else:
                proposals.append(cluster_moves.displaced(positions, rng, size))
        else:
            size, positions = state.move[walker], state.positions[walker]
            proposals.append(moves.dihedral_move(molecule, positions, rng, size))
    return np.stack(proposals), np.zeros(len(walkers), int)


def step(
    settings: Settings, state: State, outcome: Outcome, seed: int, step: int
) -> tuple[State, Info]:
    """The walkers after their quenches."""
    walkers = len(state.energies)
    # a stream of its own: walker + W, so that no number is used for a move and a decision
    chance = np.array([generator(seed, walkers + w, step).random() for w in range(walkers)])
    arrived = outcome.minima >= 0
    started = state.minima >= 0
    both = arrived & started
    rise = np.where(both, outcome.energies, 0) - np.where(both, state.energies, 0)
    likely = chance < np.exp(np.minimum(0, -rise / settings.temperature))
    accepted = arrived & (~started | likely)
    pace = np.where(accepted, ADAPTATION, 1 / ADAPTATION)
    # balance: at the wanted acceptance the factors cancel on average
    pace = np.where(accepted, pace ** ((1 - settings.acceptance) / settings.acceptance), pace)
    # moves of other kinds have no size
    kinds = [_kind(settings, generator(seed, w, step).random()) for w in range(walkers)]
    pace = np.where(np.array(kinds) == "", pace, 1.0)
    move = np.clip(state.move * pace, settings.smallest, settings.largest)
    new = State(
        np.where(accepted[:, None, None], outcome.positions, state.positions),
        np.where(accepted, outcome.energies, state.energies),
        np.where(started, move, state.move),
        np.where(accepted, outcome.minima, state.minima),
    )
    return new, Info(accepted, new.move)


def _kind(settings: Settings, chance: float) -> str:
    """Which kind of move a walker's first random number of a step stands for."""
    if chance < settings.surface:
        return "surface"
    return "symmetry" if chance < settings.surface + settings.symmetry else ""
