"""Minimisers that others wrote, on our starts: ASE's L-BFGS and FIRE, Sella, one start at a time.

Each descends in float32 to the first force and goes on in float64 to the second, where a Hessian in
float64 says whether it is a minimum: as a certificate of ours, except that nothing is asked of
the predicted decrease and no saddle is pushed off. Defaults everywhere, as their authors chose.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.optimize import FIRE, LBFGS

from peers.client import PeerError, Torch, pack, unpack
from topokrates.model.ase import ForceFieldCalculator
from topokrates.model.errors import InputError
from topokrates.relaxation.certify import modes

TITLES = {
    "lbfgs": "ASE L-BFGS",
    "fire": "ASE FIRE",
    "sella": "Sella, internal coordinates",
    "sella-cartesian": "Sella, Cartesian",
    "torch": "ASE L-BFGS on so3krates-torch",
}


WARM_STEPS = 5
SILENT: Any = None  # ASE's own annotation forbids the None that it documents


class Run(NamedTuple):
    """One start of one method.

    Attributes:
        calls, seconds: of the descent.
        converged: whether it came to rest within the steps allowed.
        polish_calls, products, polish_seconds: to the tighter force and the Hessian there; products
            are Hessian-vector products, 3N per Hessian.
        certified: whether that was a minimum.
        energy: at the end.
    """

    calls: int
    seconds: float
    converged: bool
    polish_calls: int = 0
    products: int = 0
    polish_seconds: float = 0.0
    certified: bool = False
    energy: float = float("nan")


class Counted(ForceFieldCalculator):
    """Our calculator, counting evaluations."""

    calls = 0

    def calculate(self, *arguments: Any, **keywords: Any) -> None:
        self.calls += 1
        super().calculate(*arguments, **keywords)


class OnOurs:
    """ASE's minimisers and Sella on our potential.

    Args:
        method: of `TITLES`, without "torch".
        single, double: force fields in float32 and float64.
        numbers: atomic numbers, (N,).
        max_steps: after which a descent has failed.
        forces: where the descent and the polish end.
    """

    def __init__(
        self,
        method: str,
        single: Any,
        double: Any,
        numbers: np.ndarray,
        max_steps: int,
        forces: tuple[float, float],
    ):
        self.make = _optimiser(method)
        self.numbers, self.max_steps, self.forces = numbers, max_steps, forces
        self.single, self.double = Counted(single), Counted(double)
        self.potential = double.bind(numbers)

    def warm(self, positions: np.ndarray) -> None:
        """Compiles what will be called, Sella's own functions among it."""
        for calculator in (self.single, self.double):
            self._descend(calculator, positions, self.forces[0], WARM_STEPS)
        self.potential.hessians(positions[None])

    def run(self, start: np.ndarray, polish: bool) -> Run:
        began = time.perf_counter()
        positions, converged, calls, energy = self._descend(self.single, start, self.forces[0])
        result = Run(calls, time.perf_counter() - began, converged, energy=energy)
        if not polish or not converged:
            return result
        began = time.perf_counter()
        positions, tight, calls, energy = self._descend(self.double, positions, self.forces[1])
        certified = tight and bool(
            modes(self.potential.hessians(positions[None])[0], positions).values[0] > 0
        )
        return result._replace(
            polish_calls=calls,
            products=positions.size if tight else 0,
            polish_seconds=time.perf_counter() - began,
            certified=certified,
            energy=energy,
        )

    def _descend(
        self, calculator: Counted, start: np.ndarray, force: float, steps: int | None = None
    ) -> tuple[np.ndarray, bool, int, float]:
        atoms = Atoms(self.numbers, start)
        calculator.reset()
        calculator.calls = 0
        atoms.calc = calculator
        try:
            converged = bool(self.make(atoms).run(fmax=force, steps=steps or self.max_steps))
            energy = float(atoms.get_potential_energy())
        except Exception:  # whatever a method stumbles over is its failure on this start
            return start, False, calculator.calls, float("nan")
        return atoms.positions, converged, calculator.calls, energy


def check(methods: list[str]) -> None:
    """Raises `InputError` where one of them is not installed."""
    for method in methods:
        _optimiser(method)


def _optimiser(method: str) -> Callable[[Atoms], Any]:
    if method == "lbfgs":
        return lambda atoms: LBFGS(atoms, logfile=SILENT)
    if method == "fire":
        return lambda atoms: FIRE(atoms, logfile=SILENT)
    try:
        from sella import Sella  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError("Sella is not installed: pip install sella, or leave it out") from None
    internal = method == "sella"
    return lambda atoms: Sella(atoms, internal=internal, order=0, logfile=SILENT)


class OnTorch:
    """ASE's L-BFGS on so3krates-torch's own calculator, in its own process.

    Its Hessian is the package's own, by automatic differentiation in float64.
    """

    def __init__(
        self, peer: Torch, numbers: np.ndarray, max_steps: int, forces: tuple[float, float]
    ):
        self.peer, self.numbers = peer, numbers.tolist()
        self.max_steps, self.forces = max_steps, forces
        peer.ask("calculators")

    def warm(self, positions: np.ndarray) -> None:
        for dtype in ("float32", "float64"):
            self._descend(positions, 1e3, dtype)

    def run(self, start: np.ndarray, polish: bool) -> Run:
        try:
            rest = self._descend(start, self.forces[0], "float32")
        except PeerError:
            return Run(0, 0.0, False)
        result = Run(rest["calls"], rest["seconds"], rest["converged"], energy=rest["energy"])
        if not polish or not rest["converged"]:
            return result
        try:
            rest = self._descend(unpack(rest["positions"]), self.forces[1], "float64")
            result = result._replace(polish_calls=rest["calls"], polish_seconds=rest["seconds"])
            if not rest["converged"]:
                return result
            hessian = self.peer.ask("hessian", numbers=self.numbers, positions=rest["positions"])
        except PeerError:
            return result
        began = time.perf_counter()
        positions = unpack(rest["positions"])
        certified = bool(modes(unpack(hessian["hessian"]), positions).values[0] > 0)
        seconds = hessian["seconds"] + time.perf_counter() - began
        return result._replace(
            products=positions.size,
            polish_seconds=result.polish_seconds + seconds,
            certified=certified,
            energy=rest["energy"],
        )

    def _descend(self, positions: np.ndarray, force: float, dtype: str) -> dict[str, Any]:
        return self.peer.ask(
            "descend",
            numbers=self.numbers,
            positions=pack(positions),
            fmax=force,
            max_steps=self.max_steps,
            dtype=dtype,
        )


def runs(
    method: OnOurs | OnTorch,
    starts: list[np.ndarray],
    polish: bool,
    time_limit: float,
) -> Iterator[Run]:
    """Runs of one method, one after the other, until the time limit (seconds) has passed."""
    method.warm(starts[0])
    began = time.perf_counter()
    for start in starts:
        if time.perf_counter() - began > time_limit:
            return
        yield method.run(start, polish)
