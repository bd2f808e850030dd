"""Files of this package that are not Python: the page, and the module for browsers."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

_SUFFIXES: Final = (".js", ".html", ".css", ".svg")


def package_files(folder: str) -> dict[str, bytes]:
    """Return the scripts, styles, pictures and HTML in a folder of this package, by name."""
    found = (files("headstart") / folder).iterdir()
    return {each.name: each.read_bytes() for each in found if each.name.endswith(_SUFFIXES)}
