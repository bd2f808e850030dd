"""Warns about settings that have no effect in a run, and about numbers that are hardly meant."""

from __future__ import annotations

from collections.abc import Callable

from headstart import tasks
from headstart.config import Need, TrainConfig, doubtful_settings, unused_settings
from headstart.data.split import given_splits
from headstart.records import Listing


def warn_about_settings(
    config: TrainConfig,
    listing: Listing,
    num_train: int,
    say: Callable[[str], object],
    *,
    takes_steps: bool,
) -> None:
    """Warn about settings that have no effect in a run, and about numbers that are hardly meant.

    Args:
        config: The settings, with their phases filled in.
        listing: The photos.
        num_train: Number of training photos, about.
        say: Prints a warning.
        takes_steps: Whether the run trains in gradient steps.
    """
    lacking: set[Need] = set(given_splits(listing))
    if not takes_steps:
        lacking.add("steps")
    if not tasks.of(listing.task).has_box:
        lacking.add("boxes")
    for note in (*unused_settings(config, lacking), *doubtful_settings(config, num_train, lacking)):
        say(note)
