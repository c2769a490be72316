"""Broken bonds, other stereoisomers, fragments: what became of a molecule, and what may be kept."""

from functools import cache

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.identity.integrity import Change, Kind, allowed, allowed_kinds, changes
from topokrates.identity.matching import Matcher
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, set_rotor


@cache
def molecule(text):
    return Molecule.from_text(text)


def moved(x, rng):
    return x @ Rotation.random(rng=rng).as_matrix().T + rng.normal(scale=5, size=3)


def atoms_of(m, *symbols):
    return [i for i, s in enumerate(m.symbols) if s in symbols]


@pytest.mark.parametrize("text", ["Ac-Ala-NHMe", "Ac-Pro-D-Val-NHMe", "smiles:C/C=C/C"])
def test_turning_single_bonds_changes_nothing(text):
    rng = np.random.default_rng(9)
    m = molecule(text)
    for _ in range(5):
        x = m.positions
        for rotor in m.rotatable:
            if rotor.kind in ("methyl", "chi"):
                x = set_rotor(x, rotor, rng.uniform(-0.5, 0.5))
        change = changes(m, moved(x, rng))
        assert not change
        assert change.kind == ""


def test_mirror_image_of_a_chiral_molecule():
    m = molecule("Ac-Ala-NHMe")
    change = changes(m, -m.positions)
    assert change.kind is Kind.STEREO
    (centre,) = m.stereocentres
    assert str(change) == f"stereocentre C{centre.centre} inverted"


def test_flattened_stereocentre():
    m = molecule("Ac-Ala-NHMe")
    (centre,) = m.stereocentres
    x = m.positions.copy()
    shift = x[list(centre.neighbours[:3])].mean(0) - x[centre.centre]
    x[[centre.centre, centre.neighbours[3]]] += shift
    assert str(changes(m, x)) == f"stereocentre C{centre.centre} flattened"


def test_cis_peptide_bond():
    m = molecule("Ac-Ala-NHMe")
    for bond in m.peptide_bonds:
        rotor = next(r for r in m.rotatable if set(r.atoms[1:3]) == set(bond.atoms[1:3]))
        x = set_rotor(m.positions, rotor, np.pi)
        change = changes(m, x)
        assert change.kind == "cis-trans"
        _, c, n, _ = bond.atoms
        assert str(change) == f"peptide bond C{c}-N{n} became cis"


def test_double_bond():
    m = molecule("smiles:C/C=C/C")
    other = molecule("smiles:C/C=C\\C")
    change = changes(m, other.positions)
    assert change.kind == "cis-trans"
    assert "became cis" in str(change)


def test_stereo_counts_up_to_automorphisms():
    meso = molecule("smiles:C[C@H](O)[C@@H](C)O")
    assert len(meso.stereocentres) == 2
    assert not changes(meso, -meso.positions)
    chiral = molecule("smiles:C[C@H](O)[C@H](C)O")
    assert changes(chiral, -chiral.positions).kind == "stereo"


def test_proton_transfer_and_dissociation():
    m = molecule("smiles:CC(=O)O")
    hydroxyl = next(b for b in m.bonds.tolist() if {m.symbols[i] for i in b} == {"O", "H"})
    h, o = sorted(hydroxyl, key=lambda i: m.numbers[i])
    (other,) = set(atoms_of(m, "O")) - {o}
    x = m.positions.copy()
    carbon = next(i for i in atoms_of(m, "C") if {i, other} in [set(b) for b in m.bonds.tolist()])
    away = x[other] - x[carbon]
    x[h] = x[other] + 0.97 * away / np.linalg.norm(away)
    change = changes(m, x)
    assert change.kind == "bonds"
    first, second = sorted((h, other))
    expected = f"bond {m.symbols[first]}{first}-{m.symbols[second]}{second} formed"
    assert expected in change.reasons
    assert any(r.endswith("broken") for r in change.reasons)
    x[h] += [40.0, 0, 0]
    assert changes(m, x).kind == "dissociated"


@pytest.mark.parametrize(("stretch", "kind"), [(1.15, ""), (1.25, ""), (1.6, "dissociated")])
def test_stretched_bond(stretch, kind):
    m = molecule("smiles:C")
    x = m.positions.copy()
    carbon, hydrogen = 0, 1
    x[hydrogen] = x[carbon] + stretch * (x[hydrogen] - x[carbon])
    assert changes(m, x).kind == kind


def test_strong_hydrogen_bond_is_no_change():
    """A proton shared as in H5O2+, 1.2 Å from both oxygens, is its donor's until it moves over."""
    m = molecule("smiles:O.O")
    oxygen = atoms_of(m, "O")
    partner = [[j for j in m.bonds[(m.bonds == o).any(1)].ravel() if j != o] for o in oxygen]
    x = np.empty((6, 3))
    x[oxygen[0]], x[oxygen[1]] = [0, 0, 0], [2.45, 0, 0]
    x[partner[0]] = [[1.2, 0, 0], [-0.3, 0.92, 0]]
    x[partner[1]] = [[2.8, 0.6, 0.7], [2.8, 0.6, -0.7]]
    assert not changes(m, x)
    x[partner[0][0]] = [1.35, 0, 0]
    h, o = sorted((partner[0][0], oxygen[1]))
    assert str(changes(m, x)) == f"bond {m.symbols[h]}{h}-{m.symbols[o]}{o} formed"


def test_not_finite():
    m = molecule("Ac-Ala-NHMe")
    x = m.positions.copy()
    x[3, 1] = np.inf
    assert changes(m, x).kind is Kind.NOT_FINITE


def test_positions_of_another_shape_are_refused():
    m = molecule("Ac-Ala-NHMe")
    with pytest.raises(InputError, match=r"\(22, 3\)"):
        changes(m, m.positions[:5])


# What may be kept


def test_a_structure_is_kept_if_all_that_changed_is_allowed():
    m = molecule("Ac-Ala-NHMe")
    bond = m.peptide_bonds[0]
    rotor = next(r for r in m.rotatable if set(r.atoms[1:3]) == set(bond.atoms[1:3]))
    cis = set_rotor(m.positions, rotor, np.pi)
    stereo, both, none = changes(m, -m.positions), changes(m, -cis), changes(m, m.positions)
    assert stereo.kinds == (Kind.STEREO,)
    assert both.kinds == (Kind.STEREO, Kind.CIS_TRANS)
    assert none.kinds == ()
    assert allowed(none, ())
    assert not allowed(stereo, ())
    assert not allowed(stereo, [Kind.CIS_TRANS])
    assert allowed(stereo, [Kind.STEREO])
    assert not allowed(both, [Kind.STEREO])
    assert not allowed(both, [Kind.CIS_TRANS])
    assert allowed(both, [Kind.STEREO, Kind.CIS_TRANS])


def test_what_is_not_finite_is_never_kept():
    assert not allowed(Change(Kind.NOT_FINITE), Kind)
    assert allowed(Change(Kind.DISSOCIATED), Kind)
    assert not allowed(Change(Kind.DISSOCIATED), [Kind.BONDS])


def test_names_of_kinds():
    assert allowed_kinds(["stereo", "cis-trans"]) == {Kind.STEREO, Kind.CIS_TRANS}
    assert allowed_kinds(["bonds", "dissociated"]) == {Kind.BONDS, Kind.DISSOCIATED}
    assert allowed_kinds([]) == frozenset()
    for name in ("not finite", "", "chirality"):
        with pytest.raises(InputError, match="choose from dissociated, bonds, stereo, cis-trans"):
            allowed_kinds([name])


def test_a_meso_compound_is_told_by_the_labelling_that_changes_least():
    """One of two equivalent centres turned over: one change, whichever way round it is read."""
    meso = molecule("smiles:C[C@H](O)[C@@H](C)O")
    chiral = molecule("smiles:C[C@H](O)[C@H](C)O")
    turned = changes(meso, chiral.positions)
    assert turned.kind is Kind.STEREO
    assert len(turned.reasons) == 1


# Structures with other bonds: which are the same


def glycine_with_a_moved_proton(rng, which=0):
    """Glycine whose nitrogen has taken the carboxyl proton; `which`: whose place the latter has."""
    m = molecule("smiles:NCC(=O)O")
    x = m.positions.copy()
    near = [m.bonds[(m.bonds == i).any(1)].ravel() for i in range(m.n_atoms)]
    nitrogen = m.symbols.index("N")
    on_nitrogen = [j for j in near[nitrogen] if m.symbols[j] == "H"]
    oxygen = next(
        i
        for i in range(m.n_atoms)
        if m.symbols[i] == "O" and any(m.symbols[j] == "H" for j in near[i])
    )
    (proton,) = [j for j in near[oxygen] if m.symbols[j] == "H"]
    others = [x[j] - x[nitrogen] for j in near[nitrogen] if j != nitrogen]
    away = -np.sum([v / np.linalg.norm(v) for v in others], axis=0)
    x[proton] = x[nitrogen] + 1.03 * away / np.linalg.norm(away)
    if which:
        x[[proton, on_nitrogen[which - 1]]] = x[[on_nitrogen[which - 1], proton]]
    return m, moved(x, rng)


def test_structures_with_other_bonds_are_compared_without_bonds():
    """Which of the three protons of the ammonium group came from oxygen makes no difference."""
    rng = np.random.default_rng(1)
    copies = [glycine_with_a_moved_proton(rng, which) for which in range(3)]
    m, first = copies[0]
    free, bound = Matcher(m, allow=[Kind.BONDS]), Matcher(m)
    for _, other in copies[1:]:
        assert changes(m, other).kind is Kind.BONDS
        assert free.same(first, other)
        assert free.rmsd(first, other) < 1e-6
        np.testing.assert_allclose(free.align(first, other), first, atol=1e-6)
        assert not bound.same(first, other)
        assert (
            free.find(other, 0.0, [("neutral", 0.0, m.positions), ("ion", 0.0, first)], 1) == "ion"
        )
    assert not free.same(first, m.positions)


def test_a_proton_that_came_back_in_an_equivalent_place_is_no_new_structure():
    rng = np.random.default_rng(2)
    m = molecule("smiles:CC(=O)O")
    oxygens = atoms_of(m, "O")
    exchanged = m.positions.copy()
    exchanged[oxygens] = exchanged[oxygens[::-1]]
    assert changes(m, exchanged).kind is Kind.BONDS
    assert Matcher(m, allow=[Kind.BONDS]).same(m.positions, moved(exchanged, rng))
    assert not Matcher(m).same(m.positions, moved(exchanged, rng))


def test_allowing_other_bonds_does_not_change_what_unbroken_structures_are():
    rng = np.random.default_rng(3)
    m = molecule("Ac-Ala-NHMe")
    free, bound = Matcher(m, allow=[Kind.BONDS]), Matcher(m)
    turned = [
        set_rotor(set_rotor(m.positions, m.rotatable[k], 0.3 * k), m.rotatable[-1 - k], 1.0)
        for k in range(4)
    ]
    mirror = -m.positions
    structures = [m.positions, mirror, *turned]
    structures += [moved(x + 0.02 * rng.normal(size=x.shape), rng) for x in structures]
    answers = [[bound.same(a, b) for b in structures] for a in structures]
    assert [[free.same(a, b) for b in structures] for a in structures] == answers
    assert np.array(answers)[:6, 6:].diagonal().all()
    assert not answers[0][1]
