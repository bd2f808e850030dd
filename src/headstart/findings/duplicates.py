"""Photos that occur more than once: copies, near-duplicates, and those of them that leak between splits."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from headstart.findings.finding import Finding, Severity
from headstart.findings.near import groups_of
from headstart.packed import same_names, values_of
from headstart.records import Record


@dataclass(frozen=True, slots=True)
class LabelledPhoto:
    """What is compared of a photo.

    Attributes:
        path: Its path, as in ``answers.csv``.
        label: Its label as text.
        split: ``"train"``, ``"val"`` or ``"test"``; empty if it has not been split.
        is_exact: Whether its label is a number, which may differ between near-duplicates.
    """

    path: str
    label: str
    split: str
    is_exact: bool = False


def copies_of(records: Sequence[Record]) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows with the same bytes: the first photo and each of its copies."""
    pairs = [
        (row, rows[0])
        for rows in same_names((record.sha256 for record in records), lambda row: records[row].sha256)
        for row in rows[1:]
    ]
    for copy, original in sorted(pairs):
        yield original, copy


def duplicates(
    photos: Sequence[LabelledPhoto],
    copies: Iterable[tuple[int, int]],
    near: Iterable[tuple[int, int]],
) -> Iterator[Finding]:
    """Yield a finding for each photo that repeats another one.

    A validation or test photo is a leak if a chain of copies and near-duplicates connects it with a training
    photo: its score says little about new photos. Of each group of photos that repeat each other within one
    split, one is not reported.

    Args:
        photos: The photos.
        copies: Pairs of rows with the same bytes.
        near: Pairs of rows that show nearly the same.
    """
    copies, near = list(copies), list(near)
    groups = groups_of([*copies, *near], len(photos)).tolist()
    sides = _sides(photos)
    trained = array("q", [-1]) * len(photos)  # the first training photo of each group
    partners: dict[int, tuple[int, bool]] = {}  # a training photo that a photo is directly compared with
    for row, group in enumerate(groups):
        if trained[group] < 0 and sides[row] == "train":
            trained[group] = row
    for is_near, pairs in ((False, copies), (True, near)):
        for pair in pairs:
            for one, other in (pair, pair[::-1]):
                if sides[other] == "train":
                    partners.setdefault(one, (other, is_near))
    for row, group in enumerate(groups):
        if trained[group] >= 0 and sides[row] != "train":
            partner, is_near = partners.get(row, (trained[group], True))
            yield _leak(photos[row], photos[partner], is_near=is_near)
    members: dict[int, list[int]] = {}
    for original, copy in copies:
        members.setdefault(original, [original]).append(copy)
    yield from _within(photos, members.values(), near, groups)


def _within(
    photos: Sequence[LabelledPhoto],
    copies: Iterable[Sequence[int]],
    near: Iterable[tuple[int, int]],
    groups: Sequence[int],
) -> Iterator[Finding]:
    """Yield a finding for each photo that repeats another one of its split, directly or by way of others."""
    group, sides = list(range(len(photos))), _sides(photos)
    for rows in copies:
        first_of: dict[str, int] = {}
        for row in rows:
            if (original := first_of.setdefault(sides[row], row)) != row:
                group[row] = original
                yield _repeated(photos[row], photos[original], is_near=False)
    firsts: dict[str, array[int]] = {}  # the first photo of each group, by side
    for row, side in enumerate(sides):
        of_side = firsts[side] = firsts.get(side) or array("q", [-1]) * len(photos)
        if of_side[groups[row]] < 0:
            of_side[groups[row]] = row
    through_others = ((firsts[side][groups[row]], row) for row, side in enumerate(sides))
    for one, other in itertools.chain(near, through_others):
        a, b = sorted((_root(group, one), _root(group, other)))
        if a != b and sides[one] == sides[other]:
            group[b] = a
            yield _repeated(photos[other], photos[one], is_near=True)


def _sides(photos: Sequence[LabelledPhoto]) -> list[str]:
    """Return the splits of photos; those that have not been split are training photos."""
    return [split or "train" for split in values_of(photos, "split")]


def _root(group: list[int], row: int) -> int:
    while group[row] != row:
        group[row] = row = group[group[row]]
    return row


def _leak(held_out: LabelledPhoto, trained: LabelledPhoto, *, is_near: bool) -> Finding:
    contradiction = _contradiction(held_out, trained, is_near=is_near)
    severity: Severity = "error" if contradiction else "warning"
    what = "nearly the same as" if is_near else "a copy of"
    message = f"{held_out.split} photo is {what} a training photo{contradiction}"
    return Finding(held_out.path, "leak", severity, message, trained.path, "drop")


def _repeated(photo: LabelledPhoto, original: LabelledPhoto, *, is_near: bool) -> Finding:
    contradiction = _contradiction(photo, original, is_near=is_near)
    if is_near:
        severity: Severity = "warning" if contradiction else "note"
        message = f"nearly the same photo{contradiction}"
        return Finding(photo.path, "near-duplicate", severity, message, original.path)
    severity, suggestion = ("error", "") if contradiction else ("note", "drop")
    message = f"the same photo, byte for byte{contradiction}"
    return Finding(photo.path, "copy", severity, message, original.path, suggestion)


def _contradiction(photo: LabelledPhoto, original: LabelledPhoto, *, is_near: bool) -> str:
    """Return how the labels of two photos contradict each other, as the rest of a sentence; empty if not."""
    if photo.label == original.label or (is_near and photo.is_exact):
        return ""
    return f", but with another label: {photo.label} instead of {original.label}"
