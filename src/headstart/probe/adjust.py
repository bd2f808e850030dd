"""Logit adjustment for classes with few photos.

A head learns how frequent each class is among the training photos. Subtracting the logarithm of this
frequency, times tau, from the logits gives rare classes the weight that scores by class give them.
Source: Menon et al. 2021, arXiv 2007.07314.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headstart.config.settings import ADJUSTING
from headstart.tasks.class_scores import means_over_classes

TAUS: Final = (0.0, 0.5, 1.0)
"""Weights of the log frequencies that are tried; 0 is no adjustment."""


@dataclass(frozen=True, eq=False)
class Adjustment:
    """The adjustment of a head's logits.

    Attributes:
        offsets: (K,) float32, which are added to the logits.
        tau: Weight of the classes' log frequencies; 0 for no adjustment.
        score: Name of the score by which ``tau`` was chosen.
        scores: This score, out of fold, for each tau that was tried.
    """

    offsets: np.ndarray
    tau: float
    score: str
    scores: Mapping[float, float]

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``."""
        scores = {f"{tau:g}": round(score, 6) for tau, score in self.scores.items()}
        return {"tau": self.tau, "tau_scores": scores}

    @property
    def sentence(self) -> str:
        """What was chosen, in words."""
        name, before = self.score.replace("_", " ").replace("f1", "F1"), self.scores[0.0]
        if not self.tau:
            return f"Logit adjustment does not improve the cross-validated {name} ({before:.3f})."
        return (
            f"Logits are adjusted for the frequencies of the classes (tau {self.tau:g}): cross-validated "
            f"{name} {self.scores[self.tau]:.3f} instead of {before:.3f}. Predicted "
            f"probabilities assume equally frequent classes."
        )


def choose_adjustment(
    logits: np.ndarray, labels: np.ndarray, is_scored: np.ndarray, select: str
) -> Adjustment | None:
    """Choose the adjustment with the best score for rows that the head was not solved on.

    Args:
        logits: (N, K), out-of-fold outputs of the head.
        labels: (N,) int64, classes of all rows, which give the frequencies.
        is_scored: (N,) bool, rows with usable outputs.
        select: The score, as in the setting ``select``.

    Returns:
        The adjustment, the smallest of equally good ones; None if the score does not need one, or if no row
        can be scored.
    """
    score = select.removeprefix("val_")
    if select not in ADJUSTING or not is_scored.any():
        return None
    num_classes = logits.shape[1]
    counts = np.maximum(np.bincount(labels, minlength=num_classes), 1)
    prior = np.log(counts / counts.sum())
    scores = {
        tau: means_over_classes(labels[is_scored], (logits[is_scored] - tau * prior).argmax(1), num_classes)[
            score
        ]
        for tau in TAUS
    }
    tau = max(TAUS, key=lambda each: (scores[each], -each))
    return Adjustment((-tau * prior).astype(np.float32), tau, score, scores)
