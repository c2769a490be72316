"""Bands of images between minima, relaxed until their maxima show where saddles are.

Doubly nudged elastic bands (Trygubenko and Wales, J. Chem. Phys. 120, 2082 (2004)) relaxed by
L-BFGS, many at once: an image feels the potential across the path, springs along it, and of the
springs' force across the path what does not work against the potential (Henkelman and Jónsson's
tangents, J. Chem. Phys. 113, 9978 (2000)). Everything is measured in the metric of the model
Hessian P (Makri, Ortner and Kermode, J. Chem. Phys. 150, 094109 (2019)), so that bonds and torsions
relax equally fast and some ten steps are enough for what follows: a saddle search from each
maximum.
"""

from collections.abc import Generator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.model.potential import Potential
from topokrates.relaxation.internals import Coordinates
from topokrates.relaxation.polish import Gradients, Request, answer

STEPS = 30
MEMORY = 5  # pairs of steps and force changes that L-BFGS keeps
FIRST = 0.5  # of a preconditioned move: the stiffest bonds are twice as stiff as the model says
LARGEST_MOVE, SMALLEST_MOVE = 0.15, 0.02  # Å, of an atom in a step
WORSE = 1.5  # growth of all that pulls at a band after which its steps become smaller
RELAXED = 0.05  # eV/Å: force across the path at the top below which the band is good enough
SOFTNESS = 0.3  # eV/Å^2, for what the model Hessian does not see
SOFTNESS_CLUSTER = 5.0  # epsilon/sigma^2
SPRING = 0.3  # moves along the path that would make neighbours equally far, by this share
STIFFENING = 0.05  # of the springs across the path
PADDED = 8  # images are prepared in multiples of this: few programs for bands of any length


class Band(NamedTuple):
    """A path. positions (M, N, 3), energies (M,), tangents (M, N, 3), and gradient calls spent."""

    positions: np.ndarray
    energies: np.ndarray
    tangents: np.ndarray
    gradient_calls: int

    @property
    def maxima(self) -> list[int]:
        """Images higher than both neighbours, highest first."""
        e = self.energies
        inner = [i for i in range(1, len(e) - 1) if e[i] >= e[i - 1] and e[i] > e[i + 1]]
        return sorted(inner, key=lambda i: -e[i])


def relax_band(
    potential: Potential,
    coordinates: Coordinates,
    path: np.ndarray,
    energies: tuple[float, float],
    steps: int = STEPS,
) -> Band:
    """`relax_bands` of one path."""
    return relax_bands(potential, coordinates, [path], [energies], steps)[0]


def relax_bands(
    potential: Potential,
    coordinates: Coordinates,
    paths: Sequence[np.ndarray],
    energies: Sequence[tuple[float, float]],
    steps: int = STEPS,
) -> list[Band]:
    """Relaxes paths, all at once; each as it would alone.

    Args:
        potential: of the molecule.
        coordinates: of the molecule.
        paths: images with both ends, (M, N, 3) each, M as it may be; the ends stay.
        energies: of the two ends of each.
        steps: at most this many.
    """
    bands = [
        _relaxing(coordinates, np.array(path, float), ends, steps)
        for path, ends in zip(paths, energies, strict=True)
    ]
    return answer(potential, coordinates, bands)


def _relaxing(
    coordinates: Coordinates, images: np.ndarray, ends: tuple[float, float], steps: int
) -> Generator[Request, tuple[np.ndarray, np.ndarray], Band]:
    calls, inner = 0, len(images) - 2
    values = np.empty(len(images))
    values[[0, -1]] = ends
    memory: list[tuple[np.ndarray, np.ndarray]] = []
    pull = before = np.zeros_like(images[1:-1])
    cap = LARGEST_MOVE
    for step in range(steps + 1):
        inside, gradients = yield Gradients(images[1:-1])
        calls += inner
        # an image that is NaN is as high as can be, and is pulled along by its neighbours
        values[1:-1] = np.where(np.isfinite(inside), inside, np.nanmax(values[[0, -1]]) + 1e3)
        metric = _metrics(coordinates, images[1:-1])
        with np.errstate(invalid="ignore"):  # an image that is nowhere
            last, (pull, across) = pull, _pulls(images, values, np.nan_to_num(gradients), metric)
        top = int(np.argmax(values[1:-1]))
        if step == steps or across[top] < RELAXED:
            break
        if step and np.linalg.norm(pull) > WORSE * np.linalg.norm(last):
            # overshot: what was learnt on the way is of little use
            memory, cap = [(images[1:-1] - before, last - pull)], max(0.5 * cap, SMALLEST_MOVE)
        elif step:
            memory = [*memory, (images[1:-1] - before, last - pull)][-MEMORY:]
            cap = min(1.2 * cap, LARGEST_MOVE)
        before = images[1:-1].copy()
        images[1:-1] += _capped(_step(pull, metric, memory), cap)
    with np.errstate(invalid="ignore"):
        return Band(images, values, _tangents(images, values), calls)


def _tangents(images: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Improved tangents (Henkelman and Jónsson 2000), towards the higher neighbour; (M, N, 3)."""
    forward = np.concatenate([images[1:] - images[:-1], (images[-1] - images[-2])[None]])
    backward = np.concatenate([(images[1] - images[0])[None], images[1:] - images[:-1]])
    up = np.append(np.diff(energies), 0.0)
    down = np.insert(np.diff(energies), 0, 0.0)
    larger, smaller = (f(np.abs(up), np.abs(down)) for f in (np.maximum, np.minimum))
    rising, falling = (up > 0) & (down > 0), (up < 0) & (down < 0)
    right, left = np.where(up + down > 0, [larger, smaller], [smaller, larger])
    right = np.where(rising, 1.0, np.where(falling, 0.0, right + 1e-12))
    left = np.where(rising, 0.0, np.where(falling, 1.0, left + 1e-12))
    return right[:, None, None] * forward + left[:, None, None] * backward


def _metrics(coordinates: Coordinates, images: np.ndarray) -> np.ndarray:
    """The model Hessian in space of each image, positive definite; (M, 3N, 3N)."""
    count = len(images)
    padded = np.concatenate([images, np.repeat(images[-1:], -count % PADDED, axis=0)])
    chunks = padded.reshape(-1, PADDED, *images.shape[1:])
    found = [np.asarray(_model(coordinates, jnp.asarray(chunk))) for chunk in chunks]
    return np.concatenate(found)[:count]


@partial(jax.jit, static_argnums=0)
def _model(coordinates: Coordinates, images: Array) -> Array:
    def metric(x: Array) -> Array:
        if not len(coordinates.bonds):
            return coordinates.metric(x) + SOFTNESS_CLUSTER * jnp.eye(x.size, dtype=x.dtype)
        b = coordinates.jacobian(x)
        inside = b.T @ coordinates.model_hessian(x) @ b
        return inside + SOFTNESS * jnp.eye(x.size, dtype=x.dtype)

    return jax.vmap(metric)(images)


def _pulls(
    images: np.ndarray, energies: np.ndarray, gradients: np.ndarray, metric: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What pulls at each inner image, (M - 2, N, 3), and the largest force across the path."""
    tangents = _tangents(images, energies)[1:-1]
    pulls, across = np.empty_like(gradients), np.empty(len(gradients))
    for k, (t, p) in enumerate(zip(tangents, metric, strict=True)):
        t = t.ravel() / np.sqrt(t.ravel() @ p @ t.ravel())
        force = -gradients[k].ravel()
        falling = force - p @ t * (t @ force)  # without its part along the path
        way = np.linalg.solve(p, falling)
        forward, backward = images[k + 2] - images[k + 1], images[k + 1] - images[k]
        apart = np.linalg.norm(forward) - np.linalg.norm(backward)
        length = np.sqrt(t @ t)
        along = SPRING * 0.5 * apart / length
        aside = STIFFENING * (forward - backward).ravel()
        aside = aside - t * (t @ p @ aside)
        size = way @ p @ way
        if size > 0:
            aside = aside - way * (way @ p @ aside) / size
            # fades as the band comes to rest, which springs across the path would keep it from
            aside *= 2 / np.pi * np.arctan2(size, max(aside @ p @ aside, 1e-300))
        pulls[k] = (falling + p @ (along * t + aside)).reshape(pulls[k].shape)
        across[k] = np.sqrt(np.max(np.sum(falling.reshape(-1, 3) ** 2, axis=1)))
    return pulls, across


def _step(
    pull: np.ndarray, metric: np.ndarray, memory: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """The move of L-BFGS (Nocedal's two loops), the metric being its first Hessian."""
    q, used = pull.copy(), []
    for s, y in reversed(memory):
        curvature = np.vdot(s, y)
        if curvature > 1e-3 * np.linalg.norm(s) * np.linalg.norm(y):
            weight = np.vdot(s, q) / curvature
            q -= weight * y
            used.append((s, y, curvature, weight))
    flat = q.reshape(len(q), -1, 1)
    move = np.linalg.solve(metric, flat).reshape(pull.shape) * (1.0 if used else FIRST)
    for s, y, curvature, weight in reversed(used):
        move += s * (weight - np.vdot(y, move) / curvature)
    return move


def _capped(move: np.ndarray, cap: float) -> np.ndarray:
    longest = np.sqrt(np.max(np.sum(move**2, axis=-1)))
    return move * min(1.0, cap / max(longest, 1e-12))
