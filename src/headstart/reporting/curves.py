"""Training curves of each phase that has several epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from headstart.charts.plots import Axis, Series, lines
from headstart.columns import score_text
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, chart, element, named, section

_NAMES: Final = {"iou": "IoU", "mae": "mean error"}


def section_of_curves(contents: Contents) -> Html | None:
    """Return the section with loss and main score over the epochs; nothing if no phase has several epochs."""
    blocks = [
        block
        for phase in contents.metrics["phases"]
        if len(phase["epochs"]) > 1
        for block in (
            element("h3", "Phase ", named(phase["name"])),
            element(
                "div",
                [_curve(phase, name) for name in ("loss", contents.main_score)],
                class_="plots",
            ),
        )
    ]
    return section("Training", blocks) if blocks else None


def _curve(phase: Mapping[str, Any], score: str) -> Html:
    """Return the chart of one score over the epochs of a phase."""
    epochs = phase["epochs"]
    train, val = ([float(each.get(f"{of}_{score}", math.nan)) for each in epochs] for of in ("train", "val"))
    known = [value for value in (*train, *val) if math.isfinite(value)] or [0.0]
    name = _NAMES.get(score, score)
    y = Axis.around(name, min(known), max(known))
    step = -(-len(epochs) // 12)
    marks = [each for each in range(1, len(epochs), step) if len(epochs) - each >= 0.8 * step]
    x = Axis("epoch", [*marks, len(epochs)])
    series = [Series("training", train, is_dashed=True), Series("validation", val)]
    return chart(
        lines(series, x, y, title=f"{name} over the epochs of phase {phase['name']}"),
        f"Validation {name}: {score_text(score, val[0])} after epoch 1, "
        f"{score_text(score, val[-1])} after epoch {len(epochs)}. Training scores are measured on augmented "
        f"photos, while weights change.",
    )
