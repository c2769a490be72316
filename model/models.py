"""Force fields by name: what `--model` takes."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from topokrates.model import cores
from topokrates.model.errors import InputError
from topokrates.model.potential import Potential

DEFAULT = "so3lr"
NETWORKS = ("peptide", "so3lr")  # the names that `weights.load` knows
PRECISIONS = ("float32", "float64")
# Relative to tblite's own default of 1: at 0.01 forces repeat to 1e-6 eV/Å, which the certificate
# (1e-4 eV/Å) and differences of forces (Hessians) need.
TBLITE_ACCURACY = 0.01
TBLITE_METHODS = ("GFN2-xTB", "GFN1-xTB", "IPEA1-xTB")


class ForceField(Protocol):
    """What can be bound to a molecule."""

    @property
    def name(self) -> str: ...

    def bind(
        self, numbers: np.ndarray, charge: int = 0, unpaired: int = 0, atoms: int | None = None
    ) -> Potential: ...


def load(
    name: str = DEFAULT,
    long_range_cutoff: float | None = None,
    dtype: str = "float32",
    device: str | None = None,
    threads: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> ForceField:
    """A force field by name.

    Args:
        name: "peptide", "so3lr"; a weights file; "LJ"; "tblite:GFN2-xTB"; or
            "ase:module:Calculator", any ASE calculator that can be made without arguments. Several
            of these with commas between them are a committee: their mean, which knows how far they
            disagree.
        long_range_cutoff: Å, for networks with electrostatics or dispersion; None takes all pairs.
        dtype: "float32" or "float64", of searches; certificates always use float64.
        device: "cpu" or "gpu"; None takes jax's choice.
        threads: cores that a CPU may use; None for all. Takes effect only before jax computes for
            the first time.
        progress: called with a line when something takes long.

    Raises:
        InputError: for a name that is none, or settings that do not fit it.
    """
    if dtype not in PRECISIONS:
        raise InputError(f"unknown dtype {dtype!r}: use {' or '.join(PRECISIONS)}")
    if long_range_cutoff is not None and not (0 < long_range_cutoff < float("inf")):
        raise InputError(f"a long-range cutoff of {long_range_cutoff} Å: give a length above 0")
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads: give at least 1")
    if "," in name:
        from topokrates.model.committee import CommitteeForceField

        parts = [part.strip() for part in name.split(",")]
        settings = (long_range_cutoff, dtype, device, threads, progress)
        return CommitteeForceField(name, tuple(load(part, *settings) for part in parts))
    kind, _, rest = name.partition(":")
    if kind == "tblite":
        return _tblite(rest)
    if kind == "ase" and rest:
        return _ase(rest)
    if threads is not None:
        cores.limit(threads)
    settings = {"dtype": dtype, "device": _device(device)}
    if name.upper() == "LJ":
        from topokrates.model.analytic import LennardJones

        return LennardJones(**settings | {"dtype": "float64"})
    from topokrates.model import programs, weights
    from topokrates.model.network import NetworkForceField

    if name not in NETWORKS and not Path(name).exists() and not Path(name).suffix:
        raise InputError(f"unknown model {name!r}: use {', '.join(names())} or a weights file")
    loaded = weights.load(name, progress=progress)
    programs.remember(weights.cache_folder() / "programs")
    return NetworkForceField(loaded, long_range_cutoff, **settings)


def names() -> list[str]:
    """The names that `load` knows without a file."""
    return [*NETWORKS, "LJ", *(f"tblite:{method}" for method in TBLITE_METHODS)]


def devices(name: str | None, threads: int | None) -> list[Any]:
    """All jax devices of a kind, for work that can be divided among them.

    A CPU is one, with so many threads (by default one per core), which takes effect only before jax
    computes for the first time: that one divides the arithmetic of a batch is half as fast again as
    that each of two has half of the batch and moves all parameters.

    Raises:
        InputError: for a kind that is not here, or no thread.
    """
    if threads is not None and threads < 1:
        raise InputError(f"{threads} threads: give at least 1")
    cores.limit(threads or cores.available())
    _device(name)
    import jax

    return jax.devices(name)


def _device(name: str | None):
    if name is None:
        return None
    import jax

    try:
        return jax.devices(name)[0]
    except RuntimeError:
        have = ", ".join(sorted({device.platform for device in jax.devices()}))
        raise InputError(f"no device {name!r} here: jax sees {have}") from None


def _tblite(method: str):
    from topokrates.model.ase import ASEForceField

    known = {m.lower(): m for m in TBLITE_METHODS}
    if method.lower() not in known:
        raise InputError(f"unknown tblite method {method!r}: use {', '.join(TBLITE_METHODS)}")
    method = known[method.lower()]
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # a second thread slows a small molecule down
    try:
        from tblite.ase import TBLite  # pyright: ignore[reportMissingImports]  an extra
    except ImportError:
        raise InputError(
            "tblite is not installed: pip install tblite, or topokrates[xtb]"
        ) from None

    def make(charge: int, unpaired: int) -> Any:
        return TBLite(
            method=method,
            charge=charge,
            multiplicity=unpaired + 1,
            accuracy=TBLITE_ACCURACY,
            verbosity=0,
        )

    return ASEForceField(f"tblite:{method}", make, {"accuracy": TBLITE_ACCURACY})


def _ase(path: str):
    from topokrates.model.ase import ASEForceField

    module, _, attribute = path.rpartition(":")
    try:
        calculator = getattr(importlib.import_module(module), attribute)
        calculator()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(
            f"no ASE calculator ase:{path} ({error}): give ase:module:Class, made without arguments"
        ) from None
    return ASEForceField(f"ase:{path}", lambda charge, unpaired: calculator(), {})
