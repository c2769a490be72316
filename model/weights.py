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
from typing import Any, NamedTuple

import numpy as np
from topokrates.model.errors import InputError

FORMAT = 1
Z_MAX = 118  # element tables have rows Z = 0 ... 118; row 0 is padding
LARGEST_FILE = 512 * 1024**2  # bytes; SO3LR has 3 MB

# SO3LR as so3krates-torch ships it, and the digest of its content (`digest`) once converted.
SO3LR_REQUIREMENT = "so3krates-torch==0.2.1"
SO3LR_MEMBER = "so3krates_torch/pretrained/so3lr/so3lr.model"
SO3LR_WHEEL_SHA256 = "1e3aea516997290462a280a64486ce022472dbe1edbdab81f8446587a61899d2"
SO3LR_FILE_SHA256 = "b5145564911ff983ed076ccb2bca5ce63454b74c9c8291092695463f1e6732be"
SO3LR_SHA256 = "3dbc67a662312b78854142babe8e1ccea01cbc9f4a41574bfb5a8491a516b718"
SO3LR_ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17)
SO3LR_LICENCE = "MIT"
SO3LR_CITATION = (
    "Kabylda, Frank, Suárez-Dou, Khabibrakhmanov, Medrano Sandonas, Unke, Chmiela, Müller and "
    "Tkatchenko, J. Am. Chem. Soc. 147, 33723 (2025), doi:10.1021/jacs.5c09558"
)

Progress = Callable[[str], None]
_log = logging.getLogger(__name__)


class Weights(NamedTuple):
    """A network: its settings and its parameters."""

    name: str
    architecture: dict[str, Any]  # the keys of `check_architecture`
    params: dict[str, Any]  # nested; the leaves are float32 arrays (see `shapes`)
    elements: tuple[int, ...]  # atomic numbers it was trained on
    sha256: str  # of architecture, elements and tensors: the same whichever file they came from
    source: str  # the file that it was read from
    source_sha256: str = ""  # of the file that was first converted
    licence: str = "unknown"
    citation: str = ""

    def __repr__(self) -> str:
        count = sum(array.size for array in flatten(self.params).values())
        return f"Weights({self.name}, {count} parameters, sha256 {self.sha256[:12]}, {self.source})"


# --- what a file must hold ----------------------------------------------------------------------


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return check


def _positive(value: Any) -> float:
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise ValueError("a positive number")
    return float(value)


def _switch(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def _one_of(*known: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in known:
            raise ValueError(" or ".join(known))
        return value

    return check


def _degrees(value: Any) -> list[int]:
    if not isinstance(value, list) or not value or value != list(range(1, len(value) + 1)):
        raise ValueError("a list 1, 2, ... up to the highest degree")
    return [_integer(1, 8)(degree) for degree in value]


_ARCHITECTURE: dict[str, Callable[[Any], Any]] = {
    "features": _integer(2, 4096),
    "layers": _integer(1, 64),
    "heads": _integer(1, 256),
    "degrees": _degrees,
    "cutoff": _positive,  # Å
    "radial_functions": _integer(1, 1024),
    "radial_basis": _one_of("bernstein", "physnet"),
    "radial_gamma": _positive,  # 1/Å
    "cutoff_function": _one_of("polynomial", "cosine"),
    "message_norm": lambda value: None if value is None else _positive(value),
    "layer_norm": _switch,
    "residual_mlp": _switch,
    "embed_charge": _switch,
    "embed_spin": _switch,
    "energy_scale": _switch,
    "energy_hidden": _integer(2, 4096),
    "zbl": _switch,
    "electrostatics": _switch,
    "dispersion": _switch,
    "electrostatic_scale": _positive,  # Å
    "dispersion_scale": _positive,
    "dispersion_damping": _positive,  # Å
}


def check_architecture(architecture: Any) -> dict[str, Any]:
    """The settings of a network with exact types; `InputError` names one that is not known.

    `message_norm` None stands for the square root of the width of a head. `dispersion_damping` is
    the length over which dispersion is switched off before the long-range cutoff.
    """
    if not isinstance(architecture, dict):
        raise InputError("the architecture is not a table of settings")
    for key in architecture:
        if key not in _ARCHITECTURE:
            raise InputError(f"the setting {key!r} of the architecture is not known here")
    checked = {}
    for key, check in _ARCHITECTURE.items():
        if key not in architecture:
            raise InputError(f"the architecture lacks the setting {key!r}")
        try:
            checked[key] = check(architecture[key])
        except ValueError as error:
            message = f"the setting {key} is {architecture[key]!r}; it must be {error}"
            raise InputError(message) from None
    for divisor in (checked["heads"], len(checked["degrees"]), 4, 2):
        if checked["features"] % divisor:
            raise InputError(f"features {checked['features']} is not a multiple of {divisor}")
    return checked


def shapes(architecture: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of a network. Kernels are (in, out); the projections of a
    head are used as `einsum("nhd,hde->nhe")`; element tables have a row for each Z from 0."""
    a = architecture
    f, degrees, hidden, rows = a["features"], len(a["degrees"]), a["energy_hidden"], Z_MAX + 1
    result: dict[str, tuple[int, ...]] = {"embedding/elements": (rows, f)}

    def dense(name: str, inputs: int, outputs: int) -> None:
        result[f"{name}/kernel"], result[f"{name}/bias"] = (inputs, outputs), (outputs,)

    for switch, state in (("embed_charge", "charge_embedding"), ("embed_spin", "spin_embedding")):
        if a[switch]:
            result[f"{state}/elements"] = (rows, f)
            result[f"{state}/key"] = result[f"{state}/value"] = (2, f)
            result[f"{state}/linear_0/kernel"] = result[f"{state}/linear_1/kernel"] = (f, f)
    for i in range(a["layers"]):
        attention = f"layer_{i}/attention"
        for stream, heads in (("feature", a["heads"]), ("euclidean", degrees)):
            dense(f"{attention}/{stream}_filter/radial_0", a["radial_functions"], f)
            dense(f"{attention}/{stream}_filter/radial_1", f, f)
            dense(f"{attention}/{stream}_filter/spherical_0", degrees, f // 4)
            dense(f"{attention}/{stream}_filter/spherical_1", f // 4, f)
            for role in ("query", "key", "value") if stream == "feature" else ("query", "key"):
                result[f"{attention}/{stream}_{role}"] = (heads, f // heads, f // heads)
        if a["residual_mlp"]:
            dense(f"layer_{i}/mlp/linear_0", f, f)
            dense(f"layer_{i}/mlp/linear_1", f, f)
        if a["layer_norm"]:
            for norm in ("norm_0", "norm_1"):
                result[f"layer_{i}/{norm}/scale"] = result[f"layer_{i}/{norm}/bias"] = (f,)
        dense(f"layer_{i}/interaction", f + degrees, f + degrees)
    dense("energy/hidden", f, hidden)
    dense("energy/output", hidden, 1)
    if a["energy_scale"]:
        result["energy/scale"] = (rows,)
    if a["zbl"]:
        result |= {f"repulsion/{k}": s for k, s in (("a", (4,)), ("c", (4,)), ("d", ()), ("p", ()))}
    if a["electrostatics"]:
        result["charges/elements"] = (rows,)
        dense("charges/hidden", f, hidden)
        dense("charges/output", hidden, 1)
    if a["dispersion"]:
        result["hirshfeld/elements"] = (rows,)
        result["hirshfeld/queries"] = (rows, f // 2)
        dense("hirshfeld/hidden", f, hidden // 2)
        dense("hirshfeld/output", hidden // 2, f // 2)
    return result


def _check_shapes(architecture: dict[str, Any], found: dict[str, tuple[int, ...]]) -> None:
    expected = shapes(architecture)
    for name, shape in expected.items():
        if name not in found:
            raise InputError(f"the tensor {name} is missing")
        if found[name] != shape:
            raise InputError(f"the tensor {name} has shape {found[name]}, expected {shape}")
    for name in found:
        if name not in expected:
            raise InputError(f"the tensor {name} has no place in its architecture")


def flatten(params: dict[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Nested parameters as one dict with '/'-joined names."""
    flat = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}/") if isinstance(value, dict) else {name: value}
    return flat


def unflatten(flat: dict[str, np.ndarray]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *path, leaf = name.split("/")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return nested


def digest(
    architecture: dict[str, Any], elements: tuple[int, ...], flat: dict[str, np.ndarray]
) -> str:
    """sha256 of what decides the energy: architecture, elements, tensors. Names and origin of the
    file do not enter."""
    head = {"format": FORMAT, "architecture": architecture, "elements": list(elements)}
    result = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for name in sorted(flat):
        result.update(f"\n{name} {flat[name].shape}\n".encode())
        result.update(np.ascontiguousarray(flat[name], "<f4").tobytes())
    return result.hexdigest()


def _build(architecture: Any, elements: Any, flat: dict[str, np.ndarray], **about: str) -> Weights:
    """Check everything that can be checked, and recognise SO3LR whatever its file is called."""
    architecture = check_architecture(architecture)
    _check_shapes(architecture, {name: array.shape for name, array in flat.items()})
    for name, array in flat.items():
        if not np.all(np.isfinite(array)):
            raise InputError(f"the tensor {name} holds values that are not finite")
    numbers = isinstance(elements, list | tuple) and all(
        type(z) is int and 1 <= z <= Z_MAX for z in elements
    )
    if not numbers or not elements or list(elements) != sorted(set(elements)):
        raise InputError("the elements are not a rising list of atomic numbers")
    flat = {name: np.array(array, np.float32, order="C") for name, array in flat.items()}
    sha256 = digest(architecture, tuple(elements), flat)
    if sha256 == SO3LR_SHA256:
        about |= {"name": "so3lr", "licence": SO3LR_LICENCE, "citation": SO3LR_CITATION}
    return Weights(
        architecture=architecture,
        params=unflatten(flat),
        elements=tuple(elements),
        sha256=sha256,
        **about,
    )


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
            _check_shapes(architecture, {n: tuple(s.get_shape()) for n, s in slices.items()})
            for name, tensor in slices.items():
                if tensor.get_dtype() != "F32":
                    raise InputError(f"the tensor {name} is {tensor.get_dtype()}, expected F32")
            flat = {name: file.get_tensor(name) for name in slices}
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"it is truncated or corrupt ({str(error).splitlines()[0]})") from error
    about = {key: str(header.get(key, "")) for key in ("source_sha256", "licence", "citation")}
    name = str(header.get("name", path.stem))
    return _build(architecture, header.get("elements"), flat, name=name, source=str(path), **about)


def _import(name: str, source: str, data: bytes, hyperparameters: bytes | None = None) -> Weights:
    """Convert the bytes of a file of another program."""
    from topokrates.model import imports

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
    return _build(architecture, elements, flat, **about)


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
        if path.suffix in (".pkl", ".pickle"):
            beside = path.with_name("hyperparameters.json")
            if not beside.is_file():
                raise InputError("there is no hyperparameters.json beside it")
            name = path.resolve().parent.name or path.stem
            return _import(name, str(path), _read_bytes(path), _read_bytes(beside))
        raise InputError("it is not a weights file (.safetensors, a torch .model, or params.pkl)")
    except InputError as error:
        reason = " ".join(str(error).split())[:400]  # one line, whatever names the file contains
        raise InputError(f"cannot use the weights file {path}: {reason}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _wheel_member(data: bytes) -> bytes | None:
    """The bytes of SO3LR's torch file if `data` is a wheel of so3krates-torch."""
    from topokrates.model.imports import zip_member

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
            if path and (weights := _read(path)).sha256 == SO3LR_SHA256:
                return weights
            problem = f"{path} is not the SO3LR of {SO3LR_REQUIREMENT}"
        except InputError as error:
            problem = str(error)
        if path:
            _log.warning("%s; looking elsewhere", problem)
    progress("fetching SO3LR weights (3 MB)")
    weights = _import("so3lr", SO3LR_REQUIREMENT, _fetch(cached))
    if weights.sha256 != SO3LR_SHA256:
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
