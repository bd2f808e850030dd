"""Reads COCO files: photos, objects and categories in one JSON file."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from headstart import tasks
from headstart.columns import listed
from headstart.data.sources.by_name import PhotoFinder, finder_for
from headstart.data.sources.groups import group_finder, group_of
from headstart.data.sources.refused import refuse_json
from headstart.data.sources.split_names import SPLIT_OF_FOLDER, split_of_folders
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
from headstart.tasks.task import Task

_HEAD_BYTES: Final = 2**16
_BOX: Final = re.compile(rb'"bbox"\s*:\s*\[\s*[^\s\]]')


def is_coco(path: str) -> bool:
    """Return whether a JSON file is COCO rather than another form: an object with ``images`` or
    ``annotations``.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return True  # reading it will tell
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"["):
        return False
    first, _, rest = text.partition(b"\n")
    try:
        whole = isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        whole = False  # an object over many lines, or no JSON at all
    if whole and (rest.strip() or b'"image"' in first):
        return b'"images"' in first or b'"annotations"' in first
    return _has_lists(Path(path), any)


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


def _has_lists(path: Path, which: Callable[[Iterable[bool]], bool] = all) -> bool:
    """Return whether a file has COCO's two lists, without parsing it, as it may be very large.

    Args:
        path: The file.
        which: ``all``, or ``any`` if one of them is enough.
    """
    found = {b'"images"': False, b'"annotations"': False}
    try:
        with open(path, "rb") as file:
            last = b""
            while not which(found.values()) and (chunk := file.read(2**20)):
                found = {name: is_there or name in last + chunk for name, is_there in found.items()}
                last = chunk[-16:]
    except OSError:
        return False
    return which(found.values())


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
    without_boxes = options.is_open and not any(map(has_boxes, paths))
    task = options.chosen(_task_without_boxes(paths) if without_boxes else tasks.BOX)
    labels = Labels(root, task, form=f"COCO: {listed(list(map(repr, paths)), 3)}")
    if without_boxes:
        labels.notes.append(f"No annotation has a box, so classes are learned: the task is {task}.")
    labels.written = _written(splits, labels, options)
    return labels


def has_boxes(path: str) -> bool:
    """Return whether an annotation has a box, or the file cannot be read, without parsing it."""
    last = b""
    try:
        with open(path, "rb") as file:
            while chunk := file.read(2**20):
                if _BOX.search(last + chunk):
                    return True
                last = chunk[-64:]
    except OSError:
        return True  # reading it will tell
    return False


def _task_without_boxes(paths: Sequence[str]) -> Task:
    """Return the task of annotations without boxes: one class, if each photo has exactly one."""
    for path in paths:
        try:
            content = json.loads(Path(path).read_bytes())
            pairs = {(str(each["image_id"]), str(each["category_id"])) for each in content["annotations"]}
            num_photos = len(content["images"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError):  # reading it tells what is wrong
            continue
        if len(pairs) != num_photos or len({image for image, _ in pairs}) != num_photos:
            return tasks.MULTILABEL
    return tasks.CLASSIFICATION


def _split_of(path: str, root: str) -> str | None:
    """Return the split in the name of a file or its folder."""
    return split_of_folders([Path(part).stem for part in Path(path).relative_to(root).parts])


def _written(splits: dict[str, str | None], labels: Labels, options: Options) -> Iterator[Written]:
    find_group = group_finder(options.group_by) if options.group_by else None
    for path, split in splits.items():
        finder = _finder(path, labels.root, options.images)
        for written in _file(path, split, finder, labels):
            group = group_of(written.path, written.source, labels, find_group)
            yield dataclasses.replace(written, group=group)
        labels.errors += [f"{path}: {error}" for error in finder.errors()]
        labels.notes += finder.notes()


def _file(path: str, split: str | None, finder: PhotoFinder, labels: Labels) -> Iterator[Written]:
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        labels.errors.append(f"{path}: cannot be read: {error.strerror or error}")
        return
    except (ValueError, RecursionError) as error:  # with the line and the column
        labels.errors.append(f"{path}: not JSON: {error}. Repair it, or make it anew")
        return
    refuse_json(path)
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
    objects: dict[str, list[Object]] = {key: [] for key in images}
    faults: dict[str, str] = {}
    for number, entry in enumerate(lists["annotations"]):
        place = f"{path}, annotations[{number}]"
        missing = [key for key in ("image_id", "category_id") if not _is_id(entry, key)]
        if missing:
            labels.errors.append(f"{place}: no {' and no '.join(missing)}")
            continue
        image_id, category = str(entry["image_id"]), str(entry["category_id"])
        if image_id not in images:
            labels.errors.append(f"{place}: image_id is {entry['image_id']!r}, which no image has")
        elif category not in categories:
            labels.errors.append(f"{place}: category_id is {entry['category_id']!r}, which no category has")
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
        photo, lost = finder.find(file_name)
        yield Written(photo, source, split, None, classes, (), placed, fault or lost, declared_size=size)


def _is_id(entry: Any, key: str) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(key), (int, str))


def _by_id(path: str, name: str, entries: list[Any], text: str, labels: Labels) -> dict[str, tuple[int, str]]:
    """Return the number and the text of each entry of a list, by its id as text: some tools write 1 as "1".

    Args:
        path: The file.
        name: Name of the list.
        entries: The list.
        text: Name of the text in an entry.
        labels: Collects what is wrong.
    """
    found: dict[str, tuple[int, str]] = {}
    for number, entry in enumerate(entries):
        place = f"{path}, {name}[{number}]"
        if not _is_id(entry, "id"):
            labels.errors.append(f"{place}: no id")
        elif not isinstance(entry.get(text), str) or not entry[text].strip():
            labels.errors.append(f"{place}: no {text}")
        elif str(entry["id"]) in found:
            other = {"images": "image", "categories": "category"}[name]
            labels.errors.append(f"{place}: id is {entry['id']!r}, which another {other} has")
        else:
            found[str(entry["id"])] = (number, entry[text])
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


def _finder(path: str, root: str, images: str | None) -> PhotoFinder:
    """Return what finds photos in the folders that COCO and its exporters use."""
    own, above = Path(path).parent, Path(path).parent.parent
    places = [own, own / "images", Path(root), Path(root) / "images"]
    is_apart = own.name.lower() in ("annotations", "labels")
    if is_apart or own != Path(root):
        last = Path(path).stem.rpartition("_")[2]  # instances_train2017
        places += [above, above / "images", above / last, above / "images" / last]
    searched = above if is_apart and own == Path(root) else Path(root)
    return finder_for(places, searched, images, split=_split_of(path, root))
