"""What a model file gives for the photos of a run: from their bytes, or from stored features."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from headstart import tasks
from headstart.errors import ImageError, TrainingError, shell_command
from headstart.frozen.graph import function_hashes, part_of
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import NOT_RAW, Predictor
from headstart.inference.runtime import open_session
from headstart.records import Record

_ROWS_AT_ONCE: Final = 32


def outputs_of_file(predictor: Predictor, photos: Sequence[Record], run: Path) -> np.ndarray:
    """Return what the model file gives for photos from their bytes: see ``each_output``.

    Returns:
        (N, D) float32: see ``Predictor.outputs``.
    """
    return np.stack(list(each_output(predictor, photos, run)))


def each_output(predictor: Predictor, photos: Sequence[Record], run: Path) -> Iterator[np.ndarray]:
    """Yield what the model file gives for photos from their bytes.

    Args:
        predictor: The file.
        photos: Any.
        run: The run's folder, for the error.

    Yields:
        (D,) float32: see ``Predictor.outputs``.

    Raises:
        TrainingError: A photo could be read before, and no longer can.
    """
    for photo, row in zip(photos, predictor.outputs(photo.photo for photo in photos), strict=True):
        if isinstance(row, Exception):
            reason = row.reason if isinstance(row, ImageError) else str(row)
            raise TrainingError(
                f"A photo could be read before and no longer can: {photo.path}: {reason}. Restore it, then: "
                f"{shell_command('resume', run)}"
            )
        yield row


def outputs_of_file_from_rows(model: bytes, tensor: str, rows: Iterator[np.ndarray]) -> np.ndarray | None:
    """Return the same from stored rows, which are a tensor within the file's graph.

    Args:
        model: The content of ``model.onnx``, sealed or not.
        tensor: Name of the tensor: see ``tensor_of``.
        rows: Its value for each photo.

    Returns:
        As ``outputs_of_file``; None where the file computes its answers from more than these rows.
    """
    graph = onnx.load_from_string(model)
    outputs = [each.name for each in graph.graph.output if each.name not in NOT_RAW]
    try:
        part = part_of(graph, tensor, outputs)
    except ValueError:
        return None
    session = open_session(part)
    found = [
        np.concatenate(session.run(outputs, {tensor: np.stack(batch)}), axis=1)
        for batch in iter(lambda: list(islice(rows, _ROWS_AT_ONCE)), [])
    ]
    return np.concatenate(found)


def tensor_of(model: bytes, function: str) -> str | None:
    """Return the tensor of a graph to which the same operations and weights lead as to stored rows.

    Args:
        model: The content of ``model.onnx``.
        function: Hash of what made the rows: see ``frozen.graph``.

    Returns:
        Its name; None if the graph does not contain what made the rows.
    """
    hashes = function_hashes(onnx.load_from_string(model))
    return next((name for name, of_tensor in hashes.items() if of_tensor == function), None)


def with_thresholds(info: ModelInfo, photos: Sequence[Record], outputs: np.ndarray) -> ModelInfo:
    """Return the description with the thresholds that suit the validation photos; the same for other tasks.

    Args:
        info: Of the model.
        photos: N validation photos.
        outputs: (N, D), of the model file.
    """
    thresholds = tasks.of(info.task).thresholds(photos, outputs, len(info.class_names))
    return dataclasses.replace(info, thresholds=thresholds)
