"""Equations of motion of B replicas of one molecule: `init` makes a `State`, `step` the next one.

- "nve": velocity Verlet (Swope et al., J. Chem. Phys. 76, 637 (1982)).
- "langevin": BAOAB splitting (Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013)); friction
  and noise between two half steps of the positions, which samples configurations best.
- "nose-hoover": a chain of thermostats (Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635
  (1992)), deterministic.

Each has a quantity that exact integration would conserve. A replica moves as it would alone: its
noise depends on the seed, its number and the step, and on nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import units as ase_units
from ase.data import atomic_masses

from topokrates.analysis.vibrations import rigid_motions
from topokrates.model.errors import InputError
from topokrates.model.potential import ELECTRONVOLT, Potential

ENSEMBLES = ("nve", "langevin", "nose-hoover")
CHAIN = 3  # thermostats


class State(NamedTuple):
    """Where B replicas of N atoms are.

    Attributes:
        positions: (B, N, 3), Å.
        velocities: (B, N, 3), Å per internal unit of time, sqrt(amu/eV) Å.
        forces: (B, N, 3), eV/Å.
        energies: potential ones, (B,), eV.
        heat: what the surroundings have given, (B,), eV; "langevin" only.
        chain: positions and velocities of the thermostats, (B, 2, CHAIN); "nose-hoover" only.
        freedom: degrees of freedom that carry kinetic energy, (B,).
        alive: whether the replica is still followed, (B,).
        time: steps done.
    """

    positions: np.ndarray
    velocities: np.ndarray
    forces: np.ndarray
    energies: np.ndarray
    heat: np.ndarray
    chain: np.ndarray
    freedom: np.ndarray
    alive: np.ndarray
    time: int


@dataclass(frozen=True)
class Ensemble:
    """What is kept constant, and how steps are taken.

    Attributes:
        kind: of `ENSEMBLES`.
        temperature: K (epsilon/k_B in reduced units); of the first velocities too.
        timestep: fs (the unit of time in reduced units).
        friction: of "langevin", 1/ps (1 per unit of time).
        period: of "nose-hoover", in which the thermostat answers, fs (units of time).
        seed: of velocities and noise.
    """

    kind: str = "langevin"
    temperature: float = 300.0
    timestep: float = 0.5
    friction: float = 2.0
    period: float = 50.0
    seed: int = 0

    def check(self) -> None:
        """InputError for what no dynamics could be done with."""
        if self.kind not in ENSEMBLES:
            raise InputError(f"unknown ensemble {self.kind!r}: use {', '.join(ENSEMBLES)}")
        for name in ("temperature", "timestep", "friction", "period"):
            value = getattr(self, name)
            if not 0 < value < np.inf:
                raise InputError(f"a {name} of {value}: give a number above 0")


@dataclass(frozen=True, eq=False)
class System:
    """Masses and units of a potential's atoms.

    Attributes:
        masses: (N, 1), amu (1 in reduced units).
        boltzmann: eV/K (1).
        femtosecond, picosecond: in internal units of time (1).
        unit: of time, as it is shown: "fs", or "tau" in reduced units.
    """

    masses: np.ndarray
    boltzmann: float
    femtosecond: float
    picosecond: float
    unit: str

    @classmethod
    def of(cls, potential: Potential) -> "System":
        atoms = len(potential.numbers)
        if potential.units != ELECTRONVOLT:
            return cls(np.ones((atoms, 1)), 1.0, 1.0, 1.0, "tau")
        masses = atomic_masses[potential.numbers][:, None]
        return cls(masses, ase_units.kB, ase_units.fs, 1000 * ase_units.fs, "fs")

    def kinetic(self, velocities: np.ndarray) -> np.ndarray:
        """Kinetic energies (B,) of velocities (B, N, 3), eV."""
        return 0.5 * np.sum(self.masses * velocities**2, axis=(1, 2))


class Integrator(NamedTuple):
    """Functions of one ensemble on one potential.

    Attributes:
        init: of positions (B, N, 3) to a `State`.
        step: to the next one.
        temperature: of each replica now, (B,), K.
        conserved: what should stay as it is, (B,), eV.
    """

    init: Callable[[np.ndarray], State]
    step: Callable[[State], State]
    temperature: Callable[[State], np.ndarray]
    conserved: Callable[[State], np.ndarray]


def integrator(potential: Potential, ensemble: Ensemble) -> Integrator:
    """The functions of an ensemble; raises InputError for settings that are none."""
    ensemble.check()
    system = System.of(potential)
    dt = ensemble.timestep * system.femtosecond
    thermal = system.boltzmann * ensemble.temperature
    masses, atoms = system.masses, len(potential.numbers)
    stochastic = ensemble.kind == "langevin"
    bath = _Chain(thermal, ensemble.period * system.femtosecond)
    keep = np.exp(-ensemble.friction * dt / system.picosecond)
    spread = np.sqrt((1 - keep**2) * thermal / masses)

    def evaluate(positions: np.ndarray, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        energies, forces = potential.energies_and_forces(positions, alive)
        return np.asarray(energies, float), np.asarray(forces, float)

    def init(positions: np.ndarray) -> State:
        positions = np.array(positions, float)
        count = len(positions)
        velocities = np.zeros_like(positions)
        # friction and noise move the whole as well; the others leave that at rest
        freedom = np.full(count, 3.0 * atoms)
        alive = np.asarray(np.isfinite(positions).all(axis=(1, 2)))
        for lane in np.flatnonzero(alive):
            x, basis = positions[lane], rigid_motions(positions[lane], masses[:, 0])
            freedom[lane] -= 0 if stochastic else basis.shape[1]
            noise = _noise(ensemble.seed, int(lane), 0, x.shape)
            velocities[lane] = _without(basis, np.sqrt(thermal / masses) * noise, masses)
        energies, forces = evaluate(positions, alive)
        alive &= np.isfinite(energies) & np.isfinite(forces).all(axis=(1, 2))
        chain = np.zeros((count, 2, CHAIN))
        heat = np.zeros(count)
        return State(positions, velocities, forces, energies, heat, chain, freedom, alive, 0)

    def step(state: State) -> State:
        alive = state.alive
        x, v = state.positions.copy(), state.velocities.copy()
        heat, chain = state.heat.copy(), state.chain.copy()
        if ensemble.kind == "nose-hoover":
            v[alive], chain[alive] = bath.half(
                v[alive], chain[alive], system.kinetic(v[alive]), state.freedom[alive], dt
            )
        v[alive] += dt / 2 * state.forces[alive] / masses
        if stochastic:
            x[alive] += dt / 2 * v[alive]
            before = system.kinetic(v)
            for lane in np.flatnonzero(alive):
                noise = _noise(ensemble.seed, int(lane), state.time + 1, v[lane].shape)
                v[lane] = keep * v[lane] + spread * noise
            heat[alive] += (system.kinetic(v) - before)[alive]
            x[alive] += dt / 2 * v[alive]
        else:
            x[alive] += dt * v[alive]
        energies, forces = evaluate(x, alive)
        alive = alive & np.isfinite(energies) & np.isfinite(forces).all(axis=(1, 2))
        v[alive] += dt / 2 * forces[alive] / masses
        if ensemble.kind == "nose-hoover":
            v[alive], chain[alive] = bath.half(
                v[alive], chain[alive], system.kinetic(v[alive]), state.freedom[alive], dt
            )
        # one that has failed stays as it last was
        was = ~alive
        for new, old in (
            (x, state.positions),
            (v, state.velocities),
            (forces, state.forces),
            (energies, state.energies),
        ):
            new[was] = old[was]
        return State(x, v, forces, energies, heat, chain, state.freedom, alive, state.time + 1)

    def temperature(state: State) -> np.ndarray:
        kinetic = system.kinetic(state.velocities)
        return 2 * kinetic / (state.freedom * system.boltzmann)

    def conserved(state: State) -> np.ndarray:
        total = state.energies + system.kinetic(state.velocities) - state.heat
        if ensemble.kind == "nose-hoover":
            total = total + bath.energy(state.chain, state.freedom)
        return total

    return Integrator(init, step, temperature, conserved)


class _Chain:
    """A Nosé-Hoover chain: half steps of B chains on B sets of velocities."""

    def __init__(self, thermal: float, period: float):
        self.thermal = thermal
        self.mass = thermal * period**2  # of all but the first, which has `freedom` times as much

    def masses(self, freedom: np.ndarray) -> np.ndarray:
        masses = np.full((len(freedom), CHAIN), self.mass)
        masses[:, 0] *= freedom
        return masses

    def half(
        self,
        velocities: np.ndarray,
        chain: np.ndarray,
        kinetic: np.ndarray,
        freedom: np.ndarray,
        dt: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Half a step of the thermostats, from the end of the chain to its beginning and back."""
        masses, h = self.masses(freedom), dt / 2
        place, speed = chain[:, 0].copy(), chain[:, 1].copy()
        twice = 2 * kinetic

        def force(k: int) -> np.ndarray:
            if k == 0:
                return (twice - freedom * self.thermal) / masses[:, 0]
            return (masses[:, k - 1] * speed[:, k - 1] ** 2 - self.thermal) / masses[:, k]

        def kick(k: int) -> None:
            slow = np.exp(-h / 4 * speed[:, k + 1]) if k < CHAIN - 1 else 1.0
            speed[:, k] = (speed[:, k] * slow + h / 2 * force(k)) * slow

        for k in reversed(range(CHAIN)):
            kick(k)
        scale = np.exp(-h * speed[:, 0])
        twice = twice * scale**2
        place += h * speed
        for k in range(CHAIN):
            kick(k)
        return velocities * scale[:, None, None], np.stack([place, speed], axis=1)

    def energy(self, chain: np.ndarray, freedom: np.ndarray) -> np.ndarray:
        """What the thermostats hold, (B,)."""
        place, speed = chain[:, 0], chain[:, 1]
        weights = np.ones_like(place)
        weights[:, 0] = freedom
        motion = 0.5 * np.sum(self.masses(freedom) * speed**2, axis=1)
        return motion + self.thermal * np.sum(weights * place, axis=1)


def _noise(seed: int, lane: int, step: int, shape: tuple[int, ...]) -> np.ndarray:
    """Normal numbers that depend on these alone."""
    bits = np.random.Philox(key=seed, counter=[0, 0, lane, step])
    return np.random.Generator(bits).standard_normal(shape)


def _without(basis: np.ndarray, velocities: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Velocities (N, 3) without the motions of a mass-weighted basis."""
    root = np.sqrt(masses)
    flat = (velocities * root).ravel()
    return (flat - basis @ (basis.T @ flat)).reshape(velocities.shape) / root
