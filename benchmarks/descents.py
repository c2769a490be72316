"""Our side of `minimiser.py`: the live batch to 1e-3, and the certificates of where it ended."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from structures import cluster_starts, hot_starts

from topokrates.model.compiled import CompiledPotential
from topokrates.model.potential import Potential
from topokrates.molecule import Molecule
from topokrates.relaxation.certify import Certificate, certify, certify_all
from topokrates.relaxation.internals import Coordinates, coordinates
from topokrates.relaxation.relax import Descent, Status, Usage, descend

PLATEAU = 1e-3  # eV: a polish that goes down further began on a plateau, not in a minimum


class Ours(NamedTuple):
    """What the minimiser did with all starts.

    Attributes:
        descents: in the order of the starts.
        certificates: of those that converged, in the same order.
        descent_seconds, certify_seconds: wall time of each stage, without compilation.
        useful: share of all computed lane-steps that held a structure not at rest (`Usage`).
        of_all_lanes: the same over every lane of the batch at every step, although lanes that
            wait for nothing any more are not computed.
        handed_over: structures that went on in Cartesian coordinates.
    """

    descents: list[Descent]
    certificates: list[Certificate]
    descent_seconds: float
    certify_seconds: float
    useful: float
    of_all_lanes: float
    handed_over: int


class Stepping(Potential):
    """A potential that counts how often it is called: the steps of the live batch."""

    def __init__(self, inner: Potential):
        self.inner = inner
        self.name, self.numbers, self.dtype = inner.name, inner.numbers, inner.dtype
        self.units, self.compiled = inner.units, inner.compiled
        self.steps = 0

    def energies_and_forces(self, positions, active=None):
        self.steps += 1
        return self.inner.energies_and_forces(positions, active)

    def hessian_vector_products(self, positions, vectors):
        return self.inner.hessian_vector_products(positions, vectors)

    def with_dtype(self, dtype: str) -> Potential:
        return self.inner.with_dtype(dtype)

    def provenance(self) -> dict[str, Any]:
        return self.inner.provenance()


class Case(NamedTuple):
    """A molecule with its potential, ready to be minimised."""

    molecule: Molecule
    potential: Potential
    coordinates: Coordinates
    starts: list[np.ndarray]


def prepare(text: str, field: Any, count: int, seed: int, report: Callable[[str], None]) -> Case:
    """The molecule, its potential and its starts; compiles what descents and certificates use."""
    molecule = Molecule.from_text(text)
    potential = field.bind(molecule.numbers, molecule.charge, molecule.unpaired_electrons)
    frame = coordinates(molecule.bonds, molecule.positions)
    if molecule.is_cluster:
        starts = list(cluster_starts(molecule.n_atoms, count, seed))
    else:
        report(f"{text}: a minimum, and {count} starts by dynamics")
        rest = next(descend(potential, frame, [np.array(molecule.positions)], lanes=1))
        proof = certify(potential, frame, rest.positions)
        starts = list(hot_starts(potential, proof.positions, count, seed))
    return Case(molecule, potential, frame, starts)


def warm(case: Case, force: float, lanes: int) -> None:
    """A few steps, so that nothing is compiled while the clock runs."""
    list(descend(case.potential, case.coordinates, case.starts[:2], force, 3, lanes=lanes))
    certify(case.potential, case.coordinates, case.starts[0], max_steps=2)
    exact, one = case.potential.with_dtype("float64"), case.starts[0][None]
    exact.hessians(one)
    exact.hessian_vector_products(one, one)


def minimise(case: Case, force: float, lanes: int, report: Callable[[str], None]) -> Ours:
    """Every start to `force`; nothing is certified yet."""
    report(f"{case.molecule.name}: {len(case.starts)} descents in {lanes} lanes")
    # what a compiled loop can hold must not be hidden from it
    closed = isinstance(case.potential, CompiledPotential) and case.potential.closed
    stepping, usage = Stepping(case.potential), Usage()
    potential = case.potential if closed else stepping
    began = time.perf_counter()
    ended = list(descend(potential, case.coordinates, case.starts, force, lanes=lanes, usage=usage))
    seconds = time.perf_counter() - began
    computed = usage.lane_steps if closed else lanes * stepping.steps
    return Ours(
        sorted(ended, key=lambda descent: descent.index),
        [],
        seconds,
        0.0,
        usage.useful,
        usage.useful_lane_steps / max(computed, 1),
        usage.handed_over,
    )


def certified(case: Case, ours: Ours, lanes: int, report: Callable[[str], None]) -> Ours:
    """The same with the certificates of all that converged."""
    rested = [descent.positions for descent in ours.descents if descent.status is Status.CONVERGED]
    report(f"{case.molecule.name}: {len(rested)} certificates")
    began = time.perf_counter()
    # no hints: every Hessian is paid for, though most ends are the same few minima
    certificates = certify_all(case.potential, case.coordinates, rested, lanes=lanes)
    return ours._replace(certificates=certificates, certify_seconds=time.perf_counter() - began)


def summary(ours: Ours) -> dict[str, Any]:
    """What is told of them beside the table, ready for JSON."""
    rested = [descent for descent in ours.descents if descent.status is Status.CONVERGED]
    pairs = list(zip(rested, ours.certificates, strict=True))
    certified = [(d, c) for d, c in pairs if c.status is Status.CERTIFIED]
    fell = [d.energy - c.energy for d, c in certified]
    return {
        "starts": len(ours.descents),
        "converged": len(rested),
        "certified": len(certified),
        "not_certified": [
            {"start": d.index, "status": str(c.status)}
            for d, c in pairs
            if c.status is not Status.CERTIFIED
        ],
        "fell_further": sum(drop > PLATEAU for drop in fell),
        "largest_fall": max(fell, default=0.0),
        "distinct_energies": len({round(c.energy, 4) for _, c in certified}),
        "useful": ours.useful,
        "of_all_lanes": ours.of_all_lanes,
        "handed_over": ours.handed_over,
    }
