"""The batched minimiser: one gradient a step, and lanes that never wait for each other.

A descent is a plain loop on the host around two compiled calls, the potential's and the step's
(`steps`), so that a potential that cannot be compiled (any ASE calculator) is minimised by the same
code. Lanes are independent: each has its own Hessian, trust radius and `Status`, and a lane that
has ended is given the next structure that waits.

Steps are computed a few lanes at a time, always as many, so that one shape is compiled and a lane
gets the same bits whoever is beside it. When no structure waits any more, the lanes that are left
move together and the rest is not computed.

Clusters of a potential that a compiled loop can hold go down inside one (`swift`).

A lane whose internal coordinates fail (an angle has become straight, a bond has broken, a step is
not finite, the energy falls no further) goes on in Cartesian coordinates from where it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from topokrates.model.compiled import CompiledPotential
from topokrates.model.potential import Potential
from topokrates.relaxation import steps, swift
from topokrates.relaxation.internals import Coordinates
from topokrates.relaxation.swift import EXPLODED_FORCE

DESCENT_FORCE = 1e-3  # where a descent ends and recognition or polish begins
MAX_STEPS = 1000
LARGEST_STEP = 0.4  # Å or radians, of any one coordinate
CHUNK_CPU, CHUNK_OTHERS = 4, 64  # lanes whose steps are computed together


class Status(StrEnum):
    """How a lane ended."""

    CONVERGED = "converged"
    CERTIFIED = "certified"
    NOT_CONVERGED = "not converged"
    SADDLE = "saddle"
    EXPLODED = "not finite"
    RUNNING = "running"


class Descent(NamedTuple):
    """Where one structure came to rest.

    Attributes:
        index: which of the starts it was.
        positions: (N, 3).
        energy, max_force: there; the force is the largest component-wise norm of an atom.
        gradient_calls: force evaluations spent.
        status: CONVERGED, NOT_CONVERGED or EXPLODED.
    """

    index: int
    positions: np.ndarray
    energy: float
    max_force: float
    gradient_calls: int
    status: Status


@dataclass
class Usage:
    """What descents computed, and how much of it was of use; added up over calls.

    Attributes:
        gradient_calls: structures whose energy and forces were evaluated.
        lane_steps: lanes whose step was computed, empty ones among them.
        useful_lane_steps: those that held a structure that was not at rest before.
        handed_over: lanes that went on in Cartesian coordinates.
    """

    gradient_calls: int = 0
    lane_steps: int = 0
    useful_lane_steps: int = 0
    handed_over: int = 0

    @property
    def useful(self) -> float:
        """Useful share of all lane-steps."""
        return self.useful_lane_steps / self.lane_steps if self.lane_steps else 1.0


class _Job:
    """A structure on its way down, and the slot of a pool that it is in."""

    pool: "_Pool"
    slot: int

    def __init__(self, index: int):
        self.index, self.calls = index, 0


class _Pool:
    """Lanes that share coordinates, in chunks of a fixed size; chunks come and go."""

    def __init__(self, coordinates: Coordinates, largest_step: float, size: int):
        self.coordinates, self.size = coordinates, size
        self.fresh = steps.blank(coordinates, size, largest_step)
        self.chunks: list[steps.Lane] = []
        self.jobs: list[_Job | None] = []  # by slot

    def enter(self, job: _Job, positions: np.ndarray) -> None:
        """A structure (N, 3) begins here."""
        if None not in self.jobs:
            self.chunks.append(self.fresh)
            self.jobs += [None] * self.size
        slot = self.jobs.index(None)
        chunk, lane = divmod(slot, self.size)
        x = jnp.asarray(positions, jnp.float64)
        self.chunks[chunk] = steps.load(self.chunks[chunk], self.fresh, lane, x)
        self.jobs[slot], job.pool, job.slot = job, self, slot

    def take(self, job: _Job) -> None:
        """A job comes over from another pool."""
        chunk, lane = divmod(job.slot, job.pool.size)
        positions = np.asarray(job.pool.chunks[chunk].positions[lane])
        job.pool.leave(job)
        self.enter(job, positions)

    def leave(self, job: _Job) -> None:
        self.jobs[job.slot] = None

    def gather(self) -> None:
        """Moves lanes together until as few chunks as possible are left."""
        while self.jobs.count(None) >= self.size:
            if all(job is None for job in self.jobs[-self.size :]):
                self.chunks.pop()
                del self.jobs[-self.size :]
                continue
            slot = self.jobs.index(None)
            job = next(job for job in reversed(self.jobs) if job is not None)
            (chunk, lane), (old, place) = (divmod(k, self.size) for k in (slot, job.slot))
            self.chunks[chunk] = steps.move(self.chunks[old], place, self.chunks[chunk], lane)
            self.jobs[job.slot], self.jobs[slot], job.slot = None, job, slot

    def positions(self) -> np.ndarray:
        """Where gradients are wanted, (M, N, 3), in the order of the slots."""
        every = np.concatenate([np.asarray(chunk.positions) for chunk in self.chunks])
        return every[[job is not None for job in self.jobs]]

    def advance(
        self, energies: np.ndarray, gradients: np.ndarray, active: np.ndarray, noise: float
    ) -> list[_Job]:
        """One step of every active slot; the jobs for which these coordinates will do no longer."""
        lost: list[_Job] = []
        for k, chunk in enumerate(self.chunks):
            own = slice(k * self.size, (k + 1) * self.size)
            if not active[own].any():
                continue
            chunk = self.chunks[k] = steps.advance(
                self.coordinates, chunk, energies[own], gradients[own], active[own], noise
            )
            jobs = zip(self.jobs[own], np.asarray(chunk.lost) & active[own], strict=True)
            lost += [job for job, gone in jobs if gone and job is not None]
        return lost


class _Lanes:
    """All lanes of a descent: a pool in the molecule's coordinates and one in Cartesian ones."""

    def __init__(self, coordinates: Coordinates, largest_step: float, lanes: int):
        # larger ones on a device that has many processors
        on_cpu = jax.default_backend() == "cpu"
        size = CHUNK_CPU if on_cpu else min(CHUNK_OTHERS, 1 << max(lanes - 1, 1).bit_length())
        self.pool = _Pool(coordinates, largest_step, size)
        self.fallback = self.pool
        if not coordinates.cartesian:
            self.fallback = _Pool(coordinates.as_cartesian(), largest_step, size)
        self.pools = list(dict.fromkeys([self.pool, self.fallback]))

    @property
    def jobs(self) -> list[_Job]:
        return [job for pool in self.pools for job in pool.jobs if job is not None]

    def advance(
        self,
        jobs: list[_Job],
        energies: np.ndarray,
        forces: np.ndarray,
        ended: np.ndarray,
        noise: float,
    ) -> int:
        """One step of all jobs but those that ended; how many were handed over."""
        moved = 0
        for pool in self.pools:
            if not pool.chunks:
                continue
            slots = len(pool.jobs)
            energy, active = np.zeros(slots), np.zeros(slots, bool)
            gradient = np.zeros((slots, *forces.shape[1:]))
            mine = [k for k, job in enumerate(jobs) if job.pool is pool and not ended[k]]
            at = [jobs[k].slot for k in mine]
            energy[at], gradient[at], active[at] = energies[mine], -forces[mine], True
            for job in pool.advance(energy, gradient, active, noise):
                self.fallback.take(job)
                moved += 1
        return moved


def descend(
    potential: Potential,
    coordinates: Coordinates,
    starts: Iterable[np.ndarray],
    max_force: float = DESCENT_FORCE,
    max_steps: int = MAX_STEPS,
    lanes: int = 16,
    largest_step: float = LARGEST_STEP,
    usage: Usage | None = None,
) -> Iterator[Descent]:
    """Minimises structures, yielding each as it comes to rest.

    Args:
        potential: of one molecule, any precision.
        coordinates: from `internals.coordinates`.
        starts: structures (N, 3); read as lanes become free.
        max_force: norm of the largest force on an atom at which a lane has converged.
        max_steps: gradient calls after which a lane is given up.
        lanes: size of the batch.
        largest_step: of any one coordinate, Å or radians.
        usage: counts what is computed, if given.

    Yields:
        A `Descent` per start, in the order in which they end. Those that end together come in the
        order of the starts.
    """
    usage = usage or Usage()
    if coordinates.cartesian and not len(coordinates.bonds) and _is_closed(potential):
        yield from _swiftly(potential, starts, max_force, max_steps, lanes, usage)
        return
    waiting = enumerate(starts)
    noise = max(1e-9, 4 * float(np.finfo(potential.dtype).eps))
    live = _Lanes(coordinates, largest_step, lanes)
    emptied = False
    while True:
        while not emptied and len(live.jobs) < lanes:
            if (item := next(waiting, None)) is None:
                emptied = True
            else:
                live.pool.enter(_Job(item[0]), item[1])
        for pool in live.pools:
            if emptied:
                pool.gather()
            usage.lane_steps += len(pool.jobs)
        if not (jobs := live.jobs):
            return
        positions = np.concatenate([pool.positions() for pool in live.pools if pool.chunks])
        energies, forces = potential.energies_and_forces(positions)
        energies, forces = np.asarray(energies, float), np.asarray(forces, float)
        usage.gradient_calls += len(jobs)
        usage.useful_lane_steps += len(jobs)
        largest = np.sqrt(np.max(np.sum(forces**2, axis=2), axis=1))
        finite = np.isfinite(energies) & np.isfinite(largest) & (largest < EXPLODED_FORCE)
        converged = finite & (largest <= max_force)
        for job in jobs:
            job.calls += 1
        calls = np.array([job.calls for job in jobs])
        ended = ~finite | converged | (calls >= max_steps)
        usage.handed_over += live.advance(jobs, energies, forces, ended, noise)
        for k in sorted(np.flatnonzero(ended), key=lambda k: jobs[k].index):
            jobs[k].pool.leave(jobs[k])
            status = Status.CONVERGED if converged[k] else Status.NOT_CONVERGED
            yield Descent(
                jobs[k].index,
                positions[k],
                float(energies[k]),
                float(largest[k]),
                int(calls[k]),
                status if finite[k] else Status.EXPLODED,
            )


def _is_closed(potential: Potential) -> TypeGuard[CompiledPotential]:
    return isinstance(potential, CompiledPotential) and potential.closed


def _swiftly(
    potential: CompiledPotential,
    starts: Iterable[np.ndarray],
    max_force: float,
    max_steps: int,
    lanes: int,
    usage: Usage,
) -> Iterator[Descent]:
    """Clusters of a potential that a compiled loop can hold."""

    def count(useful: int, computed: int) -> None:
        usage.gradient_calls += useful
        usage.useful_lane_steps += useful
        usage.lane_steps += computed

    function, inputs = potential.function, potential.inputs
    for rest in swift.descend(function, inputs, starts, max_force, max_steps, lanes, count):
        largest = float(np.sqrt(np.max(np.sum(rest.gradient**2, axis=1))))
        finite = np.isfinite(rest.energy) and largest < EXPLODED_FORCE
        status = Status.CONVERGED if largest <= max_force else Status.NOT_CONVERGED
        yield Descent(
            rest.index,
            rest.positions,
            rest.energy,
            largest,
            rest.calls,
            status if finite else Status.EXPLODED,
        )
