"""What is stored is certified: the polish in float64 and the check by the Hessian.

A descent to 1e-3 eV/Å is not a minimum of a peptide: it may rest on a plateau meV above the true
one. So of a structure that is not recognised the exact Hessian is built in float64, and Newton
steps on that one Hessian (chord steps) take it to the bottom. There the softest mode is computed
anew by a few Hessian-vector products (`davidson`), with the Hessian as their guide. Certified
means: largest force at most 1e-4, predicted decrease g' H^-1 g / 2 below 1e-6, and every eigenvalue
of the Hessian positive once the rigid motions are projected out. A negative one means a saddle: the
structure is pushed off along that mode and descends again.

With the Hessian of a minimum near by, a structure may not need one of its own.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from topokrates.model.potential import Potential
from topokrates.relaxation.internals import Coordinates
from topokrates.relaxation.modes import Modes, modes, rigid_motions
from topokrates.relaxation.polish import (
    CERTIFIED_DECREASE,
    PUSH,
    Curvature,
    Down,
    Request,
    answer,
    chord,
    chord_steps,
    decrease,
    largest_force,
    push,
    softest_modes,
)
from topokrates.relaxation.relax import DESCENT_FORCE, MAX_STEPS, Status

__all__ = [
    "CERTIFIED_DECREASE",
    "CERTIFIED_FORCE",
    "HESSIAN_REACH",
    "PUSH",
    "Certificate",
    "Modes",
    "certify",
    "certify_all",
    "chord_steps",
    "largest_force",
    "modes",
    "rigid_motions",
]

CERTIFIED_FORCE = 1e-4  # eV/Å
# Chord steps begin here; a descent in single precision ends a little below
NEAR = 2 * DESCENT_FORCE
# As far as this from where it was made, a Hessian still speaks for a stationary point; Å
HESSIAN_REACH = 2e-3
SAME_PLACE = 1e-5  # Å: nearer than this, it is the Hessian there
HINT_REACH = 0.5  # Å: a known Hessian of a structure further off is no guide
MOST_PRODUCTS = 0.25  # of 3N: when the softest mode takes more, the full Hessian is built
ATTEMPTS = 8


class Certificate(NamedTuple):
    """A stationary point and the evidence for it.

    Attributes:
        positions: (N, 3).
        energy, max_force: there, in float64.
        lowest_eigenvalue: of the Hessian after projection; NaN if it was never looked for.
        negative_eigenvalues: how many are below zero.
        gradient_calls: force evaluations spent.
        hessian_vector_products: 3N per Hessian, and those that the softest mode took.
        status: CERTIFIED, SADDLE, NOT_CONVERGED or EXPLODED.
    """

    positions: np.ndarray
    energy: float
    max_force: float
    lowest_eigenvalue: float
    negative_eigenvalues: int
    gradient_calls: int
    hessian_vector_products: int
    status: Status


class Hint(NamedTuple):
    """The Hessian (3N, 3N) of a structure (N, 3) near by, superimposed on what is polished."""

    positions: np.ndarray
    hessian: np.ndarray


def certify(
    potential: Potential,
    coordinates: Coordinates,
    positions: np.ndarray,
    max_force: float = CERTIFIED_FORCE,
    max_steps: int = MAX_STEPS,
    hint: Hint | None = None,
) -> Certificate:
    """Polishes one structure to a certified minimum.

    Args:
        potential: of the molecule; its float64 form is used.
        coordinates: from `internals.coordinates`.
        positions: (N, 3), near a minimum.
        max_force: largest force allowed, norm on one atom.
        max_steps: gradient calls of a descent after which it is given up.
        hint: a known Hessian near by.

    Returns:
        A `Certificate`; anything but CERTIFIED is no minimum.
    """
    return certify_all(potential, coordinates, [positions], max_force, max_steps, [hint])[0]


def certify_all(
    potential: Potential,
    coordinates: Coordinates,
    structures: Sequence[np.ndarray],
    max_force: float = CERTIFIED_FORCE,
    max_steps: int = MAX_STEPS,
    hints: Sequence[Hint | None] | None = None,
    lanes: int = 16,
) -> list[Certificate]:
    """`certify` of many structures at once; each gets what it would get alone.

    Args:
        potential: of the molecule; its float64 form is used.
        coordinates: from `internals.coordinates`.
        structures: (N, 3) each.
        max_force: largest force allowed, norm on one atom.
        max_steps: gradient calls of a descent after which it is given up.
        hints: a known Hessian near by, or None, for each.
        lanes: of the descents among them.
    """
    potential = potential.with_dtype("float64")
    polishes = [
        _polish(coordinates, np.asarray(x, float), max_force, max_steps, hint)
        for x, hint in zip(structures, hints or [None] * len(structures), strict=True)
    ]
    return answer(potential, coordinates, polishes, lanes)


class _Proof(NamedTuple):
    """The softest mode at a structure, and a Hessian that is as good as exact along it."""

    lowest: float
    error: float
    mode: np.ndarray
    hessian: np.ndarray


def _polish(
    coordinates: Coordinates,
    x: np.ndarray,
    max_force: float,
    max_steps: int,
    hint: Hint | None,
) -> Generator[Request, Any, Certificate]:
    """The way of one structure."""
    calls = products = 0
    hessian, made_at = None, x
    if hint is not None and np.abs(hint.positions - x).max() < HINT_REACH:
        hessian, made_at = np.asarray(hint.hessian, float), hint.positions
    wanted, certificate = max(NEAR, max_force), None
    for _ in range(ATTEMPTS):
        descent = yield Down(x, wanted, max_steps)
        calls += descent.gradient_calls
        x = descent.positions
        if descent.status is not Status.CONVERGED:
            end = x, descent.energy, descent.max_force, np.nan, -1, calls, products
            return Certificate(*end, descent.status)
        own = hessian is None
        if hessian is None:
            hessian, made_at = (yield Curvature(x)), x
            products += x.size
        spectrum = modes(hessian, x)
        if own and spectrum.values[0] < 0:
            end = x, descent.energy, descent.max_force, *_lowest(spectrum), calls, products
            certificate = Certificate(*end, Status.SADDLE)
            x, hessian = x + push(spectrum.vectors[:, 0].reshape(x.shape)), None
            continue
        polished = yield from chord(coordinates, x, spectrum)
        calls += polished.calls
        there, force = polished.positions, largest_force(polished.gradient)
        if force > max_force or decrease(polished.gradient, spectrum) > CERTIFIED_DECREASE:
            # a plateau: small forces, and still far from where they vanish; or a poor hint
            status = Status.NOT_CONVERGED
            end = there, polished.energy, force, *_lowest(spectrum), calls, products
            certificate = Certificate(*end, status)
            hessian, wanted = None, wanted * 0.3 if own else wanted
            if force < descent.max_force:
                x = there
            continue
        x = there
        proof, spent = yield from _prove(x, hessian, made_at)
        products += spent
        spectrum = modes(proof.hessian, x)
        sound = (
            proof.lowest - proof.error > 0
            and spectrum.values[0] > 0
            and decrease(polished.gradient, spectrum) < CERTIFIED_DECREASE
        )
        negative = max(int(np.sum(spectrum.values < 0)), int(proof.lowest < 0))
        status = Status.CERTIFIED if sound else Status.NOT_CONVERGED
        if proof.lowest < 0:
            status = Status.SADDLE
        end = x, polished.energy, force, proof.lowest, negative, calls, products
        certificate = Certificate(*end, status)
        if sound:
            break
        if proof.lowest < 0:
            x, hessian = x + push(proof.mode), None
        else:
            hessian, made_at = proof.hessian, x
            wanted *= 0.3
    assert certificate is not None
    # where that was seen, not where a last push off a saddle led
    return certificate._replace(gradient_calls=calls, hessian_vector_products=products)


def _prove(
    x: np.ndarray, hessian: np.ndarray, made_at: np.ndarray
) -> Generator[Request, Any, tuple[_Proof, int]]:
    """The softest mode at x, given a Hessian of a place near by; and the products spent."""
    if np.abs(x - made_at).max() <= SAME_PLACE:
        return _exact(hessian, x), 0
    found = yield from softest_modes(x, hessian, MOST_PRODUCTS)
    value, residual = float(found.values[0]), float(found.residuals[0])
    if found.converged or value < 0:
        proof = _Proof(value, residual, found.mode, found.hessian)
        return proof, found.products
    hessian = yield Curvature(x)
    return _exact(hessian, x), found.products + x.size


def _exact(hessian: np.ndarray, x: np.ndarray) -> _Proof:
    spectrum = modes(hessian, x)
    mode = spectrum.vectors[:, 0].reshape(x.shape)
    return _Proof(float(spectrum.values[0]), 0.0, mode, hessian)


def _lowest(spectrum: Modes) -> tuple[float, int]:
    return float(spectrum.values[0]), int(np.sum(spectrum.values < 0))
