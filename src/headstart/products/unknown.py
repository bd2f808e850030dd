"""Whether a photo is of none of the classes: the score in a classifier's file, and how often it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from headstart import tasks
from headstart.answers.intervals import Interval, of_proportion
from headstart.columns import counted
from headstart.config import TrainConfig, folds
from headstart.data.split import Splits, unit_names
from headstart.errors import ParityError
from headstart.inference.predictor import Predictor
from headstart.probe.folds import NUM_FOLDS, deal_folds
from headstart.probe.photos import OutOfFold
from headstart.probe.unknown import (
    FALSE_REJECTS,
    FEWEST,
    MOST,
    UnknownScore,
    fit_unknown,
    rejected_out_of_fold,
    rows_to_fit,
)
from headstart.records import Record

_COMPARED: Final = 8  # photos
_TOLERANCE: Final = 1e-2  # of a score, of which known photos have a standard deviation of about 1.4
_TOLERANCE_ON_ACCELERATORS: Final = 0.2

FeaturesOf: TypeAlias = Callable[[Sequence[Record]], np.ndarray]
"""Returns the features of photos as they are, of the last stage before the head, (N, D) float32."""


OutputsOf: TypeAlias = Callable[[Sequence[Record]], np.ndarray]
"""Returns the logits of the file for photos, (N, K)."""


@dataclass(frozen=True, eq=False)
class Unknown:
    """A score of foreign photos, and the share of validation photos that its threshold rejects.

    Attributes:
        score: The score.
        fitted_on: The photos that it was fitted on: training photos, by answers out of fold, or validation
            photos.
        rejected: Share of the validation photos, 0..1. If the score was fitted on them, each is judged by the
            threshold of the other folds.
        interval: Its 95 % interval.
        num_val: Number of these photos.
        judged: What they are, in words. If photos are scored by folds, they are training photos.
        compared: Some validation photos, with folds training photos, and their scores, as the file must
            give them.
    """

    score: UnknownScore
    fitted_on: Literal["out-of-fold", "val"]
    rejected: float
    interval: Interval
    num_val: int
    judged: str = "validation photos"
    compared: Sequence[tuple[Record, float]] = ()

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``."""
        return {
            "threshold": self.score.threshold,
            "false_rejects": FALSE_REJECTS,
            "fitted_on": self.fitted_on,
            "num_photos": len(self.score.known),
            "val_rejected": self.rejected,
            "val_interval": list(self.interval),
        }

    @property
    def sentence(self) -> str:
        """How often known photos are rejected, in words."""
        low, high = self.interval
        how = ", each judged by a limit from the others" if self.fitted_on == "val" else ""
        return (
            f"Photos of none of the classes: a score above {self.score.threshold:.2f} means unknown. The "
            f"limit is meant to reject {FALSE_REJECTS:.0%} of the photos that belong to a class; it rejects "
            f"{self.rejected:.1%} of the {self.num_val:,} {self.judged}{how} (95 % interval {low:.1%} to "
            f"{high:.1%})"
        )

    def refuse_disagreement(self, predictor: Predictor, *, is_on_cpu: bool = True) -> None:
        """Compare the scores of the file with those that the threshold was chosen by.

        Args:
            predictor: The finished file.
            is_on_cpu: Whether the file ran on the CPU; accelerators compute features with less precision.

        Raises:
            ParityError: They differ.
        """
        tolerance = _TOLERANCE if is_on_cpu else _TOLERANCE_ON_ACCELERATORS
        found = predictor.predict_iter(photo.photo for photo, _ in self.compared)
        for (photo, score), prediction in zip(self.compared, found, strict=True):
            by_file = prediction.unknown_score
            if by_file is None or not abs(by_file - score) <= tolerance * max(1, abs(score)):
                raise ParityError(
                    f"The model file gives {photo.path} an unknown_score of {by_file}, and training had "
                    f"{score:.4f}. Train with --unknown off, and please report this with the name of the "
                    f"backbone."
                )


def is_wanted(config: TrainConfig, task: str) -> bool:
    """Return whether a run's file is to recognise photos of none of its classes."""
    return config.unknown == "auto" and tasks.of(task).has_class


def find_unknown(
    splits: Splits,
    val_outputs: np.ndarray,
    out_of_fold: OutOfFold | None,
    features_of: FeaturesOf,
    *,
    most: int = MOST,
    rejected: np.ndarray | None = None,
    outputs_of: OutputsOf | None = None,
) -> Unknown | str:
    """Fit the score on photos that the features were not trained on, and measure it on validation photos.

    Args:
        splits: The photos.
        val_outputs: (N, K), calibrated logits of the validation photos.
        out_of_fold: Calibrated answers for the training photos, if the features were not trained on them;
            otherwise None, and the score is fitted on validation photos.
        features_of: Returns the features of photos.
        most: Number of training photos above which some of each class are used.
        rejected: If photos are scored by folds, for each training photo 1 if a score that was fitted without
            its fold rejects it, else 0; NaN if there were too few photos for such a score.
        outputs_of: Returns logits for photos, given with ``rejected``: some of the training photos are
            compared, as there are no validation photos.

    Returns:
        The score; or, in a sentence, why there is none.
    """
    if out_of_fold is not None:
        rows = rows_to_fit(out_of_fold.fold, _labels(splits.train), most)
        photos = [splits.train[row] for row in rows.tolist()]
        logits, fold = out_of_fold.outputs[rows], out_of_fold.fold[rows]
    else:
        rows = _rows_of(splits.val)
        photos, logits = [splits.val[row] for row in rows.tolist()], val_outputs[rows]
        fold = deal_folds(_labels(photos), _units(photos)) if photos else np.zeros(0, int)
    if reason := _too_few(photos, val_outputs.shape[1], "validation" if out_of_fold is None else "training"):
        is_held_out = out_of_fold is not None and rejected is None and len(photos) < FEWEST
        return reason + (_enough_folds([*splits.train, *splits.val]) if is_held_out else "")
    features = features_of(photos)
    score = fit_unknown(features, _labels(photos), logits, fold)
    if score is None:
        return f"{_NONE}, because their features or answers do not differ enough"
    if rejected is not None:
        found = _judged_by_folds(score, rejected, splits.train)
        if isinstance(found, str) or outputs_of is None:
            return found
        some = photos[:: -(-len(photos) // _COMPARED)]
        scores = score(features_of(some), outputs_of(some)).tolist()
        return replace(found, compared=[*zip(some, scores, strict=True)])
    if out_of_fold is None:
        is_rejected = rejected_out_of_fold(score.known, fold)
        return _judged(score, "val", photos, score(features, logits), is_rejected)
    rows = _rows_of(splits.val)
    val = [splits.val[row] for row in rows.tolist()]
    scores = score(features_of(val), val_outputs[rows])
    return _judged(score, "out-of-fold", val, scores, scores > score.threshold)


def _judged(
    score: UnknownScore,
    fitted_on: Literal["out-of-fold", "val"],
    val: Sequence[Record],
    scores: np.ndarray,
    is_rejected: np.ndarray,
) -> Unknown:
    """Return the score with what it says of validation photos."""
    compared = [(val[row], float(scores[row])) for row in range(0, len(val), -(-len(val) // _COMPARED))]
    interval = of_proportion(is_rejected, _units(val))
    return Unknown(score, fitted_on, float(is_rejected.mean()), interval, len(val), compared=compared)


def _judged_by_folds(score: UnknownScore, rejected: np.ndarray, photos: Sequence[Record]) -> Unknown | str:
    """Return the score with what those of the folds say of training photos: see ``find_unknown``."""
    rows = np.flatnonzero(~np.isnan(rejected))
    if not len(rows):
        too_few = "too few photos are outside each fold to tell how often known photos would be rejected"
        return f"{_NONE}, because {too_few}{_enough_folds(photos)}"
    is_rejected = rejected[rows] == 1
    interval = of_proportion(is_rejected, _units([photos[row] for row in rows.tolist()]))
    judged = "photos, by scores that were fitted without their fold"
    return Unknown(score, "out-of-fold", float(is_rejected.mean()), interval, len(rows), judged)


_NONE: Final = "Photos of none of the classes are not recognised"


def _too_few(photos: Sequence[Record], num_classes: int, kind: str) -> str:
    """Say why the photos cannot describe the classes; empty if they can."""
    if len(photos) < FEWEST:
        return f"{_NONE}: this takes {FEWEST} {kind} photos, and there are {len(photos)}"
    num_missing = int((np.bincount(_labels(photos), minlength=num_classes) < 2).sum())
    if num_missing:
        missing = counted(num_missing, "class has", "classes have")
        apart = " in different folds" if kind == "training" else ""  # others have no answer out of fold
        return f"{_NONE}: this takes two {kind} photos of each class{apart}, and {missing} fewer"
    return ""


def _enough_folds(photos: Sequence[Record]) -> str:
    """Advise on the smallest number of folds with enough photos outside each; empty if there is none."""
    labels, units = _labels(photos), _units(photos)
    of_classes, _ = np.unique(np.stack([labels, units]), axis=1)
    for num_folds in range(NUM_FOLDS, min(folds.MOST, int(np.bincount(of_classes).min())) + 1):
        if len(photos) - np.bincount(deal_folds(labels, units, num_folds)).max() >= FEWEST:
            return f". With --folds {num_folds}, there are enough"
    return ""


def _rows_of(photos: Sequence[Record]) -> np.ndarray:
    """Return the rows of validation photos that are used."""
    return rows_to_fit(np.zeros(len(photos), int), _labels(photos))


def _labels(photos: Sequence[Record]) -> np.ndarray:
    return np.array([photo.label for photo in photos])


def _units(photos: Sequence[Record]) -> np.ndarray:
    return np.unique(unit_names(photos), return_inverse=True)[1]
