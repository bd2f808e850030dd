"""What computes features where PyTorch is installed: any network by its name, on any device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from headstart.config import TrainConfig
from headstart.frozen.extract import Extractor
from headstart.model.backbones import resolve
from headstart.model.check import check_stages
from headstart.model.network import feature_extractor
from headstart.model.prefix import NetworkPrefix
from headstart.model.stages import is_staged
from headstart.model.weights import create_pretrained
from headstart.training.steps.device import choose


def open_network(config: TrainConfig, task: str, say: Callable[[str], object]) -> Extractor:
    """Open the network that a configuration names, without its head.

    Args:
        config: Names the backbone, its weights, its input, the device and the precision.
        task: Decides how photos become square where the configuration does not.
        say: Called with what a user should know about the choice of the device.

    Raises:
        ConfigError: The device or the precision is not available.
        HeadstartError: There is no such backbone, or its weights cannot be loaded.
    """
    choice = choose(config.device, config.precision)
    for note in choice.notes:
        say(note)
    backbone = resolve(config.backbone)
    preprocessing = backbone.preprocessing_for(task, config.resize, config.size_px)
    network, _ = create_pretrained(backbone, config.weights)
    if config.size_px or not is_staged(network):  # what the tests have not seen
        check_stages(network, preprocessing.size_px)
    device = torch.device(choice.device)
    base = feature_extractor(network.to(device))
    prefix = NetworkPrefix(base, preprocessing, device, choice.precision)
    return Extractor(backbone.full_name, base.names[-1], preprocessing, prefix)
