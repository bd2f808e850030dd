"""A photo's path and its label as text, as ``photos.csv`` and ``answers.csv`` hold them, and labels back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from headstart.data.records import Record


def path_below(path: str, root: str) -> str:
    """Return a photo's path below the data folder, with slashes; its whole path if it is elsewhere."""
    below = path.removeprefix(f"{root}{os.sep}")
    if below != path and os.altsep is None and "//" not in below and "/./" not in f"/{below}":
        return below  # without a Path, which takes a tenth of a millisecond
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:  # validation photos may lie in a folder of their own
        return path


def label_text(record: Record, task: str, class_names: Sequence[str]) -> str:
    """Write a photo's label: see ``answer_text``."""
    numbers = map(repr, record.numbers if record.box is None else record.box)
    return answer_text(task, class_names, record.label, record.labels, numbers)


def answer_text(
    task: str, class_names: Sequence[str], label: int, labels: Iterable[int], numbers: Iterable[str]
) -> str:
    """Write what a photo is labelled with, or predicted as.

    Args:
        task: What is predicted.
        class_names: The K classes, or none.
        label: Index of the class, where there is a single one.
        labels: Indices of the classes, where there are several.
        numbers: The numbers, or the sides of the box, each as it shall be written.

    Returns:
        The class; or a JSON list of classes; or numbers with a space between them; or the box's class, if it
        has one, and xmin, ymin, xmax and ymax, with a space between them.
    """
    if task == "multilabel":
        return json.dumps([class_names[each] for each in labels], ensure_ascii=False)
    if task == "regression":
        return " ".join(numbers)
    name = class_names[label : label + 1]
    return " ".join([*name, *numbers])


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
