"""Lists the photos below what a user named: a folder, tar files, or a remote folder."""

from __future__ import annotations

from pathlib import Path

from headstart.data.sources.remote_tree import remote_tree
from headstart.data.sources.shard_tree import tree_of_shards
from headstart.data.sources.shards import find_shards
from headstart.data.sources.tree import Tree, tree_of
from headstart.errors import DataError
from headstart.files import is_remote


def tree_at(path: str, entered: set[tuple[int, int]]) -> Tree:
    """List all files below a folder, in tar files as in ``find_shards``, or below a remote folder.

    Args:
        path: What the user named.
        entered: Folders on disk not to enter, as in ``tree_of``.

    Raises:
        DataError: It is none of these, or cannot be listed.
    """
    if is_remote(path):
        return remote_tree(path)
    if shards := find_shards(path):
        return tree_of_shards(path, shards)
    if not Path(path).exists():
        raise DataError(f"There is no folder {path!r}.")
    if not Path(path).is_dir():
        raise DataError(f"{path!r} is a file. Headstart wants a folder of class folders.")
    return tree_of(path, entered)
