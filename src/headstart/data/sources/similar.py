"""Detects classes that may be the same class in different spellings."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from headstart.columns import counted
from headstart.records import Candidate

_MOST_NAMED: Final = 10


def similar_classes(candidates: Iterable[Candidate]) -> list[str]:
    """Return a warning about classes that differ only in case, spaces, hyphens or underscores, with photos.

    They stay separate, because only the user knows whether they are meant to be the same.
    """
    counts: Counter[str] = Counter()
    first_photo: dict[str, str] = {}
    for candidate in candidates:
        for name in (candidate.class_name, *candidate.labels):
            if name:
                counts[name] += 1
                first_photo.setdefault(name, candidate.path)
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts):
        alike[plain_name(name)].append(name)
    groups = [names for names in alike.values() if len(names) > 1]
    if not groups:
        return []
    shown = "; ".join(
        ", ".join(
            f"{name!r} ({counted(counts[name], 'photo')}, such as {first_photo[name]!r})" for name in names
        )
        for names in groups[:_MOST_NAMED]
    )
    more = f"; and {len(groups) - _MOST_NAMED} more groups" if len(groups) > _MOST_NAMED else ""
    return [
        "Warning: classes whose names differ only in case, spaces, hyphens or underscores are learned as "
        f"different classes: {shown}{more}. If they are one, give them one name."
    ]


def plain_name(name: str) -> str:
    """Return a name without the differences that are ignored: case, spaces, hyphens and underscores."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return re.sub(r"[\s_\-]+", "", plain) or name
