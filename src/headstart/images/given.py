"""Photos as arguments of Python functions: paths, bytes, open files, Pillow images, arrays, tensors."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from headstart.errors import ImageError, InputError
from headstart.images.colour import to_srgb
from headstart.images.decode import image_size
from headstart.images.file import MAX_FILE_BYTES
from headstart.images.photo import Photo


class Readable(Protocol):
    """A file opened for reading bytes, such as ``io.BytesIO`` or a member of a zip archive."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes from the current position."""
        ...


class HasArray(Protocol):
    """An array of another library, such as a PyTorch or TensorFlow tensor."""

    @property
    def shape(self) -> Any:
        """The length of each dimension."""
        ...

    @property
    def dtype(self) -> Any:
        """The type of the elements."""
        ...

    def __array__(self) -> np.ndarray: ...


PhotoLike: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | Readable
    | zipfile.Path
    | Image.Image
    | np.ndarray
    | HasArray
    | Photo
)
"""A path; the content of a file; a file opened in binary mode; a Pillow image; or uint8 pixels: RGB (H, W,
3), RGBA (H, W, 4), or grey (H, W) or (H, W, 1); as a PyTorch tensor also (3, H, W), (4, H, W) or (1, H, W).
"""

_CHANNELS: Final = (1, 3, 4)
_ORIENTATION, _FIRST_SIDEWAYS = 0x0112, 5  # the EXIF tag, and the first of its values that turn a photo
_UNNAMED: Final = "the photo"
_PILLOW: Final = threading.Lock()  # an image may be decoded only now, and stand twice in a list


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """The ``read`` of a photo that was passed as data, without a name.

    Attributes:
        content: The content of a file; a Pillow image; (H, W), (H, W, 3) or (H, W, 4) uint8 pixels; or the
            reason why an open file could not be read.
    """

    content: bytes | Image.Image | np.ndarray | ImageError

    def __call__(self, key: str) -> bytes:
        """Return the content of a file; pixels are encoded without loss.

        Raises:
            ImageError: The file could not be read, or the Pillow image cannot be decoded.
        """
        if isinstance(self.content, ImageError):
            raise self.content
        if isinstance(self.content, bytes):
            return self.content
        file = io.BytesIO()
        with _errors_named():
            image = _upright(self.content)
            image.save(file, "PNG" if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA") else "TIFF")
        return file.getvalue()


def rgb_given(photo: Photo) -> Image.Image | None:
    """Return the upright sRGB image of a photo that was passed as RGB pixels; None for any other photo.

    This saves encoding and decoding them. Other pixels (transparency, 16 bits, ...) are converted by
    ``decode``, like those of files.

    Raises:
        ImageError: The Pillow image cannot be decoded.
    """
    content = photo.read.content if isinstance(photo.read, Given) else None
    if isinstance(content, np.ndarray) and content.shape[2:] == (3,):
        return Image.fromarray(content)
    if not isinstance(content, Image.Image):
        return None
    with _errors_named():
        image = _upright(content)
        if image.mode != "RGB" or image.has_transparency_data:
            return None
        return to_srgb(image, image.info.get("icc_profile"))


def size_of(photo: Photo) -> tuple[int, int]:
    """Return width and height of a photo as a viewer displays it, without encoding pixels."""
    content = photo.read.content if isinstance(photo.read, Given) else None
    if isinstance(content, np.ndarray):
        return int(content.shape[1]), int(content.shape[0])
    if isinstance(content, Image.Image):
        width, height = content.size
        turned = content.getexif().get(_ORIENTATION, 1) >= _FIRST_SIDEWAYS
        return (height, width) if turned else (width, height)
    return image_size(photo)


def is_one_photo(photos: object) -> bool:
    """Return whether an argument is a single photo rather than a collection of photos."""
    if isinstance(photos, np.ndarray) and photos.ndim == 1 and photos.dtype.kind in "OU":
        return False  # of paths or other photos
    return (
        isinstance(photos, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray))
        or _is_array(photos)
        or callable(getattr(photos, "read", None))
        or callable(getattr(photos, "read_bytes", None))
    )


def as_photos(photos: Iterable[PhotoLike]) -> Iterator[Photo]:
    """Yield the photos of an argument one by one, in the calling thread.

    Open files are read here, because the caller may close them before the next photo is requested. Mutable
    buffers from an iterator are copied; otherwise a program that reads frames into one buffer would overwrite
    photos that have not been processed yet.

    Raises:
        InputError: An item is not a photo, by its Python type or by the dtype or shape of its array.
    """
    if isinstance(photos, Mapping):
        raise InputError(
            f"photos is a {type(photos).__name__}, which pairs keys with values. Give a list of photos, such "
            "as list(photos.values())."
        )
    try:
        remaining = iter(photos)
    except TypeError:
        raise InputError(f"photos is {_shown(photos)}, which is {_WANTED}.") from None
    may_reuse = remaining is photos
    for number, photo in enumerate(remaining):
        try:
            yield _as_photo(photo, copy=may_reuse)
        except InputError as error:
            raise InputError(f"photos[{number}]: {error}") from None


_WANTED: Final = (
    "neither a photo nor a list of photos: a path, a file's content (bytes), an open binary file, a Pillow "
    "image, or an array of uint8"
)


def _as_photo(photo: object, *, copy: bool) -> Photo:
    if isinstance(photo, Photo):
        return photo
    if isinstance(photo, (str, os.PathLike)):
        return Photo(os.fsdecode(photo))
    return Photo(_UNNAMED, Given(_content(photo, copy=copy)))


def _content(photo: object, *, copy: bool) -> bytes | Image.Image | np.ndarray | ImageError:
    if isinstance(photo, (bytes, bytearray, memoryview)):
        return bytes(photo)
    if isinstance(photo, Image.Image):
        return _copied(photo) if copy else photo
    if isinstance(photo, np.ndarray) or _is_array(photo):
        pixels = _pixels(photo)
        return pixels.copy() if copy else pixels
    for method in ("read", "read_bytes"):
        if callable(read := getattr(photo, method, None)):
            return _read(photo, read, () if method == "read_bytes" else (MAX_FILE_BYTES + 1,))
    raise InputError(f"{_shown(photo)} is {_WANTED}.")


def _read(file: object, read: Any, size: tuple[int, ...]) -> bytes | ImageError:
    try:
        data = read(*size)
    except (TypeError, LookupError) as error:  # as of a ZipFile, which reads names
        raise InputError(f"{_shown(file)} cannot be read like an open file: {error}") from error
    except Exception as error:  # of the system, of a closed file, or of whichever library opened it
        return ImageError(_UNNAMED, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    if isinstance(data, (bytearray, memoryview)):
        data = bytes(data)
    if isinstance(data, str):
        raise InputError(f"{_shown(file)} was opened as text. Open it as a binary file: open(path, 'rb').")
    if not isinstance(data, bytes):
        raise InputError(f"reading {_shown(file)} gives {type(data).__name__}; it must give bytes.")
    if not data:
        return ImageError(
            _UNNAMED, "empty file, or one that has been read to its end: rewind it with seek(0)"
        )
    if len(data) > MAX_FILE_BYTES:
        return ImageError(_UNNAMED, f"more than {MAX_FILE_BYTES / 2**30:.0f} GiB, which are not read")
    return data


def _copied(image: Image.Image) -> Image.Image | ImageError:
    try:
        with _errors_named():
            return image.copy()
    except ImageError as error:
        return error


def _upright(content: Image.Image | np.ndarray) -> Image.Image:
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    with _PILLOW:
        return ImageOps.exif_transpose(content)


@contextmanager
def _errors_named() -> Iterator[None]:
    """Convert what Pillow raises on damaged files, which is almost anything, to ImageError."""
    try:
        yield
    except Exception as error:
        raise ImageError(_UNNAMED, f"cannot be decoded: {error or type(error).__name__}") from error


def _is_array(photo: object) -> bool:
    """Return whether an object is an array of any library; one-dimensional arrays are not photos."""
    has_all = all(hasattr(photo, name) for name in ("shape", "dtype", "__array__"))
    return has_all and not isinstance(photo, type) and len(getattr(photo, "shape", ())) > 1


def _pixels(photo: Any) -> np.ndarray:
    """Return (H, W), (H, W, 3) or (H, W, 4) uint8.

    Raises:
        InputError: The array has another dtype or shape; the message says how to convert it.
    """
    is_torch = callable(getattr(photo, "detach", None)) and callable(getattr(photo, "cpu", None))
    what = f"An array of {photo.dtype} {tuple(photo.shape)}"
    try:
        pixels = np.asarray(photo.detach().cpu() if is_torch else photo)
    except Exception as error:  # whatever the other library raises, as for bfloat16
        raise InputError(f"{what} cannot be converted to a NumPy array: {error}") from error
    if pixels.ndim == 4:
        raise InputError(f"{what} is not one photo. For several photos give a list of arrays: list(array).")
    if is_torch and pixels.ndim == 3 and pixels.shape[0] in _CHANNELS and pixels.shape[2] not in _CHANNELS:
        pixels = pixels.transpose(1, 2, 0)  # as PyTorch has it: channels first
    is_shaped = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in _CHANNELS)
    if pixels.size == 0 and pixels.ndim in (2, 3):
        raise InputError(f"{what} has no pixels.")
    if not is_shaped:
        hint = ""
        if pixels.ndim == 3 and pixels.shape[0] in _CHANNELS:
            hint = " Its channels seem to come first: array.transpose(1, 2, 0)."
        raise InputError(
            f"{what} is not a photo. It must be (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey.{hint}"
        )
    if pixels.dtype != np.uint8:
        raise InputError(
            f"{what} is not a photo. It must be uint8, from 0 to 255.{_conversion(pixels.dtype)}"
        )
    return pixels[:, :, 0] if pixels.shape[2:] == (1,) else pixels


def _conversion(dtype: np.dtype[Any]) -> str:
    if dtype.kind == "f":
        return " If its values go from 0 to 1: (array * 255).round().astype('uint8')."
    if dtype == np.uint16:
        return " If its values go from 0 to 65535: (array >> 8).astype('uint8')."
    if dtype.kind in "iu":
        return " If its values go from 0 to 255: array.astype('uint8')."
    return " If it is a mask: array.astype('uint8') * 255." if dtype.kind == "b" else ""


def _shown(value: object) -> str:
    text = repr(value)
    return f"{text[:60]}{'…' if len(text) > 60 else ''} ({type(value).__name__})"
