"""The settings of one phase of training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from headstart.config.checking import check_fields, setting, settings_of
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
    """One phase of training: which stages are trained, for how many epochs, and at which learning rates.

    Each value is checked when a phase is created. ``TrainConfig`` checks combinations of values.

    Raises:
        ConfigError: One or more values are wrong; the message lists all of them, with what is allowed.
    """

    name: str = setting("phase", "name of the phase in history.csv and metrics.json")
    unfreeze: str | int = setting(
        "head", "first trained stage: its name, a number of last stages (0: only the head), or 'all'"
    )
    epochs: int = setting(10, "passes over the training photos", at_least=1)
    augment: str | tuple[Operation, ...] = setting(
        "none",
        "augmentation of training photos: none, light, medium, strong, or a list of operations",
        check=_check_augment,
    )
    views: int = setting(
        0,
        "number of augmented versions of each photo, used in turn; 0: a new version in each epoch",
        at_least=0,
    )

    optimizer: str = setting(
        "adam",
        "exact solves a linear head without gradient steps, as L2 logistic or ridge regression",
        choices=("adam", "adamw", "sgd", "exact"),
    )
    momentum: float = _of_steps(0.9, "momentum of sgd", at_least=0, below=1)
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
        0.0, "decoupled for adamw, L2 for adam and sgd; not applied to biases and norms", at_least=0
    )
    clip_norm: float | None = _of_steps(None, "gradients are clipped to this norm", above=0)
    accumulate: int = _of_steps(1, "batches per step of the optimiser", at_least=1)

    schedule: str = _of_steps(
        "constant",
        "learning-rate schedule: step, multistep and exponential change it between epochs, the others in "
        "each step",
        choices=("constant", "step", "multistep", "exponential", "cosine", "one-cycle"),
    )
    step_epochs: int = _of_steps(7, "schedule step: epochs between changes of the learning rate", at_least=1)
    milestones: tuple[int, ...] = setting(
        (), "schedule multistep: epochs after which the learning rate changes", above=0
    )
    gamma: float = _of_steps(
        0.9, "schedules step, multistep, exponential: factor of each change", above=0, at_most=1
    )
    warmup_epochs: float = _of_steps(
        0.0, "epochs during which the learning rate rises linearly from 0", at_least=0
    )

    norm: str = setting(
        "frozen",
        "statistics of pretrained batch norms in the trained stages: frozen, or updated from the batches "
        "(train); new batch norms always update theirs",
        choices=("frozen", "train"),
    )
    label_smoothing: float = _of_steps(
        0.0, "fraction of each target that is spread over all classes", at_least=0, below=1
    )
    class_weights: str = _of_steps(
        "none", "balanced: photos of rare classes have more weight in the loss", choices=("none", "balanced")
    )
    sampling: str = _of_steps(
        "shuffled",
        "shuffled: each photo once per epoch; balanced: each class equally often, repeating photos of rare "
        "classes",
        choices=("shuffled", "balanced"),
    )
    mixup: float = _of_steps(
        0.0, "weight of a second photo is drawn from Beta(alpha, alpha); this is alpha", at_least=0
    )
    cutmix: float = _of_steps(
        0.0, "area from a second photo is drawn from Beta(alpha, alpha); this is alpha", at_least=0
    )

    mirror: bool = _of_steps(
        False,
        "mirror each input of the trained stages with probability 0.5, anew in every epoch; stored feature "
        "maps are mirrored directly, so the frozen stages need no extra pass",
    )
    ema: float | None = _of_steps(
        None,
        "decay per step of an exponential moving average of the weights, which is scored and kept",
        above=0,
        below=1,
    )
    patience: int | None = _of_steps(
        None, "early stopping: number of epochs without improvement after which the phase ends", at_least=1
    )
    wise_ft: bool = _of_steps(
        False, "try averages of the weights before and after the phase; keep the best on validation photos"
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
        """Return the settings as a recipe file has them; ``views`` only if it differs from its default."""
        table = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.views == self._default_views():
            del table["views"]
        return table


def of_last_phase(name: str, section: str) -> Any:
    """Return a setting of the run that sets one of its last phase.

    Args:
        name: Name of the phase's setting.
        section: Its heading in the help.
    """
    about = settings_of(PhaseConfig)[name]
    text = f"{about.text}, in the last phase; not for a solved probe, which takes no steps"
    about = dataclasses.replace(about, text=text, shown="the recipe's", metavar="NUMBER", section=section)
    return dataclasses.field(default=None, metadata={"setting": about})
