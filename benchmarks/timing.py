"""The measurements behind `evaluator.py`: ours and the peer's calls, turn by turn."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import joined
import networks
import numpy as np
from limits import Limits, edges, median_and_least, plain_work, timed
from peers.client import PeerError, Torch, pack, unpack
from structures import helix, polyalanine, rattled

from topokrates.model import attention, products, programs, so3krates
from topokrates.model.errors import InputError
from topokrates.model.layout import LAYOUTS
from topokrates.model.network import NetworkForceField, NetworkPotential

CHECKED = 8  # structures whose forces are compared
TOLERANCE = 1e-4  # eV/Å: further apart two programs do not compute the same
PEER_MEMORY_PER_EDGE = 60e3  # bytes that so3krates-torch keeps for a gradient, about
PRECISION_ATOMS = 42
EXACT = ":exact"


class Timing:
    """Times networks on structures as the options say.

    Args:
        options: of `evaluator.py`.
        peer: so3krates-torch, or None.
        limits: of the device.
        report: takes lines about the progress.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        peer: Torch | None,
        limits: Limits,
        report: Callable[[str], None],
    ):
        self.options, self.peer, self.limits, self.report = options, peer, limits, report
        self._structures: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        # what cannot be is refused before anything is measured
        for atoms in options.atoms:
            self.structure(atoms)
        for layout in options.layouts:
            check_layout(layout)

    def structure(self, atoms: int) -> tuple[np.ndarray, np.ndarray]:
        """Atomic numbers (N,) and positions (N, 3) of the peptide of that size."""
        if atoms not in self._structures:
            molecule = polyalanine(atoms)
            wound = helix(molecule) if self.options.shape == "helix" else molecule.positions
            self._structures[atoms] = molecule.numbers, np.array(wound)
        return self._structures[atoms]

    def network(self, name: str) -> list[dict[str, Any]]:
        """Measurements of one network, one per number of atoms."""
        field = networks.load(name, "float32", self.options.device)
        if self.peer is not None:
            self.peer.ask("network", name=name, compiled=self.options.torch_compile)
        return [self._size(name, field, atoms) for atoms in self.options.atoms]

    def _size(self, name: str, field: NetworkForceField, atoms: int) -> dict[str, Any]:
        numbers, positions = self.structure(atoms)
        self.report(f"{name}, {atoms} atoms")
        work = plain_work(field.weights.architecture, positions)
        limit = self.options.time_limit
        batches = sorted(set(self.options.batches))
        structures = rattled(positions, max([CHECKED, *batches]))

        first, calls, potentials, skipped = {}, {}, {}, []
        for layout in self.options.layouts:
            potentials[layout] = potential = bind(field, numbers, layout)
            evaluate = partial(potential.energies_and_forces, structures[:1])
            first[layout] = timed(evaluate)
            once = timed(evaluate)
            for batch in batches:
                if once * batch > limit and batch > 1:
                    skipped.append(f"{layout} x {batch}")
                    continue
                call = partial(potential.energies_and_forces, structures[:batch])
                once = timed(call) / batch  # a batch of its own may be compiled here
                joined.settle(potential, call)
                calls[layout, batch] = call
        theirs = self._prepare_peer(name, numbers, structures)
        apart = self._check(name, potentials[self.options.layouts[0]], theirs, structures)

        ours_times = {key: [] for key in calls}
        peer_times = {key: [] for key in theirs}
        for _ in range(self.options.repetitions):
            for key, call in calls.items():
                ours_times[key].append(repeated(call, self.options.least) / key[1])
            for key in theirs:
                assert self.peer is not None
                answer = self.peer.ask("time", model=key[0], key=key[1], least=self.options.least)
                peer_times[key].append(answer["seconds"] / key[1])
        if skipped:
            self.report(f"  over the time limit: {', '.join(skipped)}")
        return {
            "atoms": atoms,
            "edges": edges(positions, field.weights.architecture["cutoff"]),
            "work": work._asdict(),
            "least_time": work.least_time(self.limits),
            "apart": apart,
            "first_call": first,
            "ours": [self._row(k, times, work, "layout") for k, times in ours_times.items()],
            "peer": [self._row(k, times, work, "model") for k, times in peer_times.items()],
        }

    def _row(self, key: tuple[str, int], times: list[float], work: Any, kind: str) -> dict:
        median, least = median_and_least(times)
        return {
            kind: key[0],
            "batch": key[1],
            "median": median,
            "least": least,
            "of_matrix_products": work.flops / median / self.limits.flops,
            "of_copies": work.bytes / median / self.limits.bytes,
        }

    # --- the other program ----------------------------------------------------------------------

    def _prepare_peer(self, name: str, numbers: np.ndarray, structures: np.ndarray):
        """Builds its batches, and which (model, batch) can be timed."""
        if self.peer is None:
            return []
        ready, batches = [], sorted({*self.options.torch_batches, CHECKED})
        models = ["eager", *(["compiled"] if self.options.torch_compile else [])]
        slow, plain = dict.fromkeys(models, 0.0), np.zeros(())
        for batch in batches:
            chosen = np.resize(np.arange(len(structures)), batch)
            try:
                built = self.peer.ask(
                    "batch",
                    key=batch,
                    numbers=numbers.tolist(),
                    positions=pack(structures[chosen]),
                )
                if built["edges"] * PEER_MEMORY_PER_EDGE > self.options.torch_memory * 1e9:
                    break
                for model in models:
                    if slow[model] * batch > self.options.time_limit:
                        continue
                    forces = unpack(self.peer.ask("evaluate", model=model, key=batch)["forces"])
                    plain = forces if model == "eager" else plain
                    # what a compiler broke (Inductor of torch 2.13 does) is no competitor
                    if (broken := float(np.abs(forces - plain).max())) > TOLERANCE:
                        self.report(
                            f"  torch.compile changes forces by {broken:.1e} eV/Å: left out"
                        )
                        slow[model] = np.inf
                        continue
                    answer = self.peer.ask("time", model=model, key=batch, least=0)
                    slow[model] = answer["seconds"] / batch
                    ready.append((model, batch))
            except PeerError as error:
                self.report(f"  so3krates-torch, {name}, batch {batch}: {error}")
        return ready

    def _check(
        self, name: str, potential: NetworkPotential, theirs: list, structures: np.ndarray
    ) -> float | None:
        """Largest difference of the forces of both programs, eV/Å; None where weights differ."""
        if name == "journal" or not theirs:
            return None
        apart = 0.0
        for model in sorted({model for model, _ in theirs}):
            batch = max(b for m, b in theirs if m == model and b <= CHECKED)
            assert self.peer is not None
            answer = self.peer.ask("evaluate", model=model, key=batch)
            ours = potential.energies_and_forces(structures[:batch])[1]
            apart = max(apart, float(np.abs(unpack(answer["forces"]) - ours).max()))
        return apart

    def precision(self) -> list[dict[str, Any]]:
        """Largest and typical error of forces against exact float64, eV/Å."""
        atoms = min(self.options.atoms, key=lambda n: abs(n - PRECISION_ATOMS))
        numbers, positions = self.structure(atoms)
        structures = rattled(positions, CHECKED)
        rows = []

        def forces(dtype: str, layout: str = "auto") -> np.ndarray:
            field = networks.load(name, dtype, self.options.device)
            return bind(field, numbers, layout).energies_and_forces(structures)[1]

        def add(arithmetic: str, found: np.ndarray) -> None:
            error = found - wanted
            rows.append(
                {
                    "network": name,
                    "atoms": atoms,
                    "arithmetic": arithmetic,
                    "largest": float(np.abs(error).max()),
                    "root_mean_square": float(np.sqrt(np.mean(error**2))),
                }
            )

        for name in self.options.networks:
            self.report(f"precision of {name}, {atoms} atoms")
            wanted = forces("float64", "auto" + EXACT)
            add("float64, tables", forces("float64"))
            add("float32 'highest'", forces("float32"))
            if networks.load(name, "float32", self.options.device).device is None:
                platform = jax.devices()[0].platform
            else:
                platform = self.options.device
            if platform != "cpu":  # there float32 products have one precision
                with default_precision():
                    add("float32 'default' (TF32 where the device has it)", forces("float32"))
        return rows


@contextmanager
def default_precision() -> Iterator[None]:
    """Networks multiply matrices as the device likes best, while this lasts."""
    modules = products, attention, so3krates
    for module in modules:
        module.PRECISION = jax.lax.Precision.DEFAULT
    programs.forget()  # the constant is no argument: what is compiled holds its value
    try:
        yield
    finally:
        for module in modules:
            module.PRECISION = jax.lax.Precision.HIGHEST
        programs.forget()


def bind(field: NetworkForceField, numbers: np.ndarray, layout: str) -> NetworkPotential:
    """The potential in a layout; "auto" leaves the choice to the package.

    With ":exact" behind it the radial networks are evaluated, not their tables.

    Raises:
        InputError: for a layout that there is not.
    """
    check_layout(layout)
    plain = layout.removesuffix(EXACT)
    chosen = None if plain == "auto" else plain
    return replace(field, layout=chosen, exact=plain != layout).bind(numbers)


def check_layout(layout: str) -> None:
    if layout.removesuffix(EXACT) not in ("auto", *LAYOUTS):
        known = ", ".join(("auto", *LAYOUTS))
        raise InputError(f"unknown layout {layout!r}: use {known}, or one of them with {EXACT}")


def repeated(call: Callable[[], Any], least: float) -> float:
    """Seconds per call, the mean over calls of at least `least` seconds together."""
    spent, calls = 0.0, 0
    while spent < least or not calls:
        spent += timed(call)
        calls += 1
    return spent / calls
