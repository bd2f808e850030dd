"""How the data were understood, in one screen, before any photo is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.columns import counted, listed
from headstart.data.sources.written import classes_of
from headstart.data.split import likely_counts
from headstart.images.find import is_system
from headstart.messages import screenful, shortened
from headstart.reasons import by_reason
from headstart.records import Listing

_MOST_CLASSES: Final = 20
_MOST_NOTES: Final = 8
_MOST_QUARANTINED: Final = 5
_MOST_OF_A_NAME: Final = 40  # characters of a class or column


def understood(
    listing: Listing, val: float | str, test: float, *, task_is_given: bool
) -> Iterator[tuple[str, str]]:
    """Yield lines as pairs of a name, empty where a line continues, and a text.

    Args:
        listing: The photos, listed and not read.
        val: The fraction held out for validation, or where the validation photos are.
        test: The fraction held out for the test.
        task_is_given: Whether the user chose the task.
    """
    num_used = len(listing.candidates)
    found = f"{listing.found:,} entries found, " if listing.found != num_used else ""
    yield "data", f"{listing.form}: {found}{counted(num_used, 'photo')} to use"
    chosen = "as asked" if task_is_given else "by the kind of labels; --task chooses another"
    yield "task", f"{listing.task} ({chosen})"
    yield _labels(listing)
    yield "splits", _splits(listing, val, test)
    groups = {each.group for each in listing.candidates if each.group is not None}
    yield "groups", f"{len(groups):,}, each on one side of a split" if groups else "none (--group-by)"
    yield from _left_out(listing)
    for number, note in enumerate(screenful(listing.notes, _MOST_NOTES)):
        yield ("" if number else "notes"), note


def _labels(listing: Listing) -> tuple[str, str]:
    """Return the classes with their numbers of photos, or the range of each number."""
    if listing.targets:
        columns = zip(*(each.numbers for each in listing.candidates), strict=True)
        ranges = [
            f"{shortened(name, _MOST_OF_A_NAME)} from {min(values):g} to {max(values):g}"
            for name, values in zip(listing.targets, columns, strict=True)
        ]
        return "numbers", listed(ranges, _MOST_CLASSES)
    counts = Counter(name for each in listing.candidates for name in classes_of(each))
    if not counts:
        return "classes", f"none; {counted(len(listing.candidates), 'box', 'boxes')}"
    shown = [
        f"{shortened(name, _MOST_OF_A_NAME)} {number:,}"
        for name, number in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    ]
    text = f"{len(counts):,}: {listed(shown, _MOST_CLASSES)}"
    if tasks.of(listing.task).has_labels:
        without = sum(not each.labels for each in listing.candidates)
        text += f"; {counted(without, 'photo')} without any" if without else ""
    return "classes", text


def _splits(listing: Listing, val: float | str, test: float) -> str:
    """Return the splits that the data give, and what is held out."""
    given = Counter(each.split or "" for each in listing.candidates)
    shown = [f"{given[name]:,} {name}" for name in ("train", "val", "test") if given[name]]
    text = f"given: {', '.join(shown)}" if shown else "none given"
    if shown and given[""]:
        text += f", {given['']:,} without a split, which are for training"
    is_fraction = isinstance(val, float)
    held_out = (
        [f"{val:.0%} held out for validation (--val)"] if is_fraction and val and not given["val"] else []
    )
    held_out += [f"{test:.0%} for the test (--test)"] if test and not given["test"] else []
    if not held_out:
        return text
    counts = likely_counts(listing.candidates, val if isinstance(val, float) else 0.0, test)
    about = ", ".join(
        f"{number:,} to {what}" for number, what in zip(counts, ("train", "validate", "test"), strict=True)
    )
    return f"{text}; {' and '.join(held_out)}: about {about}"


def _left_out(listing: Listing) -> Iterator[tuple[str, str]]:
    """Yield what is not used, and why."""
    lines = []
    if listing.quarantined:
        lines.append(f"{counted(len(listing.quarantined), 'label')} quarantined:")
        reasons = ((repr(each.path), each.reason) for each in listing.quarantined)
        rest = "the run writes all of them to quarantine.csv"
        lines += [f"  {each}" for each in by_reason(reasons, _MOST_QUARANTINED, rest)]
    without_class = set(listing.without_class)
    if without_class:
        lines.append(
            f"{counted(len(without_class), 'photo')} in no class folder, such as {min(without_class)!r}"
        )
    others = [path for path in listing.ignored if path not in without_class]
    if others:
        seen = [path for path in others if not _is_hidden(path, listing.root)]
        hidden = len(others) - len(seen)
        suffixes = Counter(Path(path).suffix.lower() or "no suffix" for path in seen)
        kinds = [f"{number:,} {suffix}" for suffix, number in suffixes.most_common()]
        kinds += [f"{hidden:,} hidden"] if hidden else []
        why = "not photos" if not _has_label_file(listing) else "without a usable label, or repeated"
        lines.append(f"{counted(len(others), 'file')} ignored, {why}: {listed(kinds, 6)}")
    for number, text in enumerate(lines or ["nothing"]):
        yield ("" if number else "left out"), text


def _is_hidden(path: str, root: str) -> bool:
    """Return whether a file is hidden or of the system, or in a folder that is."""
    return any(map(is_system, Path(path.removeprefix(root)).parts))


def _has_label_file(listing: Listing) -> bool:
    """Return whether labels come from a file, so that ignored entries are photos or rows, not other files."""
    return any(each.source for each in listing.candidates)
