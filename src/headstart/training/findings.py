"""What a run finds about its photos and labels: ``findings.csv``, and the scores without leaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import numpy as np

from headstart import tasks
from headstart.answers.intervals import wilson
from headstart.answers.scores import summary_of
from headstart.answers.table import Answers
from headstart.columns import listed, named_score
from headstart.data.decisions import Decisions, read_decisions
from headstart.data.split import Splits
from headstart.data.text import path_below
from headstart.errors import DataError
from headstart.files import write_whole
from headstart.findings.check import Known, find_all, find_leaks
from headstart.findings.finding import Findings
from headstart.findings.kept_facts import KeptFacts
from headstart.findings.survey import MOST_PHOTOS
from headstart.frozen.cache import Room
from headstart.inference.model_file import ModelInfo
from headstart.products.finished import Finished
from headstart.records import Dataset
from headstart.training.floor import Model

_NO_VECTORS: Final = (
    "near-duplicates, except for exact copies: the first phase computes no frozen features of whole photos, "
    f"or there are more than {MOST_PHOTOS:,} photos"
)

_MOST_NAMED: Final = 5

FINDINGS: Final = "findings.csv"
"""Name of the product."""


def find_in_run(
    model: Model,
    dataset: Dataset,
    splits: Splits,
    near: Sequence[tuple[int, int]] | None,
    decisions: Decisions,
    shared: str | None = None,
) -> Findings:
    """Return what a run has found about its photos and labels.

    Args:
        model: The trained model, with out-of-fold answers if its head was solved.
        dataset: N photos.
        splits: The same photos by split.
        near: Pairs of rows of the data set that show nearly the same; None if they are not known.
        decisions: What the owner has decided about findings.
        shared: As for ``Room``.
    """
    # Where folds score, validation photos only choose weights.
    row_of, names = _rows_and_splits(dataset, splits, val="val" if model.by_folds is None else "train")
    outputs, has_answer = _raw_outputs(model, splits, row_of, dataset.root)
    unchecked = [] if near is not None else [_NO_VECTORS]
    room = Room(lambda _: None, shared=shared)  # if the store cannot be opened, this has been said before
    with closing(KeptFacts(dataset.records, room, decode=False)) as facts:
        return find_all(dataset, Known(names, near, facts, outputs, has_answer, unchecked), decisions)


def refuse_leaks(
    dataset: Dataset,
    splits: Splits,
    near: Sequence[tuple[int, int]] | None,
    decisions: Decisions,
    say: Callable[[str], object],
) -> None:
    """Refuse photos that repeat training photos, unless their owner keeps them.

    Args:
        dataset: As for ``find_in_run``, like all that follow.
        splits: The photos by split.
        near: Pairs of rows.
        decisions: Those of the owner.
        say: Called with a warning if near-duplicates were not looked for.

    Raises:
        DataError: There are some.
    """
    if near is None:
        say(f"Warning: strict is set, but leaks can only be exact copies here. Not checked: {_NO_VECTORS}")
    leaks = find_leaks(dataset, _rows_and_splits(dataset, splits)[1], near, decisions)
    if not leaks:
        return
    held_out = f"{len(leaks):,} of {len(splits.val) + len(splits.test):,} validation and test photos"
    pairs = listed([f"{each.path!r} repeats {each.other_path!r}" for each in leaks], _MOST_NAMED)
    raise DataError(
        f"strict is set, and {held_out} repeat training photos: {pairs}. Run headstart check DATA --out "
        f"findings.csv to list them all, fill its column decision with drop or keep, then train with "
        f"--decisions findings.csv. Without --strict, training also gives the score without these photos."
    )


def _rows_and_splits(dataset: Dataset, splits: Splits, val: str = "val") -> tuple[dict[str, int], list[str]]:
    """Return the row of each photo by its path, and the split of each row."""
    row_of = {record.path: row for row, record in enumerate(dataset.records)}
    names = [""] * len(row_of)
    for name, records in (("train", splits.train), (val, splits.val), ("test", splits.test)):
        for record in records:
            names[row_of[record.path]] = name
    return row_of, names


def _raw_outputs(
    model: Model, splits: Splits, row_of: Mapping[str, int], root: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs before calibration, of models that were trained without the photo.

    Args:
        model: The trained model.
        splits: N photos.
        row_of: Row of each photo, by its path.
        root: The data folder.

    Returns:
        (N, D) float32; and (N,) bool, the rows that have outputs.
    """
    info = model.predictor.info
    outputs, has_answer = np.zeros((len(row_of), info.num_outputs), np.float32), np.zeros(len(row_of), bool)
    if model.by_folds is not None:
        answers = model.by_folds.answers
        row_of_path = {
            path_below(record.path, root): row_of[record.path] for record in (*splits.train, *splits.val)
        }
        rows = [row_of_path[path] for path in answers.path]
        outputs[rows], has_answer[rows] = model.by_folds.raw, True
        return outputs, has_answer
    rows = [row_of[record.path] for record in splits.val]
    factors = np.ones(info.num_outputs, np.float32)
    if model.calibration is not None and model.calibration.is_needed:
        factors = model.calibration.factors(info)
    outputs[rows], has_answer[rows] = model.val_outputs / factors, True
    if model.out_of_fold is not None:
        rows = [row_of[record.path] for record in splits.train]
        outputs[rows] = tasks.of(info.task).to_file(model.out_of_fold.outputs, info)
        if model.calibration is not None and model.calibration.fitted_on == "out-of-fold":
            outputs[rows] /= factors
        has_answer[rows] = model.out_of_fold.fold >= 0
    return outputs, has_answer


def summary_of_findings(
    findings: Findings, held_out: Mapping[Any, Answers], info: ModelInfo, say: Callable[[str], object]
) -> dict[str, Any]:
    """Return the entries for ``metrics.json``, and say what is worth an owner's time.

    Args:
        findings: The findings.
        held_out: The answers for validation and test photos by split.
        info: Description of the model.
        say: Called with sentences.
    """
    without: dict[str, Any] = {}
    for split, answers in held_out.items():
        is_clean = np.array([path not in findings.leaking for path in answers.path])
        if is_clean.all():
            continue
        num_leaks = int((~is_clean).sum())
        low, high = wilson(num_leaks, len(is_clean))
        clean = summary_of(answers[np.flatnonzero(is_clean)], info) if is_clean.any() else {}
        without[split] = {"num_photos": int(is_clean.sum()), **clean}
        name = tasks.of(info.task).metrics_of(info.num_box_classes)[0]
        scores = (
            f"{named_score(name, summary_of(answers, info)[name])} with them, "
            f"{named_score(name, clean[name])} without"
            if clean
            else "no others are left"
        )
        say(
            f"Warning: {num_leaks:,} of {len(is_clean):,} {split} photos ({num_leaks / len(is_clean):.1%}, "
            f"95 % interval {low:.1%} to {high:.1%}) repeat training photos: {scores}"
        )
    for each in findings.unchecked:
        say(f"Not checked: {each}")
    if len(findings):
        say(f"{findings.headline()}: see {FINDINGS}")
    return {"findings": findings.counts(), **({"without_leaks": without} if without else {})}


def write_findings(findings: Findings, finished: Finished) -> None:
    """Write ``findings.csv`` into the run folder. Decisions in a file that is there are kept.

    Raises:
        FileWriteError: The file cannot be written.
    """
    path = finished.folder / FINDINGS
    decided = read_decisions(path).rows if path.exists() else ()
    write_whole(path, findings.csv(decided))
