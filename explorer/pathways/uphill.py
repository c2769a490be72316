"""Starts of climbs from a single minimum, with no end in mind.

First steps along each mode, both ways, short ones and longer ones (of a molecule along the softest
few of its model Hessian, of a cluster along all of the exact one): a climb that follows a mode of a
minimum keeps its symmetry, and some saddles are reached in no other way. Then chance, in ways that
take turns: mixtures of all modes, mixtures of two, random displacements, and the top of an escape
by short dynamics, which is an upper bound of some barrier and a good place to look for the saddle
below it (hybrid eigenvector following: Munro and Wales, Phys. Rev. B 59, 3969 (1999)). The highest
saddles of a cluster are hardly met from a minimum: some climbs begin at a known saddle, displaced
along one of its modes. What attempt number k of a minimum starts from depends on both, and
on the saddles that are given, alone.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.pathways.attempt import Climb
from topokrates.pathways.swift_climb import applies
from topokrates.relaxation.internals import Coordinates
from topokrates.relaxation.modes import Modes, modes
from topokrates.search import escape
from topokrates.storage.records import Minimum, located

SOFT_MODES = 6  # of a molecule, each tried both ways
STEPS = 0.1, 0.3  # along a mode, of the atom that moves most, Å or sigma
SMALLEST, LARGEST = 0.1, 0.5  # along a mixture
RATTLE = 0.05, 0.4  # of every coordinate, Å or sigma
KINETIC_CLUSTER, KINETIC_MOLECULE = 0.25, 0.05  # of an escape, per degree of freedom
OFF_A_SADDLE = 0.2, 0.5  # along a mode of a known saddle, Å or sigma
KINDS = ("mixture", "escape", "pair", "rattle")
# Three of four from a saddle: in 2,000 climbs on LJ9 the two rarest saddles were met once each so,
# and never from minima.
KINDS_OF_CLUSTERS = tuple(kind for way in KINDS for kind in ("saddle", "saddle", "saddle", way))


def uphill(
    molecule: Molecule,
    potential: Potential,
    coordinates: Coordinates,
    starts: Sequence[tuple[Minimum, int]],
    saddles: Sequence[np.ndarray],
) -> list[Climb]:
    """Where to climb from.

    Args:
        molecule, potential, coordinates: of the landscape.
        starts: minima, and the numbers of their attempts, from 0.
        saddles: known ones (N, 3), in an order that lasts.
    """
    spectra = _spectra(potential, coordinates, {m.id: located(m) for m, _ in starts})
    exact = applies(potential, coordinates)
    taken = {
        name: spectrum.values.size if exact else min(SOFT_MODES, spectrum.values.size)
        for name, spectrum in spectra.items()
    }
    kinds = KINDS_OF_CLUSTERS if exact else KINDS
    climbs: dict[int, Climb] = {}
    fleeing = []
    for k, (minimum, number) in enumerate(starts):
        x, spectrum = located(minimum), spectra[minimum.id]
        modes_taken = taken[minimum.id]
        chance = number - 2 * modes_taken * len(STEPS)
        rng = np.random.default_rng([minimum.id, number])
        if chance < 0:
            size, which = divmod(number // 2, modes_taken)
            mode = spectrum.vectors[:, which] * (-1) ** number
            climbs[k] = _along(coordinates, x, mode, STEPS[size])
        elif (kind := kinds[chance % len(kinds)]) == "saddle" and len(saddles):
            climbs[k] = _off(potential, coordinates, saddles, rng)
        elif kind == "escape":
            fleeing.append((k, rng.normal(size=x.shape), rng.uniform(0.5, 2)))
        elif kind == "rattle":
            size = rng.uniform(*RATTLE)
            climbs[k] = Climb(x + rng.uniform(-size, size, x.shape), np.zeros_like(x))
        else:
            weights = rng.normal(size=spectrum.values.size)
            if kind == "pair":
                kept = rng.choice(weights.size, min(2, weights.size), replace=False)
                weights *= np.isin(np.arange(weights.size), kept)
            else:
                stiffness = np.maximum(spectrum.values, 1e-3 * spectrum.values[-1])
                weights /= stiffness ** rng.uniform(0, 1)
            direction = spectrum.vectors @ weights
            climbs[k] = _along(coordinates, x, direction, rng.uniform(SMALLEST, LARGEST))
    if fleeing:
        climbs |= _escaped(molecule, potential, coordinates, starts, fleeing)
    return [climbs[k] for k in range(len(starts))]


def _spectra(
    potential: Potential, coordinates: Coordinates, minima: dict[int, np.ndarray]
) -> dict[int, Modes]:
    """Modes of minima, by id: exact ones where that costs next to nothing."""
    if applies(potential, coordinates):
        hessians = potential.hessians(np.stack(list(minima.values())))
        hessians = np.asarray(hessians, float)
    else:
        jacobians = [np.asarray(coordinates.jacobian(jnp.asarray(x))) for x in minima.values()]
        models = [np.asarray(coordinates.model_hessian(jnp.asarray(x))) for x in minima.values()]
        hessians = [b.T @ model @ b for b, model in zip(jacobians, models, strict=True)]
    return {
        name: modes(hessian, x) for (name, x), hessian in zip(minima.items(), hessians, strict=True)
    }


def _off(
    potential: Potential,
    coordinates: Coordinates,
    saddles: Sequence[np.ndarray],
    rng: np.random.Generator,
) -> Climb:
    """From one of these saddles along one of its modes."""
    x = saddles[int(rng.integers(len(saddles)))]
    spectrum = modes(np.asarray(potential.hessians(x[None])[0], float), x)
    direction = spectrum.vectors[:, rng.integers(spectrum.values.size)] * rng.choice((-1, 1))
    return _along(coordinates, x, direction, rng.uniform(*OFF_A_SADDLE))


def _along(coordinates: Coordinates, x: np.ndarray, direction: np.ndarray, size: float) -> Climb:
    direction = direction.reshape(x.shape)
    step = direction * (size / np.sqrt(np.max(np.sum(direction**2, axis=1))))
    return Climb(coordinates.displaced(x, step), direction)


def _escaped(
    molecule: Molecule,
    potential: Potential,
    coordinates: Coordinates,
    starts: Sequence[tuple[Minimum, int]],
    fleeing: list[tuple[int, np.ndarray, float]],
) -> dict[int, Climb]:
    """The tops of escapes: rows of `starts`, noise (N, 3) and heat of each."""
    x = np.stack([located(starts[k][0]) for k, _, _ in fleeing])
    directions = [
        escape.coloured(coordinates, one, noise)
        for one, (_, noise, _) in zip(x, fleeing, strict=True)
    ]
    per_degree = KINETIC_CLUSTER if molecule.is_cluster else KINETIC_MOLECULE
    kinetic = per_degree * max(3 * molecule.n_atoms - 6, 1) * np.array([h for _, _, h in fleeing])
    pace = escape.CLUSTERS if molecule.is_cluster else escape.MOLECULES
    found = escape.escape(potential, x, kinetic, np.stack(directions), pace)
    return {
        k: Climb(found.tops[row], found.headings[row], int(found.gradient_calls[row]))
        for row, (k, _, _) in enumerate(fleeing)
    }
