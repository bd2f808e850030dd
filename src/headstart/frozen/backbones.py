"""Finds, lists and refuses backbones that need no PyTorch."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Literal, NoReturn

from headstart.errors import UnknownBackboneError, did_you_mean
from headstart.frozen import prefixes
from headstart.frozen.exported import exported_backbone
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.own_graphs import OWN_GRAPHS, official_weights, own_backbone, own_graph, own_name
from headstart.images.settings import Resize
from headstart.weight_files import install_command, short_name, torch_cache


def find_backbone(
    name: str,
    weights: str | os.PathLike[str] = "default",
    *,
    size_px: int | None = None,
    resize: Resize | None = None,
) -> OnnxBackbone | None:
    """Find a backbone that needs no PyTorch: one of Headstart's own, or one that PyTorch has exported before.

    If PyTorch is installed, exports made by other versions of PyTorch, torchvision or timm are not used.

    Args:
        name: With or without the tag of its weights: ``"timm/tf_efficientnet_lite0"``, ``"mobilenet_v2"``.
        weights: ``"default"`` for the official weights; or a file with the network's state dict (.pth or
            .safetensors), or a run folder.
        size_px: Size of the input; by default the size with which the weights were trained.
        resize: How photos are made square; by default the backbone's own method.

    Returns:
        The backbone; None if it is unknown here at this size, or if its weights are not on this machine.

    Raises:
        WeightsError: The file of weights cannot be found or read, or belongs to another network.
        DamagedFileError: The file does not have the SHA-256 that its name, its package or its checksum
            states.
    """
    found = own_backbone(name, weights, size_px) or exported_backbone(name, weights, size_px)
    if found and resize:
        found = replace(found, preprocessing=replace(found.preprocessing, resize=resize))
    return found


def refuse_unknown(name: str) -> NoReturn:
    """Raise the error for a backbone that ``find_backbone`` does not find, with advice.

    Raises:
        UnknownBackboneError: Always.
    """
    known = [short_name(each) for each in available()]
    for each in dict.fromkeys([*known, *map(short_name, OWN_GRAPHS)]):  # but for its case, or whose it is
        if each != name and each.lower() in (name.lower(), f"timm/{name.lower()}"):
            raise UnknownBackboneError(f"There is no backbone {name!r}. Did you mean {each!r}?")
    own = own_name(name)
    if own and own not in available():
        where = f"{torch_cache()}/{own_graph(own)[1].file_name}" if own_graph(own)[1].file_name else ""
        why = f"The weights of the backbone {own} are not on this machine{where and f' ({where})'}."
        if command := install_command(own):
            why += f" Install them: {command}."
        by_pytorch = "To have them downloaded"
    else:
        why = (
            f"The backbone {name!r} is not available without PyTorch: it is neither one of Headstart's own "
            f"nor has it been exported on this machine before.{did_you_mean(name, known)}"
        )
        by_pytorch = "If it is one of torchvision's or timm's"
    without = ", ".join([*known, "any feature extractor as FILE.onnx"])
    raise UnknownBackboneError(
        f"{why} {by_pytorch}, install PyTorch: pip install 'headstart[train]'. Or choose a backbone that "
        f"works without it: {without}."
    )


def available() -> list[str]:
    """Return the full names of the backbones that ``find_backbone`` can find, Headstart's own first."""
    own = [name for name in OWN_GRAPHS if official_weights(own_graph(name)[1])]
    return list(dict.fromkeys([*own, *(about["name"] for about in prefixes.kept() if about["is_official"])]))


@dataclass(frozen=True)
class ListedBackbone:
    """One row of ``headstart backbones``.

    Attributes:
        name: The name to use: ``resnet18``, ``timm/tf_efficientnet_lite0``.
        full_name: The name with the tag of its weights.
        size_px: Size of the input.
        source: Where the weights come from: an installed package, a library's cache, an earlier export by
            PyTorch, or a download; None if they are not available.
        installed: Whether the weights are on this machine.
        num_params: Number of parameters, pretrained head included; None without PyTorch.
        megabytes: Size of the parameters as float32, in 10⁶ bytes; None without PyTorch.
    """

    name: str
    full_name: str
    size_px: int
    source: Literal["package", "cache", "download", "export"] | None
    installed: bool
    num_params: int | None = None
    megabytes: float | None = None


def listed() -> list[ListedBackbone]:
    """Return Headstart's own backbones, with or without weights, and earlier exports."""
    rows = {}
    for about in reversed(prefixes.kept()):
        if about["is_official"]:
            name = short_name(about["name"]) if about["is_usual"] else about["name"]
            size_px = about["native"]["size_px"]
            rows[about["name"]] = ListedBackbone(name, about["name"], size_px, "export", installed=True)
    own = []
    for full_name in OWN_GRAPHS:
        recipe = own_graph(full_name)[1]
        file = official_weights(recipe)
        exported = rows.pop(full_name, None)
        if file is None and exported is not None:
            own.append(exported)
        else:
            size_px, source = recipe.preprocessing.size_px, file.kind if file else None
            is_here = source is not None
            own.append(ListedBackbone(short_name(full_name), full_name, size_px, source, is_here))
    return [*own, *(rows[name] for name in sorted(rows))]
