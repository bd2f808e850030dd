"""``photos.csv``: the photos of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from headstart.columns import counted, listed
from headstart.data.split import Splits
from headstart.data.text import label_text, path_below
from headstart.records import Dataset

_MOST_NAMED: Final = 5


def photos_csv(dataset: Dataset, splits: Splits) -> str:
    """Return the content of ``photos.csv``: path relative to the data folder, class, split and SHA-256."""
    text, labelling = io.StringIO(newline=""), (dataset.task, dataset.class_names)
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["path", "class", "split", "sha256"])
    for split, records in (("train", splits.train), ("val", splits.val), ("test", splits.test)):
        writer.writerows(
            [path_below(record.path, dataset.root), label_text(record, *labelling), split, record.sha256]
            for record in records
        )
    return text.getvalue()


Places = Mapping[str, Sequence[Path]]
"""Folders that may be moved by themselves, by a name; several are the same folder in other words."""


def places_of(data: str, val: str | None, images: str | None) -> Places:
    """Return the folders of a run's photos that are not the data folder itself.

    Args:
        data: The data.
        val: Folder or file of separate validation photos.
        images: The folder in which photos are found by name.
    """
    found: dict[str, Sequence[Path]] = {}
    if val is not None:
        found["val"] = [Path(val) if Path(val).suffix == "" else Path(val).parent]  # of a label file
    if images is not None:
        folder = Path(images)
        found["images"] = [folder]
        for root in (Path(data), Path(data).parent):
            if folder != root and folder.is_relative_to(root):
                found["images"] = [folder, folder.relative_to(root)]
                break
    return found


def photo_differences(
    then: str, now: str, places_then: Places | None = None, places_now: Places | None = None
) -> list[str]:
    """Return a few lines about the differences between two ``photos.csv``.

    Args:
        then: Content of the earlier file.
        now: Content of the later file.
        places_then: Earlier locations of separate folders; the paths in them are compared relative to these.
        places_now: Current locations of these folders.
    """
    before, after = _rows(then, places_then or {}), _rows(now, places_now or {})
    kinds = {
        "no longer there": [path for path in before if path not in after],
        "new": [path for path in after if path not in before],
        "changed in content, class or split": [
            path for path in before if path in after and before[path] != after[path]
        ],
    }
    return [
        f"{counted(len(paths), 'photo')} {kind}: {listed(paths, _MOST_NAMED)}"
        for kind, paths in kinds.items()
        if paths
    ]


def _rows(text: str, places: Places) -> dict[str, Sequence[str]]:
    rows: Iterator[list[str]] = csv.reader(io.StringIO(text, newline=""))
    next(rows, None)
    if not places:
        return {path: rest for path, *rest in rows}
    return {_below(path, places): rest for path, *rest in rows}


def _below(path: str, places: Places) -> str:
    for name, folders in places.items():
        for folder in folders:
            with suppress(ValueError):
                return f"{name}: {Path(path).relative_to(folder).as_posix()}"
    return path  # below the data
