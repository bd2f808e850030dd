"""Resuming a run whose photos have been moved."""

from __future__ import annotations

import dataclasses
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from headstart.config import TrainConfig
from headstart.errors import RunFolderError, shell_command
from headstart.images.find_tars import exists


def moved(
    config: TrainConfig,
    run: str | os.PathLike[str],
    data: str | os.PathLike[str] | None,
    val: str | os.PathLike[str] | None,
    images: str | os.PathLike[str] | None = None,
) -> TrainConfig:
    """Return the settings of a run with the new locations of its photos.

    Args:
        config: Settings of the run.
        run: The run folder, for messages.
        data: New location of the photos, if they have been moved.
        val: New location of the validation photos, if they have been moved.
        images: New location of the folder in which photos are found by name, if it has been moved. By
            default it moves with the data, if it is inside.

    Raises:
        RunFolderError: ``val`` or ``images`` is given, but the run took its photos from its data.
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
    if images is not None and config.images is None:
        raise RunFolderError(
            f"images is {os.fsdecode(images)!r}, but the run in {os.fspath(run)} found its photos without "
            "this setting. Leave images out; data is the new location of the photos."
        )
    new_images = config.images if images is None else os.fsdecode(images)
    if data is not None and images is None and config.images is not None:
        old = Path(config.data)
        with suppress(ValueError):  # it lies elsewhere, and has not moved
            below = Path(config.images).relative_to(old if Path(data).is_dir() else old.parent)
            new_images = str((Path(data) if Path(data).is_dir() else Path(data).parent) / below)
    changes: dict[str, Any] = {} if data is None else {"data": os.fsdecode(data)}
    if new_val is not None:
        changes["val"] = new_val
    if new_images != config.images:
        changes["images"] = new_images
    return dataclasses.replace(config, **changes).absolute() if changes else config


def refuse_missing_photos(
    config: TrainConfig,
    run: Path,
    data: str | os.PathLike[str] | None,
    val: str | os.PathLike[str] | None,
    images: str | os.PathLike[str] | None = None,
) -> None:
    """Raise ``RunFolderError`` if the photos of a run do not exist where ``data``, ``val`` or ``images``
    says, or where they were.
    """
    for option, given, place in (
        ("data", data, config.data),
        ("val", val, config.val_folder),
        ("images", images, config.images),
    ):
        if given is not None and not exists(os.fsdecode(given)):
            raise RunFolderError(
                f"{option} is {os.fsdecode(given)!r}, which does not exist. Name the folder or file where "
                f"the photos of the run in {run} are now."
            )
        if place is not None and not exists(place):
            raise RunFolderError(
                f"The photos of the run in {run} are no longer in {place!r}. Say where they are now: "
                f"{shell_command('resume', run)} --{option} PATH"
            )
