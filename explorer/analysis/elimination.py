"""Elimination of states from a reversible network, without a single subtraction.

At equilibrium the flux c_ij = p_i k_ij of every pair is the same in both directions, so a network
of rates is a network of conductances. A state x is taken out by joining all of its neighbours with
each other (the star-mesh transformation):

    c_ij += c_ix c_jx / C_x,    s_i += c_ix s_x / C_x,    C_x = sum of c_xj over the others

with s_i = p_i for times. This is the graph transformation of networks of rates (S. A. Trygubenko
and D. J. Wales, J. Chem. Phys. 124, 234110 (2006); D. J. Wales, J. Chem. Phys. 130, 204111 (2009))
written for detailed balance, and 1 - P_xx is taken as the sum of what leaves x (W. K. Grassmann,
M. I. Taksar and D. P. Heyman, Oper. Res. 33, 1107 (1985)). As nothing is ever subtracted, every
result has nearly all of its digits, however far apart the rates are. What was taken out last is put
back first:

    t_x = (s_x + sum of c_xj t_j) / C_x

States with few neighbours go first, by lists of neighbours; when those that remain are densely
connected they go on as a matrix, block by block. Where the numbers span more than a
double holds, logarithms are added instead of numbers, which takes some ten times longer.
"""

from __future__ import annotations

import heapq
from math import exp, inf, log, log1p
from typing import NamedTuple

import numpy as np

DENSE_DEGREE = 24  # neighbours of the state of fewest, from which a matrix is faster
DENSE_FRACTION = 0.01  # or so many of the states that remain
SMALL, LARGE = 64, 8000  # states: up to so few a matrix in any case, of more never (0.5 GB)
BLOCK, STRIP = 64, 256  # rows taken out, and updated, at once; only the upper triangle is
# Widest spans of logarithms that are safe as numbers: see `plain`
CONDUCTANCE_SPAN, SOURCE_SPAN = 500.0, 300.0


class Problem(NamedTuple):
    """A connected network.

    Attributes:
        pairs: (P, 2) states, each pair once, the two states different.
        log_conductance: (P,).
        log_source: (M,), -inf for none.
        kept: states that stay, at least one.
    """

    pairs: np.ndarray
    log_conductance: np.ndarray
    log_source: np.ndarray
    kept: np.ndarray


class Solution(NamedTuple):
    """What the network has become.

    Attributes:
        log_values: (M,) of every state, from `values` of the kept ones.
        log_kept: (K, K) conductances between the kept states, -inf on the diagonal.
    """

    log_values: np.ndarray
    log_kept: np.ndarray


def plain(problem: Problem) -> bool:
    """Whether no number that matters can be too large or too small for a double.

    Conductances are scaled to lie evenly about 1, and the sources to at most 1. A product that
    underflows then stands beside a sum that is larger by ten to the fortieth.
    """
    conductance = problem.log_conductance
    source = problem.log_source[np.isfinite(problem.log_source)]
    return bool(
        np.ptp(conductance) <= CONDUCTANCE_SPAN
        and (not len(source) or np.ptp(source) <= SOURCE_SPAN)
    )


def solve(problem: Problem, log_values: np.ndarray, logarithms: bool | None = None) -> Solution:
    """Eliminates all states but the kept ones, and puts them back.

    Args:
        problem: every state must be connected with a kept one.
        log_values: (K,) of the kept states, -inf for 0.
        logarithms: whether to add logarithms; chosen by `plain` if None.

    Returns:
        `Solution`, in logarithms either way.
    """
    if not len(problem.pairs):
        count = len(problem.kept)
        values = np.full(len(problem.log_source), -inf)
        values[problem.kept] = log_values
        return Solution(values, np.full((count, count), -inf))
    if logarithms is None:
        logarithms = not plain(problem)
    finite = problem.log_source[np.isfinite(problem.log_source)]
    top = float(finite.max()) if len(finite) else 0.0
    conductance = problem.log_conductance
    middle = float(conductance.max() + conductance.min()) / 2
    arithmetic = _Logarithms() if logarithms else _Numbers()
    shift = top - middle  # of the values that come from the sources
    if not len(finite):
        shift = 0.0
    take = arithmetic.take
    network = _Network(problem, take(conductance - middle), take(problem.log_source - top))
    network.eliminate(arithmetic)
    values = network.restore(arithmetic, take(np.asarray(log_values, float) - shift))
    between = arithmetic.log(network.between) + middle
    np.fill_diagonal(between, -inf)
    return Solution(arithmetic.log(values) + shift, between)


class _Numbers:
    """Arithmetic with the numbers themselves."""

    zero = 0.0

    def take(self, logarithm: np.ndarray) -> np.ndarray:
        return np.exp(logarithm)

    def log(self, number: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(number)

    def spread(self, row: dict[int, float]) -> tuple[float, list[float]]:
        """The sum of a row, and the share of each in it."""
        total = sum(row.values())
        return total, [value / total for value in row.values()]

    def join(self, into: dict[int, float], names: list[int], share: float, row: list[float]):
        for name, value in zip(names, row, strict=True):
            into[name] = into.get(name, 0.0) + share * value

    def add(self, to: float, share: float, value: float) -> float:
        return to + share * value

    def mean(self, source: float, row: np.ndarray, values: np.ndarray, total: float) -> float:
        return (source + float(row @ values)) / total

    def matrix(self, between: np.ndarray, source: np.ndarray, leave: int) -> np.ndarray:
        """Eliminates the first `leave` states in place, upper triangle only; their totals."""
        totals = np.empty(leave)
        for start in range(0, leave, BLOCK):
            end = min(start + BLOCK, leave)
            for x in range(start, end):
                row = between[x, x + 1 :]
                row += (between[start:x, x] / totals[start:x]) @ between[start:x, x + 1 :]
                totals[x] = row.sum()
                source[x + 1 :] += row * (source[x] / totals[x])
            rows = between[start:end]
            shares = (rows / totals[start:end, None]).T
            for top in range(end, len(between), STRIP):
                strip = slice(top, top + STRIP)
                between[strip, top:] += shares[strip] @ rows[:, top:]
        return totals


class _Logarithms:
    """The same with logarithms in place of the numbers."""

    zero = -inf

    def take(self, logarithm: np.ndarray) -> np.ndarray:
        return logarithm

    def log(self, number: np.ndarray) -> np.ndarray:
        return number.copy()

    def spread(self, row: dict[int, float]) -> tuple[float, list[float]]:
        largest = max(row.values())
        total = largest + log(sum(exp(value - largest) for value in row.values()))
        return total, [value - total for value in row.values()]

    def join(self, into: dict[int, float], names: list[int], share: float, row: list[float]):
        for name, value in zip(names, row, strict=True):
            into[name] = self.add(into.get(name, -inf), share, value)

    def add(self, to: float, share: float, value: float) -> float:
        more = share + value
        if more > to:
            to, more = more, to
        return to if more == -inf else to + log1p(exp(more - to))

    def mean(self, source: float, row: np.ndarray, values: np.ndarray, total: float) -> float:
        terms = np.append(row + values, source)
        largest = terms.max()
        if largest == -inf:
            return -inf
        return float(largest + np.log(np.exp(terms - largest).sum()) - total)

    def matrix(self, between: np.ndarray, source: np.ndarray, leave: int) -> np.ndarray:
        totals = np.empty(leave)
        for x in range(leave):
            row = between[x, x + 1 :]
            totals[x] = np.logaddexp.reduce(row)
            share = row - totals[x]
            for top in range(x + 1, len(between), STRIP):
                strip = between[top : top + STRIP, top:]
                behind = row[top - x - 1 :]
                np.logaddexp(strip, share[top - x - 1 :][:STRIP, None] + behind, out=strip)
            source[x + 1 :] = np.logaddexp(source[x + 1 :], share + source[x])
        return totals


class _Network:
    """States on the way out: first by lists of neighbours, then as a matrix."""

    def __init__(self, problem: Problem, conductance: np.ndarray, source: np.ndarray) -> None:
        self.source: list[float] = source.tolist()
        self.kept = [int(name) for name in problem.kept]
        self.rows: list[tuple[int, np.ndarray, np.ndarray, float]] = []
        self.near: list[dict[int, float]] = [{} for _ in source]
        for (a, b), value in zip(problem.pairs.tolist(), conductance.tolist(), strict=True):
            self.near[a][b] = self.near[b][a] = value
        self.dense: list[int] = []
        self.totals = np.zeros(0)
        self.between = np.zeros((0, 0))
        self._matrix = np.zeros((0, 0))
        self._dense_source = np.zeros(0)

    def eliminate(self, arithmetic: _Numbers | _Logarithms) -> None:
        staying = set(self.kept)
        leaving = {name for name in range(len(self.near)) if name not in staying}
        heap = [(len(self.near[name]), name) for name in leaving]
        heapq.heapify(heap)
        while leaving:
            degree, x = heapq.heappop(heap)
            if x not in leaving or degree != len(self.near[x]):
                continue
            many = max(DENSE_DEGREE, DENSE_FRACTION * len(leaving))
            if len(leaving) <= SMALL or (len(leaving) <= LARGE and degree > many):
                break
            leaving.discard(x)
            row = self.near[x]
            self.near[x] = {}
            total, shares = arithmetic.spread(row)
            names, values = list(row), list(row.values())
            self.rows.append((x, np.array(names), np.array(values), total))
            for k, (name, share) in enumerate(zip(names, shares, strict=True)):
                mine = self.near[name]
                del mine[x]
                self.source[name] = arithmetic.add(self.source[name], share, self.source[x])
                arithmetic.join(mine, names[:k], share, values[:k])
                # the very same numbers the other way round: the network stays symmetric
                for other in names[:k]:
                    self.near[other][name] = mine[other]
            for name in names:
                if name in leaving:
                    heapq.heappush(heap, (len(self.near[name]), name))
        self._to_matrix(sorted(leaving), arithmetic)

    def _to_matrix(self, leaving: list[int], arithmetic: _Numbers | _Logarithms) -> None:
        self.dense = leaving + self.kept
        place = {name: k for k, name in enumerate(self.dense)}
        between = np.full((len(place), len(place)), arithmetic.zero)
        for name, k in place.items():
            for other, value in self.near[name].items():
                between[k, place[other]] = value
        self.near = []
        source = np.array([self.source[name] for name in self.dense])
        self.totals = arithmetic.matrix(between, source, len(leaving))
        self._matrix, self._dense_source = between, source
        upper = np.triu(np.ones((len(self.kept), len(self.kept)), bool), 1)
        found = between[len(leaving) :, len(leaving) :]
        self.between = np.where(upper, found, np.where(upper.T, found.T, arithmetic.zero))

    def restore(self, arithmetic: _Numbers | _Logarithms, kept_values: np.ndarray) -> np.ndarray:
        """The values of all states (M,)."""
        values = np.full(len(self.source), arithmetic.zero)
        dense = np.concatenate([np.zeros(len(self.totals)), kept_values])
        for x in range(len(self.totals) - 1, -1, -1):
            row = self._matrix[x, x + 1 :]
            dense[x] = arithmetic.mean(
                float(self._dense_source[x]), row, dense[x + 1 :], float(self.totals[x])
            )
        values[self.dense] = dense
        for x, names, row, total in reversed(self.rows):
            values[x] = arithmetic.mean(self.source[x], row, values[names], total)
        return values
