"""Reads FGVC-Aircraft: photos in one folder, and a list for each split and each level of classes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from headstart.data.sources.table import labels_of
from headstart.data.sources.table_text import TableText
from headstart.data.sources.tabular import Table
from headstart.data.sources.written import Labels, Options
from headstart.errors import shell_command

_LEVELS: Final = ("variant", "family", "manufacturer")
_LIST: Final = re.compile(rf"images_({'|'.join(_LEVELS)})_(train|val|trainval|test)\.txt")
_SPLITS: Final = ("train", "val", "test")


def find_aircraft(root: str) -> str | None:
    """Return the folder with the lists and the folder ``images``: ``root``, or ``data`` in it; or None."""
    for folder in (Path(root), Path(root, "data")):
        is_split = any((folder / f"images_variant_{name}.txt").is_file() for name in ("train", "trainval"))
        if is_split and (folder / "images").is_dir():
            return str(folder)
    return None


def read_aircraft(folder: str, options: Options, split: str | None = None) -> Labels:
    """Return the labels of all lists together: variants, unless ``label_column`` is another level.

    Args:
        folder: The result of ``find_aircraft``.
        options: Names of columns, and the task.
        split: The split of all photos, if the lists do not determine it.

    Raises:
        DataError: A list cannot be read, or a column is missing.
        ConfigError: The task, the target and the columns contradict each other.
    """
    rows = _rows(Path(folder), options.image_column)
    levels = [level for level in _LEVELS if any(level in row for row in rows)]

    def read(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from enumerate(rows, 1)

    label = options.label_column or "variant"
    others = " or ".join(f"--label-column {level}" for level in levels if level != label)
    notes = [f"The classes are those of the level {label!r}. For others: {others}"] if others else []
    columns = [label] if label in levels else levels  # an error lists all
    table = Table([options.image_column, *columns, "split"], "", read, notes=tuple(notes))
    labels = labels_of(folder, folder, table, dataclasses.replace(options, label_column=label), split)
    labels.form = f"lists of FGVC-Aircraft in {folder!r}"
    return labels


def advice_on_aircraft(path: str) -> str:
    """Return which folder to name, if a path is a list or the photos of FGVC-Aircraft; else empty."""
    given = Path(path).absolute()
    is_part = _LIST.fullmatch(given.name) is not None or given.name == "images"
    if not is_part or find_aircraft(str(given.parent)) != str(given.parent):
        return ""
    folder = Path(path).parent
    return (
        f"{path!r} is a part of FGVC-Aircraft. Name the folder with all lists and the photos: "
        f"{shell_command('train', folder)}"
    )


def _rows(folder: Path, image_column: str) -> list[dict[str, Any]]:
    """Return a row for each photo, in the order of the lists."""
    rows: dict[str, dict[str, Any]] = {}
    for level in _LEVELS:
        found = {name: folder / f"images_{level}_{name}.txt" for name in _SPLITS}
        if not found["train"].is_file():
            found["train"] = folder / f"images_{level}_trainval.txt"
        for name, path in found.items():
            if not path.is_file() or (name == "val" and found["train"].name.endswith("trainval.txt")):
                continue
            with TableText.of(str(path)).open() as file:
                for line in file:
                    photo, _, label = line.strip().partition(" ")
                    if photo:
                        suffix = ".jpg" if (folder / "images" / f"{photo}.jpg").is_file() else ""
                        new = {image_column: f"images/{photo}{suffix}", "split": name}
                        row = rows.setdefault(photo, new)
                        row[level] = label.strip()
    return list(rows.values())
