"""Structures that replicas start from."""

import os

import numpy as np

from topokrates.model.errors import InputError
from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.perception import read_frames


def starts_of(text: str) -> tuple[Molecule, list[np.ndarray]]:
    """A molecule, and the frames of its file.

    Args:
        text: what `explore` takes.

    Returns:
        The molecule (of a file, that of its first frame) and positions (N, 3) of each frame, Å;
        none where there is no file.

    Raises:
        InputError: for what is no molecule, or frames of different ones.
    """
    if not os.path.isfile(text):
        return Molecule.from_text(text), []
    frames = read_frames(text)
    molecule = Molecule.from_atoms(frames[0], f"{text}, frame 0")
    for k, frame in enumerate(frames):
        if not np.array_equal(frame.numbers, molecule.numbers):
            raise InputError(f"{text}: frame {k} has other atoms than frame 0")
    return molecule, [frame.positions for frame in frames]


def at_rest(potential: Potential, molecule: Molecule) -> np.ndarray:
    """Where the molecule's first guess of a geometry comes to rest, (N, 3), Å.

    Raises:
        InputError: if it does not.
    """
    from topokrates.relaxation.internals import coordinates
    from topokrates.relaxation.relax import Status, descend

    internal = coordinates(molecule.bonds, molecule.positions)
    end = next(iter(descend(potential, internal, [molecule.positions], lanes=1)))
    if end.status is not Status.CONVERGED:
        raise InputError(f"{molecule.name} does not come to rest: give a file with a geometry")
    return end.positions
