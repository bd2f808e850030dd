"""The training photos of a run, and their features from the store."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from headstart.columns import counted
from headstart.config import TrainConfig
from headstart.errors import UsageError
from headstart.frozen.cache import OptionalStore, Room
from headstart.frozen.fingerprint import photo_key
from headstart.images.photo import Photo
from headstart.neighbours.among import Among, KnownPhoto
from headstart.neighbours.last_stage import LastStage

_MOST_NAMED: Final = 3


def training_photos(folder: Path) -> list[KnownPhoto]:
    """Return the training photos of a run.

    Args:
        folder: The run folder.

    Raises:
        UsageError: It is not the folder of a run.
    """
    config, table = folder / "config.toml", folder / "photos.csv"
    if not config.is_file() or not table.is_file():
        raise UsageError(
            f"Similar photos are found among the training photos, which config.toml and photos.csv in the "
            f"run folder name, and {folder} does not contain both. Name the run folder that headstart train "
            f"wrote."
        )
    data = Path(TrainConfig.from_toml(config).data)
    root = data.parent if data.is_file() or data.suffix else data
    root = data if data.is_dir() else root
    with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return [
            KnownPhoto(str(root / row["path"]), row["class"], row["sha256"])
            for row in csv.DictReader(file)
            if row["split"] == "train"
        ]


def stored_features(stage: LastStage, sha256: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the features that are in the store, (D,) float32 by SHA-256. Nothing is computed or created.

    Args:
        stage: Of the model.
        sha256: Of photos.
    """
    if not stage.store.is_file():
        return {}
    room = Room(lambda _: None)
    store = OptionalStore(room, partial(room.open, stage.fingerprint))
    try:
        found = {}
        for each in dict.fromkeys(sha256):
            key = photo_key(each, 0)
            row = store.ask(lambda opened, key=key: opened.get(key), None)  # type: ignore[misc]
            if row is not None and np.isfinite(row).all():
                found[each] = row.reshape(-1)
        return found
    finally:
        store.close()


def open_among(stage: LastStage, photos: Sequence[KnownPhoto], say: Callable[[str], object]) -> Among:
    """Return the training photos with their features, which are computed and stored where they are missing.

    Args:
        stage: Of the model.
        photos: Of ``training_photos``.
        say: Called with a sentence for the user: what is computed, and which photos are left out.

    Raises:
        UsageError: None of the photos has features.
    """
    known = stored_features(stage, [photo.sha256 for photo in photos])
    missing = [photo for photo in photos if photo.sha256 not in known]
    left_out = []
    if missing:
        say(f"Computing the features of {counted(len(missing), 'training photo')}, once")
        activations = stage.open(say, room=Room(say))
        try:
            rows = activations.stream(Photo(photo.path) for photo in missing)
            for photo, (checked, row) in zip(missing, rows, strict=True):
                if checked.sha256 == photo.sha256 and row is not None:
                    known[photo.sha256] = row.reshape(-1)
                else:
                    left_out.append(photo.path)
        finally:
            activations.close()
    if left_out:
        named = ", ".join(left_out[:_MOST_NAMED]) + (", ..." if len(left_out) > _MOST_NAMED else "")
        say(
            f"{counted(len(left_out), 'training photo')} no longer where the run read them, or changed, and "
            f"left out: {named}"
        )
    there = [photo for photo in photos if photo.sha256 in known]
    if not there:
        raise UsageError(
            "None of the run's training photos can be read, and their features are not stored. Move them "
            "back to where the run read them, or leave out --similar."
        )
    return Among.of(there, np.stack([known[photo.sha256] for photo in there]))
