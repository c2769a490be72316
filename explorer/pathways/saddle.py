"""Saddle points by eigenvector following in internal coordinates.

A climb starts from a Hessian and the direction of the path, and follows the mode that overlaps most
with it: up along that mode, down along all others (Cerjan and Miller, J. Chem. Phys. 75, 2800
(1981)). The Hessian is the exact one, or that of some minimum of the molecule, carried over in
internal coordinates (bonds and angles are as stiff anywhere) and made exact along the path and the
softest modes by Hessian-vector products. Hessian, steps and Bofill's update live
in the molecule's internal coordinates, where a turn about a bond is a straight line and does not
spoil what is known of the bonds that turn. The last word is the exact Hessian in float64: exactly
one negative eigenvalue, rigid motions projected out; where Newton steps on it led further, its two
lowest eigenvalues there (Davidson). Many climbs go side by side and ask for gradients and Hessians
together; none hears of another.
"""

from collections.abc import Generator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.model.potential import Potential
from topokrates.pathways import swift_climb
from topokrates.relaxation.certify import (
    CERTIFIED_FORCE,
    HESSIAN_REACH,
)
from topokrates.relaxation.davidson import corrected
from topokrates.relaxation.internals import Coordinates
from topokrates.relaxation.modes import Modes, modes, rigid_motions
from topokrates.relaxation.polish import (
    PUSH,
    Curvature,
    Gradient,
    Products,
    Request,
    answer,
    chord,
    largest_force,
    softest_modes,
)
from topokrates.relaxation.relax import Status

MAX_STEPS = 100
NEAR = 1e-3  # eV/Å: here the exact Hessian and Newton steps take over
LONGEST_STEP, SHORTEST_STEP = 0.3, 0.02  # Å or radians, of the coordinate that changes most
FLATTEST = 5e-3  # softer modes are stepped along as if they were this stiff
RENEWED = 20  # steps after which the softest modes are computed anew
HESSIANS = 6
GUIDED = 0.3  # of 3N: products that correct a guide, as many as a peptide has soft modes
SURE = 0.25  # of 3N: products for the two softest modes at the end
AT_REST = 8  # steps for a climb that begins where it ends


class Saddle(NamedTuple):
    """A stationary point reached by climbing, and the evidence.

    Attributes:
        positions: (N, 3).
        energy, max_force: there, in float64.
        lowest_eigenvalue, negative_eigenvalues: of the exact Hessian after projection; NaN and -1
            if it was never built.
        mode: lowest eigenvector, (N, 3), unit length.
        gradient_calls, hessian_vector_products: spent.
        status: SADDLE for a first-order saddle point, else NOT_CONVERGED or EXPLODED.
    """

    positions: np.ndarray
    energy: float
    max_force: float
    lowest_eigenvalue: float
    negative_eigenvalues: int
    mode: np.ndarray
    gradient_calls: int
    hessian_vector_products: int
    status: Status


def find_saddle(
    potential: Potential, coordinates: Coordinates, positions: np.ndarray, mode: np.ndarray
) -> Saddle:
    """`find_saddles` of one guess."""
    return find_saddles(potential, coordinates, [positions], [mode])[0]


def find_saddles(
    potential: Potential,
    coordinates: Coordinates,
    guesses: Sequence[np.ndarray],
    directions: Sequence[np.ndarray],
    guide: np.ndarray | None = None,
) -> list[Saddle]:
    """Climbs from guesses to first-order saddle points, all at once; each as it would alone.

    Args:
        potential: of the molecule; its float64 form is used.
        coordinates: of the molecule.
        guesses: (N, 3) each, such as the tops of bands.
        directions: to climb along, (N, 3) each, such as the tangents there; of any length. One
            of length zero stands for the softest mode there.
        guide: from `internal_hessian` at some minimum of the molecule, (Q, Q); without one each
            climb begins with an exact Hessian.
    """
    potential = potential.with_dtype("float64")
    starts = [np.array(x, float) for x in guesses]
    directions = [np.asarray(direction, float) for direction in directions]
    spent = [0] * len(starts)
    if swift_climb.applies(potential, coordinates):
        tops = swift_climb.climb(potential.function, potential.inputs, starts, directions)
        spent = [top.steps for top in tops]
        # what did not come to rest is judged where it is, at once
        climbs = [
            _Climb(coordinates, top.mode, AT_REST if top.rested else 0).run(top.positions)
            for top in tops
        ]
    else:
        climbs = [
            _Climb(coordinates, direction, guide=guide).run(x)
            for x, direction in zip(starts, directions, strict=True)
        ]
    found = answer(potential, coordinates, climbs)
    return [
        saddle._replace(
            gradient_calls=saddle.gradient_calls + steps,
            hessian_vector_products=saddle.hessian_vector_products + steps * saddle.positions.size,
        )
        for saddle, steps in zip(found, spent, strict=True)
    ]


def internal_hessian(
    potential: Potential, coordinates: Coordinates, positions: np.ndarray
) -> np.ndarray | None:
    """The Hessian of a minimum (N, 3) in the molecule's internal coordinates, (Q, Q).

    Where these are redundant, the model Hessian stands for what no motion of atoms can tell. None
    for coordinates that are Cartesian: there nothing could be carried over.
    """
    if coordinates.cartesian:
        return None
    x = np.asarray(positions, float)
    (hessian,) = np.asarray(potential.with_dtype("float64").hessians(x[None]), float)
    basis, inverse = _motions(coordinates, x, np.asarray(_at(coordinates, jnp.asarray(x))[1]))
    outside = np.eye(len(basis)) - basis @ basis.T
    model = np.asarray(coordinates.model_hessian(jnp.asarray(x)))
    return inverse.T @ hessian @ inverse + outside @ model @ outside


Asked = Generator[Request, Any, Any]


class _Climb:
    """The state of one search: a structure, its gradient, its Hessian in q, the mode it follows."""

    def __init__(
        self,
        coordinates: Coordinates,
        direction: np.ndarray,
        steps: int = MAX_STEPS,
        guide: np.ndarray | None = None,
    ):
        self.coordinates, self.direction, self.steps = coordinates, direction, steps
        self.guide = guide
        self.calls = self.products = self.hessians = 0

    def run(self, x: np.ndarray) -> Generator[Request, Any, Saddle]:
        yield from self._arrive(x)
        if not np.isfinite(x).all():
            return self._result(Status.EXPLODED)
        self.mode = self.jacobian @ self.direction.ravel()
        trust, age = LONGEST_STEP / 2, RENEWED
        for _ in range(self.steps):
            if not np.isfinite(self.gradient).all():
                return self._result(Status.EXPLODED)
            near = largest_force(self.gradient) < NEAR
            if self.hessians >= HESSIANS and (near or age == RENEWED):
                break
            if near:
                spectrum, age = (yield from self._exact()), 0
                if (found := (yield from self._settle(spectrum))) is not None:
                    return found
            elif age == RENEWED:
                age = 0
                yield from self._guided()
            trust = yield from self._step(trust)
            age += 1
        finite = np.isfinite(self.gradient).all()
        return self._result(Status.NOT_CONVERGED if finite else Status.EXPLODED)

    def _arrive(self, x: np.ndarray) -> Asked:
        """Energy, gradient and coordinates at a new structure."""
        if not np.isfinite(x).all():
            self.x, self.energy, self.gradient = x, np.nan, np.full(x.shape, np.nan)
            return
        self.energy, self.gradient = yield Gradient(x)
        self.calls += 1
        self.x = x
        values, jacobian = _at(self.coordinates, jnp.asarray(x))
        self.values, self.jacobian = np.asarray(values), np.asarray(jacobian)
        self.basis, self.inverse = _motions(self.coordinates, x, self.jacobian)
        self.slope = self.inverse.T @ self.gradient.ravel()

    def _step(self, trust: float) -> Generator[Request, Any, float]:
        """One step up the followed mode and down all others; returns the next longest step."""
        values, vectors = np.linalg.eigh(self.basis.T @ self.hessian @ self.basis)
        vectors = self.basis @ vectors
        followed = int(np.argmax(np.abs(vectors.T @ self.mode)))
        if values[followed] > 0 and values[0] < 0:
            followed = 0  # the way up has been lost, but there is one
        self.mode = vectors[:, followed]
        move = -(vectors.T @ self.slope) / np.maximum(np.abs(values), FLATTEST)
        move[followed] *= -1
        dq = vectors @ move
        dq *= min(1.0, trust / max(np.max(np.abs(dq)), 1e-12))
        before = self.values, self.slope, self.energy
        foreseen = self.slope @ dq + dq @ self.hessian @ dq / 2
        moved = _moved(self.coordinates, jnp.asarray(self.x), jnp.asarray(dq))
        yield from self._arrive(np.asarray(moved))
        if not np.isfinite(self.gradient).all():
            return trust
        dq = np.asarray(
            self.coordinates.difference(jnp.asarray(self.values), jnp.asarray(before[0]))
        )
        self.hessian = self.hessian + _bofill(self.hessian, dq, self.slope - before[1])
        miss = abs(self.energy - before[2] - foreseen) / max(abs(foreseen), 1e-5)
        trust = trust * 1.4 if miss < 0.5 else trust * 0.6 if miss > 1.5 else trust
        return float(np.clip(trust, SHORTEST_STEP, LONGEST_STEP))

    def _settle(self, spectrum: Modes) -> Generator[Request, Any, Saddle | None]:
        """Newton steps on the exact Hessian; a saddle, or None where the search must go on."""
        negative = int(np.sum(spectrum.values < 0))
        if negative > 1:
            # a saddle of higher order: leave it along the second mode, where it must go down
            mode = spectrum.vectors[:, 1].reshape(self.x.shape)
            yield from self._arrive(
                self.x + mode * (PUSH / np.sqrt(np.max(np.sum(mode**2, axis=1))))
            )
        if negative != 1:
            return None
        polished = yield from chord(self.coordinates, self.x, spectrum, newton=True)
        self.calls += polished.calls
        moved = np.abs(polished.positions - self.x).max()
        yield from self._arrive(polished.positions)
        lowest, mode = float(spectrum.values[0]), spectrum.vectors[:, 0].reshape(self.x.shape)
        if largest_force(self.gradient) > CERTIFIED_FORCE:
            return None
        if moved > HESSIAN_REACH:
            near_by = (spectrum.vectors * spectrum.values) @ spectrum.vectors.T
            found = yield from softest_modes(self.x, near_by, SURE, 2)
            self.products += found.products
            if found.converged:
                signs = found.values - np.copysign(found.residuals, found.values)
                negative = int(np.sum(signs < 0)) if np.all(signs * found.values > 0) else -1
                lowest, mode = float(found.values[0]), found.mode
            else:
                spectrum = yield from self._exact()
                negative = int(np.sum(spectrum.values < 0))
                lowest, mode = spectrum.values[0], spectrum.vectors[:, 0].reshape(self.x.shape)
        if negative != 1:
            return None
        return self._result(Status.SADDLE)._replace(
            lowest_eigenvalue=float(lowest), negative_eigenvalues=1, mode=mode
        )

    def _guided(self) -> Generator[Request, Any, None]:
        """A Hessian in q that is exact along the way up and the softest modes."""
        if self.guide is None:
            yield from self._exact()
            return
        bend = np.asarray(_bend(self.coordinates, jnp.asarray(self.x), jnp.asarray(self.slope)))
        inside = self.hessian if self.hessians else self.guide
        guess = self.jacobian.T @ inside @ self.jacobian + bend
        soft = modes(guess, self.x).vectors[:, : int(GUIDED * self.x.size)]
        way = self.inverse @ self.mode
        way -= soft @ (soft.T @ way)
        rigid = rigid_motions(self.x)
        way -= rigid @ (rigid.T @ way)
        if (norm := np.linalg.norm(way)) > 1e-6:
            soft = np.column_stack([way / norm, soft])
        images = yield Products(self.x, soft.T.reshape(-1, *self.x.shape))
        self.hessians += 1
        self.products += len(images)
        self.hessian = (
            self.inverse.T
            @ (corrected(guess, soft, images.reshape(len(images), -1).T) - bend)
            @ self.inverse
        )

    def _exact(self) -> Generator[Request, Any, Modes]:
        """The exact Hessian, in q for the steps to come and as modes in space."""
        hessian = yield Curvature(self.x)
        self.products += self.x.size
        self.hessians += 1
        bend = _bend(self.coordinates, jnp.asarray(self.x), jnp.asarray(self.slope))
        self.hessian = self.inverse.T @ (hessian - np.asarray(bend)) @ self.inverse
        return modes(hessian, self.x)

    def _result(self, status: Status) -> Saddle:
        return Saddle(
            self.x,
            self.energy,
            largest_force(self.gradient),
            np.nan,
            -1,
            np.zeros_like(self.x),
            self.calls,
            self.products,
            status,
        )


def _motions(
    coordinates: Coordinates, x: np.ndarray, jacobian: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The directions in q that a motion of atoms can take, and the pseudo-inverse of B."""
    if coordinates.cartesian:
        rigid = rigid_motions(x)
        return np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :], np.eye(x.size)
    u, s, vt = np.linalg.svd(jacobian, full_matrices=False)
    kept = s > 1e-4 * s[0]
    return u[:, kept], (vt[kept].T / s[kept]) @ u[:, kept].T


@partial(jax.jit, static_argnums=0)
def _at(coordinates: Coordinates, x: Array) -> tuple[Array, Array]:
    return coordinates.values(x), coordinates.jacobian(x)


@partial(jax.jit, static_argnums=0)
def _moved(coordinates: Coordinates, x: Array, dq: Array) -> Array:
    if coordinates.cartesian:
        return x + dq.reshape(x.shape)
    return coordinates.approach(x, coordinates.values(x) + dq)


@partial(jax.jit, static_argnums=0)
def _bend(coordinates: Coordinates, x: Array, gradient: Array) -> Array:
    return coordinates.bend(x, gradient)


def _bofill(hessian: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bofill's update: symmetric rank one and Powell's, mixed by how well the first is posed."""
    r = y - hessian @ s
    rs, ss, rr = r @ s, s @ s, r @ r
    if ss < 1e-20 or rr < 1e-20:
        return np.zeros_like(hessian)
    powell = (np.outer(r, s) + np.outer(s, r)) / ss - rs / ss**2 * np.outer(s, s)
    phi = rs**2 / (rr * ss)
    rank_one = np.outer(r, r) / rs if abs(rs) > 1e-12 else 0
    return phi * rank_one + (1 - phi) * powell
