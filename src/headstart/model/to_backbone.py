"""Exports the stages of a network before its head as one ONNX graph, for use without PyTorch."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from headstart.config import TrainConfig
from headstart.errors import NetworkError
from headstart.files import own_code_digest
from headstart.frozen import prefixes
from headstart.frozen.backbones import find_backbone
from headstart.frozen.exported import Export, keep_prefix, kept_prefix
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.images.settings import Preprocessing
from headstart.inference.runtime import open_session
from headstart.model.backbones import Backbone, resolve
from headstart.model.check import check_stages
from headstart.model.code import code_digest
from headstart.model.memory import is_out_of_memory
from headstart.model.normalise import Normalise, NormalisedStages
from headstart.model.prefix import TOLERANCE, library_versions, relative_error
from headstart.model.stages import cut, is_staged
from headstart.model.to_onnx import export_untrained
from headstart.model.weights import create_pretrained
from headstart.weight_files import short_name


def export_backbone(
    name: str,
    weights: str | os.PathLike[str] = "default",
    size_px: int | None = None,
    resize: str | None = None,
    task: str = "classification",
) -> OnnxBackbone:
    """Export a network of torchvision or timm as a backbone that needs no PyTorch.

    It is stored in Headstart's cache, where ``find_backbone`` finds it, unless its weights are random.

    Args:
        name: A torchvision name, ``timm/NAME``, or ``NAME.TAG``.
        weights: As in ``create_pretrained``.
        size_px: Size of the input; None for the size with which the weights were trained.
        resize: How photos are made square; None for the default of the task.
        task: Name of the task.

    Raises:
        UnknownBackboneError: The network or tag does not exist, or it cannot be cut before its head.
        WeightsError: The weights are not on this machine and cannot be downloaded.
        NetworkError: The network cannot be exported, the input of its head is not (N, D), or ONNX Runtime
            computes something else than PyTorch.
    """
    resolved = resolve(name)
    network, source = create_pretrained(resolved, weights)
    network.eval()
    preprocessing = resolved.preprocessing_for(task, resize, size_px)
    export = Export(
        name=resolved.full_name,
        is_usual=_is_usual(resolved),
        weights=source.identity,
        is_official=weights == "default",
        native=resolved.preprocessing,
        size_px=preprocessing.size_px,
        versions=library_versions(),
        code=code_digest(network),
    )
    kept = kept_prefix(export) if source.sha256 else None
    if kept is None:
        graph, stages = _checked_graph(network, preprocessing, export, remember=source.sha256 is not None)
        kept = OnnxBackbone(export.name, graph, preprocessing, source, stages)
        if source.sha256:
            keep_prefix(kept, export)
    return replace(kept, preprocessing=preprocessing, source=replace(source, exported_by=export.versions))


def keep_backbone(config: TrainConfig, task: str, say: Callable[[str], object]) -> None:
    """Export the backbone of a PyTorch run to Headstart's cache, for probes without PyTorch.

    Args:
        config: Settings that name the backbone. Only official weights are exported.
        task: Name of the task.
        say: Called with a sentence for the user if this fails; the run is finished and does not need it.
    """
    name, size_px = config.backbone, config.size_px
    try:
        if config.weights == "default" and find_backbone(name, size_px=size_px) is None:
            export_backbone(name, "default", size_px, config.resize, task)
    except NetworkError:  # then there is nothing to keep
        pass
    except Exception as error:  # whatever a library raises: weights deleted meanwhile, no memory
        say(f"The backbone is not kept for runs without PyTorch: {type(error).__name__}: {error}")


def _checked_graph(
    network: nn.Module, preprocessing: Preprocessing, export: Export, *, remember: bool
) -> tuple[bytes, tuple[str, ...]]:
    """Check and export a network: see ``prefix_graph``. A failure is stored and not tried again."""
    versions = {name: importlib.metadata.version(name) for name in ("onnx", "onnxruntime")}
    decides = {**export.to_dict(), "tools": versions | {"headstart": own_code_digest()}}
    if remember and (reason := prefixes.refusal(decides)):
        raise NetworkError(reason)
    try:
        if export.size_px != export.native.size_px or not is_staged(network):  # what the tests have not seen
            check_stages(network, preprocessing.size_px)
        return prefix_graph(network, preprocessing)
    except NetworkError as error:
        if remember and not is_out_of_memory(error):  # memory may suffice next time
            prefixes.keep_refusal(decides, str(error))
        raise


def _is_usual(backbone: Backbone) -> bool:
    """Return whether the name without its tag means the same weights."""
    return resolve(short_name(backbone.full_name)).full_name == backbone.full_name


def prefix_graph(network: nn.Module, preprocessing: Preprocessing) -> tuple[bytes, tuple[str, ...]]:
    """Export normalisation and all stages before the head.

    The operations and weights that lead to ``activations`` equal those of ``model.prefix.NetworkPrefix``.

    Args:
        network: On the CPU, in evaluation mode.
        preprocessing: Preprocessing with size, mean and std.

    Returns:
        The serialised model, from ``images`` (N, size_px, size_px, 3) uint8 to ``activations`` (N, D), and
        the names of the tensors in it that are outputs (N, C, H, W) of the stages before the pooling.

    Raises:
        NetworkError: The network cannot be exported, the input of its head is not (N, D), or ONNX Runtime
            computes something else than PyTorch.
    """
    stages, _ = cut(network, "head")
    shape = (2, preprocessing.size_px, preprocessing.size_px, 3)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    before_pool = stages.names.index("pool") if "pool" in stages.names else 0
    module = NormalisedStages(Normalise(preprocessing), stages, stages.names[:before_pool]).eval()
    with torch.inference_mode():
        activations, *outputs = module(pixels)
    expected = activations.numpy()
    if activations.ndim != 2:
        raise NetworkError(
            f"The head of {type(network).__name__} takes {tuple(activations.shape[1:])} per photo "
            f"instead of a list of features, so it cannot be solved. Choose another backbone: "
            "headstart backbones"
        )
    module.further = [name for name, each in zip(module.further, outputs, strict=True) if _is_map(each)]
    maps = [f"stage.{name}" for name in module.further]
    model = onnx.load_from_string(export_untrained(module, pixels, ["activations", *maps]))
    del model.graph.output[1:]
    graph = model.SerializeToString()
    try:
        (found,) = open_session(graph, is_trial=True).run(["activations"], {"images": pixels.numpy()})
    except Exception as error:  # whatever a runtime does not support
        reason = str(error).partition("\n")[0][:200]
        raise NetworkError(
            f"ONNX Runtime cannot run {type(network).__name__}: {reason} Choose another backbone: headstart "
            f"backbones"
        ) from error
    if not (apart := relative_error(found, expected)) <= TOLERANCE:  # NaN is too large as well
        raise NetworkError(
            f"ONNX Runtime computes other features than PyTorch from {type(network).__name__}: the relative "
            f"error is {apart:.1e}. Choose another backbone: headstart backbones"
        )
    return graph, tuple(maps)


def _is_map(output: Tensor) -> bool:
    """Return whether a tensor is (N, C, H, W): Swin's stages return (N, H, W, C), transformers tokens."""
    return output.ndim == 4 and output.shape[2] == output.shape[3]
