"""Small JPEG pictures of photos, embedded in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from headstart.charts.svg import rectangle
from headstart.errors import ImageError
from headstart.images.address import joined
from headstart.images.decode import decode_photo
from headstart.images.photo import Photo
from headstart.images.view import Box
from headstart.inference.runtime import map_in_order
from headstart.reporting.markup import Html, element

_SIDE_PX: Final = 200
_REDUCE_TO_PX: Final = 150  # shorter side of a JPEG that is decoded at reduced scale
_QUALITY: Final = 78


@dataclass(frozen=True)
class _Small:
    """A small picture.

    Attributes:
        jpeg: The file.
        size: Its width and height in pixels.
        full_size: Width and height of the photo as a viewer displays it.
    """

    jpeg: bytes
    size: tuple[int, int]
    full_size: tuple[int, int]


class Pictures:
    """The photos that a report shows.

    Attributes:
        num_missing: Number of photos that could not be read.
    """

    def __init__(self, paths: Iterable[str], root: Path | None, side_px: int = _SIDE_PX) -> None:
        """Read photos in threads.

        Args:
            paths: Paths relative to ``root``, or absolute ones.
            root: The data folder; None to show no pictures.
            side_px: Longest side of each picture.
        """
        self._root = root
        self._found: Mapping[str, _Small | None] = {}
        if root is not None:
            unique = list(dict.fromkeys(paths))
            photos = (Photo(joined(root, path)) for path in unique)
            self._found = dict(
                zip(unique, map_in_order(partial(_small, side_px=side_px), photos), strict=True)
            )
        self.num_missing = sum(each is None for each in self._found.values())

    @property
    def are_shown(self) -> bool:
        """Whether there is any picture."""
        return self.num_missing < len(self._found)

    def show(self, path: str, words: str, boxes: Sequence[tuple[str, Box]] = ()) -> Html | None:
        """Return the picture of a photo; nothing if no photos are shown.

        Args:
            path: One of the paths.
            words: Its alternative text.
            boxes: In pixels of the photo, each with its class in the style sheet.
        """
        if not self.are_shown:
            return None
        small = self._found.get(path)
        if small is None:
            return element("span", "The photo cannot be read.", class_="missing")
        outlines = Html()
        if boxes:
            width, height = small.full_size
            drawn = "".join(_outline(name, box) for name, box in boxes)
            outlines = Html(
                f'<svg viewBox="0 0 {width} {height}" preserveAspectRatio="none" aria-hidden="true">'
                f"{drawn}</svg>"
            )
        return element("span", picture(small.jpeg, small.size, words), outlines, class_="photo")


def picture(jpeg: bytes, size: tuple[int, int], words: str) -> Html:
    """Return an embedded JPEG file with its size in pixels and its alternative text."""
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    return element("img", src=source, width=str(size[0]), height=str(size[1]), alt=words)


def jpeg_of(image: Image.Image | np.ndarray, side_px: int = _SIDE_PX) -> tuple[bytes, tuple[int, int]]:
    """Return an RGB image as a JPEG file, scaled down to a longest side, and its size."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if max(image.size) > side_px:
        scale = side_px / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue(), image.size


def _small(photo: Photo, side_px: int) -> _Small | None:
    reduce_to_px = _REDUCE_TO_PX * side_px // _SIDE_PX
    try:
        decoded = decode_photo(photo.content(), path=photo.key, reduce_to_px=reduce_to_px)
    except ImageError:
        return None
    return _Small(*jpeg_of(decoded.image, side_px), decoded.header.size)


def _outline(name: str, box: Box) -> str:
    left, top, right, bottom = box
    sides = left, top, right - left, bottom - top
    return rectangle("edge", *sides) + rectangle(name, *sides)
