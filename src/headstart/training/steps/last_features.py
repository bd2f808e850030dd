"""The features before the head of an exported network, which its file computes on the way to its outputs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from headstart.frozen.graph import part_of
from headstart.frozen.linear_head import head_input, with_output
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import Provider, open_session
from headstart.probe.unknown import rows_to_fit
from headstart.products.outputs import each_output, tensor_of
from headstart.records import Record
from headstart.training.steps.features import PhaseFeatures

MOST_COMPUTED: Final = 1000
"""Largest number of training photos that pass through the whole network once more, to limit the time."""

_ROWS_AT_ONCE: Final = 32


class LastFeatures:
    """The features before the head of an exported classifier. Call it for those of photos, (N, D) float32.

    Attributes:
        tensor: Their name in the graph.
    """

    tensor: str

    def __init__(
        self,
        graph: bytes,
        tensor: str,
        info: ModelInfo,
        features: PhaseFeatures,
        run: Path,
        providers: Sequence[Provider],
    ) -> None:
        """
        Args:
            graph: The exported network, not sealed.
            tensor: Name of the features: see ``head_input``.
            info: Of the model.
            features: Of the last phase, still open.
            run: The run's folder, for errors.
            providers: What computes.
        """
        self.tensor = tensor
        self._info, self._features, self._run, self._providers = info, features, run, providers
        self._model = with_output(onnx.load_from_string(graph), tensor)
        self._rows_are = tensor_of(graph, features.prefix.function) if features.prefix.is_on_onnx else None
        self._known: dict[str, np.ndarray] = {}

    @classmethod
    def find(
        cls,
        graph: bytes,
        info: ModelInfo,
        features: PhaseFeatures,
        run: Path,
        providers: Sequence[Provider],
    ) -> LastFeatures | None:
        """Return the features of a network; None if its last layer is not linear."""
        tensor = head_input(onnx.load_from_string(graph), "logits")
        return None if tensor is None else cls(graph, tensor, info, features, run, providers)

    def outputs(self, photos: Sequence[Record]) -> np.ndarray:
        """Return the outputs of the file for photos from their bytes, (N, K), and keep some of the features.

        Those are kept that ``rows_to_fit`` chooses, so that they need no further pass.
        """
        labels = np.array([photo.label for photo in photos])
        kept = set(rows_to_fit(np.zeros(len(photos), int), labels).tolist())
        outputs = []
        for number, (photo, row) in enumerate(zip(photos, self._computed(photos), strict=True)):
            output, features = np.split(row, [self._info.num_outputs])
            outputs.append(output)
            if number in kept:
                self._known[photo.path] = features
        return np.stack(outputs)

    def __call__(self, photos: Sequence[Record]) -> np.ndarray:
        missing = [photo for photo in photos if photo.path not in self._known]
        found = iter(())  # type: Iterator[np.ndarray]
        if missing:
            found = self._from_rows(missing) or (
                row[self._info.num_outputs :] for row in self._computed(missing)
            )
        return np.stack(
            [known if (known := self._known.get(photo.path)) is not None else next(found) for photo in photos]
        )

    def _computed(self, photos: Sequence[Record]) -> Iterator[np.ndarray]:
        """Yield the outputs and the features of photos, joined, from their bytes."""
        predictor = Predictor.from_bytes(seal_onnx(self._model, self._info), providers=self._providers)
        yield from each_output(predictor, photos, self._run)

    def _from_rows(self, photos: Sequence[Record]) -> Iterator[np.ndarray] | None:
        """Return the features computed from stored rows; None if these are no tensor of the graph."""
        if self._rows_are is None or not self._features.plain.is_kept:
            return None
        rows = self._features.plain.rows((photo, 0) for photo in photos)
        if self._rows_are == self.tensor:
            return rows
        try:
            part = part_of(onnx.load_from_string(self._model), self._rows_are, [self.tensor])
        except ValueError:
            return None
        session = open_session(part)
        batches = iter(lambda: list(itertools.islice(rows, _ROWS_AT_ONCE)), [])
        return (
            row
            for batch in batches
            for row in session.run([self.tensor], {self._rows_are: np.stack(batch)})[0]
        )
