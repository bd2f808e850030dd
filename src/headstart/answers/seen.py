"""Which photos had a part in a run, so that scores on them are too good."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart import tasks
from headstart.columns import counted
from headstart.images.photo import Photo
from headstart.inference.runtime import map_in_order


def notes_on_seen(run: Path, digests: Sequence[str]) -> list[str]:
    """Say why scores of a run's model on these photos are not those of new ones; nothing if they are.

    Args:
        run: The run folder.
        digests: SHA-256 of the photos that were scored.
    """
    seen, chosen = _num_seen(run, digests), chosen_on_validation(run)
    of_these = f"of these {counted(len(digests), 'photo')}"
    parts = []
    if seen["train"]:
        parts.append(f"the model was trained on {seen['train']} {of_these} (exact copies)")
    if seen["val"] and chosen:
        owner, which = ("its", "of them") if parts else ("the model's", of_these)
        parts.append(f"{owner} {chosen} were chosen on {seen['val']} {which}")
    notes = []
    if parts:
        notes.append(
            f"{', and '.join(parts)}, so these scores are too optimistic. "
            "Score the model on photos that had no part in training."
        )
    if seen["val"] and not chosen:
        known = "the run's validation photos, so its metrics.json has these scores already"
        are_all = seen["val"] == len(digests) == _num_validation_photos(run)
        notes.append(
            f"{seen['val']} {of_these} are {known if are_all else 'validation photos of the run'}. "
            "Nothing was chosen on them."
        )
    return notes


def num_seen_by(run: str | os.PathLike[str], photos: Iterable[Photo]) -> dict[str, int]:
    """Count photos that a run has used, by the hash of their bytes, wherever they are now.

    Args:
        run: The run folder.
        photos: Unreadable ones are not counted.

    Returns:
        ``train``: the number of training photos among them; ``val``: the number of validation photos. Both
        are 0 if the run has no readable ``photos.csv``.
    """
    return _num_seen(run, list(map_in_order(Photo.sha256, photos)))


def used_by(run: str | os.PathLike[str]) -> dict[str, set[str]] | None:
    """Return the SHA-256 of a run's photos by split, from its ``photos.csv``; None if it cannot be read.

    Identical training and validation photos are training photos.
    """
    seen: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
    try:
        text = Path(run, "photos.csv").read_text("utf-8", errors="surrogateescape")
        for row in csv.DictReader(io.StringIO(text, newline="")):
            if row["split"] in seen:
                seen[row["split"]].add(row["sha256"])
    except (OSError, KeyError, csv.Error):
        return None
    seen["val"] -= seen["train"]
    return seen


def _num_seen(run: str | os.PathLike[str], digests: Sequence[str]) -> dict[str, int]:
    used = used_by(run) or {}
    return {
        split: sum(digest in used.get(split, ()) for digest in digests if digest)
        for split in ("train", "val")
    }


def chosen_on_validation(run: str | os.PathLike[str]) -> str:
    """Return what was chosen on the validation photos of a run, which makes scores on them too optimistic.

    Args:
        run: The run folder.

    Returns:
        ``"weights"`` if there were several epochs or runs to choose from; ``"thresholds"`` for several
        labels; both, or neither. ``"weights"`` if there is no readable ``metrics.json``.
    """
    try:
        return chosen_by(json.loads(Path(run, "metrics.json").read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return "weights"


def chosen_by(metrics: Mapping[str, Any]) -> str:
    """Return what was chosen on the validation photos, as ``chosen_on_validation``.

    Args:
        metrics: Content of ``metrics.json``.
    """
    num_epochs = sum(len(phase["epochs"]) for phase in metrics["phases"])
    has_choice = num_epochs > 1 or "steps" in metrics
    chosen = {"weights": has_choice, "thresholds": tasks.of(metrics["task"]).has_labels}
    return " and ".join(name for name, was_chosen in chosen.items() if was_chosen)


def _num_validation_photos(run: Path) -> int:
    """Return the number that a run's ``metrics.json`` has; 0 if it cannot be read."""
    try:
        return int(json.loads((run / "metrics.json").read_text("utf-8"))["images"]["val"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
