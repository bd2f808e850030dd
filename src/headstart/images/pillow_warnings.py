"""Suppresses Pillow's warnings while a photo is decoded, in one thread only."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, cast


class _WhileDecoding(threading.local):
    """Message pattern of a warnings filter that matches only in threads that are decoding."""

    active = False

    def match(self, message: str) -> bool:
        return self.active


_while_decoding: Final = _WhileDecoding()

# Both match warnings of any module; there are two so that one can take the other's place without a gap.
_WARNINGS_FILTERS: Final = (
    ("ignore", _while_decoding, Warning, None, 0),
    ("ignore", _while_decoding, Warning, re.compile(""), 0),
)

_warnings_lock: Final = threading.Lock()


@contextmanager
def pillow_warnings_off() -> Iterator[None]:
    """Suppress Pillow's warnings in this thread only.

    They concern metadata that is not used (a damaged EXIF block, a wrong APNG header); problems with pixels
    raise exceptions. ``warnings.catch_warnings`` replaces a list that all threads share, so one thread could
    turn off another's warnings, even permanently. A permanent filter that matches only in threads that ask
    for it has no such race.
    """
    _put_filter_first(cast("list[object]", warnings.filters))
    _while_decoding.active = True
    try:
        yield
    finally:
        _while_decoding.active = False


def _put_filter_first(filters: list[object]) -> None:
    """Move our filter before filters that other libraries have added.

    The new filter is inserted before the old one is removed, because other threads may be decoding.
    """
    if filters and filters[0] in _WARNINGS_FILTERS:
        return
    with _warnings_lock:
        old = [each for each in _WARNINGS_FILTERS if each in filters]
        new = next((each for each in _WARNINGS_FILTERS if each not in old), _WARNINGS_FILTERS[0])
        filters.insert(0, new)
        for each in old:
            with suppress(ValueError):
                filters.remove(each)
