"""Weights by name, and where they are on this machine."""

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from topokrates.model import so3lr
from topokrates.model.errors import InputError
from topokrates.model.parameters import SO3LR_CITATION, SO3LR_ELEMENTS, SO3LR_LICENCE, Weights
from topokrates.model.weightfile import read, save

__all__ = ["available", "cache_folder", "load", "save", "shipped"]

SHIPPED = ("peptide",)  # networks in `pretrained`, each with its model card


def cache_folder() -> Path:
    """Where converted weights are kept: TOPOKRATES_CACHE, or the cache folder of the user."""
    if folder := os.environ.get("TOPOKRATES_CACHE"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("topokrates"))


def shipped(name: str) -> Path:
    """The file of a network that comes with the package."""
    return Path(str(files("topokrates.model.pretrained") / f"{name}.safetensors"))


def load(name_or_path: str | Path, progress: Callable[[str], None] | None = None) -> Weights:
    """Weights by name ("peptide", "so3lr") or from a path.

    A path may be our .safetensors, the torch file of so3krates-torch (or its wheel), the authors'
    params.pkl with hyperparameters.json beside it, or the folder of these two. `progress` is called
    with one line before anything slow. Raises `InputError`.
    """
    name = str(name_or_path)
    if name.lower() in SHIPPED:
        # its name is enough to find it again
        return read(shipped(name.lower()))._replace(source=f"topokrates {name.lower()}")
    if name.lower() == "so3lr":
        return so3lr.find(_cached(), progress or (lambda _: None))
    path = Path(name_or_path).expanduser()
    if not path.exists() and path.name == name and not path.suffix:
        known = ", ".join([*SHIPPED, "so3lr"])
        raise InputError(f"there is no model or file {str(path)!r}; known models: {known}")
    return read(path)


def available() -> list[dict[str, Any]]:
    """The models known by name: name, where found, elements, licence, citation. Fetches nothing."""
    rows = []
    for name in SHIPPED:
        weights = read(shipped(name))
        rows.append(
            {
                "name": name,
                "found": "comes with the package",
                "elements": list(weights.elements),
                "licence": weights.licence,
                "citation": weights.citation,
            }
        )
    cached = _cached()
    found = so3lr.installed() or (cached if cached.is_file() else None)
    rows.append(
        {
            "name": "so3lr",
            "found": str(found) if found else "fetched on first use (3 MB)",
            "elements": list(SO3LR_ELEMENTS),
            "licence": SO3LR_LICENCE,
            "citation": SO3LR_CITATION,
        }
    )
    return rows


def _cached() -> Path:
    return cache_folder() / "so3lr.safetensors"
