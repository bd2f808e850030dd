"""Windows' file locks, simulated: nothing that a program has open is replaced, renamed or deleted."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class HeldFiles:
    """Refuses to touch files as Windows does.

    Args:
        monkeypatch: Undoes it.
        held: Tells whether a file, which is there, is open in another program.
        attempts: How often it is refused before the other program lets go.

    Attributes:
        refused: Names of files that somebody has tried to touch, each time.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        held: Callable[[Path], bool],
        attempts: float = float("inf"),
    ) -> None:
        self.left = attempts
        self.refused: list[str] = []
        self._held = held
        for name in ("replace", "rename", "unlink", "remove"):
            monkeypatch.setattr(os, name, self._refusing(getattr(os, name)))

    def let_go(self) -> None:
        """Close all files."""
        self.left = 0

    def _refusing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            for path in (Path(os.fsdecode(each)) for each in args[:2] if not isinstance(each, int)):
                if self.left > 0 and path.is_file() and self._held(path):
                    self.left -= 1
                    self.refused.append(path.name)
                    raise PermissionError(errno.EACCES, "being used by another process", str(path))
            return function(*args, **kwargs)

        return call


def is_open_here(path: Path) -> bool:
    """Tell whether this process has a file open (Linux)."""
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return any(link.exists() and link.samefile(path) for link in links)
