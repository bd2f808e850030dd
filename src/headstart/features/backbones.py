"""Backbones as ONNX graphs, without PyTorch: Headstart's own, and those that PyTorch has once exported.

Headstart's own graphs lie in ``features/graphs`` without weights (``scripts/make_graphs.py`` makes them) and
are filled from a file of weights on this machine. A filled graph has the operations and weights of PyTorch's
own export, bit for bit, so both share stored features.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

import numpy as np
import onnx
import safetensors.numpy

from headstart.environment import has_pytorch
from headstart.errors import UnknownBackboneError, WeightsError, did_you_mean
from headstart.features import prefixes
from headstart.features.graph import function_hashes
from headstart.features.pth import read_pth
from headstart.files import sha256_of_file
from headstart.images.preprocess import Preprocessing, Resize
from headstart.model_file import verify_safetensors
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
"""The entry in an own graph's metadata that holds its ``Recipe`` as JSON."""


@dataclass(frozen=True)
class OnnxBackbone:
    """A pretrained network up to the input of its head, as an ONNX graph.

    Attributes:
        name: Full name, such as ``"timm/tf_efficientnet_lite0.in1k"``; for a user's file, its file name.
        graph: A serialised model with all weights inside: input ``images`` (N, size_px, size_px, 3) uint8,
            output ``activations`` (N, D) float32. Normalisation is its first layer.
        preprocessing: How photos become its input.
        source: Where the weights come from.
        stages: Tensors inside the graph, in order: the outputs (N, C, H, W) of the stages before the pooling.
        is_file: Whether the user has named a file.
        native: The state dict of the whole network in its own names, with the pretrained head as its last two
            tensors; empty where it is not known.
    """

    name: str
    graph: bytes
    preprocessing: Preprocessing
    source: WeightsSource = field(compare=False)
    stages: tuple[str, ...] = ()
    is_file: bool = False
    native: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def weights(self) -> str:
        """SHA-256 of the file that the weights come from, or ``"random"``."""
        return self.source.identity

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


def find_backbone(
    name: str,
    weights: str | os.PathLike[str] = "default",
    *,
    size_px: int | None = None,
    resize: Resize | None = None,
) -> OnnxBackbone | None:
    """Find a backbone that needs no PyTorch: one of Headstart's own, or one that PyTorch has once exported.

    Where PyTorch is installed, an export of other versions of PyTorch, torchvision or timm is not taken.

    Args:
        name: With or without the tag of its weights: ``"timm/tf_efficientnet_lite0"``, ``"mobilenet_v2"``.
        weights: ``"default"`` for the official ones; or a file of the network's state dict (.pth or
            .safetensors), or the folder of a run.
        size_px: Side of the input, instead of the one that the weights were trained with.
        resize: How a photo becomes a square, instead of the default.

    Returns:
        The backbone; None if it is not known here at that size, or if its weights are not on this machine.

    Raises:
        WeightsError: The file of weights cannot be found or read, or it is another network's.
        DamagedFileError: The file is not the one that its name, its package or its checksum promises.
    """
    found = _own(name, weights, size_px) or _exported(name, weights, size_px)
    if found and resize:
        found = replace(found, preprocessing=replace(found.preprocessing, resize=resize))
    return found


def refuse_unknown(name: str) -> NoReturn:
    """Raise the error for a backbone that ``find_backbone`` does not find, which names the ways on.

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
    """Return the full names of the backbones that ``find_backbone`` finds, Headstart's own first."""
    own = [name for name in OWN_GRAPHS if _official(own_graph(name)[1])]
    return list(dict.fromkeys([*own, *(about["name"] for about in prefixes.kept() if about["is_official"])]))


@dataclass(frozen=True)
class Listed:
    """One row of ``headstart backbones`` without PyTorch.

    Attributes:
        name: What to write: ``timm/tf_efficientnet_lite0``.
        full_name: The name with the tag of its weights.
        size_px: Side of the input.
        source: Where the weights are on this machine: in an installed package, in torchvision's cache, or in
            an earlier export of PyTorch's; None if they are not here.
    """

    name: str
    full_name: str
    size_px: int
    source: Literal["package", "cache", "download", "export"] | None


def listed() -> list[Listed]:
    """Return Headstart's own backbones, with their weights or without, and those that were once exported."""
    rows = {}
    for about in reversed(prefixes.kept()):
        if about["is_official"]:
            name = short_name(about["name"]) if about["is_usual"] else about["name"]
            rows[about["name"]] = Listed(name, about["name"], about["native"]["size_px"], "export")
    own = []
    for full_name in OWN_GRAPHS:
        recipe = own_graph(full_name)[1]
        file = _official(recipe)
        exported = rows.pop(full_name, None)
        if file is None and exported is not None:
            own.append(exported)
        else:
            size_px, source = recipe.preprocessing.size_px, file.kind if file else None
            own.append(Listed(short_name(full_name), full_name, size_px, source))
    return [*own, *(rows[name] for name in sorted(rows))]


@dataclass(frozen=True)
class Export:
    """What decides an exported prefix, all stages before the head: another value is another graph.

    Attributes:
        name: The backbone's full name.
        is_usual: Whether the name without its tag means the same weights.
        weights: SHA-256 of the file that the weights come from.
        is_official: Whether these are the weights that the tag names.
        native: What the official weights were trained to see.
        size_px: Side of the input.
        versions: Of the libraries that have made and exported the network.
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
        """Return the fields as JSON has them."""
        return vars(self) | {"versions": dict(self.versions), "native": self.native.to_dict()}


def keep_prefix(backbone: OnnxBackbone, export: Export) -> None:
    """Keep an exported backbone in Headstart's cache, for ``find_backbone`` and ``kept_prefix``."""
    prefixes.keep(export.to_dict() | {"stages": list(backbone.stages)}, backbone.graph)


def kept_prefix(export: Export) -> OnnxBackbone | None:
    """Return the backbone that ``keep_prefix`` has kept for exactly this export; None if there is none."""
    wanted = export.to_dict()
    return _from_cache(lambda about: wanted == {key: about.get(key) for key in wanted})


def own_name(name: str) -> str | None:
    """Return the full name of one of Headstart's own graphs; None if there is none for that name."""
    return next((each for each in OWN_GRAPHS if _is_same(name, each) or name == short_name(each)), None)


def _is_same(name: str, full_name: str) -> bool:
    """Compare names: case does not matter in torchvision's tags."""
    network, _, tag = name.partition(".")
    return name == full_name or ("/" not in name and f"{network}.{tag.upper()}" == full_name)


def own_graph(full_name: str) -> tuple[onnx.ModelProto, Recipe]:
    """Return one of Headstart's own graphs without its weights, and how to fill it."""
    file = resources.files("headstart.features") / "graphs" / graph_file_name(full_name)
    model = onnx.load_from_string(file.read_bytes())
    (text,) = (each.value for each in model.metadata_props if each.key == RECIPE_KEY)
    return model, Recipe.from_json(text)


def graph_file_name(full_name: str) -> str:
    """Return the file name of an own graph in ``features/graphs``."""
    return full_name.replace("/", "_") + ".onnx"


def _own(name: str, weights: str | os.PathLike[str], size_px: int | None) -> OnnxBackbone | None:
    """Fill one of Headstart's own graphs."""
    full_name = own_name(name)
    if full_name is None or weights == "random":
        return None
    model, recipe = own_graph(full_name)
    if weights == "default":
        file = _official(recipe)
        if file is None:
            return None
        data, sha256 = file.read()
        source = WeightsSource(file.kind, file.path, sha256)
    else:
        path, info = file_of_user(weights, full_name)
        digest = digest_in_name(path) if Path(path).name == recipe.file_name else None
        file = WeightsFile("cache", path, digest, remedy="Get it anew.")
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


def _exported(name: str, weights: str | os.PathLike[str], size_px: int | None) -> OnnxBackbone | None:
    """Find the newest export of a backbone; where PyTorch could make it anew, by the installed versions."""
    sha256 = None
    if weights == "random":
        return None
    if weights != "default":
        path, _ = file_of_user(weights, name)
        sha256 = sha256_of_file(path)

    def matches(about: Mapping[str, Any]) -> bool:
        names = [about["name"], *([short_name(about["name"])] if about["is_usual"] else [])]
        return (
            any(_is_same(name, each) for each in names)
            and (about["is_official"] if sha256 is None else about["weights"] == sha256)
            and about["size_px"] == (size_px or about["native"]["size_px"])
            and (not has_pytorch() or _is_by_installed(about["versions"]))
        )

    return _from_cache(matches)


def _is_by_installed(versions: Mapping[str, str]) -> bool:
    """Compare versions of libraries with those that are installed, whatever hardware they are built for."""
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
    source = WeightsSource("export", sha256=about["weights"], exported_by=about["versions"])
    return OnnxBackbone(about["name"], graph, preprocessing, source, tuple(about["stages"]))


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
