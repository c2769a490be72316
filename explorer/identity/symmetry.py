"""Equivalent atoms of a molecule, and the RMSD that does not care which of them is which.

Two geometries are one structure if some automorphism of the bond graph (elements kept) followed by
a proper rotation carries one onto the other. A small peptide already has thousands: each methyl
contributes 3! = 6. But they are a product of few and small factors:

- *Skeleton*: every atom except hydrogens with a single bond, to a heavy atom. Atoms that colour
  refinement (Weisfeiler-Lehman) tells apart are fixed. The others fall into blocks with neither a
  colour nor a bond in common, for instance one phenyl ring, one isopropyl group; the skeleton's
  automorphisms are exactly the product of the blocks' own. A peptide has a handful.
- *Hydrogens*: whatever the skeleton does, those on one heavy atom permute freely among themselves.

So every skeleton automorphism is a lane. It is superposed on what no permutation of hydrogens
changes (skeleton and the centroid of each hydrogen group), then each group takes its best
assignment, then all atoms are superposed, and so on until nothing changes. Lanes run as one batch.
Where the two structures differ widely the fixed point depends on the start, and where the skeleton
is a point or a line (methane, ethane) there is no start: then all automorphisms are tried, which is
cheap because the covariance of a superposition is a sum over the factors of the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations, permutations
from math import factorial, prod

import numpy as np

from topokrates.identity.clusters import match_clusters
from topokrates.identity.superposition import Match, overlaps, rotations

MAX_ORDERS = 5040  # skeleton automorphisms that are listed
MAX_BOUND_ORDERS = 64  # of these, so many are tried for a bound
MAX_LANES = 64  # of these, so many go on to the assignment of hydrogens
MAX_EXHAUSTIVE = 20_000  # automorphisms, hydrogens included, that are all tried

_FLAT = 0.05  # Å^2: mean square spread below which a direction fixes no rotation


def _is_odd(permutation: Sequence[int]) -> bool:
    """Whether a permutation is odd."""
    pairs = combinations(permutation, 2)
    return sum(first > second for first, second in pairs) % 2 == 1


_PERMUTATIONS = {n: np.array(list(permutations(range(n)))) for n in (2, 3, 4)}
_ODD = {n: np.array([_is_odd(p) for p in options]) for n, options in _PERMUTATIONS.items()}


class Symmetry:
    """The automorphisms of a bond graph, factorised.

    Args:
        numbers: (N,) atomic numbers.
        bonds: (M, 2) pairs of atoms; bond orders do not matter.

    Attributes:
        colours: (N,) int, equal for atoms that may be equivalent.
        size: the number of automorphisms; None if there are too many to tell.
    """

    def __init__(self, numbers: np.ndarray, bonds: np.ndarray) -> None:
        numbers = np.asarray(numbers)
        n = self.n_atoms = len(numbers)
        neighbours: list[list[int]] = [[] for _ in range(n)]
        for i, j in np.asarray(bonds, dtype=int).reshape(-1, 2).tolist():
            neighbours[i].append(j)
            neighbours[j].append(i)
        heavy = numbers != 1
        light = [sum(not heavy[j] for j in near) for near in neighbours]
        leaf = [
            bool(not heavy[i] and len(near) == 1 and heavy[near[0]] and light[near[0]] <= 4)
            for i, near in enumerate(neighbours)
        ]
        self._hydrogens = [sorted(j for j in near if leaf[j]) for near in neighbours]
        for i, near in enumerate(neighbours):
            near[:] = sorted(j for j in near if not leaf[j]) + self._hydrogens[i]
        self._neighbours = neighbours
        self.skeleton = np.flatnonzero(~np.array(leaf, dtype=bool))
        self.colours = _refine_colours(numbers, neighbours, leaf)
        self._blocks = self._find_blocks()
        # Groups of k hydrogens that permute, and the projector on what they leave unchanged.
        self._groups = {
            k: np.array([h for h in self._hydrogens if len(h) == k], dtype=int).reshape(-1, k)
            for k in _PERMUTATIONS
        }
        self._reduce = np.eye(n)
        for h in self._hydrogens:
            self._reduce[np.ix_(h, h)] = 1 / max(len(h), 1)
        self._centres = np.array([i for i in range(n) if len(neighbours[i]) == 4], dtype=int)
        local = prod(factorial(len(h)) for h in self._hydrogens)
        self.size = None if self._blocks is None else local * prod(len(o) for _, o in self._blocks)

    @cached_property
    def orders(self) -> np.ndarray | None:
        """All automorphisms of the skeleton (L, N), hydrogens in step; the identity comes first.

        None where there are more than MAX_ORDERS.
        """
        if self._blocks is None or prod(len(options) for _, options in self._blocks) > MAX_ORDERS:
            return None
        orders = np.arange(self.n_atoms)[None]
        for atoms, options in self._blocks:
            count = len(orders)
            orders = np.repeat(orders, len(options), axis=0)
            orders[:, atoms] = np.tile(options, (count, 1))
        return self._with_hydrogens(orders)

    def match(
        self,
        reference: np.ndarray,
        positions: np.ndarray,
        *,
        keep_handedness: bool = False,
        thorough: bool = True,
    ) -> Match:
        """Lays `positions` (N, 3) onto `reference` (N, 3) by automorphisms and proper rotations.

        Args:
            keep_handedness: admit only automorphisms after which every atom with four neighbours,
                these told apart, has the handedness that it has in the reference. The hydrogens
                of a methylene group, say, then never change places: no motion short of breaking
                bonds exchanges them. It is what a path between the two structures needs. Where
                the skeleton's automorphisms are too many to list, this holds for hydrogens only.
            thorough: try every automorphism (up to MAX_EXHAUSTIVE). Without it a close match is
                found all the same, while widely different structures may read a little too far.
        """
        origin, centre = reference.mean(0), positions.mean(0)
        a, b = reference - origin, positions - centre
        base = self._lanes(a, b)
        opposite = np.zeros((len(base), self.n_atoms), dtype=bool)
        if keep_handedness:
            opposite = self._opposite(a, b, base)
            fixed = [i for i in self._centres if len(self._hydrogens[i]) < 2]
            wrong = opposite[:, fixed].sum(1)
            base, opposite = base[wrong == wrong.min()], opposite[wrong == wrong.min()]
        allowed = {
            k: self._allowed(group, opposite, keep_handedness) for k, group in self._groups.items()
        }
        covariance = (self._reduce @ a).T @ b[base]
        exhaustible = self.size is not None and self.size <= MAX_EXHAUSTIVE
        if exhaustible and (thorough or self._is_vague(covariance)):
            order = self._best_of_all(a, b, base, allowed)
        else:
            if len(base) > MAX_LANES:
                keep = np.argsort(-overlaps(covariance), kind="stable")[:MAX_LANES]
                base, covariance = base[keep], covariance[keep]
                allowed = {k: mask[keep] for k, mask in allowed.items()}
            order = self._by_turns(a, b, base, allowed, covariance)
        turn = rotations(a.T @ b[order])[0]
        return Match.of(a, b, order, turn, origin, centre)

    def bounds(self, reference: np.ndarray, structures: np.ndarray) -> np.ndarray | None:
        """Numbers (M,) that no RMSD of `match` is below; None where orders are too many to try.

        Hydrogens of one atom are put where they are on average. That is a projection and does not
        see their order, so that it brings two structures no further apart, and all orders of the
        skeleton can be tried at once.
        """
        orders = self.orders
        if orders is None or len(orders) > MAX_BOUND_ORDERS:
            return None
        a = self._reduce @ (reference - reference.mean(0))
        b = self._reduce @ (structures - structures.mean(1, keepdims=True))
        most = np.full(len(b), -np.inf)
        for order in orders:
            most = np.maximum(most, overlaps(a.T @ b[:, order]))
        squared = (a**2).sum() + (b**2).sum((1, 2)) - 2 * most
        # overlaps are good to about 1e-8 of their size
        slack = 1e-7 * ((a**2).sum() + (b**2).sum((1, 2)))
        return np.sqrt(np.maximum(squared - slack, 0) / self.n_atoms)

    # Skeleton

    def _find_blocks(self) -> list[tuple[np.ndarray, np.ndarray]] | None:
        """Pairs (atoms (m,), options (k, m)): automorphism o of a block maps atoms to options[o].

        An automorphism keeps colours, so it keeps each block. No bond leads from a block to another
        and an atom's colour tells its bonds to the fixed atoms: so what one block does is free of
        what another does. None if a block has more than MAX_ORDERS options.
        """
        shared = np.bincount(self.colours)[self.colours] > 1
        movable = [int(i) for i in self.skeleton if shared[i]]
        block = {i: i for i in movable}

        def root(i: int) -> int:
            while block[i] != i:
                i = block[i]
            return i

        first: dict[int, int] = {}
        for i in movable:
            block[root(i)] = root(first.setdefault(int(self.colours[i]), i))
            for j in self._neighbours[i]:
                if j in block:
                    block[root(i)] = root(j)
        blocks = []
        for r in sorted({root(i) for i in movable}):
            atoms = [i for i in movable if root(i) == r]
            options = _automorphisms(atoms, self._neighbours, self.colours, MAX_ORDERS)
            if options is None:
                return None
            if len(options) > 1:
                blocks.append((np.array(atoms), np.array(options)))
        return blocks

    def _with_hydrogens(self, orders: np.ndarray) -> np.ndarray:
        """Lets hydrogens follow the atoms that carry them, each group in the order of its atoms."""
        for i, group in enumerate(self._hydrogens):
            if group:
                orders[:, group] = [self._hydrogens[j] for j in orders[:, i]]
        return orders

    def _lanes(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Skeleton automorphisms (L, N) worth trying: all of them, or one if too many to list."""
        if self.orders is not None:
            return self.orders
        order = np.arange(self.n_atoms)
        if self._blocks is not None:
            # The centroids of the colour classes do not depend on any choice.
            same = self.colours[:, None] == self.colours[None, :]
            turn = rotations((same / same.sum(1) @ a).T @ b)[0]
            for _ in range(20):
                squared = ((a[:, None] - (b @ turn.T)[None, :]) ** 2).sum(2)
                previous = order.copy()
                for atoms, options in self._blocks:
                    order[atoms] = options[squared[atoms, options].sum(1).argmin()]
                if np.array_equal(order, previous):
                    break
                turn = rotations(a[self.skeleton].T @ b[order[self.skeleton]])[0]
        else:
            s = self.skeleton
            found = match_clusters(a[s], b[s], self.colours[s], inversion=False, tolerance=0.1)
            if found is not None and self._is_automorphism(s[found.order]):
                order[s] = s[found.order]
        return self._with_hydrogens(order[None])

    def _is_automorphism(self, images: np.ndarray) -> bool:
        image = dict(zip(self.skeleton.tolist(), images.tolist(), strict=True))
        return all(
            image[j] in self._neighbours[image[i]]
            for i in image
            for j in self._neighbours[i]
            if j in image
        )

    # Hydrogens

    def _opposite(self, a: np.ndarray, b: np.ndarray, orders: np.ndarray) -> np.ndarray:
        """Whether each atom with four neighbours has opposite handedness in `b[order]`: (L, N)."""
        opposite = np.zeros((len(orders), self.n_atoms), dtype=bool)
        if len(self._centres):
            near = np.array([self._neighbours[i] for i in self._centres])
            corners_a, corners_b = a[near], b[orders[:, near]]
            volume_a = np.linalg.det(corners_a[..., :3, :] - corners_a[..., 3:, :])
            volume_b = np.linalg.det(corners_b[..., :3, :] - corners_b[..., 3:, :])
            opposite[:, self._centres] = volume_a * volume_b < 0
        return opposite

    def _allowed(self, group: np.ndarray, opposite: np.ndarray, strict: bool) -> np.ndarray:
        """Which permutations each group (G, k) of hydrogens may take in each lane: (L, G, P).

        Where a centre with four neighbours has the opposite handedness, an odd permutation of its
        hydrogens puts it right. With three neighbours a turn or an inversion exchanges them.
        """
        odd = _ODD[group.shape[1]]
        if not strict:
            return np.ones((len(opposite), len(group), len(odd)), dtype=bool)
        carriers = np.array([self._neighbours[h][0] for h in group[:, 0]], dtype=int)
        free = np.array([len(self._neighbours[i]) != 4 for i in carriers], dtype=bool)
        return free[:, None] | (opposite[:, carriers, None] == odd)

    def _is_vague(self, covariance: np.ndarray) -> bool:
        """Whether the skeleton and the groups' centroids lie on a line and so fix no rotation."""
        second = np.linalg.svd(covariance, compute_uv=False)[:, 1]
        return bool(second.max() < _FLAT * self.n_atoms)

    def _by_turns(
        self,
        a: np.ndarray,
        b: np.ndarray,
        base: np.ndarray,
        allowed: dict[int, np.ndarray],
        covariance: np.ndarray,
    ) -> np.ndarray:
        """The best lane after assignment and superposition by turns, until nothing changes."""
        orders = base
        turns, values = rotations(covariance)
        for _ in range(20):
            assigned = self._assign(a, b @ np.swapaxes(turns, 1, 2), base, allowed)
            if np.array_equal(assigned, orders):
                break
            orders = assigned
            turns, values = rotations(a.T @ b[orders])
        return orders[int(values.sum(1).argmax())]

    def _assign(
        self, a: np.ndarray, b: np.ndarray, base: np.ndarray, allowed: dict[int, np.ndarray]
    ) -> np.ndarray:
        """The best permutation of each group of hydrogens, `b` (L, N, 3) being superposed."""
        orders = base.copy()
        lane = np.arange(len(base))[:, None, None]
        for k, group in self._groups.items():
            if len(group):
                atoms = base[:, group]
                between = a[group][:, :, None] - b[lane, atoms][:, :, None, :]
                squared = (between**2).sum(-1)  # (L, G, k, k): place in the reference, hydrogen
                cost = squared[:, :, np.arange(k), _PERMUTATIONS[k]].sum(-1)
                choice = np.where(allowed[k], cost, np.inf).argmin(2)
                orders[:, group] = np.take_along_axis(atoms, _PERMUTATIONS[k][choice], axis=2)
        return orders

    def _best_of_all(
        self, a: np.ndarray, b: np.ndarray, base: np.ndarray, allowed: dict[int, np.ndarray]
    ) -> np.ndarray:
        """The best of all automorphisms over `base`, by sums of the groups' covariances."""
        still = np.ones(self.n_atoms, dtype=bool)
        for group in self._groups.values():
            still[group.ravel()] = False
        sums = (a[still].T @ b[base[:, still]])[:, None]  # (L, combinations so far, 3, 3)
        valid = np.ones(sums.shape[:2], dtype=bool)
        factors = [(k, g) for k, groups in self._groups.items() for g in range(len(groups))]
        for k, g in factors:
            group = self._groups[k][g]
            atoms = base[:, group][:, _PERMUTATIONS[k]]
            terms = np.einsum("ki,lpkj->lpij", a[group], b[atoms])
            sums = (sums[:, :, None] + terms[:, None]).reshape(len(base), -1, 3, 3)
            valid = (valid[:, :, None] & allowed[k][:, g][:, None]).reshape(len(base), -1)
        overlap = np.where(valid, overlaps(sums), -np.inf)
        lane, choice = np.unravel_index(overlap.argmax(), overlap.shape)
        order = base[lane].copy()
        for k, g in reversed(factors):
            choice, option = divmod(int(choice), len(_PERMUTATIONS[k]))
            group = self._groups[k][g]
            order[group] = order[group][_PERMUTATIONS[k][option]]
        return order


def _refine_colours(
    numbers: np.ndarray, neighbours: Sequence[Sequence[int]], leaf: Sequence[bool]
) -> np.ndarray:
    """Colours (N,) that neighbours cannot split further (Weisfeiler-Lehman, one dimension)."""
    n = len(numbers)
    keys: list[tuple] = [(leaf[i], int(numbers[i]), len(neighbours[i])) for i in range(n)]
    count = 0
    while True:
        names = {key: c for c, key in enumerate(sorted(set(keys)))}
        colours = [names[key] for key in keys]
        if len(names) == count:
            return np.array(colours, dtype=int)
        count = len(names)
        keys = [(colours[i], *sorted(colours[j] for j in neighbours[i])) for i in range(n)]


def _automorphisms(
    atoms: Sequence[int], neighbours: Sequence[Sequence[int]], colours: np.ndarray, limit: int
) -> list[list[int]] | None:
    """Permutations of `atoms` that keep colours and the bonds among them, the identity first.

    Depth-first with bonds checked as each atom is placed; None if there are more than `limit`.
    """
    inside = set(atoms)
    near = {i: {j for j in neighbours[i] if j in inside} for i in atoms}
    sequence: list[int] = []
    for start in atoms:  # bonded atoms one after another: a wrong image shows at once
        queue = [start]
        while queue:
            i = queue.pop(0)
            if i not in sequence:
                sequence.append(i)
                queue.extend(sorted(near[i]))
    earlier = [[j for j in sequence[:k] if j in near[i]] for k, i in enumerate(sequence)]
    found: list[list[int]] = []
    image: dict[int, int] = {}
    used: set[int] = set()

    def candidates(k: int) -> list[int]:
        i = sequence[k]
        pool = near[image[earlier[k][0]]] if earlier[k] else inside
        wanted = {image[j] for j in earlier[k]}
        fits = [j for j in pool - used if colours[j] == colours[i] and near[j] & used == wanted]
        return sorted(fits, key=lambda j: (j != i, j))

    stack = [candidates(0)]
    while stack:
        k = len(stack) - 1
        if sequence[k] in image:
            used.discard(image.pop(sequence[k]))
        if not stack[-1]:
            stack.pop()
            continue
        image[sequence[k]] = stack[-1].pop(0)
        used.add(image[sequence[k]])
        if len(image) < len(sequence):
            stack.append(candidates(k + 1))
        elif len(found) == limit:
            return None
        else:
            found.append([image[i] for i in atoms])
    return found
