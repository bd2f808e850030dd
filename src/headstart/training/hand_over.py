"""What a finished run hands over besides its weights: one row per photo, the scores, the metrics.

It is the same for both stories: whatever trained the model, its file is scored here, without PyTorch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx

from headstart import tasks
from headstart.answers.evaluate import answer_photos
from headstart.answers.file import write_answers
from headstart.answers.scores import scores_of, summary_of
from headstart.answers.table import Answers
from headstart.data.split import Splits
from headstart.errors import ImageError, TrainingError, shell_command
from headstart.frozen.activations import Activations
from headstart.frozen.graph import function_hashes, part_of
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import open_session
from headstart.records import Dataset, Record
from headstart.training.run.run_folder import RunFolder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.solved import OutOfFold

PARITY_PHOTOS: Final = 12
"""The most validation photos that are compared, spread over the split; more would show nothing new."""

_ROWS_AT_ONCE: Final = 32
_PHOTOS_AT_ONCE: Final = 1024  # as rows of answers.csv in memory


def outputs_of_file(predictor: Predictor, photos: Sequence[Record], run: Path) -> np.ndarray:
    """Return what the model file gives for photos from their bytes.

    Args:
        predictor: The file.
        photos: Any.
        run: The run's folder, for the error.

    Returns:
        (N, D) float32: see ``Predictor.outputs``.

    Raises:
        TrainingError: A photo could be read before, and no longer can.
    """
    found = []
    for photo, row in zip(photos, predictor.outputs(photo.photo for photo in photos), strict=True):
        if isinstance(row, Exception):
            reason = row.reason if isinstance(row, ImageError) else str(row)
            raise TrainingError(
                f"A photo could be read before and no longer can: {photo.path}: {reason}. Put it back, then: "
                f"{shell_command('resume', run)}"
            )
        found.append(row)
    return np.stack(found)


def outputs_of_file_from_rows(
    model: bytes, info: ModelInfo, tensor: str, activations: Activations, photos: Sequence[Record]
) -> np.ndarray | None:
    """Return the same from stored rows, which are a tensor within the file's graph.

    Args:
        model: The content of ``model.onnx``, sealed or not.
        info: What it says of itself.
        tensor: Name of the tensor: see ``tensor_of``.
        activations: Gives the rows.
        photos: Any that have rows, or can be read.

    Returns:
        As ``outputs_of_file``; None where the file computes its answers from more than these rows.
    """
    graph = onnx.load_from_string(model)
    outputs = [each.name for each in graph.graph.output if each.name != "probabilities"]
    try:
        part = part_of(graph, tensor, outputs)
    except ValueError:
        return None
    session = open_session(part)
    rows = activations.rows((photo, 0) for photo in photos)
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


def hand_over(
    run: RunFolder,
    predictor: Predictor,
    dataset: Dataset,
    splits: Splits,
    val_outputs: np.ndarray,
    out_of_fold: OutOfFold | None,
    facts: Mapping[str, Any],
    stopwatch: Stopwatch,
) -> dict[str, Any]:
    """Score the finished file, and write ``answers.csv``.

    Test photos, which nothing has seen until now, are answered from their bytes.

    Args:
        run: Where; ``model.onnx`` is there already.
        predictor: That file.
        dataset: For the account of the photos.
        splits: Whose photos are answered.
        val_outputs: (N, D), of the file for the validation photos.
        out_of_fold: For the training photos; None where no head was solved.
        facts: What the story knows: ``seed``, ``weights_from``, ``head``, ``phases``, ``best`` (phase,
            epoch, share), ``parity``.
        stopwatch: For the seconds.

    Returns:
        The content of ``metrics.json``.
    """
    info = predictor.info
    val = Answers.from_outputs(splits.val, val_outputs, info, "val", root=dataset.root)
    test = None
    if splits.test:
        with stopwatch("test"):
            test, unreadable = answer_photos(predictor, splits.test, "test", root=dataset.root)
        if unreadable:
            raise TrainingError(
                f"A test photo could be read before and no longer can: {unreadable[0].path}: "
                f"{unreadable[0].error}. Put it back, then: {shell_command('resume', run.path)}"
            )
    write_answers(run.path / "answers.csv", _parts(splits, out_of_fold, info, dataset.root, val, test))
    num_out_of_fold = int((out_of_fold.fold >= 0).sum()) if out_of_fold is not None else 0
    best, share = {**facts["best"]}, facts["best"].get("share", 1.0)
    best.pop("share", None)
    metrics = {
        "task": info.task,
        "backbone": info.backbone,
        "weights": info.weights,
        "weights_from": facts["weights_from"],
        "class_names": list(info.class_names),
        "targets": list(info.targets),
        "head": {"kind": info.head, **facts["head"]},
        "seed": facts["seed"],
        "images": {
            "found": dataset.found,
            "used": len(dataset.records),
            "quarantined": len(dataset.quarantined),
            "ignored": len(dataset.ignored),
            "train": len(splits.train),
            "val": len(splits.val),
            "test": len(splits.test),
            "shared": len(splits.shared),
        },
        "answers": {
            "out_of_fold": num_out_of_fold,
            "without": len(splits.train) - num_out_of_fold,
            "val": len(val),
            "test": 0 if test is None else len(test),
        },
        "phases": facts["phases"],
        "best": best
        | {f"val_{name}": value for name, value in summary_of(val, info).items()}
        | ({"share": share} if share < 1 else {}),
        "parity": facts["parity"],
        "seconds": stopwatch.seconds(),
        "versions": dict(info.versions),
    }
    if test is not None:
        metrics["test"] = scores_of(test, info).to_dict()
    return metrics


def _parts(
    splits: Splits,
    out_of_fold: OutOfFold | None,
    info: ModelInfo,
    root: str,
    *others: Answers | None,
) -> Iterator[Answers]:
    if out_of_fold is not None:
        answered = np.flatnonzero(out_of_fold.fold >= 0)
        for first in range(0, len(answered), _PHOTOS_AT_ONCE):
            part = answered[first : first + _PHOTOS_AT_ONCE]
            outputs = tasks.of(info.task).to_file(out_of_fold.outputs[part], info)
            photos, fold = [splits.train[i] for i in part.tolist()], out_of_fold.fold[part]
            yield Answers.from_outputs(photos, outputs, info, "out-of-fold", root=root, folds=fold)
    for of_split in others:
        if of_split is not None:
            yield of_split
