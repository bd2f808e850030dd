"""The features of the training photos of a run, from the store or computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from headstart.columns import counted
from headstart.errors import UsageError
from headstart.frozen.cache import OptionalStore, Room
from headstart.frozen.fingerprint import photo_key
from headstart.images.photo import Photo
from headstart.neighbours.among import Among, KnownPhoto
from headstart.neighbours.last_stage import LastStage

_MOST_NAMED: Final = 3


def stored_features(stage: LastStage, sha256: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the features that are in the store, (D,) float32 by SHA-256. Nothing is computed or created.

    Args:
        stage: Of the model.
        sha256: Of photos.
    """
    room = Room(lambda _: None)
    if not room.shared and not stage.store.is_file():
        return {}
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
        photos: Of ``listed.training_photos``.
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
