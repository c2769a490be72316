"""What both drawings of a tree have in common: scale, colours, labels and strokes."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from topokrates.landscape import KCAL_MOL_PER_EV
from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topokrates.disconnectivity import Branch, Line, Tree

INK, ACCENT, WARNING, GREY = "#1a1a1a", "#0072b2", "#d55e00", "#6b6b6b"
BAND = "#f4f4f4"  # behind the trees that are not connected
FONT = "Helvetica, Arial, sans-serif"
SCALES = {"eV": {"kcal/mol": KCAL_MOL_PER_EV, "kJ/mol": KCAL_MOL_PER_EV * 4.184, "eV": 1.0}}
TURN_ABOVE, THIN_ABOVE = 10, 40  # labels: upright up to 10 branches, thinned out above 40
LABELS_WHEN_THIN = 12


class Scale(NamedTuple):
    """From absolute energies to what is read off the axis."""

    unit: str
    factor: float
    zero: float

    def __call__(self, energy: float) -> float:
        return (energy - self.zero) * self.factor

    @property
    def title(self) -> str:
        return f"Energy above the global minimum ({self.unit})"


def scale_of(tree: Tree, unit: str | None) -> Scale:
    known = SCALES.get(tree.unit, {tree.unit: 1.0})
    unit = unit or next(iter(known))
    if unit not in known:
        choices = ", ".join(known)
        raise InputError(f"energies in {tree.unit} cannot be drawn in {unit}: choose {choices}")
    return Scale(unit, known[unit], tree.zero)


def labels_of(tree: Tree, lines: str) -> list[tuple[float, float, str]]:
    """What is written below the branch ends: (x, energy, text), those of low minima if crowded."""
    number = len(tree.branches)
    shown = tree.branches if number <= THIN_ABOVE else _thinned(tree)
    texts = []
    for b in shown:
        angles = tree.labels.get(b.minimum)
        text = (
            str(b.minimum)
            if angles is None or number > THIN_ABOVE
            else f"{b.minimum}{lines}{angles}"
        )
        texts.append((b.x, b.energy, text))
    return texts


def _thinned(tree: Tree) -> list[Branch]:
    """The lowest branches that have nothing lower beside them: the bottoms of the funnels."""
    apart = (tree.components[-1].right + 1) / THIN_ABOVE
    lower: list[float] = []
    kept = []
    for branch in tree.branches:
        place = bisect.bisect_left(lower, branch.x)
        beside = lower[max(place - 1, 0) : place + 1]
        if all(abs(branch.x - x) >= apart for x in beside):
            kept.append(branch)
            if len(kept) == LABELS_WHEN_THIN:
                break
        lower.insert(place, branch.x)
    return kept


def strokes(lines: Sequence[Line], scale: Scale) -> tuple[list[float | None], list[float | None]]:
    """Many lines as one path with gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    for line in lines:
        x += [point[0] for point in line.points] + [None]
        y += [scale(point[1]) for point in line.points] + [None]
    return x, y


def caption(tree: Tree) -> str:
    parts = [f"{len(tree.branches)} minima" if len(tree.branches) != 1 else "1 minimum"]
    if tree.hidden:
        parts.append(f"{tree.hidden} more hidden")
    if len(tree.components) > 1:
        parts.append(f"{len(tree.components)} trees that nothing connects")
    return ", ".join(parts)


def unconnected(tree: Tree) -> tuple[float, float] | None:
    """From where to where the trees stand that are not connected with the global minimum."""
    if len(tree.components) < 2:
        return None
    return tree.components[1].left - 0.75, tree.components[-1].right + 0.75


def energy_range(tree: Tree, scale: Scale, crowded: bool, height: float) -> tuple[float, float]:
    """The range of the energy axis; what the labels need of its `height` (in letters) is free."""
    top = scale(tree.top)
    longest = max((len(text) for *_, text in labels_of(tree, " ")), default=0)
    below = min(0.3, (1.5 + (0.6 * longest if crowded else 2.6)) / height)
    return -below * top / (1 - below), 1.02 * top


def line_width(tree: Tree) -> float:
    """Lines thin out where many stand side by side."""
    return _by_number(tree, 1.6, 1.3, 1.0, 0.7)


def dot_size(tree: Tree) -> float:
    return _by_number(tree, 7, 6, 4, 3)


def _by_number(tree: Tree, few: float, some: float, many: float, crowd: float) -> float:
    number = len(tree.branches)
    return few if number <= 20 else some if number <= 60 else many if number <= 300 else crowd
