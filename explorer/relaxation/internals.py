"""Redundant internal coordinates: what a molecule is soft and stiff in.

All replicas of a molecule share one static list of bonds, angles, proper and improper torsions,
taken from its bond graph, so that q(x) and B = dq/dx are the same code for every lane of a batch.
What has no fixed bond graph to speak of (clusters, several fragments, linear angles) falls back to
Cartesian coordinates, q = x and B = 1, under the same name, so that a minimiser is written once.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.relaxation.stiffness import pair_springs, stiffness

# Where nothing is known of the bonds: near that of a Lennard-Jones contact, epsilon/sigma^2.
CLUSTER_STIFFNESS = 50.0
# Added to the model Hessian of a molecule in Cartesian coordinates, for what no bond holds, eV/Å^2.
LOOSE_STIFFNESS = 1.0
NEWTON_STEPS = 4
STRAIGHT = np.deg2rad(174)  # an angle that has become so wide hands a descent over, and so does
BROKEN = 1.6  # a bond longer than this many times its usual length
LINEAR = np.deg2rad(165)  # an angle wider than this makes torsions over it meaningless
BLUNT = 0.03  # sine of an angle below which its derivatives grow no further


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Bonds, angles and torsions by atom index, or Cartesian coordinates where they will not do.

    Attributes:
        bonds: (b, 2). angles: (a, 3), the vertex in the middle. torsions: (t, 4).
        impropers: (i, 4), as torsions: i-j-k-l where i, j and l are the neighbours of k. They feel
            the plane being left, which torsions would have to be stiff for.
        lengths: of the bonds in a typical geometry, (b,).
        stiffness: diagonal of the model Hessian, (b + a + t + i,).
        atoms: N.
        cartesian: whether q = x.
    """

    bonds: np.ndarray
    angles: np.ndarray
    torsions: np.ndarray
    impropers: np.ndarray
    lengths: np.ndarray
    stiffness: np.ndarray
    atoms: int
    cartesian: bool

    @cached_property
    def _identity(self) -> tuple[object, ...]:
        lists = (self.bonds, self.angles, self.torsions, self.impropers)
        numbers = (self.lengths.tobytes(), self.stiffness.tobytes())
        return (*(a.tobytes() for a in lists), *numbers, self.atoms, self.cartesian)

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
        return len(self.stiffness)

    def as_cartesian(self) -> "Coordinates":
        """The fallback that keeps the model Hessian."""
        return replace(self, cartesian=True)

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
            return jnp.diag(jnp.asarray(self.stiffness, x.dtype))
        if not len(self.bonds):
            return CLUSTER_STIFFNESS * jnp.eye(x.size, dtype=x.dtype)
        b = self._internal(x)[1]
        stiffness = jnp.asarray(self.stiffness, x.dtype)
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

    def metric(self, x: Array) -> Array:
        """What a Cartesian step is preconditioned with, (3N, 3N), positive definite.

        The model Hessian of a molecule; of a cluster, springs between all pairs.
        """
        return self.model_hessian(x) if len(self.bonds) else pair_springs(x)

    def strained(self, q: Array) -> Array:
        """Whether such coordinates describe a structure badly: a straight angle, a broken bond."""
        first, last = len(self.bonds), len(self.bonds) + len(self.angles)
        torn = q[:first] > BROKEN * jnp.asarray(self.lengths, q.dtype)
        return jnp.any(torn) | jnp.any(q[first:last] > STRAIGHT)

    def _internal(self, x: Array) -> tuple[Array, Array]:
        """q(x) and its derivatives in closed form (Wilson, Decius and Cross 1955)."""
        values, rows = [], []
        kinds = (
            (_lengths, self.bonds),
            (_angles, self.angles),
            (_torsions, np.concatenate([self.torsions, self.impropers])),
        )
        for function, atoms in kinds:
            if not len(atoms):
                continue
            value, gradient = function(*(x[column] for column in atoms.T))
            row = jnp.zeros((len(atoms), self.atoms, 3), x.dtype)
            place = np.arange(len(atoms))[:, None], atoms
            rows.append(row.at[place].set(gradient, unique_indices=True))
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
    impropers = [(i, j, k, m) for k, (i, j, m) in _forks(neighbours)]
    umbrella = not torsions and bool(impropers)
    linear = any(_numpy_angle(positions[list(angle)]) > LINEAR for angle in angles)
    kinds = (bonds, 2), (angles, 3), (torsions, 4), (impropers, 4)
    b, a, t, i = (np.array(rows, int).reshape(-1, width) for rows, width in kinds)
    ends = np.asarray(positions, float)[b]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    stiff = stiffness(b, a, t, i, lengths)
    whole = _connected(atoms, neighbours) and atoms > 2
    return Coordinates(b, a, t, i, lengths, stiff, atoms, cartesian=linear or umbrella or not whole)


def _forks(neighbours: dict[int, list[int]]) -> list[tuple[int, list[int]]]:
    """Atoms with three neighbours."""
    return [(k, neighbours[k]) for k in sorted(neighbours) if len(neighbours[k]) == 3]


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


def _dot(u: Array, v: Array) -> Array:
    return jnp.sum(u * v, axis=-1, keepdims=True)


def _lengths(a: Array, b: Array) -> tuple[Array, Array]:
    u = a - b
    length = jnp.sqrt(_dot(u, u))
    u = u / length
    return length[:, 0], jnp.stack([u, -u], axis=1)


def _angles(a: Array, b: Array, c: Array) -> tuple[Array, Array]:
    u, v = a - b, c - b
    long_u, long_v = jnp.sqrt(_dot(u, u)), jnp.sqrt(_dot(v, v))
    u, v = u / long_u, v / long_v
    across, cosine = jnp.cross(u, v), _dot(u, v)
    sine = jnp.sqrt(_dot(across, across))
    blunt = jnp.maximum(sine, BLUNT)
    first = (cosine * u - v) / (long_u * blunt)
    last = (cosine * v - u) / (long_v * blunt)
    return jnp.arctan2(sine, cosine)[:, 0], jnp.stack([first, -first - last, last], axis=1)


def _torsions(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array]:
    u, v, w = b - a, c - b, d - c
    m, n = jnp.cross(u, v), jnp.cross(v, w)
    vv = _dot(v, v)
    length = jnp.sqrt(vv)
    value = jnp.arctan2(length * _dot(u, n), _dot(m, n))[:, 0]
    first = -length * m / jnp.maximum(_dot(m, m), BLUNT**2 * vv * _dot(u, u))
    last = length * n / jnp.maximum(_dot(n, n), BLUNT**2 * vv * _dot(w, w))
    p, r = _dot(u, v) / vv, _dot(w, v) / vv
    inner = r * last - (1 + p) * first, p * first - (1 + r) * last
    return value, jnp.stack([first, *inner, last], axis=1)
