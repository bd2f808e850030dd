"""Pillow's warnings kept from the user while a photo is decoded, in one thread only."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, cast


class _WhileDecoding(threading.local):
    """The message pattern of a warnings filter: matches in a thread that is decoding, and nowhere else."""

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
    """Keep Pillow's warnings from the user, in this thread only.

    They are about metadata that is not used (a damaged EXIF block, a wrong APNG header); what concerns the
    pixels is an exception. ``warnings.catch_warnings`` swaps a list that all threads share, so one thread
    would switch another's warnings off, or leave them off for good. A filter that stays, and only matches in
    a thread that asks for it, has no such race.
    """
    _put_filter_first(cast("list[object]", warnings.filters))
    _while_decoding.active = True
    try:
        yield
    finally:
        _while_decoding.active = False


def _put_filter_first(filters: list[object]) -> None:
    """Put a filter of ours before those that others have added, and remove ours from behind them.

    The new one is inserted before the old one is removed, as other threads may be decoding meanwhile.
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
