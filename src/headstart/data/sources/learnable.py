"""Checks that a model can be trained on the labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from headstart import tasks
from headstart.columns import listed
from headstart.data.quarantine import MOST_NAMED, named
from headstart.data.sources.sorted_out import SortedOut
from headstart.data.sources.written import Labels, Options, classes_by_use, is_to_learn
from headstart.errors import DataError, did_you_mean
from headstart.packed import values_of
from headstart.records import FRACTIONS, Candidate

_MOST_SENTENCES: Final = 3  # about one class each; more classes share one


def refuse_unlearnable(
    candidates: Sequence[Candidate], labels: Labels, sorted_out: SortedOut, options: Options
) -> None:
    """Raise DataError with every reason why no model can be trained on these labels."""
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
    boxes = zip(values_of(candidates, "box"), values_of(candidates, "declared_size"), strict=True)
    largest = [max(box) for box, size in boxes if box and size != FRACTIONS] if task.has_box else []
    if largest and max(largest) <= 1:
        raise DataError(
            "No box has a coordinate above 1, so they seem to be fractions of the photos. Headstart wants "
            "pixels: multiply xmin and xmax by the photo's width, ymin and ymax by its height."
        )
    if not options.for_training:
        return
    if not any(map(is_to_learn, candidates)):
        raise DataError(
            "All photos are for validation or test, and none is for training. Name some of them train."
        )
    known, others = classes_by_use(candidates)
    problems = []
    if task.has_class and len(known) == 1:
        problems.append(
            f"There is a single class, {next(iter(known))!r}, but a model needs at least two classes. "
            "Add photos of another class."
        )
    if task.has_labels and not known:
        problems.append("No photo has a label, so there is nothing to learn.")
    if lost := sorted(sorted_out.classes.keys() - known) if sorted_out.quarantined else []:
        shown = listed(list(map(repr, lost)), MOST_NAMED)
        problems.append(
            f"None of the photos of class {shown} can be used. Repair their labels, or remove the class."
        )
    if problems:
        problems += named(sorted_out.quarantined)  # which may be why
    problems += _only_to_score(sorted(others - known - set(lost)), known)
    numbers = {each.numbers for each in candidates if is_to_learn(each)} if labels.targets else set()
    for target, values in zip(labels.targets, map(set, zip(*numbers, strict=True)), strict=True):
        if len(values) == 1:
            problems.append(
                f"The target {target!r} is {values.pop():g} for all training photos, so there is nothing to "
                "learn."
            )
    if problems:
        raise DataError("\n".join(problems))


def _only_to_score(unknown: Sequence[str], known: Collection[str]) -> list[str]:
    """Return sentences about classes without training photos."""
    if len(unknown) <= _MOST_SENTENCES:
        return [
            f"There is no training photo of class {name!r}, only for validation or "
            f"test.{did_you_mean(name, known)} Add training photos of it, or leave it out."
            for name in unknown
        ]
    hints = [did_you_mean(name, known).strip() for name in unknown[:MOST_NAMED]]
    shown = [repr(name) + (f" ({hint})" if hint else "") for name, hint in zip(unknown, hints, strict=False)]
    shown += map(repr, unknown[MOST_NAMED:])
    return [
        f"There are no training photos of {len(unknown):,} classes, only for validation or test: "
        f"{listed(shown, MOST_NAMED)}. "
        "Add training photos of them, or leave them out."
    ]
