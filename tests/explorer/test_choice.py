"""Which model a molecule gets, and for which ones `peptide` was trained."""

from dataclasses import replace

import pytest

from topokrates.choice import is_peptide, model_for, model_for_frames, unfit
from topokrates.molecule import Molecule

PEPTIDES = [
    "Ac-Ala-NHMe", "Gly-Gly", "For-Ser-NH2", "Ac-Arg-NHMe", "H-Pro-Pro-OH", "Ac-Asn-Gln-NHMe",
    "Ac-D-Trp-His-NHMe", "Ac-HID-NHMe", "Ala", "Ac-Lys-Met-Cys-Asp-OH",
    "smiles:CC(=O)N[C@@H](C)C(=O)NC",
]  # fmt: skip
OTHERS = [
    "smiles:CCO", "Ac-LYS-NHMe", "smiles:[NH3+]CC(=O)[O-]", "smiles:CC(=O)NC",
    "smiles:CC(=O)NC(C)(C)C(=O)NC",  # Aib
    "smiles:O=C1CNC(=O)CN1",  # a ring of two residues
    "smiles:CN(C(C)=O)CC(=O)NC",  # a peptoid
    "smiles:CC(=O)NCC(=O)NCC(C)=O",  # another cap
]  # fmt: skip


@pytest.mark.parametrize("text", PEPTIDES)
def test_a_neutral_peptide_is_what_the_network_of_peptides_knows(text):
    molecule = Molecule.from_text(text)
    assert is_peptide(molecule)
    assert not unfit(molecule, "peptide")


@pytest.mark.parametrize("text", OTHERS)
def test_another_molecule_is_not(text):
    molecule = Molecule.from_text(text)
    assert not is_peptide(molecule)
    assert molecule.name in unfit(molecule, "peptide")
    assert not unfit(molecule, "so3lr")


def test_an_ion_or_radical_is_not_whatever_its_bonds():
    glycine = Molecule.from_text("Gly")
    assert not is_peptide(replace(glycine, charge=1))
    assert not is_peptide(replace(glycine, unpaired_electrons=2))


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("LJ7", "LJ"),
        ("Gly", "peptide"),
        ("Ac-Ala3-NHMe", "peptide"),
        ("Ac-Ala7-NHMe", "so3lr"),  # larger than what `peptide` was trained on
        ("Ac-LYS-NHMe", "so3lr"),
        ("smiles:CCO", "so3lr"),
    ],
)
def test_each_molecule_gets_what_fits(text, model):
    assert model_for(Molecule.from_text(text)) == model


def test_what_is_named_is_taken():
    assert model_for(Molecule.from_text("Gly"), "so3lr") == "so3lr"
    assert model_for(Molecule.from_text("smiles:CCO"), "peptide") == "peptide"


def test_all_frames_of_a_file_get_one_model():
    glycine, ethanol, cluster = (
        Molecule.from_text(text).atoms() for text in ("Gly", "smiles:CCO", "LJ7")
    )
    assert model_for_frames([glycine, ethanol]) == "so3lr"
    assert model_for_frames([cluster]) == "LJ"
    assert model_for_frames([ethanol], "peptide") == "peptide"
