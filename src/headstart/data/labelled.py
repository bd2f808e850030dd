"""Labels that are written down, in tables or annotation files: all their faults at once, and a listing.

What cannot be read as it is meant (a row with too many cells, an unknown split) is an error, always. A label
that is wrong by itself (an empty one, a box without an area, a photo that is not there) puts its photo into
quarantine; more than a small share of those is an error too.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.columns import counted
from headstart.data.similar import similar_classes
from headstart.errors import ConfigError, DataError, did_you_mean
from headstart.images.view import Box
from headstart.records import Candidate, Listing, Quarantined, TaskName
from headstart.tasks.task import Task

QUARANTINE_FRACTION: Final = 0.01
QUARANTINE_FILES: Final = 5
"""More photos in quarantine than both of these stop a run, unless the user allows a fraction."""

NO_SUCH_PHOTO: Final = "no such photo"

MOST_NAMED: Final = 20  # in one error message


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
        return usual.name if self.is_open else self.task  # type: ignore[return-value]


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


def listing_of(labels: Labels, val: Labels | None, options: Options) -> Listing:
    """Read labels, bring those of one photo together, and name everything that is wrong with them.

    Args:
        labels: Of all photos.
        val: Of the validation photos, where they are written elsewhere.
        options: How they are to be read.

    Raises:
        DataError: The labels cannot be used as they are; the message names every problem.
    """
    sorted_out = _SortedOut(options.boxes)
    sources = [labels] if val is None else [labels, val]
    for each in sources:
        by_photo: dict[str, list[Written]] = {}
        for written in each.written:
            by_photo.setdefault(os.path.normpath(written.path), []).append(written)
        own_split = "val" if each is val else None if val is None else "train"
        for rows in by_photo.values():
            sorted_out.add(rows, each, own_split)
        if each is not val and val is not None and any(c.split == "val" for c in sorted_out.candidates):
            each.errors.append(
                f"{labels.root!r}: there are two validation sets, its own and {val.root!r}. Leave one out."
            )
    found = sum(each.found for each in sources)
    problems = _of_structure(sources)
    problems += too_many(
        sorted_out.quarantined, found, options.allow_quarantined, "have labels that cannot be used"
    )
    problems += sorted_out.several(found)
    if problems:
        raise DataError("\n".join(problems))

    candidates = tuple(sorted_out.candidates)
    _refuse_unlearnable(candidates, labels, sorted_out, options)
    if tasks.of(labels.task).has_class and _are_measured({c.class_name for c in candidates}):
        sorted_out.remarks.append(
            "All classes are numbers with decimals, each of them a class of its own. To predict numbers, "
            "name their column: --target NAME"
        )
    to_learn = [c for c in candidates if c.split in (None, "train")] or candidates
    without_label = [path for each in sources for path in each.ignored]
    if without_label:
        sorted_out.remarks.append(
            f"{len(without_label)} photos have no label and are ignored, such as {without_label[0]!r}."
        )
    return Listing(
        root=labels.root,
        candidates=candidates,
        class_names=tuple(sorted({name for candidate in to_learn for name in classes_of(candidate)})),
        ignored=(*sorted_out.ignored, *without_label),
        without_class=(),
        found=found,
        task=labels.task,
        targets=labels.targets,
        quarantined=tuple(sorted_out.quarantined),
        notes=tuple(
            dict.fromkeys(
                [
                    *(note for each in sources for note in each.notes),
                    *sorted_out.notes(),
                    *similar_classes(candidates),
                ]
            )
        ),
    )


def classes_of(candidate: Candidate) -> tuple[str, ...]:
    """Return the classes that a candidate is of: one, several or none."""
    return (candidate.class_name,) if candidate.class_name else candidate.labels


def too_many(
    quarantined: Sequence[Quarantined], num_photos: int, allowed: float | None, what: str
) -> list[str]:
    """Return a message that names the photos in quarantine if there are too many, else nothing.

    Args:
        quarantined: The photos.
        num_photos: Of how many.
        allowed: Fraction of the photos that may be in quarantine; None for the usual small share.
        what: What is the matter with them, as in ``"cannot be read"``.
    """
    num_failed = len(quarantined)
    if allowed is None:
        over = num_failed > QUARANTINE_FILES and num_failed / num_photos > QUARANTINE_FRACTION
        limit = f"{QUARANTINE_FRACTION:.0%} and {QUARANTINE_FILES} files"
    else:
        over = num_failed > 0 and num_failed / num_photos > allowed
        limit = f"the {allowed:.1%} allowed"
    if not over:
        return []
    advice = "Repair or remove them, or train without them: --allow-quarantined "
    advice += f"{math.ceil(1000 * num_failed / num_photos) / 1000}"
    if num_failed == num_photos:
        advice = "Repair them; if another column or option was meant, docs/data.md shows all of them."
        if all(NO_SUCH_PHOTO in photo.reason for photo in quarantined):
            advice = (
                "Relative paths start at the folder of the table or annotations: correct them, or move it."
            )
    return [
        f"{num_failed} of {num_photos} photos ({num_failed / num_photos:.1%}) {what}, more than {limit}. "
        f"{advice}",
        *named(quarantined),
    ]


def named(quarantined: Sequence[Quarantined]) -> list[str]:
    """Return a line for each photo in quarantine, up to twenty."""
    lines = list(
        dict.fromkeys(f"  {photo.path!r}: {photo.reason}" for photo in quarantined)
    )  # rows of one photo
    return [*lines[:MOST_NAMED], *_and_more(lines)]


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


def group_finder(group_by: str, columns: Sequence[str] = ()) -> Callable[[str], str | None]:
    """Return what finds a photo's group in its path: the first parentheses of a regular expression.

    Args:
        group_by: The expression.
        columns: Names of a table's columns, for the message.

    Raises:
        ConfigError: It is no regular expression, or has no parentheses.
    """
    kinds = "a regular expression with parentheses around the group, such as 'plant([0-9]+)'"
    if columns:
        kinds = f"a column ({', '.join(columns)}) or {kinds}"
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ConfigError([f"group_by is {group_by!r}; it must be {kinds}: {error}."]) from error
    if not pattern.groups:
        raise ConfigError([f"group_by is {group_by!r}.{did_you_mean(group_by, columns)} It must be {kinds}."])

    def find(path: str) -> str | None:
        match = pattern.search(path)
        return match[1] if match else None

    return find


def below(path: str, root: str) -> str:
    """Return a photo's path as a regular expression of groups sees it: below the root, with ``/``."""
    return Path(os.path.relpath(path, root)).as_posix()


class _SortedOut:
    """Where each label has gone: candidates, quarantine or ignored."""

    def __init__(self, boxes: str) -> None:
        self.boxes = boxes
        self.candidates: list[Candidate] = []
        self.quarantined: list[Quarantined] = []
        self.ignored: list[str] = []
        self.classes: Counter[str] = Counter()  # that labels of training photos name, wrong ones too
        self.remarks: list[str] = []
        self._several: list[str] = []  # paths of photos with several objects
        self._num_empty = self._num_repeated = 0

    def add(self, rows: list[Written], labels: Labels, own_split: str | None) -> None:
        """Take all that is written of one photo; ``own_split`` is for those that name none."""
        first = rows[0]
        split = first.split or own_split
        if split in (None, "train"):
            self.classes.update({name for row in rows for name in row.class_names()})
        task = tasks.of(labels.task)
        if fault := _fault(rows, labels.one_object_each and task.has_box):
            reason = f"{first.source}: {fault}"
            self.quarantined += [Quarantined(row.path, split, reason) for row in rows]
            return
        if not task.has_box:
            self._num_repeated += len(rows) - 1
            self.ignored += [row.path for row in rows[1:]]
            class_name = first.labels[0] if task.has_class else ""
            answers = first.labels if task.has_labels else ()
            self.candidates.append(
                Candidate(
                    first.path, class_name, split, answers, first.numbers, None, first.group, first.source
                )
            )
            return
        objects = list(dict.fromkeys(each for row in rows for each in row.objects))
        if len(objects) > 1:
            self._several.append(first.path)
        if not objects or (len(objects) > 1 and self.boxes != "largest"):
            self._num_empty += not objects
            self.ignored += [row.path for row in rows]
            return
        self.ignored += [row.path for row in rows[1:]]
        largest = max(objects, key=lambda each: _area(each.box))  # of equal ones the first
        self.candidates.append(
            Candidate(
                first.path,
                largest.class_name,
                split,
                box=largest.box,
                group=first.group,
                source=first.source,
                declared_size=next((row.declared_size for row in rows if row.declared_size), None),
            )
        )

    def several(self, found: int) -> list[str]:
        """Return the message about photos with several objects, if they are refused."""
        if not self._several or self.boxes != "refuse":
            return []
        num = len(self._several)
        return [
            f"{num} of {found} photos show several objects, and Headstart predicts one box per photo. Leave "
            "these photos out: --boxes skip; or learn the largest box of each: --boxes largest",
            *(f"  {path!r}" for path in self._several[:MOST_NAMED]),
            *_and_more(self._several),
        ]

    def notes(self) -> list[str]:
        """Return what became of labels that are not used as they stand."""
        notes = list(self.remarks)
        if self._several:
            kept = "are left out" if self.boxes == "skip" else "keep their largest box alone"
            notes.append(f"{len(self._several)} photos with several objects {kept} (--boxes {self.boxes}).")
        if self._num_empty:
            notes.append(f"{self._num_empty} photos without an object are left out.")
        if self._num_repeated:
            repeated = counted(self._num_repeated, "label repeats", "labels repeat")
            notes.append(f"{repeated} an earlier one of the same photo; each is counted once.")
        return notes


def _fault(rows: list[Written], one_object_each: bool) -> str:
    """Return what keeps the labels of one photo from being used; empty if nothing does."""
    for row in rows:
        if row.fault:
            elsewhere = "" if row is rows[0] else f"another label of this photo, {row.source}: "
            return elsewhere + row.fault
    first = rows[0]
    for row in rows[1:]:
        for what in ("split", "group"):
            if getattr(row, what) != getattr(first, what):
                return f"the {what} of this photo is another in {row.source}"
        if row.declared_size and first.declared_size and row.declared_size != first.declared_size:
            return f"the declared width and height of this photo are different in {row.source}"
        if not one_object_each and _answer(row) != _answer(first):
            return f"{_shown(first)}, but {row.source} says {_shown(row)} of the same photo"
    if not Path(first.path).exists():
        link = "a link whose target does not exist" if Path(first.path).is_symlink() else NO_SUCH_PHOTO
        return f"{link}: {first.path!r}"
    return ""


def _are_measured(class_names: set[str]) -> bool:
    """Tell classes that seem to be measured values from those that are counted or numbered."""
    try:
        values = [float(name) for name in class_names]  # all of them, for a set has no order
    except ValueError:
        return False
    return not all(value.is_integer() for value in values)


def _answer(row: Written) -> tuple[object, ...]:
    return row.labels, row.numbers, row.objects


def _shown(row: Written) -> str:
    if row.objects:
        first = row.objects[0]
        return (
            f"{len(row.objects)} objects" if len(row.objects) > 1 else f"{first.class_name!r} at {first.box}"
        )
    return repr(row.numbers if row.numbers else "|".join(row.labels))


def _area(box: Box) -> float:
    xmin, ymin, xmax, ymax = box
    return (xmax - xmin) * (ymax - ymin)


def _of_structure(sources: Sequence[Labels]) -> list[str]:
    errors = [error for each in sources for error in each.errors]
    if not errors:
        return []
    head = [f"{len(errors)} entries cannot be interpreted:"] if len(errors) > 1 else []
    return [*head, *errors[:MOST_NAMED], *_and_more(errors)]


def _and_more(lines: Sequence[object]) -> list[str]:
    return [f"  ... and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else []


def _refuse_unlearnable(
    candidates: Sequence[Candidate], labels: Labels, sorted_out: _SortedOut, options: Options
) -> None:
    """Name everything that keeps these labels from being learned from."""
    if not candidates:
        lines = ["No photo with a label that can be used.", *named(sorted_out.quarantined)]
        if not labels.found:
            lines[0] = "There is no photo and no label: nothing is listed. Add photos with their labels."
        if sorted_out.ignored:
            lines.append(
                f"{len(sorted_out.ignored)} photos or rows are left out. " + " ".join(sorted_out.notes())
            )
        raise DataError("\n".join(lines))
    task = tasks.of(labels.task)
    if task.has_box and all(max(c.box) <= 1 for c in candidates if c.box):
        raise DataError(
            "No box reaches further than 1, so they seem to be fractions of the photos. Headstart wants "
            "pixels: multiply xmin and xmax by the photo's width, ymin and ymax by its height."
        )
    if not options.for_training:
        return
    to_learn = [candidate for candidate in candidates if candidate.split in (None, "train")]
    if not to_learn:
        raise DataError(
            "All photos are for validation or test, and none is for training. Name some of them train."
        )
    known = {name for candidate in to_learn for name in classes_of(candidate)}
    problems = []
    if task.has_class and len(known) == 1:
        problems.append(
            f"There is a single class, {next(iter(known))!r}, and a model has to choose between two or more. "
            "Add photos of another class."
        )
    if task.has_labels and not known:
        problems.append("No photo has a label, so there is nothing to learn.")
    if lost := sorted(sorted_out.classes.keys() - known) if sorted_out.quarantined else []:
        problems.append(
            f"None of the photos of {_listed(lost)} can be used. Repair their labels, or remove the class."
        )
        problems += named(sorted_out.quarantined)
    unknown = {name for candidate in candidates for name in classes_of(candidate)} - known - set(lost)
    for name in sorted(unknown)[:MOST_NAMED]:
        problems.append(
            f"There is no training photo of class {name!r}, only for validation or "
            f"test.{did_you_mean(name, known)} Add training photos of it, or leave it out."
        )
    for number, target in enumerate(labels.targets):
        if len({candidate.numbers[number] for candidate in to_learn}) == 1:
            problems.append(
                f"The target {target!r} is {to_learn[0].numbers[number]:g} for all training photos, so "
                "there is nothing to learn."
            )
    if problems:
        raise DataError("\n".join(problems))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"class {', '.join(repr(name) for name in names[:MOST_NAMED])}{more}"
