"""Molecules from text, files and geometries: known chemistry, and laws of the bookkeeping."""

import json
import math

import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, Rotor, dihedral, set_rotor, signed_volume
from topokrates.peptide import parse_sequence
from topokrates.perception import connectivity

# Formulae of the free amino acids, by count of C, H, N, O, S.
AMINO_ACIDS = {
    "Ala": (3, 7, 1, 2, 0),
    "Arg": (6, 14, 4, 2, 0),
    "Asn": (4, 8, 2, 3, 0),
    "Asp": (4, 7, 1, 4, 0),
    "Cys": (3, 7, 1, 2, 1),
    "Gln": (5, 10, 2, 3, 0),
    "Glu": (5, 9, 1, 4, 0),
    "Gly": (2, 5, 1, 2, 0),
    "His": (6, 9, 3, 2, 0),
    "Ile": (6, 13, 1, 2, 0),
    "Leu": (6, 13, 1, 2, 0),
    "Lys": (6, 14, 2, 2, 0),
    "Met": (5, 11, 1, 2, 1),
    "Phe": (9, 11, 1, 2, 0),
    "Pro": (5, 9, 1, 2, 0),
    "Ser": (3, 7, 1, 3, 0),
    "Thr": (4, 9, 1, 3, 0),
    "Trp": (11, 12, 2, 2, 0),
    "Tyr": (9, 11, 1, 3, 0),
    "Val": (5, 11, 1, 2, 0),
}
CHIRAL = sorted(set(AMINO_ACIDS) - {"Gly"})
ALPHA = Chem.MolFromSmarts("[NX3][CX4]C(=O)[NX3]")
DIPEPTIDE = Molecule.from_text("Ac-Ala-NHMe")
TRIPEPTIDE = Molecule.from_text("Ac-Gly-Ser-Phe-NHMe")


def hill(c: int, h: int, n: int, o: int, s: int) -> str:
    counts = zip("CHNOS", (c, h, n, o, s), strict=True)
    return "".join(e + (str(k) if k > 1 else "") for e, k in counts if k)


def cip(molecule: Molecule) -> tuple[str, list[str]]:
    """CIP label of the (only) alpha carbon, and those of the other centres."""
    mol = Chem.MolFromSmiles(molecule.smiles)
    labels = dict(Chem.FindMolChiralCenters(mol, useLegacyImplementation=False))
    (match,) = mol.GetSubstructMatches(ALPHA)
    return labels.pop(match[1]), list(labels.values())


def omegas(molecule: Molecule) -> np.ndarray:
    quads = [b.atoms for b in molecule.peptide_bonds]
    return np.degrees(np.abs(dihedral(molecule.positions, quads)))


def assert_sound(molecule: Molecule) -> None:
    """The start geometry has exactly the bonds that the graph has."""
    found = connectivity(molecule.numbers, molecule.positions)
    np.testing.assert_array_equal(found, molecule.bonds)


# ------------------------------------------------------------------ peptides
@pytest.mark.parametrize("residue", AMINO_ACIDS)
def test_capped_residue_is_neutral_with_the_known_formula_and_trans_amides(residue):
    molecule = Molecule.from_text(f"Ac-{residue}-NHMe")
    c, h, n, o, s = AMINO_ACIDS[residue]
    assert molecule.formula == hill(c + 3, h + 5, n + 1, o, s)  # + CH3CO + NHCH3 - H - OH
    assert molecule.charge == molecule.unpaired_electrons == 0
    assert len(molecule.phi_psi) == 1
    assert len(molecule.peptide_bonds) == 2
    assert not any(b.cis for b in molecule.peptide_bonds)
    assert np.all(omegas(molecule) > 150)
    assert_sound(molecule)


@pytest.mark.parametrize("residue", CHIRAL)
def test_residues_are_L_by_the_CORN_rule_and_by_CIP(residue):
    second = {"Ile": ["S"], "Thr": ["R"]}.get(residue, [])
    molecule = Molecule.from_text(f"Ac-{residue}-NHMe")
    alpha = "R" if residue == "Cys" else "S"
    assert cip(molecule) == (alpha, second)

    phi, psi = molecule.phi_psi[0]
    n, ca, c, _ = psi
    assert phi[1:] == (n, ca, c)
    (cb,) = (
        int(b)
        for pair in molecule.bonds
        for b in pair
        if ca in pair and b not in (n, ca, c) and molecule.numbers[b] == 6
    )
    # From H towards CA: CO, R, N clockwise, so the signed volume of CO, R, N is positive.
    assert signed_volume(molecule.positions, ca, (c, cb, n)) > 0


@pytest.mark.parametrize("residue", ["Ala", "Cys", "Ile", "Thr", "Pro"])
def test_D_mirrors_every_centre(residue):
    left = Molecule.from_text(f"Ac-{residue}-NHMe")
    right = Molecule.from_text(f"Ac-D-{residue}-NHMe")
    swap = {"R": "S", "S": "R"}
    alpha, others = cip(left)
    assert cip(right) == (swap[alpha], [swap[k] for k in others])
    assert [s.sign for s in right.stereocentres] == [-s.sign for s in left.stereocentres]


def test_glycine_has_no_stereocentre():
    assert Molecule.from_text("Ac-Gly-NHMe").stereocentres == ()


@pytest.mark.parametrize(
    ("text", "charge", "formula"),
    [
        ("Ac-Asp-NHMe", 0, "C7H12N2O4"),
        ("Ac-asp-NHMe", 0, "C7H12N2O4"),
        ("Ac-ASH-NHMe", 0, "C7H12N2O4"),
        ("Ac-Asp(0)-NHMe", 0, "C7H12N2O4"),
        ("ACE-ASP-NME", -1, "C7H11N2O4"),
        ("Ac-Asp(-)-NHMe", -1, "C7H11N2O4"),
        ("Ac-GLU-NHMe", -1, "C8H13N2O4"),
        ("Ac-Lys-NHMe", 0, "C9H19N3O2"),
        ("Ac-LYN-NHMe", 0, "C9H19N3O2"),
        ("Ac-LYS-NHMe", 1, "C9H20N3O2"),
        ("Ac-Lys(+)-NHMe", 1, "C9H20N3O2"),
        ("Ac-ARN-NHMe", 0, "C9H19N5O2"),
        ("Ac-ARG-NHMe", 1, "C9H20N5O2"),
        ("Ac-HIS-NHMe", 0, "C9H14N4O2"),
        ("Ac-HIP-NHMe", 1, "C9H15N4O2"),
        ("Ac-His(+)-NHMe", 1, "C9H15N4O2"),
        ("Ac-CYM-NHMe", -1, "C6H11N2O2S"),
        ("Ac-Tyr(-)-NHMe", -1, "C12H15N2O3"),
        ("Ac-ASP-LYS-NHMe", 0, "C13H24N4O5"),
    ],
)
def test_names_choose_the_protonation(text, charge, formula):
    molecule = Molecule.from_text(text)
    assert (molecule.charge, molecule.formula) == (charge, formula)


def test_histidine_tautomers_differ_in_the_nitrogen_that_carries_hydrogen():
    for name, pattern in (("HID", "[CH2]c1[nH]cnc1"), ("HIE", "[CH2]c1nc[nH]c1")):
        mol = Chem.MolFromSmiles(Molecule.from_text(f"Ac-{name}-NHMe").smiles)
        assert mol.HasSubstructMatch(Chem.MolFromSmarts(pattern)), name


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("ACE-ALA-NME", "Ac-Ala-NHMe"),
        ("ac-l-aLa-nhme", "Ac-Ala-NHMe"),
        ("Ac–Ala–NHMe", "Ac-Ala-NHMe"),
        ("H-Gly-Gly-OH", "Gly-Gly"),
        ("Formyl-d-ala-gly-nhe", "For-D-Ala-Gly-NH2"),
        ("D-Ala-Gly", "H-D-Ala-Gly-OH"),
    ],
)
def test_other_spellings_mean_the_same_molecule(text, same):
    one, two = Molecule.from_text(text), Molecule.from_text(same)
    assert one.smiles == two.smiles
    np.testing.assert_array_equal(one.positions, two.positions)  # deterministic to the bit


def test_termini_and_caps():
    free = Molecule.from_text("Gly-Gly-Gly")
    assert (free.formula, free.charge) == ("C6H11N3O4", 0)
    assert free.smiles == Chem.CanonSmiles("NCC(=O)NCC(=O)NCC(=O)O")
    assert [[q is None for q in pair] for pair in free.phi_psi] == [
        [True, False],
        [False, False],
        [False, True],
    ]
    amide = Molecule.from_text("For-Ala-NH2")
    assert amide.formula == "C4H8N2O2"
    assert None not in amide.phi_psi[0]
    (formamide,) = amide.peptide_bonds  # the primary amide has no cis and trans
    assert amide.numbers[formamide.atoms[0]] == 1
    assert not formamide.cis


def test_long_peptide_keeps_hands_amides_and_bonds():
    text = "-".join(["Ala", "D-Phe", "Pro", "Lys", "Trp", "D-Pro", "Thr"] * 3)
    molecule = Molecule.from_text(text)
    assert len(molecule.phi_psi) == 21
    assert len(molecule.peptide_bonds) == 20
    assert np.all(omegas(molecule) > 140)
    assert molecule.smiles == Chem.CanonSmiles(parse_sequence(text).smiles)
    assert_sound(molecule)


def test_a_number_repeats_a_residue():
    counted = Molecule.from_text("Ac-Ala3-D-Phe2-NHMe")
    written = Molecule.from_text("Ac-Ala-Ala-Ala-D-Phe-D-Phe-NHMe")
    assert counted.smiles == written.smiles
    assert counted.name == "Ac-Ala3-D-Phe2-NHMe"
    for text in ("Ac-Ala0-NHMe", "Ac-Ala99999-NHMe"):
        with pytest.raises(InputError, match="give a number of residues of 1 to 1000"):
            Molecule.from_text(text)


# -------------------------------------------------------------------- SMILES
def test_smiles_charge_radicals_and_fragments():
    assert Molecule.from_text("smiles:CC(=O)[O-]").charge == -1
    assert Molecule.from_text("smiles:C[CH]C").unpaired_electrons == 1
    assert Molecule.from_text("smiles:[O][O]").unpaired_electrons == 2
    pair = Molecule.from_text("smiles:O.O")
    assert pair.bonds.tolist() == [[0, 2], [0, 3], [1, 4], [1, 5]]
    assert_sound(pair)


def test_open_stereochemistry_is_chosen_L_and_noted():
    open_, given_ = "CC(=O)NC(C)C(=O)NC", "CC(=O)N[C@@H](C)C(=O)NC"
    chosen = Molecule.from_text(f"smiles:{open_}")
    assert chosen.smiles == DIPEPTIDE.smiles
    assert DIPEPTIDE.smiles in chosen.notes[0]
    assert Molecule.from_text(f"smiles:{given_}").notes == ()
    reversed_ = Molecule.from_text("smiles:CNC(=O)C(C)NC(C)=O")  # whatever the order of atoms
    assert reversed_.smiles == chosen.smiles


def test_peptide_like_smiles_has_backbone_dihedrals():
    molecule = Molecule.from_text("smiles:CNC(=O)[C@H](CO)NC(=O)[C@H](C)NC(C)=O")
    assert len(molecule.phi_psi) == len(molecule.peptide_bonds) - 1 == 2
    first, second = molecule.phi_psi  # N to C terminus, against the order of the string
    assert first[1][3] == second[0][1]


@pytest.mark.parametrize(("text", "cis"), [(r"C/C=C/C", False), (r"C/C=C\C", True)])
def test_double_bond_state(text, cis):
    (bond,) = Molecule.from_text(f"smiles:{text}").double_bonds
    assert (bond.atoms, bond.cis) == ((0, 1, 2, 3), cis)


@pytest.mark.parametrize("text", ["CN(C)C(C)=O", "CNC(=O)NC", "O=C1CCCN1", "CC(N)=O", "CC(C)=NO"])
def test_amides_without_a_state_of_their_own_are_not_listed(text):
    assert Molecule.from_text(f"smiles:{text}").peptide_bonds == ()


def test_dependent_ring_centres_count_as_stereocentres():
    cis = Molecule.from_text("smiles:O[C@H]1CC[C@@H](O)CC1")
    trans = Molecule.from_text("smiles:O[C@H]1CC[C@H](O)CC1")
    assert len(cis.stereocentres) == len(trans.stereocentres) == 2
    assert {s.sign for s in cis.stereocentres} != {s.sign for s in trans.stereocentres}


def test_linear_ends_have_no_rotor():
    molecule = Molecule.from_text("smiles:CCC#CC")
    assert [r.kind for r in molecule.rotatable] == ["methyl"]


# ------------------------------------------------------------- files, frames
@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False))
def test_order_of_atoms_does_not_matter(random):
    molecule = Molecule.from_text("Ac-Thr-D-Pro-NHMe")
    order = list(range(molecule.n_atoms))
    random.shuffle(order)
    new = np.argsort(order)  # new index of each old atom
    shuffled = Molecule.from_atoms(molecule.atoms()[order])
    assert sorted(map(tuple, np.sort(new[molecule.bonds], axis=1))) == [
        tuple(b) for b in shuffled.bonds
    ]
    assert shuffled.smiles == molecule.smiles
    mapped = tuple(tuple(tuple(new[list(q)]) for q in pair) for pair in molecule.phi_psi)
    assert mapped == shuffled.phi_psi
    np.testing.assert_allclose(shuffled.dihedral_table(), molecule.dihedral_table())
    kinds = [sorted(r.kind for r in m.rotatable) for m in (molecule, shuffled)]
    assert kinds[0] == kinds[1]
    assert {s.centre for s in shuffled.stereocentres} == {
        new[s.centre] for s in molecule.stereocentres
    }
    assert len(shuffled.peptide_bonds) == len(molecule.peptide_bonds)


@pytest.mark.parametrize(
    "text",
    ["Ac-Ala-NHMe", "Gly-Gly-Gly", "ACE-LYS-ASP-NME", "Ac-Arg-HIP-NHMe", "smiles:[CH3]", "LJ7"],
)
def test_geometry_alone_gives_what_the_text_gave(text):
    molecule = Molecule.from_text(text)
    found = Molecule.from_atoms(molecule.atoms(), name=molecule.name)
    assert found.to_json() == molecule.to_json().replace(
        json.dumps(list(molecule.notes)), json.dumps(list(found.notes))
    )


def test_file_takes_last_frame_stem_and_charge(tmp_path):
    first, last = DIPEPTIDE.atoms(), DIPEPTIDE.atoms()
    last.positions[:, 0] += 1.0
    write(tmp_path / "run.extxyz", [first, last])
    molecule = Molecule.from_text(str(tmp_path / "run.extxyz"))
    assert molecule.name == "run"
    np.testing.assert_allclose(molecule.positions, last.positions, atol=1e-7)

    (tmp_path / "hydroxide.xyz").write_text("2\ncharge=-1\nO 0 0 0\nH 0 0 0.97\n")
    assert Molecule.from_text(tmp_path / "hydroxide.xyz").charge == -1
    (tmp_path / "hydroxyl.xyz").write_text("2\n\nO 0 0 0\nH 0 0 0.97\n")
    assert Molecule.from_text(tmp_path / "hydroxyl.xyz").unpaired_electrons == 1


def test_water_dimer_is_two_fragments():
    water = np.array([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    atoms = Atoms("OH2OH2", np.vstack([water, water + np.array([2.9, 0, 0])]))
    assert Molecule.from_atoms(atoms).bonds.tolist() == [[0, 1], [0, 2], [3, 4], [3, 5]]


def test_states_are_read_as_found():
    mirror = Molecule.from_atoms(DIPEPTIDE.atoms(DIPEPTIDE.positions * [1, 1, -1]))
    assert mirror.smiles == Molecule.from_text("Ac-D-Ala-NHMe").smiles
    assert mirror.stereocentres[0].sign == -DIPEPTIDE.stereocentres[0].sign
    rotor = next(r for r in DIPEPTIDE.rotatable if r.kind == "omega")
    turned = Molecule.from_atoms(DIPEPTIDE.atoms(set_rotor(DIPEPTIDE.positions, rotor, np.pi)))
    assert sorted(b.cis for b in turned.peptide_bonds) == [False, True]


def test_unknown_bond_orders_are_noted_and_bonds_kept():
    atoms = Atoms("FeCl2O", [[0, 0, 0], [2.2, 0, 0], [-2.2, 0, 0], [0, 1.6, 0]])
    molecule = Molecule.from_atoms(atoms)
    assert molecule.bonds.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert "bond orders" in molecule.notes[0]


# ----------------------------------------------------------- angles, rotors
def test_dihedral_agrees_with_ase_and_vectorises():
    x = np.random.default_rng(0).normal(size=(5, 8, 3))
    quads = [(0, 1, 2, 3), (7, 2, 5, 1), (3, 2, 1, 0)]
    angles = dihedral(x, quads)
    assert angles.shape == (5, 3)
    for b in range(5):
        atoms = Atoms("H8", x[b])
        expected = [atoms.get_dihedral(*q) for q in quads]  # 0 to 360
        np.testing.assert_allclose(np.degrees(angles[b]) % 360, expected, atol=1e-9)
    assert dihedral(x[0], quads[0]).shape == ()
    flat = np.array([[1.0, 1, 0], [0, 0, 0], [0, 0, 1], [-1, -1, 1]])
    assert dihedral(flat, (0, 1, 2, 3)) == np.pi  # never -pi
    assert dihedral(flat, (3, 2, 1, 0)) == np.pi


def test_dihedral_sign_is_clockwise_along_the_central_bond():
    x = [[1.0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]]  # looking up z, from x to y
    assert dihedral(np.array(x), (0, 1, 2, 3)) == pytest.approx(np.pi / 2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, len(TRIPEPTIDE.rotatable) - 1), st.floats(-7, 7))
def test_rotor_adds_delta_and_changes_nothing_else(k, delta):
    molecule, rotor = TRIPEPTIDE, TRIPEPTIDE.rotatable[k]
    x = molecule.positions
    y = set_rotor(x, rotor, delta)
    moved = dihedral(y, rotor.atoms) - dihedral(x, rotor.atoms) - delta
    assert math.remainder(moved, 2 * np.pi) == pytest.approx(0, abs=1e-9)
    others = [r.atoms for r in molecule.rotatable if set(r.atoms[1:3]) != set(rotor.atoms[1:3])]
    np.testing.assert_allclose(np.exp(1j * dihedral(x, others)), np.exp(1j * dihedral(y, others)))
    for pairs in (molecule.bonds, np.array([q[:3:2] for q in others])):
        before, after = (np.linalg.norm(z[pairs[:, 0]] - z[pairs[:, 1]], axis=1) for z in (x, y))
        np.testing.assert_allclose(before, after, atol=1e-9)
    assert set(np.flatnonzero(np.any(x != y, axis=1))) <= set(rotor.moving)


def test_rotors_take_the_smaller_side_and_know_their_kind():
    for molecule in (DIPEPTIDE, TRIPEPTIDE):
        for rotor in molecule.rotatable:
            assert rotor.atoms[3] in rotor.moving
            assert not set(rotor.atoms[:3]) & set(rotor.moving)
            assert len(rotor.moving) <= (molecule.n_atoms - 2) / 2
    kinds = sorted(r.kind for r in DIPEPTIDE.rotatable)
    assert kinds == ["methyl", "methyl", "methyl", "omega", "omega", "phi", "psi"]
    kinds = [r.kind for r in TRIPEPTIDE.rotatable]  # Ser 2, Phe 2, no ring bond, 2 cap methyls
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "phi": 3,
        "psi": 3,
        "omega": 4,
        "chi": 4,
        "methyl": 2,
    }
    named = {q for pair in TRIPEPTIDE.phi_psi for q in pair}
    turned = {r.atoms for r in TRIPEPTIDE.rotatable if r.kind in ("phi", "psi")}
    assert {min(q, q[::-1]) for q in named} == {min(q, q[::-1]) for q in turned}


def test_set_rotor_on_a_batch_is_each_alone():
    rotor = Rotor(DIPEPTIDE.phi_psi[0][0], DIPEPTIDE.rotatable[2].moving, "phi")
    batch = DIPEPTIDE.positions + np.random.default_rng(1).normal(size=(4, 22, 3)) * 0.1
    delta = np.array([0.0, 0.5, -2.0, 3.0])
    together = set_rotor(batch, rotor, delta)
    alone = [set_rotor(x, rotor, d) for x, d in zip(batch, delta, strict=True)]
    np.testing.assert_array_equal(together, alone)


def test_dihedral_table_is_in_degrees_with_nan_for_what_is_missing():
    molecule = Molecule.from_text("Gly-Gly")
    (phi1, psi1), (phi2, psi2) = molecule.dihedral_table()
    assert math.isnan(phi1)
    assert math.isnan(psi2)
    expected = molecule.atoms().get_dihedral(*molecule.phi_psi[0][1])
    assert psi1 % 360 == pytest.approx(expected)
    assert -180 < phi2 <= 180


# ------------------------------------------------------- clusters, exchange
def test_cluster_start_is_compact_spread_and_repeatable():
    cluster = Molecule.from_text("LJ38")
    assert cluster.is_cluster
    assert not DIPEPTIDE.is_cluster
    assert cluster.formula == cluster.name == "LJ38"
    assert cluster.bonds.shape == (0, 2)
    assert cluster.numbers.tolist() == [0] * 38
    gap = np.linalg.norm(cluster.positions[:, None] - cluster.positions[None], axis=-1)
    assert gap[np.triu_indices(38, 1)].min() >= 0.7
    assert gap.max() < 2 * (3 * 38 / (4 * np.pi)) ** (1 / 3)
    np.testing.assert_array_equal(Molecule.from_text("lj38").positions, cluster.positions)


@pytest.mark.parametrize(
    "text", ["Ac-D-Ile-NHMe", "Gly-Gly", r"smiles:C/C=C\C(F)Cl", "smiles:C[CH2]", "LJ13"]
)
def test_json_round_trip_is_exact(text):
    molecule = Molecule.from_text(text)
    again = Molecule.from_json(molecule.to_json())
    for key in Molecule.__dataclass_fields__:
        one, two = getattr(molecule, key), getattr(again, key)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (two.dtype, two.shape, two.tobytes())
        else:
            assert one == two


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"schema": "other"}', "{"])
def test_foreign_json_is_refused(text):
    with pytest.raises(InputError, match="not a molecule"):
        Molecule.from_json(text)


def test_exchange_with_ase_and_pymatgen():
    ion = Molecule.from_text("smiles:CC(=O)[O-]")
    assert ion.atoms().info["charge"] == -1
    other = ion.pymatgen()
    assert (other.charge, other.spin_multiplicity) == (-1, 1)
    assert other.composition.as_dict() == {"C": 2, "H": 3, "O": 2}
    np.testing.assert_array_equal(other.cart_coords, ion.positions)
    assert len(Molecule.from_text("LJ3").pymatgen()) == 3
    moved = ion.positions + 1
    np.testing.assert_array_equal(ion.atoms(moved).positions, moved)


def test_a_molecule_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        DIPEPTIDE.positions[0, 0] = 1.0
    DIPEPTIDE.atoms().positions[0, 0] = 99.0
    assert DIPEPTIDE.positions[0, 0] != 99.0


# ---------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ac-Alx-NHMe", r"'Alx'.*Ala.*smiles:.*LJ13"),
        ("Ac-Tirp-NHMe", r"'Tirp'.*Trp"),
        ("Ac-NHMe", "no residue"),
        ("Ac-Ala--NHMe", "nothing between"),
        ("Ala-Ac-Ala", "Ac can only come first"),
        ("Ala-NH2-Ala", "NH2 can only come last"),
        ("Ac-D-NHMe", "no residue follows D-"),
        ("D-Gly", "not chiral"),
        ("Lys(-)", r"Lys has no \(-\)"),
        ("", "Ac-Ala-NHMe"),
        ("smiles:", "cannot be read"),
        ("smiles:CCX", "'CCX'"),
        ("smiles:C(C)(C)(C)(C)C", "valence"),
        ("smiles:C O", "blanks"),
        ("smiles:*C", "without element"),
        ("smiles:[He]", "one atom"),
        ("LJ1", "LJ1: .*from LJ2"),
        ("LJ0", "LJ0"),
        ("LJx", "LJx"),
        ("LJ-5", "LJ-5"),
        ("LJ99999999999", "LJ99999999999"),
        ("missing.xyz", "missing.xyz: no such file"),
        ("./missing", "no such file"),
    ],
)
def test_bad_text_gives_one_line_that_names_the_culprit(text, words, capfd):
    with pytest.raises(InputError, match=words) as caught:
        Molecule.from_text(text)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # RDKit's own complaints are silenced


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "empty"),
        ("hello\nworld\n", "cannot read"),
        ("3\n\nO 0 0 0\n", "cannot read"),
        ("2\n\nQq 0 0 0\nC 0 0 1\n", "cannot read"),
        ("0\n\n", "without atoms"),
        ("1\n\nC 0 0 0\n", "at least two"),
        ("2\n\nO 0 0 0\nH 0 0 nan\n", r"atom 1 \(H"),
        ("2\n\nO 0 0 inf\nH 0 0 1\n", r"atom 0 \(O"),
        ("3\n\nO 0 0 0\nH 0 0 1\nF 0 0.1 1\n", r"1 \(H\) and 2 \(F\)"),
        ("2\n\nX 0 0 0\nH 0 0 1\n", "no element"),
        ("2\ncharge=0.5\nO 0 0 0\nH 0 0 1\n", "charge is 0.5"),
        ("2\ncharge=12\nO 0 0 0\nH 0 0 1\n", "charge"),
        ("2\nunpaired_electrons=2\nO 0 0 0\nH 0 0 1\n", "unpaired"),
        ('2\nLattice="9 0 0 0 9 0 0 0 9"\nO 0 0 0\nH 0 0 1\n', "periodic"),
    ],
)
def test_bad_file_gives_one_line_that_names_it(tmp_path, content, words):
    path = tmp_path / "broken.xyz"
    path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        Molecule.from_text(str(path))
    assert "broken.xyz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_is_not_a_file(tmp_path):
    with pytest.raises(InputError, match="folder"):
        Molecule.from_text(str(tmp_path))


def test_a_file_wins_over_the_sequence_of_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Gly").write_text("no structure")
    with pytest.raises(InputError, match="Gly: ASE cannot read"):
        Molecule.from_text("Gly")
    (tmp_path / "Ala").mkdir()
    assert Molecule.from_text("Ala").formula == "C3H7NO2"  # a folder does not
