"""A backbone without PyTorch: an ONNX graph with weights and preprocessing."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx

from headstart.frozen.graph import function_hashes
from headstart.frozen.pooled import pooled_widths
from headstart.images.settings import Preprocessing
from headstart.weight_files import WeightsSource


@dataclass(frozen=True)
class OnnxBackbone:
    """A pretrained network without its head, as an ONNX graph.

    Attributes:
        name: Full name, such as ``"timm/tf_efficientnet_lite0.in1k"``; for a user's file, its file name.
        graph: A serialised model that contains all its weights: input ``images`` (N, size_px, size_px, 3)
            uint8, output ``activations`` (N, D) float32. Normalisation is its first layer.
        preprocessing: How photos are converted into its input.
        source: Origin of the weights.
        stages: Names of inner tensors, in order: the outputs (N, C, H, W) of all stages before the pooling;
            of a user's file, only those of up to two earlier stages, which may also be vectors (N, D).
        is_file: Whether it is an ONNX file of the user.
        native: State dict of the whole network with its own names, ending with the two tensors of the
            pretrained head; empty if unknown.
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
        """SHA-256 of the file of weights, or ``"random"``."""
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
    def earlier(self) -> tuple[tuple[str, int], ...]:
        """The stages before the last that a head may also read: their names and the lengths of their outputs.

        They are the two before the last one, or fewer. Earlier ones hold little but edges.
        """
        pairs = tuple(zip(self.stages, self.widths, strict=True))
        return pairs if self.is_file else pairs[-3:-1]

    @property
    def num_earlier(self) -> int:
        """The number of features per photo from ``earlier`` stages."""
        return sum(width for _, width in self.earlier)

    @functools.cached_property
    def widths(self) -> tuple[int, ...]:
        """The length of the pooled output of each stage: 2 C of a map, D of a vector."""
        return pooled_widths(self.graph, self.stages) if self.stages else ()

    @functools.cached_property
    def _model(self) -> onnx.ModelProto:
        return onnx.load_from_string(self.graph)
