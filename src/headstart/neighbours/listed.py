"""The training photos that a run folder names."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

from headstart.config import TrainConfig
from headstart.errors import UsageError
from headstart.images.address import joined
from headstart.images.find_tars import root_of
from headstart.neighbours.among import KnownPhoto

_CONFIG: Final = "config.toml"


def data_folder(folder: Path) -> str:
    """Return the folder to which the paths in the ``photos.csv`` of a run folder are relative."""
    return str(root_of(TrainConfig.from_toml(folder / _CONFIG).data))


def training_photos(folder: Path) -> list[KnownPhoto]:
    """Return the training photos of a run.

    Args:
        folder: The run folder.

    Raises:
        UsageError: It is not the folder of a run.
    """
    table = folder / "photos.csv"
    if not (folder / _CONFIG).is_file() or not table.is_file():
        raise UsageError(
            f"Similar photos are found among the training photos, which config.toml and photos.csv in the "
            f"run folder name, and {folder} does not contain both. Name the run folder that headstart train "
            f"wrote."
        )
    root = data_folder(folder)
    with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return [
            KnownPhoto(joined(root, row["path"]), row["class"], row["sha256"])
            for row in csv.DictReader(file)
            if row["split"] == "train"
        ]
