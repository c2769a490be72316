"""Labelled structures of many molecules, in parallel processes, in pieces that outlive a kill.

Work is divided into pieces: so many frames of one molecule, drawn anew with a seed of its own, or
what a search has found in a landscape. Each piece is one npz in the folder, written whole or not at
all; a run that is started again makes those that are missing, and the same whatever was there
before. At the end all are joined in one npz, which `topokrates train` reads.
"""

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.dataset.found import ALIKE, MINIMUM, Found, choose, structures
from topokrates.model.errors import InputError
from topokrates.model.progress import Progress, Silent
from topokrates.model.replacing import replacing
from topokrates.storage.sqlite import is_database

JOINED, SETTINGS = "dataset.npz", "dataset.json"
LARGEST_FORCE = 40.0  # eV/Å: what is worse teaches nothing
HIGHEST = 25.0  # eV above the lowest frame of a piece
SPREAD = 1_000_003  # of the seeds of pieces
KEPT = 8  # molecules whose compiled programs stay in memory, 0.15 GB each


@dataclass(frozen=True)
class Piece:
    """Frames of one molecule.

    Attributes:
        number: of the piece.
        molecule: as `explore` takes it.
        frames: to be drawn.
        seed: of this piece.
        model: that labels, by name or path.
        walker: model that descents and dynamics run on.
        found: kinds and ids of structures of a landscape, whose database is then the molecule; the
            other frames are its minima, shaken. None for frames that are drawn anew.
        digest: of the positions of these structures.
    """

    number: int
    molecule: str
    frames: int
    seed: int
    model: str
    walker: str
    found: tuple[tuple[str, int], ...] | None = None
    digest: str | None = None

    @property
    def file(self) -> str:
        """Its name, which says all that it depends on."""
        all_of_it = {k: v for k, v in asdict(self).items() if v is not None}
        digest = sha256(json.dumps(all_of_it, sort_keys=True).encode()).hexdigest()[:10]
        return f"{self.number:05d}-{digest}.npz"


def pieces(
    molecules: Sequence[str],
    frames: int,
    model: str,
    walker: str | None = None,
    per_piece: int = 100,
    seed: int = 0,
    unlike: Sequence[str] = (),
) -> list[Piece]:
    """The work: so many frames of each molecule, one molecule after another.

    Args:
        molecules: names as `explore` takes them, and databases of landscapes.
        frames: of each.
        model: that labels.
        walker: that descents and dynamics run on; None for the one that labels.
        per_piece: frames that are made together.
        seed: of everything random.
        unlike: files of frames that are known; what a landscape has of them is left out.

    Raises:
        InputError: for no molecule, numbers that are too small, or a file that cannot be read.
    """
    if not molecules:
        raise InputError("no molecule is named")
    if frames < 10 or per_piece < 10:
        raise InputError(f"{frames} frames, {per_piece} a piece: give at least 10 of each")
    rounds = -(-frames // per_piece)
    sizes = [min(per_piece, frames - k * per_piece) for k in range(rounds)]
    if rounds > 1 and sizes[-1] < 10:
        sizes[-2:] = [sizes[-2] + sizes[-1]]
    todo: list[Piece] = []
    for name in molecules:
        kept = _kept(name, frames, unlike) if is_database(name) else None
        done = 0
        for size in sizes:
            number = len(todo)
            piece = Piece(number, name, size, seed * SPREAD + number, model, walker or model)
            if kept is not None:
                ours = kept.take(range(done, min(done + size, len(kept.ids))))
                piece = replace(piece, found=ours.labels, digest=ours.digest)
            todo.append(piece)
            done += size
    return todo


def _kept(database: str, count: int, unlike: Sequence[str]) -> Found:
    """What a search has found, and is worth a label."""
    from topokrates.analysis.harmonics import own_potential
    from topokrates.identity.matching import Matcher
    from topokrates.labelled import positions_of
    from topokrates.landscape import Landscape

    with Landscape.open(database) as landscape:
        _refuse_cluster(landscape.molecule)
        numbers = landscape.molecule.numbers
        known = [positions_of(name, numbers) for name in unlike]
        everything = structures(landscape)
        if MINIMUM not in everything.kinds:
            raise InputError(f"{database}: holds no minimum with positions, nothing to label")
        # one model has no doubts
        several = "members" in landscape.provenance
        return choose(
            everything,
            count,
            Matcher(landscape.molecule),
            np.concatenate(known) if known else None,
            own_potential(landscape) if several else None,
        )


def make(
    todo: Sequence[Piece],
    folder: str | Path,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """All pieces, and the file that joins them.

    Args:
        todo: from `pieces`.
        folder: that holds them; made if it is not there.
        workers: processes, each with one thread.
        progress: told how it goes.

    Returns:
        The path of the joined npz: numbers, positions, energy, forces, n_atoms, charge, kind,
        sequence; eV and Å.

    Raises:
        InputError: if a molecule or model is none, or the folder cannot be written.
    """
    progress = progress or Silent()
    folder = Path(folder)
    for name in dict.fromkeys(piece.molecule for piece in todo):
        _molecule(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    missing = [piece for piece in todo if not (folder / piece.file).exists()]
    progress.stage("dataset", len(todo), len(todo) - len(missing))
    done = len(todo) - len(missing)
    for frames in _made(missing, folder, workers):
        done += 1
        progress.advance(done, f"{frames} frames in the last piece")
    return join(todo, folder)


def _made(missing: Sequence[Piece], folder: Path, workers: int) -> Iterator[int]:
    if workers <= 1 or len(missing) <= 1:
        for piece in missing:
            yield work(piece, folder)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_alone)
    try:
        for future in as_completed([pool.submit(work, piece, folder) for piece in missing]):
            yield future.result()
    finally:
        # not the pieces that wait, when one has failed or somebody has had enough
        pool.shutdown(wait=False, cancel_futures=True)


def _alone() -> None:
    """One thread for each process."""
    for name in ("OMP_NUM_THREADS", "PJRT_NPROC", "NPROC"):
        os.environ[name] = "1"


_seen: set[str] = set()  # by this process, since it last forgot their programs


def work(piece: Piece, folder: Path) -> int:
    """Makes one piece; the number of its frames."""
    import jax

    from topokrates.dataset.sampling import sample
    from topokrates.identity.matching import Matcher
    from topokrates.model.models import load

    if piece.molecule not in _seen:
        if len(_seen) == KEPT:
            jax.clear_caches()
            _seen.clear()
        _seen.add(piece.molecule)
    molecule = _molecule(piece.molecule)
    rng = np.random.default_rng([piece.seed, piece.number])
    state = molecule.numbers, molecule.charge, molecule.unpaired_electrons
    teacher = load(piece.model).bind(*state)
    if piece.found is not None:
        drawn = _again(piece, rng)
    else:
        walker = teacher if piece.walker == piece.model else load(piece.walker).bind(*state)
        drawn = sample(molecule, walker, piece.frames, rng)
    x = np.stack([positions for _, positions in drawn])
    x -= x.mean(axis=1, keepdims=True)
    energies, forces = (np.asarray(a, float) for a in teacher.energies_and_forces(x))
    good = chosen(Matcher(molecule).fingerprint(x), energies, forces)
    with replacing(folder / piece.file) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            numbers=molecule.numbers.astype(np.uint8),
            positions=x[good].astype(np.float32),
            energy=energies[good],
            forces=forces[good].astype(np.float32),
            charge=np.int8(molecule.charge),
            kind=np.array([kind for kind, _ in drawn])[good],
            sequence=np.array(molecule.name),
        )
    return len(good)


def _again(piece: Piece, rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """What a search has found, and minima shaken for the frames that are left."""
    from topokrates.dataset.sampling import shaken
    from topokrates.landscape import Landscape
    from topokrates.relaxation.internals import coordinates

    with Landscape.open(piece.molecule) as landscape:
        everything, molecule = structures(landscape), landscape.molecule
    where = {label: k for k, label in enumerate(everything.labels)}
    drawn = [(label[0], everything.positions[where[label]]) for label in piece.found or ()]
    minima = rng.permutation(everything.positions[np.array(everything.kinds) == MINIMUM])
    internal = coordinates(molecule.bonds, molecule.positions)
    left = piece.frames - len(drawn)
    return drawn + [("thermal", x) for x in shaken(internal, list(minima), left, rng)]


def chosen(prints: np.ndarray, energies: np.ndarray, forces: np.ndarray) -> np.ndarray:
    """Which frames are worth keeping: finite, of bearable forces and energies, no two alike.

    Args:
        prints: fingerprints as `Matcher.fingerprint` makes them, (M, F), Å.
        energies: (M,), eV.
        forces: (M, N, 3), eV/Å.

    Returns:
        Their numbers, rising.
    """
    largest = np.abs(forces).reshape(len(forces), -1).max(axis=1)
    sound = np.isfinite(energies) & np.isfinite(largest)
    sound &= np.where(np.isfinite(largest), largest, np.inf) < LARGEST_FORCE
    if not sound.any():
        return np.zeros(0, int)
    sound &= energies < energies[sound].min() + HIGHEST
    kept: list[int] = []
    for k in np.flatnonzero(sound):
        if not (np.linalg.norm(prints[kept] - prints[k], axis=1) < ALIKE).any():
            kept.append(int(k))
    return np.array(kept, int)


def join(todo: Sequence[Piece], folder: Path) -> Path:
    """One npz of all pieces, padded to the largest molecule."""
    parts = []
    for piece in todo:
        try:
            with np.load(folder / piece.file, allow_pickle=False) as archive:
                parts.append({name: archive[name] for name in archive.files})
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder / piece.file} cannot be read ({error}): remove it"
            ) from error
    counts = [len(part["energy"]) for part in parts]
    width = max(len(part["numbers"]) for part in parts)

    def padded(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        whole = np.zeros((sum(counts), width, *shape), dtype)
        row = 0
        for part, count in zip(parts, counts, strict=True):
            whole[row : row + count, : len(part["numbers"])] = part[name]
            row += count
        return whole

    def repeated(name: str) -> np.ndarray:
        return np.repeat([part[name][()] for part in parts], counts)

    sizes = np.repeat([len(part["numbers"]) for part in parts], counts)
    with replacing(folder / JOINED) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            numbers=padded("numbers", (), np.uint8),
            positions=padded("positions", (3,), np.float32),
            forces=padded("forces", (3,), np.float32),
            energy=np.concatenate([part["energy"] for part in parts]),
            n_atoms=sizes.astype(np.int16),
            charge=repeated("charge"),
            sequence=repeated("sequence"),
            kind=np.concatenate([part["kind"] for part in parts]),
        )
    about = {"model": todo[0].model, "frames": sum(counts), "pieces": len(todo)}
    with replacing(folder / SETTINGS) as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return folder / JOINED


def _molecule(name: str) -> Any:
    from topokrates.landscape import Landscape
    from topokrates.molecule import Molecule

    if is_database(name):
        with Landscape.open(name) as landscape:
            molecule = landscape.molecule
    else:
        molecule = Molecule.from_text(name)
    _refuse_cluster(molecule)
    return molecule


def _refuse_cluster(molecule: Any) -> None:
    if molecule.is_cluster:
        raise InputError(f"{molecule.name}: data are made of molecules, not of clusters")
