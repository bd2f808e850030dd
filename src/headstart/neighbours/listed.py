"""The training photos that a run folder names."""

from __future__ import annotations

import csv
from pathlib import Path

from headstart.config import TrainConfig
from headstart.errors import UsageError
from headstart.images.address import joined
from headstart.images.find_tars import root_of
from headstart.neighbours.among import KnownPhoto


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
    root = root_of(TrainConfig.from_toml(config).data)
    with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        return [
            KnownPhoto(joined(root, row["path"]), row["class"], row["sha256"])
            for row in csv.DictReader(file)
            if row["split"] == "train"
        ]
