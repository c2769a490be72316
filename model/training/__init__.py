"""Training SO3krates on ab-initio data.

    from topokrates.model.training import train

    result = train("ethanol.toml")

`config` is what can be asked for, in one TOML file; `data` reads labelled frames, `splits` divides
them, `references` fits the energies of the elements, `batches` sorts frames by pairs, `objective`
is the loss, `trainer` takes the steps, `accuracy` measures the outcome,
`runs` puts all of it together.
"""

from typing import Any

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    # jax and optax take seconds to import
    if name != "train":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from topokrates.model.training.runs import train

    return train
