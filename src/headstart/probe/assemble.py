"""Builds the ``model.onnx`` of a probe from the backbone's graph and the solved head."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headstart import tasks
from headstart.data.targets import Scale
from headstart.frozen.graph import leading_to
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.pooled import POOLED, with_pooled
from headstart.frozen.prefix import ACTIVATIONS
from headstart.inference.model_file import ModelInfo
from headstart.probe.blocks import Reading
from headstart.records import Dataset

_WEIGHT, _BIAS = "head.weight", "head.bias"
_OPERATORS: Final = {"softmax": "Softmax", "sigmoid": "Sigmoid"}


def describe(backbone: OnnxBackbone, dataset: Dataset, reading: Reading, scale: Scale) -> ModelInfo:
    """Return the description of a probe's model, without thresholds that photos decide.

    Args:
        backbone: The backbone.
        dataset: The photos: task and classes or targets.
        reading: The stages that the head reads.
        scale: Standardisation of numbers.
    """
    return ModelInfo(
        task=dataset.task,
        backbone=backbone.name,
        weights=backbone.weights,
        weights_from=backbone.source.origin,
        licence=backbone.source.licence,
        class_names=dataset.class_names,
        preprocessing=backbone.preprocessing,
        head="stages" if reading.stages else "linear",
        stages=reading.stages,
        targets=dataset.targets,
        scale=(scale.mean, scale.std),
        thresholds=tasks.of(dataset.task).first_thresholds(len(dataset.class_names)),
    )


def head_inputs(info: ModelInfo) -> str:
    """Return the name of the tensor that the head of an assembled model takes."""
    return "features" if info.stages else ACTIVATIONS


def assemble(backbone: OnnxBackbone, weight: np.ndarray, bias: np.ndarray, info: ModelInfo) -> bytes:
    """Append a linear head to the graph of a backbone, on its features or on those of several stages.

    Equal arguments give equal bytes. The operations and weights of the backbone are not changed, so that its
    stored rows are also valid for this model.

    Args:
        backbone: A backbone with D features.
        weight: (K, D) float32; of a head that reads ``info.stages``, the columns of their pooled outputs come
            before the D features.
        bias: (K,) float32. The head predicts standardised numbers; the graph returns them in their own units.
        info: Description of the model: task, outputs, scale.

    Returns:
        The serialised model, not yet sealed: see ``model_file.seal_onnx``. Input ``images`` (N, H, W, 3)
        uint8. Outputs float32: ``logits`` and ``probabilities`` (N, K), or ``numbers`` (N, K).
    """
    model = onnx.load_from_string(with_pooled(backbone.graph, info.stages) if info.stages else backbone.graph)
    graph = model.graph
    graph.name = "model"
    inputs = head_inputs(info)
    if info.stages:
        graph.node.append(helper.make_node("Concat", [POOLED, ACTIVATIONS], [inputs], name=inputs, axis=1))
    _keep_what_leads_to(graph, inputs)
    del graph.output[:], graph.value_info[:], model.metadata_props[:]
    weights = {_WEIGHT: weight, _BIAS: bias}
    if activation := tasks.of(info.task).activation:
        nodes = [
            helper.make_node("Gemm", [inputs, _WEIGHT, _BIAS], ["logits"], name="head", transB=1),
            helper.make_node(_OPERATORS[activation], ["logits"], ["probabilities"], name="probabilities"),
        ]
        outputs = ["logits", "probabilities"]
    else:
        mean, std = (np.array(each, np.float32) for each in info.scale)
        weights |= {"scale.std": std, "scale.mean": mean}
        nodes = [
            helper.make_node("Gemm", [inputs, _WEIGHT, _BIAS], ["standardised"], name="head", transB=1),
            helper.make_node("Mul", ["standardised", "scale.std"], ["scaled"], name="scale"),
            helper.make_node("Add", ["scaled", "scale.mean"], ["numbers"], name="shift"),
        ]
        outputs = ["numbers"]
    graph.node.extend(nodes)
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
        for name, values in weights.items()
    )
    shape: list[str | int | None] = ["batch", len(bias)]
    graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs)
    return bytes(model.SerializeToString(deterministic=True))


def _keep_what_leads_to(graph: onnx.GraphProto, tensor: str) -> None:
    """Delete the nodes and weights that a tensor does not need, such as those of stages that are not read."""
    nodes, names = leading_to(graph, [tensor])
    needed = {name for node in nodes for name in node.output}
    for index in reversed(range(len(graph.node))):
        if needed.isdisjoint(graph.node[index].output):
            del graph.node[index]
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in names:
            del graph.initializer[index]
