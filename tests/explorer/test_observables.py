"""Order parameters against known answers, and what no rotation changes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.landscape import Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule, set_rotor
from topokrates.observables import (
    bond_order,
    chain_ends,
    hydrogen_bonds,
    names,
    observe,
    observe_all,
    radius_of_gyration,
    unwrapped,
)
from topokrates.storage.records import Minimum

PROVENANCE = {"name": "so3lr", "units": {"energy": "eV", "length": "Å"}}


def fcc():
    points = [[x, y, 0] for x in (1, -1) for y in (1, -1)]
    turned = [np.roll(p, k) for p in points for k in range(3)]
    return np.array(turned, float) / np.sqrt(2)


def icosahedron():
    golden = (1 + 5**0.5) / 2
    points = [[0, y, z * golden] for y in (1, -1) for z in (1, -1)]
    turned = np.array([np.roll(p, k) for p in points for k in range(3)], float)
    return turned / np.linalg.norm(turned[0])


@pytest.mark.parametrize(
    ("shell", "q4", "q6"), [(fcc(), 0.19094, 0.57452), (icosahedron(), 0.0, 0.66332)]
)
def test_bond_order_of_shells(shell, q4, q6):
    # Steinhardt, Nelson and Ronchetti, table I. The corners of the icosahedron are 1.05 apart and
    # have no bonds here; those of fcc do, along the same directions.
    x = np.vstack([np.zeros(3), shell])
    assert bond_order(x, 4, cutoff=1.01) == pytest.approx(q4, abs=1e-5)
    assert bond_order(x, 6, cutoff=1.01) == pytest.approx(q6, abs=1e-5)
    assert np.isnan(bond_order(10 * x, 6))


def test_radius_of_gyration():
    x = np.array([[0.0, 0, 0], [3, 0, 0]])
    assert radius_of_gyration(x, np.ones(2)) == pytest.approx(1.5)
    assert radius_of_gyration(x + 7, np.array([1.0, 2.0])) == pytest.approx(np.sqrt(2))


def test_a_water_dimer_has_one_hydrogen_bond_until_it_bends_or_stretches():
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    other = np.array([[0.0, 0, 0], [0.6, 0.7, 0.3], [0.6, -0.7, 0.3]])
    bonds = [(0, 1), (0, 2), (3, 4), (3, 5)]

    def dimer(distance, angle=0.0):
        turn = Rotation.from_euler("z", angle, degrees=True)
        place = turn.apply([distance, 0, 0])
        x = np.vstack([water, other + water[1] + place])
        return Molecule("dimer", np.array([8, 1, 1] * 2), x, bonds=np.array(bonds))

    assert hydrogen_bonds(dimer(1.9), dimer(1.9).positions) == [(0, 1, 3)]
    assert hydrogen_bonds(dimer(2.55), dimer(2.55).positions) == []
    assert hydrogen_bonds(dimer(1.9, 55), dimer(1.9, 55).positions) == [(0, 1, 3)]
    assert hydrogen_bonds(dimer(1.9, 65), dimer(1.9, 65).positions) == []


@pytest.fixture(scope="module")
def alanine():
    """C7eq and an extended structure of the dipeptide, and one minimum without positions."""
    molecule = Molecule.from_text("Ac-Ala-NHMe")
    landscape = Landscape.create(molecule, PROVENANCE)
    phi, psi = (next(r for r in molecule.rotatable if r.kind == kind) for kind in ("phi", "psi"))
    rows = []
    for number, target in enumerate([(-83.0, 69.0), (-150.0, 155.0)], 1):
        now = molecule.dihedral_table()[0]
        x = set_rotor(molecule.positions, phi, np.radians(target[0] - now[0]))
        x = set_rotor(x, psi, np.radians(target[1] - now[1]))
        rows.append(Minimum(number, 0.1 * number, x, None, None, number))
    rows.append(Minimum(3, 0.5, None, None, None, 1))
    landscape.store.fill(rows, [])
    return landscape


def test_of_a_dipeptide(alanine):
    found = {o.name: o for o in observe_all(alanine)}
    assert list(found) == names(alanine.molecule)
    assert found["phi"].values == {
        1: pytest.approx(-83),
        2: pytest.approx(-150),
        3: None,
    }
    assert found["psi"].title == "ψ (°)"
    assert [found["hydrogen-bonds"].values[n] for n in (1, 2)] == [1.0, 0.0]  # C7 has one
    assert found["end-to-end"].values[1] < found["end-to-end"].values[2] - 1
    assert found["radius-of-gyration"].unit == "Å"
    assert found["energy"].values[2] == pytest.approx(0.1 * 23.0605, abs=1e-3)
    assert found["visits"].values == {1: 1.0, 2: 2.0, 3: 1.0}


def test_no_rotation_changes_a_value(alanine):
    molecule = alanine.molecule
    turn = Rotation.from_euler("xyz", [1.0, 2.0, 3.0])
    turned = Landscape.create(molecule, PROVENANCE)
    rows = [m for m in alanine.minimum_list if m.positions is not None]
    turned.store.fill([replace(m, positions=turn.apply(m.positions.copy()) + 5) for m in rows], [])
    for before, after in zip(observe_all(alanine), observe_all(turned), strict=True):
        for m in rows:
            assert after.values[m.id] == pytest.approx(before.values[m.id], abs=1e-9)


def test_chain_ends():
    molecule = Molecule.from_text("Ac-Ala-NHMe")
    first, last = chain_ends(molecule)
    assert (molecule.symbols[first], molecule.symbols[last]) == ("C", "N")
    butane = Molecule.from_text("smiles:CCCC")
    assert {butane.symbols[a] for a in chain_ends(butane)} == {"C"}
    assert not any(set(chain_ends(butane)) == set(bond) for bond in butane.bonds.tolist())
    methane = Molecule.from_text("smiles:C")
    assert chain_ends(methane) is None
    assert "end-to-end" not in names(methane)


def test_residues_are_numbered_where_there_are_several():
    assert {"phi1", "psi1", "phi2", "psi2"} <= set(names(Molecule.from_text("Ac-Ala-Gly-NHMe")))


def test_of_a_cluster():
    molecule = Molecule.from_text("LJ13")
    landscape = Landscape.create(molecule, PROVENANCE | {"name": "LJ"})
    x = np.vstack([np.zeros(3), icosahedron()]) * 1.08
    landscape.add_minimum(0.0, x)
    assert observe(landscape, "neighbours").values == {1: 42.0}
    assert observe(landscape, "radius-of-gyration").values[1] == pytest.approx(
        1.08 * np.sqrt(12 / 13)
    )
    with pytest.raises(InputError, match="choose one of radius-of-gyration, neighbours, q4, q6"):
        observe(landscape, "phi")


def test_angles_are_cut_where_nothing_is_torn():
    values = {1: -170.0, 2: 175.0, 3: -60.0, 4: None}
    cut = unwrapped(values, 360.0)
    known = sorted(v for v in cut.values() if v is not None)
    assert known[-1] - known[0] == pytest.approx(125)  # 175 is 5 below -180
    assert cut[4] is None
    for name, value in values.items():
        if value is not None:
            assert (cut[name] - value) % 360 == pytest.approx(0)
    assert unwrapped({1: 10.0}, 360.0) == {1: 10.0}
    assert unwrapped({1: -10.0}, 360.0) == {1: -10.0}
    assert unwrapped({1: None}, 360.0) == {1: None}
