"""Opens a user's ONNX file of a feature extractor as a backbone, with normalisation and pooling added.

The layout and size of the input and the outputs are taken from the file. If the file does not declare
something, it is an option or a guess, and every guess is reported. ``frozen/onnx_file/check.py`` tries the
result on photos.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import onnx

from headstart import tasks
from headstart.errors import ConfigError, NetworkError, did_you_mean
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.onnx_file.batch import for_batches
from headstart.frozen.onnx_file.input import fitted, image_input
from headstart.frozen.onnx_file.output import chosen_output, pooling_of, refuse_answers
from headstart.frozen.onnx_file.read import OnnxFile, read_onnx
from headstart.frozen.onnx_file.stages import with_stages
from headstart.frozen.onnx_file.surgery import taken_out, with_pooling
from headstart.frozen.onnx_file.words import described
from headstart.images.settings import Preprocessing, Resize
from headstart.inference.model_file import ModelInfo, verify_onnx
from headstart.weight_files import WeightsSource

Triple = tuple[float, float, float]


def open_backbone(
    path: str | os.PathLike[str],
    *,
    size_px: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    resize: str | None = None,
    output_name: str | None = None,
    reads_stages: bool = True,
    say: Callable[[str], object] = print,
) -> OnnxBackbone:
    """Open an ONNX file as a backbone: a feature extractor whose only input takes photos.

    The input may be float32, float16 or float64, normalised by ``mean`` and ``std``, or uint8, in which case
    the file contains the normalisation; channels may come first or last. The output may be (N, D); a map (N,
    D, H, W) or (N, H, W, D), which is averaged over positions; or tokens (N, T, D), of which the first is
    used, or the mean if T is a square number, because there is then no class token. Up to two other outputs
    that are computed before it are earlier stages, which a head may read too. Equal files and options give
    equal graphs.

    Args:
        path: Path of the file. Other files with its weights must be in the same folder.
        size_px: Size of the input, if the file does not determine it.
        mean: Mean of each channel of pixels scaled to 0..1, as in the training; default: ImageNet's.
        std: Standard deviation of each channel; default: ImageNet's.
        resize: How photos are made square: ``"crop"``, ``"pad"`` or ``"squash"``.
        output_name: Name of a tensor of the file to use as features; it need not be an output.
        reads_stages: Whether earlier stages are looked for.
        say: Called with a sentence for every choice and guess.

    Raises:
        UnknownBackboneError: The file does not exist.
        ConfigError: An option contradicts the file.
        NetworkError: The file is not an ONNX model, or not a feature extractor for photos.
        DamagedFileError: The file is a ``model.onnx`` of Headstart and is damaged.
    """
    file = read_onnx(path)
    name = Path(path).name
    info = _own_info(file, name)
    output = output_name or chosen_output(file.model.graph, name, info, say)
    part = _part(file.model, output, name)
    image = image_input(part.graph, name)
    is_uint8 = image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    if is_uint8 and (mean or std):
        raise _is_normalised(name)
    wanted = info.preprocessing if info else _preprocessing(is_uint8, mean, std)
    wanted = replace(wanted, resize=cast(Resize, resize or wanted.resize))
    model, features, preprocessing, is_first = fitted(part, image, wanted, size_px, name, say)
    if output_name is None and info is None:
        refuse_answers(file.model.graph, name, output, features.shape, say)
    num_features, pooling = pooling_of(features, output, is_first, name, say)
    model = with_pooling(model, num_features, **pooling)
    graph = for_batches(model, num_features, preprocessing.size_px, image, name, say)
    stages: tuple[str, ...] = ()
    if reads_stages:
        graph, stages = with_stages(graph, file.model, output, preprocessing, is_first, pooling, name, say)
    if not is_uint8 and not (mean and std):
        _say_what_is_guessed(name, preprocessing, mean, std, say)
    source = WeightsSource("file", os.fspath(path), file.sha256)
    return OnnxBackbone(name, graph, preprocessing, source, stages, is_file=True)


def _own_info(file: OnnxFile, name: str) -> ModelInfo | None:
    """Return the description in a ``model.onnx`` of Headstart; None for other files."""
    if not any(entry.key == "headstart" for entry in file.model.metadata_props):
        return None
    info = verify_onnx(file.data, name=name)
    if tasks.of(info.task).has_box or info.head not in ("linear", "stages"):
        raise NetworkError(
            f"{name} was trained by Headstart for the task {info.task!r} with a head of the kind "
            f"{info.head!r}, so it has no features to put another head on. Name a model with a linear head, "
            f"or the backbone that this one was trained from: {info.backbone}."
        )
    return info


def _part(model: onnx.ModelProto, output: str, file: str) -> onnx.ModelProto:
    """Extract the part of the model that leads to the features.

    Raises:
        ConfigError: The tensor does not exist.
    """
    tensors = [name for node in model.graph.node for name in node.output if name]
    if output not in tensors:
        raise ConfigError(
            f"output_name is {output!r}, and {file} has no such tensor.{did_you_mean(output, tensors)} "
            f"Its outputs are {described(model.graph.output)}."
        )
    return taken_out(model, [output])


def _preprocessing(is_uint8: bool, mean: Triple | None, std: Triple | None) -> Preprocessing:
    """Return the preprocessing for a file that does not declare it.

    It is bicubic, because most published encoders were trained with that.
    """
    usual = Preprocessing(interpolation="bicubic")
    if is_uint8:
        return replace(usual, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return replace(usual, mean=mean or usual.mean, std=std or usual.std)


def _is_normalised(file: str) -> ConfigError:
    return ConfigError(
        f"mean and std are given, but {file} takes photos as uint8, so that normalisation is a part of it. "
        f"Leave mean and std out."
    )


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
