"""The table, the advice and the picture, from measurements of backbones that need not exist."""

from __future__ import annotations

import base64
import csv
import io
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

import numpy as np
import pytest

from headstart import tasks
from headstart.answers.intervals import of_paired_proportions, over_units, wilson
from headstart.recommendation.compare import Measured
from headstart.recommendation.picture import Mark, scatter
from headstart.recommendation.result import FIELDS, Recommendation, compared
from headstart.records import Dataset

NUM = 400
Timed: TypeAlias = tuple[Measured, float]


DATASET = Dataset("photos", (), (), (), (), 0)


def measured(name: str, wrong: int, ms: float, loss: float = 0.1, *, noise: float = 0.0) -> Timed:
    """A backbone that gets the first photos wrong."""
    generator = np.random.default_rng(len(name))
    losses = np.full(NUM, loss) + noise * generator.normal(size=NUM)
    losses[:wrong] += 2
    numbers = np.arange(NUM)
    return Measured(name, 224, (), losses, numbers >= wrong, numbers, Path(), 9.04, DATASET), ms


def recommendation(*rows: Timed, **failed: str) -> Recommendation:
    backbones, times = zip(*rows, strict=True)
    return Recommendation(compared(backbones, times, tasks.of("classification")), "accuracy", NUM, failed)


@pytest.mark.parametrize(
    ("rows", "chosen", "advice"),
    [
        ([("small", 8, 3.0), ("large", 6, 9.0)], "small", "3.0 ms per photo instead of 9.0"),
        ([("small", 40, 3.0), ("large", 6, 9.0)], "large", "faster backbones are worse beyond chance"),
        ([("small", 6, 3.0), ("large", 40, 9.0)], "small", "has the lowest loss and is the fastest"),
        ([("small", 6, 3.0)], "small", "Only small was compared"),
        ([("tiny", 90, 1.0), ("small", 8, 3.0), ("large", 6, 9.0)], "small", "instead of 9.0"),
    ],
    ids=["within chance", "beyond chance", "best is fastest", "alone", "three"],
)
def test_the_fastest_that_is_as_good_as_the_best_is_recommended(
    rows: list[tuple[str, int, float]], chosen: str, advice: str
) -> None:
    found = recommendation(*(measured(*row, noise=0.05) for row in rows))
    assert found.recommended.backbone == chosen
    assert advice in found.advice
    assert len(re.findall(r"[.!?](?:\s|$)", found.advice)) <= 2
    assert [row.loss for row in found] == sorted(row.loss for row in found)
    assert found.advice in repr(found)


def test_scores_intervals_and_paired_differences_are_those_of_the_photos() -> None:
    good, bad = measured("good", 10, 5.0), measured("bad", 30, 4.0)
    best, other = recommendation(bad, good)
    assert (best.backbone, best.score, best.loss) == ("good", 0.975, pytest.approx(0.15))
    assert best.score_interval == pytest.approx(wilson(390, NUM))
    assert (best.loss_behind, best.score_behind, best.score_behind_interval) == (0, 0, (0, 0))
    assert best.is_as_good
    assert other.score_behind == pytest.approx(-0.05)
    differences = np.where((np.arange(NUM) >= 10) & (np.arange(NUM) < 30), -1, 0)
    assert other.score_behind_interval == pytest.approx(of_paired_proportions(differences))
    assert other.loss_behind_interval == pytest.approx(
        over_units(bad[0].losses - good[0].losses, np.arange(NUM))
    )
    assert not other.is_as_good


def test_photos_of_one_group_say_less() -> None:
    alone, ms = measured("a", 40, 5.0)
    grouped = Measured(**(vars(alone) | {"units": np.arange(NUM) // 20}))
    (one,), (other,) = recommendation((alone, ms)), recommendation((grouped, ms))
    for name in ("score_interval", "loss_interval"):
        (low, high), (wider_low, wider_high) = getattr(one, name), getattr(other, name)
        assert wider_high - wider_low > 2 * (high - low)


def test_numbers_have_intervals_in_their_units() -> None:
    errors = np.random.default_rng(0).exponential(30, NUM)
    one = Measured("a", 64, (), errors / 20, errors, np.arange(NUM), Path(), 9.0, DATASET)
    found = Recommendation(compared([one], [5.0], tasks.of("regression")), "mae", NUM, {})
    low, high = found[0].score_interval
    assert 25 < low < errors.mean() < high < 40
    assert "lower is better" in found.svg()


def test_the_csv_has_a_row_for_each_backbone_and_its_reason_for_each_that_failed() -> None:
    found = recommendation(measured("a", 8, 3.0), measured("b", 6, 9.0), c="no weights, none")
    rows = list(csv.DictReader(io.StringIO(found.csv())))
    assert tuple(rows[0]) == FIELDS
    assert [(row["backbone"], row["error"]) for row in rows] == [
        ("b", ""),
        ("a", ""),
        ("c", "no weights, none"),
    ]
    assert [row["is_recommended"] for row in rows] == ["0", "1", ""]
    assert float(rows[0]["score"]) == 0.985
    assert "c was not compared: no weights, none" in repr(found)


def test_a_notebook_shows_the_table_the_advice_and_the_picture() -> None:
    found = recommendation(measured("a", 8, 3.0), measured("b", 6, 9.0), c="no <weights>")
    page = found._repr_html_()
    assert "<table>" in page
    assert "Use a:" in page
    assert "no &lt;weights&gt;" in page
    (picture,) = re.findall('src="data:image/svg[+]xml;base64,([^"]+)"', page)
    assert base64.b64decode(picture).decode() == found.svg()


def texts(svg: str) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Yield the labels with the space that they take at least."""
    for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        if each.get("class") == "name":
            width = 6.0 * len(each.text or "")
            left = (
                float(each.get("x", ""))
                - width * {"start": 0, "middle": 0.5, "end": 1}[each.get("text-anchor", "")]
            )
            bottom = float(each.get("y", ""))
            yield each.text or "", (left, bottom - 11, left + width, bottom + 3)


@pytest.mark.parametrize("number", [1, 2, 4, 9])
def test_labels_are_in_the_picture_and_do_not_overlap(number: int) -> None:
    generator = np.random.default_rng(number)
    marks = [
        Mark(f"timm/a<{n}>_network", x, y, (y - 0.01, y + 0.01), n == 0)
        for n, (x, y) in enumerate(
            zip(generator.uniform(3, 9, number), generator.uniform(0.85, 0.9, number), strict=True)
        )
    ]
    svg = scatter(marks, y_name="accuracy", y_text=str, is_lower_better=False, title="Photos & more")
    found = dict(texts(svg))
    assert set(found) == {mark.name for mark in marks}
    for left, top, right, bottom in found.values():
        assert left >= 0
        assert right <= 760
        assert top >= 0
        assert bottom <= 460
    for one, other in combinations(found.values(), 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart
    assert "prefers-color-scheme: dark" in svg


def test_better_is_further_up_whatever_the_score() -> None:
    marks = [Mark("good", 1.0, 2.0, (1.5, 2.5), True), Mark("bad", 1.0, 9.0, (8.0, 10.0), False)]
    for is_lower_better in (True, False):
        svg = scatter(marks, y_name="mae", y_text=str, is_lower_better=is_lower_better, title="t")
        circles = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}circle")
        good, bad = (float(each.get("cy", "")) for each in circles)
        assert (good < bad) == is_lower_better
