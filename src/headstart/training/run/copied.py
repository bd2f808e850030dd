"""Series of runs: the files of the one that is handed over are copied to the folder above."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import filelock

from headstart.errors import RunFolderError
from headstart.files import delete, write_whole
from headstart.training.run.run_folder import FILES_OF_A_RUN, FOLDS, STEPS

_NOT_COPIED: Final = ("config.toml", "metrics.json", "trackers.json", STEPS, FOLDS)


def copy_run(run: Path, folder: Path, more: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the files of a finished run, ``metrics.json`` last, which says that the series is finished.

    Args:
        run: Its folder.
        folder: The folder of the series.
        more: Further entries for ``metrics.json``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        FileWriteError: A file cannot be written.
    """
    for name in FILES_OF_A_RUN:
        if name in _NOT_COPIED or (run / name).is_dir():
            continue
        if (run / name).is_file():
            write_whole(folder / name, (run / name).read_bytes())
        elif (folder / name).is_file():  # of a copy that was broken off
            delete(folder / name)
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    text = json.dumps({**metrics, **more}, indent=2, ensure_ascii=False)
    write_whole(folder / "metrics.json", f"{text}\n")
    found: dict[str, Any] = json.loads(text)
    return found


@contextmanager
def locked(inside: Path) -> Iterator[None]:
    """Keep other processes out of the folder of a series.

    Args:
        inside: The folder in it that holds its runs.

    Raises:
        RunFolderError: One is there.
    """
    lock = filelock.FileLock(inside / "lock", blocking=False)
    try:
        with lock:
            yield
    except filelock.Timeout:
        raise RunFolderError(
            f"Another process is training in {inside.parent}. Wait until it has ended, or stop it first."
        ) from None
