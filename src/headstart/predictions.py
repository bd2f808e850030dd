"""Predictions as CSV, as JSON lines and as a table, written one by one as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TextIO

from headstart.columns import align, width_of
from headstart.predictor import Prediction

_WIDEST_CLASS = 30  # longer names of classes are kept whole, out of line


def write_csv(file: TextIO, predictions: Iterable[Prediction], *, top_k: int = 1) -> int:
    """Write predictions as CSV with a header.

    The columns are ``path``, ``label``, ``probability``, ``error``, then ``label_2``, ``probability_2`` and
    so on for the next most probable classes.

    Args:
        file: Opened with ``newline=""``, and ``errors="surrogateescape"`` for file names that are not UTF-8.
        predictions: Consumed as they are written.
        top_k: How many classes get columns, whatever the number a prediction has.

    Returns:
        How many photos could not be read.
    """
    ranks = range(2, top_k + 1)
    columns = ["path", "label", "probability", "error"]
    columns += [name for rank in ranks for name in (f"label_{rank}", f"probability_{rank}")]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    num_errors = 0
    for prediction in predictions:
        num_errors += prediction.error is not None
        best = [(label, f"{share:.6g}") for label, share in prediction.probabilities.items()][:top_k]
        best += [("", "")] * (top_k - len(best))
        writer.writerow(
            [prediction.path, *best[0], prediction.error, *(cell for pair in best[1:] for cell in pair)]
        )
    return num_errors


def write_jsonl(file: TextIO, predictions: Iterable[Prediction]) -> int:
    """Write predictions as JSON lines: one object a photo, with the attributes of ``Prediction`` as keys.

    Args:
        file: An open text file; only ASCII is written.
        predictions: Consumed as they are written.

    Returns:
        How many photos could not be read.
    """
    num_errors = 0
    for prediction in predictions:
        num_errors += prediction.error is not None
        file.write(json.dumps(asdict(prediction)) + "\n")
    return num_errors


def write_table(
    file: TextIO, predictions: Iterable[Prediction], class_names: Sequence[str], *, top_k: int = 1
) -> int:
    """Write predictions for people: aligned columns, the photo last, as only its width is not known before.

    Args:
        file: An open text file.
        predictions: Consumed as they are written.
        class_names: Of the model.
        top_k: How many classes get columns.

    Returns:
        How many photos could not be read.
    """
    longest = min(max(width_of(name) for name in class_names), _WIDEST_CLASS)
    header, widths = [], []
    for rank in range(1, top_k + 1):
        names = ["probability", "class"] if rank == 1 else [f"probability {rank}", f"class {rank}"]
        header += names
        widths += [len(names[0]), -max(longest, len(names[1]))]
    widths.append(0)
    print(align([*header, "photo"], widths), file=file)
    num_errors = 0
    for prediction in predictions:
        num_errors += prediction.error is not None
        cells = [cell for name, share in prediction.probabilities.items() for cell in (f"{share:.3f}", name)]
        cells = (cells + ["–", "–"] * top_k)[: 2 * top_k]
        photo = [prediction.path, prediction.error]
        print(align([*cells, ": ".join(part for part in photo if part)], widths), file=file)
    return num_errors
