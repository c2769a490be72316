"""Random structures: starts, and dihedral moves of molecules."""

import numpy as np

from topokrates.molecule import Molecule, set_rotor
from topokrates.search.cluster_moves import random_cluster

# A move that brings atoms closer than this is drawn again: a quench would tear bonds, Å.
CLASH = 0.9
DRAWS = 50
# Turning a methyl group matters (its rotamers can be minima of their own), but not by much.
METHYL_SHARE = 0.2
RATTLE = 0.05  # Å: leaves no quench exactly on a symmetric path


def start(molecule: Molecule, rng: np.random.Generator, walker: int) -> np.ndarray:
    """A start for one walker, (N, 3): the given structure for walker 0, a random one for others."""
    if molecule.is_cluster:
        return random_cluster(molecule.n_atoms, rng)
    if walker == 0:
        return np.array(molecule.positions)
    return dihedral_move(molecule, molecule.positions, rng, np.pi, every=True)


def dihedral_move(
    molecule: Molecule,
    positions: np.ndarray,
    rng: np.random.Generator,
    size: float,
    every: bool = False,
) -> np.ndarray:
    """Turns about rotatable bonds, with a slight rattle of all atoms.

    Args:
        molecule: says what can be turned; peptide bonds stay as they are.
        positions: (N, 3), Å.
        rng: the source of chance.
        size: largest turn, radians.
        every: turn all of them, in the place of a random choice of about half.

    Returns:
        (N, 3): the draw without clashes, or the least clashing of many. A molecule without
        rotatable bonds is only rattled, as strongly as `size` says.
    """
    rotors = [rotor for rotor in molecule.rotatable if rotor.kind not in ("omega", "methyl")]
    methyls = [rotor for rotor in molecule.rotatable if rotor.kind == "methyl"]
    if not rotors:
        size_in_space = 0.1 * size
        return positions + rng.uniform(-size_in_space, size_in_space, positions.shape)
    best, best_gap = positions, -np.inf
    for _ in range(DRAWS):
        chosen = np.ones(len(rotors), bool) if every else rng.random(len(rotors)) < 0.5
        if not chosen.any():
            chosen[rng.integers(len(rotors))] = True
        moved = np.array(positions)
        for rotor, turn in zip(rotors, chosen, strict=True):
            if turn:
                moved = set_rotor(moved, rotor, rng.uniform(-size, size))
        for rotor in methyls:
            if rng.random() < METHYL_SHARE:
                moved = set_rotor(moved, rotor, rng.uniform(-np.pi / 3, np.pi / 3))
        moved = moved + rng.normal(scale=RATTLE, size=moved.shape)
        gap = smallest_gap(molecule, moved)
        if gap > best_gap:
            best, best_gap = moved, gap
        if gap > CLASH:
            break
    return best


def smallest_gap(molecule: Molecule, positions: np.ndarray) -> float:
    """The smallest distance between atoms that are not bonded, Å, heavy pairs at 0.6 of theirs."""
    n = len(positions)
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    distances[np.arange(n), np.arange(n)] = np.inf
    if len(molecule.bonds):
        i, j = np.asarray(molecule.bonds).T
        distances[i, j] = distances[j, i] = np.inf
    heavy = np.asarray(molecule.numbers) > 1
    distances[np.ix_(heavy, heavy)] *= 0.6
    return float(distances.min())
