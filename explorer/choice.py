"""Which model a molecule gets when none is named, and what `peptide` is good for.

`peptide` was trained on neutral peptides of the twenty amino acids and on nothing else: a molecule
is cut at its peptide bonds, and every piece has to be a residue or a cap that is known. Up to the
size of what it was trained on it is what `auto` takes for these (its card compares it with others).
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from topokrates.defaults import AUTO

if TYPE_CHECKING:
    from ase import Atoms

    from topokrates.molecule import Molecule

LARGEST = 60  # atoms; those of the training data have up to 57
# The bonds between residues and caps: those of a residue's nitrogen and carbonyl carbon. The amides
# of Asn and Gln are none of them.
LINKS = (
    "[CX3;$(C(=O)[#6]),$([CH1]=O):1]-!@[NX3:2][CX4][CX3](=O)[N,O]",
    "[NX3][CX4][CX3:1](=O)-!@[NX3:2]",
)


def model_for(molecule: "Molecule", model: str = AUTO) -> str:
    """The name of a model: the one that was asked for, or with "auto" the one that fits.

    LJ for a cluster, `peptide` for a peptide like those that it was trained on, `so3lr` for all
    else.
    """
    if model != AUTO:
        return model
    if molecule.is_cluster:
        return "LJ"
    return "peptide" if molecule.n_atoms <= LARGEST and is_peptide(molecule) else "so3lr"


def model_for_frames(frames: "Sequence[Atoms]", model: str = AUTO) -> str:
    """As `model_for`, one for all frames of a file."""
    if model != AUTO:
        return model
    return "so3lr" if any(atoms.numbers.any() for atoms in frames) else "LJ"


def unfit(molecule: "Molecule", model: str) -> str:
    """Why a model is none for a molecule, a line; "" if nothing speaks against it."""
    if model.lower() == "peptide" and not is_peptide(molecule):
        return (
            f"peptide was trained on neutral linear peptides of the twenty amino acids, and"
            f" {molecule.name} is none: what it says of it is a guess"
        )
    return ""


def is_peptide(molecule: "Molecule") -> bool:
    """Whether a molecule is a neutral linear peptide of the twenty amino acids, L or D."""
    if molecule.charge or molecule.unpaired_electrons or not molecule.smiles:
        return False
    pieces = _pieces(molecule.smiles)
    return bool(pieces) and pieces <= _known()


def _pieces(smiles: str) -> set[str]:
    """What is left of a molecule when its peptide bonds are cut, as SMILES without stereo."""
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(smiles)
        if mol is None:
            return set()
        Chem.RemoveStereochemistry(mol)
        bonds = set()
        for text in LINKS:
            pattern = Chem.MolFromSmarts(text)
            ends = [a.GetIdx() for a in pattern.GetAtoms() if a.GetAtomMapNum()]
            for match in mol.GetSubstructMatches(pattern, uniquify=False, maxMatches=100_000):
                bonds.add(mol.GetBondBetweenAtoms(*(match[k] for k in ends)).GetIdx())
        if bonds:
            labels = [(0, 0)] * len(bonds)
            mol = Chem.FragmentOnBonds(mol, sorted(bonds), dummyLabels=labels)
        return set(Chem.MolToSmiles(mol).split("."))


@cache
def _known() -> frozenset[str]:
    """All pieces of neutral peptides: residues within a chain and at its ends, and caps."""
    from rdkit import Chem

    from topokrates.peptide import C_CAP_SMILES, N_CAP_SMILES, TEMPLATES

    pieces: set[str] = set()
    for residue in TEMPLATES.values():
        if Chem.GetFormalCharge(Chem.MolFromSmiles(residue)):
            continue
        for first in N_CAP_SMILES.values():
            for last in C_CAP_SMILES.values():
                pieces |= _pieces(f"{first}{residue}{last}")
    return frozenset(pieces)
