"""One pass over photos for a solved head: opens the stored features, and reads and checks the photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from headstart.cluster.passes import RayCluster
from headstart.config import TrainConfig
from headstart.data.check import CheckedPhoto, check_images, not_finite_error
from headstart.data.targets import Targets
from headstart.errors import TrainingError
from headstart.frozen.cache import Room, should_keep
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.onnx_file.check import check_on_files
from headstart.frozen.opened import OpenedBackbone, open_backbone_features
from headstart.packed import Packed
from headstart.probe.blocks import Block, blocks_of
from headstart.recipe import can_be_solved
from headstart.records import Dataset, Listing


@contextmanager
def open_for_photos(
    backbone: OnnxBackbone, listing: Listing, config: TrainConfig, say: Callable[[str], object]
) -> Iterator[OpenedBackbone]:
    """Open the features of photos, with the outputs of earlier stages if they are stored, as in a probe.

    Args:
        backbone: The backbone.
        listing: The photos.
        config: Where features are kept, and the number of threads.
        say: Called with a sentence for the user.
    """
    if backbone.is_file:
        check_on_files(backbone, [each.photo for each in listing.candidates], say)
    num_photos = len(listing.candidates)
    num_bytes = 4 * (backbone.num_features + sum(backbone.widths)) * num_photos
    keep, why = should_keep(config.features, num_bytes, num_photos, num_photos, config.store)
    if not keep:
        say(f"Features are not stored: {why}")
    room = Room(say, is_limited=config.features != "store", shared=config.store)
    opened = open_backbone_features(
        backbone,
        say=say,
        pooled=keep,
        keep=keep,
        workers=config.workers,
        room=room,
        cluster=RayCluster.of(config.ray, say),
    )
    try:
        yield opened
    finally:
        opened.close()


def read_photos(
    features: OpenedBackbone,
    listing: Listing,
    allow_quarantined: float | None,
    advance: Callable[[int], object],
) -> Dataset:
    """Read and check all photos, and compute their features in the same pass.

    Args:
        features: From ``open_for_photos``.
        listing: The photos.
        allow_quarantined: Fraction of the photos that may be unusable; None for the default.
        advance: Called with 1 for each photo.

    Raises:
        DataError: The photos cannot be used with any backbone.
        TrainingError: The backbone's features are not finite.
    """
    checks = Packed(CheckedPhoto)
    for photo in features.activations.check(listing.candidates, lambda _: True):
        checks.append(photo)
        advance(1)
    not_finite = [
        each.path for each, photo in zip(listing.candidates, checks, strict=True) if not photo.is_finite
    ]
    if not_finite:
        raise TrainingError(str(not_finite_error(not_finite)))
    return check_images(listing, allow_quarantined, checks=iter(checks))


def affordable_blocks(
    backbone: OnnxBackbone, features: OpenedBackbone, targets: Targets, num_photos: int
) -> tuple[Block, ...]:
    """Return the stages that a probe's head could read, which memory limits if there are many outputs."""
    num_inputs = backbone.num_features + backbone.num_earlier
    is_affordable = can_be_solved(num_photos, num_inputs, targets.num_outputs)
    has_earlier = features.pooled_rows is not None and is_affordable
    return blocks_of(backbone.earlier if has_earlier else (), backbone.num_features)
