"""Finds the output of a user's ONNX file that contains features, and how to make it one vector per photo."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx

from headstart.errors import NetworkError
from headstart.frozen.onnx_file.surgery import last_layer
from headstart.frozen.onnx_file.words import described, shown_shape
from headstart.inference.model_file import ModelInfo

# Vectors for a whole photo, as published encoders call them, the best first.
_POOLED: Final = (
    *("image_embeds", "image_embeddings", "image_embedding", "pooler_output", "pooled_output"),
    *("image_features", "embeddings", "embedding", "features"),
)

_TOKENS: Final = "last_hidden_state"

ANSWERS: Final = re.compile(r"logits?|prob|softmax|classes|scores?|predictions?", re.IGNORECASE)

_NUM_CLASSES: Final = {1000, 1001, 10450, 11221, 11821, 21841, 21843}  # of ImageNet's versions

_FEW: Final = 64


def chosen_output(
    graph: onnx.GraphProto, file: str, info: ModelInfo | None, say: Callable[[str], object]
) -> str:
    """Return the name of the output to use as features; for a trained model, the input of its head."""
    names = [each.name for each in graph.output]
    if not names:
        raise NetworkError(f"{file} is not a usable ONNX model: it has no outputs.")
    if info is not None and (head := last_layer(graph, names[0])):
        say(f"{file} was trained by Headstart: the input of its head is taken as its features.")
        return str(head.input[0])
    candidates = [each for each in graph.output if not ANSWERS.search(each.name)] or graph.output[:1]
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
            f"{file} has several outputs, and none is known as features: {described(graph.output)}. Choose "
            f"one with --output-name."
        )
    if len(names) > 1:
        others = ", ".join(name for name in names if name != chosen)
        say(
            f"Of the outputs of {file}, {chosen} is taken as its features, not {others}. To choose another "
            f"one: --output-name NAME"
        )
    return str(chosen)


def refuse_answers(
    graph: onnx.GraphProto, file: str, output: str, shape: Sequence[int], say: Callable[[str], object]
) -> None:
    """Refuse the predictions of a classifier as features; warn if they may be predictions.

    Raises:
        NetworkError: They are predictions, by their name, their number, or a softmax before them.
    """
    layer = last_layer(graph, output)
    num = math.prod(shape[1:])
    makers = {name: node.op_type for node in graph.node for name in node.output}
    is_softmax = makers[output] in ("Softmax", "LogSoftmax") and len(shape) == 2
    advice = f"Take what comes before its last layer: --output-name {layer.input[0]}" if layer else ""
    if ANSWERS.search(output) or is_softmax or (layer and num in _NUM_CLASSES and max(shape[1:]) == num):
        raise NetworkError(
            f"{file} is a classifier: its output {output} is {shown_shape(shape)}, the answers of its own "
            f"classes, not features. {advice or 'Export it without its last layer.'} (If these are features "
            f"after all: --output-name {output})"
        )
    if layer and layer.op_type != "Conv" and num <= _FEW:
        say(
            f"The output {output} of {file} has only {num} numbers per photo and comes from a linear layer, "
            f"so it may be a classifier's answers. {advice}"
        )


def pooling_of(
    features: np.ndarray, output: str, channels_first: bool, file: str, say: Callable[[str], object]
) -> tuple[int, dict[str, Any]]:
    """Decide how an output is converted to one vector per photo.

    Returns:
        D, and the arguments of ``with_pooling``.

    Raises:
        NetworkError: The output has another number of dimensions.
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
            say(f"{output} of {file} is {shown_shape(shape)}: the mean over its {positions} is taken.")
        return shape[1 if first else 3], {"mean_over": axes, "first_of": None}
    if len(shape) == 3:
        num_tokens = shape[1]
        if math.isqrt(num_tokens) ** 2 == num_tokens:
            say(
                f"{output} of {file} is {shown_shape(shape)}: the mean over its {num_tokens} tokens is taken."
            )
            return shape[2], {"mean_over": (1,), "first_of": None}
        say(f"{output} of {file} is {shown_shape(shape)}: the first of its {num_tokens} tokens is taken.")
        return shape[2], {"mean_over": (), "first_of": 1}
    if len(shape) == 2 and shape[1] > 1:
        return shape[1], {"mean_over": (), "first_of": None}
    raise NetworkError(
        f"The output {output} of {file} is {shown_shape(shape)}; features are (N, D), (N, D, H, W), "
        f"(N, H, W, D) or (N, T, D). Choose another with --output-name."
    )
