"""Whether a photo is of none of the classes: the score in the file of a probe, and how often it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.answers.intervals import Interval, of_proportion
from headstart.data.split import unit_names
from headstart.probe.photos import OutOfFold
from headstart.probe.unknown import FALSE_REJECTS, UnknownScore, fit_unknown
from headstart.records import Record


@dataclass(frozen=True, eq=False)
class Unknown:
    """A score of foreign photos, and the share of validation photos that its threshold rejects.

    Attributes:
        score: The score.
        rejected: Share of the validation photos, 0..1.
        interval: Its 95 % interval.
        num_val: Number of validation photos.
        photos: What the photos are, in words. If photos were scored by folds, ``rejected`` is the share of
            training photos that the scores of the folds' models reject.
    """

    score: UnknownScore
    rejected: float
    interval: Interval
    num_val: int
    photos: str = "validation photos"

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``."""
        return {
            "threshold": self.score.threshold,
            "false_rejects": FALSE_REJECTS,
            "num_photos": self.score.num_photos,
            "val_rejected": self.rejected,
            "val_interval": list(self.interval),
        }

    @property
    def sentence(self) -> str:
        """How often known photos are rejected, in words."""
        low, high = self.interval
        return (
            f"Photos of none of the classes: a score above {self.score.threshold:.2f} means unknown. The "
            f"limit is meant to reject {FALSE_REJECTS:.0%} of the photos that belong to a class; it rejects "
            f"{self.rejected:.1%} of the {self.num_val:,} {self.photos} (95 % interval {low:.1%} to "
            f"{high:.1%})"
        )


def find_unknown_by_folds(
    train: tuple[np.ndarray, np.ndarray, OutOfFold], rejected: np.ndarray, photos: Sequence[Record]
) -> Unknown | None:
    """Fit the score on training photos that the models of other folds have judged.

    Args:
        train: As for ``find_unknown``.
        rejected: (N,), 1 if a score that was fitted without the photo's fold rejects it, else 0; NaN if there
            were too few photos for such a score.
        photos: The N training photos.

    Returns:
        As ``find_unknown``; None, too, if it is not known how often photos are rejected.
    """
    features, labels, answers = train
    score = fit_unknown(features, labels, answers.outputs, answers.fold)
    rows = np.flatnonzero(~np.isnan(rejected))
    if score is None or not len(rows):
        return None
    judged = [photos[row] for row in rows.tolist()]
    units = np.unique(unit_names(judged), return_inverse=True)[1]
    is_rejected = rejected[rows] == 1
    interval, share = of_proportion(is_rejected, units), float(is_rejected.mean())
    return Unknown(score, share, interval, len(rows), "photos, by scores that were fitted without their fold")


def find_unknown(
    train: tuple[np.ndarray, np.ndarray, OutOfFold],
    val: tuple[np.ndarray, np.ndarray, Sequence[Record]],
) -> Unknown | None:
    """Fit the score on training photos, and measure it on validation photos.

    Args:
        train: Features of the last stage (N, D); classes (N,); calibrated answers out of fold.
        val: Features and calibrated logits of the validation photos, and the photos.

    Returns:
        None if there are too few training photos: see ``fit_unknown``.
    """
    features, labels, answers = train
    score = fit_unknown(features, labels, answers.outputs, answers.fold)
    if score is None:
        return None
    val_features, val_logits, photos = val
    is_rejected = score(val_features, val_logits) > score.threshold
    units = np.unique(unit_names(photos), return_inverse=True)[1]
    return Unknown(score, float(is_rejected.mean()), of_proportion(is_rejected, units), len(photos))
