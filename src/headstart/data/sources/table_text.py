"""Finds out in which encoding a table is written: UTF-8, UTF-16, or what spreadsheets write besides these."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from headstart.errors import DataError

_CHUNK: Final = 1 << 20
_HIGH: Final = re.compile(rb"[\x80-\xff]+")
_UTF_8: Final = re.compile(
    rb"(?:[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3})+"
)
_LEAST_UTF_8: Final = 0.9  # of the different texts outside ASCII
_LEAST_CHINESE: Final = 0.6  # of the characters of these texts
_LEAST_WESTERN: Final = 0.6  # of these texts, which have one or two letters there; Cyrillic has whole words

_AS: Final = {
    "cp1252": "Windows-1252, as Excel writes it in Western Europe and America",
    "gb18030": "GB 18030, as Excel writes it in China",
}


@dataclass(frozen=True, slots=True)
class TableText:
    """A table as text.

    Attributes:
        path: The file.
        encoding: Its encoding, as Python names it.
        is_assumed: Whether the file does not determine the encoding: it is neither UTF-8 nor UTF-16.
    """

    path: str
    encoding: str
    is_assumed: bool = False

    @classmethod
    def of(cls, path: str) -> TableText:
        """Find the encoding of a file.

        A byte order mark decides. Without one, text that is not UTF-8 is assumed to be GB 18030 if most of
        its characters would be frequent Chinese ones, and Windows-1252 if letters outside ASCII stand alone
        or in pairs. Any other text is read as UTF-8, so that what is not UTF-8 is reported.

        Raises:
            DataError: The file contains NUL bytes, so it is not text.
        """
        with open(path, "rb") as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                return cls(path, "utf-16")
        if _is_utf_8(path):
            return cls(path, "utf-8-sig")
        encoding = _assumed(b"".join(_chunks(path)))
        return cls(path, encoding or "utf-8-sig", encoding is not None)

    def open(self) -> TextIO:
        """Open the file; bytes that are not UTF-8 become surrogate escapes, so that paths can have them."""
        errors = "surrogateescape" if self.encoding == "utf-8-sig" else "strict"
        return open(self.path, encoding=self.encoding, errors=errors, newline="")

    def notes(self) -> tuple[str, ...]:
        """Return a note if the encoding is assumed."""
        if not self.is_assumed:
            return ()
        return (
            f"{self.path!r} is neither UTF-8 nor UTF-16. It is read as {_AS[self.encoding]}. If names look "
            "wrong, save it as UTF-8.",
        )

    def as_in_file(self, cell: str) -> str:
        """Return a cell with its bytes outside ASCII as surrogate escapes: a path with bytes of its own."""
        return cell.encode(self.encoding).decode("utf-8", "surrogateescape")


def _chunks(path: str) -> Iterator[bytes]:
    """Yield the content of a file.

    Raises:
        DataError: There is a NUL byte.
    """
    position = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            if (at := chunk.find(b"\0")) >= 0:
                raise DataError(
                    f"{path!r} is not a text file: byte {position + at + 1:,} is a NUL byte. Is it damaged, "
                    "a spreadsheet, or UTF-16 without a byte order mark? Save it as CSV in UTF-8."
                )
            position += len(chunk)
            yield chunk


def _is_utf_8(path: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    is_valid = True
    for chunk in _chunks(path):  # to the end, as NUL bytes are refused
        if is_valid:
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError:
                is_valid = False
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return is_valid


def _assumed(content: bytes) -> str | None:
    """Return the encoding of text that is not UTF-8; None if it is mostly UTF-8, or not known."""
    runs = sorted(set(_HIGH.findall(content)))
    if sum(_UTF_8.fullmatch(run) is not None for run in runs) >= _LEAST_UTF_8 * len(runs):
        return None
    # A frequent Chinese character has two bytes, of which the first is B0 to D7. In Western text, letters
    # outside ASCII mostly stand alone, and two together are mostly small ones, from E0.
    leads = [lead for run in runs if len(run) % 2 == 0 for lead in run[::2]]
    num_chinese = sum(0xB0 <= lead <= 0xD7 or 0xA1 <= lead <= 0xA3 for lead in leads)
    num_characters = sum(-(-len(run) // 2) for run in runs)
    candidates = ["gb18030"] if num_chinese >= _LEAST_CHINESE * num_characters else []
    if sum(len(run) <= 2 for run in runs) >= _LEAST_WESTERN * len(runs):
        candidates.append("cp1252")
    for encoding in candidates:
        try:
            content.decode(encoding)
        except UnicodeDecodeError:
            continue
        return encoding
    return None
