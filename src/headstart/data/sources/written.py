"""What is written of photos in tables and annotation files, one label at a time."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from headstart import tasks
from headstart.images.view import Box
from headstart.records import Candidate, TaskName
from headstart.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Options:
    """How labels are to be read: the fields of ``TrainConfig`` of the same names.

    Attributes:
        task: ``"auto"``, or what is predicted.
        targets: The columns that ``target`` names.
        image_column, label_column, split_column: Names of a table's columns; None for the usual ones.
        group_by: A table's column, or a regular expression whose first group finds a photo's group in its
            path.
        boxes: What becomes of photos with several objects: ``"refuse"``, ``"skip"`` or ``"largest"``.
        allow_quarantined: Fraction of the photos whose labels may be wrong; None for the usual small share.
        for_training: Also require what learning takes.
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

    @property
    def is_open(self) -> bool:
        """Whether the labels are to show what is predicted."""
        return self.task not in tasks.TASKS

    @property
    def wants(self) -> Task:
        """What is predicted, where it is said; else a task without labels of any kind."""
        return tasks.TASKS.get(self.task, tasks.ANY)

    def chosen(self, usual: Task) -> TaskName:
        """Return the name of the task that is said, or of the usual one."""
        return usual.name if self.is_open else self.task


@dataclass(frozen=True, slots=True)
class Object:
    """Something in a photo: its class, empty where it has none, and where it is."""

    class_name: str
    box: Box


@dataclass(frozen=True, slots=True)
class Written:
    """What one row, one XML file or one entry says of a photo.

    Attributes:
        path: Of the photo.
        source: Where it is written, as in ``labels.csv, line 7``.
        split, group: As in a candidate.
        labels: The class; of several labels, all, sorted.
        numbers: The values of the targets.
        objects: Where the task is to find a box.
        declared_size: Width and height of the photo in which the objects' boxes were drawn, if it is said.
        fault: What is wrong with the label; empty if nothing is.
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

    def class_names(self) -> Iterator[str]:
        """Every class that the label names."""
        yield from self.labels
        yield from (each.class_name for each in self.objects if each.class_name)


@dataclass(slots=True)
class Labels:
    """A source of written labels. Lists and counts grow while ``written`` is read, which is once.

    Attributes:
        root: The folder that paths in messages and reports are below.
        task: What is predicted.
        targets: Names of the numbers.
        written: The labels, as a stream.
        one_object_each: Several labels of one photo are several objects, as rows of a table are; otherwise
            each says everything about its photo.
        found: How many labels there are, and photos without one.
        errors: What cannot be read as it is meant.
        ignored: Photos that no label names.
        notes: Sentences that a user should read.
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


def classes_of(candidate: Candidate) -> tuple[str, ...]:
    """Return the classes that a candidate is of: one, several or none."""
    return (candidate.class_name,) if candidate.class_name else candidate.labels


def clean_class(text: str) -> str:
    """Return a class's name in the one form of Unicode that all systems agree on, without space around it."""
    return unicodedata.normalize("NFC", text.strip())


def box_fault(box: Box) -> str:
    """Return what is wrong with a box by itself; whether it lies in its photo is seen when that is read."""
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
    """Return the size of a photo as a file of labels declares it.

    Many tools write 0 where they do not know it, or leave it out: then nothing is declared.

    Raises:
        ValueError: One of them is something else than a number of pixels.
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
    """Return what annotated objects mean for a task: labels, or objects with boxes.

    Raises:
        ValueError: A photo of one class is wanted, and there are objects of none or of several.
    """
    found = tasks.of(task)
    return found.labels_of([each.class_name for each in objects]), tuple(objects) if found.has_box else ()
