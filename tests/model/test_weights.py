"""Weights: whichever file they come from they are the same."""

import pickle
import threading

import numpy as np
import pytest
from helpers.foreign import (
    assert_equal,
    flax_config,
    flax_folder,
    flax_tree,
    refusal,
    synthetic,
    torch_file,
)

from topokrates.model import parameters, weights
from topokrates.model.errors import InputError


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
