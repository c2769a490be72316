"""The merge rule, what is committed, what is refused, and the shapes a landscape is read in."""

import json
import os

import ase.io
import numpy as np
import pytest

from topokrates.landscape import KCAL_MOL_PER_EV, Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule

EV = {"name": "so3lr", "weights": "ab" * 32, "long_range_cutoff": None}
EV |= {"units": {"energy": "eV", "length": "Å"}, "versions": {"jax": "1"}}
LJ = {"name": "lennard-jones", "units": {"energy": "epsilon", "length": "sigma"}}


class Plain:
    """The same if no coordinate differs by more than 0.1: no symmetry, no alignment."""

    def same(self, a, b):
        return bool(np.abs(a - b).max() < 0.1)

    def find(self, positions, energy, candidates, energy_tolerance):
        assert all(abs(e - energy) <= energy_tolerance for _, e, _ in candidates)
        return next((name for name, _, x in candidates if self.same(positions, x)), None)


@pytest.fixture(scope="module")
def peptide():
    return Molecule.from_text("Ac-Ala-NHMe")


@pytest.fixture(scope="module")
def cluster():
    return Molecule.from_text("LJ4")


@pytest.fixture
def lj(cluster):
    with Landscape.create(cluster, LJ, matcher=Plain()) as landscape:
        yield landscape


def structure(landscape, number):
    return landscape.molecule.positions + float(number)


def fill(landscape, energies):
    return [landscape.add_minimum(e, structure(landscape, k))[0] for k, e in enumerate(energies)]


def link(landscape, a, b, energy, verified=True, number=0):
    return landscape.add_link((a, b), energy, structure(landscape, number), verified)


# the merge rule


def test_structure_and_energy_together_make_a_known_minimum(lj):
    assert lj.add_minimum(-3.0, structure(lj, 0)) == (1, True)
    assert lj.add_minimum(-3.0 + 5e-5, structure(lj, 0) + 0.01) == (1, False)
    assert lj.add_minimum(-3.0, structure(lj, 1)) == (2, True)  # energy alone decides nothing
    assert lj.add_minimum(-3.0 + 5e-4, structure(lj, 0)) == (3, True)  # nor does structure
    assert [(m.id, m.visits) for m in lj.minimum_list] == [(1, 2), (2, 1), (3, 1)]
    assert lj.minimum(1).energy == -3.0  # the first one stands


def test_find_sees_the_whole_window_and_nothing_beyond(lj):
    lj.add_minimum(-3.0, structure(lj, 0))
    assert lj.find(-3.009, structure(lj, 0), 0.01) == 1
    assert lj.find(-2.991, structure(lj, 0), 0.01) == 1
    assert lj.find(-2.989, structure(lj, 0), 0.01) is None
    assert lj.find(-3.0, structure(lj, 5), 0.01) is None


def test_a_turned_copy_with_equivalent_atoms_exchanged_is_known(peptide):
    landscape = Landscape.create(peptide, EV)
    turned = peptide.positions @ np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    if np.linalg.det(np.linalg.lstsq(peptide.positions, turned)[0]) < 0:
        turned = -turned
    hydrogens = [
        [j for bond in peptide.bonds for i, j in (bond, bond[::-1]) if i == centre]
        for centre in range(peptide.n_atoms)
    ]
    methyl = next(
        [h for h in near if peptide.numbers[h] == 1]
        for near in hydrogens
        if sum(peptide.numbers[h] == 1 for h in near) == 3
    )
    turned[methyl] = turned[np.roll(methyl, 1)]
    landscape.add_minimum(-1.0, peptide.positions)
    assert landscape.add_minimum(-1.0, turned + 3.0) == (1, False)
    assert landscape.add_minimum(-1.0, peptide.positions * [1, 1, -1])[1]  # D is not L


def test_ties_are_ordered_by_identifier(lj):
    fill(lj, [1.0, 0.5, 1.0, 0.5])
    assert [m.id for m in lj.minimum_list] == [2, 4, 1, 3]


@pytest.mark.parametrize("wrong", ["nan energy", "nan positions", "shape"])
def test_what_is_no_structure_is_not_stored(lj, wrong):
    positions = structure(lj, 0)
    energy = float("nan") if wrong == "nan energy" else 0.0
    if wrong == "nan positions":
        positions[0, 0] = np.nan
    if wrong == "shape":
        positions = positions[:-1]
    with pytest.raises(ValueError, match=r"finite|shape"):
        lj.add_minimum(energy, positions)
    assert len(lj) == 0


def test_transition_states_are_merged_by_pair_energy_and_structure(lj):
    fill(lj, [0.0, 1.0, 2.0])
    assert link(lj, 2, 1, 5.0) == (1, True)
    assert lj.link_list[0].minima == (1, 2)
    assert link(lj, 1, 2, 5.0 + 5e-6) == (1, False)
    assert link(lj, 1, 2, 5.0 + 5e-5) == (2, True)
    assert link(lj, 1, 2, 5.0, number=1) == (3, True)
    assert link(lj, 1, 3, 5.0) == (4, True)
    assert link(lj, 1, 1, 5.0) == (5, True)  # a degenerate rearrangement is kept


def test_only_the_lowest_estimate_below_every_transition_state_is_kept(lj):
    fill(lj, [0.0, 1.0])
    first, _ = link(lj, 1, 2, 8.0, verified=False)
    assert link(lj, 1, 2, 9.0, verified=False, number=1) == (first, False)
    second, new = link(lj, 2, 1, 7.0, verified=False, number=2)
    assert new
    assert [k.id for k in lj.link_list] == [second]
    higher, _ = link(lj, 1, 2, 7.5)  # proves no bound as low as the estimate
    assert [k.id for k in lj.link_list] == [second, higher]
    lower, _ = link(lj, 1, 2, 6.5, number=3)
    assert [k.id for k in lj.link_list] == [lower, higher]
    assert link(lj, 1, 2, 6.5, verified=False, number=4) == (lower, False)
    below, new = link(lj, 1, 2, 6.0, verified=False, number=5)
    assert new
    assert [k.id for k in lj.link_list] == [below, lower, higher]


def test_a_link_of_an_unknown_minimum_is_refused(lj):
    fill(lj, [0.0])
    with pytest.raises(KeyError):
        link(lj, 1, 2, 5.0)
    assert lj.link_list == []


# what is committed


def test_what_was_added_is_there_when_the_file_is_opened_again(cluster, tmp_path):
    path = tmp_path / "a.db"
    with Landscape.create(cluster, LJ, path, matcher=Plain()) as landscape:
        fill(landscape, [0.0, 1.0])
        link(landscape, 1, 2, 2.0)
        landscape.visit(2)
        before = landscape.to_dict()
    with Landscape.open(path, matcher=Plain()) as again:
        assert again.to_dict() == before
        assert again.provenance == LJ
        assert again.molecule.to_json() == cluster.to_json()
        assert link(again, 1, 2, 2.0) == (1, False)
        assert again.add_minimum(1.0, structure(again, 1)) == (2, False)


def test_what_is_rolled_back_is_forgotten(lj):
    fill(lj, [0.0, 1.0])
    link(lj, 1, 2, 5.0, verified=False)
    before = lj.to_dict()

    def half():
        with lj.transaction():
            lj.add_minimum(2.0, structure(lj, 2))
            lj.add_minimum(0.0, structure(lj, 0))
            link(lj, 1, 2, 4.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert lj.to_dict() == before
    assert lj.add_minimum(2.0, structure(lj, 2)) == (3, True)


def test_two_landscapes_of_one_file_see_each_other(cluster, tmp_path):
    ours = Landscape.create(cluster, LJ, tmp_path / "a.db", matcher=Plain())
    theirs = Landscape.open(tmp_path / "a.db", matcher=Plain())
    assert ours.add_minimum(0.0, structure(ours, 0)) == (1, True)
    assert theirs.add_minimum(0.0, structure(ours, 0)) == (1, False)
    assert theirs.add_minimum(1.0, structure(ours, 1)) == (2, True)
    assert link(ours, 1, 2, 3.0, verified=False) == (1, True)
    assert link(theirs, 1, 2, 2.5)[1]
    assert [k.verified for k in ours.link_list] == [True]
    assert [m.visits for m in ours.minimum_list] == [2, 1]
    assert ours.to_dict() == theirs.to_dict()
    ours.close(), theirs.close()


# what is refused


def refusal(*arguments):
    with pytest.raises(InputError) as error:
        Landscape.create(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_another_potential_is_refused(peptide, tmp_path):
    path = tmp_path / "a.db"
    Landscape.create(peptide, EV, path).close()
    Landscape.create(peptide, EV | {"versions": {"jax": "2"}, "dtype": "float64"}, path).close()
    message = refusal(peptide, EV | {"long_range_cutoff": 12.0}, path)
    assert str(path) in message
    assert "long_range_cutoff none, not 12.0" in message
    assert "weights" in refusal(peptide, EV | {"weights": "cd" * 32}, path)
    assert "so3lr, not lennard-jones" in refusal(peptide, EV | {"name": "lennard-jones"}, path)
    assert "charged" in refusal(peptide, EV | {"charged": True}, path)


def test_another_molecule_is_refused_but_not_another_name_or_start(peptide, tmp_path):
    path = tmp_path / "a.db"
    Landscape.create(peptide, EV, path).close()
    data = json.loads(peptide.to_json())
    moved = (peptide.positions + 1).tolist()
    renamed = Molecule.from_json(json.dumps(data | {"name": "other", "positions": moved}))
    with Landscape.create(renamed, EV, path) as landscape:
        assert landscape.molecule.to_json() == peptide.to_json()  # the start that was stored
    charged = Molecule.from_json(json.dumps(data | {"charge": 1, "unpaired_electrons": 1}))
    assert "bonds, charge or stereo differ" in refusal(charged, EV, path)
    assert "Ac-D-Ala-NHMe" in refusal(Molecule.from_text("Ac-D-Ala-NHMe"), EV, path)


def test_opening_never_makes_a_file(tmp_path):
    with pytest.raises(InputError, match="no such database"):
        Landscape.open(tmp_path / "none.db")
    assert os.listdir(tmp_path) == []


# what is read from it


def test_the_json_object_of_a_molecule(peptide):
    landscape = Landscape.create(peptide, EV, matcher=Plain())
    landscape.add_minimum(-10.0, structure(landscape, 0), 2e-5, 0.003)
    landscape.add_minimum(-10.1, structure(landscape, 1), 1e-5, 0.004)
    landscape.add_minimum(-9.9, structure(landscape, 2), 1e-5, 0.004)
    landscape.add_link((1, 2), -9.8, structure(landscape, 3), True, 1e-5, 1, -0.2)
    link(landscape, 1, 3, -9.7, verified=False)
    landscape.store.search("key", {"searcher": "minima-hopping", "seed": 0, "walkers": 4})
    spent = {"gradient_calls": 999, "hessian_vector_products": 66}
    landscape.store.save_search("key", step=5, done=20, target=30, **spent)
    data = landscape.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    (phi, psi), *rest = peptide.dihedral_table(peptide.positions)
    assert not rest
    minima = data.pop("minima")
    assert [m["id"] for m in minima] == [2, 1, 3]
    assert minima[1].pop("phi_psi")[0] == pytest.approx([phi, psi])
    assert minima[1].pop("relative_kcal_mol") == pytest.approx(0.1 * KCAL_MOL_PER_EV)
    expected = {"id": 1, "energy": -10.0, "visits": 1}
    assert minima[1] == expected | {"max_force": 2e-5, "lowest_eigenvalue": 0.003}
    links = data.pop("links")
    barriers = [0.2 * KCAL_MOL_PER_EV, 0.3 * KCAL_MOL_PER_EV]
    assert links[0].pop("barriers_kcal_mol") == pytest.approx(barriers)
    expected = {"minima": [1, 2], "energy": -9.8}
    assert links[0] == expected | {"verified": True, "negative_eigenvalues": 1}
    assert (links[1]["verified"], links[1]["negative_eigenvalues"]) == (False, None)
    search = data.pop("searches")[0]
    assert search.pop("settings") == {"searcher": "minima-hopping", "seed": 0, "walkers": 4}
    assert search == {
        "searcher": "minima-hopping",
        "seed": 0,
        "walkers": 4,
        "quenches_done": 20,
        "quenches_target": 30,
        "gradient_calls": 999,
        "hessian_vector_products": 66,
        "outcomes": {},
        "coverage": None,
        "unseen_minima": None,
    }
    assert data == {
        "molecule": "Ac-Ala-NHMe",
        "formula": peptide.formula,
        "potential": "so3lr",
        "units": {"energy": "eV", "force": "eV/Å", "eigenvalue": "eV/Å^2"},
        "connected_components": 2,  # an estimate connects nothing
        "connection": None,
    }


def test_the_json_object_of_a_cluster_has_no_kcal(lj):
    fill(lj, [0.0, 1.0])
    link(lj, 1, 2, 2.0)
    data = lj.to_dict()
    assert data["units"]["eigenvalue"] == "epsilon/sigma^2"
    assert [m["relative_kcal_mol"] for m in data["minima"]] == [None, None]
    assert data["links"][0]["barriers_kcal_mol"] == [None, None]
    assert data["minima"][0]["phi_psi"] == []
    assert data["connected_components"] == 1


def test_the_conversion_follows_from_the_defining_constants():
    exact = 1.602176634e-19 * 6.02214076e23 / 4184
    assert pytest.approx(exact, rel=1e-13) == KCAL_MOL_PER_EV


def test_an_angle_that_does_not_exist_is_none():
    molecule = Molecule.from_text("Ala-Gly")
    landscape = Landscape.create(molecule, EV, matcher=Plain())
    (first, _), (_, last) = landscape.phi_psi(molecule.positions)
    assert first is None
    landscape.add_minimum(0.0, molecule.positions)
    json.dumps(landscape.to_dict(), allow_nan=False)
    assert (last is None) == bool(np.isnan(molecule.dihedral_table(molecule.positions)[1][1]))


def test_tables_carry_their_units(peptide, lj):
    landscape = Landscape.create(peptide, EV, matcher=Plain())
    fill(landscape, [0.1, 0.0])
    link(landscape, 1, 2, 0.3)
    link(landscape, 1, 1, 0.4, verified=False)
    minima, links = landscape.minima, landscape.links
    assert list(minima["id"]) == [2, 1]
    assert minima["relative energy (kcal/mol)"].iloc[1] == pytest.approx(0.1 * KCAL_MOL_PER_EV)
    assert {"energy (eV)", "max force (eV/Å)", "phi (°)", "psi (°)"} <= set(minima.columns)
    assert list(links["kind"]) == ["transition state", "estimate"]
    assert links["barrier from a (kcal/mol)"].iloc[0] == pytest.approx(0.2 * KCAL_MOL_PER_EV)
    assert "relative energy (epsilon)" in lj.minima.columns
    assert len(lj.minima) == len(lj.links) == 0


def test_the_graph(lj):
    fill(lj, [0.0, 1.0, 2.0])
    link(lj, 1, 2, 3.0), link(lj, 1, 2, 4.0), link(lj, 1, 1, 5.0)
    graph = lj.graph
    assert dict(graph.nodes(data="energy")) == {1: 0.0, 2: 1.0, 3: 2.0}
    assert sorted(graph.edges(keys=True)) == [(1, 1, 3), (1, 2, 1), (1, 2, 2)]
    assert graph.edges[1, 2, 2]["energy"] == 4.0


def test_the_tree_takes_its_options_in_what_a_person_reads(peptide):
    landscape = Landscape.create(peptide, EV, matcher=Plain())
    fill(landscape, [0.0, 2 / KCAL_MOL_PER_EV, 5 / KCAL_MOL_PER_EV])
    link(landscape, 1, 2, 3.3 / KCAL_MOL_PER_EV)
    tree = landscape.disconnectivity_graph(spacing=1.0, window=2.5)
    assert (tree.unit, len(tree.branches), tree.hidden) == ("eV", 2, 1)
    assert np.array(tree.levels) * KCAL_MOL_PER_EV == pytest.approx([1, 2, 3, 4])
    assert "visits: 1" in tree.notes[1]


def test_extended_xyz_holds_structures_and_energies(peptide, tmp_path):
    landscape = Landscape.create(peptide, EV, matcher=Plain())
    landscape.add_minimum(-1 / 3, structure(landscape, 0), 1e-5, 0.003)
    landscape.add_minimum(-2 / 3, structure(landscape, 1), 1e-5, 0.003)
    landscape.add_link((1, 2), 0.1, structure(landscape, 2), True, 1e-5, 1, -0.1)
    link(landscape, 1, 2, 0.05, verified=False, number=3)
    path = tmp_path / "out.extxyz"
    path.write_text("what was there before")
    landscape.export_extxyz(path)
    frames = ase.io.read(path, ":")
    kinds = [frame.info["kind"] for frame in frames]
    assert kinds == ["minimum", "minimum", "estimate", "transition_state"]
    energies = [frame.get_potential_energy() for frame in frames]
    assert energies == [-2 / 3, -1 / 3, 0.05, 0.1]
    assert [frame.info["id"] for frame in frames] == [2, 1, 2, 1]
    assert (frames[3].info["minimum_a"], frames[3].info["minimum_b"]) == (1, 2)
    assert frames[0].info["charge"] == 0
    np.testing.assert_allclose(frames[0].positions, structure(landscape, 1), atol=1e-7)
    assert os.listdir(tmp_path) == ["out.extxyz"]


def test_an_export_that_cannot_be_written_is_refused(lj, tmp_path):
    with pytest.raises(InputError, match="no minima"):
        lj.export_extxyz(tmp_path / "out.extxyz")
    fill(lj, [0.0])
    for place in (tmp_path, tmp_path / "none" / "out.extxyz"):
        with pytest.raises(InputError, match=str(place)):
            lj.export_extxyz(place)
    assert os.listdir(tmp_path) == []


def test_it_prints_as_a_small_report(lj):
    assert "0 minima" in repr(lj)
    fill(lj, range(12))
    link(lj, 1, 2, 12.0)
    text = repr(lj)
    assert "12 minima, 1 transition state, 11 components" in text
    assert "and 2 more minima" in text
    assert "relative energy (epsilon)" in text
    assert "<table" in lj._repr_html_()


def test_weights_from_a_file_are_found_again(make_network, tmp_path, monkeypatch):
    """By where they were; what counts is what is in them, wherever they are by then."""
    from topokrates.analysis.harmonics import own_potential
    from topokrates.exploration import explore
    from topokrates.model import models, weights
    from topokrates.provenance import refuse_other_potential

    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        weights.save(make_network(seed).weights, tmp_path / f"{seed}.safetensors")
    molecule = Molecule.from_text("smiles:O")
    for text in ("0.safetensors", "0.safetensors,1.safetensors"):
        potential = models.load(text).bind(molecule.numbers)
        landscape = Landscape.create(molecule, potential.provenance(), tmp_path / f"{text}.db")
        monkeypatch.chdir("/")
        found = own_potential(landscape)
        assert found.provenance() == potential.provenance()
        monkeypatch.chdir(tmp_path)
        # and a search that names no model goes on with them
        again = explore(molecule, database=tmp_path / f"{text}.db", quenches=0, connect=False)
        assert again.provenance == landscape.provenance
        again.close()
        # the same weights elsewhere are the same potential, others are not
        (tmp_path / "0.safetensors").rename(tmp_path / "moved.safetensors")
        moved = models.load(text.replace("0", "moved", 1)).bind(molecule.numbers)
        refuse_other_potential(None, landscape.provenance, moved.provenance())
        with pytest.raises(InputError, match="cannot be loaded"):
            own_potential(landscape)
        (tmp_path / "moved.safetensors").rename(tmp_path / "0.safetensors")
        other = models.load("1.safetensors").bind(molecule.numbers)
        with pytest.raises(InputError, match="was made with"):
            refuse_other_potential(None, landscape.provenance, other.provenance())
