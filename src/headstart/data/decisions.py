"""What the owner of the photos has decided about findings, in the column ``decision`` of a ``findings.csv``.

``drop`` leaves a photo out, ``label NAME`` gives it another label, and ``keep`` accepts a finding, which is
then not reported again. The photos and their labels are never changed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from headstart import tasks
from headstart.columns import counted, listed
from headstart.config.checking import nearest_value
from headstart.data.quarantine import MOST_NAMED
from headstart.data.sources.table_file import open_table
from headstart.data.sources.written import classes_by_use, classes_of
from headstart.data.text import path_below
from headstart.errors import DataError, did_you_mean
from headstart.packed import Packed
from headstart.reasons import by_reason, place_and_reason
from headstart.records import Candidate, Listing

COLUMNS: Final = ("path", "kind", "severity", "other_path", "suggestion", "decision", "message")
"""Columns of a ``findings.csv``."""

_NEEDED: Final = ("path", "kind", "other_path", "decision")

_OF_PHOTOS: Final = frozenset({"leak", "copy", "near-duplicate", "wrong-label", "faulty-photo"})
_ALLOWED: Final = "Allowed are drop, keep and label NAME; leave it empty to decide nothing."
_MOST_NAMED: Final = 5
_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")  # how Python reads bytes that are not UTF-8


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions about the photos of a data set.

    Attributes:
        source: The file that they come from.
        dropped: Paths of photos that are left out, as in ``answers.csv``, each with its line in the file.
        labels: New label of each relabelled photo by its path, with its line in the file.
        kept: Findings that are accepted: kind, path, other path.
        rows: The rows with a decision, by column.
        bytes_of: Function that returns a path with the bytes that it has in the file; None if its encoding is
            certain.
    """

    source: str
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    kept: frozenset[tuple[str, str, str]] = frozenset()
    rows: tuple[Mapping[str, str], ...] = ()
    bytes_of: Callable[[str], str] | None = None

    def keys(self, path: str, root: str) -> set[str]:
        """Return a path in all forms in which it may be in ``answers.csv``."""
        in_file = set() if self.bytes_of is None else {_plain(self.bytes_of(path), root)}
        return {_plain(path, root), *in_file}


NONE: Final = Decisions("")
"""No decisions."""


def read_decisions(path: str | os.PathLike[str] | None) -> Decisions:
    """Read the decisions in a ``findings.csv``, as ``headstart check`` writes it or a spreadsheet saves it.

    Args:
        path: The file; None for no decisions.

    Raises:
        DataError: The file cannot be read, or decisions are wrong or contradict each other; the message lists
            them with their lines.
    """
    if path is None:
        return NONE
    name = os.fsdecode(path)
    if not os.path.isfile(name):  # noqa: PTH113  # False for a name that is too long
        raise DataError(f"There is no file {name!r}, which decisions names. headstart check --out writes it.")
    table = open_table(name, "path")
    if missing := [column for column in _NEEDED if column not in table.columns]:
        raise DataError(
            f"{name!r} has no column {', '.join(map(repr, missing))}, so it is not a findings.csv. Name the "
            f"file that headstart check --out has written."
        )
    dropped: dict[str, int] = {}
    labels: dict[str, tuple[str, int]] = {}
    kept: set[tuple[str, str, str]] = set()
    rows: list[dict[str, str]] = []
    problems: list[str] = []
    for line, cells in table.rows([each for each in COLUMNS if each in table.columns], problems):
        row = {column: str(cells.get(column) or "") for column in COLUMNS}
        photo, kind, other, text = (row[column] for column in _NEEDED)
        if text.strip():
            rows.append(row)
        word, _, label = text.strip().partition(" ")
        word = word.lower()
        where = f"{name}, line {line}: {photo!r}"
        if word in ("drop", "label") and kind and kind not in _OF_PHOTOS:
            problems.append(f"{where} is no photo, so it can only be kept: write keep, or leave it empty.")
        elif word == "drop" and not label:
            dropped[photo] = line
        elif word == "keep" and not label:
            kept.add((kind, photo, other))
            if table.bytes_of is not None:
                kept.add((kind, table.bytes_of(photo), table.bytes_of(other)))
        elif word == "label" and label.strip():
            label = label.strip()
            if labels.setdefault(photo, (label, line))[0] != label:
                problems.append(f"{where} also has the decision 'label {labels[photo][0]}'. Leave one.")
        elif word:
            nearest = nearest_value(word, ("drop", "keep", "label"))
            problems.append(f"{where} has the decision {text.strip()!r}.{nearest} {_ALLOWED}")
        if photo in dropped and photo in labels:
            problems.append(f"{where} is both dropped and relabelled. Leave one of these decisions.")
    if problems:
        raise DataError("\n".join(by_reason(map(place_and_reason, problems), MOST_NAMED, noun="rows")))
    return Decisions(name, dropped, labels, frozenset(kept), tuple(rows), table.bytes_of)


def apply_decisions(listing: Listing, decisions: Decisions) -> Listing:
    """Leave out and relabel photos of a listing as decided, and count both in a note.

    Args:
        listing: Photos, none of them read.
        decisions: Their paths are relative to the data folder, as in ``answers.csv``.

    Raises:
        DataError: A new label does not fit the task or is not a class of the data.
    """
    known = sorted({name for candidate in listing.candidates for name in classes_of(candidate)})
    root = listing.root
    drops = {key: path for path in decisions.dropped for key in decisions.keys(path, root)}
    labels = {key: path for path in decisions.labels for key in decisions.keys(path, root)}
    candidates = Packed(Candidate)
    dropped: list[str] = []
    problems: list[str] = []
    used: set[str] = set()
    num_relabelled = 0
    for candidate in listing.candidates:
        path = path_below(candidate.path, listing.root)
        if path in drops:
            used.add(drops[path])
            dropped.append(candidate.path)
            continue
        if path in labels:
            used.add(labels[path])
            text, line = decisions.labels[labels[path]]
            try:
                candidate = _relabelled(candidate, text, listing, known)
            except ValueError as error:
                problems.append(f"{decisions.source}, line {line}: {path!r}: label {text!r} {error}")
            num_relabelled += 1
        candidates.append(candidate)
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))
    if not candidates:
        raise DataError(f"{decisions.source} drops all photos, so none is left.")
    notes = _notes(decisions, len(dropped), num_relabelled, used)
    return dataclasses.replace(
        listing,
        candidates=candidates,
        class_names=_classes_left(listing, candidates, decisions.source),
        ignored=(*listing.ignored, *dropped),
        notes=(*listing.notes, *notes),
    )


def _plain(path: str, root: str) -> str:
    """Return a path as it is in ``answers.csv``; it may be written in full, or with backslashes."""
    below = path_below(path, root)
    if below == path:
        below = path_below(path.replace("\\", "/"), root)
    return below.removeprefix("./")


def _classes_left(listing: Listing, candidates: Sequence[Candidate], source: str) -> tuple[str, ...]:
    """Return the classes of the photos that are left to learn from.

    Raises:
        DataError: A class is left in another split only, or one class is left of several.
    """
    names, others = classes_by_use(candidates)
    had, names = set(listing.class_names), names or others
    if gone := sorted(others & had - names):
        raise DataError(
            f"After the decisions of {source}, no training photos of {', '.join(map(repr, gone))} are left, "
            f"but validation or test photos are. Drop or relabel these, too, or keep some training photos."
        )
    if len(had) > 1 and len(names) == 1 and tasks.of(listing.task).has_class:
        raise DataError(
            f"After the decisions of {source}, {next(iter(names))!r} is the only class left, but a model "
            f"needs at least two classes."
        )
    return tuple(sorted(names))


def _relabelled(candidate: Candidate, text: str, listing: Listing, known: list[str]) -> Candidate:
    """Return a photo with another label.

    Raises:
        ValueError: The label does not fit; the message follows the label.
    """
    task = tasks.of(listing.task)
    if task.has_box:
        raise ValueError("cannot be used, because a box needs its sides. Use drop or keep")
    if task.has_numbers:
        numbers = tuple(_number(part) for part in text.split())
        if len(numbers) != len(listing.targets):
            raise ValueError(f"must be {counted(len(listing.targets), 'number')}, separated by spaces")
        return dataclasses.replace(candidate, numbers=numbers)
    names = _names(text) if task.has_labels else [text]
    for name in names:
        if name not in known:
            raise ValueError(f"is not a class of the data.{did_you_mean(name, known)}")
    if task.has_labels:
        return dataclasses.replace(candidate, labels=tuple(sorted(set(names))))
    return dataclasses.replace(candidate, class_name=text)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("is not a number")
    return number


def _names(text: str) -> list[str]:
    """Return the classes of a photo with several labels: a JSON list as in ``photos.csv``, or as in a|b."""
    if not text.startswith("["):
        return [name.strip() for name in text.split("|") if name.strip()]
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError('must be a list of classes, as in ["cat", "dog"] or cat|dog')
    return names


def _notes(decisions: Decisions, num_dropped: int, num_relabelled: int, used: set[str]) -> list[str]:
    """Return notes about what has been done, and about decisions that match no photo.

    Raises:
        DataError: None of them matches.
    """
    lines = dict(decisions.dropped) | {path: line for path, (_, line) in decisions.labels.items()}
    notes = [
        f"Decisions of {decisions.source}: {counted(num_dropped, 'photo')} dropped, {num_relabelled:,} "
        f"relabelled"
    ]
    unknown = [
        f"{path!r} (line {lines[path]})" for path in sorted(lines.keys() - used, key=lines.__getitem__)
    ]
    if not unknown:
        return notes
    are = "is about a path that is no photo" if len(unknown) == 1 else "are about paths that are no photos"
    text = (
        f"{counted(len(unknown), 'decision')} of {decisions.source} {are} of these data: "
        f"{listed(unknown, _MOST_NAMED)}"
    )
    if any(_NOT_UTF8.search(path) for path in lines.keys() - used):
        text += ". The file is not in UTF-8: spreadsheets have a format CSV UTF-8 to save it in"
    if not used:
        raise DataError(
            f"{text}. Paths are below the data folder, as in answers.csv. Name the data that were checked."
        )
    return [*notes, f"Warning: {text}"]
