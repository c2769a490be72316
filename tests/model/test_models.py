"""Force fields by name: every wrong name or setting is one clear line."""

import sys

import numpy as np
import pytest

from topokrates.model import models
from topokrates.model.analytic import LennardJones
from topokrates.model.ase import ASEForceField
from topokrates.model.errors import InputError
from topokrates.model.network import NetworkForceField
from topokrates.model.parameters import SO3LR_ELEMENTS
from topokrates.model.weights import save


def test_lennard_jones_in_any_case_is_float64():
    for name in ("LJ", "lj"):
        force_field = models.load(name, dtype="float32")
        assert isinstance(force_field, LennardJones)
        # a cluster costs nothing, and its searches end at once in double precision
        assert force_field.bind(np.zeros(3, int)).dtype == np.float64


def test_a_weights_file(tmp_path, network, structure):
    path = tmp_path / "mine.safetensors"
    save(network.weights, path)
    force_field = models.load(str(path), long_range_cutoff=5.0, dtype="float64", device="cpu")
    assert isinstance(force_field, NetworkForceField)
    numbers, x = structure(6)
    potential = force_field.bind(numbers)
    assert potential.dtype == np.float64
    provenance = potential.provenance()
    assert provenance["weights"] == network.weights.sha256
    assert provenance["long_range_cutoff"] == 5.0
    assert provenance["units"] == {"energy": "eV", "length": "Å"}
    # what was written is what is read
    gas = models.load(str(path), dtype="float64").bind(numbers)
    energies = [p.energies_and_forces(x[None])[0] for p in (gas, network.bind(numbers))]
    np.testing.assert_array_equal(*energies)
    assert np.dtype(models.load(str(path)).bind(numbers).dtype) == np.float32


def test_so3lr_by_its_name(so3lr):
    assert so3lr.name == "so3lr"
    assert so3lr.weights.elements == SO3LR_ELEMENTS
    assert so3lr.long_range_cutoff is None


def test_an_ase_calculator_by_its_path():
    force_field = models.load("ase:ase.calculators.lj:LennardJones")
    assert isinstance(force_field, ASEForceField)
    x = np.array([[[0.0, 0, 0], [2 ** (1 / 6), 0, 0]]])
    energies, _ = force_field.bind(np.array([18, 18])).energies_and_forces(x)
    assert energies[0] == pytest.approx(-1, abs=0.01)  # ASE's default cutoff shifts it a little


def test_tblite_is_named_if_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(InputError, match="pip install tblite"):
        models.load("tblite:GFN2-xTB")


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        ({"name": "so4lr"}, "unknown model 'so4lr'"),
        ({"name": "no/such/file.safetensors"}, "no/such/file.safetensors"),
        ({"name": "tblite:GFN9"}, "unknown tblite method 'GFN9'"),
        ({"name": "tblite"}, "unknown tblite method ''"),
        ({"name": "ase:no_such_module:Calculator"}, "no_such_module"),
        ({"name": "ase:ase.calculators.lj:NoSuch"}, "NoSuch"),
        ({"name": "ase:lj"}, "ase:lj"),
        ({"name": "LJ", "dtype": "float16"}, "float16"),
        ({"name": "LJ", "device": "abacus"}, "no device 'abacus'"),
        ({"name": "LJ", "long_range_cutoff": 0.0}, "0.0 Å"),
        ({"name": "LJ", "long_range_cutoff": -3.0}, "-3.0 Å"),
        ({"name": "LJ", "long_range_cutoff": float("nan")}, "nan Å"),
        ({"name": "LJ", "long_range_cutoff": float("inf")}, "inf Å"),
        ({"name": "LJ", "threads": 0}, "0 threads"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_cannot_be_loaded_is_named_in_one_line(arguments, culprit):
    with pytest.raises(InputError) as refused:
        models.load(**arguments)
    assert culprit in str(refused.value)
    assert "\n" not in str(refused.value)


def test_names_are_those_that_load():
    for name in models.names():
        if name.startswith("tblite"):
            pytest.importorskip("tblite")
        if name != "so3lr":
            assert models.load(name).name == name
