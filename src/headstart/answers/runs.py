"""Reads finished runs to compare them, and finds the photos that all of them answered as new ones."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from headstart.answers.file import read_parts
from headstart.answers.seen import used_by
from headstart.answers.table import Answers
from headstart.columns import counted, listed
from headstart.errors import RunFolderError, UsageError, did_you_mean
from headstart.inference.model_file import ModelInfo, open_onnx

_MOST_NAMED: Final = 5
_IN_WORDS: Final = {"val": "validation", "folds": "held-out"}

_Key: TypeAlias = tuple[str, str]  # path below the data folder, and SHA-256


@dataclass(frozen=True)
class Run:
    """A finished run, by its files.

    Attributes:
        name: What it is called in a comparison.
        path: Its folder.
        info: Description of its model.
        answers: Its answers for photos that the answering model was not trained on: of ``model.onnx`` for
            validation and test photos, or of the models of folds.
        recipe: How it was trained.
        trained_on: SHA-256 of its training photos; None if its ``photos.csv`` cannot be read.
    """

    name: str
    path: Path
    info: ModelInfo
    answers: Answers
    recipe: str
    trained_on: frozenset[str] | None


def read_run(folder: Path, name: str) -> Run:
    """Read the folder of a finished run.

    Raises:
        RunFolderError: It is not one.
        DamagedFileError: One of its files is damaged.
    """
    needed = ("metrics.json", "answers.csv", "model.onnx")
    if missing := [each for each in needed if not (folder / each).is_file()]:
        beside = [each.name for each in folder.parent.iterdir()] if folder.parent.is_dir() else []
        hint = "" if folder.exists() else did_you_mean(folder.name, beside)
        raise RunFolderError(
            f"{folder} is not the folder of a finished run: it has no {' and no '.join(missing)}.{hint} Name "
            f"the folder that headstart train wrote, or finish the run with headstart resume."
        )
    parts = (part[np.array(part.source) != "out-of-fold"] for part in read_parts(folder / "answers.csv"))
    used = used_by(folder)
    return Run(
        name,
        folder,
        open_onnx(folder / "model.onnx")[1],
        Answers.concatenate(parts),
        _recipe(folder),
        None if used is None else frozenset(used["train"]),
    )


def refuse_other_task(run: Run, first: Run) -> None:
    """Refuse to compare models that answer different questions.

    Raises:
        UsageError: Task, classes or targets differ.
    """
    for what, own, others in (
        ("tasks", (run.info.task,), (first.info.task,)),
        ("classes", run.info.class_names, first.info.class_names),
        ("targets", run.info.targets, first.info.targets),
    ):
        if set(own) != set(others):
            only = [
                f"only {each.name} has {listed(sorted(names), _MOST_NAMED)}"
                for each, names in ((run, set(own) - set(others)), (first, set(others) - set(own)))
                if names
            ]
            raise UsageError(
                f"{run.name} and {first.name} cannot be compared, because their {what} differ: "
                f"{', '.join(only)}. Compare runs that were trained on the same labels."
            )


def on_common_photos(runs: Sequence[Run]) -> tuple[str, list[Run], list[str]]:
    """Keep the answers for the photos that all runs have answered and none was trained on.

    Test photos are kept if the runs have some in common, otherwise all common photos.

    Args:
        runs: At least two runs with the same labels.

    Returns:
        What the photos are (``"test"``, ``"validation"``, ``"held-out"`` of folds, or several), the runs with
        answers for the same photos in the same order, and notes for the user.

    Raises:
        UsageError: There are no such photos.
    """
    unknown = [run.name for run in runs if run.trained_on is None]
    notes = [
        f"{name} has no readable photos.csv, so it may have been trained on some of these photos."
        for name in unknown
    ]
    rows = [_rows(run.answers) for run in runs]
    keys = {key for of_run in rows for key in of_run}
    seen = set[_Key]().union(*(_seen_by(run, of_run, keys) for run, of_run in zip(runs, rows, strict=True)))
    notes += [
        f"{run.name} was scored by folds: its answers are those of models that were trained without the "
        f"photo's fold, not those of its file."
        for run in runs
        if "folds" in run.answers.source
    ]
    if seen:
        what = (
            "validation or test photo" if not any("folds" in run.answers.source for run in runs) else "photo"
        )
        notes.append(
            f"{counted(len(seen), what)} left out, because one of the runs was trained on the same photo."
        )
    common = [key for key in rows[0] if key not in seen and all(key in of_run for of_run in rows)]
    kept = [key for key in common if len({_label(*each, key) for each in zip(runs, rows, strict=True)}) == 1]
    if len(kept) < len(common):
        notes.append(f"{counted(len(common) - len(kept), 'photo')} left out, because labels differ.")
    if not kept:
        raise UsageError(
            f"{', '.join(run.name for run in runs)} have no validation or test photos in common that none of "
            f"them was trained on{_why_none(rows, seen)}. Train them on the same data with the same --val "
            f"and --seed, or score each model on the same new photos with headstart evaluate."
        )
    sources = {
        key: {run.answers.source[of_run[key]] for run, of_run in zip(runs, rows, strict=True)} for key in kept
    }
    kept = [key for key in kept if sources[key] == {"test"}] or kept
    names = sorted(set[str]().union(*(sources[key] for key in kept)))
    aligned = [
        replace(run, answers=run.answers[np.array([of_run[key] for key in kept])])
        for run, of_run in zip(runs, rows, strict=True)
    ]
    return " or ".join(_IN_WORDS.get(name, name) for name in names), aligned, notes


def _rows(answers: Answers) -> dict[_Key, int]:
    return {key: row for row, key in enumerate(zip(answers.path, answers.sha256, strict=True))}


def _seen_by(run: Run, rows: Mapping[_Key, int], keys: Iterable[_Key]) -> set[_Key]:
    """Return the photos whose content the model that answers them in a run was trained on."""
    trained_on = run.trained_on or frozenset()
    return {
        key
        for key in keys
        if key[1] in trained_on and not (key in rows and run.answers.source[rows[key]] == "folds")
    }


def _label(run: Run, rows: dict[_Key, int], key: _Key) -> str:
    return run.answers.label[rows[key]]


def _why_none(rows: Sequence[dict[_Key, int]], seen: set[_Key]) -> str:
    """Return what is nearest to common photos, in brackets."""
    if not all(rows):
        return " (one of them has none at all)"
    if seen:
        return f" ({len(seen)} photos of one run were training photos of another)"
    digests = [{digest for _, digest in of_run} for of_run in rows]
    if set.intersection(*digests):
        return " (they have the same photos under different paths: train both from the same folder)"
    return ""


def _recipe(folder: Path) -> str:
    """Return the recipe; if it was chosen by facts, the phases that it had."""
    try:
        recipe = str(tomllib.loads((folder / "config.toml").read_text("utf-8")).get("recipe", "auto"))
        if recipe != "auto":
            return recipe
        phases = json.loads((folder / "metrics.json").read_text("utf-8"))["phases"]
        return " + ".join(str(phase["name"]) for phase in phases)
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown"
