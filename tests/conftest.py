"""What all tests share: a small random network, and SO3LR where it can be had."""

import numpy as np
import pytest

from topokrates import quench
from topokrates.model import models, parameters, programs
from topokrates.model.errors import InputError
from topokrates.model.network import NetworkForceField
from topokrates.relaxation import internals

# All of SO3LR's switches on, as small as two layers can be.
ARCHITECTURE = {
    "features": 16,
    "layers": 2,
    "heads": 2,
    "degrees": [1, 2],
    "cutoff": 4.0,
    "radial_functions": 8,
    "radial_basis": "bernstein",
    "radial_gamma": 0.9448630629184640,
    "cutoff_function": "polynomial",
    "message_norm": 3.0,
    "layer_norm": True,
    "residual_mlp": True,
    "embed_charge": True,
    "embed_spin": True,
    "energy_hidden": 16,
    "energy_scale": True,
    "zbl": True,
    "electrostatics": True,
    "dispersion": True,
    "electrostatic_scale": 4.0,
    "dispersion_scale": 1.2,
    "dispersion_damping": 2.0,
}
ELEMENTS = (1, 6, 7, 8)


def random_weights(seed: int = 0, **changes) -> parameters.Weights:
    """A network of random numbers, scaled as an untrained network's are; nothing in it is zero."""
    architecture, rng = ARCHITECTURE | changes, np.random.default_rng(seed)
    flat = {}
    for name, shape in parameters.shapes(architecture).items():
        kind = name.rsplit("/", 1)[-1]
        values = rng.normal(size=shape)
        if kind == "kernel" or len(shape) == 3:
            values /= np.sqrt(shape[-2])
        elif kind == "scale" or name == "hirshfeld/elements":
            values = 1 + 0.2 * values
        elif kind == "bias" or name == "charges/elements":
            values *= 0.2
        elif len(shape) == 2:  # tables of elements
            values /= np.sqrt(shape[-1])
        flat[name] = values
    return parameters.build(architecture, ELEMENTS, flat, name="random", source="noise")


@pytest.fixture(scope="session", autouse=True)
def no_kept_programs():
    """Tests change arithmetic behind the back of what names a kept program."""
    remember = programs.remember

    def remember_compiled(folder):
        remember(folder)
        programs._folder = None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "remember", remember_compiled)
        yield


@pytest.fixture(scope="session")
def make_network():
    """A small random network in float64; takes what shall differ from `ARCHITECTURE`."""

    def make(seed: int = 0, cutoff: float | None = None, **changes) -> NetworkForceField:
        return NetworkForceField(random_weights(seed, **changes), cutoff, "float64")

    return make


@pytest.fixture(scope="session")
def network(make_network) -> NetworkForceField:
    """One such network for all tests, so that what is compiled is shared."""
    return make_network()


@pytest.fixture(scope="session")
def so3lr():
    """SO3LR in float64, if it is installed, cached, or can be fetched."""
    try:
        return models.load("so3lr", dtype="float64")
    except InputError as error:
        pytest.skip(f"no SO3LR: {error}")


_coordinates: dict[bytes, internals.Coordinates] = {}


@pytest.fixture
def shared_coordinates(monkeypatch):
    """One set of coordinates per molecule for all quenchers, so that it is compiled once."""

    def cached(bonds, positions):
        key = np.asarray(bonds).tobytes() + np.asarray(positions).tobytes()
        if key not in _coordinates:
            _coordinates[key] = internals.coordinates(bonds, positions)
        return _coordinates[key]

    monkeypatch.setattr(quench, "coordinates", cached)
    return cached


def scattered(atoms: int, seed: int = 0, spacing: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers (N,) and positions (N, 3) on a jittered grid: none is near another."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(atoms ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    positions = spacing * grid[rng.permutation(len(grid))[:atoms]]
    positions = positions + rng.uniform(-0.2, 0.2, positions.shape) * spacing
    return rng.choice(ELEMENTS, atoms), positions - positions.mean(axis=0)


@pytest.fixture(scope="session")
def structure():
    """`scattered`: made-up molecules of any size."""
    return scattered
