"""Finds the model file that a path means."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from headstart.errors import RunFolderError, shell_command

_MOST_NAMED: Final = 10  # models, in a message


def model_in(path: Path) -> Path:
    """Return the path of the model file in a run folder, or the path itself if it is a file."""
    if path.is_file():
        return path
    model = path / "model.onnx"
    if model.is_file():
        return model
    if (path / "config.toml").is_file() and any((path / each).is_dir() for each in ("checkpoints", "steps")):
        raise RunFolderError(
            f"The run in {path} has no model.onnx: its training did not finish. Finish it first: "
            f"{shell_command('resume', path)}"
        )
    if (path / "config.toml").is_file():
        raise RunFolderError(
            f"The run in {path} has no model.onnx. If it has a model.safetensors, write it again with: "
            f"{shell_command('export', path, '--to', 'onnx')} (needs headstart[train]). Else train again."
        )
    if path.is_dir():
        wrong, around = f"{path} is not a run folder: it has no model.onnx.", path
    else:
        wrong, around = f"There is no file or folder {str(path)!r}.", path.parent
        if around == Path() and Path("runs").is_dir():  # a name without the folder that training makes
            around = Path("runs")
    runs = [str(model.parent) for model in sorted(around.glob("*/model.onnx"))]
    some = ", ".join(runs[:_MOST_NAMED]) + (", ..." if len(runs) > _MOST_NAMED else "")
    found = f"Models in {str(around)!r}: {some}." if runs else f"No models are in {str(around)!r}."
    raise RunFolderError(
        f"{wrong} A model is the run folder that headstart train makes, or its model.onnx. {found}"
    )
