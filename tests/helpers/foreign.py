"""Weights as other programs write them: torch files without torch, flax trees, safetensors."""

import json
import math
import pickle
import re
import sys
import types
import zipfile
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from topokrates.model import parameters, weights
from topokrates.model.errors import InputError

ARCHITECTURE = {
    "features": 8,
    "layers": 2,
    "heads": 2,
    "degrees": [1, 2],
    "cutoff": 4.5,
    "radial_functions": 5,
    "radial_basis": "bernstein",
    "radial_gamma": float(np.float32(0.944863062918464)),
    "cutoff_function": "polynomial",
    "message_norm": 13.5,
    "layer_norm": True,
    "residual_mlp": True,
    "embed_charge": True,
    "embed_spin": True,
    "energy_scale": True,
    "energy_hidden": 6,
    "zbl": True,
    "electrostatics": True,
    "dispersion": True,
    "electrostatic_scale": 4.0,
    "dispersion_scale": 1.2,
    "dispersion_damping": 2.0,
}
ELEMENTS = (1, 6, 8)


def synthetic(seed: int = 0, **changes) -> parameters.Weights:
    """A small network with random parameters, every row of the element tables filled."""
    architecture = ARCHITECTURE | changes
    random = np.random.default_rng(seed)
    flat = {}
    for name, shape in parameters.shapes(architecture).items():
        flat[name] = np.array(random.normal(size=shape), np.float32)
        if shape[:1] == (119,):
            flat[name][0] = 0
    for name in ("charges/elements", "hirshfeld/elements", "hirshfeld/queries"):
        if name in flat:
            flat[name][100:] = 0  # the sources have rows up to Z = 99
    if "energy/scale" in flat:
        flat["energy/scale"][1:] = 1
        flat["energy/scale"][list(ELEMENTS)] = 0.5
    sha256 = parameters.digest(architecture, ELEMENTS, flat)
    tree = parameters.unflatten(flat)
    return parameters.Weights("small", architecture, tree, ELEMENTS, sha256, "made here")


# Our name -> (name in so3krates-torch, name in the authors' flax parameters).
FLAX_HEADS = r"layers_\1/attention_block/"
RULES = [
    (r"embedding/elements", "inv_feature_embedding.embedding.weight", "feature_embeddings_0/E0"),
    (r"(charge|spin)_embedding/elements", r"\1_embedding.Wq.weight", r"\1/E0"),
    (r"(charge|spin)_embedding/key", r"\1_embedding.Wk", r"\1/E1"),
    (r"(charge|spin)_embedding/value", r"\1_embedding.Wv", r"\1/E2"),
    (r"(charge|spin)_embedding/linear_0/(.*)", r"\1_embedding.mlp.1", r"\1/Residual_0/layers_0/\2"),
    (r"(charge|spin)_embedding/linear_1/(.*)", r"\1_embedding.mlp.3", r"\1/Residual_0/layers_1/\2"),
    *[
        (
            rf"layer_(\d)/attention/{stream}_filter/{part}_{k}/(.*)",
            rf"T.\1.filter_net_{short}.{net}.{place}",
            rf"{FLAX_HEADS}{part}_filter{number}_layer_{k + 1}/\2",
        )
        for stream, short, number in (("feature", "inv", 1), ("euclidean", "ev", 2))
        for part, net in (("radial", "mlp_rbf"), ("spherical", "mlp_ev"))
        for k, place in ((0, "0"), (1, f"{net}_layer_1.0"))
    ],
    (r"layer_(\d)/attention/feature_(.).*", r"T.\1.A.W_\2_inv", FLAX_HEADS + r"W\g<2>1"),
    (r"layer_(\d)/attention/euclidean_(.).*", r"T.\1.A.W_\2_ev", FLAX_HEADS + r"W\g<2>2"),
    (r"layer_(\d)/norm_0/(.*)", r"T.\1.layer_norm_inv_1", r"layers_\1/layer_normalization_1/\2"),
    (r"layer_(\d)/norm_1/(.*)", r"T.\1.layer_norm_inv_2", r"layers_\1/layer_normalization_2/\2"),
    (r"layer_(\d)/mlp/linear_0/(.*)", r"T.\1.mlp_1.1", r"layers_\1/res_mlp_1_layer_1/\2"),
    (r"layer_(\d)/mlp/linear_1/(.*)", r"T.\1.mlp_1.3", r"layers_\1/res_mlp_1_layer_2/\2"),
    (
        r"layer_(\d)/interaction/(.*)",
        r"T.\1.interaction_block.linear_layer",
        r"layers_\1/exchange_block/mlp_layer_2/\2",
    ),
    (r"energy/hidden/(.*)", "O.layers.0", r"observables_0/energy_dense_regression/\1"),
    (r"energy/output/(.*)", "O.final_layer", r"observables_0/energy_dense_final/\1"),
    (r"energy/scale", "O.energy_scales.weight", "observables_0/atomic_scales"),
    (r"repulsion/(.)", r"zbl_repulsion.\1_raw", r"observables_0/zbl_repulsion/\1"),
    (r"charges/elements", "Q.atomic_embedding.weight", "Q/E0"),
    (r"charges/hidden/(.*)", "Q.transform_inv_features.0", r"Q/charge_dense_regression_vec/\1"),
    (r"charges/output/(.*)", "Q.transform_inv_features.2", r"Q/charge_dense_final_vec/\1"),
    (r"hirshfeld/elements", "H.v_shift_embedding.weight", "observables_2/E0"),
    (r"hirshfeld/queries", "H.q_embedding.weight", "observables_2/E1"),
    (r"hirshfeld/hidden/(.*)", "H.transform_features.0", r"H/hirshfeld_ratios_dense_regression/\1"),
    (r"hirshfeld/output/(.*)", "H.transform_features.2", r"H/hirshfeld_ratios_dense_final/\1"),
]
ABBREVIATIONS = {
    "T.": "euclidean_transformers.",
    ".A.": ".euclidean_attention_block.",
    "O.": "atomic_energy_output_block.",
    "Q.": "partial_charges_output_block.",
    "H.": "hirshfeld_output_block.",
    "Q/": "observables_0/electrostatic_energy/partial_charges/",
    "H/": "observables_2/",
    "charge/": "feature_embeddings_1/ChargeSpinEmbedSparse_0/",
    "spin/": "feature_embeddings_2/ChargeSpinEmbedSparse_0/",
}


def foreign_names(ours: str) -> tuple[str, str]:
    for pattern, torch, flax in RULES:
        if match := re.fullmatch(pattern, ours):
            torch, flax = match.expand(torch), match.expand(flax)
            if ours.endswith(("/kernel", "/scale")) and not torch.endswith(".weight"):
                torch += ".weight"
            elif ours.endswith("/bias"):
                torch += ".bias"
            for short, long in ABBREVIATIONS.items():
                torch = torch.replace(short, long) if torch.startswith(short) else torch
                flax = flax.replace(short, long) if flax.startswith(short) else flax
            torch = torch.replace(".A.", ABBREVIATIONS[".A."])
            return torch, re.sub(r"/E(\d)$", r"/Embed_\1/embedding", flax)
    raise AssertionError(ours)


def to_torch(ours: str, array: np.ndarray) -> np.ndarray:
    if ours in ("charges/elements", "hirshfeld/elements", "hirshfeld/queries"):
        return array[:100].reshape(100, -1)
    if ours.endswith("/elements"):
        return array[1:].T
    if ours == "energy/scale":
        return array[None, 1:]
    return array.T if ours.endswith("kernel") else array


def to_flax(ours: str, array: np.ndarray) -> np.ndarray:
    if ours in ("charges/elements", "hirshfeld/elements", "hirshfeld/queries"):
        return array[:100].reshape(100, -1)
    if ours.endswith("/elements") or ours == "energy/scale":
        array = array.copy()
        array[0] = 7  # the authors' row for Z = 0 holds whatever it was initialised with
    return array.transpose(0, 2, 1) if "/attention/" in ours and array.ndim == 3 else array


# --- a torch file, without torch ----------------------------------------------------------------


class Pickled:
    """An object whose pickle is REDUCE(callable, args) and BUILD(state)."""

    def __init__(self, function, args=(), state=None):
        self.reduced = (function, args, state) if state is not None else (function, args)

    def __reduce__(self):
        return self.reduced


def named(path: str) -> type:
    """A class that pickles under the name `path`; its module exists for `pretend`."""
    module, name = path.rsplit(".", 1)
    return type(name, (), {"__module__": module, "__qualname__": name})


class TorchFile:
    """Writes what `torch.save` would write of a tree of modules."""

    def __init__(self):
        self.globals: dict[str, type] = {}
        self.storages: list[bytes] = []

    def name(self, path: str) -> type:
        return self.globals.setdefault(path, named(path))

    def tensor(self, array, **changes):
        array = np.asarray(array)
        kind = {"f": "torch.FloatStorage", "i": "torch.LongStorage"}[array.dtype.kind]
        self.storages.append(np.ascontiguousarray(array).tobytes())
        stride = tuple(math.prod(array.shape[k + 1 :]) for k in range(array.ndim))
        given = {"offset": 0, "size": array.shape, "stride": stride} | changes
        key = str(len(self.storages) - 1)
        storage = Persistent(("storage", self.name(kind), key, "cpu", array.size))
        args = (storage, given["offset"], given["size"], given["stride"], False, {})
        return Pickled(self.name("torch._utils._rebuild_tensor_v2"), args)

    def module(self, path: str, tensors: dict, **state):
        groups: dict[str, dict] = {}
        own = {}
        for name, value in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                groups.setdefault(first, {})[rest] = value
            else:
                own[name] = value
        kind = "torch.nn.modules.container.Sequential"
        children = {name: self.module(kind, group) for name, group in groups.items()}
        state |= {"_parameters": own, "_buffers": {}, "_modules": children}
        return Pickled(self.name(path), (), state)

    def dump(self, tree, protocol: int = 2) -> bytes:
        modules: dict[str, types.ModuleType] = {}
        for path, kind in self.globals.items():
            parts = path.split(".")[:-1]
            for k in range(1, len(parts) + 1):
                modules.setdefault(".".join(parts[:k]), types.ModuleType(".".join(parts[:k])))
            setattr(modules[".".join(parts)], kind.__name__, kind)
        stream = BytesIO()
        with mock.patch.dict(sys.modules, modules):
            TorchPickler(stream, protocol).dump(tree)
        return stream.getvalue()

    def zip(self, pickled: bytes) -> bytes:
        stream = BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr("small/data.pkl", pickled)
            archive.writestr("small/byteorder", "little")
            for key, raw in enumerate(self.storages):
                archive.writestr(f"small/data/{key}", raw)
        return stream.getvalue()


class Persistent:
    def __init__(self, pid):
        self.pid = pid


class TorchPickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Persistent) else None


TORCH_SETTINGS = {
    "training": True,
    "r_max": 4.5,
    "num_radial_basis_fn": 5,
    "degrees": [1, 2],
    "num_features": 8,
    "num_heads": 2,
    "num_layers": 2,
    "final_mlp_layers": 2,
    "energy_regression_dim": 6,
    "message_normalization": "avg_num_neighbors",
    "avg_num_neighbors": 13.5,
    "radial_basis_fn": "bernstein",
    "energy_learn_atomic_type_shifts": True,
    "energy_learn_atomic_type_scales": True,
    "layer_normalization_1": True,
    "layer_normalization_2": True,
    "residual_mlp_1": True,
    "residual_mlp_2": False,
    "use_charge_embed": True,
    "use_spin_embed": True,
    "qk_non_linearity": "identity",
    "cutoff_fn_name": "phys",
    "activation_fn_name": "silu",
    "energy_activation_fn_name": "silu",
    "num_features_head": 4,
    "zbl_repulsion_bool": True,
    "electrostatic_energy_bool": True,
    "electrostatic_energy_scale": 4.0,
    "dispersion_energy_bool": True,
    "dispersion_energy_scale": 1.2,
    "dispersion_energy_cutoff_lr_damping": None,
}


def torch_file(made: parameters.Weights, shift=-163.6, extra=None, **changes) -> bytes:
    file = TorchFile()
    tensors = {}
    for ours, array in parameters.flatten(made.params).items():
        if ours in ("repulsion/a", "repulsion/c"):
            for k, value in enumerate(array, 1):
                name = f"zbl_repulsion.{ours[-1]}{k}_raw"
                tensors[name] = file.tensor(value[None])
        elif ours.startswith("repulsion"):
            tensors[foreign_names(ours)[0]] = file.tensor(array[None])
        else:
            tensors[foreign_names(ours)[0]] = file.tensor(to_torch(ours, array))
    gamma = file.tensor(np.float32(made.architecture["radial_gamma"]))
    tensors["radial_embedding.radial_basis_fn.gamma"] = gamma
    shifts = np.broadcast_to(np.float32(shift), 118)
    tensors["atomic_energy_output_block.energy_shifts"] = file.tensor(shifts)
    tensors |= extra(file) if extra else {}
    state = {k: v for k, v in (TORCH_SETTINGS | changes).items() if v is not ...}
    return file.zip(
        file.dump(file.module("so3krates_torch.modules.models.SO3LR", tensors, **state))
    )


def flax_config(shifts=-163.6, **changes) -> dict:
    model = {k: v for k, v in TORCH_SETTINGS.items() if k not in ("training", "avg_num_neighbors")}
    model = {{"r_max": "cutoff"}.get(k, k.removesuffix("_name")): v for k, v in model.items()}
    model |= {"cutoff_lr": None, "input_convention": "positions"}
    del model["final_mlp_layers"]
    data = {"avg_num_neighbors": 13.5, "energy_shifts": {str(z): shifts for z in range(119)}}
    return {"model": model | changes, "data": data}


def flax_tree(made: parameters.Weights) -> dict:
    flat = {}
    for ours, array in parameters.flatten(made.params).items():
        name = foreign_names(ours)[1]
        if ours in ("repulsion/a", "repulsion/c"):
            flat |= {f"{name}{k}": array[k - 1 : k] for k in range(1, 5)}
        elif ours.startswith("repulsion"):
            flat[name] = array[None]
        else:
            flat[name] = to_flax(ours, array)
    flat["observables_0/energy_offset"] = np.zeros(119, np.float32)
    return {"params": parameters.unflatten(flat)}


def flax_folder(folder: Path, tree, config=None, protocol=pickle.DEFAULT_PROTOCOL) -> Path:
    folder.mkdir(exist_ok=True)
    pickled = tree if isinstance(tree, bytes) else pickle.dumps(tree, protocol)
    (folder / "params.pkl").write_bytes(pickled)
    (folder / "hyperparameters.json").write_text(json.dumps(config or flax_config()))
    return folder


def refusal(path: Path) -> str:
    """The message with which a file is refused: one line that names the file."""
    with pytest.raises(InputError) as caught:
        weights.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def assert_equal(found: parameters.Weights, expected: parameters.Weights) -> None:
    a, b = parameters.flatten(found.params), parameters.flatten(expected.params)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == np.float32
        assert a[name].shape == b[name].shape, name
        assert a[name].tobytes() == b[name].tobytes(), name
    assert found.architecture == expected.architecture
    assert found.elements == expected.elements
    assert found.sha256 == expected.sha256
