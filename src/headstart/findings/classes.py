"""Finds classes with too few photos, imbalance, and names that may mean the same class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from headstart import tasks
from headstart.answers.intervals import wilson
from headstart.columns import counted, listed
from headstart.data.sources.similar import plain_name
from headstart.findings.finding import Severity
from headstart.records import Record, TaskName

Kind: TypeAlias = Literal["small-class", "imbalance", "similar-classes"]
FEW_TO_LEARN: Final = (5, 10)
"""Numbers of training photos below which a class is a warning, and a note. On Caltech-101, a probe reaches an
accuracy of .72 with one photo of each class, .92 with 5, .95 with 10 and .96 with 25: see
docs/measurements.md, "Few photos".
"""

FEW_TO_SCORE: Final = (5, 20)
"""Numbers of validation photos below which a class is a warning, and a note. If all are right, the interval
of the recall begins at .57 with 5 photos and at .84 with 20.
"""

IMBALANCED: Final = (20, 5)
"""Ratios of the largest to the smallest class from which on imbalance is a warning, and a note."""

ALL_CLASSES: Final = "all classes"
"""The name in a finding that is about more classes than are reported one by one."""

_MOST_FINDINGS: Final = 5  # of the same kind and severity; more become one
_MOST_NAMED: Final = 5
_SHORTEST_SINGULAR: Final = 3  # letters; "a" and "as" are not one class


@dataclass(frozen=True)
class ClassFinding:
    """A finding about a class, or about all of them.

    Attributes:
        name: The class; classes with similar names, separated by commas; or ``ALL_CLASSES``.
        kind: What was found.
        severity: ``"error"``: the class cannot be learned. ``"warning"``: scores or predictions of it are
            unreliable. ``"note"``: worth knowing.
        sentence: What was found, with numbers, and what to do.
    """

    name: str
    kind: Kind
    severity: Severity
    sentence: str


def photos_per_class(photos: Sequence[Record], task: TaskName, num_classes: int) -> list[int]:
    """Return the number of photos of each class; a photo with several classes counts for each of them."""
    has_labels = tasks.of(task).has_labels
    labels = [label for photo in photos for label in (photo.labels if has_labels else (photo.label,))]
    return np.bincount(np.array(labels, int), minlength=num_classes).tolist() if num_classes else []


def find_class_problems(
    class_names: Sequence[str], train: Sequence[int], val: Sequence[int] | None = None
) -> list[ClassFinding]:
    """Find classes with too few photos to learn or to score, imbalance, and similar names.

    Args:
        class_names: Names of the K classes; empty if the task has none.
        train: (K,), number of training photos of each class, for example by ``photos_per_class``.
        val: (K,), number of validation photos of each class; None if there is no validation split, because
            all photos are scored out of fold or the split is not known.

    Returns:
        Findings, the most severe first.
    """
    found = [*_too_few(class_names, train, "training photos", _learning)]
    if val is not None and any(val):
        found += _too_few(class_names, val, "validation photos", _scoring)
    found += [*_imbalance(class_names, train), *_similar_names(class_names, train)]
    return sorted(found, key=lambda finding: ("error", "warning", "note").index(finding.severity))


def _too_few(
    class_names: Sequence[str],
    counts: Sequence[int],
    noun: str,
    judge: Callable[[int], tuple[Severity, str] | None],
) -> list[ClassFinding]:
    """Return a finding for each class that has too few photos; for many of one severity, one finding.

    Args:
        class_names: Names of the K classes.
        counts: (K,), number of photos.
        noun: What is counted.
        judge: Returns the severity of a number of photos and the rest of a sentence about it, or None.
    """
    by_severity: dict[Severity, list[tuple[int, str, str]]] = {}
    for number, name in sorted(zip(counts, class_names, strict=True)):
        if judged := judge(number):
            by_severity.setdefault(judged[0], []).append((number, name, judged[1]))
    found = []
    for severity, classes in by_severity.items():
        if len(classes) <= _MOST_FINDINGS:
            for _, name, text in classes:
                found.append(ClassFinding(name, "small-class", severity, f"The class {name!r} has {text}"))
            continue
        number, _, text = classes[0]
        names = listed([f"{name!r} ({number})" for number, name, _ in classes], _MOST_NAMED)
        sentence = f"{len(classes)} of {len(class_names)} classes have few {noun}: {names}. The smallest has "
        found.append(ClassFinding(ALL_CLASSES, "small-class", severity, sentence + text))
    return found


def _learning(number: int) -> tuple[Severity, str] | None:
    few, rather_few = FEW_TO_LEARN
    photos = counted(number, "training photo")
    if number == 0:
        return "error", "no training photos, so it cannot be learned. Add photos of it, or remove the class."
    if number == 1:
        return "warning", (
            "only 1 training photo, so it can hardly be learned, and not scored out of fold. Add photos: "
            f"{rather_few} or more."
        )
    if number < few:
        return "warning", f"only {photos}, too few to learn it reliably. Add photos: {rather_few} or more."
    if number < rather_few:
        return "note", f"only {photos}. More photos of it are likely to make the model better."
    return None


def _scoring(number: int) -> tuple[Severity, str] | None:
    few, rather_few = FEW_TO_SCORE
    if number == 0:
        return "warning", (
            "no validation photos, so no score contains it. Add photos, or score all of them with --folds 5."
        )
    if number >= rather_few:
        return None
    low, high = wilson(number, number)
    return "warning" if number < few else "note", (
        f"only {counted(number, 'validation photo')}: if all of them are right, its recall still has a 95 % "
        f"interval from {low:.2f} to {high:.2f}. Add photos, or score all of them with --folds 5."
    )


def _imbalance(class_names: Sequence[str], train: Sequence[int]) -> list[ClassFinding]:
    if len(train) < 2 or min(train) == 0:  # a class without photos is reported as such
        return []
    largest, smallest = int(np.argmax(train)), int(np.argmin(train))
    ratio = train[largest] / train[smallest]
    if ratio < IMBALANCED[1]:
        return []
    sentence = (
        f"The largest class, {class_names[largest]!r}, has {counted(train[largest], 'training photo')}, "
        f"{ratio:.0f} times as many as the smallest, {class_names[smallest]!r}, with {train[smallest]:,}. "
        f"Accuracy says little about small classes: compare macro F1 and the scores of each class, and add "
        f"photos of the small ones."
    )
    severity: Severity = "warning" if ratio >= IMBALANCED[0] else "note"
    return [ClassFinding(class_names[smallest], "imbalance", severity, sentence)]


def _similar_names(class_names: Sequence[str], train: Sequence[int]) -> list[ClassFinding]:
    """Find names that differ only in case, spaces, hyphens, underscores, or an English plural."""
    plain = {plain_name(name) for name in class_names}
    alike: dict[str, list[tuple[str, int]]] = {}
    for name, number in zip(class_names, train, strict=True):
        singular = next((each for each in _singulars(plain_name(name)) if each in plain), plain_name(name))
        alike.setdefault(singular, []).append((name, number))
    found = []
    for group in alike.values():
        if len(group) > 1:
            shown = ", ".join(f"{name!r} ({counted(number, 'photo')})" for name, number in group)
            sentence = (
                f"The names of {len(group)} classes are nearly the same: {shown}. They are learned as "
                f"different classes. If they are one, give them one name."
            )
            names = ", ".join(name for name, _ in group)
            found.append(ClassFinding(names, "similar-classes", "note", sentence))
    return found


def _singulars(word: str) -> list[str]:
    """Return what an English word may be the plural of, shortest ending first; empty for short words."""
    endings = (("s", ""), ("es", ""), ("ies", "y"))
    singulars = [word.removesuffix(end) + new for end, new in endings if word.endswith(end)]
    return [each for each in singulars if len(each) >= _SHORTEST_SINGULAR]
