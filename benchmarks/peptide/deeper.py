"""A trained network with one layer more, which at first changes little.

    python benchmarks/peptide/deeper.py WEIGHTS OUTPUT FRAMES.npz

What the new layer would add to the features begins at zero. Its layer norms are set to what the
features of the frames have on average: a norm of what is normed already is not quite nothing.
"""

import sys
from typing import Any

import numpy as np

from topokrates.model import weights
from topokrates.model.network import NetworkForceField
from topokrates.model.parameters import Weights, build, flatten
from topokrates.model.so3krates import SO3krates
from topokrates.model.training.trainer import random_parameters

SILENT = ("attention/feature_value", "mlp/linear_1/", "interaction/")
SAMPLE = 50


def spread(network: Weights, frames: Any) -> tuple[float, float]:
    """Mean of an atom's features and their standard deviation, averaged over atoms."""
    force_field, found = NetworkForceField(network), []
    for k in np.linspace(0, len(frames["energy"]) - 1, SAMPLE).round().astype(int):
        atoms = int(frames["n_atoms"][k])
        potential = force_field.bind(frames["numbers"][k, :atoms], atoms=frames["numbers"].shape[1])
        found.append(potential.descriptors(frames["positions"][k : k + 1, :atoms])[0])
    features = np.concatenate(found)
    return float(features.mean()), float(features.std(axis=1).mean())


def deeper(network: Weights, mean: float, deviation: float) -> Weights:
    """The network with a layer more."""
    layers = network.architecture["layers"]
    architecture = network.architecture | {"layers": layers + 1}
    module = SO3krates(**architecture | {"degrees": tuple(architecture["degrees"])})
    flat = flatten(random_parameters(module, seed=0)) | flatten(network.params)
    new = f"layer_{layers}/"
    for name in [name for name in flat if name.startswith(new)]:
        rest = name.removeprefix(new)
        if rest.startswith(SILENT):
            flat[name] = np.zeros_like(flat[name])
        elif rest.startswith("norm_"):
            value = deviation if rest.endswith("scale") else mean
            flat[name] = np.full_like(flat[name], value)
    about = {"name": network.name, "reference_energies": network.reference_energies, "source": ""}
    return build(architecture, list(network.elements), flat, **about)


def main() -> None:
    source, output, frames = sys.argv[1:4]
    network = weights.load(source)
    with np.load(frames) as archive:
        mean, deviation = spread(network, archive)
    weights.save(deeper(network, mean, deviation), output)


if __name__ == "__main__":
    main()
