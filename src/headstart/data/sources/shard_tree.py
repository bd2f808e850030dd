"""Lists the members of tar files like the files of a folder, for class folders inside tar files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TypeAlias

from headstart.data.sources.shards import Shard, members_of
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.data.sources.tree import Image, Tree
from headstart.images.find_tars import is_photo

_Names: TypeAlias = tuple[str, ...]


def tree_of_shards(data: str, shards: Sequence[Shard]) -> Tree:
    """List the members of tar files as one tree, as if all were unpacked into one folder.

    A folder that contains everything else in a tar file is left out, because most archives begin with one.
    Tar files whose names determine a split are in a folder of that split.

    Args:
        data: What the user named.
        shards: Its tar files.

    Raises:
        DataError: A tar file cannot be read.
    """
    tree = Tree(data)
    folders: dict[_Names, None] = {}
    found: list[tuple[_Names, list[Image]]] = []
    for shard in shards:
        above: _Names = (shard.split,) if shard.split else ()
        listed: dict[str, Image] = {}
        for member in members_of(shard.path):
            tree.found += 1
            path = f"{shard.path}/{member.name}"
            if is_photo(shard.path, member) and path not in listed:
                *inside, last = member.name.split("/")
                listed[path] = Image(path, (*map(sys.intern, inside), last))
            else:
                tree.ignored.append(path)  # of members with one name, only the last can be read
        found.append((above, list(listed.values())))
    skipped = _in_all([image for _, images in found for image in images])
    for above, images in found:
        for image in images:
            names = (*above, *image.names[skipped:])
            folders.update(dict.fromkeys(names[:depth] for depth in range(len(names))))
            tree.images.append(Image(image.path, names) if above or skipped else image)
    tree.folders = list(folders)
    tree.images.sort(key=lambda image: [os.fsencode(name) for name in image.names])
    tree.ignored.sort(key=os.fsencode)
    return tree


def _in_all(images: Sequence[Image]) -> int:
    """Return the number of folders at the top that contain all photos, besides their class folder."""
    number = 0
    while images and all(len(image.names) > number + 2 for image in images):
        name = images[0].names[number]
        if name.lower() in SPLIT_OF_FOLDER or any(image.names[number] != name for image in images):
            break
        number += 1
    return number
