"""Paths to look at: they begin and end where they should, and break nothing on the way."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from topokrates.drawing.animation import FRAMES, framed, path_frames
from topokrates.identity.matching import Matcher
from topokrates.molecule import Molecule, set_rotor


@pytest.fixture(scope="module")
def rotated():
    """The dipeptide, a methyl group turned by 60 degrees, and psi turned by 80."""
    molecule = Molecule.from_text("Ac-Ala-NHMe")
    methyl = next(r for r in molecule.rotatable if r.kind == "methyl")
    psi = next(r for r in molecule.rotatable if r.kind == "psi")
    top = set_rotor(molecule.positions, methyl, np.radians(60))
    return molecule, top, set_rotor(top, psi, np.radians(80))


def distances(x):
    return np.linalg.norm(x[..., :, None, :] - x[..., None, :, :], axis=-1)


def test_the_frames_go_from_minimum_over_transition_state_to_minimum(rotated):
    molecule, top, end = rotated
    turned = Rotation.from_euler("xyz", [1, 2, 3]).apply(end) + 4
    frames = path_frames(molecule, Matcher(molecule), molecule.positions, top, turned)
    assert frames.shape == (FRAMES, molecule.n_atoms, 3)
    np.testing.assert_allclose(frames[FRAMES // 2], top, atol=1e-12)
    heavy = molecule.numbers > 1
    for frame, whole in ((frames[0], molecule.positions), (frames[-1], end)):
        np.testing.assert_allclose(distances(frame[heavy]), distances(whole[heavy]), atol=1e-9)
    assert np.linalg.norm(np.diff(frames, axis=0), axis=2).max() < 1.2


def test_no_bond_stretches_on_the_way(rotated):
    molecule, top, end = rotated
    frames = path_frames(molecule, Matcher(molecule), molecule.positions, top, end)
    first, second = molecule.bonds.T
    lengths = np.linalg.norm(frames[:, first] - frames[:, second], axis=2)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=0.06)


def test_a_cluster_moves_in_straight_lines():
    molecule = Molecule.from_text("LJ4")
    corner = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 0.4
    top = corner * [1.1, 1.0, 1.0]
    frames = path_frames(molecule, Matcher(molecule), corner[[2, 0, 1, 3]], top, -corner)
    steps = np.diff(frames, axis=0)[: FRAMES // 2]
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-12)
    np.testing.assert_allclose(
        np.sort(distances(frames[0]).ravel()), np.sort(distances(corner).ravel()), atol=1e-9
    )


def test_a_structure_is_shown_from_its_broad_side():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3)) * [5, 2, 0.5]
    for turn in Rotation.random(5, random_state=1):
        centre, axes = framed(turn.apply(x) + 3)
        assert np.linalg.det(axes) == pytest.approx(1)
        shown = (turn.apply(x) + 3 - centre) @ axes.T
        assert (np.diff(shown.var(0)) < 0).all()
        first, first_axes = framed(x)
        np.testing.assert_allclose(shown, (x - first) @ first_axes.T, atol=1e-8)
