"""A band of images between two minima, relaxed until its maxima show where saddles are.

Nudged elastic band with the model Hessian as preconditioner P: each image follows P^-1 F without
its part along the path, both measured in the metric of P (Makri, Ortner and Kermode, J. Chem.
Phys. 150, 094109 (2019)), and the images are then spread evenly along the path, which does what
springs do and cannot slide into the minima. Bonds and torsions relax equally fast, so that some
twenty steps are enough for what follows: a saddle search from each maximum.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.internals import Coordinates
from topokrates.model.potential import Potential

STEPS = 30
STEP = 0.5  # of the preconditioned move: the stiffest bonds are twice as stiff as the model says
LARGEST_MOVE = 0.12  # Å, of an atom in a step
RELAXED = 0.05  # eV/Å: force across the path at the top below which the band is good enough
SOFTNESS = 0.3  # eV/Å^2, for what the model Hessian does not see


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
    """Relaxes a path.

    Args:
        potential: of the molecule.
        coordinates: of the molecule.
        path: images with both ends, (M, N, 3); the ends stay.
        energies: of the two ends.
        steps: at most this many.
    """
    images = np.array(path)
    calls, inner = 0, len(images) - 2
    values = np.empty(len(images))
    values[[0, -1]] = energies
    for step in range(steps + 1):
        inside, forces = potential.energies_and_forces(images[1:-1])
        calls += inner
        # an image that is NaN is as high as can be, and is pulled along by its neighbours
        values[1:-1] = np.where(np.isfinite(inside), inside, np.nanmax(values[[0, -1]]) + 1e3)
        forces = np.nan_to_num(np.asarray(forces, float))
        moves, across = _moves(
            coordinates, jnp.asarray(images), jnp.asarray(values), jnp.asarray(forces)
        )
        top = int(np.argmax(values[1:-1]))
        if step == steps or float(across[top]) < RELAXED:
            break
        moves = np.asarray(moves)
        longest = np.sqrt(np.max(np.sum(moves**2, axis=2), axis=1))[:, None, None]
        images[1:-1] += STEP * moves * np.minimum(1, LARGEST_MOVE / np.maximum(longest, 1e-12))
        images = _spread(images)
    return Band(
        images, values, np.asarray(_tangents(jnp.asarray(images), jnp.asarray(values))), calls
    )


def _tangents(images: Array, energies: Array) -> Array:
    """Improved tangents (Henkelman and Jonsson 2000), towards the higher neighbour; (M, N, 3)."""
    forward = jnp.concatenate([images[1:] - images[:-1], (images[-1] - images[-2])[None]])
    backward = jnp.concatenate([(images[1] - images[0])[None], images[1:] - images[:-1]])
    up = jnp.concatenate([energies[1:] - energies[:-1], jnp.zeros(1)])
    down = jnp.concatenate([jnp.zeros(1), energies[1:] - energies[:-1]])
    rising, falling = (up > 0) & (down > 0), (up < 0) & (down < 0)
    mixed = jnp.maximum(jnp.abs(up), jnp.abs(down)), jnp.minimum(jnp.abs(up), jnp.abs(down))
    right = jnp.where(up + down > 0, mixed[0], mixed[1])
    left = jnp.where(up + down > 0, mixed[1], mixed[0])
    right = jnp.where(rising, 1.0, jnp.where(falling, 0.0, right + 1e-12))
    left = jnp.where(rising, 0.0, jnp.where(falling, 1.0, left + 1e-12))
    return right[:, None, None] * forward + left[:, None, None] * backward


@partial(jax.jit, static_argnums=0)
def _moves(coordinates: Coordinates, images: Array, energies: Array, forces: Array):
    """Preconditioned moves of the inner images across the path, and the largest force across."""
    tangents = _tangents(images, energies)[1:-1]

    def move(x, tangent, force):
        b = coordinates.jacobian(x)
        p = b.T @ coordinates.model_hessian(x) @ b + SOFTNESS * jnp.eye(x.size, dtype=x.dtype)
        t, f = tangent.reshape(-1), force.reshape(-1)
        t = t / jnp.sqrt(t @ p @ t)
        dx = jax.scipy.linalg.solve(p, f, assume_a="pos") - t * (t @ f)
        across = (p @ dx).reshape(x.shape)
        return dx.reshape(x.shape), jnp.sqrt(jnp.max(jnp.sum(across**2, axis=1)))

    return jax.vmap(move)(images[1:-1], tangents, forces)


def _spread(images: np.ndarray) -> np.ndarray:
    """The same path with its images at equal distances."""
    lengths = np.sqrt(np.sum((images[1:] - images[:-1]) ** 2, axis=(1, 2)))
    along = np.concatenate([[0], np.cumsum(lengths)])
    wanted = np.linspace(0, along[-1], len(images))
    flat = images.reshape(len(images), -1)
    spread = np.stack([np.interp(wanted, along, column) for column in flat.T], axis=1)
    return spread.reshape(images.shape)
