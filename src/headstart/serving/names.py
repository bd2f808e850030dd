"""Names of photos as they are answered."""

from __future__ import annotations

import unicodedata
from typing import Final

_LONGEST: Final = 255


def clean(name: str) -> str:
    """Return a name without control and invisible characters, and not too long."""
    return "".join(each for each in name if unicodedata.category(each)[0] != "C")[:_LONGEST]
