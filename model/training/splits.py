"""Which frames are for training, which for choosing the best parameters, which for the test."""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from topokrates.model.errors import InputError
from topokrates.model.training.config import Data


class Split(NamedTuple):
    """Numbers of frames, each sorted; no frame is in two of them."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def divide(count: int, settings: Data, folder: Path) -> Split:
    """Divides so many frames.

    Frames of an index file belong to its part alone. Where validation has no index of its own it
    is drawn from what training may have; by default it is a twentieth of that, at most 1,000. The
    test takes what is left, or what its index names.

    Raises:
        InputError: for an index that does not fit, or fewer frames than asked for.
    """
    rng = np.random.default_rng([settings.seed, count])
    indices = {
        part: None if file is None else _index(file, folder, count)
        for part, file in (
            ("train", settings.train_index),
            ("validation", settings.validation_index),
            ("test", settings.test_index),
        )
    }
    taken = [index for index in indices.values() if index is not None]
    named = np.concatenate([*taken, np.zeros(0, int)]).astype(int)
    if len(np.unique(named)) != len(named):
        raise InputError("the index files name a frame twice")
    rest = np.setdiff1d(np.arange(count), named)

    def pool(part: str) -> np.ndarray:
        index = indices[part]
        return rng.permutation(rest if index is None else index)

    kept = rest[:0]
    if settings.train is None and indices["test"] is None and settings.test:
        # before training takes all
        kept = _first(rng.permutation(rest), settings.test, "test")
        rest = np.setdiff1d(rest, kept)
    ours = pool("train")
    wanted = settings.validation
    if indices["validation"] is not None:
        validation = _first(pool("validation"), wanted, "validation")
    else:
        if wanted is None:
            wanted = min(max(len(ours) // 20, 1), 1000)
        validation, ours = _first(ours, wanted, "validation"), ours[wanted:]
    train = _first(ours, settings.train, "training")
    left = indices["test"] if indices["test"] is not None else np.setdiff1d(rest, train)
    left = np.setdiff1d(left, validation)
    test = kept if len(kept) else _first(rng.permutation(left), settings.test, "test")
    if not len(train):
        raise InputError(f"no frame is left for training: there are {count} frames in all")
    return Split(np.sort(train), np.sort(validation), np.sort(test))


def _first(pool: np.ndarray, wanted: int | None, part: str) -> np.ndarray:
    if wanted is not None and wanted > len(pool):
        raise InputError(f"{wanted} frames for {part}, but only {len(pool)} are there for it")
    return pool[:wanted]


def _index(file: str, folder: Path, count: int) -> np.ndarray:
    """Frame numbers in a file."""
    name, _, where = file.partition("#")
    path = folder / Path(name).expanduser()
    try:
        if path.suffix == ".npz":
            key, _, row = where.partition("/")
            with np.load(path, allow_pickle=False) as archive:
                index = archive[key]
            index = index[int(row)] if row else index
        elif path.suffix == ".npy":
            index = np.load(path, allow_pickle=False)
        else:
            index = np.loadtxt(path, delimiter="," if path.suffix == ".csv" else None, ndmin=1)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except KeyError as error:
        raise InputError(f"{file}: {error.args[0]}; name an array as {name}#key") from None
    except (OSError, ValueError, IndexError, BadZipFile) as error:
        raise InputError(f"{file}: no frame numbers can be read from it ({error})") from error
    index = np.asarray(index).reshape(-1)
    if not np.issubdtype(index.dtype, np.number):
        raise InputError(f"{file}: it holds no numbers")
    whole = index.astype(int)
    if not np.array_equal(whole, index) or np.any(whole < 0) or np.any(whole >= count):
        raise InputError(f"{file}: frame numbers must be whole and from 0 to {count - 1}")
    return whole
