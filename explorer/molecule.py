"""A molecule as every other room sees it: atoms, a start geometry, bonds and what must not change.

An energy-landscape search moves atoms freely, so what the user asked for has to be written down
apart from any geometry: the bond graph, the handedness of every stereocentre, the cis or trans
state of every amide and stereogenic double bond. `Molecule` holds these next to the torsions that
a search may turn and the backbone dihedrals that a person reads. It never changes once made.

One reader, `Molecule.from_text`, tells four kinds of input apart:

=====================  =====================================================================
`smiles:CC(=O)NC`      SMILES; unspecified stereocentres are chosen by rule and noted
`LJ13`                 a Lennard-Jones cluster, lengths in sigma, a random compact start
`dipeptide.xyz`        anything with a `/` or a file extension, or the name of a file: read by
                       ASE, the last frame; charge from `atoms.info["charge"]`, else 0
`Ac-Ala-NHMe`          everything else: a peptide sequence (`topokrates.peptide`)
=====================  =====================================================================

Angles of `dihedral` and `set_rotor` are in radians and follow the IUPAC sign (clockwise positive,
looking along the central bond; as in ASE). Tables for people are in degrees.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from topokrates.model.errors import InputError

if TYPE_CHECKING:
    import ase
    from pymatgen.core import Molecule as PymatgenMolecule

__all__ = [
    "DoubleBond",
    "Molecule",
    "PeptideBond",
    "Rotor",
    "Stereocentre",
    "dihedral",
    "set_rotor",
    "signed_volume",
]

Quad = tuple[int, int, int, int]
CHOICES = (
    "a peptide such as Ac-Ala-NHMe, smiles:..., a file that ASE reads, or a cluster such as LJ13"
)
LARGEST_CLUSTER = 2000
SCHEMA = "topokrates.Molecule/1"


@dataclass(frozen=True)
class Stereocentre:
    """A centre whose handedness is kept: the sign of the signed volume of the vectors from the
    centre to the first three `neighbours` (heavy atoms first, then by index)."""

    centre: int
    neighbours: tuple[int, ...]
    sign: int


@dataclass(frozen=True)
class PeptideBond:
    """An amide C-N bond: omega dihedral (CA, C, N, CA') and the state asked for.

    A formyl hydrogen stands in for CA. Amides whose two states are the same molecule (-NH2,
    -N(CH3)2) and those fixed by a ring of fewer than eight atoms are not listed.
    """

    atoms: Quad
    cis: bool


@dataclass(frozen=True)
class DoubleBond:
    """A stereogenic double bond b=c, the dihedral (a, b, c, d) and the state asked for."""

    atoms: Quad
    cis: bool


@dataclass(frozen=True)
class Rotor:
    """A torsion about a single bond outside rings.

    `moving` is the smaller side of the central bond, without the bond's own two atoms. It always
    contains `atoms[3]`, so turning `moving` by delta about atoms[1] -> atoms[2] adds delta to the
    dihedral. `kind`: "phi", "psi", "omega" (any amide C-N, -C(=O)NH2 too), "methyl" (any -XH3),
    "chi" (side chain of a residue), "other".
    """

    atoms: Quad
    moving: tuple[int, ...]
    kind: str


def dihedral(positions: np.ndarray, quads: Any) -> np.ndarray:
    """Dihedral angles in radians, in (-pi, pi].

    positions (..., N, 3), quads (K, 4) or (4,) atom indices -> (..., K) or (...).
    phi = atan2(|b2| b1.(b2 x b3), (b1 x b2).(b2 x b3)) with b1, b2, b3 the successive bonds.
    """
    points = np.asarray(positions)[..., np.asarray(quads, dtype=int), :]
    b1, b2, b3 = (points[..., k + 1, :] - points[..., k, :] for k in range(3))
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    length = np.linalg.norm(b2, axis=-1)
    angle = np.arctan2(length * np.sum(b1 * n2, axis=-1), np.sum(n1 * n2, axis=-1))
    return np.where(angle <= -np.pi, np.pi, angle)


def set_rotor(positions: np.ndarray, rotor: Rotor, delta: Any) -> np.ndarray:
    """A copy of the positions in which the dihedral of `rotor` has grown by `delta` radians.

    positions (N, 3) or (B, N, 3), delta a number or (B,). Bonds, angles and all other independent
    torsions stay as they are (Rodrigues' rotation of the moving atoms).
    """
    turned = np.array(positions, dtype=float)
    moving = list(rotor.moving)
    origin = turned[..., rotor.atoms[2], :]
    axis = origin - turned[..., rotor.atoms[1], :]
    axis = (axis / np.linalg.norm(axis, axis=-1, keepdims=True))[..., None, :]
    arm = turned[..., moving, :] - origin[..., None, :]
    angle = np.asarray(delta, dtype=float)[..., None, None]
    along = np.sum(arm * axis, axis=-1, keepdims=True) * axis
    arm = along + np.cos(angle) * (arm - along) + np.sin(angle) * np.cross(axis, arm)
    turned[..., moving, :] = origin[..., None, :] + arm
    return turned


def signed_volume(positions: np.ndarray, centre: Any, neighbours: Any) -> np.ndarray:
    """a . (b x c) of the vectors from the centre to its first three neighbours, Å^3.

    positions (..., N, 3), centre () or (K,), neighbours (3+,) or (K, 3+) -> (...) or (..., K).
    """
    x = np.asarray(positions)
    n = np.asarray(neighbours, dtype=int)
    origin = x[..., np.asarray(centre, dtype=int), :]
    a, b, c = (x[..., n[..., k], :] - origin for k in range(3))
    return np.sum(a * np.cross(b, c), axis=-1)


def _no_bonds() -> np.ndarray:
    return np.zeros((0, 2), dtype=int)


@dataclass(frozen=True, eq=False, repr=False)
class Molecule:
    """Atoms with a start geometry, and everything that a search must leave as it is.

    Attributes:
        name: as given by the user ("Ac-Ala-NHMe", "smiles:CCO", "LJ13") or the file's stem.
        numbers: (N,) atomic numbers; 0 for the particles of a cluster.
        positions: (N, 3) start geometry, Å (sigma for a cluster).
        charge, unpaired_electrons: of the whole molecule.
        bonds: (M, 2) pairs i < j, sorted; none in a cluster.
        stereocentres, peptide_bonds, double_bonds: what a quench must not change.
        phi_psi: per residue, N to C terminus, the two backbone dihedrals; None where an atom of
            it is missing. Caps are not residues.
        rotatable: the torsions about single bonds outside rings.
        smiles: canonical SMILES with the stereochemistry of the geometry; "" if unknown.
        notes: choices made on the user's behalf, one line each.
    """

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    charge: int = 0
    unpaired_electrons: int = 0
    bonds: np.ndarray = field(default_factory=_no_bonds)
    stereocentres: tuple[Stereocentre, ...] = ()
    peptide_bonds: tuple[PeptideBond, ...] = ()
    double_bonds: tuple[DoubleBond, ...] = ()
    phi_psi: tuple[tuple[Quad | None, Quad | None], ...] = ()
    rotatable: tuple[Rotor, ...] = ()
    smiles: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, dtype, shape in (
            ("numbers", int, (-1,)),
            ("positions", float, (-1, 3)),
            ("bonds", int, (-1, 2)),
        ):
            array = np.array(getattr(self, key), dtype=dtype).reshape(shape)
            array.flags.writeable = False
            object.__setattr__(self, key, array)
        if len(self.numbers) != len(self.positions):
            raise InputError(
                f"{self.name}: {len(self.numbers)} elements but {len(self.positions)} positions"
            )

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def is_cluster(self) -> bool:
        """True for a cluster of identical particles without element (Lennard-Jones)."""
        return bool(np.all(self.numbers == 0))

    @property
    def symbols(self) -> tuple[str, ...]:
        from ase.data import chemical_symbols

        return tuple(chemical_symbols[z] for z in self.numbers)

    @property
    def formula(self) -> str:
        """Hill's order: C, H, then the alphabet (all alphabetic without carbon); LJ13 for a
        cluster. The charge is not part of it."""
        if self.is_cluster:
            return f"LJ{self.n_atoms}"
        count = Counter(self.symbols)
        first = [s for s in ("C", "H") if "C" in count and s in count]
        order = first + sorted(set(count) - set(first))
        return "".join(s + (str(count[s]) if count[s] > 1 else "") for s in order)

    def __repr__(self) -> str:
        facts = [
            self.formula,
            f"{self.n_atoms} atoms",
            "charge " + (f"{self.charge:+d}" if self.charge else "0"),
        ]
        for things, word in (
            (self.stereocentres, "stereocentres"),
            (self.peptide_bonds, "peptide bonds"),
            (self.phi_psi, "residues"),
        ):
            if things:
                facts.append(f"{len(things)} {word}")
        return f"Molecule({self.name}: {', '.join(facts)})"

    def dihedral_table(self, positions: np.ndarray | None = None) -> list[list[float]]:
        """[[phi, psi], ...] per residue in degrees, in (-180, 180]; nan where not defined.

        positions (N, 3); the start geometry if not given.
        """
        x = self.positions if positions is None else np.asarray(positions, dtype=float)
        return [
            [float("nan") if q is None else float(np.degrees(dihedral(x, q))) for q in pair]
            for pair in self.phi_psi
        ]

    def atoms(self, positions: np.ndarray | None = None) -> ase.Atoms:
        """ASE atoms; `info` carries "charge" and "unpaired_electrons"."""
        from ase import Atoms

        x = self.positions if positions is None else np.asarray(positions, dtype=float)
        info = {"charge": self.charge, "unpaired_electrons": self.unpaired_electrons}
        return Atoms(numbers=self.numbers, positions=x, info=info)

    def pymatgen(self, positions: np.ndarray | None = None) -> PymatgenMolecule:
        """pymatgen's Molecule, with charge and spin multiplicity; particles are DummySpecies X."""
        from pymatgen.core import DummySpecies
        from pymatgen.core import Molecule as PymatgenMolecule

        species = [DummySpecies("X") if s == "X" else s for s in self.symbols]
        x = self.positions if positions is None else np.asarray(positions, dtype=float)
        return PymatgenMolecule(
            species,
            x,
            charge=self.charge,
            spin_multiplicity=None if self.is_cluster else self.unpaired_electrons + 1,
            charge_spin_check=False,
        )

    def to_json(self) -> str:
        """Everything, exactly: `from_json(to_json())` returns the same bits."""
        arrays = {k: getattr(self, k).tolist() for k in ("numbers", "positions", "bonds")}
        return json.dumps({"schema": SCHEMA} | asdict(self) | arrays, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Molecule:
        """Reads what `to_json` wrote; InputError if it is anything else."""
        try:
            data = json.loads(text)
            if data.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            data["stereocentres"] = tuple(
                Stereocentre(s["centre"], tuple(s["neighbours"]), s["sign"])
                for s in data["stereocentres"]
            )
            for key, kind in (("peptide_bonds", PeptideBond), ("double_bonds", DoubleBond)):
                data[key] = tuple(kind(_quad(b["atoms"]), b["cis"]) for b in data[key])
            data["phi_psi"] = tuple(
                (phi and _quad(phi), psi and _quad(psi)) for phi, psi in data["phi_psi"]
            )
            data["rotatable"] = tuple(
                Rotor(_quad(r["atoms"]), tuple(r["moving"]), r["kind"]) for r in data["rotatable"]
            )
            data["notes"] = tuple(data["notes"])
            return cls(**data)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"not a molecule written by this version: {_line(error)}") from error

    @classmethod
    def from_text(cls, text: str | os.PathLike[str]) -> Molecule:
        """Reads a peptide sequence, `smiles:...`, a file, or `LJ13` (see the module's table).

        A path object is always a file. Raises InputError, naming what could not be read.
        """
        if isinstance(text, os.PathLike):
            return cls._from_file(Path(text))
        text = text.strip()
        if not text:
            raise InputError(f"no molecule given: write {CHOICES}")
        if text.lower().startswith("smiles:"):
            from topokrates.peptide import build_smiles

            return build_smiles(text[len("smiles:") :], name=text)
        looks_like_path = "/" in text or os.sep in text or re.search(r"\.\w+$", text)
        if looks_like_path or os.path.isfile(text):
            return cls._from_file(Path(text))
        if text[:2].upper() == "LJ":
            return _cluster(text)
        from topokrates.peptide import build_peptide

        return build_peptide(text)

    @classmethod
    def _from_file(cls, path: Path) -> Molecule:
        from topokrates.perception import perceive_atoms, read_frames

        return perceive_atoms(read_frames(path)[-1], path.stem, label=str(path))

    @classmethod
    def from_atoms(
        cls, atoms: ase.Atoms, name: str | None = None, charge: int | None = None
    ) -> Molecule:
        """A molecule from a geometry; bonds, stereo and amide states are perceived as found.

        charge: if not given, `atoms.info["charge"]`, else 0. Unpaired electrons: from
        `atoms.info["unpaired_electrons"]`, else the fewest that the electron count allows.
        Raises InputError for periodic cells, fewer than two atoms, coordinates that are not
        finite or coincide, and impossible charges; the line begins with `name`.
        """
        from topokrates.perception import perceive_atoms

        return perceive_atoms(atoms, name, charge)


def _quad(indices: Sequence[int]) -> Quad:
    i, j, k, m = indices
    return (i, j, k, m)


def _line(error: BaseException) -> str:
    """The first line of an error of another library, for one-line messages."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _cluster(text: str) -> Molecule:
    """LJn: a random compact start, particles in a sphere at the density of the solid.

    Random sequential placement with a least distance of 0.7 sigma fills 18 % of the sphere, far
    below the jamming limit of 38 %, so it always ends. The same n gives the same start.
    """
    match = re.fullmatch(r"LJ(\d{1,6})", text, re.IGNORECASE)
    n = int(match[1]) if match else 0
    if not 2 <= n <= LARGEST_CLUSTER:
        raise InputError(
            f"{text}: a Lennard-Jones cluster is LJ and its number of particles, "
            f"from LJ2 to LJ{LARGEST_CLUSTER}"
        )
    rng = np.random.default_rng(n)
    radius = (3 * n / (4 * np.pi)) ** (1 / 3)
    placed = np.zeros((0, 3))
    while len(placed) < n:
        point = rng.uniform(-radius, radius, 3)
        if point @ point <= radius**2 and np.all(np.linalg.norm(placed - point, axis=1) >= 0.7):
            placed = np.vstack([placed, point])
    return Molecule(text.upper(), np.zeros(n, dtype=int), placed - placed.mean(axis=0))
