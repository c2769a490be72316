"""The network that comes with the package: what its card says, and that it is a peptide's."""

import re

import numpy as np
import pytest

from topokrates.model import models, weights
from topokrates.molecule import Molecule, set_rotor
from topokrates.relaxation.internals import coordinates
from topokrates.relaxation.relax import Status, descend

CARD = weights.shipped("peptide").with_suffix(".md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def peptide():
    return models.load("peptide")


def test_it_is_there_under_its_name_and_small(peptide):
    found = weights.load("Peptide")
    assert (found.name, found.licence, found.sha256) == ("peptide", "MIT", peptide.weights.sha256)
    assert found.elements == (1, 6, 7, 8, 16)
    assert weights.shipped("peptide").stat().st_size < 5e6
    assert weights.available()[0]["name"] == "peptide"
    # a name is enough to find it again, wherever it is installed
    assert "file" not in peptide.bind(np.array([8, 1, 1])).provenance()


def test_the_card_says_what_the_file_says(peptide):
    errors = peptide.weights.training["errors"]["test"]
    told = re.search(r"held-out sequences: ([\d.]+) meV/Å", CARD)
    assert told is not None
    assert float(told[1]) == pytest.approx(errors["force_mae"], abs=0.051)
    text = f"{sum(np.size(a) for a in _leaves(peptide.weights.params)):,} parameters"
    assert text in CARD


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


def test_relative_energies_of_alanine_dipeptide(peptide):
    """Minima of Ac-Ala-NHMe beside those of AIQM2, kcal/mol above C7eq: C5 and C7ax."""
    molecule = Molecule.from_text("Ac-Ala-NHMe")
    potential = peptide.bind(molecule.numbers)
    internal = coordinates(molecule.bonds, molecule.positions)
    turns = {rotor.kind: rotor for rotor in molecule.rotatable if rotor.kind in ("phi", "psi")}
    now = molecule.dihedral_table()[0]
    starts = []
    for angles in ((-83, 68), (-158, 163), (72, -55)):
        x = molecule.positions
        for kind, old, new in zip(("phi", "psi"), now, angles, strict=True):
            x = set_rotor(x, turns[kind], np.radians(new - old))
        starts.append(x)
    ends = sorted(descend(potential, internal, starts), key=lambda end: end.index)
    assert all(end.status is Status.CONVERGED for end in ends)
    found = np.array([end.energy for end in ends]) * 23.0605
    assert found - found[0] == pytest.approx([0.0, 0.62, 2.06], abs=0.5)


def test_two_molecules_far_apart_feel_their_charges_alone(peptide):
    water = Molecule.from_text("smiles:O")
    one = peptide.bind(water.numbers)
    both = peptide.bind(np.tile(water.numbers, 2))
    x = water.positions
    far = [np.concatenate([x, x + np.array([0, 0, d])]) for d in (50.0, 500.0)]
    apart = both.energies_and_forces(np.stack(far))[0] - 2 * one.energies_and_forces(x[None])[0]
    assert np.all(np.abs(apart) < 2e-3)
