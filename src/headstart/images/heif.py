"""Finds a reader of HEIC and HEIF photos, if the user has installed one.

Headstart does not depend on such a package: their wheels contain libheif and libde265, under the LGPL.
"""

from __future__ import annotations

import importlib
import importlib.util
from contextlib import suppress
from functools import cache
from importlib import metadata
from typing import Final

from PIL.ImageFile import ImageFile

PACKAGES: Final = ("pi_heif", "pillow_heif")
"""Import names of the packages that are used, in this order. Both have the same class ``HeifImageFile``."""


def heif_reader() -> type[ImageFile] | None:
    """Return the class that reads HEIC photos; None if no package for it is installed.

    The class returns the primary image, upright: libheif applies the rotation of the container, and the
    package sets the EXIF orientation to 1.
    """
    name = _package()
    reader: type[ImageFile] | None = getattr(_imported(name), "HeifImageFile", None) if name else None
    return reader


def library() -> str:
    """Return name and version of the package that reads HEIC photos; empty if there is none."""
    if not (name := _package()):
        return ""
    with suppress(metadata.PackageNotFoundError):
        return f"{name} {metadata.version(name)}"
    return name


@cache
def _package() -> str:
    """Return the name of the first installed package, without importing it; empty if there is none."""
    return next((name for name in PACKAGES if importlib.util.find_spec(name) is not None), "")


@cache
def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ImportError:  # built for another system
        return None
