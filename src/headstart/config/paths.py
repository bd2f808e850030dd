"""The paths among the settings, written so that a run can be resumed from any folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.files import absolute, is_remote


def like_data(data: str, path: str) -> str:
    """Return a path that begins like ``data`` if it lies in that folder, and is absolute if not.

    The paths of its photos in the files of a run are then the same if the run is resumed. A remote address is
    not changed.
    """
    whole = Path(path).absolute()
    is_range = "{" in path  # of tar files
    if is_remote(path) or not (is_range or os.path.exists(whole)):  # noqa: PTH110  # False for a long name
        return path  # the error names it as the user did
    folder = Path(data) if Path(data).is_dir() else Path(data).parent
    below = folder.absolute()
    return str(folder / whole.relative_to(below)) if whole.is_relative_to(below) else str(whole)


def absolute_paths(settings: Mapping[str, Any], *, backbone_is_file: bool) -> dict[str, Any]:
    """Return the settings that contain paths, with absolute ones.

    Args:
        settings: Values by name.
        backbone_is_file: Whether the backbone is a file of the user.
    """
    weights = settings["weights"]
    is_path = {
        "data": True,
        "val": isinstance(settings["val"], str),
        "images": settings["images"] is not None,
        "decisions": bool(settings["decisions"]),
        "store": settings["store"] is not None,
        "backbone": backbone_is_file,
        "weights": weights not in ("default", "random") and Path(weights).exists(),
    }
    return {name: absolute(settings[name]) for name, is_one in is_path.items() if is_one}
