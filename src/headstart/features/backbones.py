"""Backbones as ONNX graphs, without PyTorch: Headstart's own, and those that PyTorch has once exported.

Headstart's own graphs lie in ``features/graphs`` without weights (``scripts/make_graphs.py`` makes them) and
are filled from a file of weights on this machine. A filled graph has the operations and weights of PyTorch's
own export, bit for bit, so both share stored features.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import safetensors.numpy

from headstart.errors import WeightsError
from headstart.features.graph import function_hashes
from headstart.features.pth import read_pth
from headstart.images.preprocess import Preprocessing
from headstart.weight_files import (
    WeightsFile,
    digest_in_name,
    in_packages,
    torch_cache,
)

OWN_GRAPHS: Final = ("timm/tf_efficientnet_lite0.in1k", "mobilenet_v2.IMAGENET1K_V1")
"""Full names of the backbones whose graphs are in the package."""

RECIPE_KEY: Final = "headstart"
"""The entry in an own graph's metadata that holds its ``Recipe`` as JSON."""


@dataclass(frozen=True)
class OnnxBackbone:
    """A pretrained network up to the input of its head, as an ONNX graph.

    Attributes:
        name: Full name, such as ``"timm/tf_efficientnet_lite0.in1k"``; for a user's file, its file name.
        graph: A serialised model with all weights inside: input ``images`` (N, size_px, size_px, 3) uint8,
            output ``activations`` (N, D) float32. Normalisation is its first layer.
        preprocessing: How photos become its input.
        weights: SHA-256 of the file that the weights come from.
        stages: Tensors inside the graph, in order: the outputs (N, C, H, W) of the stages before the pooling.
        is_file: Whether the user has named a file.
    """

    name: str
    graph: bytes
    preprocessing: Preprocessing
    weights: str
    stages: tuple[str, ...] = ()
    is_file: bool = False

    @functools.cached_property
    def function(self) -> str:
        """Hash of the operations and weights from ``images`` to ``activations``."""
        return function_hashes(self._model)["activations"]

    @functools.cached_property
    def num_features(self) -> int:
        """D, the number of features per photo."""
        (output,) = (each for each in self._model.graph.output if each.name == "activations")
        return int(output.type.tensor_type.shape.dim[1].dim_value)

    @functools.cached_property
    def _model(self) -> onnx.ModelProto:
        return onnx.load_from_string(self.graph)


@dataclass(frozen=True)
class Recipe:
    """How an own graph is filled from a state dict.

    Attributes:
        name: The backbone's full name.
        preprocessing: What its weights were trained to see.
        file_name: What torchvision's cache calls the file of weights; None if it is in no such cache.
        stages: As in ``OnnxBackbone``.
        shapes: Name → shape of each tensor of the state dict, in its order.
        weights: Initializer → the tensor of the state dict that it is.
    """

    name: str
    preprocessing: Preprocessing
    file_name: str | None
    stages: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    weights: Mapping[str, str]

    def to_json(self) -> str:
        """Return compact JSON."""
        fields = vars(self) | {"preprocessing": self.preprocessing.to_dict()}
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what ``to_json`` wrote."""
        fields = json.loads(text)
        fields["preprocessing"] = Preprocessing.from_dict(fields["preprocessing"])
        fields["stages"] = tuple(fields["stages"])
        fields["shapes"] = {name: tuple(shape) for name, shape in fields["shapes"].items()}
        return cls(**fields)


def find_backbone(name: str, weights: str | os.PathLike[str] = "default") -> OnnxBackbone | None:
    """Find a backbone that needs no PyTorch.

    Args:
        name: With or without the tag of its weights: ``"timm/tf_efficientnet_lite0"``, ``"mobilenet_v2"``.
        weights: ``"default"`` for the official ones, or a file of the network's state dict (.pth or
            .safetensors).

    Returns:
        The backbone; None if it is not known here, or if its weights are not on this machine.

    Raises:
        WeightsError: The file of weights cannot be read, or it is another network's.
        DamagedFileError: The file is not the one that its name or its package promises.
    """
    full_name = own_name(name)
    if full_name is None:
        return None
    model, recipe = own_graph(full_name)
    if weights == "default":
        file = _official(recipe)
    elif weights == "random" or not Path(weights).is_file():
        return None
    else:
        digest = digest_in_name(Path(weights).name) if Path(weights).name == recipe.file_name else None
        file = WeightsFile("cache", os.fspath(weights), digest, remedy="Get it anew.")
    return filled(model, recipe, file) if file else None


def own_name(name: str) -> str | None:
    """Return the full name of one of Headstart's own graphs; None if there is none for that name."""
    for full_name in OWN_GRAPHS:
        if name in (full_name, full_name.rpartition(".")[0]):
            return full_name
        if (
            "/" not in name and name.lower() == full_name.lower()
        ):  # case does not matter in torchvision's tags
            return full_name
    return None


def own_graph(full_name: str) -> tuple[onnx.ModelProto, Recipe]:
    """Return one of Headstart's own graphs without its weights, and how to fill it."""
    file = resources.files("headstart.features") / "graphs" / graph_file_name(full_name)
    model = onnx.load_from_string(file.read_bytes())
    (text,) = (each.value for each in model.metadata_props if each.key == RECIPE_KEY)
    return model, Recipe.from_json(text)


def graph_file_name(full_name: str) -> str:
    """Return the file name of an own graph in ``features/graphs``."""
    return full_name.replace("/", "_") + ".onnx"


def filled(model: onnx.ModelProto, recipe: Recipe, file: WeightsFile) -> OnnxBackbone:
    """Fill an own graph from a file of weights.

    Args:
        model: Changed in place.
        recipe: How to fill it.
        file: The weights.

    Raises:
        WeightsError: The file cannot be read, or it is another network's.
        DamagedFileError: The file is not the one that its name or its package promises.
    """
    data, sha256 = file.read()
    state_dict = _fitting(_read(data, file.path), recipe, file)
    for tensor in model.graph.initializer:
        if tensor.name in recipe.weights:
            tensor.raw_data = state_dict[recipe.weights[tensor.name]].astype("<f4", copy=False).tobytes()
    del model.metadata_props[:]
    return OnnxBackbone(recipe.name, model.SerializeToString(), recipe.preprocessing, sha256, recipe.stages)


def _official(recipe: Recipe) -> WeightsFile | None:
    """Find the official weights on this machine: in an installed package, or in torchvision's cache."""
    if package := in_packages().get(recipe.name):
        return package
    folder = torch_cache()
    if recipe.file_name and folder and (path := folder / recipe.file_name).is_file():
        return WeightsFile("cache", str(path), digest_in_name(recipe.file_name))
    return None


def _read(data: bytes, path: str) -> dict[str, np.ndarray]:
    if not path.endswith(".safetensors"):
        return read_pth(data, path)
    try:
        return dict(safetensors.numpy.load(data))
    except Exception as error:  # damage shows in any way
        raise WeightsError(f"{path} cannot be read: it is damaged. Get it anew.") from error


def _fitting(given: Mapping[str, np.ndarray], recipe: Recipe, file: WeightsFile) -> Mapping[str, np.ndarray]:
    """Return a state dict under the network's own names.

    Raises:
        WeightsError: It is another network's, or some numbers are not finite.
    """
    expected = dict(recipe.shapes)
    if file.keys == "order":
        if not any(name.endswith("num_batches_tracked") for name in given):
            expected = {name: s for name, s in expected.items() if not name.endswith("num_batches_tracked")}
        given = dict(zip(expected, given.values(), strict=False)) if len(given) == len(expected) else {}
    needed = set(recipe.weights.values())
    wrong = [name for name in expected if name in needed and given.get(name, _NONE).shape != expected[name]]
    if wrong:
        raise WeightsError(
            f"{file.path} does not fit {recipe.name}: {len(wrong)} tensors are missing or of another shape, "
            f"among them {wrong[0]}. Name the backbone that these weights were saved from."
        )
    wrong = [
        n for n in expected if n in needed and (given[n].dtype != np.float32 or not _is_finite(given[n]))
    ]
    if wrong:
        raise WeightsError(
            f"{file.path} holds numbers that are not float32 or not finite, in {len(wrong)} tensors, among "
            f"them {wrong[0]}. Take another checkpoint."
        )
    return given


_NONE: Final[np.ndarray] = np.empty((0, 0, 0, 0, 0))


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
