"""The verb: known landscapes come out, and bad input is refused before any work."""

import itertools

import numpy as np
import pytest

from topokrates import explore
from topokrates.exploration import potential_of
from topokrates.identity.matching import changes
from topokrates.landscape import Landscape
from topokrates.model import models
from topokrates.model.analytic import LennardJones
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule
from topokrates.search import SEARCHERS

LJ7 = (-16.505384, -15.935043, -15.593211, -15.533060)

pytestmark = pytest.mark.usefixtures("shared_coordinates")


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_lj7_has_four_minima(searcher):
    landscape = explore("LJ7", searcher=searcher, quenches=72, connect=False)
    energies = [m.energy for m in landscape.minimum_list]
    np.testing.assert_allclose(energies, LJ7, atol=1e-6)
    for minimum in landscape.minimum_list:
        assert minimum.max_force <= 1e-4
        assert minimum.lowest_eigenvalue > 1


@pytest.mark.parametrize(
    ("name", "quenches", "energy"),
    [("LJ2", 2, -1.0), ("LJ3", 4, -3.0), ("LJ4", 4, -6.0), ("LJ13", 160, -44.326801)],
)
def test_global_minima_of_clusters(name, quenches, energy):
    landscape = explore(name, quenches=quenches, connect=False)
    assert landscape.minimum_list[0].energy == pytest.approx(energy, abs=1e-6)


def test_the_same_seed_gives_the_same_landscape(tmp_path):
    first, second = (
        explore("LJ7", quenches=24, seed=5, saddles=8, database=tmp_path / f"{k}.db")
        for k in range(2)
    )
    # (0, 1): to the last bit, whatever was compiled before
    for a, b in zip(first.contents(), second.contents(), strict=True):
        assert len(a) == len(b) > 0
        for x, y in zip(a, b, strict=True):
            assert (x.id, x.energy) == (y.id, y.energy)
            np.testing.assert_array_equal(x.positions, y.positions)
    assert first.to_dict() == second.to_dict()


def test_a_landscape_is_on_disk_when_it_is_returned(tmp_path):
    database = tmp_path / "LJ7.db"
    found = explore("LJ7", quenches=12, database=database, connect=False)
    with Landscape.open(database) as stored:
        assert stored.to_dict() == found.to_dict()
        assert stored.molecule.name == "LJ7"
    found.close()
    # and the same call goes on from there, at no cost
    again = explore("LJ7", quenches=12, database=database, connect=False)
    assert again.to_dict()["searches"] == found.to_dict()["searches"]


def test_molecules_and_force_fields_by_name_or_as_they_are():
    molecule = Molecule.from_text("LJ4")
    by_name = explore("LJ4", quenches=4, connect=False)
    by_object = explore(molecule, model=LennardJones(), quenches=4, connect=False)
    assert by_name.minimum_list[0].energy == by_object.minimum_list[0].energy
    assert by_object.provenance["name"] == "LJ"


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"molecule": "Ac-Aal-NHMe"}, "Aal"),
        ({"molecule": "smiles:C(("}, "C(("),
        ({"molecule": "LJ1"}, "LJ1"),
        ({"searcher": "lucky-dip"}, "lucky-dip"),
        ({"walkers": 0}, "0 walkers"),
        ({"walkers": -2}, "-2 walkers"),
        ({"quenches": -1}, "-1 quenches"),
        ({"seed": -1}, "seed -1"),
        ({"model": "so4lr"}, "so4lr"),
        ({"model": "ase:ase.calculators.lj:LennardJones"}, "LJ is for clusters"),
        ({"molecule": "Ac-Ala-NHMe", "model": "LJ"}, "LJ is for clusters"),
        ({"dtype": "bfloat16"}, "bfloat16"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_explored_is_named_in_one_line(arguments, culprit, tmp_path):
    database = tmp_path / "none.db"
    with pytest.raises(InputError) as refused:
        explore(**{"molecule": "LJ7", "database": database} | arguments)
    assert culprit in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not database.exists(), "refused before any work"


def test_a_database_of_another_molecule_is_refused(tmp_path):
    database = tmp_path / "LJ4.db"
    explore("LJ4", quenches=2, database=database, connect=False).close()
    with pytest.raises(InputError, match=r"LJ4\.db"):
        explore("LJ5", quenches=2, database=database, connect=False)


def test_unknown_elements_are_refused_before_any_work(network, tmp_path):
    database = tmp_path / "none.db"
    with pytest.raises(InputError, match="does not know the element Cl"):
        explore("smiles:CCl", model=network, database=database)
    assert not database.exists()


def test_charge_and_spin_of_the_molecule_reach_the_potential(network):
    ion = Molecule.from_text("smiles:[NH4+]")
    assert ion.charge == 1
    charges = potential_of(ion, network).parts(np.array(ion.positions)).charges
    assert charges.sum() == pytest.approx(1)


# --- the main job -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alanine(so3lr, tmp_path_factory):
    """Alanine dipeptide as the command line explores it."""
    database = tmp_path_factory.mktemp("alanine") / "ala.db"
    return explore("Ac-Ala-NHMe", model=models.load("so3lr"), database=database)


@pytest.mark.slow
def test_alanine_dipeptide_has_its_minima(alanine):
    minima = alanine.minimum_list
    above = np.array([alanine.relative(m.energy) for m in minima])
    angles = [alanine.phi_psi(m.positions)[0] for m in minima]
    # kcal/mol; the first and the third are C7eq and C7ax, the second is C5
    for energy, place in ((0.0, (-83, 69)), (1.267, (-166, 166)), (2.027, (75, -60))):
        near = np.flatnonzero(np.abs(above - energy) < 0.02)
        turned = np.abs((np.array([angles[k] for k in near]) - place + 180) % 360 - 180)
        assert len(near) > 0, energy
        assert turned.max(axis=1).min() < 6
    for energy in (1.300, 4.289, 5.505):
        assert np.abs(above - energy).min() < 0.02, energy
    for minimum in minima:
        assert minimum.max_force <= 1e-4
        assert minimum.lowest_eigenvalue > 0
        assert not changes(alanine.molecule, minimum.positions)
    for a, b in itertools.combinations(minima, 2):
        assert not alanine.matcher.same(a.positions, b.positions)


@pytest.mark.slow
def test_alanine_dipeptide_hangs_together(alanine):
    minima = {m.id: m.energy for m in alanine.minimum_list}
    for link in alanine.link_list:
        assert link.energy >= max(minima[name] for name in link.minima)
        assert link.verified == (link.negative_eigenvalues == 1)
    assert alanine.connected_components == 1


@pytest.mark.slow
def test_another_seed_finds_the_same_minima(alanine):
    """Below 4 kcal/mol there are four, of which the second is a rotamer that a search may miss."""
    other = explore("Ac-Ala-NHMe", model="so3lr", quenches=96, seed=1, connect=False)
    for landscape in (alanine, other):
        above = [landscape.relative(m.energy) for m in landscape.minimum_list]
        low = np.array([energy for energy in above if energy < 4])
        assert all(np.abs(low - energy).min() < 0.01 for energy in (0, 1.300, 2.027))
        assert all(
            np.abs(energy - np.array([0, 1.267, 1.300, 2.027])).min() < 0.01 for energy in low
        )
    for minimum in other.minimum_list:
        near = [m for m in alanine.minimum_list if abs(m.energy - minimum.energy) < 1e-5]
        assert all(alanine.matcher.same(m.positions, minimum.positions) for m in near)
