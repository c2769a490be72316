"""What a geometry is chemically: bonds, stereo, amides, backbone, rotors.

Bonds come from distances and covalent radii alone, so they never depend on the order of the
atoms. Bond orders come from RDKit's valence search; where it finds none (metals, exotic
charges) every bond is taken as single, which costs only E/Z double bonds and lets a few double
bonds count as rotatable. Amides and the peptide backbone are recognised by coordination numbers
and not by bond orders, so they survive either way.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds
from scipy.spatial import KDTree

from topokrates.model.errors import InputError
from topokrates.molecule import (
    DoubleBond,
    Molecule,
    PeptideBond,
    Quad,
    Rotor,
    Stereocentre,
    _line,
    dihedral,
    signed_volume,
)

BOND_FACTOR = 1.25  # bonded: closer than this times the sum of the covalent radii
CLOSEST = 0.3  # Å (sigma in a cluster): atoms closer than this coincide
SMALL_RING = 8  # smaller rings fix the cis/trans state of their bonds

# With every hydrogen an explicit atom, D is the coordination number.
_ACYL = "[#6D3](~[#8D1,#16D1])"
_AMIDE = Chem.MolFromSmarts(f"{_ACYL}~[#7D3;!a]")
_RESIDUE = Chem.MolFromSmarts("[#7D3,#7D4;!a]~[#6D4]~[#6D3](~[#8D1,#16D1])~[#7,#8]")


def read_frames(path: str | os.PathLike[str]) -> list[Any]:
    """All frames of a file as ASE atoms, unchecked (`Molecule.from_atoms` checks each).

    Raises InputError, naming the file, if it is missing, a folder, empty or not readable.
    """
    from ase.io import read

    path = Path(path)
    if os.path.isdir(path):  # unlike path.is_dir, never raises for impossible names
        raise InputError(f"{path} is a folder: name a file with a structure in it")
    if not os.path.exists(path):
        raise InputError(f"{path}: no such file")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty: a structure with at least two atoms is needed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = read(path, index=":", do_not_split_by_at_sign=True)
    except InputError:
        raise
    except Exception as error:  # ASE's readers raise whatever their parsers raise
        raise InputError(f"{path}: ASE cannot read a structure from it ({_line(error)})") from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames or any(len(frame) == 0 for frame in frames):
        raise InputError(f"{path}: there is a frame without atoms in it, or no frame at all")
    return frames


def _whole(value: Any, what: str, label: str) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number) or abs(number - round(number)) > 1e-6:
        raise InputError(f"{label}: the {what} is {value}, it must be a whole number")
    return round(number)


def check_geometry(atoms: Any, label: str) -> None:
    """Refuses by InputError atoms that are no molecule in vacuum; `label` begins the message.

    Periodic, fewer than two atoms, without element, not finite, or two atoms on one spot.
    """
    numbers, x, symbols = atoms.numbers, atoms.positions, atoms.get_chemical_symbols()
    if atoms.pbc.any():
        raise InputError(f"{label}: periodic cells are not supported, only molecules in vacuum")
    if len(numbers) < 2:
        raise InputError(f"{label}: {len(numbers)} atom(s), but a landscape needs at least two")
    if np.any(numbers == 0) and np.any(numbers != 0):
        k = int(np.flatnonzero(numbers == 0)[0])
        raise InputError(f"{label}: atom {k} (counted from 0) has no element (X)")
    if not np.all(np.isfinite(x)):
        k = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise InputError(
            f"{label}: the coordinates of atom {k} ({symbols[k]}, counted from 0) are not finite"
        )
    pairs = KDTree(x).query_pairs(CLOSEST, output_type="ndarray")
    if len(pairs):
        i, j = sorted(int(k) for k in min(pairs.tolist()))
        raise InputError(
            f"{label}: atoms {i} ({symbols[i]}) and {j} ({symbols[j]}) (counted from 0) coincide, "
            f"they are {np.linalg.norm(x[i] - x[j]):.3f} Å apart"
        )


def perceive_atoms(
    atoms: Any, name: str | None, charge: int | None = None, label: str | None = None
) -> Molecule:
    """The body of `Molecule.from_atoms`; `label` is what error messages begin with."""
    name = name or str(atoms.get_chemical_formula())
    label = label or name
    check_geometry(atoms, label)
    if not atoms.numbers.any():
        return Molecule(name, atoms.numbers, atoms.positions)
    charge = _whole(atoms.info.get("charge", 0) if charge is None else charge, "charge", label)
    electrons = int(atoms.numbers.sum()) - charge
    unpaired = atoms.info.get("unpaired_electrons", electrons % 2)
    unpaired = _whole(unpaired, "number of unpaired electrons", label)
    if electrons < 1 or not 0 <= unpaired <= electrons or (electrons - unpaired) % 2:
        raise InputError(
            f"{label}: {unpaired} unpaired electrons do not go with {electrons} electrons "
            f"(charge {charge:+d})"
        )
    bonds = connectivity(atoms.numbers, atoms.positions)
    mol, known = assign_orders(atoms.numbers, atoms.positions, bonds, charge)
    notes = () if known else ("bond orders could not be perceived: all taken as single",)
    smiles = stereo_smiles(mol, atoms.positions) if known else ""
    found = topology(mol, atoms.positions) | {"smiles": smiles, "notes": notes}
    return Molecule(name, atoms.numbers, atoms.positions, charge, unpaired, **found)


def connectivity(
    numbers: np.ndarray, positions: np.ndarray, factor: float = BOND_FACTOR
) -> np.ndarray:
    """(M, 2) sorted pairs closer than `factor` times the sum of their covalent radii.

    Radii of Cordero et al., Dalton Trans. 2008, 2832, as ASE tabulates them.
    """
    from ase.data import covalent_radii

    radii = covalent_radii[np.asarray(numbers)]
    x = np.asarray(positions, dtype=float)
    pairs = KDTree(x).query_pairs(2 * factor * radii.max(), output_type="ndarray")
    length = np.linalg.norm(x[pairs[:, 0]] - x[pairs[:, 1]], axis=1)
    bonded = np.sort(pairs[length < factor * radii[pairs].sum(axis=1)], axis=1)
    return bonded[np.lexsort(bonded.T[::-1])].astype(int)


def with_positions(mol: Chem.Mol, positions: np.ndarray) -> Chem.Mol:
    """A copy of the RDKit molecule with these coordinates (N, 3), Å, as its only conformer."""
    mol = Chem.Mol(mol)
    mol.RemoveAllConformers()
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(np.array(positions, dtype=float))
    mol.AddConformer(conformer)
    return mol


def assign_orders(
    numbers: np.ndarray, positions: np.ndarray, bonds: np.ndarray, charge: int
) -> tuple[Chem.Mol, bool]:
    """An RDKit molecule with bond orders, and whether any were found."""
    graph = Chem.RWMol()
    for z in numbers:
        atom = Chem.Atom(int(z))
        atom.SetNoImplicit(True)
        graph.AddAtom(atom)
    for i, j in bonds:
        graph.AddBond(int(i), int(j), Chem.BondType.SINGLE)
    with rdBase.BlockLogs():
        for ions in (True, False):  # leftover valences are formal charges, or else radicals
            mol = with_positions(graph.GetMol(), positions)
            try:
                rdDetermineBonds.DetermineBondOrders(
                    mol,
                    charge=charge,
                    allowChargedFragments=ions,
                    embedChiral=False,
                    maxIterations=10_000,
                )
                Chem.SanitizeMol(mol)
            except (ValueError, RuntimeError):
                continue
            carbons = {a.GetFormalCharge() for a in mol.GetAtoms() if a.GetAtomicNum() == 6}
            if not {-1, 1} <= carbons:  # a carbanion beside a carbocation: a wrong guess
                return mol, True
        mol = graph.GetMol()
        mol.UpdatePropertyCache(strict=False)
        Chem.FastFindRings(mol)
        return mol, False


def stereo_smiles(mol: Chem.Mol, positions: np.ndarray) -> str:
    """Canonical SMILES with the stereochemistry of the geometry; "" if it has none."""
    with rdBase.BlockLogs():
        try:
            mol = with_positions(mol, positions)
            Chem.AssignStereochemistryFrom3D(mol)
            return Chem.MolToSmiles(Chem.RemoveHs(mol))
        except (ValueError, RuntimeError):
            return ""


def topology(mol: Chem.Mol, positions: np.ndarray) -> dict[str, Any]:
    """The fields of `Molecule` that follow from a graph and a geometry (N, 3), Å.

    All hydrogens must be explicit atoms. Returns bonds, stereocentres, peptide_bonds,
    double_bonds, phi_psi and rotatable as keyword arguments.
    """
    with rdBase.BlockLogs():
        return _Graph(mol, np.asarray(positions, dtype=float)).topology()


@dataclass
class _Residue:
    nitrogen: int
    alpha: int
    carbonyl: int
    before: int | None = None  # acyl carbon on the nitrogen
    after: int | None = None  # nitrogen on the carbonyl carbon

    @property
    def phi(self) -> Quad | None:
        core = (self.nitrogen, self.alpha, self.carbonyl)
        return None if self.before is None else (self.before, *core)

    @property
    def psi(self) -> Quad | None:
        core = (self.nitrogen, self.alpha, self.carbonyl)
        return None if self.after is None else (*core, self.after)


class _Graph:
    """Questions asked of one RDKit molecule and one geometry."""

    def __init__(self, mol: Chem.Mol, positions: np.ndarray):
        # Which centres can be stereogenic must not depend on which ones are labelled.
        self.mol = Chem.Mol(mol)
        Chem.RemoveStereochemistry(self.mol)
        self.x = positions
        self.z = [a.GetAtomicNum() for a in self.mol.GetAtoms()]
        self.near = [sorted(b.GetIdx() for b in a.GetNeighbors()) for a in self.mol.GetAtoms()]
        self.rank = list(Chem.CanonicalRankAtoms(self.mol, breakTies=False))
        self.rings = self.mol.GetRingInfo()
        self.amides = sorted({(c, n) for c, _, n in self._matches(_AMIDE)})
        self.residues = self._residues()

    def _matches(self, pattern: Chem.Mol) -> list[tuple[int, ...]]:
        return sorted(self.mol.GetSubstructMatches(pattern, uniquify=False, maxMatches=100_000))

    def topology(self) -> dict[str, Any]:
        bonds = sorted(
            tuple(sorted((b.GetBeginAtomIdx(), b.GetEndAtomIdx()))) for b in self.mol.GetBonds()
        )
        centres, doubles = self._stereo()
        peptide = self._peptide_bonds()
        pairs = tuple((r.phi, r.psi) for r in self.residues)
        return {
            "bonds": np.array(bonds, dtype=int).reshape(-1, 2),
            "stereocentres": centres,
            "peptide_bonds": peptide,
            "double_bonds": doubles,
            "phi_psi": pairs if any(q for pair in pairs for q in pair) else (),
            "rotatable": self._rotors([b.atoms for b in peptide]),
        }

    def _cis(self, quad: Quad) -> bool:
        return bool(abs(dihedral(self.x, quad)) < np.pi / 2)

    def _heavy_first(self, atoms: Any) -> list[int]:
        return sorted(atoms, key=lambda a: (self.z[a] == 1, a))

    # ------------------------------------------------------------- backbone
    def _residues(self) -> list[_Residue]:
        """Alpha-amino-acid residues from the N to the C terminus, one chain after another."""
        found: dict[int, _Residue] = {}
        for n, alpha, c, _, _ in self._matches(_RESIDUE):
            found.setdefault(alpha, _Residue(n, alpha, c))
        by_carbonyl = {r.carbonyl: r for r in found.values()}
        by_nitrogen = {r.nitrogen: r for r in found.values()}
        for r in found.values():
            # The previous residue's carbonyl before a side chain's or a cap's acyl group.
            acyl = [c for c, n in self.amides if n == r.nitrogen]
            r.before = min(acyl, key=lambda c: (c not in by_carbonyl, c), default=None)
            amide = [n for c, n in self.amides if c == r.carbonyl]
            r.after = min(amide, key=lambda n: (n not in by_nitrogen, n), default=None)
        ordered: list[_Residue] = []
        waiting = sorted(found.values(), key=lambda r: (r.before in by_carbonyl, r.nitrogen))
        for r in waiting:  # chain starts first; what is then left is a ring of residues
            following: _Residue | None = r
            while following is not None and following not in ordered:
                ordered.append(following)
                following = by_nitrogen.get(-1 if following.after is None else following.after)
        return ordered

    def _peptide_bonds(self) -> tuple[PeptideBond, ...]:
        alphas = {r.alpha for r in self.residues}
        found = []
        for c, n in self.amides:
            left = [a for a in self.near[c] if a != n and self.z[a] in (1, 6)]
            right = [a for a in self.near[n] if a != c]
            bond = self.mol.GetBondBetweenAtoms(c, n).GetIdx()
            small = any(size < SMALL_RING for size in self.rings.BondRingSizes(bond))
            # Urea and carbamate (no C or H beside the carbonyl) turn much more easily.
            if small or not left or self.rank[right[0]] == self.rank[right[1]]:
                continue
            beyond = min(right, key=lambda a: (a not in alphas, self.z[a] == 1, a))
            quad = (left[0], c, n, beyond)
            found.append(PeptideBond(quad, self._cis(quad)))
        return tuple(found)

    # --------------------------------------------------------------- stereo
    def _stereo(self) -> tuple[tuple[Stereocentre, ...], tuple[DoubleBond, ...]]:
        centres, doubles = [], []
        for info in Chem.FindPotentialStereo(self.mol):
            if info.type == Chem.StereoType.Atom_Tetrahedral:
                k = info.centeredOn
                # Of three-coordinate centres, nitrogen inverts; P, S, As and Se do not.
                degree = len(self.near[k])
                if degree == 4 or (degree == 3 and self.z[k] in (15, 16, 33, 34)):
                    around = tuple(self._heavy_first(self.near[k]))
                    sign = 1 if signed_volume(self.x, k, around) > 0 else -1
                    centres.append(Stereocentre(k, around, sign))
            elif info.type == Chem.StereoType.Bond_Double:
                bond = self.mol.GetBondWithIdx(info.centeredOn)
                b, c = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
                left = self._heavy_first(a for a in self.near[b] if a != c)
                right = self._heavy_first(a for a in self.near[c] if a != b)
                if left and right and not self._linear(left[0], b, c, right[0]):
                    quad = (left[0], b, c, right[0])
                    doubles.append(DoubleBond(quad, self._cis(quad)))
        return tuple(sorted(centres, key=lambda s: s.centre)), tuple(doubles)

    def _linear(self, i: int, j: int, k: int, m: int) -> bool:
        """Is i-j-k or j-k-m within 10 degrees of straight, so that no dihedral exists?"""
        for a, b, c in ((i, j, k), (j, k, m)):
            u, v = self.x[a] - self.x[b], self.x[c] - self.x[b]
            if u @ v < -np.cos(np.radians(10)) * np.linalg.norm(u) * np.linalg.norm(v):
                return True
        return False

    # --------------------------------------------------------------- rotors
    def _rotors(self, omegas: list[Quad]) -> tuple[Rotor, ...]:
        quads = omegas + [q for r in self.residues for q in (r.phi, r.psi) if q]
        preferred = {frozenset(q[1:3]): q for q in quads}
        kinds: dict[frozenset[int], str] = {}
        for r in self.residues:
            kinds |= {
                frozenset((r.nitrogen, r.alpha)): "phi",
                frozenset((r.alpha, r.carbonyl)): "psi",
            }
        kinds |= {frozenset(pair): "omega" for pair in self.amides}
        side = self._side_chains()
        nitrogen_of = {r.alpha: r.nitrogen for r in self.residues}
        rotors = []
        for bond in self.mol.GetBonds():
            j, k = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
            if bond.GetBondType() != Chem.BondType.SINGLE or self.rings.NumBondRings(bond.GetIdx()):
                continue
            ends = [self._heavy_first(set(self.near[a]) - {b}) for a, b in ((j, k), (k, j))]
            if not all(ends):
                continue
            i, m = (
                nitrogen_of[a] if nitrogen_of.get(a) in end else end[0]
                for a, end in zip((j, k), ends, strict=True)
            )
            key = frozenset((j, k))
            quad: Quad = preferred.get(key, (i, j, k, m))
            if self._linear(*quad):
                continue
            first, last = self._beyond(quad[2], quad[1]), self._beyond(quad[1], quad[2])
            if len(first) < len(last):
                quad, last = (quad[3], quad[2], quad[1], quad[0]), first
            if any(len(end) == 3 and all(self.z[a] == 1 for a in end) for end in ends):
                kind = "methyl"
            elif key in kinds:
                kind = kinds[key]
            else:
                kind = "chi" if j in side or k in side else "other"
            rotors.append(Rotor(quad, tuple(sorted(last)), kind))
        return tuple(sorted(rotors, key=lambda r: sorted(r.atoms[1:3])))

    def _beyond(self, fixed: int, start: int) -> set[int]:
        """The atoms behind `start` as seen from its neighbour `fixed`, without `start`."""
        return self._reach(self.near[start], {fixed, start})

    def _side_chains(self) -> set[int]:
        walls = {a for r in self.residues for a in (r.nitrogen, r.alpha, r.carbonyl)}
        return self._reach([a for r in self.residues for a in self.near[r.alpha]], walls)

    def _reach(self, start: list[int], walls: set[int]) -> set[int]:
        seen: set[int] = set()
        front = list(start)
        while front:
            atom = front.pop()
            if atom not in seen and atom not in walls:
                seen.add(atom)
                front.extend(self.near[atom])
        return seen
