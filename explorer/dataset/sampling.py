"""Structures of one molecule from all over its landscape: what a force field must know to explore.

Starts are random in every torsion (all backbone basins, all rotamers, rings puckered) or embedded
by distance geometry, some with an amide turned over. From there:

- "relaxing": somewhere on the way down, from a few steps to a minimum;
- "thermal": minima shaken as at 300 to 800 K, all stiff motions at once, drawn from a model Hessian
  (so that each costs no gradient but its label);
- "dynamics": frames of short Langevin dynamics at these temperatures;
- "escape": where minima hopping gets to, over the lowest barriers, and the tops that it passes;
- "transition": minima with one torsion turned, and a few steps in which the rest gives way;
- "clash": torsions turned until atoms come too near one another.
"""

from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from ase import units

from topokrates.dynamics.integrators import Ensemble, integrator
from topokrates.model.potential import Potential
from topokrates.molecule import Molecule, set_rotor
from topokrates.relaxation.internals import Coordinates, coordinates
from topokrates.relaxation.modes import modes
from topokrates.relaxation.relax import descend
from topokrates.search import escape, minima_hopping
from topokrates.search.moves import smallest_gaps, start

SHARES = {
    "relaxing": 0.25,
    "thermal": 0.3,
    "dynamics": 0.15,
    "escape": 0.1,
    "transition": 0.12,
    "clash": 0.08,
}
TEMPERATURES = (300.0, 500.0, 800.0)
STEPS = (3, 10, 30, 200)  # of a descent
RESTED = 30  # steps after which a structure is as good as a minimum here
CIS = 0.15  # chance that one amide of a start is turned over
SOFTEST = 0.5  # eV/Å^2: torsions are drawn otherwise, and would bend what is shaken along a line
STRIDE, FRAMES = 40, 5  # of dynamics: steps between frames, and frames
TIMESTEP, FRICTION = 0.5, 10.0  # fs, 1/ps
GIVING_WAY = 5  # steps of a descent
TOO_NEAR = (1.0, 1.3)  # smallest gap of a clash, over the sum of the covalent radii
TRIES = 200


def sample(
    molecule: Molecule, potential: Potential, count: int, rng: np.random.Generator
) -> list[tuple[str, np.ndarray]]:
    """About so many structures of a molecule, (kind, (N, 3) in Å), each once.

    Args:
        molecule: what is drawn.
        potential: that descents and dynamics run on; in most uses the one that labels.
        count: of structures, at least 10.
        rng: the source of chance.
    """
    wanted = {kind: max(1, round(share * count)) for kind, share in SHARES.items()}
    internal = coordinates(molecule.bonds, molecule.positions)
    relaxed, rested = _relaxed(molecule, potential, internal, wanted["relaxing"], rng)
    found = [("relaxing", x) for x in relaxed]
    rested = rested or relaxed
    makers: Mapping[str, Callable[[int], list[np.ndarray]]] = {
        "dynamics": lambda n: _dynamics(potential, rested, n, rng),
        "escape": lambda n: _escaping(molecule, potential, internal, rested, n, rng),
        "transition": lambda n: _turned(molecule, potential, internal, rested, n, rng),
        "clash": lambda n: _clashing(molecule, rested, n, rng),
    }
    for kind, make in makers.items():
        found += [(kind, x) for x in make(wanted[kind])]
    # and in place of what the molecule has none of
    left = count - len(found)
    return found + [("thermal", x) for x in shaken(internal, rested, left, rng)]


def _relaxed(
    molecule: Molecule,
    potential: Potential,
    internal: Coordinates,
    count: int,
    rng: np.random.Generator,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Structures on the way down, and those of them that are nearly at rest."""
    starts = [
        _some_amide_turned(molecule, start(molecule, rng, walker + 1), rng)
        for walker in range(count)
    ]
    steps = np.resize(rng.permutation(STEPS), count)
    found, rested = [], []
    for most in STEPS:
        chosen = [x for x, k in zip(starts, steps, strict=True) if k == most]
        for end in descend(potential, internal, chosen, max_force=0.02, max_steps=most, lanes=8):
            if np.isfinite(end.positions).all():
                found.append(end.positions)
                rested += [end.positions] if most >= RESTED else []
    return found, rested


def _some_amide_turned(molecule: Molecule, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With some chance, one amide turned by half a turn."""
    amides = [rotor for rotor in molecule.rotatable if rotor.kind == "omega"]
    if not amides or rng.random() > CIS:
        return x
    return set_rotor(x, amides[rng.integers(len(amides))], np.pi)


def shaken(
    internal: Coordinates, rested: Sequence[np.ndarray], count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Minima displaced along the modes of a model Hessian by what temperature allows."""
    shapes = [_modes(internal, x) for x in rested[:count]]
    found = []
    for k in range(count):
        x, scaled = rested[k % len(rested)], shapes[k % len(rested)]
        spread = np.sqrt(units.kB * rng.choice(TEMPERATURES))
        found.append(x + spread * (scaled @ rng.normal(size=scaled.shape[1])).reshape(x.shape))
    return found


def _modes(internal: Coordinates, x: np.ndarray) -> np.ndarray:
    """Modes of the model Hessian over the roots of their stiffness, (3N, M)."""
    b = np.asarray(internal.jacobian(jnp.asarray(x)))
    stiffness = b.T @ np.asarray(internal.model_hessian(jnp.asarray(x))) @ b
    values, vectors = modes(stiffness, x)
    return vectors / np.sqrt(np.maximum(values, SOFTEST))


def _dynamics(
    potential: Potential, rested: list[np.ndarray], count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    runs = -(-count // FRAMES)
    for k in range(runs):
        temperature = float(TEMPERATURES[k % len(TEMPERATURES)])
        seed = int(rng.integers(2**31))
        ensemble = Ensemble("langevin", temperature, TIMESTEP, FRICTION, seed=seed)
        motion = integrator(potential, ensemble)
        state = motion.init(rested[k % len(rested)][None])
        for _ in range(FRAMES):
            for _ in range(STRIDE):
                state = motion.step(state)
            if state.alive[0]:
                found.append(state.positions[0])
    return found[:count]


def _escaping(
    molecule: Molecule,
    potential: Potential,
    internal: Coordinates,
    rested: list[np.ndarray],
    count: int,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Ends and tops of the short dynamics by which minima hopping leaves its minima."""
    minima = np.resize(rng.permutation(rested), (-(-count // 2), *rested[0].shape))
    noise = rng.normal(size=minima.shape)
    directions = np.stack(
        [escape.coloured(internal, x, one) for x, one in zip(minima, noise, strict=True)]
    )
    heat = minima_hopping.settings(molecule).kinetic * max(3 * molecule.n_atoms - 6, 1)
    kinetic = heat * 2 ** rng.uniform(-1, 1, len(minima))
    ran = escape.escape(potential, minima, kinetic, directions, escape.MOLECULES)
    both = np.concatenate([ran.positions, ran.tops])
    return list(both[np.isfinite(both).all(axis=(1, 2))][:count])


def _turned(
    molecule: Molecule,
    potential: Potential,
    internal: Coordinates,
    rested: list[np.ndarray],
    count: int,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """One torsion anywhere, most often on a barrier, and little strain otherwise."""
    rotors = molecule.rotatable
    starts: list[np.ndarray] = []
    for _ in range(TRIES * count):
        if len(starts) == count or not rotors:
            break
        x = rested[rng.integers(len(rested))]
        x = set_rotor(x, rotors[rng.integers(len(rotors))], rng.uniform(-np.pi, np.pi))
        if smallest_gaps(molecule, x[None])[0] > TOO_NEAR[1]:
            starts.append(x)
    ends = descend(potential, internal, starts, max_steps=GIVING_WAY, lanes=8)
    return [end.positions for end in ends if np.isfinite(end.positions).all()]


def _clashing(
    molecule: Molecule, rested: list[np.ndarray], count: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Torsions turned at random, of those draws in which atoms come a little too near."""
    found: list[np.ndarray] = []
    rotors = molecule.rotatable
    if not rotors:
        return found
    for _ in range(TRIES * count):
        if len(found) == count:
            break
        x = rested[rng.integers(len(rested))]
        for rotor in rng.permutation(len(rotors))[:3]:
            x = set_rotor(x, rotors[rotor], rng.uniform(-np.pi, np.pi))
        gap = smallest_gaps(molecule, x[None])[0]
        if TOO_NEAR[0] < gap < TOO_NEAR[1]:
            found.append(x)
    return found
