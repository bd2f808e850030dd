"""Runs side by side, and one sentence on whether their differences mean anything."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, overload

from headstart.answers.estimates import Estimate
from headstart.columns import counted, html_table, interval_text, score_text, table
from headstart.tasks.task import LOWER_IS_BETTER

_MOST_AT_ONCE: Final = 4  # runs, from which on one clear difference by chance becomes likely

_SIGNIFICANT: Final = 0.05


@dataclass(frozen=True)
class ComparedRun:
    """One row of ``hs.compare``. Intervals are 95 % confidence intervals.

    Attributes:
        name: Name of the run folder; its path if two runs have the same name.
        path: The run folder.
        recipe: How it was trained.
        backbone: Full name of its backbone.
        scores: Scores by name, with intervals.
        differences: Each score minus that of the first run on the same photos, with paired intervals; empty
            for the first run.
        p_value: Exact p value of McNemar's test that it is right as often as the first run; None for the
            first run, and for tasks without one class per photo.
    """

    name: str
    path: Path
    recipe: str
    backbone: str
    scores: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    p_value: float | None

    def is_clear(self, score: str) -> bool:
        """Return whether the difference in a score is more than chance."""
        interval = self.differences[score].interval
        if interval is None or interval[0] <= 0 <= interval[1]:
            return False
        return score != "accuracy" or self.p_value is None or self.p_value < _SIGNIFICANT


class Comparison(Sequence[ComparedRun]):
    """Runs in the given order. They are shown as a table with a verdict.

    Attributes:
        metric: Name of the main score, such as ``"accuracy"``.
        photos: What the photos are: ``"test"``, ``"validation"``, ``"held-out"`` (by folds), or several of
            these, such as ``"test or validation"``.
        num_photos: Number of photos that were compared.
        notes: Notes for the user.
    """

    def __init__(
        self, rows: Sequence[ComparedRun], metric: str, photos: str, num_photos: int, notes: Sequence[str]
    ) -> None:
        """
        Args:
            rows: At least two runs.
            metric: Name of the main score.
            photos: What the photos are.
            num_photos: Number of photos.
            notes: Notes for the user.
        """
        self._rows = tuple(rows)
        self.metric, self.photos, self.num_photos, self.notes = metric, photos, num_photos, tuple(notes)

    @overload
    def __getitem__(self, key: int) -> ComparedRun: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[ComparedRun, ...]: ...
    def __getitem__(self, key: int | slice) -> ComparedRun | tuple[ComparedRun, ...]:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return "\n".join([self.as_text(), *(f"Note: {note}" for note in self.notes)])

    def as_text(self) -> str:
        """Return the table and the verdict, for a terminal."""
        header, *rows = self._table()
        return "\n".join([*table(header, rows), "", self.verdict])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        header, *rows = self._table()
        texts = "".join(f"<p>{html.escape(text)}</p>" for text in (self.verdict, *self.notes))
        return html_table(header, rows) + texts

    @property
    def verdict(self) -> str:
        """One sentence on which runs differ by more than chance."""
        first, *others = self
        begin = f"On {counted(self.num_photos, f'{self.photos} photo')}"
        if len(others) == 1:
            (other,) = others
            if not other.is_clear(self.metric):
                return f"{begin} the two cannot be told apart: {self._numbers(other)}."
            return f"{begin} {other.name} is {self._better(other)} than {first.name}: {self._numbers(other)}."
        parts = [
            f"{other.name} is {self._better(other)}, {self._numbers(other)}"
            for other in others
            if other.is_clear(self.metric)
        ]
        if alike := [other.name for other in others if not other.is_clear(self.metric)]:
            parts.append(f"{' and '.join(alike)} cannot be told apart from it")
        return f"{begin}, compared with {first.name}: {'; '.join(parts)}.{self._warning()}"

    def _warning(self) -> str:
        if len(self) < _MOST_AT_ONCE:
            return ""
        return f" Of {len(self) - 1} comparisons, one may look clear by chance: check it on new photos."

    def _better(self, run: ComparedRun) -> str:
        is_lower = run.differences[self.metric].value < 0
        return "better" if is_lower == (self.metric in LOWER_IS_BETTER) else "worse"

    def _numbers(self, run: ComparedRun) -> str:
        name, found = self.metric, run.differences[self.metric]
        old, new = (score_text(name, each.scores[name].value) for each in (self[0], run))
        chance = found.reason or f"95 % interval {_signed_interval(name, found)}"
        test = "" if run.p_value is None else f", McNemar's p = {_p_text(run.p_value)}"
        return f"{name.replace('_', ' ')} {new} against {old}, {_signed(name, found.value)} ({chance}{test})"

    def _table(self) -> Iterator[list[str]]:
        has_test = any(row.p_value is not None for row in self)
        header = ["run", "recipe", "backbone", self.metric, "95 %", "difference", "95 %"]
        yield [*header, *(["p"] if has_test else [])]
        for row in self:
            score, found = row.scores[self.metric], row.differences.get(self.metric)
            yield [
                *(row.name, row.recipe, row.backbone),
                score_text(self.metric, score.value),
                interval_text(self.metric, score.interval),
                "" if found is None else _signed(self.metric, found.value),
                "" if found is None else _signed_interval(self.metric, found),
                *(["" if row.p_value is None else _p_text(row.p_value)] if has_test else []),
            ]


def _signed(name: str, value: float) -> str:
    text = score_text(name, value)
    return text if text.startswith("-") else f"+{text}"


def _signed_interval(name: str, found: Estimate) -> str:
    return "–" if found.interval is None else " to ".join(_signed(name, end) for end in found.interval)


def _p_text(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1g}"
