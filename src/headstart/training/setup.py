"""Everything a run needs before the first photo is read: what can be wrong with the command shows here."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

from accelerate import Accelerator
from torch import nn

from headstart import recipe
from headstart.config import RECIPES, PhaseConfig, TrainConfig
from headstart.data.records import Listing
from headstart.data.source import read_source
from headstart.features.prefix import cut_for_training
from headstart.images.preprocess import Preprocessing
from headstart.model.backbones import Backbone, resolve
from headstart.model.head import replace_head
from headstart.model.stages import check_stages, cut, is_staged, state_names
from headstart.model.weights import WeightsSource, create_pretrained
from headstart.training.display import Display
from headstart.training.features import FeatureSource
from headstart.training.mix import check_mix
from headstart.training.solve_head import head_inputs, refuse_impossible_phases
from headstart.training.stopwatch import Stopwatch


@dataclass(frozen=True)
class Setup:
    """What a run begins with.

    Attributes:
        config: With its phases.
        listing: The folder of photos, none of them read.
        backbone: As it was asked for.
        preprocessing: How photos become pixels.
        network: Pretrained, with a new head, on the device.
        weights: Where they came from.
        source: Opens the features of one phase after the other.
    """

    config: TrainConfig
    listing: Listing
    backbone: Backbone
    preprocessing: Preprocessing
    network: nn.Module
    weights: WeightsSource
    source: FeatureSource

    def trained_names(self, phase: PhaseConfig) -> list[str]:
        """Return the entries of the network's state dict that a phase trains."""
        return state_names(self.network, cut(self.network, phase.unfreeze)[1])


def prepare(config: TrainConfig, accelerator: Accelerator, display: Display, stopwatch: Stopwatch) -> Setup:
    """List the photos, make the network, and fill in the phases.

    Raises:
        UsageError: The settings or the folder cannot be used.
        WeightsError: The pretrained weights cannot be had.
    """
    listing = read_source(config.data, config.val_folder, **config.source_options)
    num_train, num_val = _estimated_counts(listing, config)
    backbone = resolve(config.backbone)
    preprocessing = dataclasses.replace(
        backbone.preprocessing,
        resize=config.resize or backbone.preprocessing.resize,  # type: ignore[arg-type]
        size_px=config.size_px or backbone.preprocessing.size_px,
    )
    with stopwatch("network"):
        network, weights = create_pretrained(backbone, config.weights)
        if config.size_px or not is_staged(network):  # what the tests have not seen
            check_stages(network, preprocessing.size_px)
        replace_head(network, len(listing.class_names)).to(accelerator.device)
        network.eval()  # nothing that runs before training may teach the norms anything
    display.say(f"Backbone {backbone.full_name}, weights: {weights}")
    config = recipe.complete(config, recipe.Facts(num_train, head_inputs(network)))
    is_file = config.recipe not in RECIPES
    refuse_impossible_phases(network, config.phases, source=config.recipe if is_file else "")
    for phase in config.phases:
        if phase.cutmix:
            prefix, _ = cut_for_training(network, phase.unfreeze, preprocessing, accelerator.device)
            check_mix(phase, prefix.row(preprocessing.size_px).shape)
    source = FeatureSource(
        config, network, preprocessing, backbone.full_name, num_train, num_val, accelerator, display.say
    )
    return Setup(config, listing, backbone, preprocessing, network, weights, source)


def _estimated_counts(listing: Listing, config: TrainConfig) -> tuple[int, int]:
    """How many photos will be trained on and validated on, before any has been read."""
    splits = Counter(candidate.split for candidate in listing.candidates)
    num_train = splits["train"] + splits[None]
    if splits["val"]:
        return num_train, splits["val"]
    num_val = round(config.val_fraction * num_train)
    return num_train - num_val, num_val
