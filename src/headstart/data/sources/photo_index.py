"""Photos by name and by the folders above them, for label files that name photos from another place."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headstart.images.formats import IMAGE_SUFFIXES

MOST_COMPARED: Final = 100  # photos that fit equally well; more are compared no further, as several remain


@dataclass(slots=True)
class Index:
    """Photos by name, without regard to case and to the Unicode form.

    Attributes:
        root: The folder that was searched.
        by_name, by_stem: Paths by the name of the file, with and without its suffix.
        folders: Names of all folders that hold photos at any depth below the root.
    """

    root: str = ""
    by_name: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_stem: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    folders: set[str] = field(default_factory=set)
    _alike: dict[str, _Alike] = field(default_factory=dict)

    @classmethod
    def of(cls, images: Iterable[tuple[str, Sequence[str]]], root: str = "") -> Index:
        """Return the index of photos, given as their paths and the names of the folders above them."""
        index = cls(root)
        for path, folders in images:
            name = os.path.basename(path)  # noqa: PTH119  # for speed, as there may be many
            index.by_name[folded(name)].append(path)
            index.by_stem[folded(os.path.splitext(name)[0])].append(path)  # noqa: PTH122
            index.folders.update(map(folded, folders))
        return index

    def find(self, folders: Sequence[str], name: str) -> list[str]:
        """Return the photos that may be meant by a path.

        Args:
            folders: Names of the folders in the path. If the last one exists, the photos are below it.
            name: Name of the photo; if it has no suffix of a photo, photos with any suffix fit.

        Returns:
            Of the photos with the name, those that share most of the folders directly above them.
        """
        key, above = folded(name), [folded(each) for each in folders]
        found = self.by_name.get(key, [])
        if not found and os.path.splitext(key)[1] not in IMAGE_SUFFIXES:  # noqa: PTH122
            found = self.by_stem.get(key, [])
        if found and above and (len(found) > 1 or above[-1] in self.folders):
            found = self._below(key, found, above)
        if len(found) > MOST_COMPARED:
            return found
        return best(found, lambda path: Path(path).name == name or Path(path).stem == name)

    def folders_of(self, path: str) -> list[str]:
        """Return the names of the folders from the root to a photo, folded."""
        return folded(path[len(self.root) :]).replace(os.sep, "/").strip("/").split("/")[:-1]

    def _below(self, key: str, found: list[str], above: Sequence[str]) -> list[str]:
        if key not in self._alike:  # once for each name, as thousands of photos may be called image.png
            self._alike[key] = _Alike.of(found, self.folders_of)
        alike = self._alike[key]
        for start in range(len(above)):
            if same := alike.by_end.get("/".join(above[start:])):
                return same
        return alike.by_folder.get(above[-1], []) if above[-1] in self.folders else found


@dataclass(slots=True)
class _Alike:
    """Photos that have the same name.

    Attributes:
        by_end: Paths by the folders directly above them: ``c``, ``b/c`` and ``a/b/c`` for ``a/b/c/0.png``.
        by_folder: Paths by any folder above them.
    """

    by_end: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_folder: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, paths: Iterable[str], folders_of: Callable[[str], list[str]]) -> _Alike:
        alike = cls()
        for path in paths:
            folders = folders_of(path)
            for start in range(len(folders)):
                alike.by_end["/".join(folders[start:])].append(path)
            for folder in set(folders):
                alike.by_folder[folder].append(path)
        return alike


def best(paths: Sequence[str], rank: Callable[[str], Any]) -> list[str]:
    """Return the paths with the highest rank."""
    if len(paths) < 2:
        return list(paths)
    ranks = list(map(rank, paths))
    highest = max(ranks)
    return [path for path, each in zip(paths, ranks, strict=True) if each == highest]


def folded(name: str) -> str:
    """Return a name as it is compared: without regard to case and to the Unicode form."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()
