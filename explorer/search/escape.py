"""Escapes from minima by short dynamics, all walkers at once.

A velocity begins as noise that the molecule's model Hessian has coloured: as much energy in each
of its modes as if all were excited alike, so that torsions move far and bonds hardly. Softening
then turns it towards the soft modes of the minimum, since low barriers lead to low minima
(Schönborn, Goedecker, Roy and Oganov, J. Chem. Phys. 130, 144108 (2009)). The dynamics ends when it
has passed a number of minima of the potential energy along its path.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from topokrates.model.potential import Potential
from topokrates.relaxation.certify import rigid_motions
from topokrates.relaxation.internals import Coordinates

SOFTEST = 0.05  # eV/Å^2: below this all motions are equally soft
LONGEST = 400  # steps of dynamics


class Pace(NamedTuple):
    """Steps that suit a potential's stiffness.

    Attributes:
        softening: displacement per force, length^2/energy.
        reach: length of the softening displacement, of the whole structure.
        time: time step, in sqrt(mass length^2 / energy) with every mass 1.
        minima: how many minima of the potential energy are passed before the dynamics ends.
        steps: of softening.
    """

    softening: float
    reach: float
    time: float
    minima: int
    steps: int


# The stiffest motion of a molecule, X-H stretching, has about 60 eV/Å^2, and of a cluster about
# 200 epsilon/sigma^2; a step of time is a tenth of that motion's period or less, for the path
# matters little. With every mass equal the hydrogens are no faster than the rest, and the path
# follows the soft modes. Peptides are softened little: with more, they turn their methyl groups and
# fall back.
MOLECULES = Pace(softening=0.015, reach=0.15, time=0.08, minima=2, steps=5)
CLUSTERS = Pace(softening=0.004, reach=0.1, time=0.03, minima=2, steps=20)


class Escape(NamedTuple):
    """Where the walkers got to.

    Attributes:
        positions: (W, N, 3).
        highest: largest potential energy seen on the way, (W,): an upper bound of the barrier
            between the minima on either side, never a transition state.
        tops, headings: where that was, and the velocity there, (W, N, 3).
        gradient_calls: (W,).
    """

    positions: np.ndarray
    highest: np.ndarray
    tops: np.ndarray
    headings: np.ndarray
    gradient_calls: np.ndarray


def escape(
    potential: Potential,
    positions: np.ndarray,
    kinetic: np.ndarray,
    directions: np.ndarray,
    pace: Pace,
    softened: np.ndarray | None = None,
    minima: np.ndarray | None = None,
) -> Escape:
    """Leaves minima with a given kinetic energy.

    Args:
        potential: of the molecule.
        positions: minima, (W, N, 3).
        kinetic: total kinetic energy of each walker, (W,).
        directions: random velocities of any length, (W, N, 3).
        pace: step sizes.
        softened: steps of softening of each walker, (W,); None for those of the pace.
        minima: that each walker passes, (W,); None for those of the pace.
    """
    directions, calls = soften(potential, positions, directions, pace, softened)
    wanted = np.full(len(positions), pace.minima) if minima is None else minima
    velocities = directions * np.sqrt(2 * kinetic)[:, None, None]
    x = np.array(positions, float)
    energies, forces = _evaluate(potential, x, np.ones(len(x), bool))
    calls += 1
    highest, before = energies.copy(), energies.copy()
    tops, headings = x.copy(), velocities.copy()
    rising = np.ones(len(x), bool)
    passed = np.zeros(len(x), int)
    active = np.ones(len(x), bool)
    for _ in range(LONGEST):
        if not active.any():
            break
        lanes = active[:, None, None]
        half = velocities + 0.5 * pace.time * forces
        moved = x + pace.time * half
        new_energies, new_forces = _evaluate(potential, moved, active)
        calls += active
        # a lane that blew up stays where it was last sound
        sound = active & np.isfinite(new_energies) & np.isfinite(new_forces).all((1, 2))
        active &= sound
        lanes = active[:, None, None]
        x = np.where(lanes, moved, x)
        velocities = np.where(lanes, half + 0.5 * pace.time * new_forces, velocities)
        forces = np.where(lanes, new_forces, forces)
        climbs = new_energies > before
        passed += active & climbs & ~rising
        rising = np.where(active, climbs, rising)
        before = np.where(active, new_energies, before)
        top = active & (new_energies > highest)
        highest = np.where(top, new_energies, highest)
        tops = np.where(top[:, None, None], x, tops)
        headings = np.where(top[:, None, None], velocities, headings)
        active &= passed < wanted
    return Escape(x, highest, tops, headings, calls)


def coloured(coordinates: Coordinates, positions: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Noise with the stiff motions of a structure damped, each by the square root of its stiffness.

    Args:
        coordinates: of the molecule; clusters, whose model Hessian is the same in all directions,
            get back what they gave but for its rigid motions.
        positions: (N, 3).
        noise: (N, 3).
    """
    b = np.asarray(coordinates.jacobian(jnp.asarray(positions)))
    stiffness = b.T @ np.asarray(coordinates.model_hessian(jnp.asarray(positions))) @ b
    rigid = rigid_motions(positions)
    inner = np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :]
    values, vectors = np.linalg.eigh(inner.T @ stiffness @ inner)
    vectors = inner @ vectors
    damped = (vectors.T @ noise.ravel()) / np.sqrt(np.maximum(values, SOFTEST))
    return (vectors @ damped).reshape(positions.shape)


def soften(
    potential: Potential,
    positions: np.ndarray,
    directions: np.ndarray,
    pace: Pace,
    steps: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Directions of unit length turned towards soft modes, and gradient calls of each lane."""
    steps = np.full(len(positions), pace.steps) if steps is None else np.array(steps)
    rigid = [rigid_motions(x) for x in positions]
    directions = _unit(directions, rigid)
    for k in range(steps.max(initial=0)):
        active = steps > k
        _, forces = _evaluate(potential, positions + pace.reach * directions, active)
        forces = np.where(np.isfinite(forces), forces, 0)
        along = np.sum(forces * directions, axis=(1, 2), keepdims=True)
        turned = pace.reach * directions + pace.softening * (forces - along * directions)
        directions = np.where(active[:, None, None], _unit(turned, rigid), directions)
    return directions, steps


def _evaluate(potential: Potential, x: np.ndarray, active: np.ndarray):
    energies, forces = potential.energies_and_forces(x, active)
    return np.asarray(energies, float), np.asarray(forces, float)


def _unit(vectors: np.ndarray, rigid: list[np.ndarray]) -> np.ndarray:
    """Unit length over each whole structure, without drift and rotation: the softest of all."""
    flat = vectors.reshape(len(vectors), -1)
    flat = np.stack([v - r @ (r.T @ v) for v, r in zip(flat, rigid, strict=True)])
    return (flat / np.linalg.norm(flat, axis=1, keepdims=True)).reshape(vectors.shape)
