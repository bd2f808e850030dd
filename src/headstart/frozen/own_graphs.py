"""Headstart's own graphs without weights in ``frozen/graphs``, and how they are filled from a file of
weights.

``scripts/make_graphs.py`` creates them. A filled graph has the same operations and weights as PyTorch's
export, bit for bit, so both share stored features.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import safetensors.numpy

from headstart.errors import WeightsFileError
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.pth import read_pth
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import verify_safetensors
from headstart.weight_files import (
    WeightsFile,
    WeightsSource,
    digest_in_name,
    file_of_user,
    in_packages,
    short_name,
    torch_cache,
)

OWN_GRAPHS: Final = (
    "timm/tf_efficientnet_lite0.in1k",
    "timm/tf_efficientnet_lite1.in1k",
    "timm/tf_efficientnet_lite2.in1k",
    "mobilenet_v2.IMAGENET1K_V1",
)
"""Full names of the backbones whose graphs are in the package."""

RECIPE_KEY: Final = "headstart"
"""Key in the metadata of an own graph that contains its ``Recipe`` as JSON."""


@dataclass(frozen=True)
class Recipe:
    """How an own graph is filled from a state dict.

    Attributes:
        name: Full name of the backbone.
        preprocessing: Preprocessing with which its weights were trained.
        file_name: File name of the weights in torchvision's cache; None if they are not kept there.
        stages: As in ``OnnxBackbone``.
        shapes: Shapes of the tensors of the state dict by name, in order.
        weights: Names of the state dict's tensors by name of the initializer.
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
        """Parse the result of ``to_json``."""
        fields = json.loads(text)
        fields["preprocessing"] = Preprocessing.from_dict(fields["preprocessing"])
        fields["stages"] = tuple(fields["stages"])
        fields["shapes"] = {name: tuple(shape) for name, shape in fields["shapes"].items()}
        return cls(**fields)


def own_name(name: str) -> str | None:
    """Return the full name of one of Headstart's own graphs; None if there is none with this name."""
    return next((each for each in OWN_GRAPHS if is_same_name(name, each) or name == short_name(each)), None)


def is_same_name(name: str, full_name: str) -> bool:
    """Compare names, ignoring the case of torchvision's tags."""
    network, _, tag = name.partition(".")
    return name == full_name or ("/" not in name and f"{network}.{tag.upper()}" == full_name)


def own_graph(full_name: str) -> tuple[onnx.ModelProto, Recipe]:
    """Return one of Headstart's own graphs without its weights, and how to fill it."""
    file = resources.files("headstart.frozen") / "graphs" / graph_file_name(full_name)
    model = onnx.load_from_string(file.read_bytes())
    (text,) = (each.value for each in model.metadata_props if each.key == RECIPE_KEY)
    return model, Recipe.from_json(text)


def graph_file_name(full_name: str) -> str:
    """Return the file name of an own graph in ``frozen/graphs``."""
    return full_name.replace("/", "_") + ".onnx"


def own_backbone(name: str, weights: str | os.PathLike[str], size_px: int | None) -> OnnxBackbone | None:
    """Fill one of Headstart's own graphs."""
    full_name = own_name(name)
    if full_name is None or weights == "random":
        return None
    model, recipe = own_graph(full_name)
    if weights == "default":
        file = official_weights(recipe)
        if file is None:
            return None
        data, sha256 = file.read()
        source = WeightsSource(file.kind, file.path, sha256, licence=file.licence)
    else:
        path, info = file_of_user(weights, full_name)
        digest = digest_in_name(path) if Path(path).name == recipe.file_name else None
        file = WeightsFile("cache", path, digest, remedy="Download or copy it again.")
        data, sha256 = file.read()
        if info:
            verify_safetensors(data, name=path)
        source = WeightsSource("file", path, sha256, "without its head" if info else "")
    return _filled(model, recipe, _fitting(_read(data, file.path), recipe, file), source, size_px)


def _filled(
    model: onnx.ModelProto,
    recipe: Recipe,
    state_dict: Mapping[str, np.ndarray],
    source: WeightsSource,
    size_px: int | None,
) -> OnnxBackbone:
    size_px = size_px or recipe.preprocessing.size_px
    for tensor in model.graph.initializer:
        if tensor.name in recipe.weights:
            tensor.raw_data = state_dict[recipe.weights[tensor.name]].astype("<f4", copy=False).tobytes()
    # Padding is computed inside the graph, so that it is the same for every size but for its input's shape.
    for side in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        side.dim_value = size_px
    del model.metadata_props[:]
    preprocessing = replace(recipe.preprocessing, size_px=size_px)
    # A counter of batches, which is missing where weights are older than it, decides nothing.
    native = {
        name: state_dict[name] if name in state_dict else np.zeros(shape, np.int64)
        for name, shape in recipe.shapes.items()
    }
    return OnnxBackbone(
        recipe.name, model.SerializeToString(), preprocessing, source, recipe.stages, native=native
    )


def official_weights(recipe: Recipe) -> WeightsFile | None:
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
        raise WeightsFileError(f"{path} cannot be read: it is damaged. Download or copy it again.") from error


def _fitting(given: Mapping[str, np.ndarray], recipe: Recipe, file: WeightsFile) -> Mapping[str, np.ndarray]:
    """Return a state dict with the network's own names.

    Raises:
        WeightsFileError: It belongs to another network, or some numbers are not finite.
    """
    expected = dict(recipe.shapes)
    if file.keys == "order":
        if not any(name.endswith("num_batches_tracked") for name in given):
            expected = {name: s for name, s in expected.items() if not name.endswith("num_batches_tracked")}
        given = dict(zip(expected, given.values(), strict=False)) if len(given) == len(expected) else {}
    needed = set(recipe.weights.values())
    wrong = [name for name in expected if name in needed and given.get(name, _NONE).shape != expected[name]]
    if wrong:
        raise WeightsFileError(
            f"{file.path} does not fit {recipe.name}: {len(wrong)} tensors are missing or of another shape, "
            f"among them {wrong[0]}. Name the backbone that these weights were saved from."
        )
    wrong = [
        n for n in expected if n in needed and (given[n].dtype != np.float32 or not _is_finite(given[n]))
    ]
    if wrong:
        raise WeightsFileError(
            f"{file.path} holds numbers that are not float32 or not finite, in {len(wrong)} tensors, among "
            f"them {wrong[0]}. Use another checkpoint."
        )
    return given


_NONE: Final[np.ndarray] = np.empty((0, 0, 0, 0, 0))


def _is_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
