"""Reads a photo by its address, wherever it is: the one place that knows the kinds of addresses.

These are the path of a file; a member of a tar file (``shards/0.tar/cat/1.jpg``, ``tars.py``); a row of a
Parquet file (``train.parquet/row 17 cat.jpg``, ``parquet_rows.py``); a remote address (``https://...``,
``remote.py``).
"""

from __future__ import annotations

import os
from pathlib import Path

from headstart.errors import ImageError
from headstart.files import is_remote
from headstart.images.file import read_file
from headstart.images.parquet_rows import has_row, read_row, split_row
from headstart.images.remote import read_remote
from headstart.images.tars import TAR_SUFFIX, has_member, members, read_member, split_address


def read_address(address: str) -> bytes:
    """Return the bytes at an address.

    Raises:
        ImageError: There is no such file, member, row or remote object, or it cannot be read.
        MissingPackageError: It needs a package that is not installed.
    """
    if is_remote(address):
        return read_remote(address)
    if (place := _in_tar(address)) is not None:
        return read_member(*place)
    if (row := split_row(address)) is not None:
        return read_row(address, row)
    if address.lower().endswith(TAR_SUFFIX) and Path(address).is_file():
        for _ in members(address):  # raises the error for which it could not be listed
            pass
        raise ImageError(address, "a tar file, which is not a photo itself")
    if address.lower().startswith("file://"):
        raise ImageError(address, "the address of a file; name it by its path, without file://")
    return read_file(address)


def is_file(address: str) -> bool:
    """Return whether an address is the path of a file, which need not exist."""
    return not is_remote(address) and _in_tar(address) is None and split_row(address) is None


def exists(address: str) -> bool:
    """Return whether there is something at an address. A remote one counts: reading it decides."""
    if is_remote(address):
        return True
    if (place := _in_tar(address)) is not None:
        return has_member(*place)
    if (row := split_row(address)) is not None:
        return has_row(row)
    return os.path.exists(address)  # noqa: PTH110  # a third faster for a whole table than a Path


def normal(address: str) -> str:
    """Return the same text for paths of the same file, as far as their texts tell."""
    return address if is_remote(address) else os.path.normpath(address)


def joined(folder: str | os.PathLike[str], address: str) -> str:
    """Return an address that is relative to a folder; a remote or absolute one is not changed."""
    return address if is_remote(address) else str(Path(folder) / address)


def _in_tar(address: str) -> tuple[str, str] | None:
    return split_address(address) if TAR_SUFFIX in address.lower() else None
