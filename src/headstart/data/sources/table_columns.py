"""The meaning of a table's columns, and the task that they are for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from headstart import tasks
from headstart.columns import listed
from headstart.data.sources.column_names import (
    find_class_column,
    find_image_column,
    find_unnamed_labels,
    in_words,
    plain_column,
)
from headstart.data.sources.folder_column import find_folder_column
from headstart.data.sources.groups import Finder, group_finder
from headstart.data.sources.one_hot import OneHot, named_one_hot
from headstart.data.sources.refused import refused_boxes
from headstart.data.sources.several import SEVERAL, Separate, by_bar, find_separator
from headstart.data.sources.split_column import find_split_column
from headstart.data.sources.split_names import SPLIT_OF_WORD
from headstart.data.sources.tabular import Table
from headstart.data.sources.written import Options
from headstart.errors import ConfigError, DataError, did_you_mean
from headstart.images.formats import IMAGE_SUFFIXES
from headstart.records import TaskName

BOX_COLUMNS: Final = ("xmin", "ymin", "xmax", "ymax")

SIZE_COLUMNS: Final = (("image_width", "image_height"), ("img_width", "img_height"), ("width", "height"))
"""Pairs of columns that declare the size of the photo in which a box was drawn."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of a table's columns by meaning; None or empty if the column is missing or not needed."""

    task: TaskName
    image: str
    label: str | None = None
    box: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    find_group: Finder | None = None
    one_hot: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    split_words: Mapping[str, str] = field(default_factory=lambda: SPLIT_OF_WORD)
    separate: Separate = by_bar
    folder: str | None = None

    def used(self) -> list[str]:
        """Return the names of the columns to read, each once."""
        single = (self.image, self.folder, self.label, self.split, self.group)
        several = (*self.box, *self.size, *self.targets, *self.one_hot)
        return list(dict.fromkeys([*(name for name in single if name), *several]))

    @classmethod
    def of(cls, path: str, table: Table, options: Options, split: str | None) -> Columns:
        """Find the columns that the task or the options require; refuse a table without them."""
        names = table.columns
        if table.questions and options.label_column is None and not options.targets:
            raise DataError(
                f"{path!r} has answers to several questions: {', '.join(map(repr, table.questions))}. Choose "
                "one: --label-column NAME, with --task multilabel if it allows several answers."
            )
        split_column: str | None = None
        split_words: Mapping[str, str] = SPLIT_OF_WORD
        if split is None:
            split_column, split_words = find_split_column(path, table, options)
        options, one_hot, notes = _recognised(path, table, options, split_column)
        task = _task(path, names, options)
        missing = []
        label = options.label_column
        kind = tasks.of(task)
        if label is None and not kind.has_numbers and one_hot is None:
            usual = ("labels", "label") if kind.has_labels else ("label",)
            label = next((name for name in usual if name in names), None)
            if label is None and not kind.has_box:
                missing.append((usual[0], "--label-column"))
        box = BOX_COLUMNS if kind.has_box else ()
        if split_column not in (None, "split", options.split_column):
            notes = (*notes, f"Splits are those in the column {split_column!r}.")
        group = options.group_by if options.group_by in names else None
        if options.group_by is None and "group" in names:
            group = "group"
        find = group_finder(options.group_by, names) if options.group_by and group is None else None

        named = [(options.image_column, "--image-column"), (label, "--label-column")]
        named += [(split_column, "--split-column"), *((name, "--target") for name in options.targets)]
        missing += [(name, option) for name, option in named if name is not None and name not in names]
        missing += [(name, "") for name in box if name not in names]
        if missing:
            raise DataError(_missing(path, names, missing))
        if kind.has_numbers:
            label = None
        size = next((pair for pair in SIZE_COLUMNS if box and set(pair) <= set(names)), ())
        columns = cls(
            task, options.image_column, label, box, size, options.targets, split_column, group, find
        )
        separate: Separate = by_bar
        if kind.has_labels and label is not None:
            cells = (row.get(label) for _, row in table.rows([label], []))
            separate, note = find_separator(label, cells)
            notes = (*notes, note) if note else notes
        folder = find_folder_column(table, columns.image, columns.used()) if columns.image in names else None
        if folder is not None:
            notes = (*notes, f"The folder of each photo is in the column {folder!r}.")
        return dataclasses.replace(
            columns,
            folder=folder,
            one_hot=one_hot.columns if one_hot else (),
            notes=notes,
            split_words=split_words,
            separate=separate,
        )


def _recognised(
    path: str, table: Table, options: Options, split_column: str | None
) -> tuple[Options, OneHot | None, tuple[str, ...]]:
    """Return the options with the columns that are recognised by other names than the usual ones.

    Returns:
        The options; the one-hot columns, if the labels are such; and a note about what is recognised.
    """
    names, label = table.columns, options.label_column
    image = find_image_column(path, table, options.image_column)
    if image is None and len(table.photos) == 1:  # whatever it is called, it contains photos
        (image,) = table.photos
    if image is None and table.photos:
        shown = ", ".join(map(repr, sorted(table.photos)))
        raise DataError(f"{path!r} has several columns of photos: {shown}. Choose one: --image-column NAME")
    if image is None:
        return options, None, ()
    one_hot: OneHot | None = None
    if label is not None and label not in names and "," in label:
        one_hot = _named_one_hot(path, table, label)
    elif label is None and not options.targets and not options.wants.has_numbers:
        found = find_class_column(path, names) if not {"label", "labels"} & set(names) else None
        if found and plain_column(found) in SEVERAL and set(BOX_COLUMNS) <= set(names):
            found = None  # labels of the photo, not the class of a box
        others = [name for name in names if name not in (image, options.group_by, split_column)]
        others = [name for name in others if name not in ("split", "group", *table.photos)]
        if found is None and not {"label", "labels", *BOX_COLUMNS} & set(names) and not options.wants.has_box:
            unnamed = find_unnamed_labels(path, table, others, options)
            one_hot = unnamed if isinstance(unnamed, OneHot) else None
            found = unnamed if isinstance(unnamed, str) else None
        label = found
    if one_hot is not None:
        label = None
        by_content = "classification" if one_hot.is_single else "multilabel"
        options = dataclasses.replace(options, task=by_content if options.is_open else options.task)
    is_usual = image == options.image_column and label == options.label_column and one_hot is None
    notes = () if is_usual else (in_words(image, label, one_hot),)
    return dataclasses.replace(options, image_column=image, label_column=label), one_hot, notes


def _named_one_hot(path: str, table: Table, label: str) -> OneHot:
    """Return the one-hot columns that the user names, separated by commas."""
    wanted = list(dict.fromkeys(part.strip() for part in label.split(",") if part.strip()))
    if missing := [(name, "--label-column") for name in wanted if name not in table.columns]:
        raise DataError(_missing(path, table.columns, missing))
    return named_one_hot(path, table, wanted)


def _task(path: str, names: Sequence[str], options: Options) -> TaskName:
    """Return the task; if the options do not name it, by the columns."""
    if options.targets and not (options.is_open or options.wants.has_numbers):
        raise ConfigError(
            f"target is {','.join(options.targets)!r}, but task is {options.task!r}. Numbers are "
            "predicted by the task regression: leave task or target out."
        )
    if options.targets:
        return "regression"
    if options.wants.has_numbers:
        raise ConfigError(
            f"task is 'regression', but target names no column. Add --target with one of: {', '.join(names)}."
        )
    if not options.is_open:
        return options.chosen(options.wants)
    boxes = [name for name in BOX_COLUMNS if name in names]
    if options.label_column is not None:
        if len(boxes) == len(BOX_COLUMNS):
            return "box"
        return "multilabel" if plain_column(options.label_column) in SEVERAL else "classification"
    kinds = []
    if "label" in names and len(boxes) < len(BOX_COLUMNS):
        kinds.append(("'label' (one class per photo: --task classification)", "classification"))
    if "labels" in names:
        kinds.append(("'labels' (several classes per photo: --task multilabel)", "multilabel"))
    if boxes:
        kinds.append((f"{', '.join(map(repr, boxes))} (a box: --task box)", "box"))
    if len(kinds) == 1:
        return kinds[0][1]
    if kinds:
        raise DataError(
            f"{path!r} has columns for several tasks: {'; '.join(words for words, _ in kinds)}. Choose one: "
            "--task NAME"
        )
    if not options.for_training and options.image_column in names:
        return "regression"  # of no numbers: photos without labels, of which nothing is learned
    if boxes_elsewhere := refused_boxes(path, names):
        raise DataError(boxes_elsewhere)
    raise DataError(
        _missing(path, names, [(options.image_column, "--image-column")])
        if options.image_column not in names
        else f"{path!r} has no column with labels: 'label' (one class), 'labels' (several, as in a|b) or "
        f"{', '.join(BOX_COLUMNS)} (a box).{did_you_mean('label', names)} Columns are {_shown(names)}. Name "
        "it: --label-column NAME for classes, --target NAME for numbers"
    )


def _missing(path: str, names: Sequence[str], missing: Sequence[tuple[str, str]]) -> str:
    lines = []
    for name, option in dict.fromkeys(missing):
        say = f" Name the right one: {option} NAME" if option else " A box needs xmin, ymin, xmax and ymax."
        lines.append(f"{path!r} has no column {name!r}.{did_you_mean(name, names)}{say}")
    lines.append(f"The columns in its first line are {_shown(names)}.")
    if len(names) == 1:
        lines.append(
            "This is a single cell. If it is a title, remove the lines above the names of the columns."
        )
    if any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        lines.append(
            "This line names a photo, so it is not a header: write one above it, such as image,label"
        )
    return "\n".join(lines)


def _shown(names: Sequence[str]) -> str:
    return listed([repr(name[:40]) for name in names], 20)
