"""The owner's decisions in the run folder: a copy, so that the run can be resumed and repeated without the
file that was given, or after that has been changed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from headstart.config import TrainConfig
from headstart.files import delete, write_whole


def decisions_of(config: TrainConfig) -> bytes:
    """Return the content of the file that ``decisions`` names; empty if it names none.

    Raises:
        OSError: It cannot be read.
    """
    return Path(config.decisions).read_bytes() if config.decisions else b""


def keep_decisions(folder: Path, config: TrainConfig, content: bytes) -> TrainConfig:
    """Write ``content`` into a run folder, and return the settings with that file as ``decisions``.

    The file is called ``decisions``, with the ending of the one that was given, which says how it is read.
    """
    if not config.decisions:
        return config
    path = folder / f"decisions{Path(config.decisions).suffix.lower()}"
    write_whole(path, content)
    return dataclasses.replace(config, decisions=str(path))


def with_kept_decisions(folder: Path, config: TrainConfig) -> TrainConfig:
    """Return the settings of a run with the decisions in its folder, wherever that is now."""
    path = _kept(folder, config)
    return config if path is None else dataclasses.replace(config, decisions=str(path))


def delete_kept_decisions(folder: Path, config: TrainConfig) -> None:
    """Delete what ``keep_decisions`` has written."""
    if path := _kept(folder, config):
        delete(path)


def _kept(folder: Path, config: TrainConfig) -> Path | None:
    if not config.decisions:
        return None
    path = folder / f"decisions{Path(config.decisions).suffix.lower()}"
    return path if path.is_file() else None
