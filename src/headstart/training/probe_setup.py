"""What a probe begins with, and the features that it is solved on."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from headstart.cluster.passes import RayCluster
from headstart.config import PhaseConfig, TrainConfig
from headstart.data.split import Splits
from headstart.frozen.cache import Room, should_keep
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.opened import OpenedBackbone, open_backbone_features
from headstart.probe.blocks import Block, blocks_of
from headstart.records import Listing
from headstart.training.watch.watchers import Watchers
from headstart.views.augmentation import Augmentation


@dataclass(frozen=True)
class ProbeSetup:
    """What a probe begins with.

    Attributes:
        config: With its one phase.
        listing: The photos, none of them read.
        backbone: Computes the features.
        reads_earlier: Whether the head may read stages before the last one, where the settings allow it.
    """

    config: TrainConfig
    listing: Listing
    backbone: OnnxBackbone
    reads_earlier: bool = True

    @property
    def phase(self) -> PhaseConfig:
        """The only phase."""
        (phase,) = self.config.phases
        return phase

    @property
    def views(self) -> range:
        """Numbers of the views that are trained on; 0 is the photo without augmentation."""
        return range(1) if self.phase.augment == "none" else range(1, self.phase.views + 1)

    @functools.cached_property
    def storage(self) -> tuple[bool, str]:
        """Whether features are stored, and why."""
        num_photos = len(self.listing.candidates)
        num_features = self.backbone.num_features + sum(self.backbone.widths)
        num_bytes = 4 * num_features * num_photos * len(self.views)
        config = self.config
        return should_keep(config.features, num_bytes, num_photos, num_photos, config.store)

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The stages that the head may read."""
        may_read = self.config.head in ("auto", "stages")
        earlier = self.backbone.earlier if may_read and self.reads_earlier else ()
        return blocks_of(earlier, self.backbone.num_features)


@dataclass(frozen=True)
class ProbeFeatures:
    """Features of photos as they are, and of what is trained on; often the same object.

    Attributes:
        plain: Of photos as they are.
        training: Of the views that are trained on.
        room: Opens the stores; None if nothing is stored.
    """

    plain: OpenedBackbone
    training: OpenedBackbone
    room: Room | None

    def close(self) -> None:
        """Let go of stores and memory."""
        self.plain.close()
        if self.training is not self.plain:
            self.training.close()


def open_features(setup: ProbeSetup, watchers: Watchers) -> ProbeFeatures:
    """Open the features of the photos as they are, and of the views that are trained on.

    Args:
        setup: What the run begins with.
        watchers: Are told if features are not stored.
    """
    config, phase, backbone = setup.config, setup.phase, setup.backbone
    keep, why = setup.storage
    if not keep:
        watchers.say(f"Features are not stored: {why}")
    room = Room(watchers.say, is_limited=config.features != "store", shared=config.store)
    options: dict[str, Any] = {"say": watchers.say, "keep": keep, "workers": config.workers, "room": room}
    options["cluster"] = RayCluster.of(config.ray, watchers.say)
    # The pooled outputs of all stages are computed on the way and kept, too.
    reads_stages = len(setup.blocks) > 1
    plain = open_backbone_features(backbone, pooled=keep or reads_stages, **options)
    if phase.augment == "none":
        return ProbeFeatures(plain, plain, room if keep else None)
    augmentation = Augmentation(phase.augment, config.seed)
    try:
        training = open_backbone_features(backbone, augmentation=augmentation, pooled=reads_stages, **options)
    except BaseException:  # a signal, too
        plain.close()
        raise
    return ProbeFeatures(plain, training, room if keep else None)


def compute_the_rest(features: ProbeFeatures, views: range, splits: Splits, watchers: Watchers) -> None:
    """Compute what the first pass could not, as it did not know who is trained on, and on which views."""
    train = [(record, view) for view in views for record in splits.train]
    scored = splits.train if splits.fold else splits.val
    with watchers.counting("Features", len(train) + len(scored)) as counter:
        for _ in counter.each(features.training.activations.fill(train)):
            pass
        for _ in counter.each(features.plain.activations.fill((record, 0) for record in scored)):
            pass
