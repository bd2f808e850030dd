"""Backbones that PyTorch has exported, kept in Headstart's cache for runs without PyTorch."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from headstart.environment import has_pytorch
from headstart.files import sha256_of_file
from headstart.frozen import prefixes
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.own_graphs import is_same_name
from headstart.images.settings import Preprocessing
from headstart.weight_files import WeightsSource, file_of_user, short_name


@dataclass(frozen=True)
class Export:
    """Everything that determines an exported prefix (all stages before the head).

    Attributes:
        name: The backbone's full name.
        is_usual: Whether the name without its tag means the same weights.
        weights: SHA-256 of the file of weights.
        is_official: Whether these are the official weights of the tag.
        native: Preprocessing with which the official weights were trained.
        size_px: Size of the input.
        versions: Versions of the libraries that created and exported the network.
        code: Digest of the network's code.
    """

    name: str
    is_usual: bool
    weights: str
    is_official: bool
    native: Preprocessing
    size_px: int
    versions: Mapping[str, str]
    code: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return vars(self) | {"versions": dict(self.versions), "native": self.native.to_dict()}


def keep_prefix(backbone: OnnxBackbone, export: Export) -> None:
    """Store an exported backbone in Headstart's cache, for ``find_backbone`` and ``kept_prefix``."""
    about = {"stages": list(backbone.stages), "licence": backbone.source.licence}
    prefixes.keep(export.to_dict() | about, backbone.graph)


def kept_prefix(export: Export) -> OnnxBackbone | None:
    """Return the backbone that ``keep_prefix`` has stored for exactly this export; None if there is none."""
    wanted = export.to_dict()
    return _from_cache(lambda about: wanted == {key: about.get(key) for key in wanted})


def exported_backbone(name: str, weights: str | os.PathLike[str], size_px: int | None) -> OnnxBackbone | None:
    """Find the newest export of a backbone; with PyTorch, only exports by the installed versions count."""
    sha256 = None
    if weights == "random":
        return None
    if weights != "default":
        path, _ = file_of_user(weights, name)
        sha256 = sha256_of_file(path)

    def matches(about: Mapping[str, Any]) -> bool:
        names = [about["name"], *([short_name(about["name"])] if about["is_usual"] else [])]
        return (
            any(is_same_name(name, each) for each in names)
            and (about["is_official"] if sha256 is None else about["weights"] == sha256)
            and about["size_px"] == (size_px or about["native"]["size_px"])
            and (not has_pytorch() or _is_by_installed(about["versions"]))
        )

    return _from_cache(matches)


def _is_by_installed(versions: Mapping[str, str]) -> bool:
    """Return whether library versions equal the installed ones, ignoring the hardware they are built for."""
    return all(
        importlib.metadata.version(name).partition("+")[0] == version.partition("+")[0]
        for name, version in versions.items()
    )


def _from_cache(matches: Callable[[Mapping[str, Any]], bool]) -> OnnxBackbone | None:
    found = prefixes.newest(matches)
    if found is None:
        return None
    about, graph = found
    preprocessing = replace(Preprocessing.from_dict(about["native"]), size_px=about["size_px"])
    source = WeightsSource(
        "export",
        sha256=about["weights"],
        exported_by=about["versions"],
        licence=about.get("licence", ""),  # exports of before it was recorded have none
        is_of_user=not about["is_official"],
    )
    return OnnxBackbone(about["name"], graph, preprocessing, source, tuple(about["stages"]))
