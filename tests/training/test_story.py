"""What a run without steps refuses, and which runs have to take steps."""

from __future__ import annotations

from pathlib import Path

import pytest

import headstart as hs
from headstart.errors import ConfigError


def test_a_score_that_the_task_does_not_have_is_refused_without_steps_too(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"select is 'val_map'.*'classification'.*val_accuracy"):
        hs.train(photos, tmp_path / "run", recipe="probe", select="val_map")
    assert not (tmp_path / "run").exists()
