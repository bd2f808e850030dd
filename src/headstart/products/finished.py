"""A finished model, and what a product is: a function that writes a file about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from headstart.answers.table import Answers
from headstart.inference.predictor import Predictor


@dataclass(frozen=True)
class Finished:
    """A finished model, and everything that a product may be made from.

    Attributes:
        folder: The run folder. It contains ``model.onnx`` and ``model.safetensors``.
        predictor: Predicts with the bytes of ``model.onnx``; ``predictor.info`` describes the model.
        answers: Returns an iterator over the answers for all photos, in parts that need little memory.
        metrics: The content of ``metrics.json``, which is written after all products.

    When the products are made, ``config.toml`` is in the folder, and ``photos.csv``, unless another
    program has it open.
    """

    folder: Path
    predictor: Predictor
    answers: Callable[[], Iterator[Answers]]
    metrics: Mapping[str, Any]


Product: TypeAlias = Callable[[Finished], None]
"""Writes one file into ``Finished.folder``, whole or not at all."""
