"""Names and values for experiment trackers, the same for all of them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from headstart.config import TrainConfig
from headstart.files import write_whole
from headstart.training.run.history import EpochRecord

IDS: Final = "trackers.json"
"""File in a run folder with the identifiers of its tracker runs, so that they can be continued."""


def numbers_of(record: EpochRecord) -> dict[str, float]:
    """Return the scores of an epoch by their names in ``history.csv``."""
    return {name: float(value) for name, value in record.flat().items() if name != "phase"}


def final_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the scores of a finished run, such as ``best/val_loss``, ``folds/accuracy`` and
    ``test/accuracy``.

    Args:
        metrics: Content of ``metrics.json``.
    """
    return {
        f"{part}/{name}": float(value)
        for part in ("best", "folds", "test")
        for name, value in metrics.get(part, {}).items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def settings_of(config: TrainConfig) -> dict[str, str]:
    """Return settings as text by names such as ``seed`` and ``phases.1.head_lr``."""
    values = config.absolute().to_dict()
    phases = values.pop("phases")
    flat = {name: str(value) for name, value in values.items()}
    for number, phase in enumerate(phases, 1):
        flat |= {f"phases.{number}.{name}": str(value) for name, value in phase.items()}
    return flat


def kept_id(path: Path, tracker: str) -> str | None:
    """Return the identifier that ``keep_id`` has stored in a run folder; None if there is none."""
    with contextlib.suppress(FileNotFoundError):
        value: str | None = json.loads((path / IDS).read_text("utf-8")).get(tracker)
        return value
    return None


def keep_id(path: Path, tracker: str, identifier: str) -> None:
    """Store the identifier of a tracker run in a run folder."""
    ids = {}
    with contextlib.suppress(FileNotFoundError):
        ids = json.loads((path / IDS).read_text("utf-8"))
    write_whole(path / IDS, json.dumps({**ids, tracker: identifier}, indent=2) + "\n")


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """Set environment variables inside the block, unless the user has set them."""
    own = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
