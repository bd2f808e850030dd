"""Whether predicted probabilities can be taken at their word."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.answers.intervals import wilson
from headstart.charts.plots import Axis, Rate, reliability
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, chart, element, paragraph, section, table
from headstart.tasks.calibration_error import NUM_BINS, bins_of, calibration_error, error_by_chance
from headstart.tasks.losses import sigmoid
from headstart.tasks.task import softmax
from headstart.tasks.text import boxes_of, class_sets_of


@dataclass(frozen=True)
class Calibration:
    """Predicted probabilities compared with what is observed.

    Attributes:
        rates: Ranges of the predicted probability that contain predictions, ascending.
        error: Expected calibration error: the mean distance between predicted and observed, over predictions.
        by_chance: The mean error that perfectly calibrated probabilities would show, for as many predictions.
    """

    rates: tuple[Rate, ...]
    error: float
    by_chance: float

    @classmethod
    def of(cls, shares: np.ndarray, is_right: np.ndarray) -> Calibration:
        """Compare predictions in ranges of equal width: see ``tasks/calibration_error.py``.

        Args:
            shares: (N,), predicted probabilities, 0..1; N at least 1.
            is_right: (N,) bool, whether each prediction has come true.
        """
        bins = bins_of(shares)
        counts, hits, sums = (
            np.bincount(bins, weights, NUM_BINS) for weights in (None, is_right.astype(float), shares)
        )
        rates = tuple(
            Rate(
                sums[k] / counts[k], hits[k] / counts[k], wilson(float(hits[k]), float(counts[k])), counts[k]
            )
            for k in np.flatnonzero(counts).tolist()
        )
        return cls(rates, calibration_error(shares, is_right), error_by_chance(shares))


def section_of_calibration(contents: Contents) -> Html | None:
    """Return the section about probabilities; nothing if the model predicts none."""
    info, answers = contents.info, contents.scored
    task, outputs = tasks.of(info.task), contents.scored.outputs.astype(np.float64)
    if task.has_numbers or (task.has_box and not info.num_box_classes):
        return None
    if task.has_labels:
        shares, is_right = sigmoid(outputs).ravel(), class_sets_of(answers.label, info.class_names).ravel()
        of, what = "class of each photo", "has the class"
    else:
        shares, is_right = softmax(outputs[:, 4 if task.has_box else 0 :]).max(1), answers.is_right > 0
        if task.has_box:
            is_right = np.array(boxes_of(answers.label)[0]) == np.array(boxes_of(answers.prediction)[0])
        of, what = "predicted class", "is right"
    found = Calibration.of(shares, is_right)
    num = "decisions" if task.has_labels else f"{contents.kind} photos"
    return section(
        "Calibration",
        paragraph(
            f"A probability of 0.8 should be right in 80\N{NO-BREAK SPACE}% of the cases. The mean distance "
            f"from that (expected calibration error, ECE) is {found.error:.3f}. A perfectly calibrated model "
            f"would show about {found.by_chance:.3f} by chance on as many {num}."
        ),
        element(
            "div",
            chart(
                reliability(
                    found.rates,
                    Axis.percent(f"predicted probability of the {of}"),
                    Axis.percent(f"share that {what}"),
                    title="Reliability diagram: observed against predicted; the table has the numbers",
                ),
                "On the dashed line, predicted and observed are equal. Above it, the model is too careful; "
                "below it, too confident. Bars are 95 % intervals; the numbers above are "
                f"{num.split()[-1]}.",
            ),
            table(
                "Predictions by predicted probability",
                ["mean predicted", "observed", "95 % interval", num.split()[-1]],
                [
                    (
                        f"{rate.predicted:.3f}",
                        [
                            f"{rate.observed:.3f}",
                            f"{rate.interval[0]:.2f} to {rate.interval[1]:.2f}",
                            f"{rate.count:,}",
                        ],
                    )
                    for rate in found.rates
                ],
            ),
            class_="beside",
        ),
    )
