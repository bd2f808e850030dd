"""Reads a user's ONNX file with all its weights, and refuses other kinds of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Final

import google.protobuf.message
import onnx

from headstart.errors import NetworkError, UnknownBackboneError
from headstart.frozen.graph import bodies_of

LIMIT_BYTES: Final = 2**31 - 2**24
"""Largest size of a model in one ONNX file: 2 GiB minus some space for everything but weights."""

# How files begin that people name by mistake.
_OTHER_KINDS: Final = {
    b"PK\x03\x04": "a zip archive, as PyTorch writes .pth and .pt files",
    b"\x80": "a pickle, as PyTorch writes older .pth files",
    b"version https://git-lfs": "a Git LFS pointer: the file itself has not been downloaded",
    b"<": "a web page or XML",
    b"{": "JSON",
    b"\x89HDF": "an HDF5 file, as Keras writes it",
}


@dataclass(frozen=True)
class OnnxFile:
    """The content of an ONNX file.

    Attributes:
        model: The model, containing all its weights.
        sha256: SHA-256 of the file's bytes; with external data, of these and of the SHA-256 of each further
            file, sorted by name.
        data: Bytes of the file.
    """

    model: onnx.ModelProto
    sha256: str
    data: bytes


def read_onnx(path: str | os.PathLike[str]) -> OnnxFile:
    """Read an ONNX file, and its weights in files beside it.

    External data are read only from the folder of the file and its subfolders, so that a model from elsewhere
    cannot include other files of this machine.

    Raises:
        UnknownBackboneError: The file does not exist.
        NetworkError: The file is not an ONNX model, is damaged or too large, or its external data are
            missing, truncated or outside its folder.
    """
    path = Path(path)
    if not path.is_file():
        raise UnknownBackboneError(
            f"There is no file {str(path)!r}. Name an ONNX file that exists, or a backbone: headstart "
            f"backbones lists them."
        )
    try:
        if (size := path.stat().st_size) > LIMIT_BYTES:
            raise _too_large(path, size)
        data = path.read_bytes()
    except OSError as error:
        raise NetworkError(f"{path} cannot be read: {error.strerror or error}.") from error
    model = _parsed(data, path)
    sha256 = hashlib.sha256(data)
    for each in _embed_external_data(model, path, len(data)):
        with open(each, "rb") as file:
            sha256.update(hashlib.file_digest(file, "sha256").digest())
    return OnnxFile(model, sha256.hexdigest(), data)


def _parsed(data: bytes, path: Path) -> onnx.ModelProto:
    export = "Export the network to ONNX, or name the .onnx file."
    if not data:
        raise NetworkError(f"{path} is empty. Download or copy it again.")
    for begin, kind in _OTHER_KINDS.items():
        if data.lstrip().startswith(begin):
            raise NetworkError(f"{path} is not an ONNX model: it is {kind}. {export}")
    try:
        model = onnx.load_from_string(data)
    except google.protobuf.message.DecodeError:
        raise NetworkError(
            f"{path} is not an ONNX model, or is damaged or cut short. Download or copy it again."
        ) from None
    if not model.ir_version or not model.opset_import or not model.graph.node:
        raise NetworkError(f"{path} is not an ONNX model: it contains no network. {export}")
    if model.graph.sparse_initializer:
        raise NetworkError(
            f"{path} holds sparse weights, which are not supported. Export it with dense ones."
        )
    return model


def _embed_external_data(model: onnx.ModelProto, path: Path, num_bytes: int) -> list[Path]:
    """Load weights from other files into the model; return these files, sorted by name.

    Raises:
        NetworkError: The files are missing, truncated, outside the folder of the model, or too large.
    """
    files: dict[str, Path] = {}
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        about = {entry.key: entry.value for entry in tensor.external_data}
        location = about.get("location", "")
        file = files[location] = files.get(location) or _beside(path, location)
        try:
            offset = int(about.get("offset") or 0)
            length = int(about.get("length") or file.stat().st_size - offset)
            num_bytes += length
            if num_bytes > LIMIT_BYTES:
                raise _too_large(path, num_bytes)
            if offset < 0 or length < 0:
                raise ValueError
            with open(file, "rb") as opened:
                opened.seek(offset)
                values = opened.read(length)
        except ValueError:
            raise NetworkError(f"{path} is damaged: the position of its weights is not a number.") from None
        except OSError as error:
            raise NetworkError(
                f"{file}, which holds weights of {path}, cannot be read: {error.strerror or error}."
            ) from error
        if len(values) < length:
            raise NetworkError(
                f"{file}, which holds weights of {path}, is cut short: it should have at least "
                f"{offset + length:,} bytes. Download or copy it again."
            )
        tensor.raw_data = values
        tensor.ClearField("data_location")
        del tensor.external_data[:]
    return [files[location] for location in sorted(files)]


def _beside(path: Path, location: str) -> Path:
    """Return the path of an external data file.

    Raises:
        NetworkError: It is not in the folder of the model, or does not exist.
    """
    folder = path.absolute().parent
    names = PureWindowsPath(location)  # knows both kinds of slashes, and drives
    is_inside = location and not names.anchor and ".." not in names.parts
    is_inside = is_inside and not PurePosixPath(location).is_absolute()
    if is_inside and not (folder / location).resolve().is_relative_to(folder.resolve()):
        raise NetworkError(
            f"{path} keeps weights in {location!r}, which is a symbolic link to a place outside its folder, "
            f"so it is not read. Copy both files into one folder, and name the copy."
        )
    if not is_inside:
        raise NetworkError(
            f"{path} keeps weights in {location!r}, which is outside its folder, so it is not read. Save the "
            f"model again with its weights inside, or in a file beside it."
        )
    if not (folder / location).is_file():
        raise NetworkError(
            f"{path} keeps weights in {location!r}, which is not in the folder {folder}. Put it there; a "
            f"model of two files needs both."
        )
    return folder / location


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all tensors in a model: weights and constants, also those in bodies and functions."""
    yield from _tensors_of(model.graph)
    for function in model.functions:
        yield from _tensors_of_nodes(function.node)


def _tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    yield from _tensors_of_nodes(graph.node)


def _tensors_of_nodes(nodes: list[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for body in bodies_of(attribute):
                yield from _tensors_of(body)


def _too_large(path: Path, num_bytes: int) -> NetworkError:
    return NetworkError(
        f"{path} holds {num_bytes / 1e9:.1f} GB, and a model.onnx holds at most {LIMIT_BYTES / 1e9:.1f} GB. "
        f"Choose a smaller network, or export it in half precision."
    )
