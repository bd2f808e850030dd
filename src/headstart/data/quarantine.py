"""Photos in quarantine, whose labels or bytes are wrong: how many there may be, and how they are named.

What cannot be read as it is meant (a row with too many cells, an unknown split) is an error, always. A label
that is wrong by itself (an empty one, a box without an area, a photo that is not there) puts its photo into
quarantine; more than a small share of those is an error too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from headstart.records import Quarantined

QUARANTINE_FRACTION: Final = 0.01

QUARANTINE_FILES: Final = 5
"""More photos in quarantine than both of these stop a run, unless the user allows a fraction."""

NO_SUCH_PHOTO: Final = "no such photo"

MOST_NAMED: Final = 20  # in one error message


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
    return [*lines[:MOST_NAMED], *and_more(lines)]


def and_more(lines: Sequence[object]) -> list[str]:
    """Return a line that counts those of many that a message does not name; nothing for a few."""
    return [f"  ... and {len(lines) - MOST_NAMED} more"] if len(lines) > MOST_NAMED else []
