"""What the model gets wrong, as pictures, the worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from headstart import tasks
from headstart.answers.table import Answers
from headstart.columns import counted
from headstart.reporting.contents import Contents, worst_first
from headstart.reporting.markup import Html, element, named, paragraph, section
from headstart.reporting.pictures import Pictures
from headstart.reporting.words import Answered, answered

_MOST: Final = 24
_MOST_SCORED: Final = 16  # of the photos that the score is computed from, if others are wrong too


@dataclass(frozen=True)
class Mistakes:
    """Photos with a wrong answer.

    Attributes:
        shown: Those that are shown, the worst first; of the scored photos before others.
        num_scored: Number of the wrong answers among the scored photos.
    """

    shown: tuple[Answered, ...]
    num_scored: int

    @classmethod
    def of(cls, contents: Contents) -> Mistakes:
        """Choose the mistakes to show."""
        rows = worst_first(contents.scored)
        others = contents.others
        num_others = min(len(others), _MOST - min(len(rows), _MOST_SCORED))
        chosen = [contents.scored[rows[: _MOST - num_others]], others[np.arange(num_others)]]
        return cls(tuple(answered(Answers.concatenate(chosen), contents.info)), len(rows))

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the photos that are shown."""
        return tuple(each.path for each in self.shown)


def section_of_mistakes(mistakes: Mistakes, contents: Contents, pictures: Pictures) -> Html:
    """Return the section about the photos that the model gets wrong."""
    task, num = tasks.of(contents.info.task), len(contents.scored)
    is_exact = not (task.has_numbers or task.has_box)
    if is_exact:
        whole = f"{mistakes.num_scored:,} of {counted(num, f'{contents.kind} photo')} are answered wrongly."
        values = "Numbers in brackets are predicted probabilities. " if mistakes.shown else ""
    else:
        whole, values = "The photos with the largest loss.", ""
    scored = [each for each in mistakes.shown if each.source == contents.scored.source[0]]
    others = [each for each in mistakes.shown if each.source != contents.scored.source[0]]
    if len(scored) < mistakes.num_scored:
        values += f"The {len(scored):,} with the largest loss are shown; answers.csv has all."
    blocks = [paragraph(f"{whole} {values}".strip()), _cards(scored, contents, pictures)]
    if others:
        blocks += [
            element("h3", "Other photos"),
            paragraph(
                "Training photos, answered by a model that was trained without them, and validation photos, "
                "if there are test photos."
            ),
            _cards(others, contents, pictures),
        ]
    return section("What the model gets wrong" if is_exact else "Largest errors", blocks)


def _cards(shown: Sequence[Answered], contents: Contents, pictures: Pictures) -> Html | None:
    if not shown:
        return None
    return element("div", [_card(each, contents, pictures) for each in shown], class_="cards")


def _card(each: Answered, contents: Contents, pictures: Pictures) -> Html:
    """Return one photo with its label and prediction."""
    path = contents.shown(each.path)
    words = f"Photo {path}"
    return element(
        "figure",
        pictures.show(each.path, words, each.boxes),
        element(
            "figcaption",
            element("div", named(path), class_="path"),
            element("div", "Label: ", element("b", named(each.label))),
            element("div", "Predicted: ", element("b", named(each.prediction))),
        ),
    )
