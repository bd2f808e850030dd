"""A run whose photos have been moved since it was stopped."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from headstart.config import TrainConfig
from headstart.errors import RunFolderError, shell_command


def moved(
    config: TrainConfig,
    run: str | os.PathLike[str],
    data: str | os.PathLike[str] | None,
    val: str | os.PathLike[str] | None,
) -> TrainConfig:
    """Return a run's settings with the places where its photos are now.

    Args:
        config: Of the run.
        run: Its folder, for messages.
        data: Where the photos are now, if they have been moved.
        val: Where the validation photos are now, if they have been moved.

    Raises:
        RunFolderError: ``val`` is given, but the run took its validation photos from its data.
    """
    new_val = None if val is None else os.fsdecode(val)
    if new_val is not None and config.val_folder is None:
        raise RunFolderError(
            f"val is {new_val!r}, but the run in {os.fspath(run)} took its validation photos from its data "
            f"(val = {config.val!r}). Leave val out."
        )
    if data is not None and new_val is None and config.val_folder is not None:
        with suppress(ValueError):  # it lies elsewhere, and has not moved
            new_val = str(Path(data) / Path(config.val_folder).relative_to(config.data))
    changes: dict[str, Any] = {} if data is None else {"data": os.fsdecode(data)}
    if new_val is not None:
        changes["val"] = new_val
    return dataclasses.replace(config, **changes).absolute() if changes else config


def refuse_missing_photos(config: TrainConfig, run: Path) -> None:
    """Raise ``RunFolderError`` if a run's photos are not where they were when it was stopped."""
    for option, place in (("data", config.data), ("val", config.val_folder)):
        if place is not None and not Path(place).exists():
            raise RunFolderError(
                f"The photos of the run in {run} are no longer in {place!r}. Say where they are now: "
                f"{shell_command('resume', run)} --{option} PATH"
            )
