"""The compared backbones as a table, with intervals and one sentence of advice."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, overload

from headstart.answers.intervals import Interval, of_paired_proportions, of_proportion, over_units
from headstart.columns import counted, html_picture, html_table, score_text, table
from headstart.recommendation.compare import Measured
from headstart.recommendation.picture import Mark, scatter
from headstart.tasks.task import LOWER_IS_BETTER, Task

FIELDS: Final = (
    *("backbone", "score", "score_low", "score_high", "loss", "loss_low", "loss_high"),
    *("loss_behind", "loss_behind_low", "loss_behind_high", "score_behind", "score_behind_low"),
    *("score_behind_high", "ms_per_photo", "megabytes", "size_px", "stages", "is_recommended", "error"),
)
"""Columns of the CSV."""


@dataclass(frozen=True)
class ComparedBackbone:
    """One row of ``hs.recommend``. Intervals are 95 % confidence intervals.

    Attributes:
        backbone: Name to use for training.
        score: Cross-validated main score of the task, such as the accuracy (0..1) of a solved head.
        score_interval: Its interval.
        loss: Cross-validated loss, by which backbones are sorted.
        loss_interval: Its interval.
        loss_behind: Loss minus that of the best backbone on the same photos; 0 for the best.
        loss_behind_interval: Its interval, of paired differences; backbones whose interval contains 0 do not
            differ from the best by more than chance.
        score_behind, score_behind_interval: The same for the main score.
        ms_per_photo: Median milliseconds from the bytes of a photo to its prediction, on this machine.
        megabytes: Size of the model file, in 10⁶ bytes.
        size_px: Size of the input.
        stages: Stages before the last one that the head reads.
    """

    backbone: str
    score: float
    score_interval: Interval
    loss: float
    loss_interval: Interval
    loss_behind: float
    loss_behind_interval: Interval
    score_behind: float
    score_behind_interval: Interval
    ms_per_photo: float
    megabytes: float
    size_px: int
    stages: tuple[str, ...]

    @property
    def is_as_good(self) -> bool:
        """Whether its loss does not differ from that of the best backbone by more than chance."""
        return self.loss_behind_interval[0] <= 0


class Recommendation(Sequence[ComparedBackbone]):
    """Backbones by loss, the best first. It is shown as a table with advice.

    Attributes:
        metric: Name of the main score, such as ``"accuracy"``.
        num_photos: Number of photos that were scored.
        failed: Reason for each backbone that could not be compared, by its name.
        unreadable: Path and reason of each photo that could not be used.
        recommended: The fastest backbone whose loss differs from that of the best by no more than chance.
    """

    def __init__(
        self,
        rows: Sequence[ComparedBackbone],
        metric: str,
        num_photos: int,
        failed: Mapping[str, str],
        unreadable: Sequence[tuple[str, str]] = (),
    ) -> None:
        """
        Args:
            rows: At least one, in any order.
            metric: Name of the main score.
            num_photos: Number of photos that were scored.
            failed: Reasons by backbone.
            unreadable: Photos that could not be used.
        """
        self._rows = tuple(sorted(rows, key=lambda row: row.loss))
        self.metric, self.num_photos, self.failed = metric, num_photos, dict(failed)
        self.unreadable = tuple(unreadable)
        as_good = [row for row in self._rows if row.is_as_good]
        self.recommended = min(as_good, key=lambda row: row.ms_per_photo)

    @overload
    def __getitem__(self, key: int) -> ComparedBackbone: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[ComparedBackbone, ...]: ...
    def __getitem__(self, key: int | slice) -> ComparedBackbone | tuple[ComparedBackbone, ...]:
        return self._rows[key]

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        header, *rows = self._table()
        return "\n".join([*table(header, rows), *self._notes(), self.advice])

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        header, *rows = self._table()
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in [*self._notes(), self.advice])
        picture = html_picture(self.svg().encode(), "scores against milliseconds per photo", "svg+xml")
        return f"{html_table(header, rows)}{notes}{picture}"

    @property
    def advice(self) -> str:
        """One sentence on which backbone to use, and why."""
        best, use = self[0], self.recommended
        if len(self) == 1:
            return f"Only {use.backbone} was compared. headstart backbones lists others."
        begin = f"Use {use.backbone}:"
        if use is not best:
            return (
                f"{begin} it takes {use.ms_per_photo:.1f} ms per photo instead of {best.ms_per_photo:.1f}, "
                f"and its loss differs from that of the best, {best.backbone}, by no more than chance: "
                f"{self._behind(use)}."
            )
        faster = [row for row in self if row.ms_per_photo < use.ms_per_photo]
        if not faster:
            return f"{begin} it has the lowest loss and is the fastest."
        return (
            f"{begin} it has the lowest loss, and faster backbones are worse beyond chance. The best of "
            f"them is {faster[0].backbone}: {self._behind(faster[0])}."
        )

    def csv(self) -> str:
        """Return the rows as CSV, backbones that failed last."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, FIELDS, restval="", lineterminator="\n")
        writer.writeheader()
        for row in self:
            values: dict[str, object] = {"backbone": row.backbone, "size_px": row.size_px}
            for name in ("score", "loss", "loss_behind", "score_behind"):
                low, high = getattr(row, f"{name}_interval")
                numbers = {name: getattr(row, name), f"{name}_low": low, f"{name}_high": high}
                values |= {key: f"{number:.6g}" for key, number in numbers.items()}
            values |= {"ms_per_photo": f"{row.ms_per_photo:.3g}", "megabytes": f"{row.megabytes:.1f}"}
            values |= {"stages": "+".join(row.stages), "is_recommended": int(row is self.recommended)}
            writer.writerow(values)
        writer.writerows({"backbone": name, "error": reason} for name, reason in self.failed.items())
        return text.getvalue()

    def svg(self) -> str:
        """Return a picture of the main score against milliseconds per photo, as SVG."""
        marks = [
            Mark(row.backbone, row.ms_per_photo, row.score, row.score_interval, row is self.recommended)
            for row in self
        ]
        return scatter(
            marks,
            y_name=self.metric,
            y_text=lambda value: score_text(self.metric, value),
            is_lower_better=self.metric in LOWER_IS_BETTER,
            title=f"Backbones on {counted(self.num_photos, 'photo')}, cross-validated",
        )

    def _table(self) -> Iterator[list[str]]:
        yield ["backbone", self.metric, "95 %", "loss", "95 %", "ms/photo", "MB", "input"]
        for row in self:
            yield [
                row.backbone,
                score_text(self.metric, row.score),
                "–".join(score_text(self.metric, end) for end in row.score_interval),
                f"{row.loss:.3f}",
                "–".join(f"{end:.3f}" for end in row.loss_interval),
                f"{row.ms_per_photo:.1f}",
                f"{row.megabytes:.0f}",
                f"{row.size_px} px",
            ]

    def _notes(self) -> Iterator[str]:
        yield (
            f"{counted(self.num_photos, 'photo')}, cross-validated. Times are for one photo at a time on "
            f"this machine."
        )
        for name, reason in self.failed.items():
            yield f"{name} was not compared: {reason}"

    def _behind(self, row: ComparedBackbone) -> str:
        loss, (low, high) = row.loss_behind, row.loss_behind_interval
        score = score_text(self.metric, row.score_behind)
        ends = " to ".join(score_text(self.metric, end) for end in row.score_behind_interval)
        return (
            f"loss {loss:+.3f} (95 % interval {low:+.3f} to {high:+.3f}), {self.metric} "
            f"{'' if row.score_behind < 0 else '+'}{score} ({ends})"
        )


def compared(measured: Sequence[Measured], times: Sequence[float], task: Task) -> list[ComparedBackbone]:
    """Compare at least one backbone; the best is the one with the lowest loss.

    Args:
        measured: Scores on the same photos.
        times: Milliseconds per photo of each.
        task: The task.
    """
    best = min(measured, key=lambda each: float(each.losses.mean()))
    return [
        _compared(each, best, ms_per_photo, is_proportion=task.has_class)
        for each, ms_per_photo in zip(measured, times, strict=True)
    ]


def _compared(
    this: Measured, best: Measured, ms_per_photo: float, *, is_proportion: bool
) -> ComparedBackbone:
    units = this.units
    losses, scores = this.losses - best.losses, this.scores.astype(float) - best.scores
    if is_proportion:
        score_interval = of_proportion(this.scores, units)
        behind_interval = of_paired_proportions(scores, units)
    else:
        score_interval, behind_interval = over_units(this.scores, units), over_units(scores, units)
    if this is best:
        behind_interval = 0.0, 0.0
    return ComparedBackbone(
        this.name,
        float(this.scores.mean()),
        score_interval,
        float(this.losses.mean()),
        over_units(this.losses, units),
        float(losses.mean()),
        over_units(losses, units),
        float(scores.mean()),
        behind_interval,
        ms_per_photo,
        this.megabytes,
        this.size_px,
        this.stages,
    )
