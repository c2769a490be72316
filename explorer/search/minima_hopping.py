"""Minima hopping (Goedecker, J. Chem. Phys. 120, 9911 (2004)).

Each walker escapes from its minimum by short dynamics and is quenched. Feedback keeps it moving:
its kinetic energy rises when it falls back or meets what is known, and falls when it meets what is
new; its threshold for accepting a higher minimum rises with each refusal and falls with each
acceptance. What is known is known to all walkers of the search. With `visits` above 0 the feedback
of a minimum grows with the number of times that the search has been there, beta (1 + visits ln n)
(Krummenacher, Gubler, Finkler, Huber, Sommer-Jörgensen and Goedecker, SoftwareX 25, 101632 (2024)).
"""

from typing import NamedTuple

import numpy as np

from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.relaxation.internals import coordinates
from topokrates.search import escape, moves
from topokrates.search.state import Outcome, generator


class Settings(NamedTuple):
    """Parameters; energies in the unit of the potential.

    Attributes:
        kinetic: first kinetic energy per degree of freedom, k_B T / 2.
        threshold: first rise that is accepted.
        fell_back, known, new: factors on the kinetic energy (the published beta 1 to 3).
        lost: factor where the quench ended in no minimum of the molecule: too much energy.
        visits: weight of the logarithm of the number of visits in the feedback; 0 for the
            published one.
        accepted, refused: factors on the threshold (the published alpha 1 and 2).
        variety: escapes differ: up to 2 to this power as hot or as cold as the walker, softened by
            any number of steps, past any number of minima up to twice the usual one. 0 for escapes
            that are all alike.
        spread: energy that a minimum may be higher if it was visited e times less often than the
            one where the walker is; with 0 seldom visited minima are seldom escaped from.
    """

    kinetic: float
    threshold: float
    fell_back: float = 1.1
    known: float = 1.1
    new: float = 1 / 1.1
    lost: float = 1 / 1.1**3
    visits: float = 0.0
    accepted: float = 0.98
    refused: float = 1 / 0.98
    variety: float = 0.0
    spread: float = 0.0


class State(NamedTuple):
    """Positions (W, N, 3), energies (W,), minima (W,) ids, kinetic (W,), threshold (W,).

    `visits` (W,) are those of the minimum where the walker is.
    """

    positions: np.ndarray
    energies: np.ndarray
    minima: np.ndarray
    kinetic: np.ndarray
    threshold: np.ndarray
    visits: np.ndarray


class Info(NamedTuple):
    """What a step did: accepted (W,) bool; kinetic energy per degree of freedom (W,)."""

    accepted: np.ndarray
    kinetic: np.ndarray


def settings(molecule: Molecule) -> Settings:
    """Starts near 1400 K for molecules (k_B T / 2 = 0.06 eV) and at 0.4 epsilon for clusters."""
    if molecule.is_cluster:
        return Settings(kinetic=0.2, threshold=0.5, variety=1.0, spread=1.0)
    return Settings(kinetic=0.06, threshold=0.1)


def init(settings: Settings, molecule: Molecule, walkers: int) -> State:
    """No walker is anywhere yet; the first proposals are the starts."""
    return State(
        np.zeros((walkers, molecule.n_atoms, 3)),
        np.full(walkers, np.inf),
        np.full(walkers, -1),
        np.full(walkers, settings.kinetic),
        np.full(walkers, settings.threshold),
        np.zeros(walkers, int),
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
    """Structures to quench for some walkers, (W, N, 3), and gradient calls spent on each."""
    chosen = np.asarray(walkers)
    atoms = molecule.n_atoms
    proposals = np.zeros((len(chosen), atoms, 3))
    calls = np.zeros(len(chosen), int)
    rngs = [generator(seed, walker, step) for walker in walkers]
    hopping = state.minima[chosen] >= 0
    for row in np.flatnonzero(~hopping):
        walker = int(chosen[row]) if step == 0 else int(chosen[row]) + 1
        proposals[row] = moves.start(molecule, rngs[row], walker)
    if hopping.any():
        rows = np.flatnonzero(hopping)
        frame = coordinates(molecule.bonds, molecule.positions)
        directions = np.stack(
            [
                escape.coloured(frame, state.positions[walker], rngs[row].normal(size=(atoms, 3)))
                for row, walker in zip(rows, chosen[rows], strict=True)
            ]
        )
        degrees = 3 * atoms - 6 if atoms > 2 else 1
        pace = escape.CLUSTERS if molecule.is_cluster else escape.MOLECULES
        heat, softened, minima = np.ones(len(rows)), None, None
        if settings.variety:
            draws = [rngs[row] for row in rows]
            heat = np.array(
                [2 ** rng.uniform(-settings.variety, settings.variety) for rng in draws]
            )
            softened = np.array([rng.integers(pace.steps + 1) for rng in draws])
            minima = np.array([1 + rng.integers(2 * pace.minima) for rng in draws])
        escaped = escape.escape(
            potential,
            state.positions[chosen[rows]],
            state.kinetic[chosen[rows]] * degrees * heat,
            directions,
            pace,
            softened,
            minima,
        )
        proposals[rows], calls[rows] = escaped.positions, escaped.gradient_calls
    return proposals, calls


def step(
    settings: Settings, state: State, outcome: Outcome, seed: int, step: int
) -> tuple[State, Info]:
    """The walkers after their quenches."""
    started = state.minima >= 0
    arrived = outcome.minima >= 0
    back = started & (outcome.minima == state.minima)
    known = arrived & ~back & (outcome.visits > 0)
    new = arrived & ~back & ~known
    often = 1 + settings.visits * np.log(np.maximum(outcome.visits, 1))
    factor = np.select(
        [back, known, new],
        [settings.fell_back * often, settings.known * often, settings.new],
        settings.lost,
    )
    kinetic = np.where(started, state.kinetic * factor, state.kinetic)

    moved = arrived & ~back
    both = moved & started
    rise = np.where(both, outcome.energies, 0) - np.where(both, state.energies, 0)
    rarer = np.log(np.maximum(state.visits, 1) / (outcome.visits + 1))
    accepted = moved & (~started | (rise - settings.spread * rarer < state.threshold))
    change = np.where(accepted, settings.accepted, settings.refused)
    threshold = np.where(started & moved, state.threshold * change, state.threshold)
    new_state = State(
        np.where(accepted[:, None, None], outcome.positions, state.positions),
        np.where(accepted, outcome.energies, state.energies),
        np.where(accepted, outcome.minima, state.minima),
        kinetic,
        threshold,
        np.where(arrived & (accepted | back), outcome.visits + 1, state.visits),
    )
    return new_state, Info(accepted, kinetic)
