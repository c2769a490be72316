"""What the lines of a disconnectivity graph are coloured by: a value, with a bar, or a group.

A branch has the colour of its minimum. A superbasin has one only where all its minima agree: they
are of one group, or their values span at most a tenth of the bar. Else it is neutral, and so is
what has no value. Angles take a colour map that closes. Colours of groups are those of Okabe and
Ito, which the colour-blind can tell apart, without the yellow that hardly shows on white; counts
take theirs from the bar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, TypeGuard

import numpy as np

from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from topokrates.drawing.disconnectivity import Tree
    from topokrates.observables import Observable

NEUTRAL, OTHER = "#1a1a1a", "#9a9a9a"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
MOST_COUNTS = 8  # that are told apart as groups
STEPS = 64  # of the bar: lines of one step share a stroke
AGREE = 0.1  # of the bar
ENDS = {False: (0.0, 0.92), True: (0.0, 1.0)}  # the palest yellow cannot be seen on white


@dataclass(frozen=True)
class Colouring:
    """Values (numbers: a bar; texts: a legend of groups) of the minima, by id, and their name.

    `period`, 360 for angles, closes the colour map; the bar then goes from -period/2 to period/2.
    """

    name: str
    values: Mapping[int, float | str | None]
    unit: str = ""
    period: float | None = None

    def __post_init__(self) -> None:
        kinds = {isinstance(v, str) for v in self.values.values() if v is not None}
        if len(kinds) > 1:
            raise InputError(f"{self.name}: colour by numbers or by groups, not by both")

    @classmethod
    def of(cls, observable: Observable) -> Colouring:
        """A bar of its values, or a group for each number where they are few counts."""
        values: Mapping[int, float | str | None] = observable.values
        counts = {v for v in values.values() if v is not None}
        if observable.whole and len(counts) <= MOST_COUNTS:
            values = {n: None if v is None else f"{v:g}" for n, v in values.items()}
        return cls(observable.label, values, observable.unit, observable.period)

    @property
    def title(self) -> str:
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @cached_property
    def grouped(self) -> bool:
        return any(isinstance(v, str) for v in self.values.values())

    @cached_property
    def groups(self) -> dict[str, str]:
        """The colour of each group, the largest group first; of counts in their order."""
        sizes = Counter(v for v in self.values.values() if isinstance(v, str))
        if len(sizes) <= MOST_COUNTS and all(map(_is_number, sizes)):
            last = max(len(sizes) - 1, 1)
            ascending = enumerate(sorted(sizes, key=float))
            return {group: _shades(False)[k * (STEPS - 1) // last] for k, group in ascending}
        ranked = sorted(sizes, key=lambda group: (-sizes[group], group))
        return dict(zip(ranked, PALETTE, strict=False))

    @cached_property
    def range(self) -> tuple[float, float]:
        """What the ends of the bar stand for."""
        if self.period is not None:
            return -self.period / 2, self.period / 2
        numbers = [v for v in self.values.values() if _finite(v)]
        low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def bar(self) -> list[tuple[float, str]]:
        """The colours of the bar: (fraction, colour), from 0 to 1."""
        return [(step / (STEPS - 1), self._shade(step)) for step in range(STEPS)]

    def of_minimum(self, name: int) -> str:
        """The colour of the branch of this minimum."""
        value = self.values.get(name)
        if isinstance(value, str):
            return self.groups.get(value, OTHER)
        return self._shade(self._step(value)) if _finite(value) else OTHER

    def of_lines(self, tree: Tree) -> list[str]:
        """The colour of each line of a tree."""
        if self.grouped:
            codes = {group: float(code) for code, group in enumerate(self.groups)}
            numbers = [codes.get(str(self.values.get(name)), np.nan) for name in tree.across]
            width = 0.0
        else:
            values = [self.values.get(name) for name in tree.across]
            numbers = [float(v) if _finite(v) else np.nan for v in values]
            width = AGREE * (self.range[1] - self.range[0])
        row, colours, palette = np.array(numbers), [], list(self.groups.values())
        for line in tree.lines:
            if line.first == line.last:
                colours.append(self.of_minimum(tree.across[line.first]))
                continue
            part = row[line.first : line.last + 1]
            if self.period is not None:  # how far from the first of them, the shorter way round
                part = part[0] + (part - part[0] + self.period / 2) % self.period - self.period / 2
            if not part.max() - part.min() <= width:  # false for NaN, too
                colours.append(NEUTRAL)
            elif self.grouped:
                colours.append(palette[int(part[0])])
            else:
                colours.append(self._shade(self._step(float(part.mean()))))
        return colours

    def _step(self, value: float | str | None) -> int:
        low, high = self.range
        assert isinstance(value, (int, float))
        fraction = (value - low) / (high - low)
        if self.period is not None:
            fraction %= 1.0
        return int(np.clip(round(fraction * (STEPS - 1)), 0, STEPS - 1))

    def _shade(self, step: int) -> str:
        return _shades(self.period is not None)[step]


@cache
def _shades(closed: bool) -> tuple[str, ...]:
    """The colours of the bar: viridis, or for angles cmocean's phase, which closes."""
    from plotly.colors import cyclical, sample_colorscale, sequential, unlabel_rgb

    low, high = ENDS[closed]
    scale = cyclical.Phase if closed else sequential.Viridis
    sampled = sample_colorscale(scale, np.linspace(low, high, STEPS).tolist())
    return tuple("#" + "".join(f"{round(c):02x}" for c in unlabel_rgb(rgb)) for rgb in sampled)


def _finite(value: float | str | None) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and bool(np.isfinite(value))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
