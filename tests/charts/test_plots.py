"""Charts show their numbers where they belong, as shapes and as text."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import pytest

from headstart.charts import svg
from headstart.charts.plots import Axis, Rate, Series, bars, lines, points, reliability


def shapes(chart: str, tag: str, name: str) -> list[dict[str, str]]:
    """Return the attributes of the elements of a class; the chart must be well-formed."""
    return [each.attrib for each in ElementTree.fromstring(chart).iter(tag) if each.get("class") == name]


def test_bars_are_as_high_as_their_counts_and_say_them() -> None:
    chart = bars([0, 1, 2, 3], [4, 0, 8], title="a <b>", x_name="x & y", y_name="photos")
    heights = [float(each["height"]) for each in shapes(chart, "rect", "bar")]
    assert heights[0] == pytest.approx(heights[2] / 2, abs=0.1)
    assert heights[1] == 0
    texts = [each.text for each in ElementTree.fromstring(chart).iter("text")]
    assert {"4", "8", "x & y", "photos"} <= set(texts)
    assert ElementTree.fromstring(chart)[0].text == "a <b>"


def test_equal_values_are_on_the_diagonal() -> None:
    axis = Axis.around("value", -3, 7)
    chart = points([(-3, -3), (0, 0), (7, 7)], axis, axis, title="points")
    (diagonal,) = shapes(chart, "line", "diagonal")
    x1, y1, x2, y2 = (float(diagonal[name]) for name in ("x1", "y1", "x2", "y2"))
    for point in shapes(chart, "circle", "point"):
        share = (float(point["cx"]) - x1) / (x2 - x1)
        assert float(point["cy"]) == pytest.approx(y1 + share * (y2 - y1), abs=0.2)


def test_a_reliability_diagram_has_an_interval_and_a_count_for_each_point() -> None:
    rates = [Rate(0.55, 0.5, (0.2, 0.8), 1234), Rate(0.95, 1.0, (0.9, 1.0), 56)]
    chart = reliability(rates, Axis.percent("predicted"), Axis.percent("observed"), title="r")
    assert len(shapes(chart, "line", "interval")) == len(shapes(chart, "circle", "mark")) == 2
    texts = {each.text for each in ElementTree.fromstring(chart).iter("text")}
    assert {"1,234", "56", "0 %", "100 %"} <= texts


def test_lines_leave_out_what_is_not_finite_and_differ_without_colours() -> None:
    series = [Series("training", [1, math.nan, 3], is_dashed=True), Series("validation", [1, 2, 3])]
    chart = lines(series, Axis("epoch", [1, 3]), Axis.around("loss", 1, 3), title="curves")
    (dashed,) = shapes(chart, "polyline", "series dashed")
    (solid,) = shapes(chart, "polyline", "series")
    assert [len(each["points"].split()) for each in (dashed, solid)] == [2, 3]


@pytest.mark.parametrize("ends", [(0, 1), (-0.3, 17), (5, 5), (0, 0), (1e-9, 2e-9), (-1e6, 3e6)])
def test_marks_are_round_and_enclose_the_range(ends: tuple[float, float]) -> None:
    marks = svg.ticks(*ends)
    assert marks[0] <= ends[0] + 1e-9
    assert marks[-1] >= ends[1] - 1e-9
    assert 2 <= len(marks) <= 9
    assert marks == sorted(set(marks))
