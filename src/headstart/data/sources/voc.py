"""Reads folders with Pascal VOC annotations: an XML file per photo, beside it or in a separate folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final
from xml.etree import ElementTree as ET

from headstart import tasks
from headstart.data.sources.by_name import forms_of
from headstart.data.sources.groups import Finder, group_finder, group_of
from headstart.data.sources.photo_index import Index, best, folded
from headstart.data.sources.refused import cvat
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.data.sources.tree import refuse_unlisted
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
from headstart.errors import DataError
from headstart.images.find import walk

MAX_XML_BYTES: Final = 2**24
"""Largest annotation file that is read, in bytes: enough for a hundred thousand objects."""

_HEAD_BYTES: Final = 1024
_MASKS: Final = {"SegmentationClass", "SegmentationObject"}  # Pascal VOC's own folders, which hold no photos
_BOX: Final = ("xmin", "ymin", "xmax", "ymax")


@dataclass(slots=True)
class VocFolder:
    """Content of a folder with annotations.

    Attributes:
        root: The folder.
        annotations: Paths of the XML files whose root element is ``annotation``.
        images: Paths of the photos.
    """

    root: str
    annotations: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)


def find_voc(root: str, images: str | None = None) -> VocFolder:
    """List the annotations and photos below a folder, sorted by name, without parsing them.

    Args:
        root: The folder.
        images: The folder with the photos; by default the same.

    Raises:
        DataError: A folder cannot be listed.
    """
    found, doubtful = VocFolder(root), []
    for entry in walk(root, into_hidden=False):
        refuse_unlisted(entry)
        if entry.kind == "image":
            if not _MASKS & set(entry.names[:-1]):
                found.images.append(entry.path)
        elif entry.kind == "other" and _is_xml(entry.names[-1]) and Path(entry.path).is_file():
            is_annotation = _is_annotation(entry.path)
            if is_annotation:
                found.annotations.append(entry.path)
            elif is_annotation is None:
                doubtful.append(entry.path)
    if images is not None:
        found.images = [entry.path for entry in walk(images, into_hidden=False) if entry.kind == "image"]
    if found.annotations and doubtful:  # among annotations, reading them tells what is wrong
        found.annotations = sorted([*found.annotations, *doubtful], key=os.fsencode)
    return found


def has_xml(root: str) -> bool:
    """Return whether a folder contains an XML file at any depth. Only names are read, for speed."""
    entered: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        try:
            status = Path(folder).stat()
        except OSError:  # reading the folder will tell
            continue
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()  # by a link, in a circle
            continue
        entered.add((status.st_dev, status.st_ino))
        if any(map(_is_xml, files)):
            return True
    return False


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml") and not name.startswith(".")


def _is_annotation(path: str) -> bool | None:
    """Decide by the first bytes; None if the file is empty, unreadable, or begins with a DOCTYPE."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES).replace(b"\0", b"").lower()
    except OSError:
        return None
    if b"<annotation" in head:
        return True
    return None if b"<!doctype" in head or not head.strip() else False


def read_voc(found: VocFolder, options: Options, split: str | None = None) -> Labels:
    """Return the labels of annotations. The files are read when ``written`` is iterated over.

    A photo is found by the ``filename`` in its XML file, then by the name of the XML file.

    Args:
        found: The result of ``find_voc``.
        options: The task (by default ``box``) and how groups are found.
        split: The split of all photos; None if folders called train, val and test determine it.
    """
    task = options.chosen(tasks.BOX)
    labels = Labels(found.root, task, form=f"Pascal VOC's XML files in {found.root!r}")
    find_group = group_finder(options.group_by) if options.group_by else None
    labels.written = _written(found, labels, find_group, split)
    return labels


def _written(
    found: VocFolder, labels: Labels, find_group: Finder | None, split: str | None
) -> Iterator[Written]:
    index = Index.of((path, ()) for path in found.images)
    named = set()
    written: list[Written] = []  # all of them, as one shows how the others count pixels
    for path in found.annotations:
        labels.found += 1
        try:
            annotation = parse_xml(path)
        except DataError as error:
            labels.errors.append(str(error))
            continue
        photo, fault = _photo_of(index, path, (annotation.findtext("filename") or "").strip())
        named.add(photo)
        objects: list[Object] = []
        for number, element in enumerate(annotation.findall("object"), 1):
            try:
                objects.append(_object(element))
            except ValueError as error:
                fault = fault or f"object {number}: {error}"
        group = group_of(photo, path, labels, find_group)
        size = None
        try:
            classes, placed = labels_of_objects(labels.task, objects)
            if tasks.of(labels.task).has_box:
                size = declared_size(annotation.findtext("size/width"), annotation.findtext("size/height"))
        except ValueError as error:
            classes, placed, fault = (), (), fault or str(error)
        row_split = split or _split_of(path, found.root)
        written.append(Written(photo, path, row_split, group, classes, (), placed, fault, size))
    if tasks.of(labels.task).has_box:
        written = _counted_from_zero(written, labels)
    yield from written
    without = [path for path in found.images if path not in named]
    labels.found += len(without)
    labels.ignored += without


def _counted_from_zero(written: list[Written], labels: Labels) -> list[Written]:
    """Convert boxes from Pascal VOC's pixels, counted from 1 with both ends included, to edges from 0.

    Some tools count from 0 instead. All boxes usually come from one tool, so if any coordinate is 0, no box
    is changed.
    """
    boxed = [each for each in written if each.objects and not each.fault]
    from_zero = next((w for w in boxed if min(min(each.box[:2]) for each in w.objects) < 1), None)
    if from_zero is not None:
        labels.notes.append(
            f"Pixels of boxes are counted from 0, as {from_zero.source!r} shows, and not from 1 as "
            "Pascal VOC defines it: boxes are taken as they are."
        )
        return written
    if boxed:
        labels.notes.append(
            "Pixels of boxes are counted from 1 and both ends are included, as Pascal VOC defines it: the "
            "box 1, 1, 1, 1 is the first pixel."
        )
    return [dataclasses.replace(each, objects=tuple(_edges(one) for one in each.objects)) for each in written]


def _edges(each: Object) -> Object:
    xmin, ymin, xmax, ymax = each.box
    return Object(each.class_name, (xmin - 1, ymin - 1, xmax, ymax))


def _split_of(path: str, root: str) -> str | None:
    return next(
        (
            SPLIT_OF_FOLDER[part.lower()]
            for part in Path(path).relative_to(root).parts[:-1]
            if part.lower() in SPLIT_OF_FOLDER
        ),
        None,
    )


def parse_xml(path: str) -> ET.Element:
    """Parse an annotation. A DOCTYPE is refused, so that no entities can be declared.

    Annotations need no DOCTYPE. Checking the bytes replaces the package defusedxml: expat reads only
    encodings related to ASCII and UTF-16, in which markup is ASCII after zero bytes are removed.

    Raises:
        DataError: The file cannot be read, is not valid XML, or has a DOCTYPE; the message has the line.
    """
    try:
        if Path(path).stat().st_size > MAX_XML_BYTES:
            raise DataError(
                f"{path}: larger than {MAX_XML_BYTES // 2**20} MiB, which is too large for an annotation."
            )
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    plain = data.replace(b"\0", b"").lower()
    for markup in (b"<!doctype", b"<!entity"):
        if (place := plain.find(markup)) >= 0:
            line = plain.count(b"\n", 0, place) + 1
            raise DataError(
                f"{path}, line {line}: {markup.decode().upper()} is refused, because entities can exhaust "
                f"the memory. Remove it: annotations do not need it."
            )
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, ValueError, LookupError) as error:  # ValueError, LookupError: an odd encoding
        line = error.position[0] if isinstance(error, ET.ParseError) else 1
        what = "empty file" if not data.strip() else f"not well-formed XML: {error}"
        raise DataError(f"{path}, line {line}: {what}. Repair or remove it.") from error
    if root.tag == "annotations":
        raise DataError(cvat(path))
    if root.tag != "annotation":
        raise DataError(f"{path}, line 1: the root element is <{root.tag}>; Pascal VOC's is <annotation>.")
    return root


def _object(element: ET.Element) -> Object:
    """Read one object; raise ValueError with the reason if it is wrong."""
    name = clean_class(element.findtext("name") or "")
    if not name:
        raise ValueError("its <name> is empty")
    bounds = element.find("bndbox")
    if bounds is None:
        raise ValueError("it has no <bndbox>")
    values = []
    for side in _BOX:
        text = (bounds.findtext(side) or "").strip()
        try:
            values.append(float("x" if "_" in text else text))
        except ValueError:
            raise ValueError(f"<{side}> is {text!r}; it must be a number") from None
    xmin, ymin, xmax, ymax = values
    if fault := box_fault((xmin, ymin, xmax, ymax)):
        raise ValueError(fault)
    return Object(name, (xmin, ymin, xmax, ymax))


def _photo_of(index: Index, annotation: str, filename: str) -> tuple[str, str]:
    """Return the path of an annotation's photo, and a fault; if it does not exist, the path is a guess."""
    stem = Path(annotation).stem
    names = [PurePosixPath(form).name for form in dict.fromkeys(forms_of(filename))]
    for name, by_name in [
        *((name, found) for name in names for found in (index.by_name, index.by_stem)),
        (stem, index.by_stem),
    ]:
        paths = by_name.get(folded(name), [])
        if not paths:
            continue
        same = best(paths, lambda path, name=name: name in (Path(path).name, Path(path).stem))  # type: ignore[misc]
        nearest = _nearest(annotation, same)
        if len(nearest) == 1:
            return nearest[0], ""
        return nearest[0], f"several photos have its name: {', '.join(map(repr, nearest[:3]))}"
    name = names[-1]
    guess = str(Path(annotation).with_name(name or stem))
    return guess, f"there is no photo {name!r}, nor one called {stem!r}"


def _nearest(annotation: str, paths: Sequence[str]) -> list[str]:
    """Return the photos that share most folders with the annotation; of these, the least deep ones."""
    folders = Path(annotation).parent.parts

    def nearness(path: str) -> tuple[int, int]:
        own = Path(path).parent.parts
        shared = next(
            (n for n, (a, b) in enumerate(zip(folders, own, strict=False)) if a != b),
            min(len(folders), len(own)),
        )
        return shared, -len(own)

    return best(paths, nearness)
