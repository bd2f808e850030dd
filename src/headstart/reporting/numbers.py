"""Predicted numbers against true ones, and their errors."""

from __future__ import annotations

from typing import Final

import numpy as np

from headstart import tasks
from headstart.charts import svg
from headstart.charts.plots import Axis, bars, points
from headstart.columns import counted, printable
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, chart, element, named, section, table
from headstart.tasks.number_scores import score_regression
from headstart.tasks.text import numbers_of

_MOST_TARGETS: Final = 6  # with charts
_MOST_POINTS: Final = 1500


def section_of_numbers(contents: Contents) -> Html | None:
    """Return the section about predicted numbers; nothing for other tasks."""
    if not tasks.of(contents.info.task).has_numbers:
        return None
    targets, answers = contents.info.targets, contents.scored
    truth = numbers_of(answers.label, len(targets))
    predicted = answers.outputs.astype(np.float64)
    scores = score_regression(truth, predicted, targets)
    rows = [
        (name, [f"{mae:.4g}", f"{rmse:.4g}", f"{r2:.3f}", f"{low:.4g} to {high:.4g}"])
        for name, mae, rmse, r2, low, high in zip(
            targets, scores.mae, scores.rmse, scores.r2, truth.min(0), truth.max(0), strict=True
        )
    ]
    header = ["number", "mean error", "root mean squared error", "R²", "true numbers"]
    charts = [
        _charts(name, *columns)
        for name, *columns in list(zip(targets, truth.T, predicted.T, strict=True))[:_MOST_TARGETS]
    ]
    caption = f"Errors on {counted(len(answers), f'{contents.kind} photo')}, in the unit of each number"
    return section("Predicted numbers", table(caption, header, rows), charts)


def _charts(name: str, truth: np.ndarray, predicted: np.ndarray) -> Html:
    """Return the charts of one target, (N,) true and predicted numbers."""
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    x, y = (Axis.around(kind, float(low), float(high)) for kind in ("true number", "predicted number"))
    step = -(-len(truth) // _MOST_POINTS)
    shown = zip(truth[::step].tolist(), predicted[::step].tolist(), strict=True)
    errors = predicted - truth
    most = float(np.abs(errors).max()) or 1.0
    marks = svg.ticks(-most, most)
    edges = np.linspace(marks[0], marks[-1], 2 * len(marks) - 1).tolist()
    counts = np.histogram(errors, edges)[0].tolist()
    left_out = "" if step == 1 else f" Every {step}th photo is shown."
    return element(
        "div",
        chart(
            points(shown, x, y, title=f"Predicted against true {printable(name)}"),
            element("b", named(name)),
            f": one point per photo. On the dashed line, predictions are exact.{left_out}",
        ),
        chart(
            bars(
                edges,
                counts,
                title=f"Histogram of the errors of {printable(name)}",
                x_name="error: predicted minus true",
                y_name="photos",
            ),
            f"The mean error is {errors.mean():+.3g}; 90 % of the errors are between "
            f"{np.quantile(errors, 0.05):+.3g} and {np.quantile(errors, 0.95):+.3g}.",
        ),
        class_="plots",
    )
