"""The photos that ``headstart predict`` is called with: arguments, a list in a file, standard input."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from headstart.cli.options import option
from headstart.errors import UsageError

_BOM, _UTF_16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")

Images = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="IMAGE|FOLDER|-",
        help="Photos, folders, tar or Parquet files, patterns like 'photos/*.jpg', or - for paths from "
        "stdin, one per line.",
        show_default=False,
    ),
]
FilesFrom = Annotated[
    Path | None,
    option("Text file with paths of photos and folders, one per line.", metavar="FILE"),
]


def photos_of(images: Sequence[str], files_from: Path | None, ignored: Counter[str]) -> Iterator[str]:
    """Yield the addresses of photos one by one, those of arguments first.

    Args:
        images: Photos, folders, tar or Parquet files, and patterns of these; ``-`` for standard input.
        files_from: A text file with a path per line. Lines are not patterns, so that the photo that a line
            names is predicted or none.
        ignored: Counts the files that are not photos, by kind.

    Raises:
        UsageError: A list is UTF-16; on Windows, also another list that is not UTF-8.
        OSError: A list cannot be read.
        DataError: As for ``find_images``.
        MissingPackageError: Likewise.
    """
    from headstart.images.listed import find_images, find_named

    for image in images:
        if image != "-":
            yield from find_named(image, ignored)
            continue
        for path in _lines(sys.stdin.buffer, "standard input"):
            yield from find_images(path, ignored)
    if files_from is not None:
        with open(files_from, "rb") as file:
            for path in _lines(file, str(files_from)):
                yield from find_images(path, ignored)


def refuse_without_photos(images: Sequence[str], files_from: Path | None) -> None:
    """Raise an error, before anything is predicted, if an argument names no photos.

    Raises:
        UsageError: Nothing is named, a folder has no photos, a pattern matches nothing, or the list is not
            a file.
    """
    from headstart.images.listed import find_images, find_named, is_pattern

    if not images and files_from is None:
        raise UsageError("Name photos or folders, - for paths from standard input, or a list: --files-from.")
    if files_from is not None and not files_from.is_file():
        raise UsageError(f"files-from is {str(files_from)!r}; it must be a text file with a path per line.")
    for path in images:
        if path == "-" or (not is_pattern(path) and next(find_images(path), None) is not None):
            continue
        if not is_pattern(path):
            raise UsageError(
                f"There are no photos in {path!r} or in the folders below it. Name a folder of JPEG, PNG or "
                f"WebP files, for example; hidden ones and those in the folders of runs do not count."
            )
        if next(find_named(path), path) == path:
            raise UsageError(
                f"No photos match {path!r}. In a pattern, * stands for characters within a name, and ** for "
                f"folders at any depth, as in 'photos/**/*.jpg'."
            )


def _lines(file: Iterable[bytes], name: str) -> Iterator[str]:
    """Yield the lines of a list that are not blank; except on Windows, names may be other than UTF-8."""
    for number, line in enumerate(file):
        if number == 0 and line.startswith(_UTF_16):
            raise UsageError(f"The list in {name} is UTF-16. Save it as UTF-8.")
        path = (line.removeprefix(_BOM) if number == 0 else line).rstrip(b"\r\n")
        if path.strip():
            try:
                yield os.fsdecode(path)
            except UnicodeDecodeError as error:  # on Windows; elsewhere, names may be any bytes
                raise UsageError(
                    f"Line {number + 1} of the list in {name} is not UTF-8. Save it as UTF-8."
                ) from error
