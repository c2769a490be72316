"""What a network is made of: settings, named tensors, and the check that they belong together.

Tensors are float32, named by the '/'-joined path of the parameter in the flax module (`shapes`
lists them). A network is checked as a whole, names, shapes and finiteness, so that a wrong file is
refused here and not by a wrong energy later.
"""

import hashlib
import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from topokrates.model.errors import InputError

FORMAT = 1
Z_MAX = 118  # element tables have rows Z = 0 ... 118; row 0 is padding

# SO3LR, recognised by the digest of its content whatever file it came from.
SO3LR_SHA256 = "3dbc67a662312b78854142babe8e1ccea01cbc9f4a41574bfb5a8491a516b718"
SO3LR_ELEMENTS = (1, 6, 7, 8, 9, 15, 16, 17)
SO3LR_LICENCE = "MIT"
SO3LR_CITATION = (
    "Kabylda, Frank, Suárez-Dou, Khabibrakhmanov, Medrano Sandonas, Unke, Chmiela, Müller and "
    "Tkatchenko, J. Am. Chem. Soc. 147, 33723 (2025), doi:10.1021/jacs.5c09558"
)


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
    reference_energies: dict[int, float] = {}  # noqa: RUF012  eV of a free element, by atomic number
    training: dict[str, Any] = {}  # noqa: RUF012  settings, data and errors of the run that made it

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


def check_shapes(architecture: dict[str, Any], found: dict[str, tuple[int, ...]]) -> None:
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


def build(architecture: Any, elements: Any, flat: dict[str, np.ndarray], **about: Any) -> Weights:
    """Check everything that can be checked, and recognise SO3LR whatever its file is called."""
    architecture = check_architecture(architecture)
    check_shapes(architecture, {name: array.shape for name, array in flat.items()})
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
