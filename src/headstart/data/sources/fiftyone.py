"""Converts FiftyOne's JSON of an image classification data set to rows of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.data.sources.tabular import Row
from headstart.errors import DataError


def is_fiftyone(content: Mapping[str, Any]) -> bool:
    """Return whether an object of JSON is FiftyOne's: ``classes``, and ``labels`` by the names of photos."""
    return set(content) == {"classes", "labels"} and isinstance(content["labels"], dict)


def is_fiftyone_file(path: Path) -> bool:
    """Return whether a file is such an object, by its first bytes."""
    try:
        with open(path, "rb") as file:
            return re.match(rb'\s*\{\s*"classes"\s*:', file.read(1024)) is not None
    except OSError:
        return False


def rows_of_fiftyone(path: str, content: Mapping[str, Any]) -> list[Row]:
    """Return a row for each photo that has a label. Numbers of classes become names.

    Raises:
        DataError: The labels are boxes, or a number is not that of a class.
    """
    names, labels = content["classes"] or [], content["labels"]

    def name_of(photo: str, label: Any) -> Any:
        if isinstance(label, dict) and not {"bounding_box", "mask", "points"} & label.keys():
            label = label.get("label")  # with a confidence
        if isinstance(label, dict):
            raise DataError(
                f"{path!r} is FiftyOne's JSON with boxes in fractions of the photo, which is not supported. "
                "Export COCO: dataset.export(dataset_type=fiftyone.types.COCODetectionDataset, ...)"
            )
        if isinstance(label, int) and names:
            if not 0 <= label < len(names):
                raise DataError(
                    f"{path!r}: {photo!r} has the class {label}, but there are {len(names)} names."
                )
            return names[label]
        return label

    several = any(isinstance(label, list) for label in labels.values())
    return [
        {
            "image": photo,
            **(
                {"labels": [name_of(photo, each) for each in label or []]}
                if several
                else {"label": name_of(photo, label)}
            ),
        }
        for photo, label in labels.items()
        if label is not None
    ]
