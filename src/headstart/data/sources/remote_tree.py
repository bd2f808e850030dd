"""Lists a remote folder like a folder on disk."""

from __future__ import annotations

from pathlib import PurePosixPath

from headstart.data.sources.tree import Image, Tree
from headstart.images.find_tars import is_hidden
from headstart.images.formats import IMAGE_SUFFIXES
from headstart.images.remote import list_remote


def remote_tree(folder: str) -> Tree:
    """List all objects below a remote folder; photos are recognised by their suffixes.

    Raises:
        DataError: The folder cannot be listed, or is empty.
        MissingPackageError: It needs fsspec, or a package of its protocol.
    """
    tree = Tree(folder)
    folders: dict[tuple[str, ...], None] = {}
    for address, name in list_remote(folder):
        tree.found += 1
        if is_hidden(name) or PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES:
            tree.ignored.append(address)
            continue
        names = tuple(name.split("/"))
        folders.update(dict.fromkeys(names[:depth] for depth in range(len(names))))
        tree.images.append(Image(address, names[:-1]))
    tree.sort()
    tree.folders = list(folders)
    return tree
