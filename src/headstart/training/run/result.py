"""The result of training."""

from __future__ import annotations

import csv
import functools
import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headstart import tasks
from headstart.answers.by_folds import sentence_on_folds
from headstart.answers.file import read_answers
from headstart.answers.gain import Gain
from headstart.answers.seen import chosen_on_validation
from headstart.answers.table import Answers
from headstart.columns import counted, html_picture, html_table, interval_text, named_score, score_text
from headstart.inference.predictor import Predictor, load
from headstart.products.product import PRODUCTS

_FILES: Final = (
    "model.onnx",
    "model.safetensors",
    *PRODUCTS,
    "metrics.json",
    "history.csv",
    "curves.png",
)

_FURTHER: Final = ("top_3", "top_5", "roc_auc", "brier", "calibration_error", "calibration_error_by_chance")
"""Scores that are left out of the one line about test photos."""


@dataclass(frozen=True, repr=False)
class TrainResult:
    """The result of a training run. Its files are read when they are first accessed.

    It is displayed as scores and files; in a notebook, with a table and the curves.

    Attributes:
        path: Path of the run folder.
        metrics: Content of ``metrics.json``.
    """

    path: Path
    metrics: dict[str, Any]

    def __repr__(self) -> str:
        return (
            "\n".join(self._lines()) if self.metrics else f"The run {self.path}, reported by the main process"
        )

    def _repr_html_(self) -> str:
        """Return the HTML for a notebook."""
        if not self.metrics:
            return html.escape(repr(self))
        images = self.metrics["images"]
        counts = {"validation": images["val"], "test": images["test"]}
        columns = {"validation": _val_scores(self.metrics)}
        if "folds" in self.metrics:
            columns = {"folds": _scores(self.metrics["folds"])}
            counts["folds"] = self.metrics["answers"]["folds"]
        if "test" in self.metrics:
            columns["test"] = _scores(self.metrics["test"])
        names = list(dict.fromkeys(name for scores in columns.values() for name in scores))
        header = ["", *(f"{name}, {counted(counts[name], 'photo')}" for name in columns)]
        rows = [
            [
                name.replace("_", " "),
                *(score_text(name, scores[name]) if name in scores else "" for scores in columns.values()),
            ]
            for name in names
        ]
        notes = [line for line in self._lines() if not line.startswith(("Best: ", "Test: ", "Folds: "))]
        return (
            f"<div><p><b>{html.escape(self.metrics['backbone'])}</b>, best: {html.escape(self._best())}</p>"
            + html_table(header, rows)
            + "".join(f"<p>{html.escape(note)}</p>" for note in notes)
            + html_picture(self.path / "curves.png", "curves")  # a probe has none
            + "</div>"
        )

    def _lines(self) -> list[str]:
        images = self.metrics["images"]
        lines = []
        if folds := self.metrics.get("folds"):
            num_photos = self.metrics["answers"]["folds"]
            lines.append(f"Folds: {_headline(folds)} on {counted(num_photos, 'photo')}")
            lines.append(sentence_on_folds(folds["num_folds"], images["train"], images["val"]))
            if tasks.of(self.metrics["task"]).has_labels:
                lines.append("The thresholds were chosen on the same photos, so F1 is slightly optimistic.")
        else:
            validated = counted(images["val"], "photo")
            in_words = _in_words(_val_scores(self.metrics), self.metrics["best"], "val_")
            lines.append(f"Best: {self._best()}: validation {in_words} on {validated}")
        if "test" in self.metrics:
            scores = _headline(self.metrics["test"])
            lines.append(f"Test: {scores} on {counted(images['test'], 'photo')}")
        elif not folds and (chosen := chosen_on_validation(self.path)):
            lines.append(
                f"The {chosen} were chosen on the validation photos, so that score is slightly optimistic. "
                f"Photos in a test folder would give an honest one."
            )
        if steps := self.metrics.get("steps"):
            lines += [f"Step {step['name']}: {step_in_words(step)}" for step in steps]
            used = next(step for step in reversed(steps) if step["is_kept"])
            lines.append(f"These are the files of step {used['name']}: {self.path / used['folder']}")
        names = [*_FILES, *(["quarantine.csv"] if images.get("quarantined") else [])]
        files = ", ".join(name for name in names if (self.path / name).exists())
        return [*lines, f"Run: {self.path} ({files})"]

    def _best(self) -> str:
        best = self.metrics["best"]
        share = best.get("share", 1)
        mixed = "" if share == 1 else f", {share:.0%} of its weights, the rest from before the phase"
        return f"{best['phase']}, epoch {best['epoch']}{mixed}"

    @functools.cached_property
    def answers(self) -> Answers:
        """One row per photo: the content of ``answers.csv``.

        Raises:
            UsageError: The file cannot be read.
            DamagedFileError: A row does not have the format that Headstart writes.
        """
        return read_answers(self.path / "answers.csv")

    @functools.cached_property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``history.csv``, one per epoch: name of the phase, number of the epoch, and floats."""
        with open(self.path / "history.csv", encoding="utf-8", newline="") as file:
            return [{name: _value(name, text) for name, text in row.items()} for row in csv.DictReader(file)]

    @functools.cached_property
    def predictor(self) -> Predictor:
        """A predictor with the trained model.

        Raises:
            DamagedFileError: The checksum of ``model.onnx`` is wrong.
        """
        return load(self.path)


def step_in_words(step: Mapping[str, Any]) -> str:
    """Return what became of a step: an entry of ``metrics["steps"]``."""
    if "reason" in step:
        return f"left out: {step['reason']}"
    if "gain" in step:
        verdict = "better, used" if step["is_kept"] else "not clearly better, not used"
        cut_short = "cut short by the time limit; " if step.get("is_cut_short") else ""
        return f"{cut_short}{Gain(**step['gain'])} on the validation photos: {verdict}"
    return "others are compared with it"


def _val_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    best = metrics["best"].items()
    return _scores({name.removeprefix("val_"): value for name, value in best if name.startswith("val_")})


def _scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return only the numbers, with the loss last."""
    numbers = {name: value for name, value in scores.items() if isinstance(value, float)}
    return dict(sorted(numbers.items(), key=lambda item: item[0] == "loss"))


def _headline(metrics: Mapping[str, Any]) -> str:
    """Return the scores of test photos or of folds in one line."""
    return _in_words({k: v for k, v in _scores(metrics).items() if k not in _FURTHER}, metrics)


def _in_words(scores: Mapping[str, float], metrics: Mapping[str, Any], prefix: str = "") -> str:
    """Return the scores as text, the first one with its interval if ``metrics`` has it."""
    texts = [named_score(name, value) for name, value in scores.items()]
    for name in list(scores)[:1]:
        if interval := metrics.get(f"{prefix}{name}_interval"):
            texts[0] += f" (95 % {interval_text(name, tuple(interval))})"
    return ", ".join(texts)


def _value(name: str, text: str) -> str | int | float:
    """Convert a cell of ``history.csv``."""
    if name == "phase":
        return text
    return int(text) if name == "epoch" else float(text)
