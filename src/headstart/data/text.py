"""Path and label of a photo as text, for ``photos.csv`` and ``answers.csv``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from headstart import tasks
from headstart.files import is_remote
from headstart.records import Record


def path_below(path: str, root: str) -> str:
    """Return the path of a photo relative to the data folder, with slashes; its full path if elsewhere."""
    below = path.removeprefix(f"{root}{os.sep}")
    if below != path and os.altsep is None and "//" not in below and "/./" not in f"/{below}":
        return below  # without a Path, which takes a tenth of a millisecond
    if is_remote(path):
        return path
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:  # validation photos may lie in a folder of their own
        return path


def reason_below(reason: str, root: str) -> str:
    """Return a reason with paths relative to the data folder, so that it is the same for a resumed run."""
    return re.sub(rf"(?<![^\s'\"]){re.escape(root + os.sep)}", "", reason)


def label_text(record: Record, task: str, class_names: Sequence[str]) -> str:
    """Return the label of a photo as text: see ``Task.text``."""
    numbers = list(map(repr, record.numbers if record.box is None else record.box))
    return tasks.of(task).text(class_names, record.label, record.labels, numbers)
