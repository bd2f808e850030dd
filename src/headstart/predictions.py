"""Predictions as CSV and as JSON lines, written one by one as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import TextIO

from headstart.predictor import Prediction


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
