"""The features before the head of a finished model, with the store that holds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from headstart import tasks
from headstart.errors import UsageError
from headstart.frozen.activations import Activations
from headstart.frozen.cache import Room, store_path
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.linear_head import output_of_head, stated_function, up_to_head
from headstart.frozen.opened import CUT
from headstart.frozen.prefix import OnnxPrefix
from headstart.inference.model_file import ModelInfo


class LastStage:
    """Computes the features before the head of a model. Those of a probe are found where training put them.

    Args:
        model: A ``model.onnx``.
        info: Its description.

    Raises:
        UsageError: The last layer of the model is not linear.
    """

    def __init__(self, model: Path, info: ModelInfo) -> None:
        self._info = info
        content = model.read_bytes()
        self._prefix = OnnxPrefix(_features_of(content, info))
        self._function = stated_function(content) or self._prefix.function

    @property
    def fingerprint(self) -> Fingerprint:
        """What the features depend on besides the photos."""
        prefix = self._prefix
        return Fingerprint(
            preprocessing=self._info.preprocessing,
            backbone=self._info.backbone,
            cut=CUT,
            function=self._function,
            runtime=prefix.runtime,
            device=prefix.device_name,
            precision=prefix.precision,
        )

    @property
    def store(self) -> Path:
        """The file that holds the features, if any have been stored."""
        return store_path(self.fingerprint)

    def open(self, say: Callable[[str], object], *, room: Room | None) -> Activations:
        """Open what computes the features.

        Args:
            say: Called with a sentence for the user.
            room: Opens the store; None if nothing is to be stored.
        """
        return Activations(
            self._prefix,
            self._info.preprocessing,
            lambda _: self.fingerprint,
            keep=room is not None,
            memory_bytes=0,
            say=say,
            room=room,
        )

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Compute features, (B, D) float32, from (B, H, W, 3) uint8, in the caller's thread.

        None are stored.
        """
        return self._prefix(pixels).reshape(len(pixels), -1)


def _features_of(model: bytes, info: ModelInfo) -> bytes:
    """Return the graph from pixels to the features."""
    names = tasks.of(info.task).file_outputs(info.num_box_classes)
    found = up_to_head(model, output_of_head(names))
    if found is None:
        raise UsageError(
            "Similar photos are found by the features before the last linear layer, and the last layer of "
            "this model is not linear. Leave out --similar."
        )
    return found
