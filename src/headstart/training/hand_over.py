"""What a finished run leaves besides its model: one row per photo, the scores, the other products.

It is the same on both floors: whatever trained the model, its file is scored here, without PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from headstart import tasks
from headstart.answers.estimates import estimates_of, headline_of, metrics_of
from headstart.answers.evaluate import answer_photos
from headstart.answers.groups import note_on_groups
from headstart.answers.scores import scores_of
from headstart.answers.table import Answers, Source
from headstart.data.decisions import Decisions
from headstart.data.split import Splits
from headstart.errors import ExportError, HeadstartError, TrainingError, shell_command
from headstart.inference.model_file import ModelInfo
from headstart.probe.photos import OutOfFold
from headstart.products.finished import Finished, Product
from headstart.products.product import PRODUCTS, make_products
from headstart.products.unknown import Unknown
from headstart.records import Dataset
from headstart.training.findings import FINDINGS, find_in_run, summary_of_findings, write_findings
from headstart.training.floor import Model
from headstart.training.run.run_folder import RunFolder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.watch.watchers import Watchers

_PHOTOS_AT_ONCE: Final = 1024  # as rows of answers.csv in memory


def hand_over(
    run: RunFolder,
    model: Model,
    dataset: Dataset,
    splits: Splits,
    near: Sequence[tuple[int, int]] | None,
    decisions: Decisions,
    watchers: Watchers,
    stopwatch: Stopwatch,
    products: Mapping[str, Product] = PRODUCTS,
) -> dict[str, Any]:
    """Score the finished file, make its products, and write ``metrics.json``.

    Test photos, which nothing has seen until now, are answered from their bytes.

    Args:
        run: Where; ``model.onnx`` is there already.
        model: That file, and what is known of its training.
        dataset: For the account of the photos.
        splits: The photos.
        near: Pairs of rows of the data set that show nearly the same; None if they are not known.
        decisions: What the owner has decided about findings.
        watchers: See the metrics.
        stopwatch: For the seconds.
        products: The products to make, by the name of their file.

    Returns:
        The content of ``metrics.json``.

    Raises:
        ExportError: Products could not be made; everything else is there, and resuming the run makes them.
        FileWriteError: A file could not be written.
        TrainingError: A test photo could be read before, and no longer can.
    """
    info = model.predictor.info
    _say_what_was_fitted(model, watchers)
    scored = _scored(model, dataset, splits)
    if splits.test:
        with stopwatch("test"):
            scored["test"] = _answer_test_photos(run, model, dataset, splits)
        if note := note_on_groups(scored["test"], info, "test photo"):
            watchers.say(note)
    metrics = _metrics(model, dataset, splits, scored, stopwatch)
    with stopwatch("findings"):
        findings = find_in_run(model, dataset, splits, near, decisions, run.config.store)
        held_out = {name: answers for name, answers in scored.items() if name != "folds"}
        metrics |= summary_of_findings(findings, held_out, info, watchers.say)
    products = {FINDINGS: partial(write_findings, findings), **products}  # the report reads the findings
    parts = partial(_parts, model, splits, dataset.root, scored)
    failed = make_products(Finished(run.path, model.predictor, parts, metrics), products)
    if failed:
        reasons = {name: _reason(error) for name, error in failed.items()}
        run.write_metrics(metrics | {"failed": reasons})
        raise ExportError(_told_of_failed(run, reasons)) from next(iter(failed.values()))
    watchers.run_finished(metrics)
    run.write_metrics(metrics)  # last, because it marks the run as finished
    return metrics


def _scored(model: Model, dataset: Dataset, splits: Splits) -> dict[Source, Answers]:
    """Return the answers that the model's scores come from, by source: of its folds, or validation photos."""
    if model.by_folds is not None:
        return {"folds": model.by_folds.answers}
    info, root = model.predictor.info, dataset.root
    return {"val": Answers.from_outputs(splits.val, model.val_outputs, info, "val", root=root)}


def _say_what_was_fitted(model: Model, watchers: Watchers) -> None:
    if model.calibration:
        watchers.say(model.calibration.sentence)
    if model.unknown:
        watchers.say(model.unknown if isinstance(model.unknown, str) else model.unknown.sentence)
    if model.heat_map and model.heat_map.sentence:
        watchers.say(model.heat_map.sentence)


def _answer_test_photos(run: RunFolder, model: Model, dataset: Dataset, splits: Splits) -> Answers:
    answers, unreadable = answer_photos(model.predictor, splits.test, "test", root=dataset.root)
    if unreadable:
        raise TrainingError(
            f"A test photo could be read before and no longer can: {unreadable[0].path}: "
            f"{unreadable[0].error}. Restore it, then: {shell_command('resume', run.to_resume)}"
        )
    return answers


def _metrics(
    model: Model,
    dataset: Dataset,
    splits: Splits,
    scored: Mapping[Source, Answers],
    stopwatch: Stopwatch,
) -> dict[str, Any]:
    info, facts, out_of_fold = model.predictor.info, model.facts, _out_of_fold(model)
    num_out_of_fold = int((out_of_fold.fold >= 0).sum()) if out_of_fold is not None else 0
    best = {name: value for name, value in facts["best"].items() if name != "share"}
    share = facts["best"]["share"]
    num_by_folds = len(scored.get("folds", ()))
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
            "without": 0 if num_by_folds else len(splits.train) - num_out_of_fold,
            "val": len(scored.get("val", ())),
            "test": len(scored.get("test", ())),
            **({"folds": num_by_folds} if num_by_folds else {}),
        },
        "phases": facts["phases"],
        "best": best
        | (_val_scores(scored["val"], info) if "val" in scored else {})
        | ({"share": share} if share < 1 else {}),
        "parity": facts["parity"],
        "seconds": stopwatch.seconds(),
        "versions": dict(info.versions),
    }
    if model.calibration:
        metrics["calibration"] = model.calibration.summary()
    if isinstance(model.unknown, Unknown):
        metrics["unknown"] = model.unknown.summary()
    if model.heat_map and (found := model.heat_map.summary()):
        metrics["heat_map"] = found
    if model.by_folds is not None:
        metrics["folds"] = model.by_folds.summary(info)
    if "test" in scored:
        scores = scores_of(scored["test"], info)
        metrics["test"] = metrics_of(scores, estimates_of(scored["test"], info, scores=scores))
    return metrics


def _val_scores(val: Answers, info: ModelInfo) -> dict[str, Any]:
    return {f"val_{name}": value for name, value in headline_of(val, info).items()}


def _out_of_fold(model: Model) -> OutOfFold | None:
    """Return the answers out of fold for ``answers.csv``, where each photo has one row at most."""
    return model.out_of_fold if model.by_folds is None else None


def _parts(model: Model, splits: Splits, root: str, scored: Mapping[Source, Answers]) -> Iterator[Answers]:
    """Yield all answers: those of training photos, out of fold, some at a time."""
    info, out_of_fold = model.predictor.info, _out_of_fold(model)
    if out_of_fold is not None:
        answered = np.flatnonzero(out_of_fold.fold >= 0)
        for first in range(0, len(answered), _PHOTOS_AT_ONCE):
            part = answered[first : first + _PHOTOS_AT_ONCE]
            outputs = tasks.of(info.task).to_file(out_of_fold.outputs[part], info)
            photos, fold = [splits.train[i] for i in part.tolist()], out_of_fold.fold[part]
            yield Answers.from_outputs(photos, outputs, info, "out-of-fold", root=root, folds=fold)
    yield from scored.values()


def _told_of_failed(run: RunFolder, reasons: Mapping[str, str]) -> str:
    """Return the message about products that could not be made."""
    lines = "\n".join(f"  {name}: {reason}" for name, reason in reasons.items())
    return (
        f"The model and its scores are safe in {run.path}, but some files could not be created:\n{lines}\n"
        f"Once the cause is removed, this creates the missing files: {shell_command('resume', run.to_resume)}"
    )


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, HeadstartError) else f"{type(error).__name__}: {error}"
