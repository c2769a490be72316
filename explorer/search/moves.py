"""Random structures of molecules: starts, and moves of torsions, backbone and rings.

Moves are drawn for all walkers at once, each with its own source of chance: what a walker gets
does not depend on who is beside it.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from topokrates.identity.integrity import changes
from topokrates.molecule import Molecule, Rotor, set_rotor
from topokrates.search.cluster_moves import random_cluster
from topokrates.search.embedding import embedded
from topokrates.search.hinges import crankshaft_angle, crankshafts, fold, puckers, swung

# Atoms that are not bonded and come nearer than this share of their bond length read as bonded at
# once, or are torn from where they belong by a quench; such a move is drawn again.
CLASH = 1.25
DRAWS = 50
# Turning a methyl group matters (its rotamers can be minima of their own), but not by much.
METHYL_SHARE = 0.2
PUCKER_SHARE = 0.3  # of the moves, in each ring
RATTLE = 0.05  # Å: leaves no quench exactly on a symmetric path


def start(molecule: Molecule, rng: np.random.Generator, walker: int) -> np.ndarray:
    """A start for one walker, (N, 3): the given structure for walker 0, a random one for others.

    Molecules start from RDKit's distance geometry (half of them, and those without rotatable
    bonds) or from random torsions of the given structure.
    """
    if molecule.is_cluster:
        return random_cluster(molecule.n_atoms, rng)
    if walker == 0:
        return np.array(molecule.positions)
    if rng.random() < 0.5 or not _rotors(molecule, "every"):
        found = embedded(molecule, int(rng.integers(2**31)))
        if found is not None:
            return found
    return molecule_moves(molecule, molecule.positions[None], [rng], [np.pi], ["every"])[0]


def molecule_moves(
    molecule: Molecule,
    positions: np.ndarray,
    rngs: Sequence[np.random.Generator],
    sizes: Sequence[float] | np.ndarray,
    kinds: Sequence[str],
) -> np.ndarray:
    """New structures of some walkers, with a slight rattle of all atoms.

    Peptide bonds stay as they are. Rings pucker and methyl groups turn now and then with every
    kind of move.

    Args:
        molecule: says what can be turned.
        positions: (W, N, 3), Å.
        rngs: the sources of chance.
        sizes: largest turns, radians, (W,).
        kinds: "torsions" turns about half of the torsions, "every" all of them, "side chains"
            those outside the backbone, "crankshaft" swings a segment of the backbone.

    Returns:
        (W, N, 3): of each the first draw that is the molecule and has no clashes, or the least
        clashing of many. A molecule in which nothing can be turned is only rattled, as strongly
        as its size says.
    """
    positions = np.asarray(positions, float)
    if not (_rotors(molecule, "every") or puckers(molecule)):
        return np.stack(
            [x + rng.uniform(-0.1 * size, 0.1 * size, x.shape)
             for x, rng, size in zip(positions, rngs, sizes, strict=True)]
        )  # fmt: skip
    best, gaps = positions.copy(), np.full(len(positions), -np.inf)
    for _ in range(DRAWS):
        rows = np.flatnonzero(gaps < CLASH)
        if not len(rows):
            break
        chosen = [(rngs[row], sizes[row], kinds[row]) for row in rows.tolist()]
        moved = _drawn(molecule, positions[rows], chosen)
        whole = [not changes(molecule, x) for x in moved]
        found = np.where(whole, smallest_gaps(molecule, moved), 0)
        better = found > gaps[rows]
        best[rows[better]], gaps[rows[better]] = moved[better], found[better]
    return best


def _drawn(
    molecule: Molecule, x: np.ndarray, chosen: list[tuple[np.random.Generator, float, str]]
) -> np.ndarray:
    """One draw for each walker, clashing or not."""
    turning = [*_rotors(molecule, "every"), *_methyls(molecule)]
    column = {rotor: k for k, rotor in enumerate(turning)}
    angles = np.zeros((len(x), len(turning)))
    for row, (rng, size, kind) in enumerate(chosen):
        hinges = crankshafts(molecule) if kind == "crankshaft" else ()
        if hinges:
            hinge = hinges[rng.integers(len(hinges))]
            x[row] = swung(x[row], hinge, crankshaft_angle(molecule, x[row], hinge, size, rng))
        else:
            rotors = _rotors(molecule, kind) or _rotors(molecule, "every")
            taken = rng.random(len(rotors)) < (1.0 if kind == "every" else 0.5)
            if len(rotors) and not taken.any():
                taken[rng.integers(len(rotors))] = True
            for rotor, turn in zip(rotors, rng.uniform(-size, size, len(rotors)), strict=True):
                angles[row, column[rotor]] = turn
            angles[row, [column[r] for r, t in zip(rotors, taken, strict=True) if not t]] = 0
        for rotor in _methyls(molecule):
            if rng.random() < METHYL_SHARE:
                angles[row, column[rotor]] = rng.uniform(-np.pi / 3, np.pi / 3)
        for hinge in puckers(molecule):
            if rng.random() < PUCKER_SHARE:
                x[row] = swung(x[row], hinge, -2 * fold(x[row], hinge))
    for rotor, turns in zip(turning, angles.T, strict=True):
        rows = np.flatnonzero(turns)
        if len(rows):
            x[rows] = set_rotor(x[rows], rotor, turns[rows])
    rattles = [rng.normal(scale=RATTLE, size=x.shape[1:]) for rng, _, _ in chosen]
    return x + np.stack(rattles)


def torsions(molecule: Molecule) -> np.ndarray:
    """Atoms of the torsions that moves may turn but for methyl groups', (R, 4)."""
    return np.array([rotor.atoms for rotor in _rotors(molecule, "every")], int).reshape(-1, 4)


@lru_cache(maxsize=256)
def _rotors(molecule: Molecule, kind: str) -> tuple[Rotor, ...]:
    """The torsions that a kind of move may turn."""
    left_out = {"omega", "methyl"} | ({"phi", "psi"} if kind == "side chains" else set())
    return tuple(rotor for rotor in molecule.rotatable if rotor.kind not in left_out)


@lru_cache(maxsize=64)
def _methyls(molecule: Molecule) -> tuple[Rotor, ...]:
    return tuple(rotor for rotor in molecule.rotatable if rotor.kind == "methyl")


def smallest_gaps(molecule: Molecule, positions: np.ndarray) -> np.ndarray:
    """The smallest distances between atoms that are not bonded, over the sum of covalent radii.

    positions (W, N, 3) -> (W,); infinite where all atoms are bonded to one another.
    """
    i, j, reach = _pairs(molecule)
    gaps = np.linalg.norm(positions[:, i] - positions[:, j], axis=-1) / reach
    return gaps.min(axis=1, initial=np.inf)


@lru_cache(maxsize=64)
def _pairs(molecule: Molecule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of atoms that are not bonded, and the sums of their covalent radii."""
    from ase.data import covalent_radii

    apart = np.triu(np.ones((molecule.n_atoms,) * 2, bool), 1)
    apart[tuple(np.asarray(molecule.bonds).T)] = False
    i, j = np.nonzero(apart)
    radii = covalent_radii[np.asarray(molecule.numbers)]
    return i, j, radii[i] + radii[j]
