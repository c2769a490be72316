"""The steps of a polish, written for one structure and asked for by many at once.

What one structure goes through is written as a generator that yields what it needs (a gradient, a
Hessian, a product of one with a vector, a descent) and is sent the answer. `answer` runs many of
them side by side and batches what they ask for, so that the logic knows of one structure only and
the device sees all of them.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from topokrates.model.potential import Potential
from topokrates.relaxation.davidson import Softest, softest
from topokrates.relaxation.internals import Coordinates
from topokrates.relaxation.modes import Modes
from topokrates.relaxation.relax import descend

CERTIFIED_DECREASE = 1e-6  # eV
CHORD_STEPS = 10
NEWTON_REACH = 0.1  # Å: a chord step that wants to move an atom further needs a new Hessian
PUSH = 0.15  # Å, of the atom that moves most, off a saddle


class Gradient(NamedTuple):
    """Asks for the energy and the gradient (N, 3) at a structure (N, 3)."""

    positions: np.ndarray


class Gradients(NamedTuple):
    """Asks for the energies (M,) and gradients (M, N, 3) of several structures (M, N, 3)."""

    positions: np.ndarray


class Curvature(NamedTuple):
    """Asks for the Hessian (3N, 3N) at a structure."""

    positions: np.ndarray


class Product(NamedTuple):
    """Asks for the Hessian at a structure times a direction (N, 3)."""

    positions: np.ndarray
    direction: np.ndarray


class Products(NamedTuple):
    """Asks for the Hessian at a structure times several directions (M, N, 3)."""

    positions: np.ndarray
    directions: np.ndarray


class Down(NamedTuple):
    """Asks for a `Descent` from a structure to a largest force."""

    positions: np.ndarray
    max_force: float
    max_steps: int


Request = Gradient | Gradients | Curvature | Product | Products | Down
Asking = Generator[Request, Any, Any]


def answer(
    potential: Potential, coordinates: Coordinates, asking: Sequence[Asking], lanes: int = 16
) -> list[Any]:
    """Runs generators to their ends; what each returns.

    Args:
        potential: of the molecule; in float64 where Hessians are asked for.
        coordinates: of the molecule, for descents.
        asking: one per structure; none hears of another.
        lanes: of the descents.
    """
    returned: list[Any] = [None] * len(asking)
    open_requests: dict[int, Request] = {}

    def proceed(k: int, reply: Any) -> None:
        try:
            open_requests[k] = asking[k].send(reply)
        except StopIteration as end:
            open_requests.pop(k, None)
            returned[k] = end.value

    for k in range(len(asking)):
        proceed(k, None)
    while open_requests:
        # the dearest last, when as many as can be have come to ask for it
        kind = next(
            kind
            for kind in (Gradient, Gradients, Product, Products, Curvature, Down)
            if any(isinstance(request, kind) for request in open_requests.values())
        )
        # descents to one and the same force are one batch
        asked = {k: r for k, r in sorted(open_requests.items()) if isinstance(r, kind)}
        if kind is Down:
            first = next(iter(asked.values()))
            asked = {k: r for k, r in asked.items() if r[1:] == first[1:]}
        for k, reply in zip(asked, _serve(potential, coordinates, kind, asked, lanes), strict=True):
            proceed(k, reply)
    return returned


def _serve(
    potential: Potential, coordinates: Coordinates, kind: type, asked: dict[int, Any], lanes: int
) -> list[Any]:
    requests = list(asked.values())
    if kind is Gradients:
        ends = np.cumsum([len(request.positions) for request in requests])[:-1]
        energies, forces = potential.energies_and_forces(
            np.concatenate([request.positions for request in requests])
        )
        gradients = -np.asarray(forces, float)
        parts = np.split(np.asarray(energies, float), ends), np.split(gradients, ends)
        return list(zip(*parts, strict=True))
    if kind is Products:
        columns = [potential.hessian_columns(r.positions, r.directions) for r in requests]
        return [np.asarray(images, float) for images in columns]
    positions = np.stack([request.positions for request in requests])
    if kind is Gradient:
        energies, forces = potential.energies_and_forces(positions)
        gradients = -np.asarray(forces, float)
        return [(float(e), g) for e, g in zip(energies, gradients, strict=True)]
    if kind is Product:
        directions = np.stack([request.direction for request in requests])
        return list(np.asarray(potential.hessian_vector_products(positions, directions), float))
    if kind is Curvature:
        return list(np.asarray(potential.hessians(positions), float))
    _, force, most = requests[0]
    ends = descend(potential, coordinates, positions, force, most, min(lanes, len(requests)))
    return sorted(ends, key=lambda end: end.index)


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
    (polished,) = answer(potential, coordinates, [chord(coordinates, x, spectrum, newton)])
    return polished


def chord(
    coordinates: Coordinates, x: np.ndarray, spectrum: Modes, newton: bool = False
) -> Generator[Request, Any, Polished]:
    """`chord_steps`, asking for its gradients."""
    values = spectrum.values if newton else np.abs(spectrum.values)
    energy, gradient = yield Gradient(x)
    best, best_left = Polished(x, energy, gradient, 1), decrease(gradient, spectrum)
    worse, calls = 0, 1
    for _ in range(CHORD_STEPS):
        along = spectrum.vectors.T @ gradient.ravel()
        step = -(spectrum.vectors @ (along / values)).reshape(x.shape)
        step *= min(1, NEWTON_REACH / max(np.abs(step).max(), 1e-300))
        x = coordinates.displaced(x, step)
        energy, gradient = yield Gradient(x)
        calls += 1
        left = decrease(gradient, spectrum)
        worse = 0 if left < best_left else worse + 1
        if left < best_left:
            best, best_left = Polished(x, energy, gradient, calls), left
        if worse == 3 or not np.isfinite(left) or best_left < 1e-4 * CERTIFIED_DECREASE:
            break
    return best._replace(calls=calls)


def softest_modes(
    x: np.ndarray, guess: np.ndarray, share: float, count: int = 1
) -> Generator[Request, Any, Softest]:
    """`davidson.softest` at a structure (N, 3), asking for at most a share of 3N products."""
    search = softest(x, guess, max(int(share * x.size), 4), count)
    direction = next(search)
    while True:
        image = yield Product(x, direction)
        try:
            direction = search.send(image)
        except StopIteration as end:
            return end.value


def largest_force(gradient: np.ndarray) -> float:
    """Norm of the largest force on an atom."""
    return float(np.sqrt(np.max(np.sum(gradient**2, axis=1))))


def decrease(gradient: np.ndarray, spectrum: Modes) -> float:
    """Energy that a Newton step would gain, g' |H|^-1 g / 2."""
    along = spectrum.vectors.T @ gradient.ravel()
    return float(np.sum(along**2 / np.abs(spectrum.values)) / 2)


def push(mode: np.ndarray) -> np.ndarray:
    """A displacement (N, 3) off a saddle along a mode (N, 3)."""
    # an eigenvector's sign is arbitrary: fixed here, so that a run can be repeated
    first = mode.ravel()[np.argmax(np.abs(mode))]
    return mode * (PUSH * np.sign(first) / np.sqrt(np.max(np.sum(mode**2, axis=1))))
