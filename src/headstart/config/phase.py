"""The settings of one phase of training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from headstart.config.checking import check_fields, setting
from headstart.errors import ConfigError

if TYPE_CHECKING:
    from headstart.config.operations import Augment, Operation


def _check_augment(value: Any, where: str, problems: list[str]) -> Augment:
    if value == "none":  # which spares the command line the import
        return "none"
    from headstart.config.augmentation import check_augment

    return check_augment(value, where, problems)


_of_steps = partial(setting, needs="steps")


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training: what is unfrozen, for how long, and how fast.

    Each value is checked when a phase is made; whether values go together is checked by ``TrainConfig``.

    Raises:
        ConfigError: Names every wrong value at once, with what is allowed.
    """

    name: str = setting("phase", "what history.csv and metrics.json call it")
    unfreeze: str | int = setting(
        "head", "first trained stage: its name, a number of last stages (0: the head alone), or 'all'"
    )
    epochs: int = setting(10, "passes over the training photos", at_least=1)
    augment: str | tuple[Operation, ...] = setting(
        "none",
        "how training photos vary: none, light, medium, strong, or a list of operations",
        check=_check_augment,
    )
    views: int = setting(
        0,
        "different augmented versions of each photo, in turns; 0: a new one in each epoch",
        at_least=0,
    )

    optimizer: str = setting(
        "adam",
        "exact solves a linear head as L2 logistic regression, in place of epochs",
        choices=("adam", "adamw", "sgd", "exact"),
    )
    momentum: float = _of_steps(0.9, "of sgd", at_least=0, below=1)
    head_lr: float = _of_steps(1e-3, "largest learning rate of the head", above=0)
    backbone_lr: float | None = setting(
        None, "largest learning rate of the other stages; default: head_lr", above=0
    )
    layer_decay: float = setting(
        1.0,
        "learning-rate multiplier per stage away from the head: 0.5 halves it each time",
        above=0,
        at_most=1,
    )
    weight_decay: float = _of_steps(
        0.0, "decoupled for adamw, L2 for adam and sgd; never of biases and norms", at_least=0
    )
    clip_norm: float | None = _of_steps(None, "largest norm of a step's gradients", above=0)
    accumulate: int = _of_steps(1, "batches per step of the optimiser", at_least=1)

    schedule: str = _of_steps(
        "constant",
        "how the learning rate changes: step, multistep, exponential after epochs, the others in each step",
        choices=("constant", "step", "multistep", "exponential", "cosine", "one-cycle"),
    )
    step_epochs: int = _of_steps(7, "schedule step: every this many epochs ...", at_least=1)
    milestones: tuple[int, ...] = setting((), "schedule multistep: after each of these epochs ...", above=0)
    gamma: float = _of_steps(0.9, "... the learning rate is multiplied by this", above=0, at_most=1)
    warmup_epochs: float = _of_steps(
        0.0, "number of epochs in which the learning rate rises from 0", at_least=0
    )

    norm: str = setting(
        "frozen",
        "pretrained batch norms of the trained stages: frozen, or trained with the batch's statistics; new "
        "ones always learn",
        choices=("frozen", "train"),
    )
    label_smoothing: float = _of_steps(0.0, "share of each target given to all classes", at_least=0, below=1)
    class_weights: str = _of_steps(
        "none", "balanced: a photo counts more the rarer its class", choices=("none", "balanced")
    )
    sampling: str = _of_steps(
        "shuffled",
        "shuffled: each photo once an epoch; balanced: each class as often, rare photos repeated",
        choices=("shuffled", "balanced"),
    )
    mixup: float = _of_steps(0.0, "alpha of Beta(alpha, alpha), the share of a second photo", at_least=0)
    cutmix: float = _of_steps(0.0, "alpha of Beta(alpha, alpha), the area from a second photo", at_least=0)

    ema: float | None = _of_steps(
        None,
        "what is scored and kept is an average of the weights that keeps this much of itself per step",
        above=0,
        below=1,
    )
    patience: int | None = _of_steps(
        None, "the phase ends after this many epochs without improvement", at_least=1
    )
    wise_ft: bool = _of_steps(
        False, "try mixtures of the weights before and after the phase on the validation photos"
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        check_fields(self, problems)
        if problems:
            raise ConfigError(problems)
        if self.optimizer == "exact":  # solved once; further epochs would change nothing
            object.__setattr__(self, "epochs", 1)
        if self.views == 0:
            object.__setattr__(self, "views", self._default_views())

    def _default_views(self) -> int:
        return 1 if self.augment in ("none", ()) else self.epochs

    def to_table(self) -> dict[str, Any]:
        """Return the settings as a recipe file has them; ``views`` only if it is not what it would be."""
        table = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.views == self._default_views():
            del table["views"]
        return table
