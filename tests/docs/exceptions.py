"""The blocks that the test does not run, each with a reason. There is no other way to leave a block out."""

from __future__ import annotations

from dataclasses import dataclass

REASONS = {"container engine", "GPU", "second machine", "internet", "a peer's own code"}
AT_MOST = 20


@dataclass(frozen=True)
class NotRun:
    """A block that is not run.

    Attributes:
        page: Path below the repository.
        begins: How the first line of the block begins.
        reason: One of ``REASONS``.
        needs: What exactly is missing, and what checks the block instead, if anything does.
    """

    page: str
    begins: str
    reason: str
    needs: str


NOT_RUN = []
