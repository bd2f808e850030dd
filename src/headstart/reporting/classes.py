"""Scores by class: confusion matrix and table, for one class per photo, several, or classes of boxes."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from headstart import tasks
from headstart.columns import counted, printable
from headstart.reporting.contents import Contents
from headstart.reporting.markup import Content, Html, element, name_header, named, scrolling, section, table
from headstart.tasks.class_scores import confusion_matrix
from headstart.tasks.label_scores import average_precision
from headstart.tasks.losses import sigmoid
from headstart.tasks.text import boxes_of, class_sets_of, classes_of

_MOST_NAMED_COLUMNS: Final = 6  # of the matrix
_MOST_IN_MATRIX: Final = 15  # classes; of more, the most frequent confusions are listed
_MOST_ROWS: Final = 50
_MOST_CONFUSIONS: Final = 20


def section_of_classes(contents: Contents) -> Html | None:
    """Return the section about scores by class; nothing if there are no classes to tell apart."""
    info, answers = contents.info, contents.scored
    task = tasks.of(info.task)
    if task.has_numbers or (task.has_box and not info.num_box_classes):
        return None
    if task.has_labels:
        truth = class_sets_of(answers.label, info.class_names)
        said = class_sets_of(answers.prediction, info.class_names)
        shares = sigmoid(answers.outputs.astype(np.float64))
        ranked = [average_precision(*each) for each in zip(truth.T, shares.T, strict=True)]
        return section(
            "Scores by class",
            _by_class(contents, (said & truth).sum(0), truth.sum(0), said.sum(0), ranked),
        )
    texts = answers.label, answers.prediction
    labels, predicted = (
        classes_of(boxes_of(each)[0] if task.has_box else each, info.class_names) for each in texts
    )
    counts = confusion_matrix(labels, predicted, len(info.class_names))
    return section(
        "Scores by class",
        element("h3", "Which classes are confused"),
        _matrix(contents, counts) if len(counts) <= _MOST_IN_MATRIX else _confusions(contents, counts),
        element("h3", "Precision and recall"),
        _by_class(contents, counts.diagonal(), counts.sum(1), counts.sum(0)),
    )


def _matrix(contents: Contents, counts: np.ndarray) -> Html:
    """Return the confusion matrix, (K, K) counts, as a table."""
    names, most = contents.info.class_names, max(int(counts.max()), 1)
    caption = (
        f"Number of {contents.kind} photos by label (row) and prediction (column). The outlined diagonal is "
        f"right."
    )
    is_numbered = len(names) > _MOST_NAMED_COLUMNS
    caption += " The columns have the numbers of the rows." if is_numbered else ""
    header = element(
        "tr",
        element("th", "label ↓ predicted →", scope="col"),
        [
            element("th", str(number), scope="col", aria_label=printable(name), style="min-width: 3.5ch")
            if is_numbered
            else name_header(name, "col")
            for number, name in enumerate(names, 1)
        ],
    )
    rows = [
        element(
            "tr",
            name_header(name, "row", f"{row + 1} · " if is_numbered else ""),
            [
                element(
                    "td",
                    f"{count:,}" if count else "·",
                    class_="right" if row == column else None,
                    style=f"background: rgba(var(--shade), {0.08 + 0.42 * count / most:.2f})"
                    if count
                    else None,
                )
                for column, count in enumerate(of_row)
            ],
        )
        for row, (name, of_row) in enumerate(zip(names, counts.tolist(), strict=True))
    ]
    content = [element("caption", caption), element("thead", header), element("tbody", rows)]
    return scrolling("Confusion matrix", element("table", *content, class_="confusion"))


def _confusions(contents: Contents, counts: np.ndarray) -> Html:
    """Return the most frequent confusions, of (K, K) counts, as a table."""
    wrong = counts - np.diag(counts.diagonal())
    order = [int(each) for each in np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]]
    names, support = contents.info.class_names, counts.sum(1)
    rows = [
        (names[row], [named(names[column]), f"{wrong[row, column]:,} of {support[row]:,}"])
        for row, column in (divmod(each, len(names)) for each in order)
        if wrong[row, column]
    ]
    return table("The most frequent confusions", ["label", "predicted as", "photos"], rows)


def _by_class(
    contents: Contents,
    hits: np.ndarray,
    support: np.ndarray,
    claimed: np.ndarray,
    ranked: list[float] | None = None,
) -> Html:
    """Return precision, recall and F1 of each class as a table, with counts.

    Args:
        contents: For names.
        hits: (K,), photos for which the class is predicted rightly.
        support: (K,), photos of the class.
        claimed: (K,), photos for which the class is predicted.
        ranked: K average precisions, for several labels.
    """
    with np.errstate(invalid="ignore"):
        f1 = 2 * hits / (support + claimed)
    order = np.argsort(np.nan_to_num(f1, nan=2.0), kind="stable")
    whole = len(order) <= _MOST_ROWS
    shown = range(len(order)) if whole else order[:_MOST_ROWS].tolist()
    rows: list[tuple[str, list[Content]]] = []
    for k in shown:
        cells = [_share(hits[k], claimed[k]), _share(hits[k], support[k]), _number(f1[k])]
        more = [] if ranked is None else [_number(ranked[k])]
        rows.append((contents.info.class_names[k], [f"{support[k]:,}", *cells, *more]))
    header = [
        "class",
        "photos",
        "precision",
        "recall",
        "F1",
        *([] if ranked is None else ["average precision"]),
    ]
    caption = (
        "Precision: the share of photos predicted as this class that belong to it. Recall: the share of "
        "photos of this class that are predicted as it."
    )
    if not whole:
        caption += f" The {_MOST_ROWS} of {counted(len(order), 'class', 'classes')} with the lowest F1."
    return table(caption, header, rows)


def _share(part: int, whole: int) -> Content:
    return [f"{part / whole:.3f} ", element("small", f"{part:,} of {whole:,}")] if whole else "–"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"
