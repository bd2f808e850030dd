"""Parses labels from the text in ``photos.csv`` and ``answers.csv``."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np


def classes_of(texts: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Parse single classes; return (N,) int64, indices into ``class_names``.

    Raises:
        ValueError: A text is not one of the classes.
    """
    index = {name: position for position, name in enumerate(class_names)}
    return np.array([_position(text, index) for text in texts], np.int64)


def class_sets_of(texts: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Parse lists of classes; return (N, K) bool, the classes of each photo.

    Raises:
        ValueError: A text is not a list of classes.
    """
    index = {name: position for position, name in enumerate(class_names)}
    has = np.zeros((len(texts), len(class_names)), bool)
    for row, text in zip(has, texts, strict=True):
        names = json.loads(text)
        if not isinstance(names, list):
            raise ValueError(f"{text!r} is not a list of classes")
        row[[_position(name, index) for name in names]] = True
    return has


def numbers_of(texts: Sequence[str], count: int) -> np.ndarray:
    """Parse numbers; return (N, ``count``) float64.

    Raises:
        ValueError: A text does not contain ``count`` numbers.
    """
    return np.array([_numbers(text, count) for text in texts], np.float64).reshape(len(texts), count)


def boxes_of(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Parse boxes; return the N class names, empty for boxes without a class, and (N, 4) float64.

    Raises:
        ValueError: A text does not end in four numbers.
    """
    cells = [text.rsplit(" ", 4) for text in texts]
    names = [each[0] if len(each) > 4 else "" for each in cells]
    return names, numbers_of([" ".join(each[-4:]) for each in cells], 4)


def _position(name: object, index: dict[str, int]) -> int:
    if not isinstance(name, str) or name not in index:
        raise ValueError(f"{name!r} is not one of the classes: {', '.join(index)}")
    return index[name]


def _numbers(text: str, count: int) -> list[float]:
    numbers = [float(cell) for cell in text.split(" ")]
    if len(numbers) != count:
        raise ValueError(f"{text!r} holds {len(numbers)} numbers instead of {count}")
    return numbers
