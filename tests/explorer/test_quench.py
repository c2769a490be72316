"""The one door into a landscape: what may pass, what is turned away, and what is written."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from topokrates.landscape import Landscape
from topokrates.model.analytic import LennardJones
from topokrates.model.compiled import CompiledPotential
from topokrates.model.errors import InputError
from topokrates.model.potential import REDUCED
from topokrates.molecule import Molecule
from topokrates.quench import Quencher
from topokrates.relaxation.relax import Status
from topokrates.search.cluster_moves import random_cluster

pytestmark = pytest.mark.usefixtures("shared_coordinates")


@dataclass(frozen=True)
class Distances:
    """Springs on all distances: a molecule and its mirror image are the minima alike."""

    def __call__(self, inputs, positions, lists):
        i, j = jnp.triu_indices(len(positions), 1)
        found = jnp.linalg.norm(positions[i] - positions[j], axis=1)
        return 5 * jnp.sum((found - inputs["distances"]) ** 2)


@pytest.fixture(scope="module")
def chiral():
    molecule = Molecule.from_text("smiles:F[C@H](O)Cl")
    assert len(molecule.stereocentres) == 1
    i, j = np.triu_indices(molecule.n_atoms, 1)
    distances = np.linalg.norm(molecule.positions[i] - molecule.positions[j], axis=1)
    description = {"name": "springs", "units": {"energy": "eV", "length": "Å"}}
    potential = CompiledPotential(
        "springs",
        molecule.numbers,
        Distances(),
        {"distances": distances},
        REDUCED,
        description,
        dtype="float64",
    )
    return molecule, potential


@pytest.fixture
def quencher(chiral):
    molecule, potential = chiral
    landscape = Landscape.create(molecule, potential.provenance())
    return Quencher(landscape, potential)


def quench(quencher, x, log=None):
    (end,) = quencher.descend([x], lanes=1)
    return quencher.settle(end.positions, end.energy, end.status, log)


def shaken(molecule, seed=0):
    return molecule.positions + 0.05 * np.random.default_rng(seed).normal(size=(6, 3))


def test_a_new_minimum_is_certified_and_stored(quencher, chiral):
    settled = quench(quencher, shaken(chiral[0]))
    assert settled.outcome == "new"
    assert settled.gradient_calls > 0
    assert settled.hessian_vector_products >= 18
    (minimum,) = quencher.landscape.minimum_list
    assert minimum.id == settled.minimum
    assert minimum.energy == settled.energy == pytest.approx(0, abs=1e-9)
    assert minimum.max_force <= 1e-4
    assert minimum.lowest_eigenvalue > 0
    assert minimum.visits == 1


def test_a_known_minimum_is_a_visit_and_costs_nothing(quencher, chiral):
    first = quench(quencher, shaken(chiral[0]))
    second = quench(quencher, shaken(chiral[0], 1))
    assert second.outcome == "known"
    assert second.minimum == first.minimum
    assert second.energy == first.energy
    assert second.gradient_calls == second.hessian_vector_products == 0
    assert quencher.landscape.minimum(first.minimum).visits == 2
    assert len(quencher.landscape) == 1


def test_certificates_of_a_batch(quencher, chiral):
    """Whoever is new wants one, once, and it is the one that it would get alone."""
    molecule, _ = chiral
    starts = [shaken(molecule), shaken(molecule, 1), shaken(molecule) * [1, 1, -1]]
    ends = sorted(quencher.descend(starts, lanes=3), key=lambda end: end.index)
    found = [(end.positions, end.energy) for end in ends]
    first, again, mirrored = quencher.prove(found)
    assert again is mirrored is None
    (alone,) = quencher.prove(found[:1])
    np.testing.assert_array_equal(first.positions, alone.positions)
    assert first[1:] == alone[1:]
    settled = quencher.settle(*found[0], Status.CONVERGED, proof=first)
    assert settled.outcome == "new"
    assert settled.hessian_vector_products == first.hessian_vector_products
    # where it is stored now, nobody wants one any more
    assert quencher.prove(found) == [None, None, None]
    assert quencher.prove([]) == []


def test_the_mirror_image_is_another_molecule(quencher, chiral):
    """As low and as tight as the molecule that was asked for, and not stored."""
    mirrored = shaken(chiral[0]) * [1, 1, -1]
    settled = quench(quencher, mirrored)
    assert settled.outcome == "stereo"
    assert settled.minimum is None
    assert len(quencher.landscape) == 0
    quench(quencher, shaken(chiral[0]))
    assert quench(quencher, mirrored).outcome == "stereo"
    assert [m.visits for m in quencher.landscape.minimum_list] == [1]


def test_a_torn_bond_is_another_molecule(quencher, chiral):
    x = np.array(chiral[0].positions)
    x[0] += 3 * (x[0] - x[1])
    settled = quencher.settle(x, 0.0, Status.CONVERGED)
    assert settled.outcome in ("bonds", "dissociated")
    assert settled.minimum is None
    assert len(quencher.landscape) == 0


@pytest.mark.parametrize("status", [Status.NOT_CONVERGED, Status.EXPLODED])
def test_a_failed_descent_is_no_minimum(quencher, chiral, status):
    settled = quencher.settle(np.array(chiral[0].positions), 0.0, status)
    assert settled == (str(status), None, 0.0, 0, 0)
    assert len(quencher.landscape) == 0


def test_result_and_log_are_one(quencher, chiral):
    """A log that fails takes the minimum, or the visit, with it."""
    heard = []
    quench(quencher, shaken(chiral[0]), heard.append)
    (only,) = heard
    assert only.outcome == "new"
    assert only.minimum == quencher.landscape.minimum_list[0].id

    def broken(settled):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        quench(quencher, shaken(chiral[0], 1), broken)
    assert [m.visits for m in quencher.landscape.minimum_list] == [1]
    fresh = Quencher(Landscape.create(chiral[0], chiral[1].provenance()), chiral[1])
    with pytest.raises(OSError, match="disk full"):
        quench(fresh, shaken(chiral[0]), broken)
    assert len(fresh.landscape) == 0
    assert quench(fresh, shaken(chiral[0])).outcome == "new"


def test_a_cluster_in_two_pieces_is_no_minimum():
    """Far apart they pull at each other with less than any threshold."""
    molecule = Molecule.from_text("LJ8")
    potential = LennardJones().bind(molecule.numbers)
    quencher = Quencher(Landscape.create(molecule, potential.provenance()), potential)
    piece = random_cluster(4, np.random.default_rng(0))
    apart = np.vstack([piece, piece + np.array([30.0, 0, 0])])
    (end,) = quencher.descend([apart], lanes=1)
    assert end.status is Status.CONVERGED
    assert end.energy == pytest.approx(-12, abs=1e-4)
    settled = quencher.settle(end.positions, end.energy, end.status)
    assert settled.outcome == "dissociated"
    assert len(quencher.landscape) == 0


def test_what_is_allowed_is_kept_beside_the_molecule(chiral, tmp_path):
    """The mirror image is refused, or a minimum of its own; never taken for the molecule."""
    molecule, potential = chiral
    image = shaken(molecule) * [1, 1, -1]
    strict = Quencher(Landscape.create(molecule, potential.provenance()), potential)
    assert quench(strict, image).outcome == "stereo"
    assert len(strict.landscape) == 0
    database = tmp_path / "both.db"
    landscape = Landscape.create(molecule, potential.provenance(), database, allow=["stereo"])
    with landscape:
        quencher = Quencher(landscape, potential)
        assert [quench(quencher, x).outcome for x in (image, shaken(molecule))] == ["new", "new"]
        assert [quench(quencher, x).outcome for x in (image, shaken(molecule))] == ["known"] * 2
        assert [m.visits for m in landscape.minimum_list] == [2, 2]
    with Landscape.open(database) as landscape:
        assert landscape.allow == {"stereo"}
    with pytest.raises(InputError, match="keeps stereo, not none: allow the same"):
        Landscape.create(molecule, potential.provenance(), database)
    with pytest.raises(InputError, match="'sterio' cannot be allowed: choose from"):
        Landscape.create(molecule, potential.provenance(), allow=["sterio"])
