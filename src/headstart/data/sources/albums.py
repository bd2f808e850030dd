"""Recognises a folder of all photos beside the class folders, such as an album of a photo service."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from headstart.columns import listed
from headstart.errors import DataError

_MOST_COMPARED: Final = 20  # photos of each class, by their sizes


def refuse_album_of_all(root: str, photos: Iterable[tuple[str, str]]) -> None:
    """Refuse a class folder with copies of all photos of two or more other classes.

    Copies have the same names and sizes in bytes. Only the class with most photos can be such a folder.

    Args:
        root: The folder of class folders, for the message.
        photos: Class and path of each photo.

    Raises:
        DataError: There is such a folder.
    """
    paths: dict[str, dict[str, str]] = defaultdict(dict)
    for class_name, path in photos:
        paths[class_name][os.path.basename(path)] = path  # noqa: PTH119  # a Path takes long
    if len(paths) < 3:
        return
    largest = max(paths, key=lambda name: (len(paths[name]), name))
    album = paths[largest]
    copied = [
        name
        for name, of_class in paths.items()
        if name != largest and of_class.keys() <= album.keys() and _are_equal(of_class, album)
    ]
    num_copied = sum(len(paths[name]) for name in copied)
    if len(copied) > 1 and num_copied <= len(album):  # with names that only one of the classes has
        shown = listed(list(map(repr, copied)), 5)
        raise DataError(
            f"In {root!r}, the folder {largest!r} has copies of all photos of {shown} (the same names and "
            "sizes), so it is hardly a class. Move it away. If it is a class of its own, say so: --task "
            "classification"
        )


def _are_equal(of_class: dict[str, str], album: dict[str, str]) -> bool:
    """Return whether the first photos of a class have the sizes of their namesakes."""
    return all(
        _size(of_class[name]) == _size(album[name]) is not None for name in sorted(of_class)[:_MOST_COMPARED]
    )


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size  # noqa: PTH116
    except (OSError, ValueError):  # in a tar file, or remote
        return None
