"""Weights from strangers: no file can do harm, and each refusal says why."""

import json
import os
import pickle
import re
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers.foreign import (
    ELEMENTS,
    Pickled,
    TorchFile,
    assert_equal,
    flax_folder,
    flax_tree,
    refusal,
    synthetic,
    torch_file,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from topokrates.model import parameters, weights
from topokrates.model.errors import InputError


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
