"""Several small networks of random parameters."""

import numpy as np
import pytest

from topokrates.landscape import Landscape
from topokrates.model import models, weights
from topokrates.model.committee import CommitteeForceField
from topokrates.model.errors import InputError
from topokrates.model.network import NetworkForceField
from topokrates.molecule import Molecule

NUMBERS = np.array([8, 1, 1])
WATER = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])


@pytest.fixture(scope="module")
def members(make_network, tmp_path_factory):
    """Paths of three weights files."""
    folder = tmp_path_factory.mktemp("members")
    paths = [folder / f"{seed}.safetensors" for seed in range(3)]
    for seed, path in enumerate(paths):
        weights.save(make_network(seed).weights, path)
    return paths


def test_a_committee_says_the_mean_and_its_spread(members):
    committee = models.load(",".join(map(str, members)), dtype="float64")
    potential = committee.bind(NUMBERS)
    single = [models.load(str(path), dtype="float64").bind(NUMBERS) for path in members]
    rng = np.random.default_rng(0)
    x = WATER + rng.normal(0, 0.1, (4, 3, 3))
    energies, forces = potential.energies_and_forces(x)
    each = [member.energies_and_forces(x) for member in single]
    np.testing.assert_allclose(energies, np.mean([e for e, _ in each], axis=0))
    np.testing.assert_allclose(forces, np.mean([f for _, f in each], axis=0))
    v = rng.normal(size=x.shape)
    products = np.mean([member.hessian_vector_products(x, v) for member in single], axis=0)
    np.testing.assert_allclose(potential.hessian_vector_products(x, v), products)
    hessian = potential.hessians(x[:1])[0]
    np.testing.assert_allclose(hessian @ v[0].ravel(), products[0].ravel(), atol=1e-10)
    of_energy, of_atoms = potential.disagreement(x)
    table = np.array([e - e.mean() for e, _ in each])
    np.testing.assert_allclose(of_energy, table.std(axis=0, ddof=1))
    deviation = np.array([f for _, f in each]) - forces
    np.testing.assert_allclose(of_atoms, np.sqrt((deviation**2).sum(axis=(0, 3)) / 2 / 3))
    assert of_atoms.min() > 0


def test_a_constant_is_no_disagreement_and_copies_have_none(members):
    one = models.load(str(members[0]))
    assert isinstance(one, NetworkForceField)
    potential = CommitteeForceField("twins", (one, one)).bind(NUMBERS)
    of_energy, of_atoms = potential.disagreement(np.stack([WATER, 1.1 * WATER]))
    assert not of_energy.any()
    assert not of_atoms.any()


def test_lanes_that_fail_or_rest_touch_no_other(members):
    potential = models.load(",".join(map(str, members))).bind(NUMBERS)
    x = np.stack([WATER, np.full_like(WATER, np.nan), 1.05 * WATER, WATER])
    energies, forces = potential.energies_and_forces(x, np.array([True, True, True, False]))
    assert np.isnan(energies).tolist() == [False, True, False, True]
    alone, _ = potential.energies_and_forces(x[2:3])
    assert energies[2] == alone[0]
    assert np.isfinite(forces[2]).all()


def test_provenance_names_every_member_and_precision_is_theirs(members):
    name = ",".join(map(str, members))
    potential = models.load(name).bind(NUMBERS)
    told = potential.provenance()
    assert told["name"] == "random,random,random"
    assert told["file"] == name
    assert len({member["weights"] for member in told["members"]}) == 3
    fine = potential.with_dtype("float64")
    assert fine.dtype == np.float64
    assert fine.provenance() == told
    assert fine.with_dtype("float64") is fine


def test_a_landscape_says_where_a_committee_disagrees(members):
    molecule = Molecule.from_text("smiles:O")
    names = ",".join(map(str, members))
    potential = models.load(names).bind(molecule.numbers)
    landscape = Landscape.create(molecule, potential.provenance())
    landscape.add_minimum(0.0, molecule.positions)
    stretched = molecule.positions.copy()
    stretched[1] *= 1.1
    landscape.add_minimum(0.1, stretched)
    table = landscape.disagreement(potential)
    spread = potential.disagreement(np.stack([molecule.positions, stretched]))
    assert table.iloc[:, 0].tolist() == [1, 2]
    np.testing.assert_allclose(table["spread of the energy (kcal/mol)"], spread[0] * 23.0605, 1e-4)
    np.testing.assert_allclose(table.iloc[:, 3], spread[1].max(axis=1))
    assert landscape.disagreement(names).equals(table)
    with pytest.raises(InputError, match="one model"):
        landscape.disagreement(str(members[0]))
    with pytest.raises(InputError, match="one model"):
        landscape.disagreement(models.load(str(members[0])).bind(molecule.numbers))


def test_one_member_is_no_committee(members):
    with pytest.raises(InputError, match="at least two"):
        CommitteeForceField("alone", (models.load(str(members[0])),))
    with pytest.raises(InputError, match="unknown model"):
        models.load(f"{members[0]},nothing")
