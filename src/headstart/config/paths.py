"""The paths among the settings, written so that a run can be resumed from any folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headstart.config.settings import TrainConfig


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


def absolute_paths(config: TrainConfig) -> dict[str, Any]:
    """Return the settings that contain paths, with absolute ones."""
    weights_is_path = config.weights not in ("default", "random") and Path(config.weights).exists()
    is_path = {
        "data": True,
        "val": isinstance(config.val, str),
        "images": config.images is not None,
        "decisions": bool(config.decisions),
        "backbone": config.backbone_is_file,
        "weights": weights_is_path,
    }
    return {name: str(Path(getattr(config, name)).absolute()) for name, is_one in is_path.items() if is_one}
