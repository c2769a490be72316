"""A file from which a killed run goes on with the same result: whole, or the one before it."""

import json
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np

from topokrates.model.errors import InputError
from topokrates.model.replacing import replacing


def save(path: Path, tree: Any, about: dict[str, Any]) -> None:
    """Write a pytree of arrays, and what is to be known of it, ready for JSON.

    Raises:
        InputError: if it cannot be written; what was there before is then still there.
    """
    leaves: dict[str, Any] = {
        f"leaf_{k}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(tree))
    }
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, about=np.array(json.dumps(about)), **leaves)


def load(path: Path, like: Any | None = None) -> tuple[Any, dict[str, Any]]:
    """The tree, in the structure of `like` (None where it is not wanted), and what is known of it.

    Raises:
        InputError: if the file is none of ours, or of another network or optimiser.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(str(archive["about"]))
            if like is None:
                return None, about
            leaves = [archive[f"leaf_{k}"] for k in range(len(archive.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is not a checkpoint that can be read ({error})") from error
    expected, structure = jax.tree.flatten(like)
    if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in expected]:
        raise InputError(f"{path} is of another network or optimiser")
    return jax.tree.unflatten(structure, leaves), about
