"""The stored features of one backbone, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.cluster.passes import RayCluster
from headstart.frozen.activations import Activations
from headstart.frozen.cache import Room
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.pooled import POOLED, with_pooled
from headstart.frozen.prefix import OnnxPrefix, Pair, Prefix
from headstart.records import Record
from headstart.views.augmentation import Augmentation

CUT = "pool"
"""Value of ``Fingerprint.cut`` for a backbone that ends before the head."""


@dataclass(frozen=True)
class OpenedBackbone:
    """A backbone with stored features.

    Attributes:
        prefix: The prefix of the backbone.
        activations: The inputs of a linear head, (D,) float32 per photo.
        stages: Names of the stages with pooled outputs.
        widths: Lengths of these outputs: 2 C each.
        pooled_rows: The concatenated pooled outputs of all stages, computed in the same pass as
            ``activations``; None if they are not computed.
    """

    prefix: OnnxPrefix
    activations: Activations
    stages: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    pooled_rows: Activations | None = None

    def pooled(self, photos: Iterable[tuple[Record, int]]) -> Iterator[list[np.ndarray]]:
        """Yield the pooled outputs of photos and views: for each stage (2 C,) float32, with the means first.

        Missing outputs are computed.

        Raises:
            DataError: They are not finite, or a photo can no longer be read.
        """
        if self.pooled_rows is None:
            raise ValueError("the backbone has been opened without the pooled outputs of its stages")
        ends = np.cumsum(self.widths)[:-1]
        for row in self.pooled_rows.rows(photos):
            yield np.split(row, ends)

    def rows(self, photos: Iterable[tuple[Record, int]], stages: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the inputs of a head that reads several stages.

        Args:
            photos: Photos and views.
            stages: Names of the stages before the last, in their order.

        Yields:
            The pooled outputs of the stages, then the activations, as one vector, float32.

        Raises:
            DataError: They are not finite, or a photo can no longer be read.
        """
        if not stages:
            yield from self.activations.rows(photos)
            return
        photos = list(photos)
        indices = [self.stages.index(stage) for stage in stages]
        for row, parts in zip(self.activations.rows(photos), self.pooled(photos), strict=True):
            yield np.concatenate([*(parts[index] for index in indices), row])

    def close(self) -> None:
        """Close the stores and release the memory."""
        self.activations.close()


def open_backbone_features(
    backbone: OnnxBackbone,
    *,
    say: Callable[[str], object],
    augmentation: Augmentation | None = None,
    pooled: bool = True,
    keep: bool = True,
    cut: str = CUT,
    workers: int | None = None,
    room: Room | None = None,
    cluster: RayCluster | None = None,
) -> OpenedBackbone:
    """Open the stored features of a backbone.

    Args:
        backbone: A backbone from ``find_backbone`` or from a user's file.
        say: Called with a sentence for the user.
        augmentation: Provides views 1, 2, ... of a photo; None to use photos without augmentation, as view 0.
        pooled: Whether pooled outputs of stages are also computed, if the backbone names its stages.
        keep: Whether rows are stored.
        cut: Name of the last stage.
        workers: Number of threads that load photos.
        room: Opens the stores; shared within a run.
        cluster: As in ``Activations``.
    """
    room = room or Room(say)
    stages = backbone.stages if pooled else ()
    prefix = OnnxPrefix(backbone.graph)
    if stages:
        prefix = OnnxPrefix(with_pooled(backbone.graph, stages), second=POOLED, is_exact=False)

    def opened(
        prefix: Prefix, function: Callable[[], str], cut: str, second: Activations | None, *, proves: bool
    ) -> Activations:
        return Activations(
            prefix,
            backbone.preprocessing,
            lambda runtime: _fingerprint(backbone, cut, function(), augmentation, runtime),
            augmentation=augmentation,
            second=second,
            keep=keep,
            proves=proves,
            workers=workers,
            say=say,
            room=room,
            cluster=None if isinstance(prefix, _Second) else cluster,
        )

    rows = None
    if stages:
        rows = opened(_Second(prefix), lambda: prefix.second_function, "pooled stages", None, proves=False)
    # The pooled outputs do not change what leads to the main one.
    activations = opened(prefix, lambda: backbone.function, cut, rows, proves=True)
    return OpenedBackbone(prefix, activations, stages, backbone.widths if stages else (), rows)


def _fingerprint(
    backbone: OnnxBackbone, cut: str, function: str, augmentation: Augmentation | None, runtime: str
) -> Fingerprint:
    return Fingerprint(
        preprocessing=backbone.preprocessing,
        backbone=backbone.name,
        cut=cut,
        function=function,
        runtime=runtime,
        device=OnnxPrefix.device_name,
        precision=OnnxPrefix.precision,
        augmentation=augmentation.fingerprint() if augmentation else None,
    )


class _Second:
    """The second output of a prefix as a separate prefix."""

    is_empty = False

    def __init__(self, prefix: OnnxPrefix) -> None:
        self._prefix = prefix
        self.batch_size = prefix.batch_size
        self.runtime = prefix.runtime
        self.device_name = prefix.device_name
        self.precision = prefix.precision

    @property
    def function(self) -> str:
        return self._prefix.second_function

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self._prefix.outputs(pixels)[1]

    def pairs(self, pixels: np.ndarray) -> list[Pair]:
        return [(row, None) for row in self._prefix.outputs(pixels)[1]]

    def row(self, size_px: int) -> np.ndarray:
        black = np.zeros((self.batch_size, size_px, size_px, 3), np.uint8)
        row: np.ndarray = self._prefix.outputs(black)[1][0]
        return row
