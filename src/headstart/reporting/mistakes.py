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
from headstart.reporting.heat_maps import HeatMaps
from headstart.reporting.markup import Html, element, named, paragraph, section
from headstart.reporting.pictures import Pictures
from headstart.reporting.similar import SimilarPhotos
from headstart.reporting.words import Answered, answered

_MOST: Final = 24
_MOST_SCORED: Final = 16  # of the photos that the score is computed from, if others are wrong too
_MOST_OTHERS: Final = 12
_MOST_OF_A_PATH: Final = 120  # characters


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
        num_others = min(len(others), _MOST_OTHERS, _MOST - min(len(rows), _MOST_SCORED))
        chosen = [contents.scored[rows[: _MOST - num_others]], others[np.arange(num_others)]]
        return cls(tuple(answered(Answers.concatenate(chosen), contents.info)), len(rows))

    @property
    def paths_of_file(self) -> tuple[str, ...]:
        """Paths of those that the model file has answered; out of fold, other heads have."""
        return tuple(each.path for each in self.shown if each.source != "out-of-fold")

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the photos that are shown."""
        return tuple(each.path for each in self.shown)


def section_of_mistakes(
    mistakes: Mistakes,
    contents: Contents,
    pictures: Pictures,
    heat_maps: HeatMaps,
    similar: SimilarPhotos,
) -> Html:
    """Return the section about the photos that the model gets wrong."""
    task, photos = tasks.of(contents.info.task), counted(len(contents.scored), f"{contents.kind} photo")
    by_source: dict[str, list[Answered]] = {contents.scored.source[0]: []}
    for each in mistakes.shown:
        by_source.setdefault(each.source, []).append(each)
    (_, scored), *others = by_source.items()
    brackets = "" if task.has_numbers or task.has_box else "Numbers in brackets are predicted probabilities. "
    heading, words = (
        "What the model gets wrong",
        f"{mistakes.num_scored:,} of {photos} are answered wrongly. ",
    )
    if task.has_numbers or task.has_box:
        heading, words = "Largest errors", f"The {len(scored):,} of {photos} with the largest loss. "
        words += "Solid blue: the label. Dashed orange: the prediction. " if task.has_box else ""
    elif not scored:
        words = f"All {photos} are answered correctly. "
    else:
        words += brackets
        if len(scored) < mistakes.num_scored:
            words += (
                f"Shown are the {len(scored):,} with the largest loss; answers.csv in the run folder has all."
            )
    return section(
        heading,
        paragraph(words + heat_maps.sentence),
        _cards(scored, contents, pictures, heat_maps, similar),
        [
            [
                element("h3", f"{contents.kind_of(source)} photos".capitalize()),
                paragraph(f"These were answered by models that were trained without them. {brackets}")
                if source in ("out-of-fold", "folds")
                else None,
                _cards(of_source, contents, pictures, heat_maps, similar),
            ]
            for source, of_source in others
        ],
    )


def _cards(
    shown: Sequence[Answered],
    contents: Contents,
    pictures: Pictures,
    heat_maps: HeatMaps,
    similar: SimilarPhotos,
) -> Html | None:
    if not shown:
        return None
    cards = [_card(each, contents, pictures, heat_maps, similar) for each in shown]
    return element("div", cards, class_="cards")


def _card(
    each: Answered, contents: Contents, pictures: Pictures, heat_maps: HeatMaps, similar: SimilarPhotos
) -> Html:
    """Return one photo with its label, prediction and heat map, and similar training photos."""
    path = contents.shown(each.path)
    return element(
        "figure",
        heat_maps.beside(each, pictures.show(each.path, f"Photo {path}", each.boxes)),
        element(
            "figcaption",
            element("div", named(path, _MOST_OF_A_PATH), class_="path"),
            [element("div", f"{title}: ", element("b", text)) for title, text in each.words],
            similar.show(each.path, contents),
        ),
    )
