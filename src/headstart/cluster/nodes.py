"""What the nodes of a cluster must have in common."""

from __future__ import annotations

from collections.abc import Mapping

from headstart.errors import UsageError


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
