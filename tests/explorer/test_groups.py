"""Groups of equivalent atoms that peptides have: whatever turns one onto itself changes nothing."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.identity.matching import Matcher
from topokrates.molecule import Molecule, set_rotor

# The molecule, what moves about the bond, and into how many equal parts it divides a full turn.
TURNS = {
    "methyl": ("Ac-Ala-NHMe", {"H": 3}, 3),
    "ammonium": ("smiles:CC(=O)N[C@@H](CCCC[NH3+])C(=O)NC", {"H": 3}, 3),
    "phenyl": ("Ac-Phe-NHMe", {"C": 5, "H": 5}, 2),
    "tyrosine": ("Ac-Tyr-NHMe", {"C": 5, "O": 1, "H": 5}, 2),
    "carboxylate": ("Ac-Asp(-)-NHMe", {"O": 2}, 2),
    "guanidinium": ("smiles:CC(=O)N[C@@H](CCCNC(N)=[NH2+])C(=O)NC", {"N": 2, "H": 4}, 2),
    "tert-butyl": ("smiles:CC(=O)N[C@H](C(=O)NC)C(C)(C)C", {"C": 3, "H": 9}, 3),
}


@cache
def molecule(text):
    return Molecule.from_text(text)


def rotor_of(m, moving, on_nitrogen):
    """The first rotor that moves these atoms about a bond with or without a nitrogen."""
    return next(
        r
        for r in m.rotatable
        if Counter(m.symbols[i] for i in r.moving) == moving
        and any(m.symbols[i] == "N" for i in r.atoms[1:3]) == on_nitrogen
    )


def moved(x, rng):
    return x @ Rotation.random(rng=rng).as_matrix().T + rng.normal(scale=5, size=3)


def in_order(a, b):
    """The RMSD without any exchange of atoms."""
    a, b = a - a.mean(0), b - b.mean(0)
    _, distance = Rotation.align_vectors(a, b)
    return distance / np.sqrt(len(a))


@pytest.mark.parametrize("name", TURNS)
def test_a_group_turned_onto_itself_is_the_same_structure(name):
    """Nearly so, as the group's own angles are not quite equal; by half as much it is another."""
    rng = np.random.default_rng(1)
    text, moving, parts = TURNS[name]
    m = molecule(text)
    rotor = rotor_of(m, moving, name in ("ammonium", "guanidinium"))
    matcher = Matcher(m)
    x = m.positions
    for rotor_elsewhere in m.rotatable:
        if rotor_elsewhere.kind in ("phi", "psi"):
            x = set_rotor(x, rotor_elsewhere, rng.uniform(-1, 1))
    turned = set_rotor(x, rotor, 2 * np.pi / parts)
    half = set_rotor(x, rotor, np.pi / parts)
    if name == "tyrosine":  # the hydroxyl group came along to the other side
        turned = set_rotor(turned, rotor_of(m, {"H": 1}, False), np.pi)
    assert in_order(x, turned) > 0.3
    assert matcher.same(x, moved(turned, rng))
    assert not matcher.same(x, moved(half, rng))


@pytest.mark.parametrize("text", ["Ac-Val-NHMe", "Ac-Leu-NHMe"])
def test_methyl_groups_of_an_isopropyl_group_have_no_names(text):
    """To exchange them by a turn is impossible; they are exchanged as labels, each as a whole."""
    rng = np.random.default_rng(2)
    m = molecule(text)
    near = [[j for j in m.bonds[(m.bonds == i).any(1)].ravel() if j != i] for i in range(m.n_atoms)]

    def hydrogens(i):
        return [j for j in near[i] if m.symbols[j] == "H"]

    first, second = next(
        pair
        for pair in ([j for j in near[i] if len(hydrogens(j)) == 3] for i in range(m.n_atoms))
        if len(pair) == 2
    )
    order = np.arange(m.n_atoms)
    order[[first, *hydrogens(first)]] = [second, *hydrogens(second)]
    order[[second, *hydrogens(second)]] = [first, *hydrogens(first)]
    x = m.positions
    matcher = Matcher(m)
    assert in_order(x, x[order]) > 0.3
    assert matcher.rmsd(x, moved(x[order], rng)) < 1e-6
    assert matcher.same(x, moved(x[order], rng))
    # Carbons exchanged, hydrogens left behind: bonds of 2.5 Å, another structure.
    order[[*hydrogens(first), *hydrogens(second)]] = [*hydrogens(first), *hydrogens(second)]
    assert not matcher.same(x, moved(x[order], rng))


@pytest.mark.parametrize(
    ("text", "carriers"),
    [("Ac-Ala-NHMe", [("C", 3), ("C", 3)]), ("Ac-Ser-NHMe", [("O", 1), ("N", 1)])],
    ids=["two methyl groups", "hydroxyl and amide"],
)
def test_hydrogens_of_different_atoms_are_never_exchanged(text, carriers):
    rng = np.random.default_rng(3)
    m = molecule(text)
    hydrogens = [
        [j for j in m.bonds[(m.bonds == i).any(1)].ravel() if m.symbols[j] == "H" and j != i]
        for i in range(m.n_atoms)
    ]
    taken = []
    for element, count in carriers:
        fits = (
            h for s, h in zip(m.symbols, hydrogens, strict=True) if (s, len(h)) == (element, count)
        )
        taken.append(next(h[0] for h in fits if h[0] not in taken))
    order = np.arange(m.n_atoms)
    order[taken] = taken[::-1]
    assert not Matcher(m).same(m.positions, moved(m.positions[order], rng))
