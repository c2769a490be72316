"""Is this structure one that is known already?

`Matcher` answers by the RMSD that respects the symmetry of the molecule (`symmetry`) or
of a cluster (`clusters`). Whether a geometry is still the molecule at all is asked
first, by `integrity`.

What counts as the same structure: mirror images are different minima of a molecule, of an achiral
one too (C7 of a glycine dipeptide comes twice, at one energy), unless `inversion` is asked for;
clusters are lumped with their mirror images.

Structures that are kept although something changed (`allow`):

- Stereo and cis-trans leave the bond graph as it is, so its automorphisms still say which atoms
  are equivalent; a different stereoisomer is a different structure.
- Where bonds have changed, the molecule's automorphisms say nothing: after a proton has moved, two
  oxygens may have become equivalent, or no longer be. Which bonds a stretched geometry has is a
  matter of thresholds, and two copies may fall on either side. So these structures are compared
  without any bonds: any two atoms of one element may change places, as their nuclei may. For
  structures that have kept their bonds this is the same question, as a relabelling that lays one
  geometry onto the other lays its bonds onto the other's. A proton that has only gone from one
  oxygen of a carboxyl group to the other makes no new minimum then.

How far the answer depends on the order of arrival: a structure belongs to the stored minimum that
it is closest to, so the order does not matter as long as quenches of one minimum differ by less
than the tolerance and different minima by more than twice that. Between those, "the same" need not
carry over from A and B, B and C to A and C, and the first that came stands for what is near it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

from topokrates.identity.clusters import LARGEST_PER_TOLERANCE, match_clusters
from topokrates.identity.integrity import Change, Kind, allowed, allowed_kinds, changes
from topokrates.identity.superposition import Match
from topokrates.identity.symmetry import Symmetry
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule

__all__ = ["Change", "Kind", "Match", "Matcher", "allowed", "allowed_kinds", "changes"]

TOLERANCE = 0.1  # Å
CLUSTER_TOLERANCE = 0.02  # sigma
OTHER_BONDS = frozenset({Kind.BONDS, Kind.DISSOCIATED})

Id = TypeVar("Id")


class Matcher:
    """Tells structures of one molecule apart, whatever their orientation and labelling.

    Args:
        molecule: gives elements and bonds, hence which atoms are equivalent.
        tolerance: two structures are the same if their symmetric RMSD is at most this and no atom
            is off by more than four times this. The second condition keeps its meaning when the
            molecule grows: one hydroxyl group turned round hardly shows in the RMSD of a hundred
            atoms. Default 0.1 Å, 0.02 sigma for clusters.
        inversion: mirror images are the same. Default: for clusters only. InputError for a
            molecule with stereocentres.
        allow: kinds of changed structures that are kept (`integrity.allowed`). With
            bonds or dissociation among them, any atoms of one element may change places.

    Why 0.1 Å: quenches to a largest force f leave an RMSD up to f/k along a mode of curvature k.
    Certified minima (1e-4 eV/Å) on the softest mode of a dipeptide (0.003 eV/Å^2) differ by up to
    0.07 Å, and neighbouring minima by 0.2 Å or more: a methyl group turned by 60 degrees makes
    0.38 Å in 22 atoms, 0.27 Å in 43, and moves its hydrogens by 1 Å. The closest pair among the
    minima of LJ7 to LJ13 differs by 0.06 sigma, quenches to 1e-4 by 1e-3 sigma.
    """

    def __init__(
        self,
        molecule: Molecule,
        tolerance: float | None = None,
        *,
        inversion: bool | None = None,
        allow: Iterable[Kind] = (),
    ) -> None:
        self.is_cluster = molecule.is_cluster
        if tolerance is None:
            tolerance = CLUSTER_TOLERANCE if self.is_cluster else TOLERANCE
        if not (np.isfinite(tolerance) and tolerance > 0):
            raise InputError(f"tolerance {tolerance}: must be a positive length")
        if inversion and molecule.stereocentres:
            raise InputError(
                f"{molecule.name} has stereocentres: its mirror image is another molecule, "
                "so inversion must be off"
            )
        self.tolerance = float(tolerance)
        self.inversion = self.is_cluster if inversion is None else inversion
        self.symmetry = None if self.is_cluster else Symmetry(molecule.numbers, molecule.bonds)
        self._elements: np.ndarray | None = None
        if not self.is_cluster and OTHER_BONDS & set(allow):
            self._elements = np.unique(molecule.numbers, return_inverse=True)[1]
        colours = np.zeros(molecule.n_atoms, dtype=int)
        if self._elements is not None:
            colours = self._elements
        elif self.symmetry is not None:
            colours = self.symmetry.colours
        self._first, self._second = np.triu_indices(molecule.n_atoms, 1)
        low = np.minimum(colours[self._first], colours[self._second])
        high = np.maximum(colours[self._first], colours[self._second])
        self._classes = 1e3 * np.unique(np.stack([low, high]), axis=1, return_inverse=True)[1]
        self._sorted_classes = np.sort(self._classes)

    def permutation(
        self, reference: np.ndarray, positions: np.ndarray, *, keep_handedness: bool = False
    ) -> Match:
        """How `positions` (N, 3) are best laid onto `reference` (N, 3): order, rotation, RMSD.

        The result carries positions, forces, modes and Hessians over: `Match.apply`,
        `apply_vectors`, `apply_hessian`.

        keep_handedness: for the ends of a path. Only permutations after which each atom with four
        neighbours has the handedness that it has in the reference; no mirror images of molecules.
        """
        found = self._match(reference, positions, keep_handedness, thorough=True)
        assert found is not None
        return found

    def rmsd(self, a: np.ndarray, b: np.ndarray) -> float:
        """Symmetric RMSD, Å: the least over permutations of equivalent atoms and rotations.

        Exact for molecules of up to 20,000 automorphisms. Beyond, for clusters and where bonds may
        change, exact for structures that are the same and else the least that was found.
        """
        return self.permutation(a, b).rmsd

    def align(
        self, reference: np.ndarray, positions: np.ndarray, *, keep_handedness: bool = False
    ) -> np.ndarray:
        """`positions` (N, 3) permuted and rotated onto `reference`: see `permutation`."""
        match = self.permutation(reference, positions, keep_handedness=keep_handedness)
        return match.apply(positions)

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two geometries (N, 3) are one structure within the tolerance."""
        apart = np.linalg.norm(self.fingerprint(a) - self.fingerprint(b))
        return bool(apart <= self.tolerance) and self._close(a, b) is not None

    def find(
        self,
        positions: np.ndarray,
        energy: float,
        candidates: Sequence[tuple[Id, float, np.ndarray]],
        energy_tolerance: float,
    ) -> Id | None:
        """The id of the candidate (id, energy, positions) that is this structure; None if none is.

        Of several within both tolerances, the one with the least RMSD.
        """
        near = [c for c in candidates if abs(c[1] - energy) <= energy_tolerance]
        if not near:
            return None
        prints = self.fingerprint(np.stack([np.asarray(c[2], dtype=float) for c in near]))
        apart = np.linalg.norm(prints - self.fingerprint(positions), axis=1)
        found = self.closest(positions, [c[2] for c in near], apart)
        return None if found is None else near[found][0]

    def closest(
        self, positions: np.ndarray, structures: Sequence[np.ndarray], apart: np.ndarray
    ) -> int | None:
        """Which of these structures (N, 3) this one is, the one of least RMSD; None if none is.

        apart: how far the fingerprint of each is from this one's, a bound below the RMSD. So few
        are ever superposed: the likeliest first, and none that cannot be closer than the best.
        """
        best, least = None, np.inf
        for k in np.argsort(apart, kind="stable"):
            if not apart[k] <= min(self.tolerance, least):  # false for what is not finite, too
                break
            match = self._close(structures[k], positions)
            if match is not None and match.rmsd < least:
                best, least = int(k), match.rmsd
        return best

    def fingerprint(self, positions: np.ndarray) -> np.ndarray:
        """Coordinates (..., N, 3) to numbers (..., F) that no symmetry changes.

        Pair distances sorted within each class of equivalent pairs, scaled so that two
        fingerprints are never further apart (Euclidean) than the symmetric RMSD: displacements d
        change distances by at most d_i + d_j, and the sum of (d_i + d_j)^2 over pairs is at most
        2 (N - 1) times the sum of d_i^2. Sorting brings two lists no further apart.
        """
        x = np.asarray(positions, dtype=float)
        n = x.shape[-2]
        between = x[..., self._first, :] - x[..., self._second, :]
        distances = np.sqrt((between**2).sum(-1))
        # The offset keeps classes apart in one sort.
        ordered = np.sort(distances + self._classes, axis=-1) - self._sorted_classes
        return ordered / np.sqrt(max(2 * n * (n - 1), 1))

    def bounds(self, reference: np.ndarray, structures: np.ndarray) -> np.ndarray:
        """Numbers (M,) that no symmetric RMSD of `structures` (M, N, 3) to `reference` is below.

        Those of a superposition where the molecule's symmetry allows (`Symmetry.bounds`), mostly
        close to the RMSD, so that few structures are left to be superposed in full; else those of
        fingerprints.
        """
        a, many = np.asarray(reference, dtype=float), np.asarray(structures, dtype=float)
        if self.symmetry is not None and self._elements is None:
            best = self.symmetry.bounds(a, many)
            if best is not None:
                mirrored = self.symmetry.bounds(-a, many) if self.inversion else None
                return best if mirrored is None else np.minimum(best, mirrored)
        return np.linalg.norm(self.fingerprint(many) - self.fingerprint(a), axis=-1)

    def _close(self, a: np.ndarray, b: np.ndarray) -> Match | None:
        match = self._match(a, b, False, thorough=False)
        return match if match is not None and self._within(match) else None

    def _match(
        self, a: np.ndarray, b: np.ndarray, keep_handedness: bool, *, thorough: bool
    ) -> Match | None:
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InputError("coordinates are not finite: there is nothing to match")
        if self.symmetry is None:
            return match_clusters(
                a, b, inversion=self.inversion, tolerance=self.tolerance, thorough=thorough
            )
        match = self.symmetry.match(a, b, keep_handedness=keep_handedness, thorough=thorough)
        if keep_handedness:
            return match
        if self.inversion:
            image = self.symmetry.match(a, -b, thorough=thorough)
            if image.rmsd < match.rmsd:
                match = Match(
                    image.rmsd, image.largest, image.order, -image.rotation, image.translation
                )
        if self._elements is not None and not self._within(match):
            free = match_clusters(
                a,
                b,
                self._elements,
                inversion=self.inversion,
                tolerance=self.tolerance,
                thorough=False,
            )
            return match if free is None else free
        return match

    def _within(self, match: Match) -> bool:
        largest = LARGEST_PER_TOLERANCE * self.tolerance
        return match.rmsd <= self.tolerance and match.largest <= largest
