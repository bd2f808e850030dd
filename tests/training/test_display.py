"""What a user is told while training."""

from __future__ import annotations

import pytest
import torch

from headstart.config import PhaseConfig
from headstart.training.display import Counter, Display
from headstart.training.history import EpochRecord

PHASES = (PhaseConfig("a"), PhaseConfig("b", augment="light"), PhaseConfig("c", augment="light"))


def test_a_flip_that_changes_labels_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    Display().flips(("left", "right"), PHASES)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Warning: horizontal-flip may make 'left' and 'right' look like each other")


def test_nothing_is_told_without_a_flip_or_of_other_classes(capsys: pytest.CaptureFixture[str]) -> None:
    Display().flips(("left", "right"), PHASES[:1])
    Display().flips(("cat", "dog"), PHASES)
    Display(quiet=True).flips(("left", "right"), PHASES)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("headline", ["accuracy", "iou", "mae"])
def test_the_scores_of_epochs_are_told_under_the_tasks_names(
    headline: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = EpochRecord("a", 1, {"loss": 2, headline: 0.25}, {"loss": 1, headline: 0.5, "x": 3}, 1e-3, 4.0)
    Display().epoch(record, 5, is_best=True)
    assert capsys.readouterr().err == (
        f"a 1/5   train loss 2.000 {headline} 0.250   val loss 1.000 {headline} 0.500 x 3.000   "
        "lr 0.001   4.0 s   best\n"
    )
    Display().mixture(record, 0.4)
    assert f"val loss 1.000 {headline} 0.500 x 3.000   best" in capsys.readouterr().err
    # Sums over the photos so far become means.
    monkeypatch.setattr("headstart.training.display._SECONDS_BETWEEN_LINES", 0.0)
    Counter("a 1/5", 16, headline, None, quiet=False).advance(8, torch.tensor([4.0, 2.0, 8.0]))
    assert capsys.readouterr().err.endswith(f" left, loss 0.500, {headline} 0.250\n")


class OnAGpu:
    """Totals that count how often they are fetched."""

    device = torch.device("cuda")

    def __init__(self) -> None:
        self.fetched = 0

    def tolist(self) -> list[float]:
        self.fetched += 1
        return [4.0, 2.0, 8.0]


def test_a_gpu_is_not_waited_for_each_time_that_progress_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("headstart.training.display._SECONDS_BETWEEN_LINES", 0.0)
    counter, totals = Counter("a 1/5", 64, "accuracy", None, quiet=False), OnAGpu()
    for _ in range(32):
        counter.advance(2, totals)  # type: ignore[arg-type]
    assert totals.fetched == 4
    assert all("loss 0.500" in line for line in capsys.readouterr().err.splitlines())
