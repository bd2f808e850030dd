"""Labels as they are written in tables and annotation files, one at a time."""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from headstart import tasks
from headstart.images.photo import Photo
from headstart.images.view import Box
from headstart.packed import values_of
from headstart.records import Candidate, TaskName
from headstart.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Options:
    """How labels are read; most attributes are the settings of ``TrainConfig`` with the same names.

    Attributes:
        task: The task, or ``"auto"``.
        targets: The columns that the setting ``target`` names.
        image_column, label_column, split_column: Names of a table's columns; None for the default names.
        group_by: A table's column, or a regular expression whose first parentheses find the group in the
            path.
        boxes: How to treat photos with several objects: ``"refuse"``, ``"skip"`` or ``"largest"``.
        allow_quarantined: Fraction of the photos that may have wrong labels; None for the default limits.
        for_training: Also check that a model can be trained on the labels.
        images: The folder in which photos are found by name.
        label_from: A regular expression that finds the label in the path of a photo.
    """

    task: str = "auto"
    targets: tuple[str, ...] = ()
    image_column: str = "image"
    label_column: str | None = None
    split_column: str | None = None
    group_by: str | None = None
    boxes: str = "refuse"
    allow_quarantined: float | None = None
    for_training: bool = True
    images: str | None = None
    label_from: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the task is to be recognised by the labels."""
        return self.task not in tasks.TASKS

    @property
    def wants(self) -> Task:
        """The task that the options name; else a placeholder without any kind of label."""
        return tasks.TASKS.get(self.task, tasks.ANY)

    def chosen(self, usual: Task) -> TaskName:
        """Return the name of the task that the options name, or ``usual``."""
        return usual.name if self.is_open else self.task


@dataclass(frozen=True, slots=True)
class Object:
    """An object in a photo: its class, which may be empty, and its box."""

    class_name: str
    box: Box


@dataclass(frozen=True, slots=True)
class Written:
    """The content of one row, XML file or entry: the label of one photo, or of one object in it.

    Attributes:
        path: The photo.
        source: Place of the label, such as ``labels.csv, line 7``.
        split, group: As in ``Candidate``.
        labels: The class; or all labels, sorted.
        numbers: The values of the targets.
        objects: Objects with boxes, if the task is to find a box.
        declared_size: Width and height of the photo in which the boxes were drawn, if declared.
        fault: What is wrong with the label, or why the photo is not found; empty if nothing is.
    """

    path: str
    source: str
    split: str | None = None
    group: str | None = None
    labels: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    objects: tuple[Object, ...] = ()
    fault: str = ""
    declared_size: tuple[float, float] | None = None

    @property
    def photo(self) -> Photo:
        """The photo."""
        return Photo(self.path)

    def class_names(self) -> Iterator[str]:
        """All classes in the label."""
        yield from self.labels
        yield from (each.class_name for each in self.objects if each.class_name)


@dataclass(slots=True)
class Labels:
    """A stream of labels. ``written`` can be read once; lists and counts are complete when it ends.

    Attributes:
        root: The folder to which paths in messages and reports are relative.
        task: Name of the task.
        targets: Names of the numbers.
        written: The labels.
        one_object_each: True if each label is one object of a photo, as in rows of a table; False if each
            label describes the whole photo.
        found: Number of labels, and of photos without one.
        errors: Messages about content that cannot be interpreted safely.
        ignored: Photos without a label.
        notes: Notes for the user.
        form: What is read, in words.
    """

    root: str
    task: TaskName
    written: Iterable[Written] = ()
    targets: tuple[str, ...] = ()
    one_object_each: bool = False
    found: int = 0
    errors: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    form: str = ""


def classes_of(candidate: Candidate) -> tuple[str, ...]:
    """Return the classes of a candidate: one, several or none."""
    return (candidate.class_name,) if candidate.class_name else candidate.labels


def is_to_learn(candidate: Candidate) -> bool:
    """Return whether a candidate may be a training photo."""
    return candidate.split in (None, "train")


def classes_by_use(candidates: Sequence[Candidate]) -> tuple[set[str], set[str]]:
    """Return the classes of photos that may be for training, and those of photos for validation or test."""
    learned, others = set[str](), set[str]()
    columns = (values_of(candidates, name) for name in ("split", "class_name", "labels"))
    for split, class_name, labels in zip(*columns, strict=True):
        (learned if split in (None, "train") else others).update((class_name,) if class_name else labels)
    return learned, others


def classes_to_learn(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return the classes of the training photos (of all photos, if these have none), sorted."""
    learned, others = classes_by_use(candidates)
    return tuple(sorted(learned or others))


def clean_class(text: str) -> str:
    """Return the name of a class in Unicode's normal form NFC, without surrounding spaces.

    Equal names are one object, so that a million labels take up little memory.
    """
    return sys.intern(unicodedata.normalize("NFC", text.strip()))


def box_fault(box: Box) -> str:
    """Return what is wrong with a box, empty if nothing. Its position in the photo is checked later."""
    xmin, ymin, xmax, ymax = box
    shown = f"the box {', '.join(f'{value:g}' for value in box)}"
    if not all(math.isfinite(value) for value in box):
        return f"{shown} has a number that is not finite"
    if xmin > xmax or ymin > ymax:
        return f"{shown} is inverted: xmin must be less than xmax, and ymin less than ymax"
    if xmin == xmax or ymin == ymax:
        return f"{shown} has no area: xmin must be less than xmax, and ymin less than ymax"
    return ""


def declared_size(width: object, height: object) -> tuple[float, float] | None:
    """Return the size of a photo that a label file declares; None if it is 0 or missing.

    Many tools write 0 if they do not know the size.

    Raises:
        ValueError: Width or height is not a number of pixels.
    """
    sides = []
    for name, value in (("width", width), ("height", height)):
        text = "" if value is None else str(value).strip()
        try:
            side = float("x" if "_" in text or isinstance(value, bool) else text or 0)
        except ValueError:
            raise ValueError(f"the photo's {name} is {value!r}; it must be a number of pixels") from None
        if math.isinf(side):
            raise ValueError(f"the photo's {name} is {value!r}; it must be a number of pixels")
        sides.append(side)
    width_px, height_px = sides
    return (width_px, height_px) if width_px > 0 and height_px > 0 else None


def labels_of_objects(
    task: TaskName, objects: Sequence[Object]
) -> tuple[tuple[str, ...], tuple[Object, ...]]:
    """Convert annotated objects to what a task needs: labels, or objects with boxes.

    Raises:
        ValueError: The task needs one class per photo, and the objects have none or several.
    """
    found = tasks.of(task)
    return found.labels_of([each.class_name for each in objects]), tuple(objects) if found.has_box else ()
