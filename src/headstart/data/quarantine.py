"""Quarantine for photos with wrong labels or damaged files: its limit, and messages about it.

A label file that cannot be interpreted safely (a row with too many cells, an unknown split) is always an
error. A single wrong label (empty, a box without area, a missing photo) puts its photo into quarantine, and
more than a small fraction of these is an error too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from headstart.reasons import by_reason, place_and_reason
from headstart.records import Quarantined

QUARANTINE_FRACTION: Final = 0.01

QUARANTINE_FILES: Final = 5
"""A run stops if more photos are in quarantine than both limits allow, unless the user sets a fraction."""

NO_SUCH_PHOTO: Final = "no such photo"

CANNOT_READ: Final = "cannot be read"

MOST_NAMED: Final = 20  # in one error message

ALL_OF_THEM: Final = (
    "To write all of them into a file: headstart check DATA --allow-quarantined 1 --out findings.csv"
)


def too_many(
    quarantined: Sequence[Quarantined], num_photos: int, allowed: float | None, what: str
) -> list[str]:
    """Return the lines of a message about photos in quarantine if there are too many, else none.

    Args:
        quarantined: The photos.
        num_photos: Total number of photos.
        allowed: Fraction of the photos that may be in quarantine; None for the default limits.
        what: What is wrong with them, such as ``CANNOT_READ``.
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
        advice = "Repair them."
        if what != CANNOT_READ:
            advice = "Repair them; if another column or option was meant, "
            advice += "docs/reference/data.md shows all of them."
        if all(NO_SUCH_PHOTO in photo.reason for photo in quarantined):
            advice = (
                "Relative paths start at the folder of the table or annotations. Name the folder in which "
                "the photos are found by name: --images FOLDER. If another column names them: --image-column "
                "NAME"
            )
    return [
        f"{num_failed} of {num_photos} photos ({num_failed / num_photos:.1%}) {what}, more than {limit}. "
        f"{advice}",
        *named(quarantined, can_check=num_failed < num_photos),
    ]


def named(quarantined: Sequence[Quarantined], *, can_check: bool = False) -> list[str]:
    """Return a line for each kind of reason, with the first photos.

    Args:
        quarantined: The photos.
        can_check: Whether ``headstart check`` can list them all, as a photo of each class can be used.
    """
    # Several rows of a table may be about one photo.
    reasons = dict.fromkeys((repr(photo.path), photo.reason) for photo in quarantined)
    lines = by_reason(reasons, MOST_NAMED)
    if can_check and len(reasons) > len(lines):
        lines.append(ALL_OF_THEM)
    return [f"  {line}" for line in lines]


def cannot_be_interpreted(errors: Sequence[str]) -> str:
    """Return the message about entries of label files, with a line for each kind of error.

    Args:
        errors: At least one, each with its place before the first colon.
    """
    if len(errors) == 1:
        return errors[0]
    lines = by_reason(map(place_and_reason, errors), MOST_NAMED, noun="entries")
    return "\n".join([f"{len(errors):,} entries cannot be interpreted:", *lines])
