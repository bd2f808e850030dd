"""Labels as text, as ``photos.csv`` and ``answers.csv`` hold them, read back."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np


def classes_of(texts: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Read single classes: (N,) int64, positions in ``class_names``.

    Raises:
        ValueError: One is not a class.
    """
    index = {name: position for position, name in enumerate(class_names)}
    return np.array([_position(text, index) for text in texts], np.int64)


def class_sets_of(texts: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
    """Read lists of classes: (N, K) bool, which photo has which classes.

    Raises:
        ValueError: One is not a list of classes.
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
    """Read numbers: (N, ``count``) float64.

    Raises:
        ValueError: A text does not hold ``count`` numbers.
    """
    return np.array([_numbers(text, count) for text in texts], np.float64).reshape(len(texts), count)


def boxes_of(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Read boxes: the N names of their classes, empty for a box without one, and (N, 4) float64.

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
