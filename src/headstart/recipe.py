"""Computes the phases of a recipe from facts about the data, with pure functions.

The measurements behind the numbers, and the commands to repeat them, are in docs/measurements.md.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from headstart import tasks
from headstart.config import PhaseConfig, TrainConfig
from headstart.errors import ConfigError

if TYPE_CHECKING:
    from headstart.config.operations import Operation


@dataclass(frozen=True)
class Facts:
    """Facts that a recipe may depend on. None of them depends on the machine.

    Attributes:
        num_train: Number of training photos, estimated before they are read.
        head_inputs: Number of inputs of the head if it is one linear layer that can be solved, else None.
        task: Name of the task.
        num_classes: Number of outputs of the head.
        keeps_label: Whether a mirrored photo keeps its label.
        takes_map: Whether the input of the last stage is a map, with a height and a width.
    """

    num_train: int
    head_inputs: int | None
    task: str = "classification"
    num_classes: int = 2
    keeps_label: bool = True
    takes_map: bool = False


EXACT_LIMIT_BYTES = 1024 * 2**20
"""If solving a head takes more memory than this, its rows are in a file. If it takes more even then, a recipe
trains the head in steps instead."""

SOME_ROWS_BYTES = 384 * 2**20
"""Memory for the rows that choose the penalty if all rows are more than that."""


def solving_bytes(num_rows: int, num_inputs: int, num_classes: int) -> int:
    """Estimate the memory for solving a linear head in memory: an upper limit in bytes, with the features.

    Args:
        num_rows: N, number of photos × views.
        num_inputs: D, number of features per row.
        num_classes: K, number of outputs.
    """
    features = 4 * num_rows * num_inputs
    axes = min(num_rows, num_inputs)  # R, what the features are rotated to
    rotated = 4 * num_rows * axes
    vectors = 8 * axes * axes
    head = 8 * (axes + 1) * num_classes
    folds = 3 * (5 * head // 2)  # their solutions, float32: the best, the latest and the next
    answers = 2 * 4 * num_rows * num_classes  # out-of-fold outputs
    # L-BFGS remembers twice as many vectors as it has corrections, 3 at least, and works with a few more.
    solving = max(2 * head * 3, min(rotated, 2 * head * 10)) + 12 * head + max(rotated, 2**23) + 2**26
    return features + max(5 * vectors, rotated + vectors + folds + answers + solving)


def solving_bytes_from_file(num_rows: int, num_inputs: int, num_classes: int) -> int:
    """Estimate the memory for solving a linear head whose rows are in a file: see ``solving_bytes``."""
    vectors = 8 * num_inputs * num_inputs
    head = 8 * (num_inputs + 1) * num_classes
    places = 8 * 20 * num_rows  # while folds are dealt; a quarter of it afterwards
    answers = 6 * 4 * num_rows * num_classes  # out of fold and of all rows, with copies in several orders
    solving = max(2 * head * 3, min(SOME_ROWS_BYTES, 2 * head * 10)) + 12 * head + 2**26
    later = places // 4 + SOME_ROWS_BYTES + vectors + 15 * head // 2 + answers + solving
    return max(5 * vectors, places, later)


def has_rows_in_file(num_rows: int, num_inputs: int, num_classes: int) -> bool:
    """Return whether a head is solved from a file: arguments are those of ``solving_bytes``."""
    return num_rows >= num_inputs and solving_bytes(num_rows, num_inputs, num_classes) > EXACT_LIMIT_BYTES


def can_be_solved(num_rows: int, num_inputs: int, num_classes: int) -> bool:
    """Return whether recipes solve a linear head: arguments are those of ``solving_bytes``."""
    shape = num_rows, num_inputs, num_classes
    estimate = solving_bytes_from_file if has_rows_in_file(*shape) else solving_bytes
    return estimate(*shape) <= EXACT_LIMIT_BYTES


def last_stage_alone(num_bytes: int) -> str:
    """Return the sentence for a head that may not read earlier stages, because of the memory.

    Args:
        num_bytes: What solving a head that reads them would take.
    """
    return (
        f"The head reads the last stage alone: solving a head that also reads earlier stages would take "
        f"about {num_bytes / 1e9:.1f} GB of memory"
    )


NOT_ONE_RUN: Final = (
    "recipe is 'best', which makes several runs and decides each by the one before, so its phases are not "
    "known in advance. Name a recipe of one run: probe, finetune or deep."
)


def complete(config: TrainConfig, facts: Facts) -> TrainConfig:
    """Return the settings with the phases of their recipe, unless the user has given phases."""
    if config.phases:
        return config
    if config.recipe == "best":
        raise ConfigError([NOT_ONE_RUN])
    return dataclasses.replace(config, phases=_RECIPES[config.recipe](config, facts))


def _probe(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Return a phase that trains only the head. Solving it beat Adam in five of eight comparisons."""
    if facts.head_inputs is not None and can_be_solved(facts.num_train, facts.head_inputs, facts.num_classes):
        return (PhaseConfig("probe", "head", epochs=1, optimizer="exact"),)
    if tasks.of(facts.task).has_box:
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
    return _probe_in_steps(config, facts)


def _probe_in_steps(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Return a phase of about 800 steps, enough for a linear head to converge."""
    epochs = min(40, max(10, round(800 / _steps_per_epoch(config, facts))))
    return (PhaseConfig("probe", "head", epochs, optimizer="adam", head_lr=3e-3, schedule="cosine"),)


def _first(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Return the phase of the head that fine-tuning begins with.

    Heads for numbers and for several labels are trained in steps here. Over three seeds, fine-tuning reached
    an error of 6.4 degrees for angles after Adam and 7.3 after solving; labels showed no clear difference.
    """
    return (_probe if tasks.of(facts.task).fine_tuning.solves_first else _probe_in_steps)(config, facts)


def _finetune(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Train the head first, then the last stage too. An untrained head would distort the pretrained features.

    Source: Kumar et al. 2022, arXiv 2202.10054.
    """
    fine = _fine("finetune", 1, 2e-4, config, facts)
    return (*_first(config, facts), _averaged(fine, config, facts))


def _averaged(fine: PhaseConfig, config: TrainConfig, facts: Facts) -> PhaseConfig:
    """For classes, train for about 130 steps with an average of the weights, at 3e-4, on mirrored maps.

    Without the average, validation accuracy falls in the first epochs. Other tasks have not been measured.
    """
    if not tasks.of(facts.task).has_class:
        return fine
    epochs = min(10, max(4, round(130 / _steps_per_epoch(config, facts))))
    return dataclasses.replace(
        fine, epochs=epochs, head_lr=3e-4, ema=0.98, mirror=facts.keeps_label and facts.takes_map
    )


def _deep(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Train the last two stages for twice the epochs of ``_finetune``, for classes on augmented photos."""
    fine = _fine("deep", 2, 2e-4, config, facts)
    if fine.augment == "none" and (tasks.of(facts.task).has_class or tasks.of(facts.task).has_labels):
        fine = dataclasses.replace(fine, augment=_light(facts), views=4)
    fine = dataclasses.replace(_averaged(fine, config, facts), layer_decay=0.5, mirror=False)
    return (*_first(config, facts), dataclasses.replace(fine, epochs=2 * fine.epochs))


def _light(facts: Facts) -> str | tuple[Operation, ...]:
    """Return the preset ``light``, without its flip if that changes labels."""
    if facts.keeps_label:
        return "light"
    from headstart.config.operations import operations_of  # which the command line need not import

    return tuple(each for each in operations_of("light") if each.op != "horizontal-flip")


def _full(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    return (*_first(config, facts), _fine("full", "all", 5e-5, config, facts))


def _fine(name: str, unfreeze: str | int, lr: float, config: TrainConfig, facts: Facts) -> PhaseConfig:
    """Return a phase of about 100 steps with frozen norms and WiSE-FT, which matters most with few photos.

    Numbers and boxes need more: 300 steps, for numbers at five times the learning rate, halved the error.
    """
    how = tasks.of(facts.task).fine_tuning
    return PhaseConfig(
        name,
        unfreeze,
        epochs=min(how.most_epochs, max(3, round(how.steps / _steps_per_epoch(config, facts)))),
        augment=how.augment,
        optimizer="adamw",
        head_lr=lr * how.lr_factor,
        weight_decay=how.weight_decay,
        schedule="one-cycle",
        wise_ft=True,
    )


def _steps_per_epoch(config: TrainConfig, facts: Facts) -> int:
    return max(1, math.ceil(facts.num_train / config.batch_size))


def _classic(config: TrainConfig, facts: Facts) -> tuple[PhaseConfig, ...]:
    """Return the textbook recipe: Adam at 1e-3 for the head, then 1e-4 for all stages, StepLR(7, 0.9)."""
    step: dict[str, Any] = {"schedule": "step", "step_epochs": 7, "gamma": 0.9}
    return (
        PhaseConfig("head", "head", 10, optimizer="adam", head_lr=1e-3, **step),
        PhaseConfig("all", "all", 10, optimizer="adam", head_lr=1e-4, **step),
    )


# What "auto" stands for is decided before, by what is installed: see training/choose.py.
_RECIPES = {
    "auto": _finetune,
    "probe": _probe,
    "finetune": _finetune,
    "deep": _deep,
    "full": _full,
    "classic": _classic,
}
