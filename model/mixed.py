"""Batches of different molecules: one compiled call for all that fit one size.

A `Potential` is one molecule, and a search needs no more. Labelled data and dynamics of many
molecules do: here structures of any composition are sorted into buckets by their number of atoms,
padded to the size of the bucket, and evaluated side by side. What a structure gets does not depend
on its company.
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from topokrates.model.errors import InputError
from topokrates.model.layout import Edges, Rows
from topokrates.model.neighbours import Lists
from topokrates.model.network import NetworkEnergy, NetworkForceField, NetworkPotential


class Structure(NamedTuple):
    """Atomic numbers (N,), positions (N, 3) in Å, total charge in e, unpaired electrons."""

    numbers: np.ndarray
    positions: np.ndarray
    charge: int = 0
    unpaired: int = 0


def bucket(atoms: int) -> int:
    """Size of the arrays for so many atoms: a multiple of 8, at most a quarter more than needed."""
    size = 8
    while size < atoms:
        size = -(-max(size + 8, int(1.25 * size)) // 8) * 8
    return size


def energies_and_forces(
    force_field: NetworkForceField, structures: Sequence[Structure], lanes: int | None = None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Energies and forces of different molecules.

    Args:
        force_field: of a network.
        structures: of any composition.
        lanes: structures per compiled call; None for what suits the device.

    Returns:
        Energies (B,) in eV and forces, a list of (N, 3) in eV/Å, in the order of the structures.
        NaN where a position is not finite.

    Raises:
        InputError: for an element that the network does not know, or shapes that do not fit.
    """
    bound: dict[Any, NetworkPotential] = {}
    groups: dict[Any, list[int]] = defaultdict(list)
    keys = []
    for number, structure in enumerate(structures):
        numbers = np.asarray(structure.numbers)
        if np.shape(structure.positions) != (len(numbers), 3):
            raise InputError(
                f"structure {number}: positions of shape {np.shape(structure.positions)} "
                f"for {len(numbers)} atoms; give ({len(numbers)}, 3)"
            )
        state = (int(structure.charge), int(structure.unpaired))
        key = (numbers.tobytes(), *state)
        if key not in bound:
            bound[key] = force_field.bind(numbers, *state, atoms=bucket(len(numbers)))
        keys.append(key)
        # ions have parameters of their own (the first layer's table), the rest share them
        groups[bucket(len(numbers)), key if any(state) else None].append(number)

    energies = np.full(len(structures), np.nan)
    forces = [np.full(np.shape(structure.positions), np.nan) for structure in structures]
    for (size, _), members in groups.items():
        sound = [k for k in members if np.isfinite(structures[k].positions).all()]
        width = lanes or bound[keys[members[0]]].lanes_per_call
        for start in range(0, len(sound), width):
            chunk = sound[start : start + width]
            filled = [chunk[k % len(chunk)] for k in range(min(width, len(sound)))]
            potentials = [bound[keys[k]] for k in filled]
            positions = [np.asarray(structures[k].positions, float) for k in filled]
            found, gradients = _evaluated(potentials, positions, size)
            for lane, k in enumerate(chunk):
                energies[k] = found[lane]
                forces[k] = -gradients[lane][: len(structures[k].numbers)]
    return energies, forces


def _evaluated(
    potentials: list[NetworkPotential], positions: list[np.ndarray], size: int
) -> tuple[np.ndarray, np.ndarray]:
    """One compiled call."""
    first = potentials[0]
    padded = np.zeros((len(positions), size, 3), first.dtype)
    for lane, x in enumerate(positions):
        padded[lane, : len(x)] = x
    one = np.zeros(1, int)
    listed = [p.listed(one, padded[k : k + 1]) for k, p in enumerate(potentials)]
    molecules = [
        {key: leaf for key, leaf in p.inputs.items() if key not in ("params", "far")}
        for p in potentials
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *molecules)
    shared = {key: first.inputs[key] for key in ("params", "far")}
    return jax.device_get(_mixed(first.function, shared, stacked, _joined(listed), padded))


def _joined(listed: list[Lists]) -> Lists:
    """Lists of several structures, padded to the longest."""
    joined: Lists = {}
    for name, one in listed[0].items():
        columns = [entry[name] for entry in listed]
        length = max(ends[0].shape[-1] for ends in columns)
        if isinstance(one, Edges):
            padded = [[_padded(ends, length, 0) for ends in column] for column in columns]
            joined[name] = Edges(*(np.concatenate(ends) for ends in zip(*padded, strict=True)))
        else:
            own = np.arange(one.senders.shape[1], dtype=np.int32)[:, None]
            rows = [_padded(column.senders, length, own) for column in columns]
            joined[name] = Rows(np.concatenate(rows))
    return joined


def _padded(array: np.ndarray, length: int, filler: Any) -> np.ndarray:
    full = np.empty((*array.shape[:-1], length), array.dtype)
    full[...] = filler
    full[..., : array.shape[-1]] = array
    return full


@partial(jax.jit, static_argnums=0)
def _mixed(
    function: NetworkEnergy, shared: dict[str, Any], molecules: Any, lists: Any, positions: Array
) -> tuple[Array, Array]:
    def energy(x: Array, molecule: dict[str, Any], listed: Any) -> Array:
        return function(molecule | shared, x, listed)

    return jax.vmap(jax.value_and_grad(energy))(positions, molecules, lists)
