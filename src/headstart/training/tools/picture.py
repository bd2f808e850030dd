"""Pictures that commands write: each command replaces its own only, never somebody's photo."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from headstart.errors import UsageError
from headstart.files import refuse_to_write, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KEY = "Software"  # the PNG text by which a picture is known again


def refuse_picture(out: Path, data: Path, command: str) -> None:
    """Report, before long work, that a picture cannot be written.

    Args:
        out: The picture.
        data: The photos; no picture is put among them.
        command: That is going to write it, such as ``headstart augment``.

    Raises:
        UsageError: It cannot be written there, or the file that is there was not written by this command.
    """
    refuse_to_write(out)
    if out.suffix.lower() != ".png":
        raise UsageError(f"out is {str(out)!r}; its name must end in .png.")
    if data.is_dir() and out.absolute().resolve().is_relative_to(data.resolve()):
        raise UsageError(f"{out} would lie among the photos of {data}. Name a file elsewhere.")
    _refuse_to_replace(out, command)


def write_picture(out: Path, picture: Image.Image | Figure, command: str) -> None:
    """Write a picture as PNG.

    Args:
        out: The file; replaced if the same command wrote it.
        picture: Of Pillow or of matplotlib.
        command: That is written into the file.

    Raises:
        UsageError: A file that this command did not write has appeared there.
        FileWriteError: It cannot be written.
    """
    _refuse_to_replace(out, command)
    if isinstance(picture, Image.Image):
        about = PngInfo()
        about.add_text(_KEY, command)
        write_whole(out, partial(picture.save, format="PNG", pnginfo=about))
    else:
        write_whole(out, partial(picture.savefig, format="png", metadata={_KEY: command}))


def _refuse_to_replace(out: Path, command: str) -> None:
    if out.exists() and not _is_from(command, out):
        raise UsageError(
            f"{out} exists and was not made by {command}, so it is not replaced. Name another file as out."
        )


def _is_from(command: str, path: Path) -> bool:
    try:
        with PngImageFile(path) as image:
            return bool(image.info.get(_KEY) == command)
    except (OSError, SyntaxError, ValueError):  # whatever it is
        return False
