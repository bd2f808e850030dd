"""Draws scores against milliseconds per photo as SVG, for light and dark backgrounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import Final, TypeAlias

from headstart.answers.intervals import Interval
from headstart.charts import svg
from headstart.columns import printable, width_of

_WIDTH: Final = 760
_HEIGHT: Final = 460
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 30, 56, 56  # margins around the axes
_TEXT_PX: Final = 13
_CHARACTER_PX: Final = 6.7  # at most, in the usual fonts without serifs
_RADIUS_PX: Final = 5
_AROUND: Final = (0, -18, 18, -36, 36, -54, 54, -72, 72)  # vertical places of labels to try
_LEAST_SPREAD: Final = math.log(2)  # of the marks along the logarithmic axis

_STYLE: Final = """
svg { color-scheme: light dark; font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
.back { fill: #ffffff; } text { fill: #1f2328; } .quiet { fill: #59636e; }
.grid { stroke: #d1d9e0; } .leader { stroke: #818b98; }
.bar { stroke: #59636e; stroke-width: 1.5; } .mark { fill: #ffffff; stroke: #59636e; stroke-width: 2; }
.chosen .bar { stroke: #0969da; } .chosen .mark { fill: #0969da; stroke: #0969da; }
.chosen text { fill: #0969da; font-weight: 600; }
@media (prefers-color-scheme: dark) {
.back { fill: #0d1117; } text { fill: #f0f6fc; } .quiet { fill: #9198a1; }
.grid { stroke: #2f3742; } .leader { stroke: #656c76; }
.bar { stroke: #9198a1; } .mark { fill: #0d1117; stroke: #9198a1; }
.chosen .bar { stroke: #4493f8; } .chosen .mark { fill: #4493f8; stroke: #4493f8; }
.chosen text { fill: #4493f8; }
}
"""

Rectangle: TypeAlias = tuple[float, float, float, float]
"""Left, top, right and bottom."""

_INSIDE: Final[Rectangle] = (_LEFT, _TOP, _WIDTH - 4, _HEIGHT - _BOTTOM)


@dataclass(frozen=True)
class Mark:
    """A point with its interval.

    Attributes:
        name: Its label.
        x: Its place on the horizontal, logarithmic axis; positive.
        y: Its place on the vertical axis.
        interval: Ends of its bar.
        is_chosen: Whether it is highlighted.
    """

    name: str
    x: float
    y: float
    interval: Interval
    is_chosen: bool


def scatter(
    marks: Sequence[Mark],
    *,
    y_name: str,
    y_text: Callable[[float], str],
    is_lower_better: bool,
    title: str,
) -> str:
    """Draw marks with bars and labels that do not overlap.

    Args:
        marks: At least one.
        y_name: Name of the vertical axis.
        y_text: Formats a value of the vertical axis.
        is_lower_better: Whether the vertical axis is reversed, so that better is always further up.
        title: Heading.

    Returns:
        The content of an SVG file.
    """
    ticks = svg.ticks(min(mark.interval[0] for mark in marks), max(mark.interval[1] for mark in marks))
    ends_of_y = (ticks[-1], ticks[0]) if is_lower_better else (ticks[0], ticks[-1])
    axes = _Axes(_ends_of_x([mark.x for mark in marks]), ends_of_y)
    better = "lower" if is_lower_better else "higher"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}" role="img">',
        f"<title>{escape(title)}: {escape(y_name)} against milliseconds per photo</title>",
        f"<style>{_STYLE}</style>",
        f'<rect class="back" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text x="{_LEFT}" y="24" font-size="16" font-weight="600">{escape(title)}</text>',
        f'<text class="quiet" x="{_LEFT}" y="43">{escape(y_name)} with 95 % interval; {better} is better'
        f"</text>",
    ]
    for value in ticks:
        y = axes.y_px(value)
        lines.append(svg.line("grid", _LEFT, y, _WIDTH - _RIGHT, y))
        lines.append(svg.text(_LEFT - 8, y + 4, y_text(value), "quiet", anchor="end"))
    for value in _log_ticks(*axes.ends_of_x):
        x = axes.x_px(value)
        lines.append(svg.line("grid", x, _TOP, x, _HEIGHT - _BOTTOM))
        lines.append(svg.text(x, _HEIGHT - _BOTTOM + 18, f"{value:g}", "quiet", anchor="middle"))
    below = "milliseconds per photo on this machine (logarithmic)"
    lines.append(svg.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 14, below, "quiet", anchor="middle"))
    return "\n".join([*lines, *_marks(marks, axes), "</svg>", ""])


@dataclass(frozen=True)
class _Label:
    """A place for a label.

    Attributes:
        x: Where its text begins, has its middle, or ends.
        anchor: Which of these: ``start``, ``middle`` or ``end``.
        box: The space that it takes.
        cost: Area that it shares with others or that is outside the axes.
    """

    x: float
    anchor: str
    box: Rectangle
    cost: float


@dataclass(frozen=True)
class _Axes:
    """Places of values in the picture, between the ends of a logarithmic and a linear axis."""

    ends_of_x: tuple[float, float]
    ends_of_y: tuple[float, float]  # at the bottom and at the top

    def x_px(self, value: float) -> float:
        low, high = self.ends_of_x
        return _LEFT + math.log(value / low) / math.log(high / low) * (_WIDTH - _LEFT - _RIGHT)

    def y_px(self, value: float) -> float:
        low, high = self.ends_of_y
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _marks(marks: Sequence[Mark], axes: _Axes) -> Iterator[str]:
    """Yield points, bars and labels."""
    points = [(axes.x_px(mark.x), axes.y_px(mark.y)) for mark in marks]
    bars = [sorted(map(axes.y_px, mark.interval)) for mark in marks]
    taken = [(x - 4, low - 3, x + 4, high + 3) for (x, _), (low, high) in zip(points, bars, strict=True)]
    taken += [(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    for mark, (x, y), (low, high) in zip(marks, points, bars, strict=True):
        name = printable(mark.name)
        label = _place(x, (low, high), y, width_of(name) * _CHARACTER_PX, taken)
        taken.append(label.box)
        yield f'<g class="{"chosen" if mark.is_chosen else "other"}">'
        yield from _leader(x, y, label.box)
        yield svg.line("bar", x, low, x, high)
        yield from (svg.line("bar", x - 4, end, x + 4, end) for end in (low, high))
        yield svg.circle("mark", x, y, _RADIUS_PX)
        yield svg.text(label.x, label.box[3] - 4, name, "name", anchor=label.anchor)
        yield "</g>"


def _ends_of_x(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of the logarithmic axis, with room for labels at the right."""
    low, high = math.log(min(values)), math.log(max(values))
    spread = max(high - low, _LEAST_SPREAD)
    middle = (low + high) / 2
    return math.exp(middle - 0.6 * spread), math.exp(middle + 0.95 * spread)


def _log_ticks(low: float, high: float) -> Iterator[float]:
    """Yield 1, 2, 5, 10, ... between two numbers; also 3 and 7 if the range is narrow."""
    digits = (1, 2, 5) if high / low > 5 else (1, 1.5, 2, 3, 4, 5, 7)
    for power, digit in product(range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1), digits):
        if low <= digit * 10.0**power <= high:
            yield digit * 10.0**power


def _place(x: float, bar: Sequence[float], y: float, width: float, taken: Sequence[Rectangle]) -> _Label:
    """Return a place for a label near a mark that overlaps as little as possible, and nothing if it can."""
    height = _TEXT_PX + 4
    places = [(x + 10, "start", y + down) for down in _AROUND] + [
        (x - 10, "end", y + down) for down in _AROUND
    ]
    places += [(x, "middle", bar[0] - 12 - away) for away in _AROUND if away >= 0]
    places += [(x, "middle", bar[1] + 12 + away) for away in _AROUND if away >= 0]
    labels = []
    for at, anchor, middle in places:
        left = at - width * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        box = left, middle - height / 2, left + width, middle + height / 2
        overlap = sum(_shared_area(box, other) for other in taken)
        outside = width * height - _shared_area(box, _INSIDE)
        labels.append(_Label(at, anchor, box, overlap + outside))
    return min(labels, key=lambda label: label.cost)  # the first of equal ones


def _shared_area(one: Rectangle, other: Rectangle) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _leader(x: float, y: float, box: Rectangle) -> Iterator[str]:
    """Yield a line from a point to its label, if the label is not beside it."""
    near_x, near_y = min(max(x, box[0]), box[2]), min(max(y, box[1]), box[3])
    if math.hypot(near_x - x, near_y - y) > 18:
        yield svg.line("leader", x, y, near_x, near_y)
