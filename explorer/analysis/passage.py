"""How long it takes, and by which way: first passage times, committors, the fastest path.

Times and committors come from `topokrates.analysis.elimination`, which keeps nearly all digits at
any temperature. They are given as logarithms, since a time may have more digits before the point
than a double can hold. `sparse_times` solves the same equations by a sparse factorisation; it is
for comparison, and refuses where rounding would decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import log
from typing import Any, NamedTuple

import numpy as np

from topokrates.analysis.elimination import Problem, solve
from topokrates.analysis.kinetics import Network
from topokrates.model.errors import InputError

LARGEST_ERROR = 1e-6  # estimated, relative, above which a sparse solution is refused


class Passage(NamedTuple):
    """From a set of states A to another B; times in the network's unit.

    Attributes:
        log10_time: of the mean first passage time, starting from A at equilibrium within A; inf
            where B cannot be reached.
        log10_rate: of the mean over A of 1 / first passage time (k^NSS of Wales 2009).
        log10_steady_rate: of the rate with a source in A and a sink in B at the steady state
            (k^SS): the equilibrium flux of what goes from A to B, over the population of A.
    """

    log10_time: float
    log10_rate: float
    log10_steady_rate: float


class FastestPath(NamedTuple):
    """The path of the largest product of branching probabilities.

    Attributes:
        states: ids along the path.
        log10_probability: of that product: how likely the path is among all walks from its start.
    """

    states: tuple[int, ...]
    log10_probability: float


def log_times(network: Network, targets: Iterable[int]) -> np.ndarray:
    """ln of the mean first passage time from every state to a set.

    Args:
        network: from `topokrates.analysis.kinetics`.
        targets: ids of minima; the states that hold them are absorbing.

    Returns:
        (M,): -inf on the targets, inf for states that are not connected with any.
    """
    target = network.places(targets)
    result = np.full(len(network.ids), np.inf)
    reached, pairs, log_fluxes, merged = _merged(network, [target])
    result[target] = -np.inf
    if len(pairs):
        source = np.full(merged.max() + 1, -np.inf)
        others = reached & ~np.isin(np.arange(len(merged)), target)
        source[merged[others]] = network.log_weights[others]
        solution = solve(Problem(pairs, log_fluxes, source, np.array([0])), np.array([-np.inf]))
        result[others] = solution.log_values[merged[others]]
    return result


def committors(network: Network, sources: Iterable[int], targets: Iterable[int]) -> np.ndarray:
    """The probability (M,) of reaching B before A from every state: 0 on A, 1 on B.

    NaN for states connected with neither. Where it is close to 1, exchange the sets for what is
    missing: small values keep their digits. Raises InputError if the sets overlap.
    """
    return np.exp(log_committors(network, sources, targets))


def log_committors(network: Network, sources: Iterable[int], targets: Iterable[int]) -> np.ndarray:
    """ln of `committors`, (M,): -inf on A."""
    a, b = _two_sets(network, sources, targets)
    return _between(network, a, b)[0]


def passage(network: Network, sources: Iterable[int], targets: Iterable[int]) -> Passage:
    """Times and rates from the states that hold some minima, A, to others, B.

    Raises InputError if the sets overlap, or for ids that are not there.
    """
    from scipy.special import logsumexp

    a, b = _two_sets(network, sources, targets)
    times = log_times(network, network.ids[b])[a]
    share = network.log_weights[a] - logsumexp(network.log_weights[a])
    flux = _between(network, a, b)[1]
    logarithms = (
        logsumexp(share + times) if np.isfinite(times).all() else np.inf,
        logsumexp(share - times),
        flux - logsumexp(network.log_weights[a]),
    )
    return Passage(*(float(value) / log(10) for value in logarithms))


def fastest_path(network: Network, start: int, end: int) -> FastestPath:
    """The path between two minima that a walk is most likely to take, step by step.

    Dijkstra's shortest path with -ln of the branching probabilities P_ij = k_ij / sum_j k_ij
    (S. A. Trygubenko and D. J. Wales, Mol. Phys. 104, 1497 (2006)). Raises InputError if there is
    no path, or if both minima are in one state.
    """
    import networkx as nx

    first, last = (int(network.places([name])[0]) for name in (start, end))
    if first == last:
        raise InputError(f"minima {start} and {end} are in one state: there is no path to follow")
    total = np.full(len(network.ids), -np.inf)
    for column in network.pairs.T:
        np.logaddexp.at(total, column, network.log_fluxes)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(network.ids)))
    for (i, j), flux in zip(network.pairs.tolist(), network.log_fluxes.tolist(), strict=True):
        # rounding may leave it a little below 0 where there is only one way
        graph.add_edge(i, j, weight=max(total[i] - flux, 0.0))
        graph.add_edge(j, i, weight=max(total[j] - flux, 0.0))
    try:
        path = nx.dijkstra_path(graph, first, last)
    except nx.NetworkXNoPath:
        raise InputError(f"minima {start} and {end} are not connected") from None
    length = nx.path_weight(graph, path, "weight")
    return FastestPath(tuple(int(network.ids[k]) for k in path), -float(length) / log(10))


def sparse_times(network: Network, targets: Iterable[int]) -> np.ndarray:
    """Mean first passage times (M,) by a sparse factorisation: what `log_times` is checked with.

    0 on the targets, inf for states that are not connected with any. Raises InputError where the
    estimated condition of the equations leaves fewer than six digits.
    """
    from scipy.sparse import coo_array, diags_array
    from scipy.sparse.linalg import LinearOperator, onenormest, splu

    target = network.places(targets)
    result = np.full(len(network.ids), np.inf)
    result[target] = 0
    reached = _merged(network, [target])[0]
    solved = np.flatnonzero(reached & ~np.isin(np.arange(len(network.ids)), target))
    if not len(solved):
        return result
    shift = network.log_fluxes.max()
    flux = np.exp(network.log_fluxes - shift)
    a, b = network.pairs.T
    count = len(network.ids)
    diagonal = np.bincount(np.r_[a, b], np.r_[flux, flux], count)
    inside = np.arange(count)
    rows, columns = np.r_[a, b, inside], np.r_[b, a, inside]
    values = np.r_[-flux, -flux, diagonal]
    laplacian = coo_array((values, (rows, columns)), shape=(count, count)).tocsr()
    laplacian = laplacian[solved][:, solved]
    root = np.sqrt(laplacian.diagonal())
    refusal = InputError(
        "the rates are too far apart for a sparse factorisation: use graph transformation"
    )
    if not root.min() > 0:
        raise refusal
    scaled = (diags_array(1 / root) @ laplacian @ diags_array(1 / root)).tocsc()
    try:
        factors = splu(scaled)
    except RuntimeError:  # exactly singular
        raise refusal from None
    pivots = np.abs(factors.U.diagonal())
    if not pivots.min() > np.finfo(float).eps * pivots.max():
        raise refusal
    inverse: Any = LinearOperator
    inverse = inverse(scaled.shape, factors.solve, rmatvec=factors.solve, dtype=float)
    condition = onenormest(inverse) * abs(scaled).sum(axis=0).max()
    if not np.finfo(float).eps * condition < LARGEST_ERROR:
        raise refusal
    source = np.exp(network.log_weights[solved] - network.log_weights[solved].max())
    times = factors.solve(source / root) / root
    result[solved] = times * np.exp(network.log_weights[solved].max() - shift)
    return result


def _two_sets(
    network: Network, sources: Iterable[int], targets: Iterable[int]
) -> tuple[np.ndarray, np.ndarray]:
    a, b = network.places(sources), network.places(targets)
    common = np.intersect1d(a, b)
    if len(common):
        raise InputError(f"both sets hold the state of minimum {network.ids[common[0]]}")
    return a, b


def _between(network: Network, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, float]:
    """ln of the committors (M,), and ln of the equilibrium flux of what goes from A to B."""
    result = np.full(len(network.ids), np.nan)
    reached, pairs, log_fluxes, merged = _merged(network, [a, b])
    result[a], result[b] = -np.inf, 0.0
    if not len(pairs):
        return result, -np.inf
    source = np.full(merged.max() + 1, -np.inf)
    problem = Problem(pairs, log_fluxes, source, np.array([0, 1]))
    solution = solve(problem, np.array([-np.inf, 0.0]))
    result[reached] = solution.log_values[merged[reached]]
    return np.minimum(result, 0.0), float(solution.log_kept[0, 1])


def _merged(
    network: Network, sets: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Each set as one state, 0, 1, ..., and of the others what is connected with some set.

    Returns:
        Which states are kept (M,), the pairs and the logarithms of their fluxes in the new
        numbering, and the new number of each state (M,), -1 for those left out.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(network.ids)
    a, b = network.pairs.T
    graph = coo_array((np.ones(len(a)), (a, b)), shape=(count, count))
    component = connected_components(graph, directed=False)[1]
    reached = np.isin(component, component[np.concatenate(sets)])
    merged = np.full(count, -1)
    for number, places in enumerate(sets):
        merged[places] = number
    rest = reached & (merged < 0)
    merged[rest] = len(sets) + np.arange(rest.sum())
    pairs = merged[network.pairs]
    proper = (pairs[:, 0] != pairs[:, 1]) & (pairs >= 0).all(axis=1)
    pairs = np.sort(pairs[proper], axis=1)
    log_fluxes = network.log_fluxes[proper]
    if not len(pairs):
        return reached, pairs, log_fluxes, merged
    unique, which = np.unique(pairs, axis=0, return_inverse=True)
    total = np.full(len(unique), -np.inf)
    np.logaddexp.at(total, which.ravel(), log_fluxes)
    return reached, unique, total, merged
