"""Combines labels into one listing of photos, or reports everything that is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from headstart import tasks
from headstart.columns import counted
from headstart.data.quarantine import cannot_be_interpreted, too_many
from headstart.data.sources.learnable import refuse_unlearnable
from headstart.data.sources.similar import similar_classes
from headstart.data.sources.sorted_out import SortedOut
from headstart.data.sources.written import Labels, Options, Written, classes_to_learn
from headstart.errors import DataError
from headstart.images.address import normal
from headstart.packed import Packed, same_names, values_of
from headstart.records import Candidate, Listing


def listing_of(labels: Labels, val: Labels | None, options: Options) -> Listing:
    """Read labels, combine those of the same photo, and report everything that is wrong with them.

    Args:
        labels: The labels of all photos.
        val: The labels of the validation photos, if they are in another place.
        options: How labels are read.

    Raises:
        DataError: The labels cannot be used; the message lists every problem.
    """
    sources = [labels] if val is None else [labels, val]
    sorted_out = _sorted_out(labels, val, options)
    found = sum(each.found for each in sources)
    problems = _of_structure(sources)
    num_labels = len(sorted_out.candidates) + len(sorted_out.quarantined)  # as when photos have been read
    problems += too_many(
        sorted_out.quarantined, num_labels, options.allow_quarantined, "have labels that cannot be used"
    )
    problems += sorted_out.several(found)
    if problems:
        raise DataError("\n".join(problems))

    candidates = sorted_out.candidates
    refuse_unlearnable(candidates, labels, sorted_out, options)
    without_label = [path for each in sources for path in each.ignored]
    notes = [
        *(note for each in sources for note in each.notes),
        *_remarks(labels, candidates, without_label),
        *_single(labels, candidates, options),
        *sorted_out.notes(),
        *similar_classes(candidates),
    ]
    return Listing(
        root=labels.root,
        candidates=candidates,
        class_names=classes_to_learn(candidates),
        ignored=(*sorted_out.ignored, *without_label),
        without_class=(),
        found=found,
        task=labels.task,
        targets=labels.targets,
        quarantined=tuple(sorted_out.quarantined),
        notes=tuple(dict.fromkeys(notes)),
        form="; validation photos: ".join(each.form for each in sources),
    )


def _sorted_out(labels: Labels, val: Labels | None, options: Options) -> SortedOut:
    """Read all labels and decide for each photo whether it is used."""
    sorted_out = SortedOut(options.boxes)
    if val is None:
        _sort_out(sorted_out, labels, None)
        return sorted_out
    _sort_out(sorted_out, labels, "train")
    if any(candidate.split == "val" for candidate in sorted_out.candidates):
        labels.errors.append(
            f"{labels.root!r}: there are two sets of validation photos: its own and {val.root!r}. Leave "
            f"one out."
        )
    _sort_out(sorted_out, val, "val")
    return sorted_out


def _sort_out(sorted_out: SortedOut, labels: Labels, own_split: str | None) -> None:
    written = Packed(Written, labels.written)
    names = map(normal, written.column("path"))
    for rows in same_names(names, lambda row: normal(written[row].path)):
        sorted_out.add([written[row] for row in rows], labels, own_split)


def _remarks(labels: Labels, candidates: Sequence[Candidate], without_label: Sequence[str]) -> Iterator[str]:
    """Yield notes about usable labels that may contain a mistake."""
    names = Counter(values_of(candidates, "class_name")) if tasks.of(labels.task).has_class else Counter()
    if names and _are_measured(names):
        yield (
            "All classes are numbers with decimals, each of them a class of its own. To predict numbers, "
            "name their column: --target NAME"
        )
    if several := {name: number for name, number in names.items() if "|" in name}:
        yield (
            f"{counted(sum(several.values()), 'photo')} with '|' in the name of the class, such as "
            f"{next(iter(several))!r}. If that separates several labels: --task multilabel"
        )
    if without_label:
        yield f"{len(without_label)} photos have no label and are ignored, such as {without_label[0]!r}."


def _single(labels: Labels, candidates: Sequence[Candidate], options: Options) -> Iterator[str]:
    """Yield a note if every photo has exactly one of several possible labels, unless the user chose so."""
    if options.is_open and tasks.of(labels.task).has_labels and all(len(c.labels) == 1 for c in candidates):
        yield (
            "Each photo has exactly one label. If that holds for all photos, learn one class per photo: "
            "--task classification, for a table with --label-column NAME"
        )


def _are_measured(class_names: Iterable[str]) -> bool:
    """Return whether class names look like measured values rather than counts or numbered classes."""
    try:
        values = [float(name) for name in class_names]  # all of them, for a set has no order
    except ValueError:
        return False
    return not all(value.is_integer() for value in values)


def _of_structure(sources: Sequence[Labels]) -> list[str]:
    errors = [error for each in sources for error in each.errors]
    return [cannot_be_interpreted(errors)] if errors else []
