"""MMFF94 minima of a peptide, told apart by their torsions alone: what identity is measured on.

Starts are random torsions (amide bonds cis or trans by the toss of a coin), minimised with RDKit.
Which minima are distinct is decided without any superposition, so that it can judge one. Two ends
are one minimum if their energies agree to 0.01 kcal/mol and no torsion differs by more than 1
degree; two if the energies differ by more, or some torsion by more than 10 degrees; what lies
between is left out. Methyl groups count modulo 120 degrees. This is only sound for peptides whose
methyl and NH3+ hydrogens are all that can be exchanged.
"""

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SAME, DISTINCT = np.radians(1.0), np.radians(10.0)
KCAL_MOL_PER_EV = 23.060547830619
LARGEST_FORCE = 1e-3  # kcal/mol/Å, 4e-5 eV/Å
ENERGY_WINDOW = 1e-2  # kcal/mol: ends of one minimum agree far better


class Conformers(NamedTuple):
    """Distinct minima: energies (M,) in eV, positions (M, N, 3) in Å; how they were made."""

    energies: np.ndarray
    positions: np.ndarray
    starts: int
    seconds: float


def conformers(molecule: Any, wanted: int, seed: int, path: Path | None) -> Conformers:
    """Distinct minima, from the file where it holds enough of them, else made and kept there."""
    kept = _read(path)
    if kept is not None and len(kept.energies) >= wanted:
        return kept._replace(energies=kept.energies[:wanted], positions=kept.positions[:wanted])
    force_field = _force_field(molecule)
    begin = time.perf_counter()
    before = 0.0 if kept is None else kept.seconds
    starts = 0 if kept is None else kept.starts
    pool = _Pool(molecule, kept)
    while len(pool) < wanted:
        for _ in range(500):
            end = _minimise(molecule, force_field, np.random.default_rng([seed, starts]))
            starts += 1
            if end is not None:
                pool.add(*end)
        seconds = before + time.perf_counter() - begin
        kept = Conformers(*pool.distinct(), starts, seconds)
        print(f"{starts} starts, {len(pool)} minima, {seconds:.0f} s", file=sys.stderr)
        if path is not None:
            temporary = path.with_suffix(".part.npz")
            np.savez(temporary, **kept._asdict())
            temporary.replace(path)
    assert kept is not None
    return kept._replace(energies=kept.energies[:wanted], positions=kept.positions[:wanted])


def _read(path: Path | None) -> Conformers | None:
    if path is None or not path.exists():
        return None
    with np.load(path) as file:
        return Conformers(
            file["energies"], file["positions"], int(file["starts"]), float(file["seconds"])
        )


def _force_field(molecule: Any) -> tuple[Any, Any]:
    """RDKit's molecule, atoms in the same order, and its MMFF94 types."""
    from rdkit import Chem
    from rdkit.Chem import rdForceFieldHelpers

    from topokrates.peptide import parse_sequence

    mol = Chem.AddHs(Chem.MolFromSmiles(parse_sequence(molecule.name).smiles))
    numbers = [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    if numbers != molecule.numbers.tolist():
        sys.exit(f"error: {molecule.name} is built in pieces: give a shorter one")
    mol.AddConformer(Chem.Conformer(len(numbers)))
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    return mol, properties


def _minimise(
    molecule: Any, force_field: Any, rng: np.random.Generator
) -> tuple[float, np.ndarray] | None:
    from rdkit.Chem import rdForceFieldHelpers

    from topokrates.identity.matching import Kind, changes
    from topokrates.molecule import set_rotor

    x = molecule.positions
    for rotor in molecule.rotatable:
        turn = rng.integers(2) * np.pi if rotor.kind == "omega" else rng.uniform(-np.pi, np.pi)
        x = set_rotor(x, rotor, turn)
    mol, properties = force_field
    mol.GetConformer().SetPositions(np.ascontiguousarray(x))
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
    for _ in range(4):
        if field.Minimize(maxIts=2000, forceTol=1e-7, energyTol=1e-14) == 0:
            break
    flat = np.array(field.Positions()).ravel().tolist()
    x = np.array(flat).reshape(-1, 3)
    if np.abs(field.CalcGrad(flat)).max() > LARGEST_FORCE:
        return None
    if changes(molecule, x).kind not in (Kind.NONE, Kind.CIS_TRANS):
        return None
    return field.CalcEnergy(flat), x


class _Pool:
    """Ends of descents by energy and torsions; each group of equal ends is kept once."""

    def __init__(self, molecule: Any, kept: Conformers | None) -> None:
        self.quads = np.array([rotor.atoms for rotor in molecule.rotatable])
        self.turn = np.array(
            [2 * np.pi / 3 if rotor.kind == "methyl" else 2 * np.pi for rotor in molecule.rotatable]
        )
        self.energies: list[float] = []
        self.torsions: list[np.ndarray] = []
        self.positions: list[np.ndarray] = []
        self.doubtful: set[int] = set()
        if kept is not None:
            for energy, x in zip(kept.energies, kept.positions, strict=True):
                self.add(energy * KCAL_MOL_PER_EV, x)

    def __len__(self) -> int:
        return len(self.energies) - len(self.doubtful)

    def add(self, energy: float, x: np.ndarray) -> None:
        from topokrates.molecule import dihedral

        torsions = dihedral(x, self.quads)
        known = np.array(self.energies)
        near = np.flatnonzero(np.abs(known - energy) < ENERGY_WINDOW)
        if len(near):
            between = np.stack([self.torsions[k] for k in near]) - torsions
            between -= self.turn * np.round(between / self.turn)
            furthest = np.abs(between).max(1)
            if (furthest < SAME).any():
                return
            unclear = near[furthest < DISTINCT]
            if len(unclear):
                self.doubtful.update(unclear.tolist())
                return
        self.energies.append(energy)
        self.torsions.append(torsions)
        self.positions.append(x)

    def distinct(self) -> tuple[np.ndarray, np.ndarray]:
        kept = [k for k in range(len(self.energies)) if k not in self.doubtful]
        energies = np.array(self.energies)[kept] / KCAL_MOL_PER_EV
        return energies, np.array(self.positions)[kept]
