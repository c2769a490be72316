"""The structures that benchmarks run on: helices of polyalanine, and starts of descents.

Everything here is a function of its arguments alone, so that two programs, or two days, are given
the same structures.
"""

from collections.abc import Iterator

import numpy as np
from ase import units
from ase.data import atomic_masses

from topokrates.model.errors import InputError
from topokrates.model.potential import Potential
from topokrates.molecule import Molecule, dihedral, set_rotor
from topokrates.search.cluster_moves import random_cluster

# An ideal alpha helix, degrees. Its atoms have as many neighbours as those of a folded peptide.
HELIX = {"phi": -65.0, "psi": -40.0, "omega": 180.0}
SMALLEST, PER_RESIDUE = 12, 10  # atoms of Ac- and -NHMe, and of an alanine between them
RATTLE = 0.02  # Å, between structures of one batch
TEMPERATURE = 800.0  # K
TIME_STEP = 1.0  # fs
DYNAMICS_STEPS = 60


def polyalanine(atoms: int) -> Molecule:
    """Ac-Ala(n)-NHMe with that many atoms (22, 42, 162, 1002 and so on), 10 n + 12.

    Raises:
        InputError: where no n gives it.
    """
    residues, rest = divmod(atoms - SMALLEST, PER_RESIDUE)
    if rest or residues < 1:
        near = SMALLEST + PER_RESIDUE * max(1, round((atoms - SMALLEST) / PER_RESIDUE))
        raise InputError(f"no polyalanine Ac-Ala(n)-NHMe has {atoms} atoms: take {near}")
    return Molecule.from_text("Ac-" + "Ala-" * residues + "NHMe")


def helix(molecule: Molecule) -> np.ndarray:
    """The molecule's start geometry wound to an alpha helix; (N, 3), Å."""
    positions = np.array(molecule.positions)
    for rotor in molecule.rotatable:
        if rotor.kind in HELIX:
            turn = np.radians(HELIX[rotor.kind]) - dihedral(positions, rotor.atoms)
            positions = set_rotor(positions, rotor, turn)
    return positions - positions.mean(axis=0)


def rattled(positions: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Copies of a structure, each with its own noise; (count, N, 3).

    The first k of a larger batch are the batch of k.
    """
    copies = [
        positions + np.random.default_rng([seed, k]).normal(scale=RATTLE, size=positions.shape)
        for k in range(count)
    ]
    return np.stack(copies)


def hot_starts(
    potential: Potential, minimum: np.ndarray, count: int, seed: int = 0
) -> Iterator[np.ndarray]:
    """Structures (N, 3) after 60 fs of dynamics from a minimum, one per seed (seed, 0...).

    Velocities are drawn at 800 K (Maxwell and Boltzmann) without drift; velocity Verlet, 1 fs.
    """
    masses = atomic_masses[potential.numbers][:, None]
    step = TIME_STEP * units.fs
    shape = minimum.shape
    draws = [np.random.default_rng([seed, k]).normal(size=shape) for k in range(count)]
    velocities = np.stack(draws) * np.sqrt(units.kB * TEMPERATURE / masses)
    velocities -= np.sum(masses * velocities, axis=1, keepdims=True) / masses.sum()
    x = np.broadcast_to(minimum, velocities.shape).copy()
    forces = np.asarray(potential.energies_and_forces(x)[1], float)
    for _ in range(DYNAMICS_STEPS):
        velocities += 0.5 * step * forces / masses
        x += step * velocities
        forces = np.asarray(potential.energies_and_forces(x)[1], float)
        velocities += 0.5 * step * forces / masses
    yield from x


def cluster_starts(particles: int, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Random Lennard-Jones clusters in a sphere, one per seed; (particles, 3), sigma."""
    for k in range(count):
        yield random_cluster(particles, np.random.default_rng([seed, k]))
