"""Adds the score of foreign photos to the graph of a model file."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headstart.probe.unknown import LEAST_NORM, UNKNOWN, UnknownScore


def with_unknown(model: bytes, features: str, score: UnknownScore) -> bytes:
    """Add the score to a model file as the output ``unknown``, (N, 1) float32.

    Args:
        model: The content of a ``model.onnx`` with outputs ``logits`` and ``probabilities``, not sealed.
        features: Name of the tensor with the features of the last stage, (N, D).
        score: The score.
    """
    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    (opset,) = (each.version for each in loaded.opset_import if each.domain in ("", "ai.onnx"))
    graph.initializer.extend(
        numpy_helper.from_array(values, _named(name)) for name, values in _constants(score, opset).items()
    )

    def add(operator: str, inputs: list[str], name: str, **attributes: Any) -> None:
        node = helper.make_node(operator, inputs, [_named(name)], name=_named(name), **attributes)
        if operator.startswith("Reduce"):
            if opset >= 18:
                node.input.append(_named("axes"))
            else:
                node.attribute.append(helper.make_attribute("axes", [1]))
        graph.node.append(node)

    def of(*names: str) -> list[str]:
        return [_named(name) for name in names]

    add("ReduceL2", [features], "norm")
    add("Add", of("norm", "least"), "length")
    add("Div", [features, _named("length")], "normalised")
    add("Sub", of("normalised", "centre"), "centred")
    add("Gemm", of("centred", "directions"), "projected", transB=1)
    add("Gemm", of("projected", "directions"), "inside")
    add("Sub", of("centred", "inside"), "left")
    add("Mul", of("left", "scale"), "whitened")
    add("ReduceL2", of("whitened"), "distance")
    add("Mul", of("distance", "distance"), "distance_squared")
    add("Gemm", of("whitened", "classes", "class_offsets"), "by_class")
    add("ReduceMax", of("by_class"), "nearest")
    add("ReduceMax", ["logits"], "largest")
    add("ReduceMax", ["probabilities"], "probability")
    add("Log", of("probability"), "logarithm")
    add("Sub", of("logarithm", "largest"), "energy")  # -logsumexp(logits)
    add("Mul", of("energy", "energy_weight"), "weighted")
    add("Add", of("weighted", "offset"), "shifted")
    add("Sub", of("distance_squared", "nearest"), "from_nearest")
    graph.node.append(helper.make_node("Add", of("shifted", "from_nearest"), [UNKNOWN], name=UNKNOWN))
    graph.output.append(helper.make_tensor_value_info(UNKNOWN, TensorProto.FLOAT, ["batch", 1]))
    return bytes(loaded.SerializeToString(deterministic=True))


def score_in(model: bytes, threshold: float) -> UnknownScore | None:
    """Read back the score that ``with_unknown`` added.

    Args:
        model: The content of a ``model.onnx``.
        threshold: Its threshold, which the graph does not contain.

    Returns:
        The score, without ``known``; None if the graph has none, or stores it in less than 32 bits.
    """
    stored = {each.name: each for each in onnx.load_from_string(model).graph.initializer}
    numbers: dict[str, np.ndarray] = {}
    for name in ("centre", "directions", "scale", "classes", "class_offsets", "energy_weight", "offset"):
        tensor = stored.get(_named(name))
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return None
        numbers[name] = numpy_helper.to_array(tensor)
    return UnknownScore(
        centre=numbers["centre"],
        directions=numbers["directions"],
        scale=float(numbers["scale"].item()),
        classes=numbers["classes"],
        class_offsets=numbers["class_offsets"],
        energy_weight=float(numbers["energy_weight"].item()),
        offset=float(numbers["offset"].item()),
        threshold=threshold,
        known=np.zeros(0),
    )


def _constants(score: UnknownScore, opset: int) -> dict[str, np.ndarray]:
    """Return the numbers of a score by name."""
    constants = {
        "least": np.array([LEAST_NORM], np.float32),
        "centre": score.centre,
        "directions": score.directions,
        "scale": np.array([score.scale], np.float32),
        "classes": score.classes,
        "class_offsets": score.class_offsets,
        "energy_weight": np.array([score.energy_weight], np.float32),
        "offset": np.array([score.offset], np.float32),
    }
    if opset >= 18:  # before that, axes are an attribute
        constants["axes"] = np.array([1], np.int64)
    return constants


def _named(name: str) -> str:
    return f"{UNKNOWN}.{name}"
