"""Reads text files with a photo and its class in each line, as Caffe, PaddleClas and others list them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Final

from headstart.data.sources.tabular import JsonRows, NumberedRows
from headstart.errors import DataError
from headstart.images.formats import IMAGE_SUFFIXES

LIST_SUFFIX: Final = ".txt"

_LINE: Final = re.compile(r"(?P<photo>\S+)[ \t]+(?P<label>\S.*)")


def rows_of_list(path: str, lines: list[str]) -> JsonRows | None:
    """Return a row for each line ``photo label``; None if the first line names no photo.

    Args:
        path: The file, for messages.
        lines: Its lines.

    Raises:
        DataError: A line is not a photo and one label.
    """
    rows: NumberedRows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        photo = found["photo"] if found else line.split()[0]
        if PurePosixPath(photo).suffix.lower() not in IMAGE_SUFFIXES:
            if not rows:
                return None
            raise DataError(f"{path!r}, line {number}: {line.strip()!r:.60} does not begin with a photo.")
        label = found["label"] if found else ""
        if not label or _are_numbers(label):
            what = "several numbers" if label else "no label"
            raise DataError(
                f"{path!r}, line {number}, has {what} behind the photo, but one class is wanted, as in "
                "'a.jpg cat'. Write a table (.csv) whose first line names the columns, such as image,label"
            )
        rows.append((number, {"image": photo, "label": label}))
    note = f"Each line of {path!r} is read as the name of a photo and its class."
    return JsonRows(rows, [], [note]) if rows else None


def _are_numbers(label: str) -> bool:
    parts = label.split()
    return len(parts) > 1 and all(re.fullmatch(r"[-+]?\d+(\.\d+)?", part) for part in parts)
