"""The paths among the settings, written so that a run can be resumed from any folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def like_data(data: str, path: str) -> str:
    """Return a path that begins like ``data`` if it lies in that folder, and is absolute if not.

    The paths of its photos in the files of a run are then the same if the run is resumed.
    """
    absolute = Path(path).absolute()
    if not absolute.exists():  # the error names it as the user did
        return path
    folder = Path(data) if Path(data).is_dir() else Path(data).parent
    below = folder.absolute()
    return str(folder / absolute.relative_to(below)) if absolute.is_relative_to(below) else str(absolute)


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
        "backbone": backbone_is_file,
        "weights": weights not in ("default", "random") and Path(weights).exists(),
    }
    return {name: str(Path(settings[name]).absolute()) for name, is_one in is_path.items() if is_one}
