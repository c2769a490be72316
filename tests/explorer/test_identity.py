"""Laws of identity, with brute force over automorphisms and RDKit as oracles."""

from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from topokrates.identity.matching import Kind, Matcher, changes
from topokrates.identity.symmetry import Symmetry
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, dihedral, set_rotor

SMALL = {
    "ethanol": ("CCO", 12),
    "propane": ("CCC", 144),
    "tert-butanol": ("CC(C)(C)O", 1296),
    "acetic acid": ("CC(=O)O", 6),
    "benzene": ("c1ccccc1", 12),
    "isobutane": ("CC(C)C", 1296),
    "water": ("O", 2),
    "methane": ("C", 24),
    "ethane": ("CC", 72),
    "2-butyne": ("CC#CC", 72),
    "hydrogen cyanide": ("C#N", 1),
    "isopropanol": ("CC(C)O", 72),
    "toluene": ("Cc1ccccc1", 12),
    "p-cresol": ("Cc1ccc(O)cc1", 12),
    "methylammonium": ("C[NH3+]", 36),
    "acetate": ("CC(=O)[O-]", 12),
    "methylguanidinium": ("CNC(N)=[NH2+]", 48),
    "cubane": ("C12C3C4C1C5C2C3C45", 48),
}


@cache
def molecule(text):
    return Molecule.from_text(text)


@cache
def automorphisms(text):
    """All of them (A, N), by networkx: knows nothing of skeletons and blocks."""
    import networkx as nx

    m = molecule(text)
    graph = nx.Graph(m.bonds.tolist())
    nx.set_node_attributes(graph, dict(enumerate(m.numbers.tolist())), "z")
    same = nx.isomorphism.categorical_node_match("z", 0)
    maps = nx.isomorphism.GraphMatcher(graph, graph, node_match=same).isomorphisms_iter()
    return np.array([[f[i] for i in range(m.n_atoms)] for f in maps])


def brute_force(text, a, b):
    """The RMSD over every automorphism, by quaternions (Horn 1987): shares no code."""
    a, b = a - a.mean(0), b - b.mean(0)
    x, y = np.broadcast_to(a, (len(automorphisms(text)), *a.shape)), b[automorphisms(text)]
    s = np.einsum("pni,pnj->pij", y, x)
    key = np.empty((len(s), 4, 4))
    key[:, 0, 0] = np.trace(s, axis1=1, axis2=2)
    key[:, 0, 1:] = key[:, 1:, 0] = np.stack(
        [s[:, 1, 2] - s[:, 2, 1], s[:, 2, 0] - s[:, 0, 2], s[:, 0, 1] - s[:, 1, 0]], axis=1
    )
    key[:, 1:, 1:] = s + np.swapaxes(s, 1, 2) - key[:, :1, :1] * np.eye(3)
    overlap = np.linalg.eigvalsh(key)[:, -1].max()
    return np.sqrt(max((a**2).sum() + (b**2).sum() - 2 * overlap, 0) / len(a))


def conformer(m, rng):
    x = m.positions
    for rotor in m.rotatable:
        x = set_rotor(x, rotor, rng.uniform(-np.pi, np.pi))
    return x


def moved(x, rng):
    return x @ Rotation.random(rng=rng).as_matrix().T + rng.normal(scale=5, size=3)


def relabelled(m, x, rng):
    """Equivalent atoms exchanged at random, hydrogens of each atom among themselves included."""
    symmetry = Symmetry(m.numbers, m.bonds)
    orders = symmetry.orders
    order = np.arange(m.n_atoms) if orders is None else orders[rng.integers(len(orders))].copy()
    for carrier in range(m.n_atoms):
        hydrogens = [j for j in m.bonds[(m.bonds == carrier).any(1)].ravel() if m.numbers[j] == 1]
        if m.numbers[carrier] != 1:
            order[hydrogens] = rng.permutation(order[hydrogens])
    return x[order]


# Automorphisms


@pytest.mark.parametrize(("smiles", "size"), SMALL.values(), ids=SMALL)
def test_number_of_automorphisms_of_small_molecules(smiles, size):
    m = molecule(f"smiles:{smiles}")
    assert Symmetry(m.numbers, m.bonds).size == size == len(automorphisms(f"smiles:{smiles}"))


@pytest.mark.parametrize(
    ("sequence", "size", "skeleton"),
    [
        ("Ac-Ala-NHMe", 216, 1),
        ("Ac-Ala-Ala-Ala-NHMe", 7776, 1),
        ("Tyr-Gly-Gly-Phe-Leu", 18432, 8),
    ],
)
def test_number_of_automorphisms_of_peptides(sequence, size, skeleton):
    m = molecule(sequence)
    symmetry = Symmetry(m.numbers, m.bonds)
    assert symmetry.size == size
    assert symmetry.orders is not None
    assert len(symmetry.orders) == skeleton


@pytest.mark.parametrize("text", ["Ac-Ala-NHMe", "Tyr-Gly-Gly-Phe-Leu", "smiles:CC(C)(C)O"])
def test_skeleton_orders_keep_bonds_and_elements(text):
    m = molecule(text)
    bonds = {frozenset(b) for b in m.bonds.tolist()}
    for order in Symmetry(m.numbers, m.bonds).orders:
        assert sorted(order) == list(range(m.n_atoms))
        assert (m.numbers[order] == m.numbers).all()
        assert {frozenset(b) for b in order[m.bonds].tolist()} == bonds


# Symmetric RMSD


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), noise=st.sampled_from([0.0, 1e-4, 0.03, 0.1]))
def test_a_scrambled_copy_is_found(seed, noise):
    rng = np.random.default_rng(seed)
    m = molecule("Ac-Ala-NHMe")
    a = conformer(m, rng)
    b = relabelled(m, moved(a + noise * rng.normal(size=a.shape), rng), rng)
    matcher = Matcher(m)
    found = matcher.rmsd(a, b)
    assert found == pytest.approx(brute_force("Ac-Ala-NHMe", a, b), abs=1e-6)
    assert found <= 3 * noise + 1e-7
    assert matcher.same(a, b) == (found <= 0.1)
    assert np.sqrt(((matcher.align(a, b) - a) ** 2).sum(1).mean()) == pytest.approx(found)


@pytest.mark.parametrize(
    "text",
    ["Ac-Ala-NHMe", *(f"smiles:{s}" for s, _ in SMALL.values())],
    ids=["Ac-Ala-NHMe", *SMALL],
)
def test_different_geometries_agree_with_brute_force(text):
    rng = np.random.default_rng(1)
    m = molecule(text)
    matcher = Matcher(m)
    for _ in range(8):
        a, b = (conformer(m, rng) + 0.1 * rng.normal(size=(m.n_atoms, 3)) for _ in range(2))
        b = relabelled(m, moved(b, rng), rng)
        oracle = brute_force(text, a, b)
        assert matcher.rmsd(a, b) == pytest.approx(oracle, abs=1e-7)
        assert matcher.rmsd(b, a) == pytest.approx(oracle, abs=1e-7)
        assert matcher.same(a, b) == (oracle <= 0.1)


@pytest.mark.parametrize("name", SMALL)
def test_different_geometries_agree_with_rdkit(name):
    from rdkit import Chem
    from rdkit.Chem import rdMolAlign

    rng = np.random.default_rng(2)
    m = molecule(f"smiles:{SMALL[name][0]}")

    def rdkit(x):
        mol = Chem.RWMol()
        for z in m.numbers.tolist():
            atom = Chem.Atom(z)
            atom.SetNoImplicit(True)
            mol.AddAtom(atom)
        for i, j in m.bonds.tolist():
            mol.AddBond(i, j, Chem.BondType.SINGLE)
        conf = Chem.Conformer(m.n_atoms)
        for i, p in enumerate(x.tolist()):
            conf.SetAtomPosition(i, p)
        mol.AddConformer(conf)
        return mol.GetMol()

    matcher = Matcher(m)
    for _ in range(3):
        a, b = (conformer(m, rng) + 0.1 * rng.normal(size=(m.n_atoms, 3)) for _ in range(2))
        b = relabelled(m, moved(b, rng), rng)
        oracle = rdMolAlign.GetBestRMS(
            rdkit(b), rdkit(a), maxMatches=100_000, symmetrizeConjugatedTerminalGroups=False
        )
        assert matcher.rmsd(a, b) == pytest.approx(oracle, abs=1e-4)


@pytest.mark.parametrize(
    "text", ["Ac-Ala-Ala-Ala-NHMe", "Tyr-Gly-Gly-Phe-Leu", "Ac-Val-Leu-Phe-Arg-Tyr-Asp-NHMe"]
)
def test_larger_peptides_find_their_copies_and_nothing_else(text):
    rng = np.random.default_rng(3)
    m = molecule(text)
    matcher = Matcher(m)
    for _ in range(4):
        a = conformer(m, rng)
        b = relabelled(m, moved(a + 0.02 * rng.normal(size=a.shape), rng), rng)
        assert matcher.rmsd(a, b) < 0.05
        assert matcher.same(a, b)
        assert not matcher.same(a, conformer(m, rng))


def test_more_skeleton_automorphisms_than_can_be_listed():
    m = molecule("Ac-" + "Val-" * 13 + "NHMe")  # 2^13 exchanges of methyl groups
    rng = np.random.default_rng(4)
    symmetry = Symmetry(m.numbers, m.bonds)
    assert symmetry.orders is None
    a = m.positions
    order = np.arange(m.n_atoms)
    for atoms, options in symmetry._blocks:
        order[atoms] = options[rng.integers(len(options))]
    b = moved(a[symmetry._with_hydrogens(order[None])[0]], rng)
    assert not np.array_equal(order, np.arange(m.n_atoms))
    assert Matcher(m).rmsd(a, relabelled(m, b, rng)) < 1e-6


@pytest.mark.parametrize(("smiles", "size"), [("FC(F)(F)F", 24), ("CC(C)(C)C", 24 * 6**4)])
def test_improper_automorphisms_of_the_skeleton_are_no_rotations(smiles, size):
    """Half of the 24 exchanges of four equal arms are reflections."""
    rng = np.random.default_rng(11)
    m = molecule(f"smiles:{smiles}")
    matcher = Matcher(m)
    assert matcher.symmetry.size == size
    for _ in range(10):
        a = conformer(m, rng)
        b = relabelled(m, moved(a + 0.01 * rng.normal(size=a.shape), rng), rng)
        assert matcher.rmsd(a, b) < 0.03
        assert matcher.same(a, b)


def test_more_skeleton_automorphisms_than_lanes():
    """Five waters: 120 x 2^5, the whole of them against networkx."""
    text = "smiles:O.O.O.O.O"
    rng = np.random.default_rng(10)
    m = molecule(text)
    assert Symmetry(m.numbers, m.bonds).size == 3840 == len(automorphisms(text))
    a, b = rng.normal(scale=2, size=(2, 15, 3))
    assert Matcher(m).rmsd(a, b) == pytest.approx(brute_force(text, a, b), abs=1e-7)


@pytest.mark.parametrize("n", [2, 6, 9])
def test_water_clusters_exchange_whole_molecules(n):
    from ase import Atoms
    from ase.build import molecule as build

    rng = np.random.default_rng(n)
    water = build("H2O").positions
    sites = 3.0 * np.array(list(product(range(3), range(3), [0])))[:n]
    sites += 0.1 * rng.normal(size=sites.shape)
    x = np.concatenate([water @ Rotation.random(rng=rng).as_matrix() + s for s in sites])
    m = Molecule.from_atoms(Atoms("OHH" * n, x), name="waters")
    order = np.concatenate([[3 * k, *(3 * k + 1 + rng.permutation(2))] for k in rng.permutation(n)])
    b = moved(x + 0.01 * rng.normal(size=x.shape), rng)[order]
    matcher = Matcher(m)
    assert matcher.rmsd(x, b) < 0.03
    assert matcher.same(x, b)
    assert not changes(m, x)
    far = x.copy()
    far[:3] += [0, 0, 40]
    assert changes(m, far).kind == "dissociated"


def test_mirror_images_are_different_unless_asked():
    rng = np.random.default_rng(5)
    glycine, alanine = molecule("Ac-Gly-NHMe"), molecule("Ac-Ala-NHMe")
    a = glycine.positions
    for rotor in glycine.rotatable:
        if rotor.kind in ("phi", "psi"):
            a = set_rotor(a, rotor, 1.1 - dihedral(a, rotor.atoms))
    b = relabelled(glycine, moved(-a, rng), rng)
    assert not Matcher(glycine).same(a, b)
    lumping = Matcher(glycine, inversion=True)
    assert lumping.same(a, b)
    match = lumping.permutation(a, b)
    assert match.inverted
    np.testing.assert_allclose(match.apply(b), a, atol=1e-6)
    with pytest.raises(InputError, match="stereocentres"):
        Matcher(alanine, inversion=True)


def test_one_hydroxyl_group_of_a_large_molecule_counts():
    m = molecule("Ac-" + "Ala-" * 12 + "Ser-NHMe")
    hydroxyl = next(
        r
        for r in m.rotatable
        if m.numbers[r.atoms[2]] == 8 and m.numbers[r.atoms[3]] == 1 and len(r.moving) == 1
    )
    turned = set_rotor(m.positions, hydroxyl, np.radians(75))
    matcher = Matcher(m)
    assert matcher.rmsd(m.positions, turned) < matcher.tolerance
    assert not matcher.same(m.positions, turned)


def test_keeping_handedness_never_exchanges_what_motion_cannot():
    rng = np.random.default_rng(6)
    free_violates = False
    for text in ("Ac-Val-NHMe", "smiles:CCC", "smiles:CC[NH3+]"):
        m = molecule(text)
        matcher = Matcher(m)
        near = [np.flatnonzero((m.bonds == i).any(1)) for i in range(m.n_atoms)]
        centres = [i for i in range(m.n_atoms) if len(near[i]) == 4]
        corners = np.array([[j for j in m.bonds[near[i]].ravel() if j != i] for i in centres])

        def handedness(x, corners=corners):
            return np.sign(np.linalg.det(x[corners[:, :3]] - x[corners[:, 3:]]))

        for _ in range(10):
            a, b = conformer(m, rng), conformer(m, rng)
            kept = matcher.align(a, relabelled(m, moved(b, rng), rng), keep_handedness=True)
            np.testing.assert_array_equal(handedness(kept), handedness(a))
            again = matcher.align(a, relabelled(m, a, rng), keep_handedness=True)
            np.testing.assert_allclose(again, a, atol=1e-6)
            free_violates |= not np.array_equal(handedness(matcher.align(a, b)), handedness(a))
    assert free_violates  # otherwise the option would have had nothing to do


def test_match_carries_vectors_and_hessians():
    rng = np.random.default_rng(7)
    m = molecule("Ac-Ala-NHMe")
    a = m.positions
    b = relabelled(m, moved(a + 0.01 * rng.normal(size=a.shape), rng), rng)
    match = Matcher(m).permutation(a, b)
    step = rng.normal(size=a.shape)
    np.testing.assert_allclose(
        match.apply(b + step), match.apply(b) + match.apply_vectors(step), atol=1e-10
    )
    hessian = rng.normal(size=(66, 66))
    carried = match.apply_vectors(step).ravel()
    assert carried @ match.apply_hessian(hessian) @ carried == pytest.approx(
        step.ravel() @ hessian @ step.ravel()
    )


# Finding a known structure


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 2))
def test_fingerprints_never_differ_more_than_structures(seed, noise):
    rng = np.random.default_rng(seed)
    m = molecule("Ac-Ala-NHMe")
    matcher = Matcher(m)
    a = conformer(m, rng)
    b = relabelled(m, moved(a + noise * rng.normal(size=a.shape), rng), rng)
    apart = np.linalg.norm(matcher.fingerprint(a) - matcher.fingerprint(b))
    assert apart <= matcher.rmsd(a, b) + 1e-7
    both = matcher.fingerprint(np.stack([a, b]))
    np.testing.assert_allclose(both[1], matcher.fingerprint(b))


@pytest.mark.parametrize(
    ("name", "inversion", "allow"),
    [
        ("Ac-Ala-NHMe", False, ()),
        ("Ac-Phe-NHMe", False, ()),  # whose ring may be turned over
        ("Ac-Gly-NHMe", True, ()),
        ("Ac-Ala-NHMe", False, (Kind.BONDS,)),
    ],
)
def test_bounds_are_never_above_the_distance(name, inversion, allow):
    rng = np.random.default_rng(5)
    m = molecule(name)
    matcher = Matcher(m, inversion=inversion, allow=allow)
    a = conformer(m, rng)
    others = [relabelled(m, moved(conformer(m, rng), rng), rng) for _ in range(6)]
    others += [moved(a + size * rng.normal(size=a.shape), rng) for size in (0, 0.1, 1)]
    bounds = matcher.bounds(a, np.stack(others))
    rmsds = np.array([matcher.rmsd(a, b) for b in others])
    assert (bounds <= rmsds + 1e-7).all()
    if not allow:  # and they say much
        assert np.median(bounds / np.maximum(rmsds, 1e-3)) > 0.8


def test_bounds_without_a_list_of_automorphisms_are_those_of_fingerprints():
    m = Molecule.from_text("smiles:C(CC(C)(C)C)(CC(C)(C)C)(CC(C)(C)C)CC(C)(C)C")
    matcher = Matcher(m)
    assert matcher.symmetry is not None
    assert matcher.symmetry.orders is None
    b = m.positions + 0.3 * np.random.default_rng(1).normal(size=m.positions.shape)
    apart = np.linalg.norm(matcher.fingerprint(m.positions) - matcher.fingerprint(b))
    assert matcher.bounds(m.positions, b[None])[0] == pytest.approx(apart)


def test_find_returns_the_closest_within_both_tolerances():
    rng = np.random.default_rng(8)
    m = molecule("Ac-Ala-NHMe")
    matcher = Matcher(m)
    a = conformer(m, rng)
    known = [
        ("other", -1.0, conformer(m, rng)),
        ("near", -1.0, moved(a + 0.02 * rng.normal(size=a.shape), rng)),
        ("exact", -1.0, relabelled(m, moved(a, rng), rng)),
        ("energy off", -0.9, a),
    ]
    assert matcher.find(a, -1.001, known, 0.01) == "exact"
    assert matcher.find(a, -1.001, known[:2], 0.01) == "near"
    assert matcher.find(a, -1.001, known[:1], 0.01) is None
    assert matcher.find(a, -0.5, known, 0.01) is None
    assert matcher.find(a, -0.5, [], 0.01) is None


def test_bad_input_is_refused():
    m = molecule("Ac-Ala-NHMe")
    with pytest.raises(InputError, match="tolerance"):
        Matcher(m, tolerance=0.0)
    broken = np.where(np.arange(66).reshape(22, 3) == 5, np.nan, m.positions)
    with pytest.raises(InputError, match="finite"):
        Matcher(m).rmsd(m.positions, broken)
    assert not Matcher(m).same(m.positions, broken)


def test_permutations_in_the_oracle_are_all_of_them():
    """Guards the oracle: methane's are the 4! of its hydrogens."""
    found = {tuple(p) for p in automorphisms("smiles:C").tolist()}
    assert {p[1:] for p in found} == set(permutations(range(1, 5)))
