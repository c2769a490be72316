"""Basin hopping (Wales and Doye, J. Phys. Chem. A 101, 5111 (1997)).

Each walker moves its minimum at random, quenches, and takes the new minimum by Metropolis's rule
at a temperature. The size of the move follows the acceptance of the walker. Walkers share nothing
but the landscape: several chains from different starts forget a bad start faster than one.

Of a molecule's moves several are drawn, and the one is quenched whose torsions are farthest from
all minima that the search has met: a quench costs forty gradients, a draw none, and most random
moves lead to where somebody has been. In 400 quenches of Ac-Ala3-NHMe that met 191 minima, against
149.

With `patience` a walker that has not lowered its lowest minimum for so many quenches starts anew
from a random structure, and the bottom of the funnel that it leaves is remembered: whoever comes
there again starts anew at once, so that no funnel is searched twice.
"""

from typing import NamedTuple

import numpy as np

from topokrates.model.potential import Potential
from topokrates.molecule import Molecule, dihedral
from topokrates.search import cluster_moves, moves
from topokrates.search.state import Outcome, generator

ADAPTATION = 1.05  # factor on the move after each step
SIZELESS = ("surface", "symmetry")  # moves that the size of the move says nothing of
LOWER = 1e-6  # what counts as a lower minimum, eV or epsilon


class Settings(NamedTuple):
    """Parameters; energies and lengths in the units of the potential, angles in radians.

    Attributes:
        temperature: k_B T of the Metropolis rule.
        move: first size of a move.
        smallest, largest: its bounds.
        acceptance: what the size of the move is adapted to.
        surface, symmetry: shares of a cluster's moves that put its worst placed particles
            elsewhere, and that bring it nearer to a symmetry; the others displace everything.
        side_chains, crankshaft: shares of a molecule's moves that turn what is not backbone, and
            that swing a segment of the backbone; the others turn about half of all torsions.
        draws: moves of a molecule that are drawn for each that is quenched.
        patience: quenches without a lower minimum after which a walker starts anew; 0 for never.
        hottest: k_B T of the last walker, those between in equal ratios; 0 for one temperature.
    """

    temperature: float
    move: float
    smallest: float
    largest: float
    acceptance: float
    surface: float = 0.0
    symmetry: float = 0.0
    side_chains: float = 0.0
    crankshaft: float = 0.0
    draws: float = 1.0
    patience: float = 0.0
    hottest: float = 0.0

    @property
    def shares(self) -> dict[str, float]:
        """Of the kinds of move, but for what is left for the most common one."""
        names = ("surface", "symmetry", "side_chains", "crankshaft")
        return {name: getattr(self, name) for name in names}


class State(NamedTuple):
    """Where the walkers are, a row per walker.

    Attributes:
        positions: (W, N, 3).
        energies: (W,).
        move: sizes of the moves, (W,).
        minima: ids, (W,); -1 for a walker that is nowhere yet.
        lowest: energies of the lowest minima since the walkers started, (W,).
        bottoms: ids of these, (W,).
        idle: quenches since a walker found its bottom, (W,).
        visited: ids of the bottoms that walkers have left, (K,).
        torsions: atoms of the molecule's torsions, (R, 4).
        met: torsions of the minima that the search has met, radians, (M, R).
    """

    positions: np.ndarray
    energies: np.ndarray
    move: np.ndarray
    minima: np.ndarray
    lowest: np.ndarray
    bottoms: np.ndarray
    idle: np.ndarray
    visited: np.ndarray
    torsions: np.ndarray
    met: np.ndarray


class Info(NamedTuple):
    """What a step did: accepted (W,) bool; the size of the moves (W,); restarted (W,) bool."""

    accepted: np.ndarray
    move: np.ndarray
    restarted: np.ndarray


def settings(molecule: Molecule) -> Settings:
    """For clusters the values of Wales and Doye; molecules turn by up to half a circle.

    A peptide's walkers run at k_B T = 0.1 eV (1160 K), so that minima up to 10 kcal/mol are seen.
    """
    if molecule.is_cluster:
        return Settings(0.8, 0.4, 0.1, 1.0, 0.5, surface=0.05, symmetry=0.2)
    shares = {"side_chains": 0.1, "crankshaft": 0.1}
    return Settings(0.1, 2 * np.pi / 3, np.pi / 6, np.pi, 0.5, **shares, draws=8)


def init(settings: Settings, molecule: Molecule, walkers: int) -> State:
    """No walker is anywhere yet; the first proposals are the starts."""
    torsions = moves.torsions(molecule)
    return State(
        np.zeros((walkers, molecule.n_atoms, 3)),
        np.full(walkers, np.inf),
        np.full(walkers, settings.move),
        np.full(walkers, -1),
        np.full(walkers, np.inf),
        np.full(walkers, -1),
        np.zeros(walkers, int),
        np.zeros(0, int),
        torsions,
        np.zeros((0, len(torsions)), np.float32),
    )


def temperatures(settings: Settings, walkers: int) -> np.ndarray:
    """k_B T of each walker, (W,)."""
    return np.geomspace(settings.temperature, settings.hottest or settings.temperature, walkers)


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
    rngs = [generator(seed, walker, step) for walker in walkers]
    proposals = np.zeros((len(walkers), molecule.n_atoms, 3))
    turning, kinds = [], []
    for row, (walker, rng) in enumerate(zip(walkers, rngs, strict=True)):
        if state.minima[walker] < 0:
            # walker 0 tries the structure that was given, once
            proposals[row] = moves.start(molecule, rng, walker if step == 0 else walker + 1)
            continue
        kind = _kind(settings, rng.random())
        if molecule.is_cluster:
            x = state.positions[walker]
            if kind == "surface":
                proposals[row] = cluster_moves.resurfaced(x, rng)
            elif kind == "symmetry":
                proposals[row] = cluster_moves.symmetrised(x, rng)
            else:
                proposals[row] = cluster_moves.displaced(x, rng, state.move[walker])
        else:
            turning.append(row)
            kinds.append(kind.replace("_", " ") or "torsions")
    if turning:
        chosen = [walkers[row] for row in turning]
        drawn = [
            moves.molecule_moves(
                molecule,
                state.positions[chosen],
                [rngs[row] for row in turning],
                state.move[chosen],
                kinds,
            )
            for _ in range(max(1, int(settings.draws)) if len(state.met) else 1)
        ]
        proposals[turning] = _farthest(np.stack(drawn), state)
    return proposals, np.zeros(len(walkers), int)


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
    likely = chance < np.exp(np.minimum(0, -rise / temperatures(settings, walkers)))
    accepted = arrived & (~started | likely)
    pace = np.where(accepted, ADAPTATION, 1 / ADAPTATION)
    # balance: at the wanted acceptance the factors cancel on average
    pace = np.where(accepted, pace ** ((1 - settings.acceptance) / settings.acceptance), pace)
    kinds = [_kind(settings, generator(seed, w, step).random()) for w in range(walkers)]
    pace = np.where(np.isin(kinds, SIZELESS), 1.0, pace)
    move = np.clip(state.move * pace, settings.smallest, settings.largest)
    lower = accepted & (outcome.energies < state.lowest - LOWER)
    new = State(
        np.where(accepted[:, None, None], outcome.positions, state.positions),
        np.where(accepted, outcome.energies, state.energies),
        np.where(started, move, state.move),
        np.where(accepted, outcome.minima, state.minima),
        np.where(lower, outcome.energies, state.lowest),
        np.where(lower, outcome.minima, state.bottoms),
        np.where(lower | ~started, 0, state.idle + 1),
        state.visited,
        state.torsions,
        _met(state, outcome),
    )
    return _restarted(settings, new, accepted)


def _restarted(settings: Settings, state: State, accepted: np.ndarray) -> tuple[State, Info]:
    """Walkers that are out of patience, or where another has been, are nowhere from now on."""
    patient = np.ones(len(accepted), bool)
    if settings.patience > 0:
        exhausted = (state.minima >= 0) & (state.idle >= settings.patience)
        visited = np.union1d(state.visited, state.bottoms[exhausted])
        patient = ~(exhausted | (accepted & np.isin(state.minima, visited)))
        state = state._replace(
            energies=np.where(patient, state.energies, np.inf),
            move=np.where(patient, state.move, settings.move),
            minima=np.where(patient, state.minima, -1),
            lowest=np.where(patient, state.lowest, np.inf),
            bottoms=np.where(patient, state.bottoms, -1),
            idle=np.where(patient, state.idle, 0),
            visited=visited,
        )
    return state, Info(accepted, state.move, ~patient)


def _met(state: State, outcome: Outcome) -> np.ndarray:
    """The torsions of all minima met so far, those of this step added; (M, R)."""
    first = (outcome.minima >= 0) & (outcome.visits == 0)
    if not (len(state.torsions) and first.any()):
        return state.met
    angles = dihedral(outcome.positions[first], state.torsions)
    return np.concatenate([state.met, angles.astype(state.met.dtype)])


def _farthest(drawn: np.ndarray, state: State) -> np.ndarray:
    """Of several draws for each walker, (D, W, N, 3), those farthest from what was met, (W, N, 3).

    How far is the root mean square of the differences of all torsions.
    """
    if len(drawn) == 1 or not len(state.torsions):
        return drawn[0]
    angles = dihedral(drawn, state.torsions)
    nearest = np.empty(angles.shape[:2])
    for place in np.ndindex(nearest.shape):
        apart = np.abs(state.met - angles[place])
        apart = np.minimum(apart, 2 * np.pi - apart)
        nearest[place] = np.sqrt(np.min(np.mean(apart**2, axis=1)))
    return drawn[np.argmax(nearest, axis=0), np.arange(drawn.shape[1])]


def _kind(settings: Settings, chance: float) -> str:
    """Which kind of move a walker's first random number of a step stands for; "" the common one."""
    for name, share in settings.shares.items():
        chance -= share
        if chance < 0:
            return name
    return ""
