"""Products: what is made of a finished model. One that fails does not take the others along.

A product is one function, with an entry in ``PRODUCTS``. It reads a ``Finished`` and writes files into its
folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from headstart.answers.file import write_answers
from headstart.answers.table import Answers
from headstart.inference.predictor import Predictor


@dataclass(frozen=True)
class Finished:
    """A finished model, and everything that a product may be made from.

    Attributes:
        folder: Of the run, with ``model.onnx`` and ``model.safetensors`` in it.
        predictor: Predicts with the bytes of ``model.onnx``; ``predictor.info`` says what the model is.
        answers: Yields the answers for all photos anew with each call, in parts that need little memory.
        metrics: The content of ``metrics.json``, which is written after all products.
    """

    folder: Path
    predictor: Predictor
    answers: Callable[[], Iterator[Answers]]
    metrics: Mapping[str, Any]


Product: TypeAlias = Callable[[Finished], None]


def answers_csv(finished: Finished) -> None:
    """Write ``answers.csv``: a row for each photo that the model has answered."""
    write_answers(finished.folder / "answers.csv", finished.answers())


PRODUCTS: Final[Mapping[str, Product]] = {"answers.csv": answers_csv}
"""Products by the name of their file, in the order in which they are made."""


def make_products(finished: Finished, products: Mapping[str, Product]) -> dict[str, Exception]:
    """Make products of a finished model, each whether or not the others can be made.

    Args:
        finished: The model.
        products: By name.

    Returns:
        What went wrong, by the name of the product; empty if all have been made.
    """
    failed: dict[str, Exception] = {}
    for name, make in products.items():
        try:
            make(finished)
        except Exception as error:  # whatever its libraries raise: the other products do not depend on it
            failed[name] = error
    return failed
