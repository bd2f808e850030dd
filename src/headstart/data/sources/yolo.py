"""Reads YOLO's boxes: a text file per photo in ``labels``, beside ``images``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.data.sources.groups import Finder, group_finder, group_of
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.data.sources.tree import refuse_unlisted
from headstart.data.sources.written import Labels, Object, Options, Written, clean_class, labels_of_objects
from headstart.errors import DataError
from headstart.images.find import walk
from headstart.records import FRACTIONS

_CLASS_FILES: Final = ("classes.txt", "obj.names", "labels.txt")
_ITEM: Final = re.compile(r"\s+-\s+(?P<name>.+)|\s+(?P<number>\d+)\s*:\s*(?P<value>.+)")


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
    photo.

    Raises:
        DataError: The names of the classes are missing.
    """
    folder = Path(root)
    inner = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    if not any(each.name == "labels" or (each / "labels").is_dir() for each in inner):
        return None
    images, texts = [], {}
    for entry in walk(root, into_hidden=False):
        refuse_unlisted(entry)
        if entry.kind == "image":
            images.append((entry.path, entry.names))
        elif entry.kind == "other" and entry.names[-1].lower().endswith(".txt"):
            texts[entry.names[:-1], Path(entry.names[-1]).stem] = entry.path
    found = {path: text for path, names in images if (text := texts.get(_key_of_text(names)))}
    if not found or not any(map(_has_numbers, list(found.values())[:20])):
        return None
    class_names, source = _class_names(folder)
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
            lines = Path(text).read_text("utf-8").splitlines()
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
        line = next((line for line in Path(path).read_text("utf-8").splitlines() if line.strip()), "")
        return len([float(part) for part in line.split()]) > 4
    except (OSError, ValueError):
        return False


def _split_of(path: str, root: str) -> str | None:
    parts = Path(path).relative_to(root).parts[:-1]
    return next((SPLIT_OF_FOLDER[part.lower()] for part in parts if part.lower() in SPLIT_OF_FOLDER), None)


def _class_names(folder: Path) -> tuple[list[str], str]:
    """Return the names of the classes, and the file that has them.

    Raises:
        DataError: No file, or several, have them.
    """
    found = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        if names := names_in_yaml(path.read_text("utf-8")):
            found.append((names, str(path)))
    for place in (folder, folder / "labels"):
        for name in _CLASS_FILES:
            if not found and (place / name).is_file():
                lines = (place / name).read_text("utf-8").splitlines()
                found.append(([line.strip() for line in lines if line.strip()], str(place / name)))
    if len(found) != 1:
        what = "no file with the names of its classes" if not found else "several files with names of classes"
        shown = "".join(f" {path!r}" for _, path in found)
        raise DataError(
            f"{str(folder)!r} holds YOLO's labels, but {what}{shown}. Keep one data.yaml with names: "
            "[cat, dog], or a classes.txt with a name per line."
        )
    return found[0]


def names_in_yaml(text: str) -> list[str]:
    """Return the names in YOLO's data.yaml: a list in brackets, lines with dashes, or numbers and names.

    This much of YAML is read here, which needs no package.
    """
    plain = [re.sub(r"\s#.*", "", line).rstrip() for line in text.splitlines()]
    lines = [line for line in plain if line.strip() and not line.lstrip().startswith("#")]
    start = next((number for number, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        return []
    rest = lines[start].partition(":")[2].strip()
    if rest.startswith(("[", "{")):
        inside = " ".join([rest, *lines[start + 1 :]])
        inside = (
            inside[1 : inside.index("]" if rest[0] == "[" else "}")] if re.search(r"[\]}]", inside) else ""
        )
        parts = [part.strip() for part in inside.split(",") if part.strip()]
        if rest[0] == "{":
            parts = [part.partition(":")[2].strip() for part in parts]
        return [part.strip("'\"") for part in parts]
    found = []
    for line in lines[start + 1 :]:
        match = _ITEM.fullmatch(line if line.startswith(" ") else f" {line}")
        if match is None or (not line.startswith((" ", "-"))):
            break
        found.append((match["name"] or match["value"]).strip().strip("'\""))
    return found
