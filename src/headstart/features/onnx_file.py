"""A user's feature extractor in an ONNX file as a backbone: normalisation before it, pooling behind it.

What the file says is taken from it: the layout of its input, its size, its outputs. What it does not say is
an option or a guess, and every guess is reported; ``features/onnx_check.py`` tries the result on photos.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime

from headstart import tasks
from headstart.errors import ConfigError, NetworkError, UsageError, did_you_mean
from headstart.features.backbones import OnnxBackbone
from headstart.features.onnx_read import OnnxFile, read_onnx
from headstart.features.onnx_surgery import (
    last_layer,
    photo_by_photo,
    serialised,
    taken_out,
    with_normalisation,
    with_pooling,
)
from headstart.images.preprocess import Preprocessing
from headstart.model_file import ModelInfo, verify_onnx
from headstart.runtime import open_session
from headstart.weight_files import WeightsSource

Triple = tuple[float, float, float]

TOLERANCE: Final = 5e-3
"""How far a photo's features alone and beside others may be apart, as a fraction of the largest feature."""

GUESSED_SIZE_PX: Final = 224
USUAL_SIZES_PX: Final = (224, 256, 288, 299, 336, 384, 448, 512, 518)

# Vectors for a whole photo, as published encoders call them, the best first.
_POOLED: Final = (
    *("image_embeds", "image_embeddings", "image_embedding", "pooler_output", "pooled_output"),
    *("image_features", "embeddings", "embedding", "features"),
)
_TOKENS: Final = "last_hidden_state"
_ANSWERS: Final = re.compile(r"logits?|prob|softmax|classes|scores?|predictions?", re.IGNORECASE)
_NUM_CLASSES: Final = {1000, 1001, 10450, 11221, 11821, 21841, 21843}  # of ImageNet's versions
_FEW: Final = 64

_FLOATS: Final = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def open_backbone(
    path: str | os.PathLike[str],
    *,
    size_px: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    resize: str | None = None,
    output_name: str | None = None,
    say: Callable[[str], object] = print,
) -> OnnxBackbone:
    """Make a backbone of a user's ONNX file: a feature extractor with one input, photos.

    Its input may be float32, float16 or float64, normalised by ``mean`` and ``std``, or uint8, in which case
    normalisation is part of the file; channels come first or last. Its output may be (N, D), a map
    (N, D, H, W) or (N, H, W, D), whose mean over positions is taken, or tokens (N, T, D), of which the first
    is taken, or the mean where T is a square number, so that there is no class token among them. Equal files
    and options give equal graphs.

    Args:
        path: The file. Weights in further files must lie beside it.
        size_px: Side of the input, where the file leaves it open.
        mean: Per channel, of pixels scaled to 0..1, as in the network's training; default: ImageNet's.
        std: The same.
        resize: How photos become square: ``"crop"``, ``"pad"`` or ``"squash"``.
        output_name: Any tensor of the file to take as features, an output or not.
        say: Called with a sentence for every choice and guess.

    Raises:
        UnknownBackboneError: There is no such file.
        ConfigError: An option does not fit the file.
        NetworkError: The file is not an ONNX model, or not of a feature extractor for photos.
        DamagedFileError: It is a ``model.onnx`` of Headstart's and damaged.
    """
    file = read_onnx(path)
    name = Path(path).name
    info = _own_info(file, name)
    output = output_name or _chosen_output(file.model.graph, name, info, say)
    part = _part(file.model, output, name)
    image = _image_input(part.graph, name)
    is_uint8 = image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    if is_uint8 and (mean or std):
        raise ConfigError(
            [
                f"mean and std are given, but {name} takes photos as uint8, so that normalisation is a part "
                f"of it. Leave mean and std out."
            ]
        )
    wanted = info.preprocessing if info else _preprocessing(is_uint8, mean, std)
    if resize is not None:
        wanted = _replaced(wanted, resize=resize)
    model, features, preprocessing, is_first = _fitted(part, image, wanted, size_px, name, say)
    if output_name is None and info is None:
        _refuse_answers(part.graph, name, output, features.shape, say)
    num_features, pooling = _pooling(features, output, is_first, name, say)
    model = with_pooling(model, num_features, **pooling)
    graph = _checked(model, num_features, preprocessing.size_px, image, name, say)
    if not is_uint8 and not (mean and std):
        _say_what_is_guessed(name, preprocessing, mean, std, say)
    source = WeightsSource("file", os.fspath(path), file.sha256)
    return OnnxBackbone(name, graph, preprocessing, source, is_file=True)


def _own_info(file: OnnxFile, name: str) -> ModelInfo | None:
    """Return what a ``model.onnx`` of Headstart's says of itself; None for other files."""
    if not any(entry.key == "headstart" for entry in file.model.metadata_props):
        return None
    info = verify_onnx(file.data, name=name)
    if tasks.of(info.task).has_box or info.head != "linear":
        raise NetworkError(
            f"{name} was trained by Headstart for the task {info.task!r} with a head of the kind "
            f"{info.head!r}, so it has no features to put another head on. Name a model with a linear head, "
            f"or the backbone that this one was trained from: {info.backbone}."
        )
    return info


def _chosen_output(
    graph: onnx.GraphProto, file: str, info: ModelInfo | None, say: Callable[[str], object]
) -> str:
    """Return the name of the output to take as features; of a trained model, the input of its head."""
    names = [each.name for each in graph.output]
    if not names:
        raise NetworkError(f"{file} is not a usable ONNX model: it has no outputs.")
    if info is not None and (head := last_layer(graph, names[0])):
        say(f"{file} was trained by Headstart: the input of its head is taken as its features.")
        return str(head.input[0])
    candidates = [each for each in graph.output if not _ANSWERS.search(each.name)] or graph.output[:1]
    by_name = {each.name.lower(): each.name for each in candidates}
    vectors = [each.name for each in candidates if len(each.type.tensor_type.shape.dim) == 2]
    if pooled := [by_name[each] for each in _POOLED if each in by_name]:
        chosen = pooled[0]
    elif len(candidates) == 1:
        chosen = candidates[0].name
    elif len(vectors) == 1:
        chosen = vectors[0]
    elif _TOKENS in by_name:
        chosen = by_name[_TOKENS]
    else:
        raise NetworkError(
            f"{file} has several outputs, and none is known as features: {_described(graph.output)}. Choose "
            f"one with --output-name."
        )
    if len(names) > 1:
        others = ", ".join(name for name in names if name != chosen)
        say(f"Of the outputs of {file}, {chosen} is taken, and {others} is not. Another: --output-name NAME")
    return str(chosen)


def _part(model: onnx.ModelProto, output: str, file: str) -> onnx.ModelProto:
    """Take what leads to the features out of the model.

    Raises:
        ConfigError: There is no such tensor.
    """
    tensors = [name for node in model.graph.node for name in node.output if name]
    if output not in tensors:
        raise ConfigError(
            [
                f"output_name is {output!r}, and {file} has no such tensor.{did_you_mean(output, tensors)} "
                f"Its outputs are {_described(model.graph.output)}."
            ]
        )
    return taken_out(model, output)


def _image_input(graph: onnx.GraphProto, file: str) -> onnx.ValueInfoProto:
    """Return the input that takes photos.

    Raises:
        NetworkError: There is none, or there are further inputs, or it takes other numbers.
    """
    inputs = list(graph.input)
    images = [each for each in inputs if len(each.type.tensor_type.shape.dim) == 4]
    if not inputs:
        raise NetworkError(f"{file} computes the same for every photo: its output depends on no input.")
    if not images:
        is_text = any(re.search(r"ids|mask|token|text", each.name) for each in inputs)
        raise NetworkError(
            f"{file} {'is a text model' if is_text else 'does not take photos'}: its input is "
            f"{_described(inputs)}. Name a network that takes (N, 3, H, W) or (N, H, W, 3)."
        )
    if len(inputs) > 1:
        kind = "several images" if len(images) == len(inputs) else f"more than photos ({images[0].name})"
        raise NetworkError(
            f"{file} takes {kind}: {_described(inputs)}. Export the image encoder alone, or choose an output "
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


def _preprocessing(is_uint8: bool, mean: Triple | None, std: Triple | None) -> Preprocessing:
    """Return how photos become the input of a file that does not say it.

    Bicubic, for most published encoders were trained with that.
    """
    usual = Preprocessing(interpolation="bicubic")
    if is_uint8:
        return _replaced(usual, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return _replaced(usual, mean=mean or usual.mean, std=std or usual.std)


def _say_what_is_guessed(
    file: str,
    preprocessing: Preprocessing,
    mean: Triple | None,
    std: Triple | None,
    say: Callable[[str], object],
) -> None:
    guessed = [name for name, given in (("mean", mean), ("std", std)) if given is None]
    values = [f"{name} {','.join(f'{x:g}' for x in getattr(preprocessing, name))}" for name in guessed]
    say(
        f"{file} does not say how photos are normalised, so ImageNet's {' and '.join(values)} "
        f"{'are' if len(values) > 1 else 'is'} taken. If the network was trained with another, give it, for "
        f"example: --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"
    )


def _fitted(
    part: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    wanted: Preprocessing,
    size_px: int | None,
    file: str,
    say: Callable[[str], object],
) -> tuple[onnx.ModelProto, np.ndarray, Preprocessing, bool]:
    """Find the layout and the size that a network takes.

    Returns:
        The network behind normalisation, its output for a batch, the preprocessing with the size, and whether
        channels come first.

    Raises:
        ConfigError: The file takes another size than ``size_px``.
        NetworkError: It cannot run, takes photos that are not square or not of three channels, or runs with
            channels first and last.
    """
    dims = [side.dim_value or None for side in image.type.tensor_type.shape.dim]
    layouts = {True: (dims[1], dims[2:]), False: (dims[3], dims[1:3])}
    possible = [first for first, (channels, _) in layouts.items() if channels == 3]
    possible = possible or [first for first, (channels, _) in layouts.items() if channels is None]
    if not possible:
        raise NetworkError(
            f"{file} does not take photos of three channels: its input is {_described([image])}."
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
                    [f"size_px is {size_px}, but {file} takes photos of {fixed} pixels. Leave size_px out."]
                )
            )
            continue
        preprocessing = _replaced(wanted, size_px=fixed or size_px or GUESSED_SIZE_PX)
        try:
            model, features = _tried(part, preprocessing, channels_first=first, batch=dims[0] or 1)
            worked.append((model, features, preprocessing, first, fixed))
        except Exception as error:  # ONNX Runtime has many
            failed.append(_cannot_run(error, part, preprocessing, first, dims, fixed, file))
    if len(worked) > 1:
        raise NetworkError(
            f"{file} does not say whether channels come first or last, and runs with both: its input is "
            f"{_described([image])}. Export it with a fixed number of channels."
        )
    if not worked:
        raise failed[0]
    model, features, preprocessing, first, fixed = worked[0]
    if not fixed and size_px is None:
        taken = f"{preprocessing.size_px} pixels are taken"
        say(f"{file} takes photos of any size, so {taken}. Another: --size-px")
    return model, features, preprocessing, first


def _tried(
    part: onnx.ModelProto, preprocessing: Preprocessing, *, channels_first: bool, batch: int
) -> tuple[onnx.ModelProto, np.ndarray]:
    model = with_normalisation(part, preprocessing, channels_first=channels_first)
    session = open_session(serialised(model), is_trial=True)
    return model, _run(session, _noise(batch, preprocessing.size_px))


def _cannot_run(
    error: Exception,
    part: onnx.ModelProto,
    preprocessing: Preprocessing,
    channels_first: bool,
    dims: Sequence[int | None],
    fixed: int | None,
    file: str,
) -> NetworkError:
    """Say why a file cannot run, as far as that can be found out."""
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
                _replaced(preprocessing, size_px=size_px),
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


def _refuse_answers(
    graph: onnx.GraphProto,
    file: str,
    output: str,
    shape: Sequence[int],
    say: Callable[[str], object],
) -> None:
    """Refuse a classifier's answers as features; warn where they may be such.

    Raises:
        NetworkError: They are, by their name, their number or the softmax before them.
    """
    layer = last_layer(graph, graph.output[0].name)
    num = math.prod(shape[1:])
    makers = {name: node.op_type for node in graph.node for name in node.output}
    is_softmax = makers[graph.output[0].name] in ("Softmax", "LogSoftmax") and len(shape) == 2
    advice = f"Take what comes before its last layer: --output-name {layer.input[0]}" if layer else ""
    if _ANSWERS.search(output) or is_softmax or (layer and num in _NUM_CLASSES and max(shape[1:]) == num):
        raise NetworkError(
            f"{file} is a classifier: its output {output} is {_shape(shape)}, the answers of its own "
            f"classes, not features. {advice or 'Export it without its last layer.'} (If these are features "
            f"after all: --output-name {output})"
        )
    if layer and layer.op_type != "Conv" and num <= _FEW:
        say(
            f"The output {output} of {file} has only {num} numbers per photo and comes from a linear layer, "
            f"so it may be a classifier's answers. {advice}"
        )


def _pooling(
    features: np.ndarray,
    output: str,
    channels_first: bool,
    file: str,
    say: Callable[[str], object],
) -> tuple[int, dict[str, Any]]:
    """Decide how an output becomes one vector per photo.

    Returns:
        D, and the arguments of ``with_pooling``.

    Raises:
        NetworkError: It has another number of dimensions.
    """
    shape = features.shape
    if features.dtype not in (np.float16, np.float32, np.float64):
        raise NetworkError(
            f"The output {output} of {file} is {features.dtype}, not features. Choose another with "
            f"--output-name."
        )
    if len(shape) == 4:
        first = channels_first if shape[1] == shape[2] == shape[3] else shape[2] == shape[3]
        axes = (2, 3) if first else (1, 2)
        height, width = (shape[axis] for axis in axes)
        if height * width > 1:
            positions = f"{height} × {width} positions"
            say(f"{output} of {file} is {_shape(shape)}: the mean over its {positions} is taken.")
        return shape[1 if first else 3], {"mean_over": axes, "first_of": None}
    if len(shape) == 3:
        num_tokens = shape[1]
        if math.isqrt(num_tokens) ** 2 == num_tokens:
            say(f"{output} of {file} is {_shape(shape)}: the mean over its {num_tokens} tokens is taken.")
            return shape[2], {"mean_over": (1,), "first_of": None}
        say(f"{output} of {file} is {_shape(shape)}: the first of its {num_tokens} tokens is taken.")
        return shape[2], {"mean_over": (), "first_of": 1}
    if len(shape) == 2 and shape[1] > 1:
        return shape[1], {"mean_over": (), "first_of": None}
    raise NetworkError(
        f"The output {output} of {file} is {_shape(shape)}; features are (N, D), (N, D, H, W), (N, H, W, D) "
        f"or (N, T, D). Choose another with --output-name."
    )


def _checked(
    model: onnx.ModelProto,
    num_features: int,
    size_px: int,
    image: onnx.ValueInfoProto,
    file: str,
    say: Callable[[str], object],
) -> bytes:
    """Return the graph, which takes any number of photos and gives for each what it gives for it alone.

    Raises:
        NetworkError: It cannot be made so.
    """
    slow = "so it runs photo by photo, which is slower."
    free = serialised(model)
    if any(node.op_type.startswith("Dynamic") for node in model.graph.node):  # its scale is the batch's
        say(f"{file} is quantised dynamically, by the scale of a whole batch, {slow} The float file is not.")
    else:
        try:
            if _is_row_by_row(free, num_features, size_px):
                return free
            fixed = image.type.tensor_type.shape.dim[0].dim_value
        except Exception:  # ONNX Runtime has many
            fixed = 1
        if not fixed:
            raise NetworkError(
                f"{file} gives another result for a photo when other photos are beside it, as a network in "
                f"training mode does. Export it in evaluation mode: in PyTorch, after model.eval()."
            )
        say(f"{file} takes one photo at a time, {slow} Export it with a free batch size.")
    single = serialised(photo_by_photo(model, num_features))
    try:
        if _is_row_by_row(single, num_features, size_px):
            return single
    except Exception:  # see below
        pass
    raise NetworkError(
        f"{file} takes a batch of fixed size: its input is {_described([image])}. Export it with a free "
        f"batch size: in PyTorch, with dynamic_axes={{{image.name!r}: {{0: 'batch'}}}}."
    )


def _is_row_by_row(model: bytes, num_features: int, size_px: int) -> bool:
    """Tell whether a batch of photos gives the same features as each of them alone.

    Raises:
        ValueError: It does not give a row of features for each photo. ONNX Runtime raises others.
    """
    session, photos = open_session(model, is_trial=True), _noise(3, size_px)
    together = _run(session, photos)
    if together.shape != (len(photos), num_features):
        raise ValueError(f"The features of {len(photos)} photos are {together.shape}.")
    return close(together, np.concatenate([_run(session, photo[None]) for photo in photos]))


def close(features: np.ndarray, others: np.ndarray) -> bool:
    """Tell whether features are equal up to rounding, within ``TOLERANCE``; NaN equals NaN."""
    largest = float(np.abs(others[np.isfinite(others)]).max(initial=0))
    return bool(np.allclose(features, others, rtol=0, atol=TOLERANCE * largest, equal_nan=True))


def _run(session: onnxruntime.InferenceSession, photos: np.ndarray) -> np.ndarray:
    return np.asarray(session.run(None, {"images": photos})[0])


def _noise(num_photos: int, size_px: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num_photos, size_px, size_px, 3), np.uint8)


def _not_square(file: str, image: onnx.ValueInfoProto) -> NetworkError:
    return NetworkError(
        f"{file} takes photos that are not square: its input is {_described([image])}. Export it for square "
        f"ones."
    )


def _described(tensors: Iterable[onnx.ValueInfoProto]) -> str:
    """Names, kinds and shapes, as in ``pixel_values (batch, 3, 224, 224) float``."""
    texts = []
    for each in tensors:
        kind = each.type.tensor_type
        sides = [str(side.dim_value or side.dim_param or "?") for side in kind.shape.dim]
        elem = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        texts.append(f"{each.name} ({', '.join(sides)}) {elem}")
    return ", ".join(texts)


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(['N', *map(str, shape[1:])])})"


def _first_sentence(text: str) -> str:
    """What ONNX Runtime says, without codes, places in its sources and further lines."""
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text.strip())
    text = re.sub(r"/\S+\.(?:cc|h):\d+ .*?\) (?=[A-Z])", "", text)
    text = (text.splitlines() or ["nothing"])[0][:300].rstrip(" .")
    return f"{text}."


def _replaced(preprocessing: Preprocessing, **changes: Any) -> Preprocessing:
    return dataclasses.replace(preprocessing, **changes)
