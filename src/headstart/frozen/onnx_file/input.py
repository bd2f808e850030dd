"""Finds the input of a user's ONNX file that takes photos, its layout and its size, by running the file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import onnx
import onnxruntime

from headstart.errors import ConfigError, NetworkError, UsageError
from headstart.frozen.onnx_file.batch import noise, run
from headstart.frozen.onnx_file.surgery import serialised, with_normalisation
from headstart.frozen.onnx_file.words import described
from headstart.images.settings import Preprocessing
from headstart.inference.runtime import open_session

GUESSED_SIZE_PX: Final = 224

USUAL_SIZES_PX: Final = (224, 256, 288, 299, 336, 384, 448, 512, 518)

_FLOATS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def image_input(graph: onnx.GraphProto, file: str) -> onnx.ValueInfoProto:
    """Return the input that takes photos.

    Raises:
        NetworkError: There is no such input, there are further inputs, or its type is not supported.
    """
    inputs = list(graph.input)
    images = [each for each in inputs if len(each.type.tensor_type.shape.dim) == 4]
    if not inputs:
        raise NetworkError(f"{file} computes the same for every photo: its output depends on no input.")
    if not images:
        is_text = any(re.search(r"ids|mask|token|text", each.name) for each in inputs)
        raise NetworkError(
            f"{file} {'is a text model' if is_text else 'does not take photos'}: its input is "
            f"{described(inputs)}. Name a network that takes (N, 3, H, W) or (N, H, W, 3)."
        )
    if len(inputs) > 1:
        kind = "several images" if len(images) == len(inputs) else f"more than photos ({images[0].name})"
        raise NetworkError(
            f"{file} takes {kind}: {described(inputs)}. Export the image encoder alone, or choose an output "
            f"that needs the photos only with --output-name."
        )
    kind = images[0].type.tensor_type.elem_type
    if kind not in (*_FLOATS, onnx.TensorProto.UINT8):
        raise NetworkError(
            f"{file} takes photos as {onnx.TensorProto.DataType.Name(kind).lower()}; it must be float32, "
            f"float16, float64 or uint8. Export it with one of these."
        )
    image: onnx.ValueInfoProto = images[0]
    return image


def fitted(
    part: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    wanted: Preprocessing,
    size_px: int | None,
    file: str,
    say: Callable[[str], object],
) -> tuple[onnx.ModelProto, np.ndarray, Preprocessing, bool]:
    """Find the layout and the size of a network's input.

    Returns:
        The network with normalisation before it, its output for a batch, the preprocessing with the size, and
        whether channels come first.

    Raises:
        ConfigError: The file requires another size than ``size_px``.
        NetworkError: The network cannot run, its input is not square or does not have three channels, or it
            accepts both layouts.
    """
    dims = [side.dim_value or None for side in image.type.tensor_type.shape.dim]
    layouts = {True: (dims[1], dims[2:]), False: (dims[3], dims[1:3])}
    possible = [first for first, (channels, _) in layouts.items() if channels == 3]
    possible = possible or [first for first, (channels, _) in layouts.items() if channels is None]
    if not possible:
        raise NetworkError(
            f"{file} does not take photos of three channels: its input is {described([image])}."
        )
    worked = []
    failed: list[UsageError] = []
    for first in possible:
        sides = {side for side in layouts[first][1] if side}
        if len(sides) > 1:
            failed.append(_not_square(file, image))
            continue
        fixed = next(iter(sides), None)
        if fixed and size_px not in (None, fixed):
            failed.append(
                ConfigError(
                    f"size_px is {size_px}, but {file} takes photos of {fixed} pixels. Leave size_px out."
                )
            )
            continue
        preprocessing = replace(wanted, size_px=fixed or size_px or GUESSED_SIZE_PX)
        try:
            model, features = _tried(part, preprocessing, channels_first=first, batch=dims[0] or 1)
            worked.append((model, features, preprocessing, first, fixed))
        except Exception as error:  # ONNX Runtime has many
            failed.append(_cannot_run(error, part, preprocessing, first, dims, fixed, file))
    if len(worked) > 1:
        raise NetworkError(
            f"{file} does not say whether channels come first or last, and runs with both: its input is "
            f"{described([image])}. Export it with a fixed number of channels."
        )
    if not worked:
        raise failed[0]
    model, features, preprocessing, first, fixed = worked[0]
    if not fixed and size_px is None:
        taken = f"{preprocessing.size_px} pixels are taken"
        say(f"{file} takes photos of any size, so {taken}. To change it: --size-px")
    return model, features, preprocessing, first


def _tried(
    part: onnx.ModelProto, preprocessing: Preprocessing, *, channels_first: bool, batch: int
) -> tuple[onnx.ModelProto, np.ndarray]:
    model = with_normalisation(part, preprocessing, channels_first=channels_first)
    session = open_session(serialised(model), is_trial=True)
    return model, run(session, noise(batch, preprocessing.size_px))


def _cannot_run(
    error: Exception,
    part: onnx.ModelProto,
    preprocessing: Preprocessing,
    channels_first: bool,
    dims: Sequence[int | None],
    fixed: int | None,
    file: str,
) -> NetworkError:
    """Return an error about why a file cannot run, as far as the reason can be found."""
    text = str(error)
    unknown = re.search(r"(\S+)\(-?\d+\) is not a registered|No Op registered for (\S+)", text)
    missing = re.search(r"Could not find an implementation for (\w+)", text)
    if unknown or missing:
        operator = next(each for match in (unknown, missing) if match for each in match.groups() if each)
        return NetworkError(
            f"{file} uses the operator {operator}, which ONNX Runtime {onnxruntime.__version__} does not "
            f"have. Export the network without it."
        )
    if re.search(r"guarantees\* support|IR version", text):
        versions = ", ".join(f"{e.domain or 'ai.onnx'} {e.version}" for e in part.opset_import)
        return NetworkError(
            f"{file} is written in a version of ONNX (operators {versions}; IR {part.ir_version}) that ONNX "
            f"Runtime {onnxruntime.__version__} does not read. Export it with an older opset, or upgrade "
            f"with: pip install --upgrade onnxruntime"
        )
    reason = _first_sentence(text)
    if fixed:
        return NetworkError(
            f"{file} cannot be run: ONNX Runtime says: {reason} Export the network again, and see that it "
            f"runs in ONNX Runtime."
        )
    for size_px in USUAL_SIZES_PX:
        try:
            _tried(
                part,
                replace(preprocessing, size_px=size_px),
                channels_first=channels_first,
                batch=dims[0] or 1,
            )
        except Exception:  # another size, then
            continue
        return NetworkError(
            f"{file} does not take photos of {preprocessing.size_px} pixels. It takes {size_px}: add "
            f"--size-px {size_px}"
        )
    return NetworkError(
        f"{file} cannot be run on photos of {preprocessing.size_px} pixels: ONNX Runtime says: {reason} If "
        f"it needs another size, name it with --size-px."
    )


def _not_square(file: str, image: onnx.ValueInfoProto) -> NetworkError:
    return NetworkError(
        f"{file} takes photos that are not square: its input is {described([image])}. Export it for square "
        f"ones."
    )


def _first_sentence(text: str) -> str:
    """Return the message of ONNX Runtime without codes, source positions and further lines."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text.strip())
    text = re.sub(r"/\S+\.(?:cc|h):\d+ .*?\) (?=[A-Z])", "", text)
    text = (text.splitlines() or ["nothing"])[0][:300].rstrip(" .")
    return f"{text}."
