"""The size of messages: no value is longer than a line of a terminal, and no message longer than a screen."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

VALUE_CHARACTERS: Final = 160
"""Most characters of a value in a message: a path, a text in quotes, numbers in brackets."""

PATH_CHARACTERS: Final = 400
"""Most characters of a path outside quotes, which somebody may have to type or to delete."""

LINE_CHARACTERS: Final = 1200
"""Most characters of a line of a message: several sentences with values, or a list of allowed names."""

MOST_LINES: Final = 40
"""Most lines of a message."""

_QUOTED: Final = re.compile(r"(?<![\w'\"])('(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\")(?!\w)")
_BRACKETS: Final = re.compile(r"\[[^\[\]\n]*\]|\{[^{}\n]*\}")
_WORD: Final = re.compile(rf"[^\s'\"\[\]]{{{VALUE_CHARACTERS + 1},}}")
_PASSWORD: Final = re.compile(r"(?<=://)[^\s/?#'\"@:]*:[^\s/?#'\"]*@")
_SIGNATURE: Final = re.compile(
    r"([?&;](?:[\w.-]*(?:signature|credential|token|secret|password)|sig|key|api_?key|auth)=)[^\s&;#'\"]*[^\s&;#'\":,.)]",
    re.IGNORECASE,
)


def fitted(message: str) -> str:
    """Return a message with long values shortened in the middle, and without the lines after a screenful.

    Passwords and signatures in addresses are hidden.

    Every error's text passes through here, so that a cell of ten thousand characters, or the name of a file
    in a wrong place, does not hide what the message says about it.
    """
    message = without_secrets(message)
    if len(message) <= VALUE_CHARACTERS:
        return message
    lines = message.split("\n")
    kept = [_fitted_line(line) for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        kept.append(f"... and {len(lines) - MOST_LINES:,} more lines")
    return "\n".join(kept)


def without_password(address: str) -> str:
    """Return an address with ``***`` in place of a user and password; the same address if it has none."""
    return _PASSWORD.sub("***@", address)


def without_secrets(text: str) -> str:
    """Return a text with ``***`` in place of passwords, tokens and signatures in addresses."""
    return _SIGNATURE.sub(r"\1***", without_password(text)) if "://" in text else text


def shortened(value: str, most: int = VALUE_CHARACTERS) -> str:
    """Return a value of at most about ``most`` characters: its beginning, its length, and its end."""
    if len(value) <= most:
        return value
    middle = f"… ({len(value):,} characters) …"
    room = max(2, most - len(middle))
    return value[: room - room // 3] + middle + value[-(room // 3) :]


def screenful(lines: Iterable[str], most: int, rest: str = "") -> list[str]:
    """Return the first lines, and one with the number of the others.

    Args:
        lines: All lines.
        most: Number of lines to keep.
        rest: Where the others can be read, in words after the number, such as ``see quarantine.csv``.
    """
    found = list(lines)
    if len(found) <= most:
        return found
    return [*found[:most], f"... and {len(found) - most:,} more{rest and f': {rest}'}"]


def _shortened_word(match: re.Match[str]) -> str:
    is_path = "/" in match[0] or "\\" in match[0]
    return shortened(match[0], PATH_CHARACTERS if is_path else VALUE_CHARACTERS)


def _fitted_line(line: str) -> str:
    if len(line) <= VALUE_CHARACTERS:
        return line
    for pattern in (_QUOTED, _BRACKETS):
        line = pattern.sub(lambda match: shortened(match[0]), line)
    line = _WORD.sub(_shortened_word, line)
    return shortened(line, LINE_CHARACTERS)
