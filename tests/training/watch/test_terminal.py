"""What a user is told while training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.split import Splits
from headstart.images.photo import Photo
from headstart.records import Dataset, Listing, Record
from headstart.training.run.history import EpochRecord
from headstart.training.watch.counting import Counter
from headstart.training.watch.terminal import Terminal
from headstart.training.watch.watcher import PhotoCount, RunStart
from headstart.training.watch.watchers import Watchers

PHASES = (PhaseConfig("a"), PhaseConfig("b", augment="light"), PhaseConfig("c", augment="light"))


def tell_photos(
    terminal: Terminal,
    class_names: tuple[str, ...],
    phases: tuple[PhaseConfig, ...],
    shared: tuple[Record, ...] = (),
) -> None:
    terminal.run_begun(RunStart(Path(), TrainConfig(data="photos", phases=phases)))
    listing = Listing("photos", (), class_names, (), (), 0)
    dataset = Dataset("photos", (), class_names, (), (), 0)
    terminal.photos_read(listing, dataset, Splits((), (), (), shared))


def test_a_flip_that_changes_labels_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    tell_photos(Terminal(), ("left", "right"), PHASES)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "flip" in line]
    assert line.startswith("Warning: horizontal-flip may make 'left' and 'right' look like each other")


@pytest.mark.parametrize(
    ("num_copies", "told"),
    [
        (0, None),
        (
            1,
            "1 validation or test photo is an exact copy of a training photo, so those scores are "
            "too optimistic: '0.jpg'. Remove it",
        ),
        (9, "9 validation or test photos are exact copies of training photos, so those scores"),
    ],
)
def test_copies_of_training_photos_are_named(
    num_copies: int, told: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_photos(
        Terminal(), (), (), tuple(Record(Photo(f"{n}.jpg"), 0, "val", "a") for n in range(num_copies))
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if "cop" in line]
    assert len(lines) == (told is not None)
    if told:
        assert lines[0].startswith(f"Warning: {told}")
        assert ("..." in lines[0]) == (num_copies > 5)


def test_nothing_is_told_without_a_flip_or_of_other_classes(capsys: pytest.CaptureFixture[str]) -> None:
    tell_photos(Terminal(), ("left", "right"), PHASES[:1])
    tell_photos(Terminal(), ("cat", "dog"), PHASES)
    assert "flip" not in capsys.readouterr().err
    tell_photos(Terminal(quiet=True), ("left", "right"), PHASES)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("backbone", "stages", "errors", "told"),
    [
        (
            "resnet18",
            ["b"],
            {"last": 0.3, "b+last": 0.2},
            "The head reads b and the last stage: squared error 0.200 in cross-validation, 0.300 with the "
            "last stage alone. To export to PyTorch, train with --head linear",
        ),
        (
            "net.onnx",
            ["a", "b"],
            {"b+last": 0.2, "a+b+last": 0.1},
            "The head reads a, b and the last stage: squared error 0.100 in cross-validation",
        ),
        (
            "resnet18",
            [],
            {"last": 0.1, "b+last": 0.2},
            "The head reads the last stage alone: in cross-validation, earlier stages do not clearly help "
            "(squared error 0.100, with them 0.200)",
        ),
    ],
    ids=["chosen", "asked for, of a file", "not chosen"],
)
def test_the_stages_that_a_head_reads_are_told_with_the_reason(
    backbone: str, stages: list[str], errors: dict[str, float], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    terminal.run_begun(RunStart(Path(), TrainConfig(data="photos", backbone=backbone)))
    summary = {"penalty": 0.1, "cv_loss": 0.5, "cv_accuracy": 0.9, "stages": stages, "stage_errors": errors}
    terminal.head_solved(summary)
    assert capsys.readouterr().err.splitlines()[0] == told


def test_all_processes_but_the_main_one_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    watchers = Watchers.of_run(quiet=True)
    watchers.say("Backbone")
    watchers.add(Terminal())
    watchers.phase_begun(PHASES[0], ["stage1"], 3)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("headline", ["accuracy", "iou", "mae"])
def test_the_scores_of_epochs_are_told_under_the_tasks_names(
    headline: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = EpochRecord("a", 1, {"loss": 2, headline: 0.25}, {"loss": 1, headline: 0.5, "x": 3}, 1e-3, 4.0)
    terminal = Terminal()
    terminal.phase_begun(PhaseConfig("a", epochs=5), (), 10)
    terminal.epoch_done(record, is_best=True)
    assert capsys.readouterr().err.splitlines()[1] == (
        f"a 1/5   train loss 2.000 {headline} 0.250   val loss 1.000 {headline} 0.500 x 3.000   "
        "lr 0.001   4.0 s   best"
    )
    terminal.mixture_found(record, 0.4)
    assert f"val loss 1.000 {headline} 0.500 x 3.000   best" in capsys.readouterr().err
    # Sums over the photos so far become means.
    monkeypatch.setattr("headstart.training.watch.terminal.SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("headstart.training.watch.counting.SECONDS_BETWEEN_REPORTS", 0.0)
    counter = Counter("a 1/5", 16, headline, terminal.progressed)
    counter.advance(8, torch.tensor([4.0, 2.0, 8.0]))
    assert capsys.readouterr().err.endswith(f" left, loss 0.500, {headline} 0.250\n")
    counter.end()
    assert capsys.readouterr().err == ""


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
    monkeypatch.setattr("headstart.training.watch.terminal.SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("headstart.training.watch.counting.SECONDS_BETWEEN_REPORTS", 0.0)
    counter, totals = Counter("a 1/5", 64, "accuracy", Terminal().progressed), OnAGpu()
    for _ in range(32):
        counter.advance(2, totals)  # type: ignore[arg-type]
    assert totals.fetched == 4
    assert all("loss 0.500" in line for line in capsys.readouterr().err.splitlines())


def test_a_bar_on_a_terminal_goes_away_when_its_pass_is_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    terminal = Terminal()
    for done, is_over in ((0, False), (8, False), (16, True)):
        terminal.progressed(PhotoCount("Photos", done, 16, 2.0, is_over, lambda: "loss 0.500"))
    said = capsys.readouterr().err
    assert "Photos" in said
    assert "8/16" in said
    assert "4 images/s, loss 0.500" in said
    terminal.say("after it")
    assert capsys.readouterr().err == "after it\n"
