"""The loop over steps: watches bonds and energies, writes frames, keeps checkpoints."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from topokrates.dynamics.integrators import Ensemble, State, System, integrator
from topokrates.dynamics.trajectory import Trajectory
from topokrates.identity.integrity import Kind, changes
from topokrates.model import checkpoint
from topokrates.model.errors import InputError
from topokrates.model.potential import Potential
from topokrates.model.progress import Progress, Silent
from topokrates.molecule import Molecule

PATIENCE = 30.0  # s between checkpoints
LOST = (Kind.NOT_FINITE, Kind.DISSOCIATED, Kind.BONDS)


@dataclass(frozen=True)
class Replica:
    """What became of one replica.

    Attributes:
        replica: its number, from 0.
        kept: whether every bond lasted to the end.
        time: up to which it was followed, fs (tau in reduced units).
        reason: "" or what happened: "bond C1-H4 broken".
        temperature: mean, K.
        drift: slope of the conserved quantity, meV per atom and ps (epsilon per atom and tau).
    """

    replica: int
    kept: bool
    time: float
    reason: str
    temperature: float
    drift: float


@dataclass(frozen=True)
class Dynamics:
    """A run of dynamics.

    Attributes:
        replicas: one by one.
        time: of the run, fs (tau in reduced units).
        trajectory: its file, or None.
    """

    replicas: list[Replica]
    time: float
    trajectory: Path | None

    @property
    def kept(self) -> float:
        """Share of replicas that kept every bond."""
        return float(np.mean([r.kept for r in self.replicas]))

    @property
    def first_failure(self) -> float | None:
        """Time at which the first replica lost a bond; None if all kept them."""
        return min((r.time for r in self.replicas if not r.kept), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; what is not a number is None."""

        def row(replica: Replica) -> dict[str, Any]:
            values = asdict(replica).items()
            return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in values}

        return {
            "time": self.time,
            "kept": self.kept,
            "first_failure": self.first_failure,
            "trajectory": str(self.trajectory) if self.trajectory else None,
            "replicas": [row(r) for r in self.replicas],
        }


def dynamics(
    potential: Potential,
    molecule: Molecule,
    starts: Sequence[np.ndarray],
    ensemble: Ensemble,
    steps: int,
    every: int = 100,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> Dynamics:
    """Molecular dynamics of replicas side by side.

    A replica whose bonds are no longer those of the molecule, asked every `every` steps, is not
    followed further.

    Args:
        potential: of the molecule.
        molecule: whose bonds are watched.
        starts: one (N, 3) for each replica, Å.
        ensemble: what is kept constant.
        steps: in all.
        every: steps between frames, and between looks at the bonds.
        output: extxyz of the frames; beside it, until the end, a checkpoint from which the same
            call goes on.
        progress: told how it goes.

    Raises:
        InputError: for settings that cannot be used, a start that is not the molecule, or a
            checkpoint of another run.
    """
    progress = progress or Silent()
    path = Path(output) if output else None
    check_length(steps, every)
    if not len(starts):
        raise InputError("no structure to start from")
    for lane, x in enumerate(starts):
        change = changes(molecule, x)
        if change.kind in LOST:
            raise InputError(f"start {lane} is not {molecule.name}: {change}")
    key = _key(potential, starts, ensemble, every)
    return _Run(potential, molecule, ensemble, steps, every, path, progress, key).go(starts)


def check_length(steps: int, every: int) -> None:
    """InputError for numbers of steps that are none."""
    if steps < 1 or every < 1:
        raise InputError(f"{steps} steps, frames every {every}: give at least 1 of each")


class _Run:
    def __init__(
        self,
        potential: Potential,
        molecule: Molecule,
        ensemble: Ensemble,
        steps: int,
        every: int,
        path: Path | None,
        progress: Progress,
        key: str,
    ):
        self.molecule, self.ensemble, self.key = molecule, ensemble, key
        self.steps, self.every, self.path, self.progress = steps, every, path, progress
        self.motion = integrator(potential, ensemble)
        self.system = System.of(potential)
        self.unit = 1e3 if self.system.unit == "fs" else 1.0  # meV, and fs to ps
        self.reasons: dict[int, str] = {}
        self.ended: dict[int, int] = {}
        self.samples: list[tuple[int, list[float], list[float]]] = []
        self.length = 0  # of the trajectory, bytes

    @property
    def saved(self) -> Path | None:
        return self.path and self.path.with_name(f"{self.path.name}.checkpoint")

    def go(self, starts: Sequence[np.ndarray]) -> Dynamics:
        state = self.motion.init(np.array(starts, float))
        length = 0
        if self.saved and self.saved.exists():
            state, length = self._resume(self.saved, state)
        elif self.path and self.path.exists():
            raise InputError(f"{self.path} exists: name another file, or remove it")
        self.length = length
        if state.time == 0:
            self._keep(state)  # before there is a file that might be somebody else's
        symbols = self.molecule.symbols
        self.file = Trajectory(self.path, length, symbols, self.system.unit)
        if state.time == 0:
            for lane in np.flatnonzero(~state.alive):
                self._lost(int(lane), 0, "energy or forces are not finite")
            state = self._look(state)
        self.progress.stage("md", self.steps, min(state.time, self.steps))
        last = time.monotonic()
        while state.time < self.steps and state.alive.any():
            alive = state.alive
            state = self.motion.step(state)
            for lane in np.flatnonzero(alive & ~state.alive):
                self._lost(int(lane), state.time, "coordinates or forces are not finite")
            if state.time % self.every == 0 or state.time == self.steps:
                state = self._look(state)
                if time.monotonic() - last > PATIENCE:
                    self._keep(state)
                    last = time.monotonic()
            self.progress.advance(state.time, self._message(state))
        # kept: a longer run may go on from here
        self._keep(state)
        return self._report(state)

    def _look(self, state: State) -> State:
        """A frame, after replicas have been set aside that are not the molecule any more."""
        alive = state.alive.copy()
        for lane in np.flatnonzero(alive):
            change = changes(self.molecule, state.positions[lane])
            if change.kind in LOST:
                alive[lane] = False
                self._lost(int(lane), state.time, str(change))
        # the last frame shows what became of it
        temperatures, conserved = self.motion.temperature(state), self.motion.conserved(state)
        self.file.add(state, state.time * self.ensemble.timestep, temperatures)
        self.length = self.file.length
        self.samples.append((state.time, temperatures.tolist(), conserved.tolist()))
        return state._replace(alive=alive)

    def _lost(self, lane: int, step: int, reason: str) -> None:
        self.ended[lane], self.reasons[lane] = step, reason

    def _message(self, state: State) -> str:
        if not self.samples:
            return ""
        alive = np.flatnonzero(state.alive)
        if not len(alive):
            return "no replica is left"
        mean = float(np.mean(np.array(self.samples[-1][1])[alive]))
        scale = "K" if self.system.unit == "fs" else "epsilon/k"
        return f"{len(alive)} of {len(state.alive)} replicas whole, {mean:.3g} {scale}"

    def _keep(self, state: State) -> None:
        if self.saved is None:
            return
        about = {
            "key": self.key,
            "length": self.length,
            "reasons": self.reasons,
            "ended": self.ended,
            "samples": self.samples,
        }
        checkpoint.save(self.saved, state, about)

    def _resume(self, saved: Path, like: State) -> tuple[State, int]:
        state, about = checkpoint.load(saved, like)
        if about["key"] != self.key:
            raise InputError(
                f"{saved} belongs to a run with other settings: name another --output, or remove it"
            )
        self.reasons = {int(k): v for k, v in about["reasons"].items()}
        self.ended = {int(k): v for k, v in about["ended"].items()}
        self.samples = [(step, t, e) for step, t, e in about["samples"]]
        return state._replace(time=int(state.time)), about["length"]

    def _report(self, state: State) -> Dynamics:
        dt = self.ensemble.timestep
        steps = np.array([sample[0] for sample in self.samples])
        temperatures = np.array([sample[1] for sample in self.samples])
        conserved = np.array([sample[2] for sample in self.samples])
        replicas = []
        for lane in range(len(state.alive)):
            end = self.ended.get(lane, state.time)
            seen = steps <= end
            times = steps[seen] * dt / self.unit
            slope = np.nan
            if len(times) > 1:
                slope = float(np.polyfit(times, conserved[seen, lane], 1)[0])
            replicas.append(
                Replica(
                    lane,
                    lane not in self.ended,
                    end * dt,
                    self.reasons.get(lane, ""),
                    # the first frame has the velocities that were drawn
                    float(np.mean(temperatures[seen, lane][1:] if seen.sum() > 1 else np.nan)),
                    self.unit * slope / self.molecule.n_atoms,
                )
            )
        return Dynamics(replicas, state.time * dt, self.path)


def _key(potential: Potential, starts: Sequence[np.ndarray], ensemble: Ensemble, every: int) -> str:
    """Says whether a checkpoint is of this run; more steps may be asked for."""
    head = {"potential": potential.provenance(), "ensemble": asdict(ensemble), "every": every}
    digest = sha256(json.dumps(head, sort_keys=True, default=str).encode())
    digest.update(np.asarray(starts, "<f8").tobytes())
    return digest.hexdigest()
