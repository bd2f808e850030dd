"""Finds and builds networks by name.

A name alone means torchvision's classification network of that name with the weights IMAGENET1K_V1, or with
torchvision's default if these do not exist. ``timm/NAME`` means timm's network with timm's default weights.
``NAME.TAG`` selects other weights. There is no file per network: both libraries describe their networks, and
the tables below contain what they do not describe.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from headstart import tasks
from headstart.errors import UnknownBackboneError, did_you_mean
from headstart.images.settings import Preprocessing, Resize
from headstart.model import libraries
from headstart.weight_files import digest_in_name

# What torchvision itself passes to the constructor when it loads the pretrained weights.
_TORCHVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "init_weights": False},
    "inception_v3": {"transform_input": True, "init_weights": False},
}

# timm's name for a way of resizing, and ours. Its "squash" and "border" trim no edge when its crop_pct is 1,
# as it nearly always is; ours never do.
_TIMM_RESIZE: dict[str, Resize] = {"center": "crop", "squash": "squash", "border": "pad"}

# What `headstart backbones` lists besides all of torchvision: timm's networks whose inside is staged and
# that are the usual choices.
_LISTED_TIMM = {
    "efficientnet_lite": [f"tf_efficientnet_lite{i}" for i in range(5)],
    "efficientnet": [f"efficientnet_b{i}" for i in range(5)],
    "resnet": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
    "convnext": ["convnext_atto", "convnext_nano", "convnext_tiny", "convnext_small", "convnext_base"],
    "vit": ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224"],
}


@dataclass(frozen=True)
class Backbone:
    """A network of torchvision or timm with one set of pretrained weights.

    Attributes:
        library: ``"torchvision"`` or ``"timm"``.
        name: Name of the network in its library: ``resnet18``, ``tf_efficientnet_lite0``.
        tag: Name of the weights in the library: ``IMAGENET1K_V1``, ``in1k``.
        num_classes: Number of outputs of the pretrained head; 0 if it has no head.
        preprocessing: Preprocessing with which the weights were trained.
        url: Where the library provides the weights as a file; None if it does not.
        hub_id: Hugging Face repository with the weights, preferred to ``url``; None if there is none.
        licence: Licence of the weights as the library states it; empty if it states none.
    """

    library: Literal["torchvision", "timm"]
    name: str
    tag: str
    num_classes: int
    preprocessing: Preprocessing
    url: str | None = None
    hub_id: str | None = None
    licence: str = ""

    @property
    def full_name(self) -> str:
        """The name with the tag: ``resnet18.IMAGENET1K_V1``, ``timm/tf_efficientnet_lite0.in1k``."""
        return f"timm/{self.timm_name}" if self.library == "timm" else f"{self.name}.{self.tag}"

    def preprocessing_for(
        self, task: str, resize: str | None = None, size_px: int | None = None
    ) -> Preprocessing:
        """Return the preprocessing for a task.

        Args:
            task: Name of the task; for boxes, photos are squashed by default, because a crop may lose the
                object.
            resize: ``"crop"``, ``"pad"`` or ``"squash"``; None for the default.
            size_px: Size of the input; None for the size with which the weights were trained.
        """
        default = tasks.of(task).resize or self.preprocessing.resize
        return dataclasses.replace(
            self.preprocessing,
            resize=resize or default,  # type: ignore[arg-type]  # the configuration has been checked
            size_px=size_px or self.preprocessing.size_px,
        )

    @property
    def timm_name(self) -> str:
        """The name with the tag in timm's format; by tag, networks may differ in classes or input size."""
        return f"{self.name}.{self.tag}" if self.tag else self.name

    @property
    def file_name(self) -> str | None:
        """Last part of ``url``, the name of the file in PyTorch's cache."""
        return self.url.rpartition("/")[2] if self.url else None

    @property
    def digest(self) -> str | None:
        """SHA-256 digits at the end of the file name: ``mobilenet_v2-b0353104.pth``."""
        return digest_in_name(self.file_name or "")

    @functools.cached_property
    def num_params(self) -> int:
        """Number of parameters with the pretrained head, as the library counts them (GoogLeNet: no
        auxiliaries).
        """
        if self.library == "torchvision":
            return int(_torchvision_weights(self.name)[self.tag].meta["num_params"])
        with torch.device("meta"), _WithoutNumbers():  # shapes alone: quick, and no memory
            network = create_native(self)
        return sum(parameter.numel() for parameter in network.parameters())

    @property
    def megabytes(self) -> float:
        """Size of the parameters as float32, in 10⁶ bytes."""
        return self.num_params * 4 / 1e6


_FILLING = {
    getattr(torch.Tensor, name) for name in ("normal_", "uniform_", "clamp_", "mul_", "add_", "erfinv_")
}
_FILLING |= {function for name, function in vars(nn.init).items() if name[0] != "_" and name[-1] == "_"}


class _WithoutNumbers(TorchFunctionMode):
    """Leaves out what fills tensors with random numbers, which is slow on the device meta, too."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _FILLING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def resolve(name: str) -> Backbone:
    """Return the backbone with a name.

    Args:
        name: ``resnet18``, ``resnet50.IMAGENET1K_V2`` (the case of torchvision's tags is ignored),
            ``timm/NAME`` or ``timm/NAME.TAG``; the full name of a backbone is also accepted.

    Raises:
        UnknownBackboneError: The network or the weights do not exist, or the network's input is not a square
            image with three channels.
    """
    library, _, timm_name = name.rpartition("/")
    if library == "timm":
        return _resolve_timm(timm_name)
    network, _, tag = name.partition(".")
    return _resolve_torchvision(network, tag)


def create_native(backbone: Backbone, *, num_classes: int | None = None) -> nn.Module:
    """Build the native torchvision or timm network with random weights.

    The weights depend on ``torch.manual_seed``; the state of PyTorch's generator is restored.

    Args:
        backbone: The backbone to build. Auxiliary classifiers (GoogLeNet, Inception) are kept, so that the
            state dict has the native names.
        num_classes: Number of outputs of the head; by default that of the pretrained head.
    """
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    with torch.random.fork_rng(devices=[]):
        if backbone.library == "timm":
            return cast(nn.Module, libraries.timm().create_model(backbone.timm_name, **options))
        models = libraries.torchvision_models()
        return cast(nn.Module, models.get_model(backbone.name, **_torchvision_options(backbone), **options))


def native_lines(backbone: Backbone, num_classes: int, path: str = "model.pth") -> str:
    """Return Python code with torchvision or timm that loads a state dict without Headstart.

    Args:
        backbone: The network that was trained.
        num_classes: Number of outputs of its head.
        path: A file written by ``torch.save(network.state_dict(), path)``.
    """
    return (
        f"import torch, {backbone.library}\n\n"
        f"net = {native_network(backbone, num_classes)}\n"
        f"net.load_state_dict(torch.load({path!r}, weights_only=True))\n"
        "net.eval()\n"
    )


def native_network(backbone: Backbone, num_classes: int) -> str:
    """Return the expression that builds the native network for a number of classes, without weights."""
    if backbone.library == "timm":
        return f"timm.create_model({backbone.timm_name!r}, num_classes={num_classes})"
    options = {"num_classes": num_classes} | _torchvision_options(backbone)
    arguments = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return f"torchvision.models.{backbone.name}({arguments})"


def listed() -> list[Backbone]:
    """Return the backbones that ``headstart backbones`` lists: usual ones of timm, all of torchvision."""
    timm_names = [f"timm/{name}" for family in _LISTED_TIMM.values() for name in family]
    return [resolve(name) for name in [*timm_names, *_torchvision_names()]]


def every() -> Iterator[Backbone]:
    """Yield every backbone with pretrained weights, for each of its tags."""
    timm = libraries.timm()
    for name in _torchvision_names():
        for tag, entry in _torchvision_weights(name).items():
            yield _torchvision_backbone(name, tag, entry)
    for name in timm.list_pretrained():
        cfg = timm.models.get_pretrained_cfg(name)
        if _takes_squares(cfg):
            yield _timm_backbone(name, cfg)


def _torchvision_names() -> list[str]:
    models = libraries.torchvision_models()
    return cast(list[str], models.list_models(module=models))


def _torchvision_weights(name: str) -> dict[str, Any]:
    """Return torchvision's weights by tag, best last, without those of detectors (no classifier)."""
    models = libraries.torchvision_models()
    return {entry.name: entry for entry in models.get_model_weights(name) if entry.meta["categories"]}


def _torchvision_options(backbone: Backbone) -> dict[str, Any]:
    """Return keyword arguments of the constructor besides the number of classes."""
    if backbone.name.startswith("vit_"):  # its position embedding has a fixed size, which differs by tag
        return {"image_size": backbone.preprocessing.size_px}
    return _TORCHVISION_OPTIONS.get(backbone.name, {})


def _resolve_torchvision(name: str, tag: str) -> Backbone:
    if name not in _torchvision_names():
        raise _unknown_name(f"{name}.{tag}" if tag else name, name)
    entries = _torchvision_weights(name)
    default = libraries.torchvision_models().get_model_weights(name).DEFAULT.name
    if not tag:
        tag = "IMAGENET1K_V1" if "IMAGENET1K_V1" in entries else default
    elif tag.upper() == "DEFAULT":
        tag = default
    elif tag.upper() in entries:
        tag = tag.upper()
    else:
        raise _unknown_tag(name, tag, entries)
    return _torchvision_backbone(name, tag, entries[tag])


def _torchvision_backbone(name: str, tag: str, entry: Any) -> Backbone:
    transform = entry.transforms()
    (size_px,), (resized_px,) = transform.crop_size, transform.resize_size
    return Backbone(
        library="torchvision",
        name=name,
        tag=tag,
        num_classes=len(entry.meta["categories"]),
        preprocessing=Preprocessing(
            size_px=size_px,
            crop_fraction=size_px / resized_px,
            interpolation=transform.interpolation.value,
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        ),
        url=entry.url,
        licence=entry.meta.get("license") or "",
    )


def _resolve_timm(name_and_tag: str) -> Backbone:
    timm = libraries.timm()
    name, _, tag = name_and_tag.partition(".")
    if name not in timm.list_models():
        known = [f"timm/{known}" for known in timm.list_models()]
        raise UnknownBackboneError(
            f"Unknown backbone 'timm/{name_and_tag}'.{did_you_mean(f'timm/{name}', known)} "
            f"timm {timm.__version__} has {len(known)}: timm.list_models() names them all."
        )
    tags = [known.partition(".")[2] for known in timm.models.get_arch_pretrained_cfgs(name)]
    if tag and tag not in tags:
        raise _unknown_tag(f"timm/{name}", tag, tags)
    cfg: Any = timm.models.get_pretrained_cfg(name_and_tag)
    if not _takes_squares(cfg):
        channels, height, width = cfg.input_size
        raise UnknownBackboneError(
            f"timm/{name_and_tag} takes images of {channels} channels and {height} × {width} pixels. "
            "Headstart's networks take three channels and squares: choose another. List: headstart backbones"
        )
    return _timm_backbone(name, cfg)


def _takes_squares(cfg: Any) -> bool:
    channels, height, width = cfg.input_size
    return bool(channels == 3 and height == width)


def _timm_backbone(name: str, cfg: Any) -> Backbone:
    size_px = cfg.input_size[-1]
    return Backbone(
        library="timm",
        name=cfg.architecture or name,
        tag=cfg.tag or "",
        num_classes=cfg.num_classes,
        preprocessing=Preprocessing(
            size_px=size_px,
            # timm resizes to a whole number of pixels, rounding down; three networks see less than they crop.
            crop_fraction=min(1.0, size_px / math.floor(size_px / cfg.crop_pct)),
            interpolation=cfg.interpolation,
            resize=_TIMM_RESIZE[cfg.crop_mode],
            mean=tuple(cfg.mean),
            std=tuple(cfg.std),
        ),
        # Some urls lead to files in another format than timm's own; the repository never does.
        url=None if cfg.hf_hub_id or cfg.custom_load else cfg.url,
        hub_id=cfg.hf_hub_id,
        licence="" if cfg.license in (None, "unknown") else cfg.license,
    )


def _unknown_name(asked: str, name: str) -> UnknownBackboneError:
    """Return the error for a name that torchvision does not have; timm may have it."""
    timm = libraries.timm()
    ours, theirs = set(_torchvision_names()), set(timm.list_models())
    if name in theirs:
        return UnknownBackboneError(
            f"Unknown backbone {asked!r}: torchvision has no such network, timm has: write 'timm/{asked}'. "
            f"({len(ours & theirs)} names exist in both libraries, so a bare name is always torchvision's.)"
        )
    known = [*sorted(ours), *(f"timm/{known}" for known in timm.list_models())]
    return UnknownBackboneError(
        f"Unknown backbone {asked!r}.{did_you_mean(name.lower(), known)} "
        "A bare name is torchvision's, 'timm/NAME' is timm's. List: headstart backbones"
    )


def _unknown_tag(name: str, tag: str, tags: Any) -> UnknownBackboneError:
    """Return the error for weights that a known network does not have."""
    return UnknownBackboneError(
        f"{name} has no weights {tag!r}.{did_you_mean(tag, tags)} "
        f"It has: {', '.join(tags)}. Write {name}.TAG, or {name} alone for the usual ones."
    )
