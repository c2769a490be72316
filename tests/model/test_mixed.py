"""Batches of different molecules: what a structure gets does not depend on its company."""

import dataclasses

import numpy as np
import pytest

from topokrates.model.errors import InputError
from topokrates.model.mixed import Structure, bucket, energies_and_forces


@pytest.fixture(scope="module")
def network(make_network):
    return make_network(layers=1)


@pytest.fixture(scope="module")
def structures(structure):
    """Five molecules of one bucket, one of them an ion."""
    made = [Structure(*structure(atoms, seed=atoms)) for atoms in (5, 6, 7, 8, 6)]
    made[4] = made[4]._replace(positions=made[4].positions @ np.diag([1, 1, -1]), charge=1)
    return made


@pytest.mark.parametrize("layout", ["edges", "all"])
def test_a_batch_of_mixed_molecules_is_what_they_are_alone(network, structures, layout):
    force_field = dataclasses.replace(network, layout=layout)
    energies, forces = energies_and_forces(force_field, structures, lanes=4)
    for structure, energy, force in zip(structures, energies, forces, strict=True):
        numbers, x, charge, unpaired = structure
        alone = force_field.bind(numbers, charge, unpaired, atoms=8)
        expected = alone.energies_and_forces(x[None])
        assert energy == pytest.approx(expected[0][0], abs=1e-9)
        np.testing.assert_allclose(force, expected[1][0], atol=1e-9)
    assert np.ptp(energies) > 0.1


def test_a_broken_structure_breaks_no_other(network, structures):
    broken = list(structures)
    x = broken[1].positions.copy()
    x[2, 1] = np.nan
    broken[1] = broken[1]._replace(positions=x)
    expected, forces = energies_and_forces(network, structures, lanes=4)
    found, found_forces = energies_and_forces(network, broken, lanes=4)
    assert np.isnan(found[1])
    assert np.isnan(found_forces[1]).all()
    for k in (0, 2, 3, 4):
        assert found[k] == pytest.approx(expected[k], abs=1e-9)
        np.testing.assert_allclose(found_forces[k], forces[k], atol=1e-9)


def test_buckets_hold_what_they_are_for_and_not_much_more():
    for atoms in range(1, 3000):
        size = bucket(atoms)
        assert size >= atoms
        assert size % 8 == 0
        assert size <= max(1.25 * atoms + 8, atoms + 8)


def test_shapes_that_do_not_fit_are_named(network):
    with pytest.raises(InputError, match=r"structure 1: positions of shape \(3, 3\) for 2 atoms"):
        energies_and_forces(
            network,
            [
                Structure(np.array([8]), np.zeros((1, 3))),
                Structure(np.array([1, 1]), np.zeros((3, 3))),
            ],
        )
