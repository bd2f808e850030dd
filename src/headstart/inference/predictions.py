"""Writes predictions one by one as CSV, as JSON lines or as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import astuple
from typing import TextIO

from headstart import tasks
from headstart.columns import align, width_of
from headstart.inference.model_file import ModelInfo
from headstart.tasks.prediction import Prediction

_WIDEST_CLASS = 30  # longer names of classes are kept whole, out of line


def write_csv(
    file: TextIO, predictions: Iterable[Prediction], info: ModelInfo, *, top_k: int = 1, num_similar: int = 0
) -> int:
    """Write predictions as CSV with a header.

    The columns are ``path``, the prediction, ``error``, and details. One class: ``label`` and
    ``probability``, and as details ``label_2``, ``probability_2`` and so on for the next most probable
    classes. Several labels: ``labels``, separated by ``|``, and as details the probability of each class
    under its name. Numbers: the names of their targets. A box: ``xmin``, ``ymin``, ``xmax`` and ``ymax``, and
    the columns of its class if there are several classes. A model that recognises photos of none of its
    classes has ``unknown``, 1 or 0, and ``unknown_score`` behind ``error``. Similar training photos come
    last: ``similar_1``, ``similar_1_label``, ``similar_1_similarity`` and so on.

    Args:
        file: Text file opened with ``newline=""``, and with ``errors="surrogateescape"`` for file names that
            are not UTF-8.
        predictions: Consumed one by one.
        info: Description of the model.
        top_k: Number of classes with columns, whatever number a prediction has.
        num_similar: Number of similar photos with columns.

    Returns:
        Number of photos that could not be read.
    """
    task = tasks.of(info.task)
    answer, beside = task.csv_columns(info, top_k)
    unknown = [] if info.unknown_threshold is None else ["unknown", "unknown_score"]
    writer = csv.writer(file, lineterminator="\n")
    similar = [
        name
        for rank in range(1, num_similar + 1)
        for name in (f"similar_{rank}", f"similar_{rank}_label", f"similar_{rank}_similarity")
    ]
    writer.writerow(["path", *answer, "error", *unknown, *beside, *similar])
    num_errors = 0
    for prediction in predictions:
        num_errors += prediction.error is not None
        answer_cells, beside_cells = task.csv_cells(prediction)
        said = [answer_cells.get(name, "") for name in answer]
        foreign = _foreign_cells(prediction) if unknown else []
        details = [beside_cells.get(name, "") for name in beside]
        cells = [str(cell) for each in prediction.similar for cell in astuple(each)][: len(similar)]
        cells += [""] * (len(similar) - len(cells))
        writer.writerow([prediction.path, *said, prediction.error, *foreign, *details, *cells])
    return num_errors


def _foreign_cells(prediction: Prediction) -> list[str]:
    """Return the cells of the columns ``unknown`` and ``unknown_score``."""
    if prediction.unknown is None or prediction.unknown_score is None:
        return ["", ""]
    return [str(int(prediction.unknown)), f"{prediction.unknown_score:.6g}"]


def write_jsonl(file: TextIO, predictions: Iterable[Prediction]) -> int:
    """Write predictions as JSON lines: one object per photo, with the attributes of ``Prediction`` as keys,
    except heat maps.

    Args:
        file: An open text file; only ASCII is written.
        predictions: Consumed one by one.

    Returns:
        Number of photos that could not be read.
    """
    num_errors = 0
    for prediction in predictions:
        num_errors += prediction.error is not None
        file.write(json.dumps(prediction.to_dict()) + "\n")
    return num_errors


def write_table(file: TextIO, predictions: Iterable[Prediction], info: ModelInfo, *, top_k: int = 1) -> int:
    """Write predictions as a table for people. The path is the last column, as its width is not known before.

    Args:
        file: An open text file.
        predictions: Consumed one by one.
        info: Description of the model.
        top_k: Number of classes with columns.

    Returns:
        Number of photos that could not be read.
    """
    if not tasks.of(info.task).has_class:
        return _write_plain_table(file, predictions, info)
    longest = min(max(width_of(name) for name in info.class_names), _WIDEST_CLASS)
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
        photo = [prediction.path, prediction.error, "none of the classes?" if prediction.unknown else None]
        print(align([*cells, ": ".join(part for part in photo if part)], widths), file=file)
        _print_similar(file, prediction)
    return num_errors


def _write_plain_table(file: TextIO, predictions: Iterable[Prediction], info: ModelInfo) -> int:
    task = tasks.of(info.task)
    header, _ = task.csv_columns(info, 1)
    # Several classes have as much room as two of them; who has more is kept whole, out of line.
    words = {"labels": 2 * max(map(width_of, info.class_names), default=0) + 1}
    words["label"] = max(map(width_of, info.class_names), default=0)
    widths = [
        -max(min(words[name], _WIDEST_CLASS), len(name)) if name in words else max(10, width_of(name))
        for name in header
    ]
    print(align([*header, "photo"], [*widths, 0]), file=file)
    num_errors = 0
    for prediction in predictions:
        num_errors += prediction.error is not None
        cells, _ = task.csv_cells(prediction)
        shown = [cells.get(name) or "–" for name in header]
        photo = ": ".join(part for part in (prediction.path, prediction.error) if part)
        print(align([*shown, photo], [*widths, 0]), file=file)
        _print_similar(file, prediction)
    return num_errors


def _print_similar(file: TextIO, prediction: Prediction) -> None:
    """Write the similar training photos below a row."""
    longest = min(max((width_of(each.label) for each in prediction.similar), default=0), _WIDEST_CLASS)
    for each in prediction.similar:
        print(
            align(["", "similar", f"{each.similarity:.3f}", each.label, each.path], [2, -7, 6, -longest, 0]),
            file=file,
        )
