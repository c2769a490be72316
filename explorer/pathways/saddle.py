"""Saddle points by eigenvector following with exact Hessian-vector products.

A quasi-Newton estimate of the Hessian starts from the molecule's model Hessian. Exact products
with its own lowest eigenvector (a Davidson iteration whose preconditioner is the estimate) make it
exact where it matters; differences of gradients along the way keep the rest (Bofill's update).
Each step climbs along the lowest mode and descends along all others (Cerjan and Miller 1981;
Hermes, Sargsyan, Najm and Zador, JCTC 15, 6536 (2019) for the iterative diagonalisation). The last
word is the exact Hessian in float64: exactly one negative eigenvalue, rigid motions projected out.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from topokrates.certify import (
    CERTIFIED_FORCE,
    HESSIAN_REACH,
    PUSH,
    chord_steps,
    largest_force,
    modes,
    rigid_motions,
)
from topokrates.internals import Coordinates
from topokrates.model.potential import Potential
from topokrates.relax import Status

MAX_STEPS = 120
NEAR = 5e-3  # eV/Å: here the exact Hessian and Newton steps take over
FIRST_PRODUCTS, LATER_PRODUCTS = 10, 2
LONGEST_STEP, SHORTEST_STEP = 0.15, 0.005  # Å, of the atom that moves most
FLATTEST = 0.05  # eV/Å^2: softer modes are stepped along as if they were this stiff
HESSIANS = 4
SOFTNESS = 0.03


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
    """Climbs from a guess to a first-order saddle point.

    Args:
        potential: of the molecule; its float64 form is used.
        coordinates: of the molecule: gives the model Hessian.
        positions: guess, (N, 3), such as the top of a band.
        mode: direction to climb, (N, 3), such as the tangent there; any length.
    """
    climb = _Climb(potential.with_dtype("float64"), coordinates, np.array(positions, float))
    climb.follow(np.asarray(mode, float))
    return climb.run()


class _Climb:
    """The state of one search: a structure, its gradient, and what is known of its Hessian."""

    def __init__(self, potential: Potential, coordinates: Coordinates, x: np.ndarray):
        self.potential, self.x = potential, x
        self.calls = self.products = 0
        b = np.asarray(coordinates.jacobian(jnp.asarray(x)))
        model = np.asarray(coordinates.model_hessian(jnp.asarray(x)))
        self.hessian = b.T @ model @ b + SOFTNESS * np.eye(x.size)
        self.energy, self.gradient = self._evaluate(x)

    def run(self) -> Saddle:
        trust, hessians = LONGEST_STEP / 2, 0
        for step in range(MAX_STEPS):
            if not np.isfinite(self.gradient).all():
                return self._result(Status.EXPLODED)
            if largest_force(self.gradient) < NEAR:
                hessians += 1
                if (found := self._settle()) is not None:
                    return found
                if hessians == HESSIANS:
                    break
                trust = LONGEST_STEP / 4
            elif step:
                self._refine(LATER_PRODUCTS)
            trust = self._step(trust)
        return self._result(Status.NOT_CONVERGED)

    def follow(self, direction: np.ndarray) -> None:
        """Makes the estimate exact along a direction, then along its own lowest mode."""
        basis = self._basis()
        v = basis @ (basis.T @ direction.ravel())
        self._learn([v / np.linalg.norm(v)])
        self._refine(FIRST_PRODUCTS)

    def _basis(self) -> np.ndarray:
        rigid = rigid_motions(self.x)
        return np.linalg.svd(rigid, full_matrices=True)[0][:, rigid.shape[1] :]

    def _refine(self, products: int) -> None:
        """Davidson iteration for the lowest mode; every product is kept in the estimate."""
        basis, known = self._basis(), []
        for _ in range(products):
            values, vectors = np.linalg.eigh(basis.T @ self.hessian @ basis)
            v = basis @ vectors[:, 0]
            for other in known:
                v = v - other * (other @ v)
            if (length := np.linalg.norm(v)) < 0.05:  # nothing new to learn
                break
            known.append(v / length)
            error = self._learn(known)
            if error < 0.1 * abs(values[0]) + 0.02:
                break

    def _learn(self, directions: list[np.ndarray]) -> float:
        """Makes the estimate exact on these orthonormal directions, of which the last is new.

        Returns how wrong it was along the last one, energy per length squared.
        """
        s = np.stack(directions, axis=1)
        new = s[:, -1]
        product = self.potential.hessian_vector_products(
            self.x[None], new.reshape(1, *self.x.shape)
        )
        self.products += 1
        product = np.asarray(product, float).ravel()
        error = float(np.linalg.norm(product - self.hessian @ new))
        y = self.hessian @ s
        y[:, -1] = product
        outside = np.eye(len(new)) - s @ s.T
        inner = s.T @ y
        exact = y @ s.T
        self.hessian = (
            outside @ self.hessian @ outside + exact + exact.T - s @ ((inner + inner.T) / 2) @ s.T
        )
        return error

    def _step(self, trust: float) -> float:
        """One step up the lowest mode and down all others; returns the next longest step."""
        basis = self._basis()
        values, vectors = np.linalg.eigh(basis.T @ self.hessian @ basis)
        along = vectors.T @ (basis.T @ self.gradient.ravel())
        stiffness = np.maximum(np.abs(values), FLATTEST)
        move = -along / stiffness
        move[0] = along[0] / stiffness[0]
        dx = (basis @ (vectors @ move)).reshape(self.x.shape)
        longest = np.sqrt(np.max(np.sum(dx**2, axis=1)))
        dx *= min(1.0, trust / max(longest, 1e-12))
        energy, gradient = self._evaluate(self.x + dx)
        expected = self.gradient.ravel() + self.hessian @ dx.ravel()
        self.hessian += _bofill(self.hessian, dx.ravel(), (gradient - self.gradient).ravel())
        # trust follows how well the model foresaw the gradient
        miss = np.linalg.norm(gradient.ravel() - expected)
        miss /= max(np.linalg.norm((gradient - self.gradient).ravel()), 1e-12)
        self.x, self.energy, self.gradient = self.x + dx, energy, gradient
        trust = trust * 1.3 if miss < 0.5 else trust * 0.7 if miss > 1 else trust
        return float(np.clip(trust, SHORTEST_STEP, LONGEST_STEP))

    def _settle(self) -> Saddle | None:
        """Newton steps on the exact Hessian; a saddle, or None where the search must go on."""
        spectrum = self._exact()
        negative = int(np.sum(spectrum.values < 0))
        if negative == 1:
            polished = chord_steps(self.potential, self.x, spectrum, newton=True)
            self.calls += polished.calls
            moved = np.abs(polished.positions - self.x).max()
            self.x, self.energy = polished.positions, polished.energy
            self.gradient = polished.gradient
            if moved > HESSIAN_REACH:
                spectrum = self._exact()
                negative = int(np.sum(spectrum.values < 0))
            if negative == 1 and largest_force(self.gradient) <= CERTIFIED_FORCE:
                mode = spectrum.vectors[:, 0].reshape(self.x.shape)
                lowest = float(spectrum.values[0])
                return self._result(Status.SADDLE)._replace(
                    lowest_eigenvalue=lowest, negative_eigenvalues=1, mode=mode
                )
        elif negative > 1:
            # a saddle of higher order: leave it along the second mode, where it must go down
            mode = spectrum.vectors[:, 1].reshape(self.x.shape)
            self.x = self.x + mode * (PUSH / np.sqrt(np.max(np.sum(mode**2, axis=1))))
            self.energy, self.gradient = self._evaluate(self.x)
        return None

    def _exact(self):
        self.hessian = np.asarray(self.potential.hessians(self.x[None])[0], float)
        self.products += self.x.size
        return modes(self.hessian, self.x)

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        energies, forces = self.potential.energies_and_forces(x[None])
        self.calls += 1
        return float(energies[0]), -np.asarray(forces[0], float)

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
