"""What a model makes of labelled photos, as numbers and as text."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headstart.columns import cell, html_table, score_text, table
from headstart.images.photo import Photo
from headstart.records import Quarantined
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import Scores


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The result of evaluating a model file on labelled photos, shown as its scores by class or target.

    Attributes:
        split: ``"train"``, ``"val"`` or ``"test"`` if only this split was scored; None for all photos.
        photos: These photos.
        scores: Scores over the photos that can be read.
        unreadable: Predictions of the photos that cannot be read, with their ``error``.
        quarantined: Photos that were left out because their labels are wrong.
        notes: Notes for the user.
    """

    split: str | None
    photos: tuple[Photo, ...]
    scores: Scores
    unreadable: tuple[Prediction, ...]
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, Any]:
        """All scores, as ``metrics.json`` has them under ``test``."""
        return self.scores.to_dict()

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
        unreadable = (f"{each.path}: {each.error}" for each in self.unreadable)
        return (*self.notes, *left_out, *unreadable)

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
        for name in ("classes", "targets"):
            if rows := self.metrics.get(name):
                yield list(rows[0]), [[cell(*item) for item in row.items()] for row in rows]

    def _lines(self) -> Iterator[str]:
        scores = self.metrics
        which = f"{self.split} photos" if self.split else "photos"
        if "confusion" in scores:
            right = sum(row[i] for i, row in enumerate(scores["confusion"]))
            yield f"accuracy {scores['accuracy']:.4f} ({right} of {self.num_photos} {which})"
        else:
            yield f"{self.num_photos} {which}"
        for name, value in scores.items():
            if isinstance(value, float) and not (name == "accuracy" and "confusion" in scores):
                yield f"{name} {score_text(name, value, 4)}"
