"""Training curves of each phase that has several epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from headstart.charts.plots import Axis, Series, lines
from headstart.columns import score_text
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, chart, element, named, section


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
    y = Axis.around(score.replace("_", " "), min(known), max(known))
    step = -(-len(epochs) // 12)
    x = Axis("epoch", [*range(1, len(epochs), step), len(epochs)])
    series = [Series("training", train, is_dashed=True), Series("validation", val)]
    return chart(
        lines(series, x, y, title=f"{score} over the epochs of phase {phase['name']}"),
        f"Validation {score.replace('_', ' ')}: {score_text(score, val[0])} after epoch 1, "
        f"{score_text(score, val[-1])} after epoch {len(epochs)}. Training scores are measured on augmented photos, "
        f"while weights change.",
    )
