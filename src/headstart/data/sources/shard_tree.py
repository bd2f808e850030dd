"""Lists the members of tar files like the files of a folder, for class folders inside tar files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TypeAlias

from headstart.data.sources.shards import Shard, members_of
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.data.sources.tree import Image, Tree
from headstart.images.find_tars import is_photo
from headstart.packed import Packed

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
    found: list[tuple[_Names, Packed[Image]]] = []
    for shard in shards:
        above: _Names = (shard.split,) if shard.split else ()
        images, listed = Packed(Image), set()
        for member in members_of(shard.path):
            tree.found += 1
            path = f"{shard.path}/{member.name}"
            if is_photo(shard.path, member) and member.name not in listed:
                listed.add(member.name)
                images.append(Image(path, tuple(member.name.split("/")[:-1])))
            else:
                tree.ignored.append(path)  # of members with one name, only the last can be read
        found.append((above, images))
    skipped = _in_all({names for _, images in found for names in images.column("folders")})
    for above, images in found:
        for image in images:
            names = (*above, *image.folders[skipped:])
            if names not in folders:
                folders.update(dict.fromkeys(names[:depth] for depth in range(len(names) + 1)))
            tree.images.append(Image(image.path, names))
    found.clear()
    tree.folders = list(folders)
    tree.sort()
    return tree


def _in_all(folders: Collection[_Names]) -> int:
    """Return the number of folders at the top that contain all photos, besides their class folder."""
    number = 0
    while folders and all(len(names) > number + 1 for names in folders):
        found = {names[number] for names in folders}
        if len(found) > 1 or min(found).lower() in SPLIT_OF_FOLDER:
            break
        number += 1
    return number
