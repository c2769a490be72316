"""Weights: whichever file they come from they are the same, and no file can do harm."""

import json
import math
import os
import pickle
import re
import subprocess
import sys
import threading
import types
import zipfile
from io import BytesIO
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topokrates.model import parameters, so3lr, weightfile, weights
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


# --- the same network by every route ------------------------------------------------------------


def test_saved_and_loaded_is_bitwise_equal(tmp_path):
    made = synthetic()._replace(licence="MIT", citation="someone, Å")
    weights.save(made, tmp_path / "a.safetensors")
    found = weights.load(tmp_path / "a.safetensors")
    assert_equal(found, made)
    assert (found.name, found.licence, found.citation) == ("small", "MIT", "someone, Å")
    weights.save(found, tmp_path / "b.safetensors")
    assert_equal(weights.load(tmp_path / "b.safetensors"), made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


PLAIN = {
    "embed_charge": False,
    "embed_spin": False,
    "zbl": False,
    "electrostatics": False,
    "dispersion": False,
}
PLAIN_SETTINGS = {
    "use_charge_embed": False,
    "use_spin_embed": False,
    "zbl_repulsion_bool": False,
    "electrostatic_energy_bool": False,
    "dispersion_energy_bool": False,
}


@pytest.mark.parametrize(
    ("changes", "source"),
    [
        ({}, {}),
        (PLAIN, PLAIN_SETTINGS),
        (
            {"message_norm": None, "cutoff_function": "cosine", "dispersion_damping": 1.5},
            {
                "message_normalization": "sqrt_num_features",
                "dispersion_energy_cutoff_lr_damping": 1.5,
            },
        ),
        (
            {"layer_norm": False, "residual_mlp": False, "degrees": [1, 2, 3, 4]},
            {
                **{"layer_normalization_1": False, "layer_normalization_2": False},
                **{"residual_mlp_1": False, "degrees": [1, 2, 3, 4]},
            },
        ),
    ],
)
def test_every_route_gives_the_same_network(tmp_path, changes, source):
    made = synthetic(**changes)
    cosine = {"cosine": "cosine"}.get(changes.get("cutoff_function"), "phys")
    (tmp_path / "small.model").write_bytes(torch_file(made, cutoff_fn_name=cosine, **source))
    config = flax_config(cutoff_fn=cosine, **source)
    flax_folder(tmp_path / "flax", flax_tree(made), config)
    weights.save(made, tmp_path / "small.safetensors")
    for path in ("small.model", "flax", "flax/params.pkl", "small.safetensors"):
        assert_equal(weights.load(tmp_path / path), made)


def test_spin_embedding_alone_is_the_first_of_the_flax_embeddings(tmp_path):
    made = synthetic(embed_charge=False)
    tree = flax_tree(made)
    parameters = tree["params"]
    parameters["feature_embeddings_1"] = parameters.pop("feature_embeddings_2")
    config = flax_config(use_charge_embed=False)
    assert_equal(weights.load(flax_folder(tmp_path / "flax", tree, config)), made)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_numpy_pickles_of_every_protocol(tmp_path, protocol, core):
    made = synthetic()
    pickled = pickle.dumps(flax_tree(made), protocol)
    if core == "numpy.core" and protocol < 4:  # how numpy 1 spelled it; no length prefix there
        pickled = pickled.replace(b"numpy._core", b"numpy.core")
    assert_equal(weights.load(flax_folder(tmp_path / "flax", pickled)), made)


def test_shift_that_differs_between_elements_is_refused(tmp_path):
    shifts = np.linspace(0, 1, 118)
    (tmp_path / "bad.model").write_bytes(torch_file(synthetic(), shift=shifts))
    assert "energy shifts" in refusal(tmp_path / "bad.model")
    tree = flax_tree(synthetic())
    tree["params"]["observables_0"]["energy_offset"][6] = 0.25
    assert "energy shifts" in refusal(flax_folder(tmp_path / "flax", tree) / "params.pkl")


def test_constant_shift_is_dropped_and_does_not_enter_the_digest(tmp_path):
    made = synthetic()
    for shift in (0.0, -163.6181213551537):
        (tmp_path / "small.model").write_bytes(torch_file(made, shift=shift))
        assert_equal(weights.load(tmp_path / "small.model"), made)


def test_digest_depends_on_every_tensor_setting_and_element():
    made = synthetic()
    flat = parameters.flatten(made.params)
    digests = {parameters.digest(made.architecture, made.elements, flat)}
    for name, array in flat.items():
        changed = flat | {name: np.nextafter(array, np.float32(9), dtype=np.float32)}
        digests.add(parameters.digest(made.architecture, made.elements, changed))
    digests.add(parameters.digest(made.architecture | {"cutoff": 5.0}, made.elements, flat))
    digests.add(parameters.digest(made.architecture, (1, 6), flat))
    assert len(digests) == len(flat) + 3


def test_architecture_is_the_arguments_of_the_module():
    """Settings and tensors are exactly those that the network asks for."""
    jax = pytest.importorskip("jax")
    from topokrates.model.so3krates import SO3krates

    for changes in ({}, {"embed_charge": False, "layer_norm": False, "dispersion": False}):
        made = synthetic(**changes)
        module = SO3krates(**made.architecture)
        numbers, positions = np.array([6, 8]), np.array([[0.0, 0, 0], [0, 0, 1.2]])
        arguments = (numbers, positions, np.ones(2, bool), np.float64(0), np.float64(0))
        wanted = jax.eval_shape(module.init, jax.random.key(0), *arguments)["params"]
        shapes = {name: array.shape for name, array in parameters.flatten(wanted).items()}
        assert shapes == parameters.shapes(made.architecture)


def test_flatten_and_unflatten_are_inverse():
    flat = parameters.flatten(synthetic().params)
    assert parameters.flatten(parameters.unflatten(flat)) == flat


# --- files that must be refused -----------------------------------------------------------------


def call(function: str, *args) -> bytes:
    """A protocol-2 pickle that calls a function by name."""
    module, name = function.rsplit(".", 1)
    arguments = pickle.dumps(args, 2)[2:-1]
    return b"\x80\x02c" + f"{module}\n{name}\n".encode() + arguments + b"R."


def hostile(marker: Path) -> dict[str, bytes]:
    command = f"touch {marker}"
    short = b"\x8c\x0bnumpy.dtype\x8c\x09__class__\x93"
    getattr_ = b"cbuiltins\ngetattr\ncos\n__dict__\nX\x06\x00\x00\x00system\x86R"
    return {
        "os.system": call("os.system", command),
        "posix.system": call("posix.system", command),
        "builtins.eval": call("builtins.eval", f"open({str(marker)!r}, 'w')"),
        "builtins.exec": b"(S'open(" + repr(str(marker)).encode() + b', "w")\'\nibuiltins\nexec\n.',
        "builtins.getattr": b"\x80\x02" + getattr_ + b".",
        "subprocess.Popen": call("subprocess.Popen", ["touch", str(marker)]),
        "numpy.dtype.__class__": b"\x80\x04" + short + b".",
        "torch.load": call("torch.load", str(marker)),
        "torch._utils.os.system": call("torch._utils.os.system", command),
        "numpy.load": call("numpy.load", str(marker)),
        "copyreg._reconstructor": call("copyreg._reconstructor"),
    }


@pytest.mark.parametrize("function", list(hostile(Path())))
def test_nothing_is_executed_and_the_culprit_is_named(tmp_path, function):
    marker = tmp_path / "executed"
    pickled = hostile(marker)[function]
    (tmp_path / "bad.model").write_bytes(TorchFile().zip(pickled))
    flax_folder(tmp_path / "flax", pickled)
    for path in ("bad.model", "flax"):
        with pytest.raises(InputError, match=re.escape(repr(function))):
            weights.load(tmp_path / path)
    assert not marker.exists()


def test_hostile_call_hidden_in_a_good_tree_is_refused(tmp_path):
    tree = flax_tree(synthetic())
    tree["params"]["layers_0"]["extra"] = Pickled(os.system, (f"touch {tmp_path / 'executed'}",))
    assert "posix.system" in refusal(flax_folder(tmp_path / "flax", tree) / "params.pkl")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.array([object, 1], object), "object|O8|builtins"),
        (np.array([1, 2]), "i8"),
        (np.array(["a"]), "U1"),
        (np.zeros(2, [("a", "f4")]), "V4"),
        (3.5, "not a numpy array"),
        ([np.zeros(2)], "not a numpy array"),
    ],
)
def test_only_arrays_of_numbers_are_read(tmp_path, value, reason):
    tree = flax_tree(synthetic())
    tree["params"]["observables_0"]["extra"] = value
    assert re.search(reason, refusal(flax_folder(tmp_path / "flax", tree) / "params.pkl"))


@pytest.mark.parametrize(
    "changes",
    [
        {"offset": 1},
        {"offset": -1},
        {"size": (7,)},
        {"stride": (2,)},
        {"stride": (-1,)},
        {"size": (2**40,), "stride": (0,)},
        {"size": (3, 3), "stride": (1,)},
        {"size": (True,)},
        {"size": 6},
    ],
)
def test_tensor_cannot_reach_outside_its_storage(tmp_path, changes):
    bias = np.zeros(6, np.float32)

    def extra(file):
        return {"atomic_energy_output_block.layers.0.bias": file.tensor(bias, **changes)}

    (tmp_path / "bad.model").write_bytes(torch_file(synthetic(), extra=extra))
    assert "atomic_energy_output_block.layers.0.bias" in refusal(tmp_path / "bad.model")


def test_strided_tensor_is_read_as_torch_would(tmp_path):
    made = synthetic()
    bias = parameters.flatten(made.params)["energy/hidden/bias"]
    stored = np.zeros(15, np.float32)
    stored[3:14:2] = bias

    def extra(file):
        view = file.tensor(stored, offset=3, size=(6,), stride=(2,))
        return {"atomic_energy_output_block.layers.0.bias": view}

    (tmp_path / "a.model").write_bytes(torch_file(made, extra=extra))
    assert_equal(weights.load(tmp_path / "a.model"), made)


def test_small_file_cannot_claim_much_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("topokrates.model.imports.LARGEST_FILE", 10**6)
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(10**7))
    (tmp_path / "bomb.model").write_bytes(stream.getvalue())
    assert "unpacks to more" in refusal(tmp_path / "bomb.model")
    memo = b"\x80\x02]r\xff\xff\xff\xff."  # memo entry 4294967295
    assert "refused" in refusal(flax_folder(tmp_path / "flax", memo) / "params.pkl")


@pytest.mark.parametrize("kind", ["torch", "flax", "safetensors"])
def test_truncated_or_empty_file_is_refused(tmp_path, kind):
    made = synthetic()
    path = tmp_path / "small.safetensors"
    if kind == "torch":
        path = tmp_path / "small.model"
        path.write_bytes(torch_file(made))
    elif kind == "flax":
        path = flax_folder(tmp_path / "flax", flax_tree(made)) / "params.pkl"
    else:
        weights.save(made, path)
    whole = path.read_bytes()
    for part in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(part * len(whole))])
        refusal(path)
    path.write_bytes(b"\n" * 100)
    refusal(path)


SMALL_TORCH_FILE = zipfile.ZipFile(BytesIO(torch_file(synthetic())))
SMALL_TORCH_PICKLE = SMALL_TORCH_FILE.read("small/data.pkl")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pickle_loads_or_is_refused(data):
    """Whatever bytes are changed, nothing but `InputError` comes out."""
    pickled = bytearray(SMALL_TORCH_PICKLE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(pickled) - 1))
        pickled[place] = data.draw(st.integers(0, 255))
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for member in SMALL_TORCH_FILE.namelist():
            new = bytes(pickled) if member.endswith(".pkl") else SMALL_TORCH_FILE.read(member)
            archive.writestr(member, new)
    from topokrates.model.imports import read_torch

    try:
        found = read_torch(stream.getvalue())
    except InputError:
        return
    assert parameters.check_architecture(found.architecture) == found.architecture


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("activation_fn_name", "relu"),
        ("radial_basis_fn", "gaussian"),
        ("cutoff_fn_name", "exponential"),
        ("residual_mlp_2", True),
        ("message_normalization", "softmax"),
        ("num_features", 8.0),
        ("degrees", [0, 1]),
        ("num_layers", 10**9),
        ("r_max", float("nan")),
        ("num_features_head", 3),
        ("use_something_new", True),
        ("layer_normalization_2", False),
        ("num_heads", ...),
    ],
)
def test_setting_that_is_not_known_is_refused_by_name(tmp_path, setting, value):
    (tmp_path / "bad.model").write_bytes(torch_file(synthetic(), **{setting: value}))
    ours = {"r_max": "cutoff", "num_features": "features", "num_layers": "layers"}
    known = ours.get(setting, setting.removesuffix("_name"))
    message = refusal(tmp_path / "bad.model")
    assert known in message or known.rsplit("_", 1)[0] in message


def test_tensor_without_a_place_or_missing_is_refused_by_name(tmp_path):
    def extra(file):
        return {"direct_force_head.weight": file.tensor(np.zeros(3, np.float32))}

    (tmp_path / "bad.model").write_bytes(torch_file(synthetic(), extra=extra))
    assert "direct_force_head.weight" in refusal(tmp_path / "bad.model")
    tree = flax_tree(synthetic())
    del tree["params"]["layers_1"]["attention_block"]["Wk2"]
    folder = flax_folder(tmp_path / "flax", tree)
    assert "layers_1/attention_block/Wk2" in refusal(folder / "params.pkl")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h, t: h.update(format=2), "version is 2"),
        (lambda h, t: h["architecture"].update(depth=3), "'depth'"),
        (lambda h, t: h["architecture"].pop("cutoff"), "'cutoff'"),
        (lambda h, t: h["architecture"].update(cutoff=-1), "cutoff"),
        (lambda h, t: h["architecture"].update(layers=3), "layer_2/attention"),
        (lambda h, t: h.update(elements=[6, 1]), "elements"),
        (lambda h, t: t.pop("layer_1/interaction/bias"), "layer_1/interaction/bias is missing"),
        (lambda h, t: t.update(more=np.zeros(2, np.float32)), "more"),
        (lambda h, t: t.update({"energy/output/bias": np.zeros(2, np.float32)}), "energy/output"),
        (lambda h, t: t.update({"energy/output/bias": np.ones(1)}), "energy/output/bias is F64"),
        (lambda h, t: t["repulsion/a"].fill(np.nan), "repulsion/a"),
        (lambda h, t: h.clear(), "version is None"),
    ],
)
def test_safetensors_that_do_not_fit_are_refused_by_name(tmp_path, change, reason):
    from safetensors.numpy import save_file

    made = synthetic()
    header = {"format": 1, "architecture": dict(made.architecture), "elements": list(ELEMENTS)}
    tensors = parameters.flatten(made.params)
    change(header, tensors)
    path = tmp_path / "bad.safetensors"
    save_file(tensors, path, metadata={"topokrates": json.dumps(header)})
    assert reason in refusal(path)
    save_file(tensors, path)
    assert "header" in refusal(path)


def test_paths_that_hold_no_weights(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.model")
    assert "no such file" in refusal(tmp_path)
    (tmp_path / "params.pkl").write_bytes(pickle.dumps({}))
    assert "hyperparameters.json" in refusal(tmp_path / "params.pkl")
    (tmp_path / "notes.txt").write_text("not weights at all")
    assert "not a weights file" in refusal(tmp_path / "notes.txt")
    with pytest.raises(InputError, match="so3lr"):
        weights.load("so4lr")


# --- SO3LR by name ------------------------------------------------------------------------------


@pytest.fixture
def small_so3lr(tmp_path, monkeypatch):
    """A world in which SO3LR is the small network, and pip delivers it in a wheel."""
    made = synthetic()
    model = torch_file(made)
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(weightfile.SO3LR_MEMBER, model)
    wheel = stream.getvalue()
    calls = []

    def run(command, **_):
        calls.append(command)
        folder = next(a.removeprefix("--dest=") for a in command if a.startswith("--dest="))
        (Path(folder) / "so3krates_torch-0.2.1-py3-none-any.whl").write_bytes(wheel)
        return subprocess.CompletedProcess(command, 0, "", "")

    sha256 = so3lr.hashlib.sha256
    monkeypatch.setattr(parameters, "SO3LR_SHA256", made.sha256)
    monkeypatch.setattr(so3lr, "FILE_SHA256", sha256(model).hexdigest())
    monkeypatch.setattr(so3lr, "WHEEL_SHA256", sha256(wheel).hexdigest())
    monkeypatch.setattr(so3lr.subprocess, "run", run)
    monkeypatch.setattr(so3lr.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("TOPOKRATES_CACHE", str(tmp_path / "cache"))
    return types.SimpleNamespace(
        made=made,
        model=model,
        wheel=wheel,
        calls=calls,
        cached=tmp_path / "cache/so3lr.safetensors",
    )


def test_fetched_once_and_cached(small_so3lr):
    lines: list[str] = []
    assert weights.available()[-1]["found"].startswith("fetched on first use")
    found = weights.load("so3lr", progress=lines.append)
    assert_equal(found, small_so3lr.made)
    assert (found.name, found.licence) == ("so3lr", "MIT")
    assert "doi:10.1021/jacs.5c09558" in found.citation
    assert len(lines) == 1
    assert "3 MB" in lines[0]
    again = weights.load("so3lr", progress=lines.append)
    assert_equal(again, small_so3lr.made)
    assert (again.name, again.source) == ("so3lr", str(small_so3lr.cached))
    assert len(lines) == len(small_so3lr.calls) == 1
    assert weights.available()[-1]["found"] == str(small_so3lr.cached)


def test_fetching_builds_nothing_and_ignores_a_pip_in_the_working_folder(small_so3lr):
    weights.load("so3lr")
    command = small_so3lr.calls[0]
    assert command[:2] == [sys.executable, "-P"]
    assert {"--no-deps", "--only-binary=:all:", "so3krates-torch==0.2.1"} <= set(command)


def test_damaged_cache_is_mended(small_so3lr, caplog):
    weights.load("so3lr")
    whole = small_so3lr.cached.read_bytes()
    other = synthetic(seed=1)
    for damage in (b"", whole[:500], b"nonsense" * 9, None):
        if damage is None:
            weights.save(other, small_so3lr.cached)  # valid, and another network
        else:
            small_so3lr.cached.write_bytes(damage)
        caplog.clear()
        assert_equal(weights.load("so3lr"), small_so3lr.made)
        assert str(small_so3lr.cached) in caplog.text
        assert small_so3lr.cached.read_bytes() == whole


def test_cache_that_cannot_be_written_is_not_fatal(small_so3lr, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TOPOKRATES_CACHE", str(tmp_path / "file" / "cache"))
    assert_equal(weights.load("so3lr"), small_so3lr.made)
    assert "not kept" in caplog.text


def test_installed_package_is_read_and_not_imported(small_so3lr, tmp_path, monkeypatch):
    file = tmp_path / "site" / weightfile.SO3LR_MEMBER
    file.parent.mkdir(parents=True)
    file.write_bytes(small_so3lr.model)
    package = tmp_path / "site" / "so3krates_torch"
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.undo()
    monkeypatch.setattr(parameters, "SO3LR_SHA256", small_so3lr.made.sha256)
    monkeypatch.setenv("TOPOKRATES_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = weights.load("so3lr")
    assert_equal(found, small_so3lr.made)
    assert found.source == str(file)
    assert "so3krates_torch" not in sys.modules
    assert not small_so3lr.cached.exists()


def test_wheel_with_other_bytes_is_refused(small_so3lr, monkeypatch):
    monkeypatch.setattr(so3lr, "WHEEL_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"wheel fetched .* sha256"):
        weights.load("so3lr")
    assert not small_so3lr.cached.exists()


@pytest.mark.parametrize(
    "outcome",
    [
        subprocess.CompletedProcess(
            [], 1, "", "WARNING: retrying\nERROR: No matching distribution"
        ),
        subprocess.CompletedProcess([], 1, "", "python: No module named pip"),
        subprocess.TimeoutExpired("pip", 300),
        OSError("no such program"),
    ],
)
def test_without_network_the_error_names_the_other_ways(small_so3lr, monkeypatch, outcome):
    monkeypatch.setattr(so3lr.subprocess, "run", mock.Mock(side_effect=[outcome]))
    with pytest.raises(InputError) as caught:
        weights.load("so3lr")
    message = str(caught.value)
    assert "\n" not in message
    for way in ("--model", "pip install", str(small_so3lr.cached.parent)):
        assert way in message
    if isinstance(outcome, subprocess.CompletedProcess):
        assert outcome.stderr.splitlines()[-1] in message


def test_wheel_is_a_path_that_can_be_given(small_so3lr, tmp_path):
    (tmp_path / "so3krates_torch.whl").write_bytes(small_so3lr.wheel)
    assert_equal(weights.load(tmp_path / "so3krates_torch.whl"), small_so3lr.made)


def test_writers_of_the_same_file_both_end_well(tmp_path):
    made, path = synthetic(), tmp_path / "a.safetensors"
    threads = [threading.Thread(target=weights.save, args=(made, path)) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert weights.load(path).sha256 == made.sha256  # never half a file
    assert_equal(weights.load(path), made)
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing.* cannot be written"):
        weights.save(synthetic(), tmp_path / "missing" / "a.safetensors")


def test_real_so3lr():
    cached = weights.cache_folder() / "so3lr.safetensors"
    if not cached.is_file():
        pytest.skip("SO3LR is not in the cache")
    found = weights.load(cached)
    assert found.sha256 == parameters.SO3LR_SHA256
    assert found.name == "so3lr"
    assert found.elements == parameters.SO3LR_ELEMENTS
    assert sum(array.size for array in parameters.flatten(found.params).values()) == 531_373
