"""What is stored is certified: the polish in float64 and the check by the Hessian.

A descent to 1e-3 eV/Å is not a minimum of a peptide: it may rest on a plateau meV above the true
one. So a structure that is not recognised is descended further in float64, its exact Hessian is
built, and Newton steps on that one Hessian (chord steps) take it to the bottom. Certified means:
largest force at most 1e-4, predicted decrease g' H^-1 g / 2 below 1e-6, and every eigenvalue of
the Hessian positive once the rigid motions are projected out. A negative one means a saddle: the
structure is pushed off along that mode and descends again.
"""

from typing import NamedTuple

import numpy as np

from topokrates.internals import Coordinates
from topokrates.model.potential import Potential
from topokrates.relax import MAX_STEPS, Status, descend

CERTIFIED_FORCE = 1e-4  # eV/Å
CERTIFIED_DECREASE = 1e-6  # eV
CHORD_STEPS = 10
# As far as this from where it was made, a Hessian still speaks for the minimum; Å
HESSIAN_REACH = 2e-3
NEWTON_REACH = 0.1  # Å: a chord step that wants to move an atom further needs a new Hessian
PUSH = 0.15  # Å, of the atom that moves most, off a saddle
ATTEMPTS = 6


class Certificate(NamedTuple):
    """A stationary point and the evidence for it.

    Attributes:
        positions: (N, 3).
        energy, max_force: there, in float64.
        lowest_eigenvalue: of the Hessian after projection; NaN if it was never built.
        negative_eigenvalues: how many are below zero.
        gradient_calls: force evaluations spent.
        hessian_vector_products: 3N per Hessian.
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


class Modes(NamedTuple):
    """Eigenvalues (M,) and eigenvectors (3N, M) of a Hessian without its rigid motions."""

    values: np.ndarray
    vectors: np.ndarray


def rigid_motions(positions: np.ndarray) -> np.ndarray:
    """Orthonormal translations and rotations of a structure.

    Args:
        positions: (N, 3).

    Returns:
        (3N, 6), or (3N, 5) if the atoms lie on a line.
    """
    centred = positions - positions.mean(axis=0)
    atoms = len(centred)
    axes = np.eye(3)
    translations = np.tile(axes, (atoms, 1))
    rotations = np.stack([np.cross(axis, centred).ravel() for axis in axes], axis=1)
    u, s, _ = np.linalg.svd(rotations, full_matrices=False)
    # on a line one rotation moves nothing
    rotations = u[:, s > 1e-4 * max(s.max(), 1e-12)]
    return np.linalg.qr(np.hstack([translations, rotations]))[0]


def modes(hessian: np.ndarray, positions: np.ndarray) -> Modes:
    """Eigenvalues and eigenvectors of the Hessian, rigid motions projected out.

    Args:
        hessian: (3N, 3N).
        positions: (N, 3).

    Returns:
        3N - 6 of them (3N - 5 on a line), lowest first.
    """
    rigid = rigid_motions(positions)
    complement = np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :]
    values, vectors = np.linalg.eigh(complement.T @ hessian @ complement)
    return Modes(values, complement @ vectors)


def certify(
    potential: Potential,
    coordinates: Coordinates,
    positions: np.ndarray,
    max_force: float = CERTIFIED_FORCE,
    max_steps: int = MAX_STEPS,
) -> Certificate:
    """Polishes one structure to a certified minimum.

    Args:
        potential: of the molecule; its float64 form is used.
        coordinates: from `internals.coordinates`.
        positions: (N, 3), near a minimum.
        max_force: largest force allowed, norm on one atom.
        max_steps: gradient calls after which it is given up.

    Returns:
        A `Certificate`; anything but CERTIFIED is no minimum.
    """
    potential = potential.with_dtype("float64")
    x, calls, products = np.asarray(positions, float), 0, 0
    spectrum, state, wanted = None, None, max_force
    for _ in range(ATTEMPTS):
        descent = next(iter(descend(potential, coordinates, [x], wanted, max_steps, lanes=1)))
        calls += descent.gradient_calls
        x = descent.positions
        if descent.status is not Status.CONVERGED:
            state = (x, descent.energy, descent.max_force, np.nan, -1, descent.status)
            break
        spectrum = modes(potential.hessians(x[None])[0], x)
        products += x.size
        if spectrum.values[0] < 0:
            state = (x, descent.energy, descent.max_force, *_lowest(spectrum), Status.SADDLE)
            x = x + _push(spectrum)
            continue
        polished = chord_steps(potential, coordinates, x, spectrum)
        calls += polished.calls
        if np.abs(polished.positions - x).max() > HESSIAN_REACH:
            spectrum = modes(potential.hessians(polished.positions[None])[0], polished.positions)
            products += x.size
        x = polished.positions
        force = largest_force(polished.gradient)
        certified = (
            spectrum.values[0] > 0
            and force <= max_force
            and _decrease(polished.gradient, spectrum) < CERTIFIED_DECREASE
        )
        status = Status.CERTIFIED if certified else Status.NOT_CONVERGED
        state = (x, polished.energy, force, *_lowest(spectrum), status)
        if certified:
            break
        if spectrum.values[0] < 0:
            x = x + _push(spectrum)
        else:
            wanted *= 0.3  # a plateau: small forces, and still far from where they vanish
    assert state is not None
    # where that was seen, not where a last push off a saddle led
    x, energy, force, lowest, negative, status = state
    return Certificate(x, energy, force, lowest, negative, calls, products, status)


class Polished(NamedTuple):
    """The best point of some Newton steps, its gradient (N, 3), and gradient calls spent."""

    positions: np.ndarray
    energy: float
    gradient: np.ndarray
    calls: int


def chord_steps(
    potential: Potential,
    coordinates: Coordinates,
    x: np.ndarray,
    spectrum: Modes,
    newton: bool = False,
) -> Polished:
    """Newton steps on one Hessian, for as long as they lower the predicted decrease.

    A step along a soft, anharmonic mode may be worse than the one before, up to twice in a row.

    Args:
        potential: in float64.
        coordinates: steps follow curves on which they change evenly.
        x: near a stationary point, (N, 3).
        spectrum: of the Hessian there.
        newton: go to the stationary point whatever its order; else downhill along every mode.
    """
    values = spectrum.values if newton else np.abs(spectrum.values)
    energy, gradient = _evaluate(potential, x)
    best, best_left = Polished(x, energy, gradient, 1), _decrease(gradient, spectrum)
    worse, calls = 0, 1
    for _ in range(CHORD_STEPS):
        along = spectrum.vectors.T @ gradient.ravel()
        step = -(spectrum.vectors @ (along / values)).reshape(x.shape)
        step *= min(1, NEWTON_REACH / max(np.abs(step).max(), 1e-300))
        x = coordinates.displaced(x, step)
        energy, gradient = _evaluate(potential, x)
        calls += 1
        left = _decrease(gradient, spectrum)
        worse = 0 if left < best_left else worse + 1
        if left < best_left:
            best, best_left = Polished(x, energy, gradient, calls), left
        if worse == 3 or best_left < 1e-4 * CERTIFIED_DECREASE:
            break
    return best._replace(calls=calls)


def _evaluate(potential: Potential, x: np.ndarray) -> tuple[float, np.ndarray]:
    energies, forces = potential.energies_and_forces(x[None])
    return float(energies[0]), -np.asarray(forces[0], float)


def largest_force(gradient: np.ndarray) -> float:
    """Norm of the largest force on an atom."""
    return float(np.sqrt(np.max(np.sum(gradient**2, axis=1))))


def _decrease(gradient: np.ndarray, spectrum: Modes) -> float:
    along = spectrum.vectors.T @ gradient.ravel()
    return float(np.sum(along**2 / np.abs(spectrum.values)) / 2)


def _lowest(spectrum: Modes) -> tuple[float, int]:
    return float(spectrum.values[0]), int(np.sum(spectrum.values < 0))


def _push(spectrum: Modes) -> np.ndarray:
    mode = spectrum.vectors[:, 0].reshape(-1, 3)
    # an eigenvector's sign is arbitrary: fixed here, so that a run can be repeated
    first = mode.ravel()[np.argmax(np.abs(mode))]
    return mode * (PUSH * np.sign(first) / np.sqrt(np.max(np.sum(mode**2, axis=1))))
