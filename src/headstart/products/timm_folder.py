"""A folder that timm and the Hugging Face Hub can load: ``config.json``, the weights, and a model card."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from headstart import tasks
from headstart.errors import UsageError
from headstart.files import write_whole
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo, refuse_native
from headstart.model import libraries
from headstart.model.backbones import Backbone, resolve
from headstart.model.head import logit_layers
from headstart.products.native_parity import refuse_other_outputs
from headstart.products.new_folder import new_folder, refuse_unless_empty
from headstart.products.safetensors import load_network, write_tensors
from headstart.products.timm_card import card, lines_of

_CROP_MODES: Final = {"crop": "center", "squash": "squash", "pad": "border"}

# About other weights, or where they are.
_LEFT_OUT: Final = (
    *("url", "file", "hf_hub_id", "hf_hub_filename", "source", "state_dict", "tag", "architecture"),
    *("test_input_size", "test_crop_pct", "test_pool_size", "label_offset", "label_descriptions", "license"),
)


def write_timm(run: Path, folder: Path) -> str:
    """Write a trained network of timm as a folder for ``timm.create_model("local-dir:FOLDER")``.

    The folder is loaded by timm and compared with the self-test of ``model.onnx`` before it is kept.

    Args:
        run: A run folder with a ``model.safetensors``.
        folder: Created if it does not exist; it must be empty.

    Returns:
        Python lines that load the folder and predict a photo without Headstart.

    Raises:
        UsageError: The network is not timm's, its head is not in the native place, it predicts boxes, or the
            folder is not empty.
        ParityError: timm does not compute what ``model.onnx`` computes. Nothing remains.
    """
    model = run / "model.safetensors"
    refuse_unless_empty(folder)
    network, info = load_network(model)
    refuse_native(model, info)
    backbone = resolve(info.backbone)
    _refuse(model, info, backbone)
    as_written = _with_numbers_in_their_units(network, info)
    config, readme = _config(network, info, backbone), card(info, run)
    with new_folder(folder):
        write_whole(folder / "config.json", config)
        write_whole(folder / "README.md", readme)
        write_tensors(folder / "model.safetensors", network.state_dict(), {"format": "pt"})
        loaded = libraries.timm().create_model(f"local-dir:{folder}", pretrained=True)
        refuse_other_outputs(loaded, as_written, run / "model.onnx")
    return lines_of(info, str(folder))


def _refuse(model: Path, info: ModelInfo, backbone: Backbone) -> None:
    """Raise ``UsageError`` if timm has no place for the network or what it predicts."""
    if backbone.library != "timm":
        raise UsageError(
            f"{model} holds a network of torchvision, {info.backbone}, which timm cannot load. Export it "
            f"with --to pth or --to onnx, or train a network of timm: --backbone timm/NAME (headstart "
            f"backbones lists some)."
        )
    if tasks.of(info.task).has_box:
        raise UsageError(
            f"{model} predicts boxes, which a folder for timm cannot describe. Export it with --to pth or "
            f"--to onnx."
        )


@torch.no_grad()
def _with_numbers_in_their_units(network: nn.Module, info: ModelInfo) -> ModelInfo:
    """Move the scale of numbers into the last layers, and return the description of the network then."""
    if not tasks.of(info.task).has_numbers:
        return info
    mean, std = (torch.tensor(each) for each in info.scale)
    for name in logit_layers(network):
        layer = network.get_submodule(name)
        assert isinstance(layer, (nn.Linear, nn.Conv2d))
        layer.weight *= std.view(-1, *[1] * (layer.weight.ndim - 1))
        if layer.bias is None:
            raise UsageError(
                f"The head of {info.backbone} has no bias. Export it with --to pth or --to onnx."
            )
        layer.bias.copy_(layer.bias * std + mean)
    number = len(info.targets)
    return dataclasses.replace(info, scale=((0.0,) * number, (1.0,) * number))


def _config(network: Any, info: ModelInfo, backbone: Backbone) -> str:
    """Return the content of ``config.json`` as timm reads it."""
    settings, size = info.preprocessing, info.preprocessing.size_px
    cfg = {name: each for name, each in network.pretrained_cfg.items() if name not in _LEFT_OUT}
    if tuple(cfg["input_size"]) != (3, size, size):
        cfg["pool_size"] = None
    cfg |= {
        "custom_load": False,
        "input_size": [3, size, size],
        "crop_pct": _crop_pct(settings),
        "crop_mode": _CROP_MODES[settings.resize],
        "interpolation": settings.interpolation,
        "mean": list(settings.mean),
        "std": list(settings.std),
        "num_classes": info.num_outputs,
    }
    if info.licence:
        cfg["license"] = info.licence
    config = {
        "architecture": backbone.name,
        "num_classes": info.num_outputs,
        "num_features": network.num_features,
        "label_names": list(info.targets or info.class_names),
        "pretrained_cfg": cfg,
    }
    return json.dumps(config, indent=2) + "\n"


def _crop_pct(settings: Preprocessing) -> float:
    """Return the share of the resized photo's side that is seen; timm rounds that side down."""
    if settings.resize != "crop":
        return 1.0
    share, side = settings.crop_fraction, settings.size_px / settings.crop_fraction
    # 248 pixels must not become 247, only because a division has given 247.99999999999997.
    return share if math.floor(side) == math.floor(side + 1e-6) else share * (1 - 1e-9)
