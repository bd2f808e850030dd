"""What a model makes of labelled photos, as numbers and as text."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headstart.answers.estimates import Estimates, metrics_of
from headstart.columns import cell, counted, html_table, interval_text, score_text, table
from headstart.images.photo import Photo
from headstart.messages import fitted, screenful
from headstart.reasons import by_reason
from headstart.records import Quarantined
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import Scores

_MOST_NAMED: Final = 20  # photos without a score, in one text


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of evaluating a model file on labelled photos, shown as its scores by class or target.

    Attributes:
        split: ``"train"``, ``"val"`` or ``"test"`` if only this split was scored; None for all photos.
        photos: These photos.
        scores: Scores over the photos that can be read.
        estimates: The same and further scores, with their 95 % intervals: ``estimates.overall["macro_f1"]``
            has ``value`` and ``interval``. Also by class or target, folder, and size of the photos.
        unreadable: Predictions of the photos that cannot be read, with their ``error``.
        quarantined: Photos that were left out because their labels are wrong.
        notes: Notes for the user.
    """

    split: str | None
    photos: tuple[Photo, ...]
    scores: Scores
    estimates: Estimates
    unreadable: tuple[Prediction, ...]
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, Any]:
        """All scores, as ``metrics.json`` has them under ``test``."""
        return metrics_of(self.scores, self.estimates)

    @property
    def scored(self) -> tuple[Photo, ...]:
        """The photos that could be read."""
        unreadable = {prediction.path for prediction in self.unreadable}
        return tuple(photo for photo in self.photos if photo.key not in unreadable)

    @property
    def num_photos(self) -> int:
        """Number of photos that were scored."""
        return len(self.scored)

    @property
    def remarks(self) -> tuple[str, ...]:
        """The notes, and each photo without a score, with the reason."""
        left_out = (f"left out: {each.path}: {each.reason}" for each in dict.fromkeys(self.quarantined))
        unreadable = by_reason(((each.path or "", each.error or "") for each in self.unreadable), _MOST_NAMED)
        remarks = (*self.notes, *screenful((*left_out, *unreadable), _MOST_NAMED))
        return tuple(map(fitted, remarks))

    def __repr__(self) -> str:
        return "\n".join([self.scores_as_text(), *(f"Note: {remark}" for remark in self.remarks)])

    def scores_as_text(self) -> str:
        """Return the scores alone, for a terminal."""
        lines: list[str] = []
        for header, rows in self._tables():
            lines += [*table(header, rows), ""]
        return "\n".join([*lines, *self._lines()])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        tables = "".join(html_table(header, rows) for header, rows in self._tables())
        texts = [*self._lines(), *self.remarks]
        return tables + "".join(f"<p>{html.escape(text)}</p>" for text in texts)

    def _tables(self) -> Iterator[tuple[list[str], list[list[str]]]]:
        metrics, estimates = self.metrics, self.estimates
        for name in ("classes", "targets"):
            if rows := metrics.get(name):
                yield _table_of_parts(rows)
        yield (
            ["score", "", "95 %"],
            [
                [
                    name.replace("_", " "),
                    score_text(name, each.value, 4) if each.value == each.value else "–",
                    each.reason or interval_text(name, each.interval, 4),
                ]
                for name, each in estimates.overall.items()
            ],
        )
        main = next(iter(estimates.overall))
        for kind, by in (("folder", estimates.folders), ("shorter side", estimates.sizes)):
            if len(by) > 1:
                yield (
                    [kind, main, "95 %", "photos"],
                    [
                        [
                            name,
                            score_text(main, each.value),
                            interval_text(main, each.interval),
                            str(each.num_photos),
                        ]
                        for name, each in by.items()
                    ],
                )

    def _lines(self) -> Iterator[str]:
        which = f"{self.split} photos" if self.split else "photos"
        if "confusion" in (scores := self.metrics):
            right = sum(row[i] for i, row in enumerate(scores["confusion"]))
            yield f"{right} of {self.num_photos} {which} are right."
        else:
            yield f"{self.num_photos} {which}."
        if self.estimates.calibration_error is not None:
            yield (
                f"Calibration error {self.estimates.calibration_error:.4f}; a perfectly calibrated model "
                f"would show {self.estimates.calibration_error_by_chance:.4f} on these photos."
            )


_MOST_PARTS: Final = 20

_FEW_SCORES: Final = 3  # whose intervals all fit into one line


def _table_of_parts(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return the table of classes or targets: of many classes, only those with the lowest F1."""
    shown: Sequence[Mapping[str, Any]] = rows
    if len(rows) > _MOST_PARTS:
        worst = sorted(range(len(rows)), key=lambda row: (rows[row].get("f1") or 0, row))[:_MOST_PARTS]
        shown = [rows[row] for row in sorted(worst)]
    scores = [name for name in rows[0] if f"{name}_interval" in rows[0] and name != "roc_auc"]
    with_interval = scores if len(scores) <= _FEW_SCORES else ["f1"]
    columns: list[str] = []
    for name in rows[0]:
        if not name.endswith("_interval") and name != "roc_auc":
            columns += [name, f"{name}_interval"] if name in with_interval else [name]
    header = ["95 %" if name.endswith("_interval") else name for name in columns]
    table_rows = [
        [
            interval_text(name.removesuffix("_interval"), row[name])
            if name.endswith("_interval")
            else cell(name, row[name])
            for name in columns
        ]
        for row in shown
    ]
    if left_out := len(rows) - len(shown):
        more = f"... and {counted(left_out, 'better class', 'better classes')}"
        table_rows.append([more, *[""] * (len(columns) - 1)])
    return header, table_rows
