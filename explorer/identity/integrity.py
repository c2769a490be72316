"""Is this geometry still the molecule that was asked for?

A search that does not ask finds "better" minima that are another molecule. `changes` answers from
distances (bonds), signed volumes (stereocentres) and dihedrals (cis and trans), and says what
happened in words; `allowed` tells whether a user asked to keep such structures all the same.

- A bond is broken beyond 1.4 times the sum of the covalent radii and formed below 1.2 times, so a
  proton shared in a strong hydrogen bond belongs to its donor until it is nearer to the acceptor.
- A proton that has moved on to an equivalent place (from one oxygen of a carboxyl group to the
  other) counts as changed. The bond list no longer describes the geometry, and nothing is lost:
  the same structure exists with the labels in place.
- Stereo counts up to the automorphisms of the bond graph: (R,S) and (S,R) of a meso compound are
  one molecule.
- Where bonds have changed, nothing is said of stereo: the stereocentres were defined by the bonds.
  Fragments that have come apart have lost bonds too, and are called dissociated alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from weakref import WeakKeyDictionary

import numpy as np

from topokrates.identity.symmetry import Symmetry
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, dihedral, signed_volume

__all__ = ["Change", "Kind", "allowed", "allowed_kinds", "changes"]

BROKEN = 1.4  # times the sum of the covalent radii
FORMED = 1.2
COLLAPSED = 0.6
FLAT = 0.1  # signed volume of unit vectors; 0.77 for a tetrahedral centre, 0 for a planar one
FRAGMENTS_REACH = 5.0  # Å between the nearest atoms of molecules that belong together
PARTICLES_REACH = 1.7  # sigma; second neighbours in a Lennard-Jones crystal are 1.58 apart
MAX_RELABELLINGS = 64


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

    `reasons` names the atoms, numbered from 0 as in the arrays: "bond N7-H8 broken". `kind` is the
    gravest, `kinds` are all: a stereocentre and a peptide bond may have turned over together.
    """

    kind: Kind = Kind.NONE
    reasons: tuple[str, ...] = ()
    lesser: tuple[Kind, ...] = ()

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (self.kind, *self.lesser) if self else ()

    def __bool__(self) -> bool:
        return self.kind is not Kind.NONE

    def __str__(self) -> str:
        return "; ".join(self.reasons) or "unchanged"


def allowed_kinds(names: Iterable[str]) -> frozenset[Kind]:
    """The kinds of these names: "stereo", "cis-trans", "bonds", "dissociated".

    Raises InputError for any other. What is not finite can never be allowed.
    """
    choice = [kind for kind in Kind if kind not in (Kind.NONE, Kind.NOT_FINITE)]
    wanted = list(names)
    for name in wanted:
        if name not in choice:
            raise InputError(f"{name!r} cannot be allowed: choose from {', '.join(choice)}")
    return frozenset(Kind(name) for name in wanted)


def allowed(change: Change, kinds: Iterable[Kind]) -> bool:
    """Whether a structure may be kept: all that became of it is unchanged or of these kinds.

    Kinds do not include one another: "bonds" keeps what is in one piece, and "stereo" does not
    keep a structure that has a cis amide besides. Give `Matcher` the same kinds.
    """
    return set(change.kinds) <= set(kinds) - {Kind.NOT_FINITE}


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
            # The labelling under which least has changed tells what happened.
            for order in self.symmetry.orders[1:MAX_RELABELLINGS]:
                other = self._stereo(x[order])
                if len(other.reasons) < len(found.reasons):
                    found = other
        return found

    def _in_pieces(self, n: int, linked: np.ndarray, allowed: int, what: str) -> Change:
        pairs = np.stack([self.first[linked], self.second[linked]], axis=1)
        pieces = _components(n, pairs).max() + 1
        if pieces <= allowed:
            return Change()
        return Change(Kind.DISSOCIATED, (f"{what} dissociated into {pieces} fragments",))

    def _stereo(self, x: np.ndarray) -> Change:
        reasons: list[str] = []
        kinds: list[Kind] = []
        if len(self.centres):
            arms = x[self.corners] - x[self.middles][:, None]
            volume = signed_volume(x, self.middles, self.corners)
            volume = volume * self.signs / np.linalg.norm(arms, axis=2).prod(1)
            for k in np.flatnonzero(volume < FLAT):
                fate = "flattened" if volume[k] > -FLAT else "inverted"
                reasons.append(f"stereocentre {self.labels[self.middles[k]]} {fate}")
        if reasons:
            kinds.append(Kind.STEREO)
        if len(self.double):
            cis = np.abs(dihedral(x, self.quads)) < np.pi / 2
            turned = np.flatnonzero(cis != self.cis)
            kinds += [Kind.CIS_TRANS] if len(turned) else []
            for k in turned:
                name = "peptide bond" if k < self.n_peptide else "double bond"
                _, i, j, _ = self.quads[k]
                state = "cis" if cis[k] else "trans"
                reasons.append(f"{name} {self.labels[i]}-{self.labels[j]} became {state}")
        return Change(kinds[0], tuple(reasons), tuple(kinds[1:])) if kinds else Change()


_EXPECTED: WeakKeyDictionary[Molecule, _Expected] = WeakKeyDictionary()


def _components(n: int, pairs: np.ndarray) -> np.ndarray:
    """The fragment (N,), counted from 0, of each atom in the graph of these pairs (M, 2)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=bool)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]
