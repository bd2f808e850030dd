"""What a user is told while training."""

from __future__ import annotations

import pytest

from headstart.config import PhaseConfig
from headstart.training.display import Display

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
