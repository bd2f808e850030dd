"""Decides for each label whether its photo is used, quarantined or ignored."""

from __future__ import annotations

from collections import Counter

from headstart import tasks
from headstart.columns import counted
from headstart.data.quarantine import MOST_NAMED
from headstart.data.sources.written import Labels, Written
from headstart.images.view import Box
from headstart.messages import screenful
from headstart.packed import Packed
from headstart.records import Candidate, Quarantined


class SortedOut:
    """Photos by outcome: candidates, quarantined or ignored."""

    def __init__(self, boxes: str) -> None:
        self.boxes = boxes
        self.candidates = Packed(Candidate)
        self.quarantined: list[Quarantined] = []
        self.ignored: list[str] = []
        self.classes: Counter[str] = Counter()  # that labels of training photos name, wrong ones too
        self._several: list[str] = []  # paths of photos with several objects
        self._num_empty = self._num_repeated = 0

    def add(self, rows: list[Written], labels: Labels, own_split: str | None) -> None:
        """Add all labels of one photo; ``own_split`` is used for labels without a split."""
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
                    first.photo, class_name, split, answers, first.numbers, None, first.group, first.source
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
                first.photo,
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
            *(f"  {each}" for each in screenful(map(repr, self._several), MOST_NAMED)),
        ]

    def notes(self) -> list[str]:
        """Return notes about labels that are ignored or changed."""
        notes = []
        if self._several:
            kept = "are left out" if self.boxes == "skip" else "keep their largest box alone"
            notes.append(f"{len(self._several)} photos with several objects {kept} (--boxes {self.boxes}).")
        if self._num_empty:
            notes.append(f"{counted(self._num_empty, 'photo')} without an object left out.")
        if self._num_repeated:
            repeated = counted(self._num_repeated, "label repeats", "labels repeat")
            notes.append(f"{repeated} an earlier one of the same photo; each is counted once.")
        return notes


def _fault(rows: list[Written], one_object_each: bool) -> str:
    """Return why the labels of one photo cannot be used; empty if they can."""
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
    return ""


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
