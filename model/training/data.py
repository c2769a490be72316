"""Labelled frames: what a file says about energies and forces, in eV and Å, checked.

An npz holds arrays of all frames under the names that such files usually have; anything else is
read by ASE (extxyz, its database), with labels as calculator results or under given names.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from ase import units

from topokrates.model.errors import InputError
from topokrates.model.training.config import Data

ENERGY_UNITS = {
    "eV": 1.0,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "hartree": units.Hartree,
}
LENGTH_UNITS = {"angstrom": 1.0, "bohr": units.Bohr}
# Names under which arrays are found, the first that is there
NAMES = {
    "numbers": ("z", "Z", "numbers", "atomic_numbers", "nuclear_charges"),
    "positions": ("R", "positions", "coords", "coordinates"),
    "energy": ("E", "energy", "energies"),
    "forces": ("F", "forces"),
    "dipole": ("D", "dipole", "dipoles"),
    "charge": ("Q", "charge", "charges_total"),
    "atoms": ("N", "n_atoms"),
}
SHARED = ("numbers", "charge", "atoms")  # what the sets of one file may have in common
LARGEST_NUMBER = 118


@dataclass(frozen=True, eq=False)
class Frame:
    """One labelled structure.

    Attributes:
        numbers: atomic numbers, (N,).
        positions: (N, 3), Å.
        energy: eV.
        forces: (N, 3), eV/Å.
        dipole: (3,), e Å; None if it is not known.
        charge: e.
        unpaired: number of unpaired electrons.
    """

    numbers: np.ndarray
    positions: np.ndarray
    energy: float
    forces: np.ndarray
    dipole: np.ndarray | None = None
    charge: int = 0
    unpaired: int = 0


def read(file: str, folder: Path, settings: Data) -> list[Frame]:
    """The frames of a file.

    Args:
        file: path, relative to the folder; of an npz with several sets `path#set`.
        folder: that paths are relative to.
        settings: units, and names of labels.

    Raises:
        InputError: naming the file and frame that cannot be used.
    """
    name, _, subset = file.partition("#")
    path = folder / Path(name).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    frames = _of_npz(path, subset) if path.suffix == ".npz" else _of_ase(path, settings)
    if not frames:
        raise InputError(f"{path}: there is no frame in it")
    energy, length = ENERGY_UNITS[settings.energy_unit], LENGTH_UNITS[settings.length_unit]
    return [_checked(frame, f"{file}, frame {k}", energy, length) for k, frame in enumerate(frames)]


def digest(frames: list[Frame]) -> str:
    """sha256 of frames and labels, in their order."""
    result = hashlib.sha256()
    for f in frames:
        result.update(np.asarray(f.numbers, "<i4").tobytes())
        result.update(np.array([f.energy, f.charge, f.unpaired], "<f8").tobytes())
        for array in (f.positions, f.forces, f.dipole):
            result.update(b"-" if array is None else np.asarray(array, "<f8").tobytes())
    return result.hexdigest()


def _of_npz(path: Path, subset: str) -> list[Frame]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {what: _array(archive, what, subset) for what in NAMES}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise InputError(f"{path}: not an npz file of arrays ({error})") from error
    try:
        return _joined(found, path, subset)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError(f"{path}: its arrays do not fit together ({error})") from error


def _joined(found: dict[str, Any], path: Path, subset: str) -> list[Frame]:
    for what in ("numbers", "positions", "energy", "forces"):
        if found[what] is None:
            names = " or ".join(NAMES[what])
            inside = f" of the set {subset}" if subset else ""
            raise InputError(f"{path}: there are no {what}{inside}; name the array {names}")
    x, forces = np.asarray(found["positions"], float), np.asarray(found["forces"], float)
    count = len(x)
    if x.ndim != 3 or x.shape[2] != 3 or forces.shape != x.shape:
        raise InputError(
            f"{path}: positions {x.shape} and forces {forces.shape}; both must be (M, N, 3)"
        )
    energies = np.asarray(found["energy"], float).reshape(-1)
    numbers = np.broadcast_to(found["numbers"], x.shape[:2])
    if len(energies) != count:
        raise InputError(f"{path}: {len(energies)} energies for {count} frames")
    sizes = np.sum(numbers > 0, axis=1) if found["atoms"] is None else found["atoms"].astype(int)
    charges = np.broadcast_to(found["charge"] if found["charge"] is not None else 0, count)
    dipoles = found["dipole"] if found["dipole"] is not None else [None] * count
    rows = zip(numbers, x, energies, forces, dipoles, charges, sizes.tolist(), strict=True)
    return [
        Frame(z[:n], r[:n], float(e), f[:n], d, q, _fewest(z[:n], q))
        for z, r, e, f, d, q, n in rows
    ]


def _fewest(numbers: np.ndarray, charge: float) -> int:
    """Unpaired electrons where nothing is said of them."""
    return int(np.sum(numbers) - charge) % 2


def _array(archive: Any, what: str, subset: str) -> Any:
    candidates = [f"{name}_{subset}" for name in NAMES[what]] if subset else []
    if not subset or what in SHARED:
        candidates += NAMES[what]
    return next((archive[name] for name in candidates if name in archive.files), None)


def _of_ase(path: Path, settings: Data) -> list[Frame]:
    from ase.io import read as read_ase

    try:
        atoms = read_ase(path, index=":", do_not_split_by_at_sign=True)
    except Exception as error:  # ASE's readers raise whatever their parsers raise
        raise InputError(f"{path}: ASE cannot read it ({error})") from error
    frames = []
    for k, a in enumerate(atoms if isinstance(atoms, list) else [atoms]):
        results = getattr(a.calc, "results", {})
        labels = {}
        for what, key in (
            ("energy", settings.energy_key),
            ("forces", settings.forces_key),
            ("dipole", settings.dipole_key),
        ):
            places = (a.info, a.arrays) if key else (results, a.info, a.arrays)
            labels[what] = next((p[key or what] for p in places if (key or what) in p), None)
        for what in ("energy", "forces"):
            if labels[what] is None:
                raise InputError(
                    f"{path}, frame {k}: no {what}; name it by {what}_key if it is there otherwise"
                )
        try:
            charge = float(a.info.get("charge", 0))
            unpaired = int(a.info.get("unpaired_electrons", _fewest(a.numbers, charge)))
        except (TypeError, ValueError) as error:
            raise InputError(f"{path}, frame {k}: charge or spin is no number ({error})") from error
        dipole = labels["dipole"]
        if a.pbc.any():
            raise InputError(f"{path}, frame {k}: periodic cells are not supported")
        frames.append(
            Frame(
                a.numbers, a.positions, float(labels["energy"]), labels["forces"], dipole,
                charge, unpaired,  # pyright: ignore[reportArgumentType]  made whole below
            )
        )  # fmt: skip
    return frames


def _checked(frame: Frame, label: str, energy: float, length: float) -> Frame:
    """In eV and Å; raises InputError for what no network could learn."""
    n = len(frame.numbers)
    numbers = np.asarray(frame.numbers, np.int32)
    if n == 0 or np.any(numbers < 1) or np.any(numbers > LARGEST_NUMBER):
        raise InputError(f"{label}: its atomic numbers are not between 1 and {LARGEST_NUMBER}")
    positions = np.asarray(frame.positions, float)
    forces = np.asarray(frame.forces, float)
    dipole = None if frame.dipole is None else np.asarray(frame.dipole, float)
    if positions.shape != (n, 3) or forces.shape != (n, 3):
        raise InputError(
            f"{label}: {n} atoms, positions {positions.shape} and forces {forces.shape}"
        )
    if dipole is not None and dipole.shape != (3,):
        raise InputError(f"{label}: its dipole has the shape {dipole.shape}; give three numbers")
    if dipole is not None and not np.isfinite(dipole).all():
        dipole = None  # not known
    if not np.isfinite([frame.energy, *positions.flat, *forces.flat]).all():
        raise InputError(f"{label}: an energy, force or position is not finite")
    if frame.charge != round(frame.charge):
        raise InputError(f"{label}: its charge is {frame.charge}, not a whole number")
    return Frame(
        numbers,
        positions * length,
        frame.energy * energy,
        forces * energy / length,
        None if dipole is None else dipole * length,
        round(frame.charge),
        frame.unpaired,
    )
