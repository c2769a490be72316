"""Weights of a network in files: our format, and those of other programs.

One safetensors file holds one network. Its tensors are float32, named by the '/'-joined path of the
parameter in the flax module (`shapes` lists them); its metadata holds one JSON string under
"topokrates": format version, architecture (the settings of the module), elements it was trained
on, licence, citation and provenance. What is read is checked as a whole, names, shapes and
finiteness, so that a wrong file is refused here and not by a wrong energy later. Files of other
programs are read by `imports`, which executes nothing.
"""

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.model import imports
from topokrates.model.errors import InputError
from topokrates.model.parameters import (
    FORMAT,
    Weights,
    build,
    check_architecture,
    check_shapes,
    flatten,
)
from topokrates.model.pickles import LARGEST_FILE, zip_member
from topokrates.model.replacing import replacing

# Where so3krates-torch ships SO3LR; its wheel is a weights file too.
SO3LR_MEMBER = "so3krates_torch/pretrained/so3lr/so3lr.model"


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
    with replacing(Path(path).expanduser()) as temporary:
        temporary.write_bytes(data)


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


def convert(name: str, source: str, data: bytes, hyperparameters: bytes | None = None) -> Weights:
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


def read(path: Path) -> Weights:
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
            return convert(path.stem, str(path), wheel_member(data) or data)
        if start[8:] == b"{" or path.suffix == ".safetensors":
            return _read_safetensors(path)
        if path.suffix in (".pkl", ".pickle") or start.startswith(b"\x80"):
            beside = path.with_name("hyperparameters.json")
            settings = _read_bytes(beside) if beside.is_file() else b""
            name = path.resolve().parent.name or path.stem
            return convert(name, str(path), _read_bytes(path), settings)
        raise InputError("it is not a weights file (.safetensors, a torch .model, or params.pkl)")
    except InputError as error:
        reason = " ".join(str(error).split())[:400]  # one line, whatever names the file contains
        raise InputError(f"cannot use the weights file {path}: {reason}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def wheel_member(data: bytes) -> bytes | None:
    """The bytes of SO3LR's torch file if `data` is a wheel of so3krates-torch."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if SO3LR_MEMBER in archive.namelist():
                return zip_member(archive, SO3LR_MEMBER)
    except zipfile.BadZipFile:
        pass  # told by the reader of torch files
    return None
