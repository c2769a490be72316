"""The folder of PATHSAMPLE: min.data, ts.data, points.min, points.ts.

As PATHSAMPLE (D. J. Wales and others, https://www-wales.ch.cam.ac.uk/PATHSAMPLE/) reads and writes
them in its source `setup.f`, and as pele's `utils/optim_compatibility.py` describes them:

- `min.data`, a line for each minimum: energy, logarithm of the product of the squared frequencies,
  order of the point group, three principal moments of inertia; with DUMMYTS and LOWESTFRQ two
  numbers more.
- `ts.data`, a line for each transition state: energy, logarithm of the product, order of the point
  group, the two minima by their line in min.data, counted from 1, three moments; with IMFRQ the
  negative eigenvalue after them.
- `points.min`, `points.ts`: the 3N coordinates of each as float64, without headers, in the order of
  the lines (direct access, one record each). Written little-endian; read in either byte order.

Fortran reads the lines list-directed: blanks or commas separate, `1.0D-3` is a number. Energies are
written with all their digits.

What we do not have is written as what says nothing: the logarithm of the product of frequencies as
1 (not 0, as PATHSAMPLE divides by it), the order of the point group as 1. Rates and free energies
made from such a folder are those of equal vibrations. Moments of inertia are those of the positions
with the atoms' masses, of unit masses for clusters; all 1 without positions. Energies are in the
unit of the landscape, which our own `units.txt` in the folder says, as the format has no units.

The format does not tell estimates from transition states, and has no visits. All links are written;
what is read comes in as estimates. The minima keep their ids as line numbers.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from topokrates.exchange.contents import Contents, all_or_none, coordinates, ordered
from topokrates.landscape import Landscape
from topokrates.model.errors import InputError
from topokrates.molecule import Molecule
from topokrates.storage.records import Link, Minimum

UNITS = "units.txt"
NO_FREQUENCIES = 1.0
NO_SYMMETRY = 1
LARGEST = 1e100  # beyond it, coordinates were read in the wrong byte order


def write(landscape: Landscape, path: Path) -> list[str]:
    """See `topokrates.exchange.export`; the folder must be new or empty."""
    minima, links = ordered(landscape)
    line = {m.id: number for number, m in enumerate(minima, 1)}
    points = all_or_none(minima, "minimum"), all_or_none(links, "link")
    numbers = landscape.molecule.numbers
    estimates = sum(not link.verified for link in links)
    unit, length = landscape.energy_unit, landscape.provenance["units"]["length"]
    notes = [f"energies are in {unit}, lengths in {length}; PATHSAMPLE's files have no units"]
    notes.append("frequencies and point groups are not written: each is 1")
    if estimates:
        notes.append(f"{estimates} of the {len(links)} lines of ts.data are estimates, not proven")
    files = {
        "min.data": "".join(f"{_head(m.energy)}{_moments(m.positions, numbers)}\n" for m in minima),
        "ts.data": "".join(
            f"{_head(x.energy)} {line[x.minima[0]]:8d} {line[x.minima[1]]:8d}"
            f"{_moments(x.positions, numbers)}\n"
            for x in links
        ),
        UNITS: "".join(f"{note}\n" for note in notes),
    }
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"{path} exists already: name a new or an empty folder")
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
        try:
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            for name, found in zip(("points.min", "points.ts"), points, strict=True):
                if found is not None:
                    (folder / name).write_bytes(np.stack(found).astype("<f8").tobytes())
            mask = os.umask(0)
            os.umask(mask)
            folder.chmod(0o777 & ~mask)  # mkdtemp makes a private one, this is not
            folder.replace(path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    return notes


def _head(energy: float) -> str:
    return f"{energy!r:>25} {NO_FREQUENCIES:.1f} {NO_SYMMETRY:d}"


def _moments(positions: np.ndarray | None, numbers: np.ndarray) -> str:
    moments = np.ones(3) if positions is None else moments_of_inertia(positions, numbers)
    return "".join(f" {moment:.10f}" for moment in moments)


def moments_of_inertia(positions: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The three principal moments, ascending: u Å^2, for particles of unit mass sigma^2.

    positions (N, 3), numbers (N,) atomic numbers, 0 for particles.
    """
    from ase.data import atomic_masses

    masses = np.where(numbers == 0, 1.0, atomic_masses[numbers])
    x = positions - masses @ positions / masses.sum()
    second = np.einsum("a,ai,aj->ij", masses, x, x)
    return np.linalg.eigvalsh(np.trace(second) * np.eye(3) - second)


def read(path: Path, molecule: Molecule) -> Contents:
    """See `topokrates.exchange.read`. ts.data and the two files of points may be missing."""
    if not path.is_dir():
        raise InputError(f"{path} is a file: give the folder that holds min.data")
    if not (path / "min.data").is_file():
        raise InputError(f"{path}: there is no min.data in it")
    rows = _table(path / "min.data", (6, 8), "energy, frequencies, order, three moments")
    points = _points(path / "points.min", len(rows), molecule)
    minima = [
        Minimum(number, row[0], x, None, None, 1)
        for number, (row, x) in enumerate(zip(rows, points, strict=True), 1)
    ]
    rows = []
    if (path / "ts.data").is_file():
        what = "energy, frequencies, order, two minima, three moments"
        rows = _table(path / "ts.data", (8, 9), what)
    points = _points(path / "points.ts", len(rows), molecule)
    links = []
    for number, (row, x) in enumerate(zip(rows, points, strict=True), 1):
        if not (row[3].is_integer() and row[4].is_integer()):
            raise InputError(f"{path / 'ts.data'}: line {number} does not name two minima")
        a, b = sorted((int(row[3]), int(row[4])))
        links.append(Link(number, (a, b), row[0], x, False))
    return Contents(minima, links, unit=_unit(path / UNITS))


def _unit(path: Path) -> str | None:
    """The unit of energy that our file of units names; None if there is none, or another's."""
    try:
        found = re.match(r"energies are in (\S+), lengths in ", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return found[1] if found else None


def _table(path: Path, columns: tuple[int, ...], what: str) -> list[list[float]]:
    """The numbers of each line that is not blank."""
    rows = []
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from error
    for number, line in enumerate(lines, 1):
        words = line.upper().replace(",", " ").replace("D", "E").split()
        if not words:
            continue
        if len(words) not in columns:
            raise InputError(
                f"{path}: line {number} has {len(words)} columns, not {columns[0]} ({what})"
            )
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            raise InputError(f"{path}: line {number} holds what is no number: {error}") from error
        if not np.isfinite(row).all():
            raise InputError(f"{path}: line {number} holds a number that is not finite")
        rows.append(row)
    return rows


def _points(path: Path, count: int, molecule: Molecule) -> Sequence[np.ndarray | None]:
    """The coordinates of each line, or None for each if there is no such file."""
    if not path.is_file():
        return [None] * count
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) != 8 * 3 * molecule.n_atoms * count:
        raise InputError(
            f"{path}: {len(data)} bytes, and {count} structures of the {molecule.n_atoms} atoms of"
            f" {molecule.name} take {8 * 3 * molecule.n_atoms * count}"
        )
    if not data:
        return []
    flat = np.frombuffer(data, "<f8")
    if not _plausible(flat) and _plausible(swapped := np.frombuffer(data, ">f8")):
        flat = swapped
    return [
        coordinates(record, molecule, f"{path}: structure {number}")
        for number, record in enumerate(flat.reshape(count, -1), 1)
    ]


def _plausible(flat: np.ndarray) -> bool:
    """Whether these are lengths: in the wrong byte order they are all but surely not."""
    size = np.abs(flat)
    return bool(np.isfinite(flat).all() and size.max() < LARGEST and size.max() > 1 / LARGEST)
