"""How well predicted boxes overlap the true ones."""

from __future__ import annotations

import numpy as np

from headstart import tasks
from headstart.charts.plots import bars
from headstart.columns import counted
from headstart.images.boxes import iou
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Html, chart, element, section
from headstart.tasks.text import boxes_of


def section_of_boxes(contents: Contents) -> Html | None:
    """Return the section about overlaps of boxes; nothing for other tasks."""
    if not tasks.of(contents.info.task).has_box:
        return None
    answers = contents.scored
    overlaps = iou(boxes_of(answers.label)[1], answers.outputs[:, :4].astype(np.float64))
    edges = [each / 10 for each in range(11)]
    counts = np.histogram(overlaps, edges)[0].tolist()
    num = counted(len(answers), f"{contents.kind} photo")
    return section(
        "Overlap of boxes",
        element(
            "div",
            chart(
                bars(
                    edges,
                    counts,
                    title="Histogram of the overlap of predicted and true boxes",
                    x_name="intersection over union (IoU)",
                    y_name="photos",
                ),
                f"Intersection over union of the predicted and the true box on {num}: 1 if both are "
                f"equal, 0 if they do not overlap. The median is {np.median(overlaps):.2f}; "
                f"{int((overlaps == 0).sum())} do not overlap.",
            ),
            class_="plots",
        ),
    )
