"""Rates between minima by transition-state theory, and groups of minima that exchange quickly.

The rate over the transition states t of a pair is

    k_ij = kT/h  sum_t Z_t / Z_i

with the partition functions of `topokrates.analysis.thermodynamics`, so that it is Eyring's rate of
harmonic (and, if asked for, rotating) bodies for quantum vibrations, and harmonic transition-state
theory with nu_1 ... nu_K / (nu'_1 ... nu'_(K-1)) for classical ones. No tunnelling, no recrossing.
The numbers of labelled copies are in Z, so each way through a symmetric transition state counts.
Degenerate rearrangements lead back to the same minimum and are left out.

What is kept of a pair is the equilibrium flux, Z_i k_ij = Z_j k_ji, one number for both directions:
detailed balance holds by construction. Everything is kept as logarithms.

A transition state has one vibration less than a minimum, so its free energy, and with it every
barrier and threshold of free energy, depends on the size of h. In reduced units, where hbar = 1 is
a convention, a barrier may come out negative; rates do not depend on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from topokrates.analysis.thermodynamics import States, wells
from topokrates.model.errors import InputError


@dataclass(frozen=True, eq=False)
class Network:
    """States that exchange at equilibrium.

    Attributes:
        ids: (M,) of the states; of a group that of its most probable minimum.
        log_weights: (M,) ln Z.
        pairs: (P, 2) positions in `ids`, ascending in each pair; every pair once.
        log_fluxes: (P,) ln of Z_i k_ij, in 1/time.
        thermal: kT, in the unit of energy of the landscape.
        log_attempts: ln of kT/h, in 1/time.
        zero: energy from which ln Z is counted.
        members: of each state, the ids of the minima that it consists of.
    """

    ids: np.ndarray
    log_weights: np.ndarray
    pairs: np.ndarray
    log_fluxes: np.ndarray
    thermal: float
    log_attempts: float
    zero: float
    members: tuple[tuple[int, ...], ...]

    @property
    def free_energies(self) -> np.ndarray:
        """(M,) -kT ln Z, absolute, in the unit of energy."""
        return self.zero - self.thermal * self.log_weights

    @property
    def barriers(self) -> np.ndarray:
        """(P,) free energy of the transition states of each pair together, absolute."""
        return self.zero - self.thermal * (self.log_fluxes - self.log_attempts)

    @property
    def log_rates(self) -> np.ndarray:
        """(P, 2) ln of the rates, from the first to the second state of a pair and back."""
        return self.log_fluxes[:, None] - self.log_weights[self.pairs]

    @property
    def probabilities(self) -> np.ndarray:
        """(M,) at equilibrium; they sum to 1."""
        from scipy.special import softmax

        return softmax(self.log_weights) if len(self.log_weights) else np.zeros(0)

    def places(self, ids: Iterable[int]) -> np.ndarray:
        """Where the states that hold these minima stand in `ids`, ascending.

        Raises InputError for an unknown minimum, or none at all.
        """
        where = {name: k for k, group in enumerate(self.members) for name in group}
        wanted = list(ids)
        unknown = [name for name in wanted if name not in where]
        if unknown:
            raise InputError(f"there is no minimum {unknown[0]} in this network")
        if not wanted:
            raise InputError("give at least one minimum")
        return np.unique([where[name] for name in wanted])

    def matrix(self):
        """Rates as a sparse (M, M) matrix (scipy CSR), k[i, j] from i to j, 1/time.

        Rates below 1e-308 are 0 in it; the methods of this package use the logarithms.
        """
        from scipy.sparse import coo_array

        a, b = self.pairs.T
        values = np.exp(self.log_rates).T.ravel()
        shape = (len(self.ids), len(self.ids))
        return coo_array((values, (np.r_[a, b], np.r_[b, a])), shape=shape).tocsr()


def network(
    ids: Sequence[int] | np.ndarray,
    minima: States,
    ends: Sequence[tuple[int, int]] | np.ndarray,
    transitions: States,
    temperature: float,
    *,
    quantum: bool = False,
    rotation: bool = False,
) -> Network:
    """The network of rates of minima (M of them) and transition states (L of them).

    Args:
        ids: (M,) of the minima.
        minima: from `topokrates.analysis.thermodynamics.states`.
        ends: (L, 2) ids of the minima that each transition state connects.
        transitions: from `states` with `transition=True`.
        temperature: in the scale's unit.
        quantum: vibrations are quantised, zero points included.
        rotation: the bodies turn freely.

    Raises:
        InputError: as `topokrates.analysis.thermodynamics.wells`; for ends that are no minima.
    """
    ids = np.asarray(ids, dtype=int)
    if len(ids) != len(minima.energies) or len(ends) != len(transitions.energies):
        raise InputError("give an id for every minimum and two ends for every transition state")
    if len(np.unique(ids)) != len(ids):
        raise InputError("the ids of the minima must differ")
    zero = float(np.min(minima.energies, initial=np.inf))
    scale = minima.scale
    options = {"quantum": quantum, "rotation": rotation, "zero": zero}
    weights = wells(minima, temperature, **options).log_z
    tops = wells(transitions, temperature, **options).log_z
    thermal = scale.thermal(temperature)
    log_attempts = float(np.log(thermal / scale.planck * scale.per_time))
    named = np.asarray(ends, dtype=int).reshape(-1, 2)
    order = np.argsort(ids)
    at = np.minimum(np.searchsorted(ids[order], named), max(len(ids) - 1, 0))
    if len(named) and (not len(ids) or np.any(ids[order][at] != named)):
        raise InputError("a transition state connects a minimum that is not there")
    pairs = np.sort(order[at] if len(named) else named, axis=1)
    proper = pairs[:, 0] != pairs[:, 1]
    pairs, fluxes = _together(pairs[proper], log_attempts + tops[proper])
    members = tuple((int(name),) for name in ids)
    return Network(ids, weights, pairs, fluxes, thermal, log_attempts, zero, members)


def _together(pairs: np.ndarray, logarithms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair once, with the logarithm of the sum over its rows."""
    if not len(pairs):
        return pairs.reshape(0, 2), np.zeros(0)
    unique, which = np.unique(pairs, axis=0, return_inverse=True)
    which = which.ravel()
    largest = np.full(len(unique), -np.inf)
    np.maximum.at(largest, which, logarithms)
    total = np.bincount(which, np.exp(logarithms - largest[which]), len(unique))
    return unique, largest + np.log(total)


def regroup(network: Network, threshold: float, apart: Iterable[Collection[int]] = ()) -> Network:
    """Groups of states whose free-energy barriers are low, as one state each.

    Two groups become one if the barriers between them are at most the threshold in both
    directions; the free energy of a group is that of its states together, that of a barrier comes
    from all the transition states between two groups, and both change as groups merge. The lowest
    barrier (seen from its lower side) merges first, until none is left: so the outcome is
    consistent with itself and does not depend on any order.

    After J. M. Carr and D. J. Wales, J. Phys. Chem. B 112, 8760 (2008).

    Args:
        network: of minima, or of groups already.
        threshold: in the unit of energy of the landscape, 0 or more.
        apart: sets of ids of minima; states that hold some of different sets never become one.

    Raises:
        InputError: for a threshold below 0, or ids that are not there.
    """
    if not (np.isfinite(threshold) and threshold >= 0):
        raise InputError(f"the threshold of regrouping must be 0 or above, not {threshold}")
    weights = network.log_weights.tolist()
    label: list[int | None] = [None] * len(weights)
    for number, ids in enumerate(apart):
        for place in network.places(ids):
            if label[place] not in (None, number):
                raise InputError("sets that stay apart must not have a state in common")
            label[place] = number
    least = network.log_attempts - threshold / network.thermal
    near: list[dict[int, float]] = [{} for _ in weights]
    groups: list[list[int]] = [[k] for k in range(len(weights))]
    heap: list[tuple[float, int, int]] = []

    def height(a: int, b: int) -> float:
        # of the barrier over kT, negative: the higher one, which is seen from the lower side
        return near[a][b] - max(weights[a], weights[b])

    def offer(a: int, b: int) -> None:
        if height(a, b) >= least:
            heapq.heappush(heap, (-height(a, b), min(a, b), max(a, b)))

    for (a, b), flux in zip(network.pairs.tolist(), network.log_fluxes.tolist(), strict=True):
        near[a][b] = near[b][a] = flux
    for a, b in network.pairs.tolist():
        offer(a, b)
    while heap:
        key, a, b = heapq.heappop(heap)
        if b not in near[a]:
            continue
        if -height(a, b) != key:
            # a group has grown since, which only raises what is seen from it
            if -height(a, b) > key:
                offer(a, b)
            continue
        if label[a] is not None and label[b] is not None and label[a] != label[b]:
            continue
        if len(near[a]) < len(near[b]):
            a, b = b, a
        del near[a][b], near[b][a]
        weights[a] = float(np.logaddexp(weights[a], weights[b]))
        label[a] = label[b] if label[a] is None else label[a]
        groups[a] += groups[b]
        groups[b] = []
        for c, flux in near[b].items():
            del near[c][b]
            both = float(np.logaddexp(near[a][c], flux)) if c in near[a] else flux
            near[a][c] = near[c][a] = both
            offer(a, c)
        near[b] = {}
    return _of_groups(network, [sorted(group) for group in groups if group])


def _of_groups(network: Network, groups: list[list[int]]) -> Network:
    """The network whose states are these groups (places of states)."""
    best = [max(group, key=lambda k: (network.log_weights[k], -k)) for group in groups]
    where = np.empty(len(network.ids), dtype=int)
    for number, group in enumerate(groups):
        where[group] = number
    weights = np.array([np.logaddexp.reduce(network.log_weights[group]) for group in groups])
    pairs = np.sort(where[network.pairs], axis=1)
    proper = pairs[:, 0] != pairs[:, 1]
    pairs, fluxes = _together(pairs[proper], network.log_fluxes[proper])
    members = tuple(
        tuple(sorted(name for k in group for name in network.members[k])) for group in groups
    )
    return Network(
        network.ids[best],
        weights,
        pairs,
        fluxes,
        network.thermal,
        network.log_attempts,
        network.zero,
        members,
    )
