"""Reads every photo once, and decides which are used and which are quarantined."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from headstart import tasks
from headstart.columns import counted, listed
from headstart.data.place import place_boxes
from headstart.data.quarantine import CANNOT_READ, named, too_many
from headstart.data.sources.written import classes_of
from headstart.data.text import path_below, reason_below
from headstart.environment import return_freed_memory
from headstart.errors import ConfigError, DataError, ImageError
from headstart.images.decode import Header, decode
from headstart.images.photo import Photo
from headstart.inference.runtime import map_in_order
from headstart.packed import Packed, same_names
from headstart.records import Candidate, Dataset, Listing, Quarantined, Record

_MOST_NOT_FINITE: Final = 10
_MOST_PAIRS: Final = 5  # of photos under two labels, in one message
CHECK_REDUCE_TO_PX: Final = 64  # whether a photo decodes does not depend on the scale; smaller is faster


@dataclass(frozen=True, slots=True)
class CheckedPhoto:
    """The result of reading a photo once.

    Attributes:
        sha256: SHA-256 of the file's bytes, lower-case hexadecimal; empty if they could not be read.
        reason: Why the photo cannot be used; None if it can.
        header: Its size and orientation, if boxes are predicted and a pass over features has read the photo.
        is_finite: Whether the network's features of the photo are finite; True if they are not computed.
    """

    sha256: str
    reason: str | None
    header: Header | None = None
    is_finite: bool = True


def not_finite_error(paths: Sequence[str]) -> DataError:
    """Return the error about photos for which the network's frozen part returns NaN or infinite numbers."""
    shown = listed(list(map(repr, paths)), _MOST_NOT_FINITE)
    return DataError(
        f"The features of {counted(len(paths), 'photo')} are not finite (NaN or infinite): {shown}. "
        "The network computes them before anything is trained. Remove the photos, for example if they show "
        "a single colour, or use another network: a division by the spread of a photo's values, a logarithm, "
        "or damaged weights are the usual causes."
    )


def check_photo(photo: Photo, reduce_to_px: int = CHECK_REDUCE_TO_PX) -> CheckedPhoto:
    """Read, hash and decode one photo. The result depends only on the photo."""
    digest = ""
    try:
        data = photo.content()
        digest = sha256(data).hexdigest()
        decode(data, path=photo.key, reduce_to_px=reduce_to_px)
    except ImageError as error:
        return CheckedPhoto(digest, error.reason)
    return CheckedPhoto(digest, None)


def check_images(
    listing: Listing,
    allow_quarantined: float | None = None,
    progress: Callable[[], object] | None = None,
    checks: Iterator[CheckedPhoto] | None = None,
) -> Dataset:
    """Read and decode every photo of a listing, and quarantine those that fail.

    If boxes are predicted, each record gets the size of its photo, and its box is transformed and clipped by
    ``place_boxes``. A photo whose box does not fit is quarantined, like a photo that cannot be decoded.

    Args:
        listing: The result of ``read_source``.
        allow_quarantined: Fraction of the photos that may fail, 0..1. By default, the limit is five photos or
            1 %, whichever is more, and no class may lose all its photos. If a fraction is given, a class may
            lose all its val or test photos, but never all its training photos, because the model would then
            lack a class that the user asked for.
        progress: Called once per photo, in this thread.
        checks: The result for each candidate, in order, if the photos are read elsewhere; by default they
            are read here.

    Raises:
        DataError: Features of some photos are not finite, or too many photos cannot be read. Losing all
            training photos of a class, or all photos of a split, is always an error.
        ConfigError: ``allow_quarantined`` is not a fraction.
    """
    if allow_quarantined is not None and not 0 <= allow_quarantined <= 1:
        raise ConfigError(f"allow_quarantined is {allow_quarantined!r}; it must be a fraction from 0 to 1.")
    refuse_missing_classes(listing, listing.class_names)
    if checks is None:
        checks = map_in_order(check_photo, (candidate.photo for candidate in listing.candidates))
    records, unreadable, headers = _readable(listing, checks, progress)
    return_freed_memory()
    quarantined = [*listing.quarantined, *unreadable]
    notes = listing.notes
    if tasks.of(listing.task).has_box:
        candidates = {candidate.path: candidate for candidate in listing.candidates}
        records, done_to_boxes = place_boxes(records, candidates, quarantined, headers)
        notes = (*notes, *done_to_boxes)
    notes = (*notes, *_under_two_labels(records, listing))
    dataset = Dataset(
        root=listing.root,
        records=records if isinstance(records, Packed) else Packed(Record, records),
        class_names=listing.class_names,
        quarantined=tuple(quarantined),
        ignored=listing.ignored,
        found=listing.found,
        task=listing.task,
        targets=listing.targets,
        notes=notes,
    )
    if quarantined:
        _refuse_too_many(listing, dataset, allow_quarantined)
    return dataset


def _readable(
    listing: Listing, checks: Iterator[CheckedPhoto], progress: Callable[[], object] | None
) -> tuple[Sequence[Record], list[Quarantined], dict[str, Header]]:
    """Return the photos that can be read, the others, and the known headers by path.

    Raises:
        DataError: Features of some photos are not finite.
    """
    labels = {name: label for label, name in enumerate(listing.class_names)}
    records = Packed(Record, photos_of=listing.candidates)
    unreadable: list[Quarantined] = []
    headers: dict[str, Header] = {}
    not_finite: list[str] = []
    for candidate, photo in zip(listing.candidates, checks, strict=True):
        if not photo.is_finite:
            not_finite.append(candidate.path)
        if photo.header is not None:
            headers[candidate.path] = photo.header
        if photo.reason is None:
            records.append(record_of(candidate, labels, photo.sha256))
        else:
            unreadable.append(Quarantined(candidate.path, candidate.split, photo.reason))
        if progress is not None:
            progress()
    if not_finite:
        raise not_finite_error(not_finite)
    return records, unreadable, headers


def record_of(candidate: Candidate, labels: Mapping[str, int], sha256: str) -> Record:
    """Return the record of a photo, given the number of each class."""
    return Record(
        candidate.photo,
        labels[candidate.class_name] if candidate.class_name else 0,
        candidate.split,
        sha256,
        labels=tuple(sorted(labels[name] for name in candidate.labels)),
        numbers=candidate.numbers,
        box=candidate.box,
        group=candidate.group,
    )


def _under_two_labels(records: Sequence[Record], listing: Listing) -> list[str]:
    """Return warnings about identical photos with different labels, of which at least one is wrong."""

    def answer(record: Record) -> tuple[object, ...]:
        return record.label, record.labels, record.numbers, record.box

    def shown(record: Record) -> str:
        names = [listing.class_names[label] for label in record.labels]
        if _has_single_class(listing) and listing.class_names:
            names = [listing.class_names[record.label]]
        words = "|".join(names) or ", ".join(f"{number:g}" for number in record.numbers)
        if record.box is not None:  # copies of one class differ in their boxes
            edges = ", ".join(f"{edge:g}" for edge in record.box)
            words = f"{words}, box {edges}" if words else f"box {edges}"
        return f"{record.path!r} ({words})" if words else repr(record.path)

    by_content: list[dict[tuple[object, ...], Record]] = []
    for rows in same_names((record.sha256 for record in records), lambda row: records[row].sha256):
        if len(rows) > 1:
            by_content.append({})
            for record in map(records.__getitem__, rows):
                by_content[-1].setdefault(answer(record), record)
    twice = [list(each.values()) for each in by_content if len(each) > 1]
    if not twice:
        return []
    pairs = "; ".join(" and ".join(map(shown, each)) for each in twice[:_MOST_PAIRS])
    more = f"; and {len(twice) - _MOST_PAIRS} more" if len(twice) > _MOST_PAIRS else ""
    what = (
        "photos occur twice, byte for byte, with different labels"
        if len(twice) > 1
        else ("photo occurs twice, byte for byte, with different labels")
    )
    return [f"Warning: {len(twice)} {what}: {pairs}{more}. Remove the wrong ones."]


def refuse_missing_classes(listing: Listing, class_names: Sequence[str]) -> None:
    """Refuse photos without a class, if the task needs classes.

    Raises:
        DataError: There is such a photo; the message names the first.
    """
    if not _has_single_class(listing) or len(class_names) < 2:
        return
    missing = [each for each in listing.candidates if not each.class_name]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(listing.candidates)} photos have no class, where one of "
            f"{len(class_names)} is to be told: {missing[0].path!r}"
            f"{f' ({missing[0].source})' if missing[0].source else ''}. Label them, or leave them out."
        )


def _has_single_class(listing: Listing) -> bool:
    """Return whether each photo, or its box, has at most one class."""
    task = tasks.of(listing.task)
    return task.has_class or task.has_box


def quarantine_csv(dataset: Dataset) -> str:
    """Return a CSV with the columns path, split and reason, with one row per quarantined photo.

    Paths are relative to the data folder, as in ``photos.csv``; those of photos elsewhere are complete.
    Every value is quoted, so that names may contain line breaks. Names that are not UTF-8 are written as
    their bytes. The header is always present.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(["path", "split", "reason"])
    writer.writerows(
        [path_below(photo.path, dataset.root), photo.split or "", reason_below(photo.reason, dataset.root)]
        for photo in dataset.quarantined
    )
    return text.getvalue()


def _refuse_too_many(listing: Listing, dataset: Dataset, allow_quarantined: float | None) -> None:
    wrong_labels = listing.quarantined or tasks.of(listing.task).has_box
    cannot = "cannot be used" if wrong_labels else CANNOT_READ
    num_photos = len(listing.candidates) + len(listing.quarantined)
    of_all = too_many(dataset.quarantined, num_photos, allow_quarantined, cannot)[:1]
    problems = list(of_all)

    names = dataset.class_names
    there = Counter(
        (candidate.split, name) for candidate in listing.candidates for name in classes_of(candidate) or ("",)
    )
    left: Counter[tuple[str | None, str]] = Counter()
    for record in dataset.records:
        of_record = [names[label] for label in record.labels]
        if _has_single_class(listing) and names:
            of_record = [names[record.label]]
        left.update((record.split, name) for name in of_record or ("",))
    splits_left = {split for split, _ in left}
    can = cannot.removeprefix("cannot ")
    for split in sorted({split for split, _ in there} - splits_left, key=str):
        problems.append(f"None of the {split + ' ' if split else ''}photos can {can}.")
    for split, name in sorted(there.keys() - left.keys(), key=str):
        if split not in splits_left or not name:
            continue
        where = f" in {split}" if split else ""
        if split in (None, "train") or allow_quarantined is None:
            problems.append(
                f"None of the photos of class {name!r}{where} can {can}. Repair them or remove the "
                + ("class." if wrong_labels else "folder.")
            )
    if problems:
        can_check = problems == of_all
        raise DataError("\n".join([*problems, *named(dataset.quarantined, can_check=can_check)]))
