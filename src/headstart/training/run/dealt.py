"""The folds of a series of runs, which are dealt once.

Near-duplicates stay in one fold, and each run looks for them: on a GPU, with features that differ in their
last bits. Folds that each run dealt by itself could therefore contradict each other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from headstart.columns import counted
from headstart.config import TrainConfig
from headstart.data.split import Splits
from headstart.errors import RunFolderError
from headstart.files import write_whole
from headstart.probe.outer_folds import deal, split_photos
from headstart.records import Dataset

DEALT: Final = "folds.json"
"""Name of the file beside the runs of a series: an object of the SHA-256 of each photo and its fold."""


def begin_dealing(inside: Path) -> None:
    """Let the first run in this folder deal the folds for those that follow."""
    if not (inside / DEALT).exists():
        write_whole(inside / DEALT, "{}\n")


def split_in_series(dataset: Dataset, config: TrainConfig, run: Path | None, *, is_solved: bool) -> Splits:
    """Return the splits of a run; in a series of folds, by the folds that its first run has dealt.

    Args:
        dataset: The photos.
        config: The settings.
        run: The run's folder, which need not exist; None if it has the default name.
        is_solved: As for ``split_photos``.

    Raises:
        DataError: The photos cannot be split.
        RunFolderError: The photos are not those that were dealt, or the file cannot be read.
    """
    file = None if run is None or config.folds is None else run.parent / DEALT
    if file is None or not file.is_file():
        return split_photos(dataset, config, is_solved=is_solved)
    dealt = _read(file)
    if not dealt:
        dealt = deal(dataset, config)
        write_whole(file, json.dumps(dealt, indent=1) + "\n")
    path_of = {record.sha256: record.path for record in dataset.records if record.split != "test"}
    added = [path for sha256, path in path_of.items() if sha256 not in dealt]
    num_missing = len(dealt.keys() - path_of.keys())
    if added or num_missing:
        example = f", such as {added[0]!r}" if added else ""
        raise RunFolderError(
            f"The photos have changed since they were dealt to folds: {counted(len(added), 'photo')} "
            f"added{example}, and {num_missing:,} missing or unreadable. Restore them and resume, or start a "
            f"new run."
        )
    return split_photos(dataset, config, is_solved=is_solved, dealt=dealt)


def _read(file: Path) -> dict[str, int]:
    """Return the fold of each photo; empty if they have not been dealt."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{file} cannot be read ({error}). Start a new run.") from None
    if not isinstance(found, dict) or not all(isinstance(each, int) for each in found.values()):
        raise RunFolderError(f"{file} is not an object with a fold for each photo. Start a new run.")
    return found
