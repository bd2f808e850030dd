"""``photos.csv``: the photos of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
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


def photo_differences(
    then: str, now: str, val_then: str | None = None, val_now: str | None = None
) -> list[str]:
    """Return a few lines about the differences between two ``photos.csv``.

    Args:
        then: Content of the earlier file.
        now: Content of the later file.
        val_then: Earlier location of separate validation photos; their paths are compared relative to it.
        val_now: Current location of these photos.
    """
    before, after = _rows(then, val_then), _rows(now, val_now)
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


def _rows(text: str, val: str | None) -> dict[str, Sequence[str]]:
    rows: Iterator[list[str]] = csv.reader(io.StringIO(text, newline=""))
    next(rows, None)
    if val is None:
        return {path: rest for path, *rest in rows}
    folder = Path(val) if Path(val).suffix == "" else Path(val).parent  # of a table or a file of annotations
    return {_below_val(path, folder): rest for path, *rest in rows}


def _below_val(path: str, folder: Path) -> str:
    try:
        return f"val: {Path(path).relative_to(folder).as_posix()}"
    except ValueError:  # below the data
        return path
