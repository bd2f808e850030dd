"""The picture of a run's epochs: what it says in words."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from headstart.training.run.history import EpochRecord
from headstart.training.watch.curves import curves, curves_png


def rows(phase: str, count: int, headline: str = "accuracy") -> list[EpochRecord]:
    return [
        EpochRecord(phase, n, {"loss": 1 / n, headline: 0.5}, {"loss": 1.2 / n, headline: 0.6}, 1e-3, 1.0)
        for n in range(1, count + 1)
    ]


HISTORY = [*rows("probe", 1), *rows("deep", 6)]


def test_epochs_are_numbered_as_in_history_csv_and_the_legend_covers_no_curve() -> None:
    figure = curves(HISTORY, HISTORY[-1])
    for axes in figure.axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "1", "2", "3", "4", "5", "6"]
        assert axes.get_legend() is None
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training", "validation", "best"]


@pytest.mark.parametrize("count", [1, 9, 40, 333])
def test_the_axis_stays_readable(count: int) -> None:
    for history in ([*rows("a", 1), *rows("b", count)], rows("a", count)):
        numbers = figure_numbers(history)
        assert 1 <= len(numbers) <= 12
        assert numbers[0] == "1"


def figure_numbers(history: list[EpochRecord]) -> list[str]:
    return [tick.get_text() for tick in curves(history, history[0]).axes[0].get_xticklabels()]


def test_a_mixture_and_mixed_photos_are_explained(tmp_path: Path) -> None:
    figure = curves(HISTORY, HISTORY[-1], share=0.4, mixing=["deep", "later"])
    (legend,) = figure.legends
    assert legend.get_texts()[2].get_text() == (
        "best: 40% of this epoch's weights, the rest from before the phase"
    )
    assert "of deep are of mixed photos" in figure.get_suptitle()
    assert curves(HISTORY, HISTORY[-1], mixing=["later"]).get_suptitle() == ""
    (tmp_path / "curves.png").write_bytes(curves_png(HISTORY, HISTORY[-1], share=0.4, mixing=["deep"]))
    with Image.open(tmp_path / "curves.png") as image:
        image.load()


@pytest.mark.parametrize(
    ("headline", "title", "limit"),
    [("accuracy", "Accuracy", 1.005), ("iou", "IoU", 1.005), ("mae", "Mean absolute error", 0)],
)
def test_the_second_picture_is_of_the_tasks_headline(headline: str, title: str, limit: float) -> None:
    history = rows("a", 3, headline)
    scores = curves(history, history[1]).axes[1]
    assert scores.get_title() == title
    training, validation, best = scores.get_lines()[:3]
    assert list(training.get_ydata()) == [0.5] * 3
    assert list(validation.get_ydata()) == [0.6] * 3
    assert best.get_xydata().tolist() == [[2, 0.6]]
    assert not best.get_clip_on()  # at the last epoch, the ring extends beyond the axes
    # Shares end at 1, errors at 0.
    assert scores.get_ylim()[0 if headline == "mae" else 1] == limit
