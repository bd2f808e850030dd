"""Reads COCO files: photos, objects and categories in one JSON file."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from headstart import tasks
from headstart.data.sources.groups import group_finder, group_of
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.data.sources.written import (
    Labels,
    Object,
    Options,
    Written,
    box_fault,
    clean_class,
    declared_size,
    labels_of_objects,
)
from headstart.errors import DataError, did_you_mean
from headstart.records import TaskName

_HEAD_BYTES: Final = 2**16
_SPLIT_IN_NAME: Final = re.compile(
    r"(?:^|[^a-z])(training|train|validation|valid|val|testing|test)(?![a-z])", re.I
)


def is_coco(path: str) -> bool:
    """Return whether a JSON file is COCO rather than JSON lines: one object, over several lines or with
    ``images``.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return True  # reading it will tell
    first, _, rest = head.lstrip(b"\xef\xbb\xbf \t\r\n").partition(b"\n")
    try:
        whole = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return True  # an object over many lines, or no JSON at all: the reader of COCO says so
    return (
        not whole
        or b'"images"' in first
        or b'"annotations"' in first
        or (not rest.strip() and b'"image' not in first)
    )


def find_coco(root: str) -> list[str]:
    """Return the COCO files of a folder.

    These are ``_annotations.coco.json`` in the folder or in folders of its splits, and .json files in the
    folder and in ``annotations`` that look like COCO.
    """
    below_root = Path(root)
    folders = [below_root, below_root / "annotations"]
    folders += [each for each in _folders(below_root) if each.name.lower() in SPLIT_OF_FOLDER]
    found = []
    for folder in folders:
        for path in sorted(folder.glob("*.json")):
            in_splits = folder not in folders[:2]
            if path.name.startswith(".") or (in_splits and path.name != "_annotations.coco.json"):
                continue
            if path.is_file() and (path.name == "_annotations.coco.json" or _has_lists(path)):
                found.append(str(path))
    return found


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(each for each in root.iterdir() if each.is_dir())
    except OSError as error:
        raise DataError(
            f"The folder {str(root)!r} cannot be listed: {error.strerror}. Make it readable."
        ) from error


def _has_lists(path: Path) -> bool:
    """Return whether a file has COCO's two lists, without parsing it, as it may be very large."""
    needed = {b'"images"', b'"annotations"'}
    try:
        with open(path, "rb") as file:
            last = b""
            while needed and (chunk := file.read(2**20)):
                needed -= {each for each in needed if each in last + chunk}
                last = chunk[-16:]
    except OSError:
        return False
    return not needed


def read_coco(paths: Sequence[str], root: str, options: Options, split: str | None = None) -> Labels:
    """Return the labels of COCO files. The files are read when ``written`` is iterated over.

    Args:
        paths: The files; several only if the name of each, or of its folder, contains a split.
        root: The folder that the user named.
        options: The task (by default ``box``) and how groups are found.
        split: The split of all photos, if the files do not determine it.

    Raises:
        DataError: There are several files, and their names do not determine their splits.
    """
    splits: dict[str, str | None] = dict.fromkeys(paths, split)
    if len(paths) > 1:
        splits = {path: _split_of(path, root) for path in paths}
        if None in splits.values() or len(set(splits.values())) < len(paths) or split is not None:
            shown = ", ".join(map(repr, paths[:5]))
            raise DataError(f"{root!r} holds {len(paths)} COCO files: {shown}. Name the file that is meant.")
    task = options.chosen(tasks.BOX)
    labels = Labels(root, task)
    labels.written = _written(splits, labels, options)
    return labels


def _split_of(path: str, root: str) -> str | None:
    """Return the split in the name of a file or its folder."""
    parts = Path(path).relative_to(root).parts
    for part in reversed(parts):
        if match := _SPLIT_IN_NAME.search(Path(part).stem):
            return SPLIT_OF_FOLDER[match[1].lower()]
    return None


def _written(splits: dict[str, str | None], labels: Labels, options: Options) -> Iterator[Written]:
    find_group = group_finder(options.group_by) if options.group_by else None
    for path, split in splits.items():
        photos = _Photos(path, labels.root)
        for written in _file(path, split, photos, labels):
            group = group_of(written.path, written.source, labels, find_group)
            yield dataclasses.replace(written, group=group)


def _file(path: str, split: str | None, photos: _Photos, labels: Labels) -> Iterator[Written]:
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        labels.errors.append(f"{path}: cannot be read: {error.strerror or error}")
        return
    except (ValueError, RecursionError) as error:  # with the line and the column
        labels.errors.append(f"{path}: not JSON: {error}. Repair it, or make it anew")
        return
    if not isinstance(content, dict):
        labels.errors.append(
            f"{path}: a list, not a COCO file. Write JSON lines, an object per line, and call it .jsonl"
        )
        return
    lists: dict[str, list[Any]] = {}
    for name in ("images", "annotations", "categories"):
        value = content.get(name)
        if isinstance(value, list):
            lists[name] = value
        else:
            what = "is not a list" if name in content else "is missing"
            labels.errors.append(f"{path}: {name!r} {what}.{did_you_mean(name, content)}")
    if len(lists) < 3:
        return

    categories = _by_id(path, "categories", lists["categories"], "name", labels)
    images = _by_id(path, "images", lists["images"], "file_name", labels)
    objects: dict[Any, list[Object]] = {key: [] for key in images}
    faults: dict[Any, str] = {}
    for number, entry in enumerate(lists["annotations"]):
        place = f"{path}, annotations[{number}]"
        missing = [key for key in ("image_id", "category_id") if not _is_id(entry, key)]
        if missing:
            labels.errors.append(f"{place}: no {' and no '.join(missing)}")
            continue
        image_id, category = entry["image_id"], entry["category_id"]
        if image_id not in images:
            labels.errors.append(f"{place}: image_id is {image_id!r}, which no image has")
        elif category not in categories:
            labels.errors.append(f"{place}: category_id is {category!r}, which no category has")
        elif entry.get("iscrowd") not in (1, True):  # a crowd's box is around many objects
            each, fault = _object(entry, clean_class(categories[category][1]), labels.task)
            if fault:
                faults.setdefault(image_id, f"annotations[{number}]: {fault}")
            if each is not None:
                objects[image_id].append(each)
    for key, (number, file_name) in images.items():
        labels.found += 1
        fault, size, image = faults.get(key, ""), None, lists["images"][number]
        try:
            classes, placed = labels_of_objects(labels.task, objects[key])
            if tasks.of(labels.task).has_box:
                size = declared_size(image.get("width"), image.get("height"))
        except ValueError as error:
            classes, placed, fault = (), (), fault or str(error)
        source = f"{path}, images[{number}]"
        yield Written(
            photos.of(file_name), source, split, None, classes, (), placed, fault, declared_size=size
        )


def _is_id(entry: Any, key: str) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(key), (int, str))


def _by_id(path: str, name: str, entries: list[Any], text: str, labels: Labels) -> dict[Any, tuple[int, str]]:
    """Return the number and the text of each entry of a list, by its id.

    Args:
        path: The file.
        name: Name of the list.
        entries: The list.
        text: Name of the text in an entry.
        labels: Collects what is wrong.
    """
    found: dict[Any, tuple[int, str]] = {}
    for number, entry in enumerate(entries):
        place = f"{path}, {name}[{number}]"
        if not _is_id(entry, "id"):
            labels.errors.append(f"{place}: no id")
        elif not isinstance(entry.get(text), str) or not entry[text].strip():
            labels.errors.append(f"{place}: no {text}")
        elif entry["id"] in found:
            other = {"images": "image", "categories": "category"}[name]
            labels.errors.append(f"{place}: id is {entry['id']!r}, which another {other} has")
        else:
            found[entry["id"]] = (number, entry[text])
    return found


def _object(entry: dict[str, Any], class_name: str, task: TaskName) -> tuple[Object | None, str]:
    """Return the object of an entry, and what is wrong with it; the object is None if it has no valid box."""
    if not tasks.of(task).has_box:
        return Object(class_name, (0, 0, 1, 1)), ""
    box = entry.get("bbox")
    numbers = isinstance(box, list) and len(box) == 4
    if not numbers or not all(
        isinstance(each, (int, float)) and not isinstance(each, bool) for each in box or ()
    ):
        return None, f"bbox is {box!r}; it must be four numbers: left, top, width and height"
    left, top, width, height = (float(each) for each in box or ())
    if not all(map(math.isfinite, (left, top, width, height))):
        return None, f"bbox is {box!r}; it must be finite numbers"
    if width <= 0 or height <= 0:
        return None, f"bbox is {box!r}; its width and height must be above 0"
    corners = (left, top, left + width, top + height)
    return Object(class_name, corners), box_fault(corners)


class _Photos:
    """Finds photos in the folders that COCO and its exporters use, trying the last successful one first."""

    def __init__(self, path: str, root: str) -> None:
        own, above = Path(path).parent, Path(path).parent.parent
        places = [own, own / "images", Path(root), Path(root) / "images"]
        if own.name.lower() in ("annotations", "labels") or own != Path(root):
            last = Path(path).stem.rpartition("_")[2]  # instances_train2017
            places += [above, above / "images", above / last, above / "images" / last]
        self._places = list(dict.fromkeys(places))

    def of(self, file_name: str) -> str:
        """Return the path of a photo; if it does not exist, the path beside the COCO file."""
        for place in self._places:
            if (place / file_name).exists():
                if place != self._places[0]:
                    self._places.remove(place)
                    self._places.insert(0, place)
                return str(place / file_name)
        return str(self._places[0] / file_name)
