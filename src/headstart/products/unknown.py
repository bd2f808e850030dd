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
    """

    score: UnknownScore
    rejected: float
    interval: Interval
    num_val: int

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
            f"{self.rejected:.1%} of the {self.num_val:,} validation photos (95 % interval {low:.1%} to "
            f"{high:.1%})"
        )


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
