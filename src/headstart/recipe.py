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
    """What a recipe may know: nothing that depends on the machine.

    Attributes:
        num_train: Training photos, as far as can be told before they are read.
        head_inputs: Inputs of the head if it is one linear layer that can be solved, else None.
        task: What is predicted.
    """

    num_train: int
    head_inputs: int | None
    task: str = "classification"


EXACT_LIMIT_BYTES = 256 * 2**20
"""Above this many bytes of features (photos × views × inputs × 4), a head is trained in steps, not solved."""


def complete(config: TrainConfig, facts: Facts) -> TrainConfig:
    """Fill in the phases that the recipe stands for, unless the user wrote them."""
    if config.phases:
        return config
    return dataclasses.replace(config, phases=_RECIPES[config.recipe](config, facts))


def _probe(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """The head alone: solved where it can be, which was better than Adam on five of eight comparisons."""
    if facts.head_inputs is not None and facts.num_train * facts.head_inputs * 4 <= EXACT_LIMIT_BYTES:
        return (PhaseConfig("probe", "head", epochs=1, optimizer="exact"),)
    if facts.task == "box":
        # Without views and weight decay the head learns a hundred photos by heart.
        return (
            PhaseConfig(
                "probe",
                "head",
                epochs=min(30, max(10, round(400 / _steps_per_epoch(config, facts)))),
                augment="light",
                views=2,
                optimizer="adamw",
                head_lr=1e-3,
                weight_decay=0.05,
                schedule="cosine",
            ),
        )
    # Enough steps for a linear head to converge, about 800.
    epochs = min(40, max(10, round(800 / _steps_per_epoch(config, facts))))
    return (PhaseConfig("probe", "head", epochs, optimizer="adam", head_lr=3e-3, schedule="cosine"),)


def _finetune(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Head first, then the last stage: a head that knows nothing would send it the wrong way.

    Source: Kumar et al. 2022, arXiv 2202.10054.
    """
    return (*_probe(config, facts), _fine("finetune", 1, 2e-4, config, facts))


def _full(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    return (*_probe(config, facts), _fine("full", "all", 5e-5, config, facts))


def _fine(name: str, unfreeze: str | int, lr: float, config: TrainConfig, facts: Facts) -> PhaseConfig:
    """About a hundred steps, norms frozen; then mixtures with the probe, which matter most with few photos.

    Three epochs were as good as six with 900 photos; ten were better than six with 87, and twenty worse.
    Boxes are found better when they have been seen in other places: 0.77 mean IoU, 0.75 with flips alone.
    Numbers and boxes ask more of the last stage than classes do: 300 steps, for numbers at five times the
    rate, halved their error.
    """
    is_box = facts.task == "box"
    steps, most_epochs = {"box": (300, 12), "regression": (300, 20)}.get(facts.task, (100, 10))
    return PhaseConfig(
        name,
        unfreeze,
        epochs=min(most_epochs, max(3, round(steps / _steps_per_epoch(config, facts)))),
        augment="light" if is_box else "none",
        optimizer="adamw",
        head_lr=lr * {"box": 1.5, "regression": 5}.get(facts.task, 1),
        weight_decay=0.05 if is_box else 0.01,
        schedule="one-cycle",
        wise_ft=True,
    )


def _steps_per_epoch(config: TrainConfig, facts: Facts) -> int:
    return max(1, math.ceil(facts.num_train / config.batch_size))


def _classic(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """The study notes' own: Adam at 1e-3 on the head, then everything at 1e-4, StepLR(7, 0.9)."""
    step: dict[str, Any] = {"schedule": "step", "step_epochs": 7, "gamma": 0.9}
    return (
        PhaseConfig("head", "head", 10, optimizer="adam", head_lr=1e-3, **step),
        PhaseConfig("all", "all", 10, optimizer="adam", head_lr=1e-4, **step),
    )


_RECIPES = {"probe": _probe, "finetune": _finetune, "full": _full, "classic": _classic}
