"""Facts about the data in, phases out: pure functions.

The measurements behind the numbers, and the commands that repeat them, are in docs/measurements.md.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from headstart.config import PhaseConfig, TrainConfig


@dataclass(frozen=True)
class Facts:
    """What a recipe may know.

    Attributes:
        num_train: Training photos.
        num_classes: Classes.
    """

    num_train: int
    num_classes: int


def complete(config: TrainConfig, facts: Facts) -> TrainConfig:
    """Fill in the phases that the recipe stands for, unless the user wrote them."""
    if config.phases:
        return config
    return dataclasses.replace(config, phases=_RECIPES[config.recipe](config, facts))


def _head_epochs(config: TrainConfig, facts: Facts) -> int:
    """Enough steps for a linear head to converge, about 800, in 10 to 40 epochs."""
    steps_per_epoch = math.ceil(facts.num_train / config.batch_size)
    return min(40, max(10, round(800 / steps_per_epoch)))


def _probe(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    epochs = _head_epochs(config, facts)
    return (PhaseConfig("probe", "head", epochs, optimizer="adam", lr=3e-3, schedule="cosine"),)


def _finetune(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Head first, then the last stages: the head's first random gradients would spoil what is pretrained.

    Source: Kumar et al. 2022, arXiv 2202.10054.
    """
    return (*_probe(config, facts), _fine("finetune", 1))


def _full(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    return (*_probe(config, facts), _fine("full", "all"))


def _fine(name: str, unfreeze: str | int) -> PhaseConfig:
    return PhaseConfig(name, unfreeze, 6, optimizer="adamw", lr=1e-4, weight_decay=0.01, schedule="cosine")


def _classic(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """The study notes' own: Adam at 1e-3 on the head, then everything at 1e-4, StepLR(7, 0.9)."""
    step: dict[str, Any] = {"schedule": "step", "step_epochs": 7, "gamma": 0.9}
    return (
        PhaseConfig("head", "head", 10, optimizer="adam", lr=1e-3, **step),
        PhaseConfig("all", "all", 10, optimizer="adam", lr=1e-4, **step),
    )


_RECIPES = {"probe": _probe, "finetune": _finetune, "full": _full, "classic": _classic}
