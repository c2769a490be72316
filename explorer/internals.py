"""Redundant internal coordinates: what a molecule is soft and stiff in.

All replicas of a molecule share one static list of bonds, angles and proper torsions, taken from
its bond graph, so that q(x) and B = dq/dx are the same code for every lane of a batch. What has no
fixed bond graph to speak of (clusters, several fragments, linear angles) falls back to Cartesian
coordinates, q = x and B = 1, under the same name, so that a minimiser is written once.
"""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

# Diagonal model Hessian: bonds eV/Å^2, angles and torsions eV/rad^2.
BOND_STIFFNESS, ANGLE_STIFFNESS, TORSION_STIFFNESS = 43.7, 4.08, 0.3
# Where nothing is known of the bonds: near that of a Lennard-Jones contact, epsilon/sigma^2.
CLUSTER_STIFFNESS = 50.0
# Added to the model Hessian of a molecule in Cartesian coordinates, for what no bond holds, eV/Å^2.
LOOSE_STIFFNESS = 1.0
NEWTON_STEPS = 4
LINEAR = np.deg2rad(165)  # an angle wider than this makes torsions over it meaningless


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Bonds, angles and torsions by atom index, or Cartesian coordinates where they will not do.

    Attributes:
        bonds: (b, 2). angles: (a, 3), the vertex in the middle. torsions: (t, 4).
        atoms: N.
        cartesian: whether q = x.
    """

    bonds: np.ndarray
    angles: np.ndarray
    torsions: np.ndarray
    atoms: int
    cartesian: bool

    @cached_property
    def _identity(self) -> tuple[object, ...]:
        lists = (self.bonds, self.angles, self.torsions)
        return (*(np.asarray(a, int).tobytes() for a in lists), self.atoms, self.cartesian)

    # compared by content: what is compiled for one molecule serves every object made for it
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Coordinates) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    def count(self) -> int:
        """Number of coordinates q."""
        if self.cartesian:
            return 3 * self.atoms
        return len(self.bonds) + len(self.angles) + len(self.torsions)

    def as_cartesian(self) -> "Coordinates":
        """The fallback that keeps the model Hessian."""
        return Coordinates(self.bonds, self.angles, self.torsions, self.atoms, True)

    def values(self, x: Array) -> Array:
        """q(x): (N, 3) to (count,), Å and radians."""
        return x.reshape(-1) if self.cartesian else self._internal(x)[0]

    def jacobian(self, x: Array) -> Array:
        """B = dq/dx, (count, 3N)."""
        return jnp.eye(x.size, dtype=x.dtype) if self.cartesian else self._internal(x)[1]

    def difference(self, new: Array, old: Array) -> Array:
        """new - old with torsions wrapped into (-pi, pi]."""
        change = new - old
        if self.cartesian:
            return change
        wrapped = jnp.arctan2(jnp.sin(change), jnp.cos(change))
        first = len(self.bonds) + len(self.angles)
        return jnp.where(jnp.arange(self.count) >= first, wrapped, change)

    def model_hessian(self, x: Array) -> Array:
        """Guess of the Hessian in q, (count, count)."""
        if not self.cartesian:
            return jnp.diag(jnp.asarray(self._stiffness, x.dtype))
        if not len(self.bonds):
            return CLUSTER_STIFFNESS * jnp.eye(x.size, dtype=x.dtype)
        b = self._internal(x)[1]
        stiffness = jnp.asarray(self._stiffness, x.dtype)
        return (b.T * stiffness) @ b + LOOSE_STIFFNESS * jnp.eye(x.size, dtype=x.dtype)

    def approach(self, x: Array, target: Array) -> Array:
        """The structure nearest to these coordinates q, started from x; (N, 3).

        Gauss-Newton steps, bonds and angles weighing more than torsions. Redundant coordinates
        cannot always be met; the least-squares answer is given.
        """
        weights = jnp.diag(self.model_hessian(x))

        def step(_, x):
            b = self.jacobian(x)
            wanted = self.difference(target, self.values(x))
            normal = (b.T * weights) @ b + 1e-4 * jnp.eye(x.size, dtype=x.dtype)
            return x + jax.scipy.linalg.solve(normal, b.T @ (weights * wanted)).reshape(x.shape)

        return jax.lax.fori_loop(0, NEWTON_STEPS, step, x)

    def bend(self, x: Array, gradient: Array) -> Array:
        """Part of a Cartesian Hessian that is due to the curvature of q, (3N, 3N).

        sum_k g_k d^2 q_k / dx^2 for a gradient g (count,) in q: with it H_x = B' H_q B + bend.
        """
        if self.cartesian:
            return jnp.zeros((x.size, x.size), x.dtype)

        def pulled(y: Array) -> Array:
            return (gradient @ self.jacobian(y)).reshape(-1)

        return jax.jacfwd(pulled)(x).reshape(x.size, x.size)

    def displaced(self, x: np.ndarray, dx: np.ndarray) -> np.ndarray:
        """x moved by dx along the curve on which the coordinates q change evenly; (N, 3).

        A straight step along a soft torsion stretches the bonds that turn with it; this one does
        not. In Cartesian coordinates it is x + dx.
        """
        if self.cartesian:
            return x + dx
        return np.asarray(_displaced(self, jnp.asarray(x), jnp.asarray(dx)))

    @cached_property
    def _stiffness(self) -> np.ndarray:
        kinds = (self.bonds, self.angles, self.torsions)
        values = (BOND_STIFFNESS, ANGLE_STIFFNESS, TORSION_STIFFNESS)
        return np.concatenate([np.full(len(k), v) for k, v in zip(kinds, values, strict=True)])

    def _internal(self, x: Array) -> tuple[Array, Array]:
        values, rows = [], []
        kinds = (
            (_length, self.bonds),
            (_angle, self.angles),
            (_torsion, self.torsions),
        )
        for function, atoms in kinds:
            if not len(atoms):
                continue
            value, gradient = jax.vmap(jax.value_and_grad(function))(x[atoms])
            row = jnp.zeros((len(atoms), self.atoms, 3), x.dtype)
            rows.append(row.at[np.arange(len(atoms))[:, None], atoms].set(gradient))
            values.append(value)
        return jnp.concatenate(values), jnp.concatenate(rows).reshape(-1, x.size)


@partial(jax.jit, static_argnums=0)
def _displaced(coordinates: Coordinates, x: Array, dx: Array) -> Array:
    change = coordinates.jacobian(x) @ dx.reshape(-1)
    return coordinates.approach(x + dx, coordinates.values(x) + change)


def coordinates(bonds: np.ndarray, positions: np.ndarray) -> Coordinates:
    """The coordinates for a molecule with these bonds.

    Args:
        bonds: pairs of bonded atoms, (M, 2); may be empty.
        positions: a typical geometry, (N, 3), Å: tells where angles are linear.

    Returns:
        Internal coordinates, or Cartesian ones where these cannot tell every motion: the bonds do
        not join all atoms, an angle is linear, or three atoms about one are all there is (as in
        formaldehyde and ammonia: no torsion feels the plane being left).
    """
    atoms = len(positions)
    neighbours: dict[int, list[int]] = defaultdict(list)
    for i, j in bonds:
        neighbours[int(i)].append(int(j))
        neighbours[int(j)].append(int(i))
    angles = [(i, k, j) for k in sorted(neighbours) for i, j in combinations(neighbours[k], 2)]
    torsions = [
        (i, j, k, m)
        for j, k in (tuple(map(int, bond)) for bond in bonds)
        for i in neighbours[j]
        for m in neighbours[k]
        if i != k and m != j and i != m
    ]
    umbrella = not torsions and any(len(around) == 3 for around in neighbours.values())
    linear = any(_numpy_angle(positions[list(angle)]) > LINEAR for angle in angles)
    return Coordinates(
        np.asarray(bonds, int).reshape(-1, 2),
        np.array(angles, int).reshape(-1, 3),
        np.array(torsions, int).reshape(-1, 4),
        atoms,
        cartesian=linear or umbrella or not _connected(atoms, neighbours) or atoms < 3,
    )


def _connected(atoms: int, neighbours: dict[int, list[int]]) -> bool:
    seen, stack = {0}, [0]
    while stack:
        for other in neighbours[stack.pop()]:
            if other not in seen:
                seen.add(other)
                stack.append(other)
    return len(seen) == atoms


def _numpy_angle(x: np.ndarray) -> float:
    u, v = x[0] - x[1], x[2] - x[1]
    cosine = u @ v / np.sqrt((u @ u) * (v @ v))
    return float(np.arccos(np.clip(cosine, -1, 1)))


def _length(x: Array) -> Array:
    return jnp.linalg.norm(x[0] - x[1])


def _angle(x: Array) -> Array:
    u, v = x[0] - x[1], x[2] - x[1]
    return jnp.arctan2(jnp.linalg.norm(jnp.cross(u, v)), u @ v)


def _torsion(x: Array) -> Array:
    u, v, w = x[1] - x[0], x[2] - x[1], x[3] - x[2]
    across, along = jnp.cross(u, v), jnp.cross(v, w)
    return jnp.arctan2(jnp.linalg.norm(v) * (u @ along), across @ along)
