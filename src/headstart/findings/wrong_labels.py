"""Finds labels that are probably wrong, by the outputs of models that were trained without the photo.

A class is suspicious if it is much less probable than the best other one. If a fraction e of the labels is
wrong at random, Bayes' rule gives the limit of the ratio of both probabilities: e / (1 - e) / (K - 1) for K
classes. Penalised heads are less certain than that, so the limit is multiplied by a measured constant; e is
the fraction of labels that are found at this limit (empirical Bayes), so that few are reported where few are
wrong. See docs/measurements.md, "Wrong labels", for a comparison with the difference of two probabilities and
with cleanlab's thresholds by class (Northcutt et al. 2021, arXiv 1911.00068).

Photos that show the same must stay in one fold, because a copy with the same wrong label would confirm it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from headstart import tasks
from headstart.answers.table import Answers
from headstart.columns import counted
from headstart.findings.finding import Severity
from headstart.records import TaskName
from headstart.tasks.losses import sigmoid
from headstart.tasks.task import softmax
from headstart.tasks.text import class_sets_of, classes_of, numbers_of

UNCERTAINTY: Final = 10.0
"""Factor between the limit and that of Bayes' rule for the probabilities of a perfect model."""

LIMITS: Final = (0.25, 1.0)
"""Smallest and largest limit of the ratio of the probabilities, times the number of classes."""

FIRST_LIMIT: Final = 0.5
"""The limit, times the number of classes, at which the search for the fraction of wrong labels begins."""

MOST_ERRORS: Final = 0.2
"""Above this fraction of wrong predictions, findings are notes: many of them are only difficult photos."""

FEWEST_OF_CLASS: Final = 8
"""If fewer photos have the given or the suggested label, a finding is a note that says it is uncertain."""

FEWEST_PHOTOS: Final = 50
"""With fewer photos, all findings about classes are such notes: about half of them are wrong then."""

MOST_DEVIATIONS: Final = 4.0
"""A number is suspicious if its residual is further from the median residual than this many standard
deviations, estimated from the median absolute deviation of all photos, or of those with similar predictions,
whichever is larger.
"""

MOST_FAR: Final = 0.02
"""Above this fraction of suspicious numbers, findings are notes: large errors are usual for this model."""

NOT_OFFERED: Final = "there are no out-of-fold predictions of boxes to compare them with"

_OF_NORMAL: Final = 1.4826  # standard deviation of a normal distribution / its median absolute deviation
_FEWEST_NUMBERS: Final = 10  # for a scale of residuals
_FEWEST_SIMILAR, _MOST_PARTS = 30, 10  # photos in each part with similar predictions; parts


@dataclass(frozen=True)
class WrongLabel:
    """A label that is probably wrong.

    Attributes:
        row: Number of the photo, from 0.
        given: The label, as text in the format of ``answers.csv``.
        suggestion: The label that the model would give, in the same format.
        strength: How suspicious the label is, larger for more suspicious, at least 1. Classes: how many times
            as probable the suggestion is, relative to the limit. Numbers: the size of the residual, relative
            to the limit.
        probability: Probability of the suggestion, 0..1; of several labels, of the most suspicious one. None
            for numbers.
        sentence: What was found, with numbers, and what to do.
        severity: ``"warning"``; ``"note"`` if the model is often wrong, or has seen too few photos: see
            ``MOST_ERRORS``, ``MOST_FAR``, ``FEWEST_OF_CLASS`` and ``FEWEST_PHOTOS``.
        name: Empty: the finding is about the photo, not about a class.
        kind: Kind of the finding.
    """

    row: int
    given: str
    suggestion: str
    strength: float
    probability: float | None
    sentence: str
    severity: Severity
    name: str = ""
    kind: Literal["wrong-label"] = "wrong-label"


def wrong_labels_of(answers: Answers, task: TaskName) -> list[WrongLabel]:
    """Find wrong labels in the rows of ``answers.csv``.

    Args:
        answers: N rows. Their outputs are those of models that were not trained on the photo: out-of-fold
            rows, and val and test rows.
        task: Name of the task.

    Returns:
        The suspicious labels, the most suspicious first. None for boxes: see ``NOT_OFFERED``.
    """
    names = [name.split(":", 1)[1] for name in answers.output_names]
    is_out_of_fold = np.array([source == "out-of-fold" for source in answers.source], bool)
    has_answer = (answers.fold >= 0) | ~is_out_of_fold
    solver = tasks.of(task).solver
    match solver:
        case "classes":
            return wrong_classes(answers.outputs, classes_of(answers.label, names), names, has_answer)
        case "labels":
            return wrong_label_sets(answers.outputs, class_sets_of(answers.label, names), names, has_answer)
        case "numbers":
            numbers = numbers_of(answers.label, len(names))
            return wrong_numbers(answers.outputs, numbers, names, has_answer)
        case None:
            return []


def wrong_classes(
    outputs: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    has_answer: np.ndarray | None = None,
) -> list[WrongLabel]:
    """Find photos whose class is probably wrong.

    Args:
        outputs: (N, K), logits of models that were trained without the photo.
        labels: (N,) ints, the given classes.
        class_names: The K classes.
        has_answer: (N,) bool, the rows to check; by default all. Rows with outputs that are not finite are
            left out.

    Returns:
        The suspicious labels, the most suspicious first.
    """
    num_photos, num_classes = outputs.shape
    if num_classes < 2:
        return []
    rows = np.arange(num_photos)
    logits = outputs.astype(np.float64)
    given = logits[rows, labels]
    others = logits.copy()
    others[rows, labels] = -np.inf
    best = others.argmax(1)
    surprise, usable = others[rows, best] - given, _usable(outputs, has_answer)
    excess = surprise - _limit(surprise[usable], num_classes)
    severity = _severity(surprise[usable])
    counts = np.bincount(labels[usable], minlength=num_classes)
    found = []
    for row in _worst_first(excess, usable):
        name, suggestion = class_names[labels[row]], class_names[best[row]]
        involved = {int(label): int(counts[label]) for label in (labels[row], best[row])}
        few = _few(involved, class_names, int(usable.sum()))
        probabilities = softmax(logits[row : row + 1])[0]
        probability = float(probabilities[best[row]])
        sentence = (
            f"The label {name!r} {'may be' if few else 'is probably'} wrong: a model that was trained "
            f"without this photo gives it a probability of {probabilities[labels[row]]:.2g}, and "
            f"{suggestion!r} one of {probability:.2f}. {few}Look at the photo, and correct the label or keep "
            "it."
        )
        how_bad: Severity = "note" if few else severity
        found.append(
            WrongLabel(row, name, suggestion, _strength(excess[row]), probability, sentence, how_bad)
        )
    return found


def wrong_label_sets(
    outputs: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    has_answer: np.ndarray | None = None,
) -> list[WrongLabel]:
    """Find photos with several labels of which at least one is probably wrong or missing.

    Each label is judged separately, like a class of two. A photo has one finding, with all its suspicious
    labels changed in the suggestion.

    Args:
        outputs: (N, K), logits of models that were trained without the photo.
        labels: (N, K) bool, the given labels.
        class_names: The K classes.
        has_answer: As for ``wrong_classes``.

    Returns:
        The suspicious photos, the most suspicious first.
    """
    logits = outputs.astype(np.float64)
    has = labels.astype(bool)
    surprise, usable = np.where(has, -logits, logits), _usable(outputs, has_answer)
    excess = surprise - _limit(surprise[usable], 2)
    severity = _severity(surprise[usable])
    num_usable, num_with = int(usable.sum()), has[usable].sum(0)
    found = []
    for row in _worst_first(excess.max(1, initial=-np.inf), usable):
        is_wrong = excess[row] > 0
        counts = {label: int(num_with[label]) for label in np.flatnonzero(is_wrong).tolist()}
        few = _few(counts, class_names, num_usable)
        worst = int(excess[row].argmax())
        probability = float(sigmoid(np.abs(logits[row, worst])))
        has_it = float(sigmoid(logits[row, worst]))
        parts = [
            f"{class_names[label]!r} {'may be' if few else 'is probably'} "
            f"{'wrong' if has[row, label] else 'missing'}"
            for label in np.flatnonzero(is_wrong).tolist()
        ]
        sentence = (
            f"{', and '.join(parts)}: a model that was trained without this photo gives "
            f"{class_names[worst]!r} a probability of {has_it:.2g}. {few}Look at it, and correct the labels "
            f"or keep them."
        )
        given, suggestion = (_names(each, class_names) for each in (has[row], has[row] ^ is_wrong))
        how_bad: Severity = "note" if few else severity
        found.append(
            WrongLabel(row, given, suggestion, _strength(excess[row, worst]), probability, sentence, how_bad)
        )
    return found


def wrong_numbers(
    outputs: np.ndarray, numbers: np.ndarray, targets: Sequence[str], has_answer: np.ndarray | None = None
) -> list[WrongLabel]:
    """Find photos with a number that is far from the prediction, compared with the residuals of the others.

    Args:
        outputs: (N, D), predictions of models that were trained without the photo, in the units of
            ``numbers``.
        numbers: (N, D), the given numbers.
        targets: Names of the D numbers.
        has_answer: As for ``wrong_classes``.

    Returns:
        The suspicious photos, the most suspicious first. None if there are fewer than ten photos, or if more
        than half of the residuals are equal, so that there is no scale to compare with.
    """
    residuals, usable = numbers - outputs.astype(np.float64), _usable(outputs, has_answer)
    known = residuals[usable]
    if len(known) < _FEWEST_NUMBERS:
        return []
    middle = np.median(known, axis=0)
    distances = np.abs(residuals - middle)
    scale = np.stack([_scales(*columns, usable) for columns in zip(distances.T, outputs.T, strict=True)], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(scale > 0, distances / scale, 0.0)
    is_common = (deviations[usable].max(1, initial=0.0) > MOST_DEVIATIONS).mean() > MOST_FAR
    found = []
    for row in _worst_first(deviations.max(1, initial=0.0) - MOST_DEVIATIONS, usable):
        is_wrong = deviations[row] > MOST_DEVIATIONS
        worst = int(deviations[row].argmax())
        predicted = outputs[row, worst]
        sentence = (
            f"{targets[worst]} is {numbers[row, worst]:.6g}, and a model that was trained without this photo "
            f"predicts {predicted:.4g}. The difference is {deviations[row, worst]:.0f} times the usual one "
            f"({scale[row, worst]:.2g}). Look at the photo, and correct the number or keep it."
        )
        kept = [repr(float(each)) for each in numbers[row]]  # a suggestion changes no other number
        new = [f"{each:.6g}" for each in outputs[row]]
        given = " ".join(kept)
        suggestion = " ".join(np.where(is_wrong, new, kept).tolist())
        strength = float(deviations[row, worst]) / MOST_DEVIATIONS
        found.append(
            WrongLabel(row, given, suggestion, strength, None, sentence, "note" if is_common else "warning")
        )
    return found


def _scales(distances: np.ndarray, predicted: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return the standard deviation of normal residuals with the median distance of similar photos, (N,).

    Errors are often larger for larger numbers, so photos are compared with those of similar predictions.
    """
    rows = np.flatnonzero(usable)
    by_prediction = rows[np.argsort(predicted[rows], kind="stable")]
    scales = np.full(len(distances), np.median(distances[rows]))
    for similar in np.array_split(by_prediction, max(min(len(rows) // _FEWEST_SIMILAR, _MOST_PARTS), 1)):
        scales[similar] = np.maximum(scales[similar], np.median(distances[similar]))
    return _OF_NORMAL * scales


def _limit(surprise: np.ndarray, num_classes: int) -> float:
    """Return the limit of the logarithm of a ratio of probabilities, other to given.

    Args:
        surprise: The logarithms, of any shape.
        num_classes: Number of classes among which a label was chosen.
    """
    ratios = np.exp(-np.clip(surprise, 0, 700)) * num_classes  # given to other; at most num_classes
    limit = FIRST_LIMIT
    while ratios.size:
        share = min(float((ratios < limit).mean()), 0.5)
        new = float(np.clip(UNCERTAINTY * share / (1 - share), *LIMITS))
        if new == limit:
            break
        limit = new  # the steps all go in one direction, so they end
    return math.log(num_classes / limit)


def _few(counts: Mapping[int, int], class_names: Sequence[str], num_photos: int) -> str:
    """Return a sentence about too few photos for a certain finding, and a space; empty if there are enough.

    Args:
        counts: Number of photos of each label that the finding is about.
        class_names: Names of the labels.
        num_photos: Number of all photos.
    """
    label = min(counts, key=counts.__getitem__)
    if counts[label] < FEWEST_OF_CLASS:
        of_label = f"{counted(counts[label], 'photo')} of {class_names[label]!r}"
        return f"The model knows only {of_label}, which is too few to be sure. "
    if num_photos < FEWEST_PHOTOS:
        return f"There are only {num_photos} photos, which is too few to be sure. "
    return ""


def _severity(surprise: np.ndarray) -> Severity:
    return "note" if surprise.size and (surprise > 0).mean() > MOST_ERRORS else "warning"


def _worst_first(excess: np.ndarray, usable: np.ndarray) -> list[int]:
    """Return the usable rows with a positive excess, in descending order of it; of equal ones, the first."""
    rows = np.flatnonzero(usable & (excess > 0))
    order = np.argsort(-excess[rows], kind="stable")
    return [int(row) for row in rows[order]]


def _usable(outputs: np.ndarray, has_answer: np.ndarray | None) -> np.ndarray:
    is_finite = np.isfinite(outputs).all(1)
    return np.asarray(is_finite if has_answer is None else is_finite & has_answer)


def _strength(excess: float) -> float:
    return float(np.exp(min(excess, 700.0)))  # a larger one overflows


def _names(has: np.ndarray, class_names: Sequence[str]) -> str:
    return json.dumps([class_names[label] for label in np.flatnonzero(has).tolist()], ensure_ascii=False)
