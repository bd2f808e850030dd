"""Groups what is wrong with many photos by its kind, so that no sentence is printed twenty times over."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from headstart.messages import fitted, screenful

NAMED: Final = 3
"""Number of names that a line about a kind contains."""

_NAME_CHARACTERS: Final = 80  # of each of several names in a line
_VARYING: Final = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|\d[\d.,]*")


class Reasons:
    """Reasons why photos, or other things, cannot be used, counted by their kind.

    Reasons are of one kind if they differ only in numbers, texts in quotes, and the name of their photo.
    Only the first of a kind are kept, so that there may be millions.

    Args:
        noun: What the reasons are about, in the plural.
    """

    def __init__(self, noun: str = "photos") -> None:
        self.total = 0
        self._noun = noun
        self._first: dict[str, list[tuple[str, str]]] = {}
        self._counts: dict[str, int] = {}

    def add(self, name: str, reason: str) -> None:
        """Add the reason why the thing of this name, which may be empty, cannot be used."""
        kind = _VARYING.sub("0", reason.replace(name, "0") if name else reason)
        first = self._first.setdefault(kind, [])
        if len(first) < NAMED:
            first.append((name, reason))
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self.total += 1

    def lines(self, most: int, rest: str = "") -> list[str]:
        """Return a line for each kind, the most frequent first.

        Two or three reasons that are not the same text have lines of their own.

        Args:
            most: Number of lines to keep.
            rest: Where everything can be read, as for ``messages.screenful``.
        """
        found = []
        for kind in sorted(self._counts, key=lambda each: -self._counts[each]):
            first, number = self._first[kind], self._counts[kind]
            if number == 1 or (number <= NAMED and len({reason for _, reason in first}) > 1):
                found += [f"{name}: {reason}" if name else reason for name, reason in first]
                continue
            names = [_end_of(name) for name, _ in first if name]
            last = ", ..." if number > len(names) else ""
            shown = f" ({', '.join(names)}{last})" if names else ""
            example = ", for example" if len({reason for _, reason in first}) > 1 else ""
            found.append(f"{number:,} {self._noun}{shown}{example}: {first[0][1]}")
        return [fitted(line) for line in screenful(found, most, rest)]


def _end_of(name: str) -> str:
    """Return a name, or its last characters, which tell paths of the same folder apart."""
    if len(name) <= _NAME_CHARACTERS:
        return name
    quote = name[0] if name[0] in "'\"" else ""
    return f"{quote}…{name[-_NAME_CHARACTERS:]}"


def place_and_reason(message: str) -> tuple[str, str]:
    """Return what is before and after the first colon, as in ``photos.csv, line 3: 2 cells, but ...``.

    The place is empty if there is no colon.
    """
    place, _, reason = message.partition(": ")
    return (place, reason) if reason else ("", message)


def by_reason(
    reasons: Iterable[tuple[str, str]], most: int, rest: str = "", noun: str = "photos"
) -> list[str]:
    """Return the lines of ``Reasons`` for pairs of a name and the reason why it cannot be used."""
    counted = Reasons(noun)
    for name, reason in reasons:
        counted.add(name, reason)
    return counted.lines(most, rest)
