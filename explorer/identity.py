"""Is this geometry still the molecule that was asked for, and is it one that is known already?

A search that does not ask the first question finds "better" minima that are another molecule.
`changes` answers it from distances (bonds), signed volumes (stereocentres) and dihedrals (cis and
trans), and says what happened in words. `Matcher` answers the second by the RMSD that respects the
symmetry of the molecule (`topokrates.symmetry`) or of a cluster (`topokrates.clusters`).

What counts as the same molecule:

- A bond is broken beyond 1.4 times the sum of the covalent radii and formed below 1.2 times, so a
  proton shared in a strong hydrogen bond belongs to its donor until it is nearer to the acceptor.
- A proton that has moved on to an equivalent place (from one oxygen of a carboxyl group to the
  other) counts as changed. The bond list no longer describes the geometry, and nothing is lost:
  the same structure exists with the labels in place.
- Stereo counts up to the automorphisms of the bond graph: (R,S) and (S,R) of a meso compound are
  one molecule.

What counts as the same structure: mirror images are different minima of a molecule, of an achiral
one too (C7 of a glycine dipeptide comes twice, at one energy), unless `inversion` is asked for;
clusters are lumped with their mirror images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from topokrates.clusters import LARGEST_PER_TOLERANCE, Match, match_clusters
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, dihedral, signed_volume
from topokrates.symmetry import Symmetry

__all__ = ["Change", "Kind", "Match", "Matcher", "changes"]

BROKEN = 1.4  # times the sum of the covalent radii
FORMED = 1.2
COLLAPSED = 0.6
FLAT = 0.1  # signed volume of unit vectors; 0.77 for a tetrahedral centre, 0 for a planar one
FRAGMENTS_REACH = 5.0  # Å between the nearest atoms of molecules that belong together
PARTICLES_REACH = 1.7  # sigma; second neighbours in a Lennard-Jones crystal are 1.58 apart
MAX_RELABELLINGS = 64

TOLERANCE = 0.1  # Å
CLUSTER_TOLERANCE = 0.02  # sigma

Id = TypeVar("Id")


class Kind(StrEnum):
    """What became of a molecule; the gravest comes first."""

    NONE = ""
    NOT_FINITE = "not finite"
    DISSOCIATED = "dissociated"
    BONDS = "bonds"
    STEREO = "stereo"
    CIS_TRANS = "cis-trans"


@dataclass(frozen=True)
class Change:
    """How a geometry differs from the molecule asked for; false if it does not.

    `reasons` names the atoms, numbered from 0 as in the arrays: "bond N7-H8 broken".
    """

    kind: Kind = Kind.NONE
    reasons: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.kind is not Kind.NONE

    def __str__(self) -> str:
        return "; ".join(self.reasons) or "unchanged"


def changes(molecule: Molecule, positions: np.ndarray) -> Change:
    """What became of the molecule at these positions (N, 3), Å (sigma for clusters).

    Clusters are only asked to be finite and in one piece: neighbours within 1.7 sigma.
    """
    x = np.asarray(positions, dtype=float)
    if x.shape != (molecule.n_atoms, 3):
        raise InputError(
            f"{molecule.name}: positions of shape {x.shape}, not ({molecule.n_atoms}, 3)"
        )
    if not np.isfinite(x).all():
        return Change(Kind.NOT_FINITE, ("coordinates are not finite",))
    try:
        expected = _EXPECTED[molecule]
    except KeyError:
        expected = _EXPECTED.setdefault(molecule, _Expected(molecule))
    return expected.compare(x)


class _Expected:
    """The tables that `changes` compares with, made once for each molecule."""

    def __init__(self, molecule: Molecule) -> None:
        n = molecule.n_atoms
        self.cluster = molecule.is_cluster
        symbols = molecule.symbols
        self.labels = [f"{symbols[i]}{i}" for i in range(n)]
        self.first, self.second = np.triu_indices(n, 1)
        bonded = np.zeros((n, n), dtype=bool)
        bonded[tuple(molecule.bonds.T)] = True
        self.bonded = bonded[self.first, self.second]
        self.fragments = _components(n, molecule.bonds)
        self.centres = molecule.stereocentres
        self.signs = np.array([s.sign for s in self.centres])
        self.corners = np.array([s.neighbours[:3] for s in self.centres], dtype=int).reshape(-1, 3)
        self.middles = np.array([s.centre for s in self.centres], dtype=int)
        self.double = (*molecule.peptide_bonds, *molecule.double_bonds)
        self.quads = np.array([d.atoms for d in self.double], dtype=int).reshape(-1, 4)
        self.cis = np.array([d.cis for d in self.double], dtype=bool)
        self.n_peptide = len(molecule.peptide_bonds)
        self.symmetry = None if self.cluster else Symmetry(molecule.numbers, molecule.bonds)
        if not self.cluster:
            from ase.data import covalent_radii

            radii = covalent_radii[molecule.numbers]
            total = radii[self.first] + radii[self.second]
            self.nearest = np.where(self.bonded, COLLAPSED * total, FORMED * total) ** 2
            self.furthest = np.where(self.bonded, BROKEN * total, np.inf) ** 2

    def compare(self, x: np.ndarray) -> Change:
        squared = ((x[self.first] - x[self.second]) ** 2).sum(1)
        if self.cluster:
            return self._in_pieces(len(x), squared < PARTICLES_REACH**2, 1, "cluster")
        too_near, too_far = squared < self.nearest, squared > self.furthest
        if too_near.any() or too_far.any():
            present = (self.bonded & ~too_far) | too_near
            whole = int(self.fragments.max()) + 1
            reasons = tuple(
                f"bond {self.labels[self.first[k]]}-{self.labels[self.second[k]]} "
                + ("formed" if not self.bonded[k] else "broken" if too_far[k] else "collapsed")
                for k in np.flatnonzero(too_near | too_far)
            )
            apart = self._in_pieces(len(x), present, whole, "molecule")
            return Change(apart.kind or Kind.BONDS, (*reasons, *apart.reasons))
        if self.fragments.any():
            close = self.bonded | (squared < FRAGMENTS_REACH**2)
            apart = self._in_pieces(len(x), close, 1, "complex")
            if apart:
                return apart
        found = self._stereo(x)
        if found and self.symmetry is not None and self.symmetry.orders is not None:
            relabelled = self.symmetry.orders[1:MAX_RELABELLINGS]
            if any(not self._stereo(x[order]) for order in relabelled):
                return Change()
        return found

    def _in_pieces(self, n: int, linked: np.ndarray, allowed: int, what: str) -> Change:
        pairs = np.stack([self.first[linked], self.second[linked]], axis=1)
        pieces = _components(n, pairs).max() + 1
        if pieces <= allowed:
            return Change()
        return Change(Kind.DISSOCIATED, (f"{what} dissociated into {pieces} fragments",))

    def _stereo(self, x: np.ndarray) -> Change:
        reasons: list[str] = []
        if len(self.centres):
            arms = x[self.corners] - x[self.middles][:, None]
            volume = signed_volume(x, self.middles, self.corners)
            volume = volume * self.signs / np.linalg.norm(arms, axis=2).prod(1)
            for k in np.flatnonzero(volume < FLAT):
                fate = "flattened" if volume[k] > -FLAT else "inverted"
                reasons.append(f"stereocentre {self.labels[self.middles[k]]} {fate}")
        kind = Kind.STEREO if reasons else Kind.NONE
        if len(self.double):
            cis = np.abs(dihedral(x, self.quads)) < np.pi / 2
            for k in np.flatnonzero(cis != self.cis):
                name = "peptide bond" if k < self.n_peptide else "double bond"
                _, i, j, _ = self.quads[k]
                state = "cis" if cis[k] else "trans"
                reasons.append(f"{name} {self.labels[i]}-{self.labels[j]} became {state}")
        if reasons and kind is Kind.NONE:
            kind = Kind.CIS_TRANS
        return Change(kind, tuple(reasons))


_EXPECTED: WeakKeyDictionary[Molecule, _Expected] = WeakKeyDictionary()


def _components(n: int, pairs: np.ndarray) -> np.ndarray:
    """The fragment (N,), counted from 0, of each atom in the graph of these pairs (M, 2)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


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

    Why 0.1 Å: quenches to a largest force f leave an RMSD up to f/k along a mode of curvature k.
    Certified minima (1e-4 eV/Å) on the softest mode of a dipeptide (0.003 eV/Å^2) differ by up to
    0.07 Å, and neighbouring minima by 0.2 Å or more: a methyl group turned by 60 degrees makes
    0.38 Å in 22 atoms, 0.27 Å in 43, and moves its hydrogens by 1 Å. The closest pair among the
    minima of LJ7 to LJ13 differs by 0.06 sigma, quenches to 1e-4 by 1e-3 sigma.
    """

    def __init__(
        self, molecule: Molecule, tolerance: float | None = None, *, inversion: bool | None = None
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
        colours = np.zeros(molecule.n_atoms, dtype=int)
        if self.symmetry is not None:
            colours = self.symmetry.colours
        self._first, self._second = np.triu_indices(molecule.n_atoms, 1)
        low = np.minimum(colours[self._first], colours[self._second])
        high = np.maximum(colours[self._first], colours[self._second])
        self._classes = 1e3 * np.unique(np.stack([low, high]), axis=1, return_inverse=True)[1]

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

        Exact for molecules of up to 20,000 automorphisms. Beyond, and for clusters, exact for
        structures that are the same and else the least that was found.
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
        best, least = None, np.inf
        for k in np.flatnonzero(apart <= self.tolerance):
            match = self._close(near[k][2], positions)
            if match is not None and match.rmsd < least:
                best, least = near[k][0], match.rmsd
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
        # The offset keeps classes apart in one sort, and cancels in differences.
        return np.sort(distances + self._classes, axis=-1) / np.sqrt(max(2 * n * (n - 1), 1))

    def _close(self, a: np.ndarray, b: np.ndarray) -> Match | None:
        match = self._match(a, b, False, thorough=False)
        if match is None or match.rmsd > self.tolerance:
            return None
        return match if match.largest <= LARGEST_PER_TOLERANCE * self.tolerance else None

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
        if self.inversion and not keep_handedness:
            image = self.symmetry.match(a, -b, thorough=thorough)
            if image.rmsd < match.rmsd:
                return Match(
                    image.rmsd, image.largest, image.order, -image.rotation, image.translation
                )
        return match
