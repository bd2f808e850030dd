"""The groups that a model was trained on, and scores for photos of other groups.

A model that recognises the groups of its training photos, such as plants or cameras, scores better on them
than on others.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Final

import numpy as np

from headstart import tasks
from headstart.answers.scores import summary_of
from headstart.answers.table import Answers
from headstart.columns import counted, score_text
from headstart.inference.model_file import ModelInfo
from headstart.records import Record

MOST_KNOWN: Final = 1000
"""If the training photos have more groups, the model file contains only their number."""

_DIGITS: Final = 16


def with_groups(info: ModelInfo, photos: Iterable[Record]) -> ModelInfo:
    """Add the groups of the training photos to the description of a model, as digests of their names."""
    names = {photo.group for photo in photos if photo.group is not None}
    digests = sorted(map(_digest, names)) if len(names) <= MOST_KNOWN else []
    return dataclasses.replace(info, groups=tuple(digests), num_groups=len(names))


def note_on_groups(answers: Answers, info: ModelInfo, kind: str = "photo") -> str:
    """Return how many photos are from groups that training has not seen, with the main score on both kinds.

    Args:
        answers: At least one row.
        info: Description of the model.
        kind: What the rows are, in the singular.

    Returns:
        A sentence; empty if the photos have no groups, or the model was trained without groups.
    """
    if not info.num_groups or not all(answers.group):
        return ""
    if not info.groups:
        return (
            f"The model was trained on {info.num_groups:,} groups, too many for the model file to name, so "
            f"photos from other groups are not scored apart."
        )
    known = {group: _digest(group) in info.groups for group in set(answers.group)}
    is_seen = np.array([known[group] for group in answers.group])
    num_unseen = int((~is_seen).sum())
    text = f"{num_unseen} of {counted(len(answers), kind)} are from groups that were not in training"
    if num_unseen == 0:
        return f"{text}; scores on other groups may be lower."
    if num_unseen == len(answers):
        return f"{text}."
    on_unseen, on_seen = (_score(answers[rows], info) for rows in (~is_seen, is_seen))
    return f"{text}: {on_unseen} on them, {on_seen} on the others."


def _digest(group: str) -> str:
    return hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def _score(answers: Answers, info: ModelInfo) -> str:
    name = tasks.of(info.task).metrics[0]
    return f"{name} {score_text(name, summary_of(answers, info)[name], 4)}"
