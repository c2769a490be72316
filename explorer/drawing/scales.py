"""What both drawings of a tree have in common: scale, colours, labels and strokes."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, NamedTuple

from topokrates.landscape import KCAL_MOL_PER_EV
from topokrates.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from topokrates.drawing.disconnectivity import Branch, Line, Tree

INK, ACCENT, WARNING, GREY = "#1a1a1a", "#0072b2", "#d55e00", "#6b6b6b"
BAND = "#f4f4f4"  # behind the trees that are not connected
FONT = "Helvetica, Arial, sans-serif"
SCALES = {"eV": {"kcal/mol": KCAL_MOL_PER_EV, "kJ/mol": KCAL_MOL_PER_EV * 4.184, "eV": 1.0}}
TURN_ABOVE, THIN_ABOVE = 10, 40  # labels: upright up to 10 branches, thinned out above 40
LABELS_WHEN_THIN = 12
LABELS = ("angles", "ids", "none")


class Scale(NamedTuple):
    """From absolute energies to what is read off the axis."""

    unit: str
    factor: float
    zero: float
    title: str

    def __call__(self, energy: float) -> float:
        return (energy - self.zero) * self.factor


def scale_of(tree: Tree, unit: str | None) -> Scale:
    known = SCALES.get(tree.unit, {tree.unit: 1.0})
    unit = unit or next(iter(known))
    if unit not in known:
        choices = ", ".join(known)
        raise InputError(f"energies in {tree.unit} cannot be drawn in {unit}: choose {choices}")
    title = f"{tree.quantity} above the global minimum ({unit})"
    return Scale(unit, known[unit], tree.zero, title)


class Pen(NamedTuple):
    """Lines that are drawn alike."""

    colour: str
    estimated: bool
    lines: list[Line]

    @property
    def name(self) -> str:
        how = "estimates only" if self.estimated else "verified transition states"
        return f"joined by {how}"


def pens(tree: Tree) -> list[Pen]:
    """The lines of a tree by colour: estimates lie below the others, neutral ones below colours."""
    if tree.colouring is None:
        colours = [WARNING if line.estimated else INK for line in tree.lines]
        if tree.metric is not None:  # trees that nothing connects cannot stand apart there
            pairs = zip(colours, tree.lines, strict=True)
            colours = [GREY if line.component and c == INK else c for c, line in pairs]
    else:
        colours = tree.colouring.of_lines(tree)
    alike: dict[tuple[bool, bool, str], list[Line]] = {}
    for colour, line in zip(colours, tree.lines, strict=True):
        alike.setdefault((not line.estimated, colour != INK, colour), []).append(line)
    return [Pen(key[2], not key[0], alike[key]) for key in sorted(alike)]


def dot_colours(tree: Tree) -> list[str]:
    """The colour of each branch end."""
    if tree.colouring is not None:
        return [tree.colouring.of_minimum(b.minimum) for b in tree.branches]
    return [ACCENT if b.energy == tree.zero else INK for b in tree.branches]


def legend_of(tree: Tree) -> list[tuple[str, str]]:
    """The groups that are drawn: (name, colour)."""
    if tree.colouring is None or not tree.colouring.grouped:
        return []
    drawn = {str(tree.colouring.values.get(name)) for name in tree.across}
    entries = [(g, c) for g, c in tree.colouring.groups.items() if g in drawn]
    if drawn - set(tree.colouring.groups):
        from topokrates.drawing.colouring import OTHER

        entries.append(("other", OTHER))
    return entries


def extent(tree: Tree) -> tuple[float, float]:
    """The horizontal range of the drawing, with a margin."""
    if not tree.components:
        return -0.8, 1.8
    left = min(component.left for component in tree.components)
    right = max(component.right for component in tree.components)
    margin = 0.8 if tree.metric is None else 0.1 * (right - left) or 0.5
    return left - margin, right + margin


def metric_title(tree: Tree) -> str:
    assert tree.metric is not None
    return f"{tree.metric.name} ({tree.metric.unit})" if tree.metric.unit else tree.metric.name


def metric_ticks(tree: Tree) -> tuple[list[float], list[str]] | None:
    """Where the axis of an angle has ticks, and what they say; None for what is no angle."""
    if tree.metric is None or tree.metric.period is None:
        return None
    low, high = extent(tree)
    period = tree.metric.period
    step = period / 12
    while (high - low) / step > 9:
        step *= 2
    while (high - low) / step < 3:
        step /= 2
    first = int(-(-low // step))
    places = [step * k for k in range(first, int(high // step) + 1)]
    texts = [
        f"{(place + period / 2) % period - period / 2:g}".replace("-", "−") for place in places
    ]
    return places, texts


class Label(NamedTuple):
    """What is written below a branch end, in rows: the id, and more."""

    x: float
    energy: float
    rows: tuple[str, ...]


def labels_of(tree: Tree, kind: str = "angles") -> list[Label]:
    """What is written below the branch ends, those of low minima if they crowd.

    kind: "angles" (the labels of the tree below the ids), "ids" or "none".
    """
    if kind not in LABELS:
        raise InputError(f"labels {kind!r}: choose one of {', '.join(LABELS)}")
    if kind == "none":
        return []
    number = len(tree.branches)
    shown = tree.branches if number <= THIN_ABOVE and not tree.metric else _thinned(tree)
    more = tree.labels if kind == "angles" and number <= THIN_ABOVE else {}
    return [
        Label(b.x, b.energy, (str(b.minimum), *filter(None, [more.get(b.minimum)]))) for b in shown
    ]


def fitted(
    labels: Sequence[Label], across: float, up: float, size: float
) -> tuple[bool, list[Label]]:
    """Whether labels must be turned to stand side by side, and those that do.

    across, up: points per unit of x and of energy; size: of the letters, in points. Of labels that
    meet even when turned, that of the lowest minimum stays.
    """
    kept: list[Label] = []
    for turned in (False, True):
        kept, boxes = [], []
        for label in labels:  # by energy
            long, high = 0.62 * size * max(map(len, label.rows)), 1.25 * size * len(label.rows)
            if turned:
                long, high = 1.25 * size, 0.62 * size * len(" ".join(label.rows))
            box = (label.x * across, label.energy * up, long, high)
            if all(_apart(box, other) for other in boxes):
                kept.append(label)
                boxes.append(box)
        if len(kept) == len(labels):
            return turned, kept
    return True, kept


def _apart(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    """Whether two boxes (middle, top, width, height) do not meet."""
    beside = abs(a[0] - b[0]) >= (a[2] + b[2]) / 2
    return beside or a[1] - a[3] >= b[1] or b[1] - b[3] >= a[1]


def _thinned(tree: Tree) -> list[Branch]:
    """The lowest branches that have nothing lower beside them: the bottoms of the funnels."""
    left, right = extent(tree)
    apart = (right - left) / THIN_ABOVE
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
    if tree.flat:
        parts.append(f"{tree.flat} {'link' if tree.flat == 1 else 'links'} without a barrier")
    return ", ".join(parts)


def unconnected(tree: Tree) -> tuple[float, float] | None:
    """From where to where the trees stand that are not connected with the global minimum."""
    if len(tree.components) < 2 or tree.metric is not None:
        return None
    return tree.components[1].left - 0.75, tree.components[-1].right + 0.75


def energy_range(
    tree: Tree, scale: Scale, crowded: bool, height: float, kind: str = "angles"
) -> tuple[float, float]:
    """The range of the energy axis; what the labels need of its `height` (in letters) is free."""
    top = scale(tree.top)
    longest = max((len(" ".join(label.rows)) for label in labels_of(tree, kind)), default=0)
    rows = (0.6 * longest if crowded else 2.6) if longest else 0.0
    below = min(0.3, (1.5 + rows) / height)
    return -below * top / (1 - below), 1.02 * top


def line_width(tree: Tree) -> float:
    """Lines thin out where many stand side by side."""
    return _by_number(tree, 1.6, 1.3, 1.0, 0.7)


def dot_size(tree: Tree) -> float:
    return _by_number(tree, 7, 6, 4, 3)


def _by_number(tree: Tree, few: float, some: float, many: float, crowd: float) -> float:
    number = len(tree.branches)
    return few if number <= 20 else some if number <= 60 else many if number <= 300 else crowd
