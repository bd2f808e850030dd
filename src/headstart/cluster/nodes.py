"""What the nodes of a cluster must have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress

from headstart.errors import ImageError, UsageError


def work_in(folder: str) -> None:
    """Let relative paths mean the same in a process of a cluster as in the process that asks.

    Args:
        folder: Working folder of the process that asks. A node that does not have it stays where it is; then
            it cannot read the photos either, which is reported.
    """
    with suppress(OSError):
        os.chdir(folder)


def refuse_unlike(theirs: Mapping[str, str], own: Mapping[str, str]) -> None:
    """Refuse to compute on a node whose results could differ in their last bits.

    Args:
        theirs: Processor and libraries of the process that asks, by name.
        own: The same of this process.

    Raises:
        UsageError: They differ.
    """
    others = [
        f"{name} {own[name]!r} instead of {value!r}" for name, value in theirs.items() if own[name] != value
    ]
    if others:
        raise UsageError(
            f"A node of the cluster has {', '.join(others)}: its results could differ in their last bits. "
            "Use nodes with the same processor and the same packages as the machine that starts the command."
        )


def refuse_unshared(photo: str, read: Callable[[], object], node: str, error: str) -> None:
    """Refuse that a photo counts as unreadable because a node of the cluster does not have it.

    Args:
        photo: Name of a photo whose bytes a node could not read.
        read: Reads its bytes in this process.
        node: Name of the node.
        error: Why it could not.

    Raises:
        UsageError: This process can read the photo.
    """
    try:
        read()
    except ImageError:
        return
    raise UsageError(
        f"The node {node!r} of the cluster cannot read {photo}: {error}. This machine can. "
        f"Photos must be on storage that all nodes share, under the same path."
    )
