"""A trained model in another form, and a test vector for programs that run it."""

from __future__ import annotations

import dataclasses
import html
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from headstart.answers.agreement import Agreement
from headstart.config.checking import nearest_value
from headstart.errors import ConfigError, UsageError, requires_extra
from headstart.files import EXPORTS, given_path, refuse_to_write, write_whole
from headstart.images.photo import Photo
from headstart.inference.model_file import (
    info_of_safetensors,
    is_headstart_model,
    open_onnx,
    refuse_native,
    refuse_to_build,
)
from headstart.inference.predictor import Predictor, load
from headstart.inference.run_self_test import seal_with_self_test
from headstart.products.parity_with_run import parity_text, parity_with_run
from headstart.products.test_vector import write_test_vector
from headstart.products.web_folder import write_web_folder

ExportFormat: TypeAlias = Literal["onnx", "onnx-fp16", "pth", "timm", "test-vector", "web"]
FORMATS: Final[tuple[str, ...]] = get_args(ExportFormat)
"""What a trained model can be written as."""


@dataclass(frozen=True, repr=False)
class Exported:
    """A file that a trained model was written to. It is shown as its path and the lines that load it.

    Attributes:
        path: The file; of timm, a test vector and a page, the folder.
        usage: Of pth and timm, lines of Python that load the network without Headstart; else empty.
        parity: Of ONNX files: how far the answers for the run's validation photos are from those of the run;
            None if the photos are not on this machine.
        script: Of pth, the script beside it, which predicts photos without Headstart; else None.
        warning: What the model could do before and cannot do in this file; else empty.
    """

    path: Path
    usage: str = ""
    parity: Agreement | None = None
    script: Path | None = None
    warning: str = ""

    @property
    def parity_text(self) -> str:
        """The largest difference and every changed answer, in words; empty without a comparison."""
        return "" if self.parity is None else parity_text(self.parity)

    def __repr__(self) -> str:
        written = [f"Written: {path}" for path in (self.path, self.script) if path is not None]
        return "\n".join(filter(None, [*written, self.usage, self.parity_text, self.warning]))

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        code = f"<pre>{html.escape(self.usage)}</pre>" if self.usage else ""
        written = [f"Written: {path}" for path in (self.path, self.script) if path is not None]
        lines = filter(None, [*written, self.warning])
        return "".join(f"<p>{html.escape(line)}</p>" for line in lines) + code


def export(
    run: Predictor | str | os.PathLike[str],
    to: ExportFormat,
    out: str | os.PathLike[str] | None = None,
    *,
    photo: str | os.PathLike[str] | None = None,
) -> Exported:
    """Write the trained model of a run in another form. ``onnx``, ``pth`` and ``timm`` need PyTorch.

    Args:
        run: A run folder, a model file in it, or what ``load`` returned for one.
        to: ``"onnx"`` for a ``model.onnx`` as training writes it; ``"onnx-fp16"`` for one with weights in
            16 bits, half the size, which computes in 32 bits as before; ``"pth"`` for a state dict in the
            names of the backbone's library, and a script that predicts photos with it; ``"timm"`` for a
            folder that timm and the Hugging Face Hub can load, of networks of timm; ``"web"`` for a folder
            with a page that predicts photos on the visitor's device, for any web server; ``"test-vector"``
            for a folder with a photo, its pixels at network size and the outputs of ``model.onnx``, to check
            programs in other languages.
        out: The file to write; by default ``model.onnx``, ``model-fp16.onnx`` or ``model.pth`` in the run
            folder. A file that is there is replaced where it was named, or is a model of Headstart's. Of
            timm, a test vector and a page, the folder: new or empty, by default ``timm``, ``test-vector`` or
            ``web`` in the run folder.
        photo: The photo of a test vector; by default one that is made from a seed.

    Raises:
        UsageError: There is no such run, its network cannot be written in this form, ``out`` must not be
            replaced, there is a photo but no test vector, or onnxruntime-web cannot be fetched for a page.
        ImageError: The photo cannot be read.
        MissingPackageError: PyTorch is not installed.
        DamagedFileError: The run's model is not as it was written.
        ParityError: The answers of an ONNX file for the run's validation photos differ from those of the run
            by more than 0.03 (``onnx-fp16``) or 0.001; or a pth or timm network does not compute what
            ``model.onnx`` computes. Nothing is written.
    """
    if to not in FORMATS:
        allowed = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
        raise ConfigError(f"to is {to!r}; it must be {allowed}.{nearest_value(to, FORMATS)}")
    if to == "test-vector":
        return _export_test_vector(run, out, photo)
    if photo is not None:
        raise UsageError(f"photo is for a test vector; to is {to!r}. Remove it, or set to='test-vector'.")
    if to == "web":
        return _export_web_folder(run, out)
    folder = _folder_of(run)
    if to == "onnx-fp16":
        return _export_half(load(folder), folder, out)
    return _export_weights(folder, to, out)


def _export_weights(folder: Path, to: ExportFormat, out: str | os.PathLike[str] | None) -> Exported:
    """Export what is made from ``model.safetensors``, with PyTorch."""
    weights, written = folder / "model.safetensors", folder / "model.onnx"
    if not weights.is_file():
        alone = f" {written} does not hold the weights by name." if written.is_file() else ""
        raise UsageError(
            f"{folder} is not a folder with a model.safetensors in it. Name the folder of a finished run."
            f"{alone}"
        )
    info = info_of_safetensors(weights)
    refuse_to_build(weights, info)
    if to in ("pth", "timm"):
        refuse_native(weights, info)
    otherwise = f"{written} needs no PyTorch: use it, or copy it, as it is." if written.is_file() else ""
    with requires_extra("train", "The command export", otherwise):
        from headstart.products.onnx import sealed_onnx
        from headstart.products.pth import write_pth
        from headstart.products.timm_folder import write_timm

    if to == "timm":
        into = folder / "timm" if out is None else given_path(out, "out", "the folder to write")
        return Exported(into, write_timm(folder, into))
    path = _file(folder, to, out)
    refuse_to_write(path, EXPORTS)
    if to == "pth":
        usage, script = write_pth(weights, path)
        return Exported(path, usage, script=script)
    exported = _write_with_parity(sealed_onnx(weights), folder, path)
    had_unknown = info is not None and info.unknown_threshold is not None
    if had_unknown and load(path).info.unknown_threshold is None:
        return dataclasses.replace(exported, warning=_WITHOUT_UNKNOWN.format(path=path))
    return exported


_WITHOUT_UNKNOWN: Final = (
    "{path} does not recognise photos of none of the classes. Only the model.onnx that training wrote could, "
    "and it is missing, damaged or of other weights. To get this back, restore that file, or train again."
)


def _export_half(predictor: Predictor, folder: Path, out: str | os.PathLike[str] | None) -> Exported:
    from headstart.products.half import with_half_weights

    path = _file(folder, "onnx-fp16", out)
    refuse_to_write(path, EXPORTS)
    if predictor.info.stored_as != "float32":
        raise UsageError(f"The weights in {predictor.path} are already stored as {predictor.info.stored_as}.")
    assert predictor.path is not None
    model, info = open_onnx(predictor.path)
    half = seal_with_self_test(with_half_weights(model), dataclasses.replace(info, stored_as="float16"))
    return _write_with_parity(half, folder, path)


def _write_with_parity(model: bytes, folder: Path, path: Path) -> Exported:
    """Compare a sealed model file with the run on the validation photos, if they are here, and write it."""
    parity = parity_with_run(Predictor.from_bytes(model), folder)
    write_whole(path, model)
    return Exported(path, parity=parity)


def _file(folder: Path, to: ExportFormat, out: str | os.PathLike[str] | None) -> Path:
    """Return the file to write; raise ``UsageError`` if by default it would replace somebody else's."""
    if out is not None:
        return given_path(out, "out", "the output file")
    path = folder / ("model-fp16.onnx" if to == "onnx-fp16" else f"model.{to}")
    if path.exists() and not (path.suffix == ".onnx" and is_headstart_model(path)):
        raise UsageError(
            f"{path} already exists. To replace it, add --out {shlex.quote(str(path))} (in Python: "
            f"out={str(path)!r}); to keep it, name another file."
        )
    return path


def _export_test_vector(
    run: Predictor | str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    photo: str | os.PathLike[str] | None,
) -> Exported:
    predictor = run if isinstance(run, Predictor) else load(run)
    default = _folder_of(predictor) / "test-vector"
    folder = default if out is None else given_path(out, "out", "the folder to write")
    given = None if photo is None else Photo(os.fspath(given_path(photo, "photo", "a photo")))
    write_test_vector(predictor, folder, given)
    return Exported(folder)


def _export_web_folder(
    run: Predictor | str | os.PathLike[str], out: str | os.PathLike[str] | None
) -> Exported:
    predictor = run if isinstance(run, Predictor) else load(run)
    folder = _folder_of(predictor) / "web" if out is None else given_path(out, "out", "the folder to write")
    write_web_folder(predictor, folder)
    return Exported(folder)


def _folder_of(run: Predictor | str | os.PathLike[str]) -> Path:
    """Return the run folder of a trained model."""
    if not isinstance(run, Predictor):
        path = given_path(run, "run", "a run folder, or what headstart.load returned for one")
        return path.parent if path.suffix in (".onnx", ".safetensors") and path.is_file() else path
    if run.path is None:
        raise UsageError("The model was opened from its content, so its run is unknown. Name the run folder.")
    return Path(run.path).parent
