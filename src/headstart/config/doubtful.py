"""Finds numbers that are allowed and surely not meant, so that the user is warned before training."""

from __future__ import annotations

from collections.abc import Iterator, Set
from typing import Final

from headstart.config.checking import Need
from headstart.config.phase import PhaseConfig
from headstart.config.settings import TrainConfig

_LEAST_PX: Final = 24  # below the 28 of handwritten digits
_MOST_EPOCHS: Final = 1000
_LARGEST_LR: Final = {"adam": 0.1, "adamw": 0.1, "sgd": 1.0}
_USUAL_LR: Final = {"adam": "0.00001 to 0.01", "adamw": "0.00001 to 0.01", "sgd": "0.001 to 0.1"}
_MOST_HELD_OUT: Final = 0.5


def doubtful_settings(config: TrainConfig, num_train: int, lacking: Set[Need]) -> list[str]:
    """Return a warning for each number that is hardly meant.

    Args:
        config: Settings with their phases filled in.
        num_train: Number of training photos, about.
        lacking: Needs that the run does not fulfil, as for ``unused_settings``.
    """
    return [f"Warning: {each}" for each in _doubts(config, num_train, lacking)]


def _doubts(config: TrainConfig, num_train: int, lacking: Set[Need]) -> Iterator[str]:
    if config.size_px is not None and config.size_px < _LEAST_PX:
        yield (
            f"size_px is {config.size_px}, so the network sees photos of {config.size_px} × {config.size_px} "
            "pixels, on which hardly anything can be recognised. Usual are 128 to 512."
        )
    val = 0.0 if "split" in lacking or config.folds is not None else config.val_fraction
    test = 0.0 if "test" in lacking else config.test
    if val + test > _MOST_HELD_OUT:
        names = " and ".join(
            f"{name} is {value:g}" for name, value in (("val", val), ("test", test)) if value
        )
        yield (
            f"{names}, which leaves {1 - val - test:.0%} of the photos for training. Usual are 0.1 to 0.3."
        )
    for phase in config.phases:
        yield from _doubts_about(phase)
    trains_in_steps = any(phase.optimizer != "exact" for phase in config.phases)
    is_chosen = config.batch_size != TrainConfig.batch_size
    if is_chosen and trains_in_steps and config.batch_size > num_train:
        yield (
            f"batch_size is {config.batch_size:,}, and there are about {num_train:,} training photos, so an "
            "epoch is a single step. Usual are 16 to 128."
        )


def _doubts_about(phase: PhaseConfig) -> Iterator[str]:
    if phase.epochs > _MOST_EPOCHS:
        yield (
            f"phase {phase.name} has {phase.epochs:,} epochs. Pretrained networks usually take 5 to 100; "
            "patience ends a phase that no longer improves."
        )
    largest = _LARGEST_LR.get(phase.optimizer)
    for name in ("head_lr", "backbone_lr"):
        value = getattr(phase, name)
        if largest is not None and value is not None and value > largest:
            yield (
                f"phase {phase.name}: {name} is {value:g}, with which training will hardly converge. Usual "
                f"for {phase.optimizer} are {_USUAL_LR[phase.optimizer]}; headstart lr-find DATA measures it."
            )
