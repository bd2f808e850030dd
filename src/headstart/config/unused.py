"""Finds settings that have no effect in a run, so that the user can be warned."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from headstart.config.checking import Need, settings_of
from headstart.config.settings import ADJUSTING, TrainConfig

_LACKING: Final[dict[Need, str]] = {
    "steps": "a head that is solved takes no training steps",
    "boxes": "no boxes are predicted",
    "split": "the data bring their own validation photos",
    "test": "the data bring their own test photos",
}


def unused_settings(config: TrainConfig, lacking: Set[Need]) -> list[str]:
    """Return a warning for each setting that the user has changed and that has no effect in the run.

    Args:
        config: The settings as the user gave them.
        lacking: Needs that the run does not fulfil: see ``Setting.needs``.
    """
    notes = []
    for name, about in settings_of(config).items():
        need, value = about.needs, getattr(config, name)
        brings_photos = need == "split" and isinstance(value, str)
        adjusts_head = name == "select" and value in ADJUSTING
        has_effect = brings_photos or adjusts_head
        if need is not None and need in lacking and value != getattr(TrainConfig, name) and not has_effect:
            notes.append(f"Warning: {name} is {value!r}, which has no effect in this run: {_LACKING[need]}.")
    return notes
