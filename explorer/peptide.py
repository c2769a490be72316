"""From a peptide's sequence or a SMILES string to a molecule with a start geometry.

A sequence is `[cap-]residue-residue-...[-cap]` in three-letter names, with D- before a residue
for the D form: `Ac-Ala-NHMe`, `ACE-ALA-NME`, `For-D-Ala-Gly-NH2`, `H-Gly-Gly-OH`, `Gly-Gly`.

========  ================  =========================================================
N caps    Ac, ACE           acetyl CH3-C(=O)-
          For, Formyl       formyl H-C(=O)-
          H, or nothing     free neutral amine H2N-
C caps    NHMe, NME         N-methylamide -NH-CH3
          NH2, NHE          amide
          OH, or nothing    free neutral acid -C(=O)OH
========  ================  =========================================================

Everything is neutral unless a name says otherwise, as is right in the gas phase. Names are read
in any case, with one exception: `ASP`, `GLU`, `LYS` and `ARG` all in capitals are the residue
names of the Amber force fields and mean what they mean there, the charged form.

==================================  ==========================================  ===========
neutral                             charged                                     net charge
==================================  ==========================================  ===========
Asp, ASH, Asp(0)                    ASP (capitals), Asp(-)                      -1
Glu, GLH, Glu(0)                    GLU (capitals), Glu(-)                      -1
Lys, LYN, Lys(0)                    LYS (capitals), Lys(+)                      +1
Arg, ARN, Arg(0)                    ARG (capitals), Arg(+)                      +1
His, HIE (H on N-epsilon), His(0)   HIP, His(+)                                 +1
HID (H on N-delta)
Cys, Cys(0)                         CYM, Cys(-)                                 -1
Tyr, Tyr(0)                         TYM, Tyr(-)                                 -1
==================================  ==========================================  ===========

Neutral arginine has its imine on N-epsilon (-CH2-N=C(NH2)2). Residues are L; Ile is 2S,3S and Thr
2S,3R, and D- mirrors both of their centres.

A peptide is put together from its capped residues, each embedded on its own (RDKit's ETKDGv3
with a fixed seed), as an extended chain with trans amides, and then relaxed with MMFF94. That is
linear in the length and gives the same geometry every time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers
from rdkit.Chem.EnumerateStereoisomers import EnumerateStereoisomers, StereoEnumerationOptions

from topokrates.model.errors import InputError
from topokrates.molecule import CHOICES, Molecule, dihedral, set_rotor
from topokrates.perception import stereo_smiles, topology, with_positions

SEED = 20240607
EXTENDED = {"phi": -140.0, "psi": 140.0, "omega": 180.0}  # degrees, for L

N_CAPS = {"ac": "ac", "ace": "ac", "for": "for", "formyl": "for", "h": "h"}
C_CAPS = {"nhme": "nhme", "nme": "nhme", "nh2": "nh2", "nhe": "nh2", "oh": "oh"}
N_CAP_SMILES = {"ac": "CC(=O)", "for": "C(=O)", "h": ""}
C_CAP_SMILES = {"nhme": "NC", "nh2": "N", "oh": "O"}

# Side chains written after the alpha carbon; Amber's names where it has one.
SIDE_CHAINS = {
    "ALA": "C",
    "ARN": "CCCN=C(N)N",
    "ARG+": "CCCNC(N)=[NH2+]",
    "ASN": "CC(N)=O",
    "ASH": "CC(=O)O",
    "ASP-": "CC(=O)[O-]",
    "CYS": "CS",
    "CYM": "C[S-]",
    "GLN": "CCC(N)=O",
    "GLH": "CCC(=O)O",
    "GLU-": "CCC(=O)[O-]",
    "HID": "Cc1cnc[nH]1",
    "HIE": "Cc1c[nH]cn1",
    "HIP": "Cc1c[nH]c[nH+]1",
    "ILE": "[C@@H](C)CC",
    "LEU": "CC(C)C",
    "LYN": "CCCCN",
    "LYS+": "CCCC[NH3+]",
    "MET": "CCSC",
    "PHE": "Cc1ccccc1",
    "SER": "CO",
    "THR": "[C@@H](C)O",
    "TRP": "Cc1c[nH]c2ccccc12",
    "TYR": "Cc1ccc(O)cc1",
    "TYM": "Cc1ccc([O-])cc1",
    "VAL": "C(C)C",
}
TEMPLATES = {name: f"N[C@@H]({side})C(=O)" for name, side in SIDE_CHAINS.items()} | {
    "GLY": "NCC(=O)",
    "PRO": "N1[C@@H](CCC1)C(=O)",
}
# name in capitals -> template of the neutral form and, if there is one, of the charged form
NEUTRAL = {n: n for n in TEMPLATES if n[-1] not in "+-"} | {
    "ASP": "ASH",
    "GLU": "GLH",
    "LYS": "LYN",
    "ARG": "ARN",
    "HIS": "HIE",
}
MOST_REPEATS = 1000
CHARGED = {"ASP": "ASP-", "GLU": "GLU-", "LYS": "LYS+", "ARG": "ARG+"}
SUFFIXED = CHARGED | {"HIS": "HIP", "CYS": "CYM", "TYR": "TYM"}


@dataclass(frozen=True)
class Residue:
    """One residue as understood: `template` is a key of TEMPLATES."""

    template: str
    mirrored: bool = False

    @property
    def smiles(self) -> str:
        text = TEMPLATES[self.template]
        if self.mirrored:
            text = text.replace("@@", "#").replace("@", "@@").replace("#", "@")
        return text


@dataclass(frozen=True)
class Sequence:
    """A parsed sequence; caps are keys of N_CAP_SMILES and C_CAP_SMILES."""

    n_cap: str
    residues: tuple[Residue, ...]
    c_cap: str
    notes: tuple[str, ...] = ()

    @property
    def smiles(self) -> str:
        body = "".join(r.smiles for r in self.residues)
        return N_CAP_SMILES[self.n_cap] + body + C_CAP_SMILES[self.c_cap]


def parse_sequence(text: str) -> Sequence:
    """Reads a sequence; InputError names the part that is wrong and close matches."""
    plain = re.sub("[‐‑‒–—−]", "-", text.strip())  # typographic dashes from papers
    tokens = [t.strip() for t in re.split(r"-(?![^()]*\))", plain)]
    n_cap = c_cap = ""
    if tokens and tokens[0].lower() in N_CAPS:
        n_cap = N_CAPS[tokens.pop(0).lower()]
    if tokens and tokens[-1].lower() in C_CAPS:
        c_cap = C_CAPS[tokens.pop().lower()]
    if not tokens:
        raise InputError(f"{text!r} has no residue: write one such as Ac-Ala-NHMe")
    residues, notes = [], []
    hand = ""
    for token in tokens:
        if not token:
            raise InputError(f"{text!r}: there is nothing between two dashes, or at an end")
        if token.lower() in N_CAPS or token.lower() in C_CAPS:
            end = "first" if token.lower() in N_CAPS else "last"
            raise InputError(f"{text!r}: the cap {token} can only come {end}")
        if token.upper() in ("D", "L") and not hand:
            hand = token.upper()
            continue
        token, times = _repeated(token, text)
        template = _template(token, text)
        if token in CHARGED:
            notes.append(f"{token} in capitals is Amber's name of the charged residue")
        if hand and template == "GLY":
            raise InputError(f"{text!r}: {token} is not chiral and has no {hand} form")
        residues += [Residue(template, hand == "D")] * times
        hand = ""
    if hand:
        raise InputError(f"{text!r}: no residue follows {hand}-")
    return Sequence(n_cap or "h", tuple(residues), c_cap or "oh", tuple(dict.fromkeys(notes)))


def _repeated(token: str, text: str) -> tuple[str, int]:
    """A residue and how often it is meant: `Ala3` is three of Ala."""
    match = re.fullmatch(r"([A-Za-z]+)([0-9]+)", token)
    if not match or match[1].upper() not in NEUTRAL:
        return token, 1
    times = int(match[2])
    if not 1 <= times <= MOST_REPEATS:
        raise InputError(f"{token!r} in {text!r}: give a number of residues of 1 to {MOST_REPEATS}")
    return match[1], times


def _template(token: str, text: str) -> str:
    match = re.fullmatch(r"(\w+?)(?:\(([-+0])\))?", token)
    name, sign = (match[1], match[2]) if match else (token, None)
    upper = name.upper()
    if upper in NEUTRAL:
        if sign is None:
            return CHARGED[name] if name in CHARGED else NEUTRAL[upper]
        charged = SUFFIXED.get(upper)
        if sign == "0":
            return NEUTRAL[upper]
        if charged and (Chem.GetFormalCharge(_read(TEMPLATES[charged])) > 0) == (sign == "+"):
            return charged
        raise InputError(f"{text!r}: {name} has no ({sign}) form")
    known = [n.title() for n in NEUTRAL] + ["Ac", "For", "NHMe", "NH2", "OH"]
    close = get_close_matches(name.title(), known, n=3, cutoff=0.6)
    close = close or get_close_matches(name.title(), known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(close)}? " if close else ""
    raise InputError(f"{token!r} in {text!r} is not a residue: {hint}A molecule is {CHOICES}")


def _read(smiles: str) -> Chem.Mol:
    """A molecule from SMILES, hydrogens implicit; InputError says what RDKit objects to."""
    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles, sanitize=False)
        if mol is None:
            raise InputError(f"SMILES {smiles!r} cannot be read: its syntax is wrong")
        problems = [p.Message() for p in Chem.DetectChemistryProblems(mol)]
        if problems:
            raise InputError(f"SMILES {smiles!r} cannot be read: {problems[0].splitlines()[0]}")
        return Chem.MolFromSmiles(smiles)


def _embed(mol: Chem.Mol) -> np.ndarray | None:
    """Positions (N, 3) by distance geometry, fragments side by side; None if it cannot be done."""
    settings = rdDistGeom.ETKDGv3()
    settings.randomSeed = SEED
    settings.maxIterations = 30
    if rdDistGeom.EmbedMolecule(mol, settings) < 0:
        settings.useRandomCoords = True
        if rdDistGeom.EmbedMolecule(mol, settings) < 0:
            return None
    x = np.array(mol.GetConformer().GetPositions())
    edge = None
    for fragment in Chem.GetMolFrags(mol):
        part = x[list(fragment)] - x[list(fragment)].mean(axis=0)
        if edge is not None:
            part[:, 0] += edge + 3.0 - part[:, 0].min()
        edge = part[:, 0].max()
        x[list(fragment)] = part
    return x


def _relax(mol: Chem.Mol, positions: np.ndarray) -> np.ndarray:
    """A few hundred steps down MMFF94, or UFF where MMFF94 lacks a parameter, or none."""
    mol = with_positions(mol, positions)
    fields = rdForceFieldHelpers
    steps = max(100, min(500, 40_000 // mol.GetNumAtoms()))
    if fields.MMFFHasAllMoleculeParams(mol):
        fields.MMFFOptimizeMolecule(mol, maxIters=steps, ignoreInterfragInteractions=False)
    elif fields.UFFHasAllMoleculeParams(mol):
        fields.UFFOptimizeMolecule(mol, maxIters=steps, ignoreInterfragInteractions=False)
    return np.array(mol.GetConformer().GetPositions())


def _turn(mol: Chem.Mol, positions: np.ndarray, targets: dict[str, float]) -> np.ndarray:
    """Sets the torsions of these kinds (kind -> degrees) in turn."""
    for rotor in topology(mol, positions)["rotatable"]:
        if rotor.kind in targets:
            delta = np.radians(targets[rotor.kind]) - dihedral(positions, rotor.atoms)
            positions = set_rotor(positions, rotor, delta)
    return positions


def _kept(mol: Chem.Mol, before: np.ndarray, after: np.ndarray) -> bool:
    """Did a relaxation leave stereocentres, double bonds and amides as they were?"""
    a, b = topology(mol, before), topology(mol, after)
    keys = ("stereocentres", "double_bonds", "peptide_bonds")
    return bool(np.all(np.isfinite(after))) and all(a[key] == b[key] for key in keys)


def _finish(
    mol: Chem.Mol, positions: np.ndarray, name: str, notes: tuple[str, ...] = ()
) -> Molecule:
    relaxed = _relax(mol, positions)
    if _kept(mol, positions, relaxed):
        positions = relaxed
    positions = positions - positions.mean(axis=0)
    return Molecule(
        name,
        np.array([a.GetAtomicNum() for a in mol.GetAtoms()]),
        positions,
        charge=Chem.GetFormalCharge(mol),
        unpaired_electrons=sum(a.GetNumRadicalElectrons() for a in mol.GetAtoms()),
        smiles=stereo_smiles(mol, positions),
        notes=notes,
        **topology(mol, positions),
    )


def _axes(x: np.ndarray) -> np.ndarray:
    """Rows: the orthonormal frame of three points (3, 3)."""
    u = x[2] - x[0]
    u = u / np.linalg.norm(u)
    v = x[1] - x[0]
    v = v - (v @ u) * u
    v = v / np.linalg.norm(v)
    return np.stack([u, v, np.cross(u, v)])


def build_peptide(text: str) -> Molecule:
    """The molecule of a sequence, an extended chain with trans amides.

    Raises InputError, naming the part of `text` that is not a residue or cap.
    """
    sequence = parse_sequence(text)
    with rdBase.BlockLogs():
        mol = Chem.AddHs(Chem.MolFromSmiles(sequence.smiles))
        return _finish(mol, _extended_chain(mol, sequence), text.strip(), sequence.notes)


def _extended_chain(mol: Chem.Mol, sequence: Sequence) -> np.ndarray:
    """Positions (N, 3): each residue between its neighbours' amide groups, end to end.

    Residue k is embedded as Ac-X-NHMe (its own caps at the ends of the chain). C, O and N of
    its acetyl are laid on C, O and N of the methylamide of residue k - 1.
    """
    x = np.zeros((mol.GetNumAtoms(), 3))
    start = 0  # heavy atoms of the peptide placed so far
    joint = np.zeros((3, 3))  # C, O, N at the open end of the chain
    last = len(sequence.residues) - 1
    done: dict[tuple[str, bool], tuple[Chem.Mol, np.ndarray]] = {}
    for k, residue in enumerate(sequence.residues):
        n_cap = sequence.n_cap if k == 0 else "ac"
        c_cap = sequence.c_cap if k == last else "nhme"
        piece = Sequence(n_cap, (residue,), c_cap)
        key = (piece.smiles, residue.mirrored)
        if key not in done:
            part = Chem.AddHs(Chem.MolFromSmiles(piece.smiles))
            y = _embed(part)
            assert y is not None, f"{piece.smiles} could not be embedded"
            sign = -1.0 if residue.mirrored else 1.0
            turned = {kind: sign * angle for kind, angle in EXTENDED.items()}
            done[key] = part, _turn(part, _relax(part, y), turned)
        part, y = done[key]
        before = _heavy(N_CAP_SMILES[n_cap])
        end = part.GetNumHeavyAtoms() - _heavy(C_CAP_SMILES[c_cap])
        if k:
            onto = _axes(y[[1, 2, 3]]).T @ _axes(joint)
            y = (y - y[1]) @ onto + joint[0]
        joint = y[[end - 2, end - 1, end]]
        first = 0 if k == 0 else before
        stop = part.GetNumHeavyAtoms() if k == last else end
        for atom in range(first, stop):
            here = start + atom - first
            x[here] = y[atom]
            x[_hydrogens(mol, here)] = y[_hydrogens(part, atom)]
        start += stop - first
    return x


def _heavy(smiles: str) -> int:
    return Chem.MolFromSmiles(smiles).GetNumAtoms()


def _hydrogens(mol: Chem.Mol, atom: int) -> list[int]:
    around = mol.GetAtomWithIdx(atom).GetNeighbors()
    return sorted(a.GetIdx() for a in around if a.GetAtomicNum() == 1)


def build_smiles(smiles: str, name: str | None = None) -> Molecule:
    """The molecule of a SMILES string, amides that can turn made trans.

    Stereochemistry that the string leaves open is chosen by rule: alpha-amino acids L, then the
    isomer whose canonical SMILES sorts first; `Molecule.notes` says so and `Molecule.smiles` has
    the outcome. Radical electrons count as unpaired. Raises InputError for a string that RDKit
    cannot read or build.
    """
    smiles = smiles.strip()
    if not smiles or re.search(r"\s", smiles):
        raise InputError(f"SMILES {smiles!r} cannot be read: write it without blanks, smiles:CCO")
    parsed = _read(smiles)
    with rdBase.BlockLogs():
        if any(a.GetAtomicNum() == 0 for a in parsed.GetAtoms()):
            raise InputError(f"SMILES {smiles!r} has an atom without element (*)")
        if Chem.AddHs(parsed).GetNumAtoms() < 2:
            raise InputError(f"SMILES {smiles!r} is one atom, but a landscape needs at least two")
        for isomer in _isomers(parsed):
            mol = Chem.AddHs(isomer)
            x = _embed(mol)
            if x is not None:
                break
        else:
            raise InputError(f"SMILES {smiles!r} has no three-dimensional structure to start from")
        cis = {p.atoms[1:3] for p in topology(mol, x)["peptide_bonds"] if p.cis}
        for rotor in topology(mol, x)["rotatable"]:
            if rotor.atoms[1:3] in cis or rotor.atoms[2:0:-1] in cis:
                x = set_rotor(x, rotor, np.pi - dihedral(x, rotor.atoms))
        molecule = _finish(mol, x, name or f"smiles:{smiles}")
        if Chem.MolToSmiles(isomer) != Chem.MolToSmiles(parsed):
            note = f"stereochemistry left open, taken as {molecule.smiles}"
            molecule = replace(molecule, notes=(*molecule.notes, note))
        return molecule


_L_ALPHA = Chem.MolFromSmarts("[NX3,NX4][C@@H]([#6])C(=O)")
_ALPHA = Chem.MolFromSmarts("[NX3,NX4][CH1X4]([#6])C(=O)")


def _isomers(parsed: Chem.Mol) -> list[Chem.Mol]:
    """The stereoisomers that agree with what is given, alpha carbons L, sorted by SMILES."""
    mol = Chem.Mol(parsed)
    for match in mol.GetSubstructMatches(_ALPHA):
        atom = mol.GetAtomWithIdx(match[1])
        if atom.GetChiralTag() == Chem.ChiralType.CHI_UNSPECIFIED:
            atom.SetChiralTag(Chem.ChiralType.CHI_TETRAHEDRAL_CW)
            left_handed = mol.GetSubstructMatches(_L_ALPHA, useChirality=True)
            if match[1] not in {m[1] for m in left_handed}:
                atom.InvertChirality()
    Chem.AssignStereochemistry(mol, cleanIt=True, force=True)
    options = StereoEnumerationOptions(onlyUnassigned=True, unique=True, maxIsomers=64)
    return sorted(EnumerateStereoisomers(mol, options), key=Chem.MolToSmiles)
