"""A trained model in another form."""

from __future__ import annotations

import html
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from headstart.errors import ConfigError, UsageError, did_you_mean, requires_extra
from headstart.files import EXPORTS, given_path, refuse_to_write
from headstart.inference.model_file import (
    info_of_safetensors,
    is_headstart_model,
    refuse_native,
    refuse_to_build,
)
from headstart.inference.predictor import Predictor

ExportFormat: TypeAlias = Literal["onnx", "pth"]
FORMATS: Final[tuple[str, ...]] = get_args(ExportFormat)
"""What a trained model can be written as."""


@dataclass(frozen=True, repr=False)
class Exported:
    """A file that a trained model was written to. It is shown as its path and the lines that load it.

    Attributes:
        path: The file.
        usage: Lines of Python that load it without Headstart and prepare an image for it; empty for ONNX.
    """

    path: Path
    usage: str = ""

    def __repr__(self) -> str:
        return "\n".join(filter(None, [f"Written: {self.path}", self.usage]))

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        code = f"<pre>{html.escape(self.usage)}</pre>" if self.usage else ""
        return f"<p>Written: {html.escape(str(self.path))}</p>{code}"


def export(
    run: Predictor | str | os.PathLike[str], to: ExportFormat, out: str | os.PathLike[str] | None = None
) -> Exported:
    """Write the trained model of a run in another form. Needs PyTorch.

    Args:
        run: A run folder, or what ``load`` returned for one.
        to: ``"onnx"`` for a ``model.onnx`` as training writes it, ``"pth"`` for a state dict in the names of
            the backbone's library.
        out: The file to write; by default ``model.onnx`` or ``model.pth`` in the run folder. A file that is
            there is replaced where it was named, or is a model of Headstart's.

    Raises:
        UsageError: There is no such run, its network cannot be written in this form, or ``out`` must not be
            replaced.
        MissingPackageError: PyTorch is not installed.
        DamagedFileError: The run's model is not as it was written.
    """
    if to not in FORMATS:
        raise ConfigError(f"to is {to!r}; it must be {' or '.join(FORMATS)}.{did_you_mean(to, FORMATS)}")
    folder = _folder_of(run)
    weights, written = folder / "model.safetensors", folder / "model.onnx"
    if not weights.is_file():
        raise UsageError(
            f"{folder} is not a folder with a model.safetensors in it. Name the folder of a finished run."
        )
    info = info_of_safetensors(weights)
    refuse_to_build(weights, info)
    if to == "pth":
        refuse_native(weights, info)
    otherwise = f"{written} needs no PyTorch: use it, or copy it, as it is." if written.is_file() else ""
    with requires_extra("train", "The command export", otherwise):
        from headstart.products.onnx import write_onnx
        from headstart.products.pth import write_pth

    if out is None:
        path = folder / f"model.{to}"
        if path.exists() and not (to == "onnx" and is_headstart_model(path)):
            raise UsageError(
                f"{path} already exists. To replace it, add --out {shlex.quote(str(path))} (in Python: "
                f"out={str(path)!r}); to keep it, name another file."
            )
    else:
        path = given_path(out, "out", "the output file")
    refuse_to_write(path, EXPORTS)
    if to == "pth":
        return Exported(path, write_pth(weights, path))
    write_onnx(weights, path)
    return Exported(path)


def _folder_of(run: Predictor | str | os.PathLike[str]) -> Path:
    """Return the run folder of a trained model."""
    if not isinstance(run, Predictor):
        return given_path(run, "run", "a run folder, or what headstart.load returned for one")
    if run.path is None:
        raise UsageError("The model was opened from its content, so its run is unknown. Name the run folder.")
    return Path(run.path).parent
