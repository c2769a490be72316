"""A network as small as can be trained, and the settings of a run with it."""

from topokrates.model.so3krates import SO3krates
from topokrates.model.training import config

NETWORK = {
    "features": 8,
    "layers": 1,
    "heads": 2,
    "degrees": [1, 2],
    "radial_functions": 8,
    "energy_hidden": 8,
    "cutoff": 4.0,
    "electrostatics": True,
    "zbl": False,
}


def module() -> SO3krates:
    """The network that these settings describe."""
    return SO3krates(**config.Network(**NETWORK).model_dump() | {"degrees": (1, 2)})


def settings(**changes):
    table = {
        "data": {"files": ["train.npz"], "test_files": ["held.npz"], "validation": 4},
        "network": NETWORK,
        "optimiser": {"steps": 120, "batch": 4, "warmup": 3, "learning_rate": 1e-2, "ema": 0.9},
        "run": {"validate_every": 40, "checkpoint_every": 7},
    }
    for section, values in changes.items():
        table[section] = table.get(section, {}) | values
    return config.of_table(table)
