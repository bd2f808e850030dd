"""The description in model files, and the checksums of ``model.onnx``, ``model.safetensors`` and checkpoints.

A seal is a SHA-256 of everything in the file. It is stored in the file where other programs expect metadata,
so any ONNX runtime and any safetensors library can read a sealed file. It detects damage, not forgery.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.errors import ConfigError, DamagedFileError, HeadstartError, UsageError, shell_command
from headstart.images.settings import Preprocessing
from headstart.images.steps import steps_json
from headstart.inference.self_test import SelfTest

FORMAT: Final = 6
"""Increased with each new attribute of ``ModelInfo``, so that an older Headstart reports what it needs."""

STATES_TEMPERATURES: Final = 6  # the first format that does

PLACEHOLDER: Final = "0" * 64
"""Placeholder for ``"sha256"`` in the metadata of a safetensors file while the file is hashed."""

HEAD: Final = ("head.weight", "head.bias")
"""Names of the tensors in a ``model.safetensors`` that contains only a head, without its backbone."""


@dataclass(frozen=True)
class ModelInfo:
    """The description in a model file. It has no time, path or host name: equal training gives equal files.

    Attributes:
        task: Name of the task, such as ``"classification"``.
        backbone: Full name with the tag of its official weights, such as ``"resnet18.IMAGENET1K_V1"``.
        class_names: Names of the classes, in the order of the outputs.
        preprocessing: How photos are converted into the network's input.
        weights: SHA-256 of the pretrained weights, or ``"random"``.
        weights_from: Origin of the pretrained weights: see ``WeightsSource.origin``; empty if unknown.
        licence: Licence of the pretrained weights, as their publisher states it; empty if unknown.
        head: ``"linear"``; ``"stages"``, a linear layer that also reads earlier stages; ``"spatial"``; or
            ``"own"`` for a user's own network.
        stages: Names of the earlier stages that a head of the kind ``"stages"`` reads.
        targets: Names of the predicted numbers, if numbers are predicted.
        scale: Means and standard deviations of the numbers, by which the network's outputs are standardised.
        thresholds: Per-class decision threshold (several labels only): a photo has the class if its
            probability is at least this.
        temperatures: What calibration divided the logits by, one or one per label; empty without it.
        unknown_threshold: A photo with a higher output ``unknown`` is of none of the classes; None without
            this output.
        groups: Digests of the groups of the training photos, ascending: see ``answers/groups.py``. Empty
            without groups, or if there are more than 1,000.
        num_groups: Number of these groups.
        stored_as: Type of the stored weights: ``"float32"``, or ``"float16"`` in a ``model-fp16.onnx``.
        self_test: Inputs from a seed and this file's outputs for them; None in a file of weights.
        versions: Versions of Python and of the packages that created the file, by name.
        format: Format number of this description.
    """

    task: str
    backbone: str
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    weights: str = ""
    weights_from: str = ""
    licence: str = ""
    head: str = "linear"
    stages: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    scale: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
    thresholds: tuple[float, ...] = ()
    temperatures: tuple[float, ...] = ()
    unknown_threshold: float | None = None
    groups: tuple[str, ...] = ()
    num_groups: int = 0
    stored_as: str = "float32"
    self_test: SelfTest | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the network; a box comes before the logits of its class."""
        return tasks.of(self.task).num_outputs(len(self.class_names), len(self.targets))

    @property
    def num_box_classes(self) -> int:
        """Number of classes that are predicted for a box; 0 if there is only one class."""
        return tasks.of(self.task).num_box_classes(len(self.class_names))

    def to_json(self) -> str:
        """Return compact JSON, the same for equal values, in ASCII so that it is safe in any file."""
        fields = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        fields |= {"preprocessing": self.preprocessing.to_dict(), "versions": dict(self.versions)}
        fields["self_test"] = self.self_test and self.self_test.to_dict()
        if self.format < STATES_TEMPERATURES:
            del fields["temperatures"]
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> ModelInfo:
        """Parse the result of ``to_json``.

        Raises:
            UsageError: It was written by a newer version of Headstart.
            DamagedFileError: It is not a valid description.
        """
        try:
            fields = json.loads(text)
            if type(fields["format"]) is not int:
                raise TypeError(f"format is {fields['format']!r}; it must be an integer")
            if fields["format"] > FORMAT:
                raise UsageError(
                    f"The model was written by a newer Headstart, in format {fields['format']}; this one "
                    f"reads up to {FORMAT}. Upgrade with: pip install --upgrade headstart"
                )
            if fields["task"] not in tasks.TASKS:
                raise ValueError(f"task is {fields['task']!r}")
            fields["preprocessing"] = Preprocessing.from_dict(fields["preprocessing"])
            for name in ("class_names", "targets", "thresholds", "temperatures", "stages", "groups"):
                fields[name] = tuple(fields.get(name, ()))
            mean, std = fields.get("scale", ((), ()))
            fields["scale"] = tuple(mean), tuple(std)
            if fields.get("self_test") is not None:
                fields["self_test"] = SelfTest.from_dict(fields["self_test"])
            return cls(**fields)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise DamagedFileError(f"The description is not as Headstart writes it: {reason}") from error


# ONNX. A file is one protobuf message: fields, one after the other, each a tag (field number and wire type)
# and a value. Appending a field needs no parsing. `metadata_props`, field 14, repeats: each is a message of
# its own, with the key as field 1 and the value as field 2.
# Source: https://protobuf.dev/programming-guides/encoding/ and onnx/onnx.proto

_LENGTH_DELIMITED: Final = 2  # wire type of bytes, and of messages
_KEY, _VALUE, _METADATA_PROPS = (number << 3 | _LENGTH_DELIMITED for number in (1, 2, 14))
_INFO_KEY: Final = b"headstart"
_HASH_KEY: Final = b"sha256"


def seal_onnx(model: bytes, info: ModelInfo) -> bytes:
    """Append steps of preprocessing, a description, and the checksum of all bytes before it to an ONNX file.

    Args:
        model: A serialised ONNX model, not sealed.
        info: Description to store in the file.
    """
    steps = _metadata_field(b"preprocessing", steps_json(info.preprocessing).encode())
    described = model + steps + _metadata_field(_INFO_KEY, info.to_json().encode())
    return described + _onnx_seal(described)


def open_onnx(path: str | os.PathLike[str]) -> tuple[bytes, ModelInfo]:
    """Read and verify a sealed ONNX file.

    Returns:
        The bytes of the file, for ``runtime.open_session``, and its description.

    Raises:
        UsageError: The file cannot be read, is not a Headstart model, or was written by a newer version of
            Headstart.
        DamagedFileError: The checksum of the file is wrong.
    """
    model = _read(path)
    return model, verify_onnx(model, name=os.fsdecode(path))


def verify_onnx(model: bytes, *, name: str) -> ModelInfo:
    """Verify the bytes of a sealed ONNX file and return its description.

    Args:
        model: Result of ``seal_onnx``.
        name: Name of the file in errors.

    Raises:
        UsageError: It is not a Headstart model, or was written by a newer version of Headstart.
        DamagedFileError: The checksum is wrong.
    """
    seal_at = max(0, len(model) - _ONNX_SEAL_BYTES)
    with memoryview(model) as view:
        whole = view[seal_at:] == _onnx_seal(view[:seal_at])
    if not whole:
        # One flipped bit cannot hit both marks of a Headstart model.
        marks = (bytes([len(_INFO_KEY)]) + _INFO_KEY, bytes([len(_HASH_KEY)]) + _HASH_KEY)
        if not any(mark in model for mark in marks):
            raise UsageError(
                f"{name} is not a Headstart model, or is cut short: it has no checksum at its end. A run "
                "folder's model.onnx is one; networks trained elsewhere cannot be used here."
            )
        raise DamagedFileError(
            f"{name} is damaged: its content does not match its checksum. {_repair(Path(name))}"
        )
    try:
        return ModelInfo.from_json(_info_text(model))
    except (UsageError, DamagedFileError) as error:
        raise type(error)(f"{name} is refused. {error}") from error


def _repair(file: Path) -> str:
    """Return advice about a damaged model file."""
    if file.name == "model.onnx" and file.with_name("model.safetensors").is_file():
        return f"Write it again with: {shell_command('export', file.parent, '--to', 'onnx')}"
    return "Copy it from its run folder again."


def is_headstart_model(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is a ``model.onnx`` written by Headstart, even if it is damaged."""
    try:
        open_onnx(path)
    except DamagedFileError:
        return True
    except (HeadstartError, OSError):
        return False
    return True


def _onnx_seal(content: bytes | memoryview) -> bytes:
    return _metadata_field(_HASH_KEY, hashlib.sha256(content).hexdigest().encode())


def _metadata_field(key: bytes, value: bytes) -> bytes:
    entry = _delimited(_KEY, key) + _delimited(_VALUE, value)
    return _delimited(_METADATA_PROPS, entry)


def _delimited(tag: int, value: bytes) -> bytes:
    size, varint = len(value), bytearray()
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([tag, *varint, size]) + value


_ONNX_SEAL_BYTES: Final = len(_onnx_seal(b""))


def _info_text(model: bytes) -> str:
    """Return the description that ``seal_onnx`` has put right before the seal of a verified model."""
    key = _delimited(_KEY, _INFO_KEY)
    end = len(model) - _ONNX_SEAL_BYTES
    at = model.rfind(key, 0, end) + len(key) + 1  # behind the tag of the value
    if at <= len(key):
        raise DamagedFileError("It has no description.")
    while model[at] > 0x7F:  # the bytes of its length, but for the last
        at += 1
    return model[at + 1 : end].decode(errors="replace")


# safetensors. Eight bytes with the length of the header (little-endian), the header (JSON, filled up with
# spaces), the tensors' bytes. The header's `__metadata__` maps strings to strings.
# Source: https://github.com/huggingface/safetensors#format

_MOST_HEADER_BYTES: Final = 10**8  # as in the library
_SHA256_ENTRY: Final = re.compile(rb'"sha256":"([0-9a-f]{64})"')  # a quote inside a string has a backslash


def seal_safetensors(data: bytes) -> bytes:
    """Store the checksum of a whole safetensors file in its metadata, as ``"sha256"``.

    The header is rewritten with sorted metadata, because the library's order differs between processes and
    equal content must give equal files.

    Args:
        data: A safetensors file; an entry ``"sha256"`` in its metadata is replaced.
    """
    start, tensors = _split_safetensors(data)
    header = json.loads(start[8:])
    metadata = header.pop("__metadata__", {}) | {"sha256": PLACEHOLDER}
    text = json.dumps(
        {"__metadata__": dict(sorted(metadata.items())), **header}, separators=(",", ":")
    ).encode()
    text += b" " * (-len(text) % 8)
    start = len(text).to_bytes(8, "little") + text
    seal, digest = _safetensors_seal(start, tensors)
    return b"".join((start[: seal.start], digest, start[seal.stop :], tensors))


def open_safetensors(path: str | os.PathLike[str]) -> tuple[bytes, dict[str, str]]:
    """Read and verify a sealed safetensors file.

    Returns:
        The bytes of the file, for ``safetensors.torch.load``, and its metadata.

    Raises:
        UsageError: The file cannot be read.
        DamagedFileError: The checksum of the file is wrong or missing.
    """
    data = _read(path)
    return data, verify_safetensors(data, name=os.fsdecode(path))


def verify_safetensors(data: bytes, *, name: str) -> dict[str, str]:
    """Verify the bytes of a sealed safetensors file and return its metadata.

    Args:
        data: Result of ``seal_safetensors``.
        name: Name of the file in errors.

    Raises:
        DamagedFileError: The checksum is wrong or missing.
    """
    start, tensors = _split_safetensors(data)
    seal, digest = _safetensors_seal(start, tensors)
    if start[seal] != digest:
        raise DamagedFileError(
            f"{name} is damaged, or not written by Headstart: its content does not match its checksum. "
            "Restore it from a copy, or train again."
        )
    metadata: dict[str, str] = json.loads(start[8:])["__metadata__"]
    return metadata


def info_of_safetensors(path: str | os.PathLike[str]) -> ModelInfo | None:
    """Return the description in a ``model.safetensors`` without verifying it; None for any other file.

    Raises:
        UsageError: It was written by a newer version of Headstart.
        DamagedFileError: The description is not valid.
    """
    try:
        with open(path, "rb") as file:
            header = file.read(min(int.from_bytes(file.read(8), "little"), _MOST_HEADER_BYTES))
        text = json.loads(header)["__metadata__"]["headstart"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # reading it whole will tell
        return None
    return ModelInfo.from_json(text)


def refuse_to_build(path: str | os.PathLike[str], info: ModelInfo | None) -> None:
    """Raise ``UsageError`` if the network of a ``model.safetensors`` is not one of a library.

    Args:
        path: Path of the file, for the message.
        info: Description of the model.
    """
    if info is None:
        return
    if info.head == "own":
        raise UsageError(
            f"{os.fsdecode(path)} holds the weights of a network that its user wrote, so Headstart cannot "
            f"build it. Build it, and load them with safetensors.torch.load_file; model.onnx beside it needs "
            f"nothing."
        )
    if info.backbone.lower().endswith(".onnx"):
        raise UsageError(
            f"{os.fsdecode(path)} holds the head of a run on {info.backbone}, which PyTorch cannot build. "
            f"model.onnx beside it is the whole model."
        )


def refuse_native(path: str | os.PathLike[str], info: ModelInfo | None) -> None:
    """Raise ``UsageError`` if the head of a ``model.safetensors`` has no place in the native network.

    Args:
        path: Path of the file, for the message.
        info: Description of the model.
    """
    if info and info.head == "stages":
        raise UsageError(
            f"{os.fsdecode(path)} has a head that reads several stages of the backbone, for which the native "
            f"network has no place. model.onnx beside it is the whole model. For a head in the native place, "
            f"train with head = 'linear' (--head linear)."
        )
    if info and info.head == "spatial":
        raise UsageError(
            f"{os.fsdecode(path)} has a spatial head on the feature map before the pooling, which the native "
            f"network does not support. Use model.onnx beside it, or train with head = 'linear'."
        )


def _split_safetensors(data: bytes) -> tuple[bytes, memoryview]:
    """Return the header with its length, and the bytes of the tensors without copying them."""
    header_end = 8 + int.from_bytes(data[:8], "little")
    return data[:header_end], memoryview(data)[header_end:]


def _safetensors_seal(start: bytes, tensors: memoryview) -> tuple[slice, bytes]:
    """Return the position of the seal, and its correct value: the file's hash with zeros in its place."""
    entry = _SHA256_ENTRY.search(start)
    seal = slice(*entry.span(1)) if entry else slice(0, 0)
    digest = hashlib.sha256(start[: seal.start] + PLACEHOLDER.encode() + start[seal.stop :])
    digest.update(tensors)
    return seal, digest.hexdigest().encode()


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{os.fsdecode(path)} cannot be read: {error.strerror}.") from error
