"""Reads labels in any format, and recognises the format.

A folder of class folders (``folder.py``), on disk, in tar files or remote (``trees.py``); a table
(``table.py``), tables in the folders of their photos (``folder_tables.py``), samples in tar files
(``shards.py``), names of files (``file_names.py``), FGVC-Aircraft (``fgvc_aircraft.py``), Pascal VOC
(``voc.py``), COCO (``coco.py``), YOLO (``yolo.py``): all are converted to the same ``Listing``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.columns import counted
from headstart.data.decisions import apply_decisions, read_decisions
from headstart.data.sources.coco import find_coco, is_coco, read_coco
from headstart.data.sources.fgvc_aircraft import advice_on_aircraft, find_aircraft, read_aircraft
from headstart.data.sources.file_names import read_file_names
from headstart.data.sources.folder import read_folder
from headstart.data.sources.folder_tables import (
    find_folder_tables,
    note_on_tables,
    read_folder_tables,
)
from headstart.data.sources.groups import below, group_finder
from headstart.data.sources.labelled import listing_of
from headstart.data.sources.layouts import refused_pets
from headstart.data.sources.refused import (
    advice_on,
    cvat,
    is_cvat,
    refuse_dates,
    refuse_json,
    refuse_masks,
)
from headstart.data.sources.shards import Shard, find_shards, have_samples, open_samples
from headstart.data.sources.table import labels_of, read_table
from headstart.data.sources.table_file import TABLE_SUFFIXES
from headstart.data.sources.text_lists import LIST_SUFFIX
from headstart.data.sources.unusable_folder import advice_on_folder, named_form
from headstart.data.sources.voc import find_voc, has_xml, read_voc
from headstart.data.sources.written import Labels, Options
from headstart.data.sources.yolo import find_yolo, read_yolo
from headstart.environment import return_freed_memory
from headstart.errors import ConfigError, DataError, ImageError, did_you_mean
from headstart.files import given_path, is_remote
from headstart.images.find_tars import exists, is_same, root_of
from headstart.images.remote import refuse_password
from headstart.packed import Packed
from headstart.records import Candidate, Listing

BOXES: Final = ("refuse", "skip", "largest")

_CLASS_FOLDERS: Final = "a folder of class folders"
_WITH_PHOTOS: Final = (_CLASS_FOLDERS, "a folder with YOLO's labels", "a folder with labels in file names")

# Folders that hold all photos of a set of annotations, so their names are no classes.
_HOLDS_ALL: Final = re.compile(
    r"(images?|jpegimages|photos|annotations?|labels|segmentation(class|object)|(images[-_]?)?"
    r"(train|training|val|valid|validation|test|testing|unlabeled)[-_]?\d*)",
    re.IGNORECASE,
)


def read_source(
    data: str | os.PathLike[str],
    val: str | os.PathLike[str] | None = None,
    *,
    task: str = "auto",
    target: str | None = None,
    image_column: str = "image",
    label_column: str | None = None,
    split_column: str | None = None,
    group_by: str | None = None,
    boxes: str = "refuse",
    images: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    allow_quarantined: float | None = None,
    decisions: str | os.PathLike[str] | None = None,
    for_training: bool = True,
) -> Listing:
    """List labelled photos, without reading any photo.

    Args:
        data: A folder of class folders, a table (.csv, .tsv, .parquet, .jsonl), a COCO file or a folder with
            one, a folder with Pascal VOC XML files, tar files, or a remote folder.
        val: Validation photos in another place, in the same format.
        task: What is predicted; ``"auto"`` chooses the task by the labels.
        target: A table's columns of numbers to predict, separated by commas.
        image_column: A table's column of paths.
        label_column: A table's column of classes; by default ``label``, or ``labels`` for several.
        split_column: A table's column with train, val and test; by default ``split``, if it exists.
        group_by: A table's column, or a regular expression whose first parentheses find the group in the
            path; by default a table's column ``group``, if it exists.
        boxes: How to treat photos with several objects if one box is predicted: ``"refuse"``, ``"skip"`` or
            ``"largest"``.
        images: The folder in which the photos of a label file are found by name; by default the file's own.
        label_from: A regular expression that finds the label in the path of a photo, with the named group
            ``label`` (or one group), and ``group`` and ``split`` if they exist.
        allow_quarantined: Fraction of the photos that may have wrong labels, 0..1; None for the default.
        decisions: A ``findings.csv`` with decisions about the photos: see ``data/decisions.py``.
        for_training: Also check that a model can be trained on the labels.

    Raises:
        DataError: The photos, labels or decisions cannot be used; the message lists every problem.
        ConfigError: An option is wrong, or does not apply to the data.
    """
    given_path(data, "data", "labelled photos")
    data, val = os.fsdecode(data), None if val is None else os.fsdecode(val)
    _refuse_unknown("task", task, ("auto", *tasks.TASKS))
    _refuse_unknown("boxes", boxes, BOXES)
    columns = (image_column, label_column, split_column, group_by)
    folder = None if images is None else os.fsdecode(images)
    options = Options(
        task, _names_of(target), *columns, boxes, allow_quarantined, for_training, folder, label_from
    )
    _refuse_missing(data, val)
    if folder is not None and not os.path.isdir(folder):  # noqa: PTH112  # False for a name that is too long
        raise DataError(
            f"images is {folder!r}, which is not a folder. Name the folder that holds the photos."
        )
    decided = read_decisions(decisions)
    listing = _listing(data, val, options)
    return apply_decisions(listing, decided) if decided.source else listing


def _listing(data: str, val: str | None, options: Options) -> Listing:
    listing = _read(data, val, options)
    return_freed_memory()  # while photos were listed, more was in use than now
    return listing


def _read(data: str, val: str | None, options: Options) -> Listing:
    labels = _labels(data, options)
    if labels is None:
        return _class_folders(data, val, options)
    val_labels = None if val is None else _labels(val, options, "val")
    if val is not None:
        _refuse_another_form(data, labels, val, val_labels)
    return listing_of(labels, val_labels, options)


def _refuse_another_form(data: str, labels: Labels, val: str, val_labels: Labels | None) -> None:
    """Refuse validation photos whose labels are for another task or in another format."""
    if val_labels is None or val_labels.task != labels.task:
        kind = "class folders" if val_labels is None else f"labels for the task {val_labels.task}"
        raise DataError(
            f"{data!r} has labels for the task {labels.task}, but {val!r} has {kind}. Give both in the same "
            "form."
        )


def _refuse_unknown(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ConfigError(
            f"{name} is {value!r};{did_you_mean(value, allowed)} allowed are {', '.join(allowed)}."
        )


def _names_of(target: str | None) -> tuple[str, ...]:
    """Return the names of the target columns, each once."""
    targets = tuple(dict.fromkeys(part.strip() for part in (target or "").split(",") if part.strip()))
    if target is not None and not targets:
        raise ConfigError(f"target is {target!r}; it must name a column of numbers.")
    return targets


def _refuse_missing(data: str, val: str | None) -> None:
    """Refuse paths that do not exist, or that are the same."""
    wanted = "Name a folder of class folders, a table, tar files, or annotations of Pascal VOC or COCO."
    for path, option, otherwise in (
        (data, "", ""),
        (val, ", which val names", " Or give val as a fraction."),
    ):
        if path is not None and is_remote(path):
            try:
                refuse_password(path)
            except ImageError as error:
                raise DataError(f"{error.path!r}: {error.reason}.") from error
        if path is not None and not exists(path):
            raise DataError(f"There is no file or folder {path!r}{option}. {wanted}{otherwise}")
    if val is not None and is_same(data, val):
        raise DataError(f"{data!r} cannot be both the photos and the validation photos.")


def _labels(path: str, options: Options, split: str | None = None) -> Labels | None:
    """Open the labels of a file or folder; return None for a folder of class folders."""
    shards = find_shards(path)
    if is_remote(path):
        _refuse_remote_file(path)
    if options.label_from is not None:
        return _labels_of_names(path, shards, options, split)
    if shards:
        return _labels_of_shards(path, shards, options, split)
    if is_remote(path):
        return None
    if Path(path).is_dir():
        return _labels_of_folder(path, options, split)
    suffix = Path(path).suffix.lower()
    if advice := advice_on_aircraft(path):
        raise DataError(advice)
    if suffix in (*TABLE_SUFFIXES, LIST_SUFFIX) or (suffix == ".json" and not is_coco(path)):
        return read_table(path, options, split)
    if suffix == ".json":
        refuse_json(path)
        _refuse_table_options(path, "a COCO file", options)
        return read_coco([path], str(Path(path).parent), options, split)
    if suffix == ".xml":
        if is_cvat(path):
            raise DataError(cvat(path))
        raise DataError(f"{path!r} is one annotation. Name the folder that holds it and the photos.")
    if what := advice_on(path):
        raise DataError(f"{path!r} is {what}.")
    advice = "Name one of these, or a folder of class folders."
    raise DataError(
        f"{path!r} is neither a table ({', '.join(sorted(TABLE_SUFFIXES))}) nor a COCO file (.json). {advice}"
    )


def _labels_of_names(path: str, shards: list[Shard], options: Options, split: str | None) -> Labels:
    """Read the labels in the paths of photos in a folder, in tar files, or in a remote folder."""
    if not (shards or is_remote(path) or Path(path).is_dir()):
        raise ConfigError(
            f"label_from finds labels in the paths of a folder's photos, but {path!r} is a file. Name the "
            "folder, or leave label_from out."
        )
    _refuse_table_options(path, "a folder with labels in file names", options)
    return read_file_names(path, options, split)


def _refuse_remote_file(path: str) -> None:
    if Path(path).suffix.lower() in (*TABLE_SUFFIXES, ".json", ".xml", ".tar"):
        raise DataError(
            f"{path!r} is remote, but tables, annotations and tar files are read from this machine. Download "
            "it. The photos in a table may be remote: write their addresses into its column of paths."
        )


def _labels_of_shards(path: str, shards: list[Shard], options: Options, split: str | None) -> Labels | None:
    """Read the labels of samples in tar files; return None for class folders."""
    if not have_samples(shards):
        return None
    table = open_samples(shards, options.image_column)
    labels = labels_of(path, root_of(path), table, options, split)
    labels.form = f"samples in {counted(len(shards), 'tar file')}, {path!r}"
    return labels


def _labels_of_folder(path: str, options: Options, split: str | None) -> Labels | None:
    """Recognise the format of a folder by its content and, if that is ambiguous, by the task."""
    if aircraft := find_aircraft(path):
        return read_aircraft(aircraft, options, split)
    coco, tables, yolo = find_coco(path), find_folder_tables(path), find_yolo(path)
    if not (coco or tables or yolo or has_xml(path)):
        return None
    if options.is_open and (pets := refused_pets(path)):
        raise DataError(pets)
    voc = find_voc(path, options.images)
    folders = _class_like(options.images or path, voc.images)
    if tables and tables.is_shards and folders:
        tables = None
    kinds = []
    if coco:
        kinds.append(f"COCO (its file {coco[0]!r}: name it instead of the folder)")
    if tables:
        kinds.append(f"photos with a table (its file {next(iter(tables.splits))!r}: name it instead)")
    if yolo:
        kinds.append(f"YOLO ({len(yolo.texts)} text files: --task box)")
    if voc.annotations:
        kinds.append(
            f"Pascal VOC ({len(voc.annotations)} XML files, such as {voc.annotations[0]!r}: --task box)"
        )
    if not kinds or (len(folders) > 1 and options.wants.has_class):
        return None
    if len(folders) > 1 and (options.is_open or options.wants.has_labels):
        shown = ", ".join(map(repr, folders[:3]))
        kinds.append(f"a folder of class folders ({shown}: --task classification)")
    if len(kinds) > 1:
        raise DataError(f"{path!r} could be {' or '.join(kinds)}. Choose one.")
    if tables:
        return read_folder_tables(tables, options, split)
    if coco:
        _refuse_table_options(path, "a folder with a COCO file", options)
        return read_coco(coco, path, options, split)
    if yolo:
        _refuse_table_options(path, "a folder with YOLO's labels", options)
        return read_yolo(yolo, options, split)
    _refuse_table_options(path, "a folder with Pascal VOC's XML files", options)
    return read_voc(voc, options, split)


def _class_like(root: str, images: list[str]) -> list[str]:
    """Return names of folders with photos that could be classes, looking inside split folders."""
    names = set()
    for image in images:
        parts = [part for part in Path(image).relative_to(root).parts[:-1] if not _HOLDS_ALL.fullmatch(part)]
        names.update(parts[:1])
    return sorted(names)


def _class_folders(data: str, val: str | None, options: Options) -> Listing:
    """Read class folders; the error for a folder without them mentions a table in it."""
    _refuse_table_options(data, _CLASS_FOLDERS, options)
    if not (options.is_open or options.wants.has_class):
        raise DataError(
            f"{data!r} is a folder without labels for the task {options.task}: class folders give one class "
            "per photo. Name a table, a COCO file, or a folder with Pascal VOC's XML files."
        )
    find = group_finder(options.group_by) if options.group_by else None
    try:
        listing = read_folder(
            data, val, for_training=options.for_training, classes_on_top=options.wants.has_class
        )
    except DataError as error:
        if named := named_form(data) or advice_on_aircraft(data):
            raise DataError(named) from error
        if advice := advice_on_folder(data):
            raise DataError(f"{error}\n{advice}") from error
        raise
    if options.for_training:
        refuse_masks(data, listing.class_names)
    if options.for_training and options.is_open:
        refuse_dates(data, listing.class_names)
    notes = listing.notes if is_remote(data) else (*listing.notes, *note_on_tables(data))
    listing = dataclasses.replace(listing, task=options.chosen(tasks.CLASSIFICATION), notes=notes)
    if find is None:
        return listing
    grouped = Packed(
        Candidate,
        (dataclasses.replace(each, group=find(below(each.path, data))) for each in listing.candidates),
    )
    if without := [each.path for each in grouped if each.group is None]:
        raise ConfigError(
            f"group_by is {options.group_by!r}, which finds no group in {len(without)} of {len(grouped)} "
            f"paths, such as {below(without[0], data)!r}. It must find one in every path."
        )
    return dataclasses.replace(listing, candidates=grouped)


def _refuse_table_options(path: str, kind: str, options: Options) -> None:
    """Refuse options for columns if the data are not a table."""
    given = {
        "target": ",".join(options.targets),
        "image_column": options.image_column if options.image_column != "image" else "",
        "label_column": options.label_column,
        "split_column": options.split_column,
    }
    problems = [
        f"{name} is {value!r}, but {path!r} is {kind}, which has no columns. Leave {name} out, or name a "
        "table."
        for name, value in given.items()
        if value
    ]
    if options.wants.has_numbers and kind != _CLASS_FOLDERS:
        problems.append(f"task is 'regression', but {path!r} is {kind}, which has no numbers. Name a table.")
    if options.images is not None and kind in _WITH_PHOTOS:
        problems.append(
            f"images is {options.images!r}, but {path!r} is {kind} and holds the photos. Leave images out."
        )
    if problems:
        raise ConfigError(problems)
