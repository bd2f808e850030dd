"""Reads YOLO's boxes: a text file per photo, in ``labels`` beside ``images``, or beside the photo."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.data.sources.groups import Finder, group_finder, group_of
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.data.sources.tree import refuse_unlisted
from headstart.data.sources.written import Labels, Object, Options, Written, clean_class, labels_of_objects
from headstart.data.sources.yolo_names import find_class_names, has_text_of_names
from headstart.images.find import walk
from headstart.records import FRACTIONS

_MOST_LOOKED_INTO: Final = 20  # text files, to see whether they are YOLO's


@dataclass(slots=True)
class YoloFolder:
    """A folder with YOLO's labels.

    Attributes:
        root: The folder.
        class_names: Names of the classes, by number.
        texts: Text files by the path of their photo.
        images: Paths of the photos.
        source: The file with the names of the classes.
    """

    root: str
    class_names: list[str]
    source: str
    texts: dict[str, str] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)


def find_yolo(root: str) -> YoloFolder | None:
    """Return the photos and label files of a YOLO folder; None if it is not one.

    It is one if it has a folder ``labels``, itself or in the folders of its splits, with a text file for a
    photo; or text files beside the photos, and a list of the classes as LabelImg or Darknet writes it.

    Raises:
        DataError: The names of the classes are missing.
    """
    folder = Path(root)
    inner = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    has_labels = any(each.name == "labels" or (each / "labels").is_dir() for each in inner)
    places = [folder, *(each for each in inner if each.name.lower() in SPLIT_OF_FOLDER)]
    if not has_labels and not any(map(has_text_of_names, places)):
        return None
    images, texts = [], {}
    for entry in walk(root, into_hidden=False):
        refuse_unlisted(entry)
        if entry.kind == "image":
            images.append((entry.path, entry.names))
        elif entry.kind == "other" and entry.names[-1].lower().endswith(".txt"):
            texts[entry.names[:-1], Path(entry.names[-1]).stem] = entry.path
    found = {path: text for path, names in images if (text := texts.get(_key_of_text(names)))}
    written = (text for text in found.values() if Path(text).stat().st_size > 0)  # others: no object
    if not any(map(_has_numbers, itertools.islice(written, _MOST_LOOKED_INTO))):
        return None
    class_names, source = find_class_names(*places)
    return YoloFolder(root, class_names, source, found, [path for path, _ in images])


def read_yolo(found: YoloFolder, options: Options, split: str | None = None) -> Labels:
    """Return the labels of a YOLO folder. The files are read when ``written`` is iterated over.

    Args:
        found: The result of ``find_yolo``.
        options: The task (by default ``box``) and how groups are found.
        split: The split of all photos; None if folders called train, val and test determine it.
    """
    form = f"YOLO's text files in {found.root!r}"
    labels = Labels(found.root, options.chosen(tasks.BOX), form=form)
    labels.notes.append(f"The names of the classes are those in {found.source!r}.")
    find_group = group_finder(options.group_by) if options.group_by else None
    labels.written = _written(found, labels, find_group, split)
    return labels


def _written(
    found: YoloFolder, labels: Labels, find_group: Finder | None, split: str | None
) -> Iterator[Written]:
    for path in found.images:
        labels.found += 1
        text = found.texts.get(path)
        if text is None:  # YOLO's photo without an object may have no file
            labels.ignored.append(path)
            continue
        try:
            lines = Path(text).read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeError) as error:
            labels.errors.append(f"{text}: cannot be read: {error}")
            continue
        objects: list[Object] = []
        fault = ""
        for number, line in enumerate(lines, 1):
            try:
                objects += [_object(line, found.class_names)] if line.strip() else []
            except ValueError as error:
                fault = fault or f"line {number}: {error}"
        try:
            classes, placed = labels_of_objects(labels.task, objects)
        except ValueError as error:
            classes, placed, fault = (), (), fault or str(error)
        group = group_of(path, text, labels, find_group)
        own = split or _split_of(path, found.root)
        size = FRACTIONS if tasks.of(labels.task).has_box else None
        yield Written(path, text, own, group, classes, (), placed, fault, size)


def _object(line: str, class_names: Sequence[str]) -> Object:
    """Read a line: number of the class, centre, width and height as fractions of the photo.

    Raises:
        ValueError: It is not such a line; the message says why.
    """
    parts = line.split()
    if len(parts) > 5:
        kind = "segmentation, pose or a rotated box" if len(parts) > 6 else "a prediction with its confidence"
        raise ValueError(f"{len(parts)} numbers, {kind}, which is not supported. Export YOLO detection")
    try:
        number, (x, y, width, height) = int(parts[0]), map(float, parts[1:])
    except ValueError:
        raise ValueError(f"{line!r:.60} is not a number of a class and four fractions") from None
    if not 0 <= number < len(class_names):
        raise ValueError(f"class {number}, but there are {len(class_names)} names of classes")
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        raise ValueError(f"{line!r:.60} has no box with an area")
    if max(x, y, width, height) > 1.01:
        raise ValueError(f"{line!r:.60} is not in fractions of the photo")
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Object(clean_class(class_names[number]), box)


def _key_of_text(names: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return folders and name of the text file of a photo: ``labels`` instead of the last ``images``."""
    folders = list(names[:-1])
    for place in reversed(range(len(folders))):
        if folders[place] == "images":
            folders[place] = "labels"
            break
    return tuple(folders), Path(names[-1]).stem


def _has_numbers(path: str) -> bool:
    try:
        line = next((line for line in Path(path).read_text("utf-8-sig").splitlines() if line.strip()), "")
        return len([float(part) for part in line.split()]) > 4
    except (OSError, ValueError):
        return False


def _split_of(path: str, root: str) -> str | None:
    parts = Path(path).relative_to(root).parts[:-1]
    return next((SPLIT_OF_FOLDER[part.lower()] for part in parts if part.lower() in SPLIT_OF_FOLDER), None)
