"""Small charts as SVG for a page that has their style sheet: bars, points, lines, and a reliability diagram.

Charts are 360 px wide, so that their text stays readable on a phone. Each has a title for screen readers and
its numbers as text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from headstart.charts import svg

_WIDTH: Final = 360
_HEIGHT: Final = 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 20, 26, 44  # margins around the axes
_MOST_COUNTS: Final = 12  # more bars have no room for numbers


@dataclass(frozen=True)
class Axis:
    """An axis between two values.

    Attributes:
        name: Its title.
        values: Ascending values of its marks; the first and the last are its ends.
        is_percent: Whether the values are fractions that are shown as percentages.
    """

    name: str
    values: Sequence[float]
    is_percent: bool = False

    @classmethod
    def around(cls, name: str, low: float, high: float) -> Axis:
        """Return an axis that encloses a range."""
        return cls(name, svg.ticks(low, high))

    @classmethod
    def percent(cls, name: str) -> Axis:
        """Return an axis from 0 to 100 %."""
        return cls(name, (0, 0.2, 0.4, 0.6, 0.8, 1), is_percent=True)

    def share(self, value: float) -> float:
        """Return the position of a value: 0 at the beginning of the axis, 1 at its end."""
        low, high = self.values[0], self.values[-1]
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def words(self, value: float) -> str:
        """Return a value as text."""
        return f"{value:.0%}".replace("%", " %") if self.is_percent else f"{value:.6g}"


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Attributes:
        name: Shown above the chart.
        values: One value per position on the horizontal axis; values that are not finite are left out.
        is_dashed: Whether the line is dashed, so that two lines differ without colours.
    """

    name: str
    values: Sequence[float]
    is_dashed: bool = False


@dataclass(frozen=True)
class Rate:
    """A point of a reliability diagram.

    Attributes:
        predicted: Mean predicted probability of its photos.
        observed: Fraction of its photos for which the prediction is right.
        interval: 95 % interval of this fraction.
        count: Number of its photos.
    """

    predicted: float
    observed: float
    interval: tuple[float, float]
    count: int


def bars(edges: Sequence[float], counts: Sequence[int], *, title: str, x_name: str, y_name: str) -> str:
    """Draw a histogram.

    Args:
        edges: K + 1 ascending edges of the bars.
        counts: K counts.
        title: What it shows, for screen readers.
        x_name: Title of the horizontal axis.
        y_name: Title of the vertical axis.
    """
    x, y = Axis.around(x_name, edges[0], edges[-1]), Axis.around(y_name, 0, max(1, *counts) * 1.05)
    parts = []
    for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
        begin, end, top = _x(x, left), _x(x, right), _y(y, count)
        parts.append(svg.rectangle("bar", begin + 1, top, max(end - begin - 2, 1), _y(y, 0) - top))
        if count and len(counts) <= _MOST_COUNTS:
            parts.append(svg.text((begin + end) / 2, top - 4, f"{count:,}", "count", anchor="middle"))
    return _chart(x, y, parts, title)


def points(values: Iterable[tuple[float, float]], x: Axis, y: Axis, *, title: str) -> str:
    """Draw points and the diagonal on which both values are equal.

    Args:
        values: Horizontal and vertical value of each point.
        x: Horizontal axis.
        y: Vertical axis, with the same ends.
        title: What it shows, for screen readers.
    """
    diagonal = svg.line("diagonal", _x(x, x.values[0]), _y(y, y.values[0]), _x(x, x.values[-1]), _TOP)
    marks = [svg.circle("point", _x(x, each), _y(y, other), 2.5) for each, other in values]
    return _chart(x, y, [diagonal, *marks], title)


def reliability(rates: Iterable[Rate], x: Axis, y: Axis, *, title: str) -> str:
    """Draw a reliability diagram: points with intervals, the diagonal, and the counts above them.

    Args:
        rates: The points.
        x: Axis of predicted probabilities.
        y: Axis of observed fractions.
        title: What it shows, for screen readers.
    """
    parts = [svg.line("diagonal", _x(x, 0), _y(y, 0), _x(x, 1), _y(y, 1))]
    for number, rate in enumerate(rates):
        parts.append(
            svg.text(
                _x(x, rate.predicted), 9 + 11 * (number % 2), f"{rate.count:,}", "count", anchor="middle"
            )
        )
        at = _x(x, rate.predicted)
        low, high = (_y(y, end) for end in rate.interval)
        parts.append(svg.line("interval", at, low, at, high))
        parts.append(svg.circle("mark", at, _y(y, rate.observed), 4.5))
    return _chart(x, y, parts, title)


def lines(series: Sequence[Series], x: Axis, y: Axis, *, title: str) -> str:
    """Draw lines over the positions 1, 2, 3, ... with a legend above them.

    Args:
        series: One or two lines.
        x: Horizontal axis.
        y: Vertical axis.
        title: What it shows, for screen readers.
    """
    parts = []
    for number, each in enumerate(series):
        kind = f"series{' dashed' if each.is_dashed else ''}"
        found = [(p, value) for p, value in enumerate(each.values, 1) if math.isfinite(value)]
        path = " ".join(f"{_x(x, position):.1f},{_y(y, value):.1f}" for position, value in found)
        parts.append(f'<polyline class="{kind}" points="{path}"/>')
        legend = _LEFT + 110 * number
        parts.append(svg.line(kind, legend, 9, legend + 26, 9))
        parts.append(svg.text(legend + 32, 13, each.name, "quiet", anchor="start"))
    return _chart(x, y, parts, title)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.share(value) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT - _BOTTOM - axis.share(value) * (_HEIGHT - _TOP - _BOTTOM)


def _chart(x: Axis, y: Axis, parts: Sequence[str], title: str) -> str:
    """Return a whole chart: axes with marks and titles, and what is drawn between them."""
    found = [f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"><title>{escape(title)}</title>']
    for value in y.values:
        at = _y(y, value)
        found.append(svg.line("grid", _LEFT, at, _WIDTH - _RIGHT, at))
        found.append(svg.text(_LEFT - 6, at + 4, y.words(value), "quiet", anchor="end"))
    for value in x.values:
        at = _x(x, value)
        found.append(svg.line("grid", at, _HEIGHT - _BOTTOM, at, _HEIGHT - _BOTTOM + 4))
        found.append(svg.text(at, _HEIGHT - _BOTTOM + 17, x.words(value), "quiet", anchor="middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    found.append(svg.text(middle, _HEIGHT - 6, x.name, "quiet", anchor="middle"))
    up = (_TOP + _HEIGHT - _BOTTOM) / 2
    found.append(
        f'<text class="quiet" transform="translate(12 {up:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(y.name)}</text>"
    )
    return "".join([*found, *parts, "</svg>"])
