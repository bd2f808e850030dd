"""What computes features, and how photos are prepared for it, with PyTorch only where it is needed."""

from __future__ import annotations

from collections.abc import Callable

from headstart.config import TrainConfig
from headstart.environment import may_have_gpu
from headstart.errors import requires_extra
from headstart.frozen.extract import Extractor
from headstart.frozen.prefix import OnnxPrefix
from headstart.images.settings import Preprocessing
from headstart.training.choose import find_without_pytorch, open_file, refuse_features_without_pytorch


def open_extractor(config: TrainConfig, task: str, say: Callable[[str], object]) -> Extractor:
    """Open the network that a configuration names, without its head.

    Args:
        config: Names the backbone, its weights, its input, the device and the precision.
        task: Decides how photos become square where the configuration does not.
        say: Called with what a user should know about the choice of the device.

    Raises:
        ConfigError: The device or the precision is not available.
        HeadstartError: There is no such backbone, or its weights cannot be loaded.
        MissingPackageError: That needs PyTorch, which is not installed.
    """
    if config.backbone_is_file:
        file = open_file(config, say, reads_stages=False)
        return Extractor(file.name, "pool", file.preprocessing, OnnxPrefix(file.graph), file)
    is_on_cpu = config.device == "cpu" or (config.device == "auto" and not may_have_gpu())
    if is_on_cpu and config.precision in ("auto", "fp32") and (found := find_without_pytorch(config, task)):
        return Extractor(found.name, "pool", found.preprocessing, OnnxPrefix(found.graph))
    refuse_features_without_pytorch(config)
    with requires_extra("train"):
        from headstart.training.tools.network_extractor import open_network
    return open_network(config, task, say)


def input_of(config: TrainConfig, task: str) -> tuple[str, Preprocessing]:
    """Return the full name of the backbone that a configuration names, and how photos become its input.

    Args:
        config: Names the backbone and, if they are not the usual ones, the size and the way of resizing.
        task: Decides how photos become square where the configuration does not.

    Raises:
        UnknownBackboneError: There is no such backbone, or only PyTorch's libraries know it, and they are not
            installed.
    """
    if config.backbone_is_file:
        file = open_file(config, lambda _: None, reads_stages=False)
        return file.name, file.preprocessing
    if found := find_without_pytorch(config, task):
        return found.name, found.preprocessing
    refuse_features_without_pytorch(config)
    with requires_extra("train"):
        from headstart.model.backbones import resolve
    backbone = resolve(config.backbone)
    return backbone.full_name, backbone.preprocessing_for(task, config.resize, config.size_px)
