"""Networks that benchmarks time: SO3LR, its short-range part, the journal's, the shipped one."""

from typing import Any

import numpy as np

from topokrates.model import models, parameters
from topokrates.model.analytic import LennardJones
from topokrates.model.network import NetworkForceField

# Frank, Unke, Müller, Chmiela, Nat. Commun. 15, 6539 (2024): F 132, L 3, H 4, degrees 1 to 3, 5 Å.
JOURNAL: dict[str, Any] = {
    "features": 132,
    "layers": 3,
    "heads": 4,
    "degrees": [1, 2, 3],
    "cutoff": 5.0,
    "radial_functions": 32,
    "radial_basis": "physnet",
    "radial_gamma": 0.9448630629184640,
    "cutoff_function": "cosine",
    "message_norm": None,
    "layer_norm": False,
    "residual_mlp": False,
    "embed_charge": False,
    "embed_spin": False,
    "energy_hidden": 132,
    "energy_scale": False,
    "zbl": False,
    "electrostatics": False,
    "dispersion": False,
    "electrostatic_scale": 4.0,
    "dispersion_scale": 1.2,
    "dispersion_damping": 2.0,
}
ELEMENTS = (1, 6, 7, 8)
LONG_RANGE = ("charges/", "hirshfeld/")  # tensors that only electrostatics and dispersion use

NAMES = {
    "so3lr-short": "SO3LR without long range",
    "so3lr": "SO3LR",
    "journal": "journal's default",
    "peptide": "peptide, as shipped",
}


def load(name: str, dtype: str = "float32", device: str | None = None) -> NetworkForceField:
    """One of `NAMES`; long range means every pair."""
    if name == "journal":
        where = models.load("LJ", device=device)  # refuses a device that is not there
        assert isinstance(where, LennardJones)
        return NetworkForceField(_random(JOURNAL), None, dtype, where.device)
    field = models.load("peptide" if name == "peptide" else "so3lr", None, dtype, device)
    assert isinstance(field, NetworkForceField)
    if name in ("so3lr", "peptide"):
        return field
    weights = field.weights
    flat = parameters.flatten(weights.params)
    kept = {key: array for key, array in flat.items() if not key.startswith(LONG_RANGE)}
    short = parameters.build(
        weights.architecture | {"electrostatics": False, "dispersion": False},
        weights.elements,
        kept,
        name=name,
        source=weights.source,
    )
    return NetworkForceField(short, None, dtype, field.device)


def _random(architecture: dict[str, Any], seed: int = 0) -> parameters.Weights:
    """An untrained network: kernels of variance 1 / inputs, element tables of 1 / F, no biases."""
    rng = np.random.default_rng(seed)
    flat = {}
    for name, shape in parameters.shapes(architecture).items():
        values = rng.normal(size=shape)
        if name.endswith("/bias"):
            values *= 0
        elif name == "embedding/elements":
            values /= np.sqrt(shape[-1])
        else:
            values /= np.sqrt(shape[-2])
        flat[name] = values
    return parameters.build(architecture, ELEMENTS, flat, name="journal", source="random numbers")
