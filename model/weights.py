"""Weights of a network: the file format, where they are found, and how they come to this machine.

One safetensors file holds one network. Its tensors are float32, named by the '/'-joined path of the
parameter in the flax module (`shapes` lists them); its metadata holds one JSON string under
"topokrates": format version, architecture (the settings of the module), elements it was trained
on, licence, citation and provenance. What is read is checked as a whole, names, shapes and
finiteness, so that a wrong file is refused here and not by a wrong energy later.

SO3LR is not shipped. `load("so3lr")` takes it from an installed so3krates-torch, from the user's
cache, or fetches that wheel (3 MB) with pip, checks it, converts it once and caches it. Files of
other programs are read by `imports`, which executes nothing.
"""

import hashlib
import importlib.util
import io
import json
import logging
import math
import os
import secrets
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.model import imports, parameters
from topokrates.model.errors import InputError
from topokrates.model.parameters import (
    FORMAT,
    SO3LR_CITATION,
    SO3LR_ELEMENTS,
    SO3LR_LICENCE,
    Weights,
    build,
    check_architecture,
    check_shapes,
    flatten,
)
from topokrates.model.pickles import LARGEST_FILE, zip_member

# SO3LR as so3krates-torch ships it.
SO3LR_REQUIREMENT = "so3krates-torch==0.2.1"
SO3LR_MEMBER = "so3krates_torch/pretrained/so3lr/so3lr.model"
SO3LR_WHEEL_SHA256 = "1e3aea516997290462a280a64486ce022472dbe1edbdab81f8446587a61899d2"
SO3LR_FILE_SHA256 = "b5145564911ff983ed076ccb2bca5ce63454b74c9c8291092695463f1e6732be"

Progress = Callable[[str], None]
_log = logging.getLogger(__name__)


# --- files --------------------------------------------------------------------------------------


def save(weights: Weights, path: str | Path) -> None:
    """Write our format: whole or not at all, whoever else writes the same file meanwhile."""
    from safetensors.numpy import save as serialise

    about = {k: getattr(weights, k) for k in ("name", "source_sha256", "licence", "citation")}
    header = {
        "format": FORMAT,
        **about,
        "source": Path(weights.source).name,
        "energy_shift": 0,  # eV per atom added to the energies: none
        "architecture": weights.architecture,
        "elements": list(weights.elements),
        "reference_energies": {str(z): e for z, e in weights.reference_energies.items()},
        "training": weights.training,
    }
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    data = serialise(flatten(weights.params), metadata={"topokrates": text})
    path = Path(path).expanduser()
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("topokrates")
            if text is None:
                raise InputError('it has no "topokrates" header: another program wrote it')
            header = json.loads(text)
            if not isinstance(header, dict) or header.get("format") != FORMAT:
                version = header.get("format") if isinstance(header, dict) else None
                raise InputError(f"its format version is {version!r}; this program reads {FORMAT}")
            architecture = check_architecture(header.get("architecture"))
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            check_shapes(architecture, {n: tuple(s.get_shape()) for n, s in slices.items()})
            for name, tensor in slices.items():
                if tensor.get_dtype() != "F32":
                    raise InputError(f"the tensor {name} is {tensor.get_dtype()}, expected F32")
            flat = {name: file.get_tensor(name) for name in slices}
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"it is truncated or corrupt ({str(error).splitlines()[0]})") from error
    about = {key: str(header.get(key, "")) for key in ("source_sha256", "licence", "citation")}
    about["name"] = str(header.get("name", path.stem))
    references = _references(header.get("reference_energies", {}))
    training = header.get("training", {})
    if not isinstance(training, dict):
        raise InputError("what it says of its training is not a table")
    return build(
        architecture,
        header.get("elements"),
        flat,
        source=str(path),
        reference_energies=references,
        training=training,
        **about,
    )


def _references(table: Any) -> dict[int, float]:
    """Reference energies by atomic number, as JSON has them by its name."""
    try:
        found = {int(z): float(energy) for z, energy in table.items()}
        if all(map(math.isfinite, found.values())):
            return found
    except (AttributeError, TypeError, ValueError):
        pass
    raise InputError("its reference energies are not numbers by atomic number")


def _import(name: str, source: str, data: bytes, hyperparameters: bytes | None = None) -> Weights:
    """Convert the bytes of a file of another program."""
    try:
        if hyperparameters is None:
            architecture, flat = imports.read_torch(data)
        else:
            architecture, flat = imports.read_flax(data, hyperparameters)
    except InputError:
        raise
    except Exception as error:  # a hostile file must not reach the user as a traceback
        raise InputError(f"it is not a weights file that is understood ({error!r})") from error
    # The scales begin at exactly 1 and move for the elements that occur in the training data.
    scale = flat.get("energy/scale", np.ones(1))
    trained = tuple(int(z) for z in np.flatnonzero(scale != 1) if z > 0)
    rows = np.flatnonzero(np.any(flat["embedding/elements"] != 0, axis=-1))
    elements = trained or tuple(int(z) for z in rows if z > 0)
    sha256 = hashlib.sha256(data).hexdigest()
    about = {"name": name, "source": source, "source_sha256": sha256, "licence": "unknown"}
    return build(architecture, elements, flat, **about)


def _read_bytes(path: Path) -> bytes:
    if path.stat().st_size > LARGEST_FILE:
        raise InputError("it is too large to be weights")
    return path.read_bytes()


def _read(path: Path) -> Weights:
    """The weights in a file or folder of any kind that is known; told apart by content."""
    try:
        if path.is_dir():
            path = path / "params.pkl"
        if not path.is_file():
            raise InputError("there is no such file")
        with path.open("rb") as file:
            start = file.read(9)
        if not start:
            raise InputError("it is empty")
        if start.startswith(b"PK"):
            data = _read_bytes(path)
            return _import(path.stem, str(path), _wheel_member(data) or data)
        if start[8:] == b"{" or path.suffix == ".safetensors":
            return _read_safetensors(path)
        if path.suffix in (".pkl", ".pickle") or start.startswith(b"\x80"):
            beside = path.with_name("hyperparameters.json")
            settings = _read_bytes(beside) if beside.is_file() else b""
            name = path.resolve().parent.name or path.stem
            return _import(name, str(path), _read_bytes(path), settings)
        raise InputError("it is not a weights file (.safetensors, a torch .model, or params.pkl)")
    except InputError as error:
        reason = " ".join(str(error).split())[:400]  # one line, whatever names the file contains
        raise InputError(f"cannot use the weights file {path}: {reason}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _wheel_member(data: bytes) -> bytes | None:
    """The bytes of SO3LR's torch file if `data` is a wheel of so3krates-torch."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if SO3LR_MEMBER in archive.namelist():
                return zip_member(archive, SO3LR_MEMBER)
    except zipfile.BadZipFile:
        pass  # told by the reader of torch files
    return None


# --- where SO3LR is -----------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where converted weights are kept: TOPOKRATES_CACHE, or the cache folder of the user."""
    if folder := os.environ.get("TOPOKRATES_CACHE"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("topokrates"))


def _installed() -> Path | None:
    """SO3LR's file in an installed so3krates_torch, which is not imported."""
    try:
        spec = importlib.util.find_spec("so3krates_torch")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder).parent / SO3LR_MEMBER
        if path.is_file():
            return path
    return None


def _so3lr(progress: Progress) -> Weights:
    cached = cache_folder() / "so3lr.safetensors"
    for path in (_installed(), cached if cached.is_file() else None):
        try:
            if path and (weights := _read(path)).sha256 == parameters.SO3LR_SHA256:
                return weights
            problem = f"{path} is not the SO3LR of {SO3LR_REQUIREMENT}"
        except InputError as error:
            problem = str(error)
        if path:
            _log.warning("%s; looking elsewhere", problem)
    progress("fetching SO3LR weights (3 MB)")
    weights = _import("so3lr", SO3LR_REQUIREMENT, _fetch(cached))
    if weights.sha256 != parameters.SO3LR_SHA256:
        raise InputError("the converted SO3LR weights differ from the expected ones")
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        save(weights, cached)
    except (InputError, OSError) as error:
        _log.warning("SO3LR weights are not kept for the next time: %s", error)
    return weights


def _fetch(cached: Path) -> bytes:
    """The bytes of SO3LR's torch file, from the wheel that pip downloads, checked."""
    with tempfile.TemporaryDirectory() as folder:
        # -P: a pip.py in the working folder is not pip. A wheel only: nothing is built or run.
        command = [sys.executable, "-P", "-m", "pip", "download", SO3LR_REQUIREMENT, "--no-deps"]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "--no-input", "-q"]
        command += ["--timeout=20", "--retries=2", f"--dest={folder}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=300, check=False
            )
            failed, lines = done.returncode != 0, done.stderr.strip().splitlines()
            reason = next((x for x in reversed(lines) if x.strip()), "pip failed")
        except subprocess.TimeoutExpired:
            failed, reason = True, "no answer within 5 minutes"
        except OSError as error:
            failed, reason = True, str(error)
        wheels = sorted(Path(folder).glob("*.whl"))
        if failed or not wheels:
            raise InputError(
                f"no SO3LR weights here, and fetching them failed ({reason.strip()}): give a file "
                f"with --model PATH (the wheel of {SO3LR_REQUIREMENT}, its so3lr.model, params.pkl "
                f"or a .safetensors file), or pip install --no-deps {SO3LR_REQUIREMENT}, or put "
                f"so3lr.safetensors into {cached.parent}"
            )
        wheel = wheels[0].read_bytes()
    member = _wheel_member(wheel)
    for what, data, expected in (
        ("wheel", wheel, SO3LR_WHEEL_SHA256),
        ("weights file", member or b"", SO3LR_FILE_SHA256),
    ):
        if (found := hashlib.sha256(data).hexdigest()) != expected:
            raise InputError(
                f"the {what} fetched for {SO3LR_REQUIREMENT} has sha256 {found}, not {expected}"
            )
    return member or b""


# --- what callers use ---------------------------------------------------------------------------


def load(name_or_path: str | Path, progress: Progress | None = None) -> Weights:
    """Weights by name ("so3lr") or from a path.

    A path may be our .safetensors, the torch file of so3krates-torch (or its wheel), the authors'
    params.pkl with hyperparameters.json beside it, or the folder of these two. `progress` is called
    with one line before anything slow. Raises `InputError`.
    """
    if str(name_or_path).lower() == "so3lr":
        return _so3lr(progress or (lambda _: None))
    path = Path(name_or_path).expanduser()
    if not path.exists() and path.name == str(name_or_path) and not path.suffix:
        raise InputError(f"there is no model or file {str(path)!r}; known models: so3lr")
    return _read(path)


def available() -> list[dict[str, Any]]:
    """The models known by name: name, where found, elements, licence, citation. Fetches nothing."""
    cached = cache_folder() / "so3lr.safetensors"
    found = _installed() or (cached if cached.is_file() else None)
    return [
        {
            "name": "so3lr",
            "found": str(found) if found else "fetched on first use (3 MB)",
            "elements": list(SO3LR_ELEMENTS),
            "licence": SO3LR_LICENCE,
            "citation": SO3LR_CITATION,
        }
    ]
