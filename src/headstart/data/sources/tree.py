"""All files below a folder, with the photos among them."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from headstart.errors import DataError
from headstart.images.find import Entry, walk
from headstart.packed import Packed


@dataclass(frozen=True, slots=True)
class Image:
    """A photo in a tree."""

    path: str
    folders: tuple[str, ...]  # names below the root

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its folders below the root, and its own."""
        own = self.path[max(self.path.rfind("/"), self.path.rfind(os.sep)) + 1 :]
        return (*self.folders, own)


@dataclass
class Tree:
    """All files below a root, each folder entered once."""

    root: str
    images: Packed[Image] = field(default_factory=lambda: Packed(Image))
    ignored: list[str] = field(default_factory=list)
    folders: list[tuple[str, ...]] = field(default_factory=list)  # that may hold photos, by names
    found: int = 0

    @cached_property
    def subfolders(self) -> dict[tuple[str, ...], Counter[str]]:
        """Subfolders of each folder that contain photos at any depth, with the number of photos."""
        found: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for image in self.images:
            for depth, name in enumerate(image.folders):
                found[image.folders[:depth]][name] += 1
        return found

    @cached_property
    def num_photos_in(self) -> Counter[tuple[str, ...]]:
        """Number of photos directly in each folder."""
        return Counter(image.folders for image in self.images)

    def sort(self) -> None:
        """Sort the files by the bytes of their names, so that the order is the same on every file system."""
        keys = [b"\0".join(map(os.fsencode, image.names)) for image in self.images]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self.images = Packed(Image, map(self.images.__getitem__, order))
        self.ignored.sort(key=os.fsencode)

    def is_made_of_folders(self, names: tuple[str, ...]) -> bool:
        """Return whether nearly all photos of a folder are in its subfolders."""
        direct = self.num_photos_in[names]
        return direct <= _FEW * (direct + self.subfolders[names].total())


def refuse_unlisted(entry: Entry) -> None:
    """Check that a folder could be listed.

    Raises:
        DataError: It could not.
    """
    if entry.error is not None:
        raise DataError(
            f"The folder {entry.path!r} cannot be listed: {entry.error.strerror}. Make it readable, or "
            "move it elsewhere."
        )


def tree_of(root: str, entered: set[tuple[int, int]]) -> Tree:
    """List all files below a root except in the folders of ``entered``; add the listed folders to it."""
    tree = Tree(root)
    runs = []
    for entry in walk(root, entered):
        refuse_unlisted(entry)
        if entry.kind == "folder":
            tree.folders.append(entry.names)
        elif entry.kind == "run":
            runs.append(entry.names)
        else:
            tree.found += 1
            if entry.kind == "image":
                tree.images.append(Image(entry.path, entry.names[:-1]))
            else:
                tree.ignored.append(entry.path)
    tree.sort()
    # What holds runs and no photos, as runs/ does, is not an empty class.
    above_runs = {names[:depth] for names in runs for depth in range(1, len(names))}
    with_images = set(tree.images.column("folders"))
    above_images = {names[:depth] for names in with_images for depth in range(1, len(names) + 1)}
    tree.folders = [names for names in tree.folders if names not in above_runs - above_images]
    return tree


_FEW: Final = 0.1  # photos directly in a folder that is made of folders
