"""Finds the tar files of a collection, and reads those in the form of WebDataset as a table.

Tar files hold photos either in class folders, like a folder on disk (``shard_tree.py``), or as samples:
neighbouring members ``KEY.jpg``, ``KEY.cls``, ``KEY.json`` or ``KEY.txt``, whose names are the same up to the
first dot.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headstart.data.sources.json_rows import unique_names
from headstart.data.sources.split_names import SPLIT_OF_FOLDER, split_in_name
from headstart.data.sources.tabular import Table
from headstart.errors import DataError, ImageError
from headstart.images.find_tars import find_tars, is_hidden
from headstart.images.formats import IMAGE_SUFFIXES
from headstart.images.tars import Member, members, read_at

_LABELS: Final = ("cls", "json", "txt")
_NAMES_FILE: Final = "classnames.txt"
_MOST_LOOKED_AT: Final = 2000  # members of the first tar file, by which its form is recognised
_MOST_LABEL_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar file of a collection, and the split that its name or its folder determines."""

    path: str
    split: str | None


def find_shards(data: str) -> list[Shard]:
    """Return the tar files that ``data`` names, as ``find_tars``; none if it names something else.

    A tar file is for a split if it is in a folder of that split, or by its name: ``train-000.tar``.
    """
    return [Shard(path, _split_of(path, data)) for path in find_tars(data)]


def have_samples(shards: Sequence[Shard]) -> bool:
    """Return whether tar files contain samples rather than class folders.

    The first tar file decides: photos with a KEY.cls are samples, and so are photos that are in no folder and
    have a KEY.json or KEY.txt. In class folders, these are captions and the like.

    Raises:
        DataError: The first tar file cannot be read.
    """
    first = itertools.islice(members_of(shards[0].path), _MOST_LOOKED_AT)
    return any(
        sample.image and ("cls" in sample.labels or (sample.labels and "/" not in sample.image))
        for sample in _samples(shards[0].path, first)
    )


def open_samples(shards: Sequence[Shard], image_column: str) -> Table:
    """Return samples as a table: the image column, ``label`` from KEY.cls or KEY.txt, and fields of KEY.json.

    Args:
        shards: The tar files.
        image_column: Name of the column of photos.

    Raises:
        DataError: The first tar file cannot be read.
    """
    names = _class_names(shards)
    columns: dict[str, None] = {image_column: None}
    head = _samples(shards[0].path, itertools.islice(members_of(shards[0].path), _MOST_LOOKED_AT))
    for sample in head:
        columns.update(dict.fromkeys(_cells(sample, names, [])))
    if any(shard.split for shard in shards):
        columns["split"] = None

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        for shard in shards:
            try:
                for sample in _samples(shard.path, members_of(shard.path)):
                    if not sample.image:
                        continue
                    number += 1
                    cells = _cells(sample, names, errors)
                    cells = {name: cells[name] for name in used if name in cells}
                    if shard.split:
                        cells["split"] = shard.split
                    yield number, {**cells, image_column: f"{shard.path}/{sample.image}"}
            except DataError as error:
                errors.append(str(error))

    return Table(list(columns), "", rows, frozenset({image_column}))


@dataclass(slots=True)
class _Sample:
    """Neighbouring members of a tar file with the same key."""

    tar: str
    image: str = ""
    labels: dict[str, Member] = field(default_factory=dict)


def _samples(tar: str, found: Iterator[Member]) -> Iterator[_Sample]:
    """Yield the samples of a tar file, with those that are incomplete.

    Raises:
        DataError: The photo and the label of a sample are not neighbours.
    """
    alone: tuple[set[str], set[str]] = set(), set()  # keys of photos, and of labels
    shown = (member for member in found if member.is_readable and not is_hidden(member.name))
    for key, group in itertools.groupby(shown, key=lambda member: _key(member.name)[0]):
        sample = _Sample(tar)
        for member in group:
            extension = _key(member.name)[1].lower()
            if f".{extension}" in IMAGE_SUFFIXES:
                sample.image = sample.image or member.name
            elif extension in _LABELS:
                sample.labels[extension] = member
        is_label = "cls" in sample.labels or (bool(sample.labels) and "/" not in key)
        if is_label != bool(sample.image):
            alone[is_label].add(key)
            if key in alone[not is_label]:
                raise DataError(
                    f"{tar!r}: the photo and the label of {key!r} are not neighbours, so samples would lose "
                    "their labels. Write the tar file again, sorted by name: tar --sort=name -cf FILE.tar "
                    "-C FOLDER ."
                )
        yield sample


def _key(name: str) -> tuple[str, str]:
    """Return the key of a member, its name up to the first dot of its last part, and the rest."""
    folder, slash, last = name.rpartition("/")
    start, _, extension = last.partition(".")
    return folder + slash + start, extension


def _cells(sample: _Sample, names: Sequence[str], errors: list[str]) -> dict[str, Any]:
    """Return the label and the fields of a sample by column."""
    cells: dict[str, Any] = {}
    for extension in ("txt", "json", "cls"):  # the later ones replace the earlier ones
        member = sample.labels.get(extension)
        if member is None:
            continue
        where = f"{sample.tar}/{member.name}"
        try:
            if member.size > _MOST_LABEL_BYTES:
                raise ValueError(f"{member.size:,} bytes, which is no label")
            text = read_at(sample.tar, member.name, member.offset, member.size).decode("utf-8-sig").strip()
            if extension != "json":
                cells["label"] = _named(text, names) if extension == "cls" else text
                continue
            fields = json.loads(text, object_pairs_hook=unique_names)
            if not isinstance(fields, dict):
                raise ValueError("it is not an object in braces")
            cells.update(fields)
        except (ValueError, RecursionError, ImageError) as error:
            errors.append(f"{where}: {error.reason if isinstance(error, ImageError) else error}")
    return cells


def _named(text: str, names: Sequence[str]) -> str:
    """Return the name of a class, if names are known and the text is a number.

    Raises:
        ValueError: No name has this number.
    """
    if not names or not text.isdecimal():
        return text
    if int(text) >= len(names):
        raise ValueError(
            f"class {text}, but {_NAMES_FILE} names only the classes 0 to {len(names) - 1}, one a line"
        )
    return names[int(text)]


def _class_names(shards: Sequence[Shard]) -> list[str]:
    """Return the lines of a file ``classnames.txt`` beside the tar files; none if there is no such file."""
    folder = Path(shards[0].path).parent
    for path in (folder / _NAMES_FILE, folder.parent / _NAMES_FILE):
        try:
            return [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
        except (OSError, UnicodeError):
            continue
    return []


def members_of(tar: str) -> Iterator[Member]:
    """Yield the members of a tar file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        yield from members(tar)
    except ImageError as error:
        raise DataError(f"{tar!r}: {error.reason}.") from error


def _split_of(path: str, data: str) -> str | None:
    folder = Path(path).parent.name.lower()
    if Path(data).is_dir() and Path(path).parent != Path(data) and folder in SPLIT_OF_FOLDER:
        return SPLIT_OF_FOLDER[folder]
    return split_in_name(Path(path).stem)
