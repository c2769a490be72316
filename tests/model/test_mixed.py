"""Batches of different molecules: what a structure gets does not depend on its company."""

import dataclasses

import numpy as np
import pytest

from topokrates.model.errors import InputError
from topokrates.model.layout import Edges, Rows
from topokrates.model.mixed import Structure, _joined, bucket, energies_and_forces
from topokrates.model.neighbours import every_pair


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


def test_lists_of_different_lengths_are_joined_without_new_pairs():
    short = {"near": Rows(np.array([[[1], [0], [2]]], np.int32)), "far": every(2)}
    long = {"near": Rows(np.array([[[1, 2], [0, 1], [0, 2]]], np.int32)), "far": every(3)}
    joined = _joined([short, long])
    own = np.arange(3)[:, None]
    rows = joined["near"].senders
    assert rows.shape == (2, 3, 2)
    np.testing.assert_array_equal(rows[0, :, 1:], own)  # an atom's own number is padding
    np.testing.assert_array_equal(rows[1], long["near"].senders[0])
    i, j = joined["far"]
    assert i.shape == (2, 3)
    assert [(int(a), int(b)) for a, b in zip(i[0], j[0], strict=True) if a != b] == [(0, 1)]


def every(atoms):
    return Edges(*(ends[None] for ends in every_pair(atoms)))


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
