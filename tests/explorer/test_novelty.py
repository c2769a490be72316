"""Hydrogen peroxide with a torsion that has two minima, one of which nobody has shown the model."""

import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from topokrates.landscape import Landscape
from topokrates.model.compiled import CompiledPotential
from topokrates.model.errors import InputError
from topokrates.model.potential import ELECTRONVOLT
from topokrates.molecule import Molecule, dihedral
from topokrates.novelty import novelty
from topokrates.quench import Quencher

ORDER = (2, 0, 1, 3)  # H-O-O-H
TILT, TILT_OF_REFERENCE = 0.05, 0.15  # eV


class Twisted:
    """Springs, and 0.3 (1 + cos 2 phi) + tilt sin phi: minima near -90 and 90 degrees."""

    key = "twisted"

    def __call__(self, inputs, positions, lists):
        def apart(i, j):
            return jnp.sqrt(jnp.sum((positions[i] - positions[j]) ** 2))

        a, b, c, d = (positions[k] for k in ORDER)
        axis = (c - b) / apart(1, 0)
        u, v = jnp.cross(b - a, axis), jnp.cross(axis, d - c)
        size = jnp.sqrt(jnp.sum(u**2) * jnp.sum(v**2))
        cosine, sine = jnp.sum(u * v) / size, jnp.sum(jnp.cross(u, v) * axis) / size
        bonds = 15 * sum((apart(i, j) - r) ** 2 for i, j, r in inputs["bonds"])
        angles = 5 * sum((apart(i, j) - 1.9) ** 2 for i, j in ((0, 3), (1, 2)))
        return bonds + angles + 0.6 * cosine**2 + inputs["tilt"] * sine


class Field:
    name = "twisted"

    def __init__(self, tilt):
        self.tilt = tilt

    def bind(self, numbers, charge=0, unpaired=0, atoms=None):
        inputs = {"bonds": [(0, 1, 1.45), (0, 2, 0.97), (1, 3, 0.97)], "tilt": self.tilt}
        description = {"name": "twisted", "units": {"energy": "eV", "length": "Å"}}
        made = CompiledPotential(
            "twisted", np.asarray(numbers), Twisted(), inputs, ELECTRONVOLT, description
        )
        return made.with_dtype("float64")


@pytest.fixture(scope="module")
def explored():
    """The landscape of both minima, and a potential."""
    molecule = Molecule.from_text("smiles:OO")
    assert molecule.numbers.tolist() == [8, 8, 1, 1]
    potential = Field(TILT).bind(molecule.numbers)
    landscape = Landscape.create(molecule, potential.provenance())
    quencher = Quencher(landscape, potential)
    starts = [shaken(molecule, angle, 0, 0) for angle in (-70.0, 70.0)]
    for end in quencher.descend(starts, 2):
        quencher.settle(end.positions, end.energy, end.status)
    assert len(landscape) == 2
    return landscape, potential


def shaken(molecule, angle, seed, size=0.03):
    """The molecule with a torsion, degrees, all atoms displaced a little."""
    x = molecule.positions
    (rotor,) = (r for r in molecule.rotatable if set(r.atoms) == {0, 1, 2, 3})
    from topokrates.molecule import set_rotor

    turn = np.radians(angle) - dihedral(x, ORDER)
    turned = set_rotor(x, rotor, turn)
    return turned + np.random.default_rng(seed).normal(0, size, x.shape)


def atoms_of(landscape, angles):
    molecule = landscape.molecule
    return [Atoms(molecule.numbers, shaken(molecule, angle, k)) for k, angle in enumerate(angles)]


def angle_of(landscape, name):
    return float(np.degrees(dihedral(landscape.minimum(name).positions, ORDER)))


def test_a_minimum_without_frames_in_its_basin_is_new(explored):
    landscape, potential = explored
    low, high = (m.id for m in landscape.minimum_list)
    assert angle_of(landscape, low) == pytest.approx(-90, abs=3)
    assert angle_of(landscape, high) == pytest.approx(90, abs=3)
    found = novelty(landscape, atoms_of(landscape, range(-120, -60, 4)), potential)
    assert found.new == [high]
    assert found.frames == 15
    rows = found.table.set_index("id")
    assert rows.loc[low, "RMSD to a frame (Å)"] < 0.15 < rows.loc[high, "RMSD to a frame (Å)"]
    assert np.isnan(rows["energy error (kcal/mol)"]).all()
    assert [trace.name for trace in found.figure().data] == ["known (1)", "new (1)"]


def test_the_nearest_frame_does_not_decide_but_its_basin_does(explored):
    """Frames at the foot of the barrier, of one side and of the other."""
    landscape, potential = explored
    low, high = (m.id for m in landscape.minimum_list)
    assert novelty(landscape, atoms_of(landscape, [-90, -15, -12, -18]), potential).new == [high]
    assert novelty(landscape, atoms_of(landscape, [-90, 25, 28, 22]), potential).new == []
    assert novelty(landscape, atoms_of(landscape, [90, 91, 92]), potential).new == [low]


def test_a_frame_turned_and_with_hydrogens_exchanged_is_the_same(explored):
    """What the symmetry of the molecule makes of a frame is that frame."""
    landscape, potential = explored
    (frame,) = atoms_of(landscape, [90.0])
    other = frame.copy()
    other.positions = frame.positions[[1, 0, 3, 2]]
    other.rotate(40, (1, 2, 3))
    tables = [novelty(landscape, [atoms], potential).table for atoms in (frame, other)]
    np.testing.assert_allclose(tables[0].iloc[:, 3], tables[1].iloc[:, 3], atol=1e-6)
    assert tables[0]["new"].tolist() == tables[1]["new"].tolist()


def test_the_reference_says_how_wrong_energies_are(explored):
    """Tilted by 0.1 eV more, it has the upper minimum 0.2 eV higher."""
    landscape, potential = explored
    _, high = (m.id for m in landscape.minimum_list)
    frames = atoms_of(landscape, range(-100, -80, 4))
    found = novelty(landscape, frames, potential, reference=Field(TILT_OF_REFERENCE))
    rows = found.table.set_index("id")
    error = rows["energy error (kcal/mol)"]
    # the slope of the tilt moves the minima by little
    expected = -2 * (TILT_OF_REFERENCE - TILT) * 23.0605
    assert error[high] == pytest.approx(expected, rel=0.02)
    assert error.drop(high).tolist() == [pytest.approx(0, abs=1e-9)]
    assert (rows["displacement (Å)"] < 0.02).all()
    assert (rows["reference finds"] == "a minimum").all()
    summary = found.summary()
    assert summary.loc["new", "mean absolute energy error (kcal/mol)"] == pytest.approx(
        -error[high]
    )
    assert summary.loc["known", "minima"] == 1
    # drawn below their energies
    below = {trace.name: list(trace.y) for trace in found.figure().data if trace.yaxis == "y2"}
    assert below["new (1)"] == [error[high]]
    assert below["known (1)"] == error.drop(high).tolist()
    # itself it agrees with
    same = novelty(landscape, frames, potential, reference=Field(TILT)).table
    np.testing.assert_allclose(same["energy error (kcal/mol)"], 0, atol=1e-3)


def test_frames_come_from_files_and_others_are_passed_over(explored, tmp_path):
    landscape, potential = explored
    frames = [*atoms_of(landscape, [-90.0, 90.0]), Atoms("OH2", np.eye(3))]
    for atoms in frames:
        forces = np.zeros((len(atoms), 3))
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=forces)
    write(tmp_path / "train.extxyz", frames)
    found = landscape.novelty(tmp_path / "train.extxyz", potential)
    assert found.frames == 2
    assert found.new == []
    with pytest.raises(InputError, match="no frame is of"):
        novelty(landscape, frames[2:], potential)
    with pytest.raises(InputError, match="no such file"):
        novelty(landscape, tmp_path / "none.npz", potential)


def test_a_landscape_without_minima_is_refused(explored):
    landscape, potential = explored
    empty = Landscape.create(landscape.molecule, potential.provenance())
    with pytest.raises(InputError, match="holds no minimum"):
        novelty(empty, atoms_of(landscape, [-90.0]), potential)
