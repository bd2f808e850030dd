"""What a training run is told: frozen dataclasses, checked whole, TOML in and out."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import tomllib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args

from headstart.errors import ConfigError, did_you_mean
from headstart.operations import Operation, check_augment

RecipeName = Literal["auto", "probe", "finetune", "full", "classic"]
RECIPES: tuple[str, ...] = get_args(RecipeName)

Need = Literal["steps", "boxes", "split"]
"""What a run may lack: training steps, boxes to learn, photos that it has to split itself."""


def _setting(
    default: Any,
    description: str,
    *,
    choices: tuple[str, ...] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    needs: Need | None = None,
) -> Any:
    """A dataclass field that knows its meaning, its limits and what of a run it has an effect on."""
    limits = {"choices": choices, "at_least": at_least, "above": above, "at_most": at_most, "below": below}
    return field(default=default, metadata={"description": description, "needs": needs, **limits})


@dataclass(frozen=True)
class PhaseConfig:
    """One phase of training: what is unfrozen, for how long, and how fast.

    Each value is checked when a phase is made; whether values go together is checked by ``TrainConfig``.

    Raises:
        ConfigError: Names every wrong value at once, with what is allowed.
    """

    name: str = _setting("phase", "what history.csv and metrics.json call it")
    unfreeze: str | int = _setting(
        "head", "first trained stage: its name, a number of last stages (0: the head alone), or 'all'"
    )
    epochs: int = _setting(10, "passes over the training photos", at_least=1)
    augment: str | tuple[Operation, ...] = _setting(
        "none", "how training photos vary: none, light, medium, strong, or a list of operations"
    )
    views: int = _setting(
        0,
        "different augmented versions of each photo, in turns; 0: a new one in each epoch",
        at_least=0,
    )

    optimizer: str = _setting(
        "adam",
        "exact solves a linear head as L2 logistic regression, in place of epochs",
        choices=("adam", "adamw", "sgd", "exact"),
    )
    momentum: float = _setting(0.9, "of sgd", at_least=0, below=1)
    head_lr: float = _setting(1e-3, "largest learning rate of the head", above=0)
    backbone_lr: float | None = _setting(
        None, "largest learning rate of the other stages; default: head_lr", above=0
    )
    layer_decay: float = _setting(
        1.0,
        "learning-rate multiplier per stage away from the head: 0.5 halves it each time",
        above=0,
        at_most=1,
    )
    weight_decay: float = _setting(
        0.0, "decoupled for adamw, L2 for adam and sgd; never of biases and norms", at_least=0
    )
    clip_norm: float | None = _setting(None, "largest norm of a step's gradients", above=0)
    accumulate: int = _setting(1, "batches per step of the optimiser", at_least=1)

    schedule: str = _setting(
        "constant",
        "how the learning rate changes: step, multistep, exponential after epochs, the others in each step",
        choices=("constant", "step", "multistep", "exponential", "cosine", "one-cycle"),
    )
    step_epochs: int = _setting(7, "schedule step: every this many epochs ...", at_least=1)
    milestones: tuple[int, ...] = _setting((), "schedule multistep: after each of these epochs ...", above=0)
    gamma: float = _setting(0.9, "... the learning rate is multiplied by this", above=0, at_most=1)
    warmup_epochs: float = _setting(
        0.0, "number of epochs in which the learning rate rises from 0", at_least=0
    )

    norm: str = _setting(
        "frozen",
        "pretrained batch norms of the trained stages: frozen, or trained with the batch's statistics; new "
        "ones always learn",
        choices=("frozen", "train"),
    )
    label_smoothing: float = _setting(0.0, "share of each target given to all classes", at_least=0, below=1)
    class_weights: str = _setting(
        "none", "balanced: a photo counts more the rarer its class", choices=("none", "balanced")
    )
    sampling: str = _setting(
        "shuffled",
        "shuffled: each photo once an epoch; balanced: each class as often, rare photos repeated",
        choices=("shuffled", "balanced"),
    )
    mixup: float = _setting(0.0, "alpha of Beta(alpha, alpha), the share of a second photo", at_least=0)
    cutmix: float = _setting(0.0, "alpha of Beta(alpha, alpha), the area from a second photo", at_least=0)

    ema: float | None = _setting(
        None,
        "what is scored and kept is an average of the weights that keeps this much of itself per step",
        above=0,
        below=1,
    )
    patience: int | None = _setting(
        None, "the phase ends after this many epochs without improvement", at_least=1
    )
    wise_ft: bool = _setting(
        False, "try mixtures of the weights before and after the phase on the validation photos"
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        _check_fields(self, problems)
        if problems:
            raise ConfigError(problems)
        if self.optimizer == "exact":  # solved once; further epochs would change nothing
            object.__setattr__(self, "epochs", 1)
        if self.views == 0:
            object.__setattr__(self, "views", 1 if self.augment in ("none", ()) else self.epochs)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run computes.

    Every field is a key of ``config.toml``, an option of ``headstart train`` and a keyword of ``hs.train``.
    All values are checked when a configuration is made. Numbers may be text, as on a command line; paths may
    be ``Path`` objects; ``phases`` may be a list of ``PhaseConfig`` or of mappings. A recipe file is read at
    once, so that ``phases`` holds what it contained then.

    Raises:
        ConfigError: Names every wrong setting at once, with its value and what is allowed.
    """

    data: str = _setting(
        "", "folder of class folders, or of train/val/test above them; a table; Pascal VOC or COCO"
    )
    val: float | str = _setting(
        0.2,
        "fraction of the photos held out for validation, or a folder or file of them",
        above=0,
        below=1,
        needs="split",
    )
    task: str = _setting(
        "auto",
        "what is predicted; auto: what the data hold",
        choices=("auto", "classification", "multilabel", "regression", "box"),
    )
    target: str | None = _setting(
        None, "the table's columns of numbers to predict, with commas between them: regression"
    )
    image_column: str = _setting("image", "the table's column of paths, from the table's folder or absolute")
    label_column: str | None = _setting(
        None, "the table's column of classes; default: label, or labels where a photo may have several"
    )
    split_column: str | None = _setting(
        None, "the table's column of train, val and test; default: split, if there is one"
    )
    group_by: str | None = _setting(
        None,
        "photos of one group stay on one side of the split: a table's column, or a regular expression whose "
        "first bracket finds the group in the path; default: the column group, if there is one",
    )
    boxes: str = _setting(
        "refuse",
        "photos with several objects: an error, left out, or the largest box alone",
        choices=("refuse", "skip", "largest"),
        needs="boxes",
    )
    backbone: str = _setting(
        "timm/tf_efficientnet_lite0",
        "a torchvision name, timm/NAME, NAME.TAG, or FILE.onnx: a feature extractor of your own",
    )
    weights: str = _setting("default", "'default', 'random', a .pth or .safetensors file, or a run's folder")
    recipe: str = _setting(
        "auto", "phases by name, or a TOML file of [[phases]]; auto: finetune with PyTorch, else probe"
    )
    seed: int = _setting(0, "decides the split, the order and the dropout", at_least=0, at_most=2**63 - 1)
    resize: str | None = _setting(
        None, "how photos become square; default: the backbone's", choices=("crop", "pad", "squash")
    )
    size_px: int | None = _setting(None, "side of the network's input; default: the backbone's", at_least=8)
    mean: tuple[float, float, float] | None = _setting(
        None, "of a FILE.onnx: per channel, of pixels from 0 to 1, as it was trained; default: ImageNet's"
    )
    std: tuple[float, float, float] | None = _setting(
        None, "of a FILE.onnx: per channel, of pixels from 0 to 1; default: ImageNet's", above=0
    )
    output_name: str | None = _setting(
        None, "of a FILE.onnx: the output or inner tensor to take as features; default: the likeliest output"
    )
    batch_size: int = _setting(32, "photos per training step, over all processes", at_least=1, needs="steps")
    select: str = _setting(
        "val_loss",
        "what the best weights are chosen by: val_loss, or val_ and a score of the task",
        choices=tuple(
            f"val_{score}" for score in ("loss", "accuracy", "map", "f1", "mae", "rmse", "r2", "iou", "iou50")
        ),
        needs="steps",
    )
    head: str = _setting(
        "auto",
        "linear: one layer on the pooled features; spatial: looks for a box on the map before the pooling; "
        "own: that of the network which hs.train is given",
        choices=("auto", "linear", "spatial", "own"),
    )
    min_visible: float = _setting(
        0.5,
        "share of a box that an augmented view must show, or it is drawn again",
        at_least=0,
        at_most=1,
        needs="boxes",
    )
    features: str = _setting(
        "auto", "keep the frozen part's output on disk, or compute it anew", choices=("auto", "store", "live")
    )
    device: str = _setting("auto", "where to train", choices=("auto", "cpu", "cuda", "mps"))
    precision: str = _setting("auto", "number format", choices=("auto", "fp32", "bf16", "fp16"))
    memory_format: str = _setting(
        "auto",
        "how the trained stages lie in memory",
        choices=("auto", "contiguous", "channels_last"),
        needs="steps",
    )
    workers: int | None = _setting(
        None,
        "image-loading threads; 0 loads in the main thread; default: CPU cores + 1",
        at_least=0,
    )
    checkpoint_seconds: float = _setting(
        15.0,
        "minimum seconds between checkpoints; more if writing one takes long",
        at_least=0,
        needs="steps",
    )
    max_minutes: float | None = _setting(
        None,
        "time limit in minutes; training then ends with the best weights so far",
        above=0,
        needs="steps",
    )
    allow_quarantined: float | None = _setting(
        None,
        "train although up to this fraction of the photos or their labels cannot be used; each class needs "
        "one that can",
        at_least=0,
        at_most=1,
    )
    phases: tuple[PhaseConfig, ...] = field(default=(), metadata={"description": "filled in by the recipe"})

    def __post_init__(self) -> None:
        problems: list[str] = []
        _check_fields(self, problems)
        if isinstance(self.recipe, str) and self.recipe not in RECIPES and not self.phases:
            if self.recipe.endswith(".toml"):
                object.__setattr__(self, "phases", _recipe_file(self.recipe, problems))
            else:
                problems.append(
                    f"recipe is {self.recipe!r}.{did_you_mean(self.recipe, RECIPES)} Allowed are "
                    f"{', '.join(RECIPES)} and a TOML file of [[phases]]."
                )
        if not problems:
            problems = _contradictions_of_backbone(self)
        if problems:
            raise ConfigError(problems)

    @classmethod
    def from_settings(
        cls, data: str | os.PathLike[str] | None = None, config: TrainConfig | None = None, **settings: Any
    ) -> Self:
        """Make a configuration of what ``hs.train`` is given: settings by name, or a whole configuration.

        Args:
            data: The folder of photos, or a table, Pascal VOC or COCO; needed unless ``config`` names it.
            config: All settings together; then no others may be given by name.
            settings: Any other field by name.

        Raises:
            ConfigError: Names every wrong setting at once, with its value and what is allowed.
        """
        if config is not None:
            return cls._from_config(data, config, settings)
        if isinstance(data, TrainConfig):
            raise ConfigError([f"data is {data!r}. Give a configuration by name: config=..."])
        if data is None:
            raise ConfigError(["data is missing. Name the folder, table or file that holds the photos."])
        unknown = [name for name in settings if name not in {f.name for f in dataclasses.fields(cls)}]
        problems: list[str] = []
        _checked(cls, {name: settings.pop(name) for name in unknown}, "", problems)
        try:
            made = cls(data=data, **settings)  # type: ignore[arg-type]  # which makes it text
        except ConfigError as error:
            raise ConfigError([*problems, *error.problems]) from None
        if problems:
            raise ConfigError(problems)
        return made

    @classmethod
    def _from_config(
        cls, data: str | os.PathLike[str] | None, config: TrainConfig, settings: Mapping[str, Any]
    ) -> Self:
        if not isinstance(config, cls):
            raise ConfigError(
                [f"config is {config!r}; it must be a TrainConfig, as in config=hs.TrainConfig(data=...)."]
            )
        if settings:
            raise ConfigError(
                [
                    f"Both config and {', '.join(settings)} are given. Set everything in config, for example "
                    f"with dataclasses.replace(config, {next(iter(settings))}=...)."
                ]
            )
        if data is None and not config.data:
            raise ConfigError(
                ["data is missing in config. Name the folder, table or file that holds the photos."]
            )
        made = config if data is None else dataclasses.replace(config, data=data)  # type: ignore[arg-type]
        if config.data and made.data != config.data:
            raise ConfigError([f"data is {made.data!r}, but {config.data!r} in config. Give one of them."])
        return made

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Read a run's ``config.toml``."""
        content = read_toml(path)
        return cls.from_settings(content.pop("data", ""), **content)

    @property
    def backbone_is_file(self) -> bool:
        """Whether the backbone is an ONNX file of the user's."""
        return self.backbone.lower().endswith(".onnx")

    @property
    def val_folder(self) -> str | None:
        """The folder or file of validation photos, if ``val`` names one."""
        return self.val if isinstance(self.val, str) else None

    @property
    def source_options(self) -> dict[str, Any]:
        """What ``data.source.read_source`` is told besides the data and the validation photos."""
        names = ("task", "target", "image_column", "label_column", "split_column", "group_by", "boxes")
        return {name: getattr(self, name) for name in (*names, "allow_quarantined")}

    @property
    def val_fraction(self) -> float:
        """The share of photos held out where the data brings no validation photos of its own."""
        return 0.0 if isinstance(self.val, str) else self.val

    def absolute(self) -> Self:
        """Return the same with absolute paths, so that a run can be resumed from any folder."""
        is_path = self.weights not in ("default", "random") and Path(self.weights).exists()
        return dataclasses.replace(
            self,
            data=str(Path(self.data).absolute()),
            val=str(Path(self.val).absolute()) if isinstance(self.val, str) else self.val,
            backbone=str(Path(self.backbone).absolute()) if self.backbone_is_file else self.backbone,
            weights=str(Path(self.weights).absolute()) if is_path else self.weights,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without those that are None, as TOML has no word for it."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        phases = [{k: v for k, v in phase.items() if v is not None} for phase in values["phases"]]
        return {**values, "phases": phases}


_LACKING: dict[Need, str] = {
    "steps": "a head that is solved takes no training steps",
    "boxes": "no boxes are predicted",
    "split": "the data bring their own validation photos",
}


def unused_settings(config: TrainConfig, lacking: Set[Need]) -> list[str]:
    """Name the settings that differ from their defaults and have no effect in a run, a sentence each.

    Args:
        config: As the user gave it.
        lacking: What the run does not have.
    """
    notes = []
    for f in dataclasses.fields(config):
        need: Need | None = f.metadata.get("needs")
        value = getattr(config, f.name)
        brings_photos = need == "split" and isinstance(value, str)
        if need is not None and need in lacking and value != f.default and not brings_photos:
            why = _LACKING[need]
            notes.append(f"Warning: {f.name} is {value!r}, which has no effect in this run: {why}.")
    return notes


def _contradictions_of_backbone(config: TrainConfig) -> list[str]:
    """Name the settings that do not go with the kind of backbone, each of them right by itself."""
    if not config.backbone_is_file:
        return [
            f"{name} is {getattr(config, name)!r}, but it is a setting of backbones that are ONNX files, and "
            f"backbone is {config.backbone!r}, which knows it. Leave {name} out."
            for name in ("mean", "std", "output_name")
            if getattr(config, name) is not None
        ]
    problems = []
    if config.weights != "default":
        problems.append(
            f"weights is {config.weights!r}, but the backbone {config.backbone!r} holds its own. Leave "
            f"weights out."
        )
    problems += [
        f"{name} is {getattr(config, name)!r}, but the features of an ONNX file are computed on the CPU, in "
        f"float32. Leave {name} out."
        for name, allowed in (("device", ("auto", "cpu")), ("precision", ("auto", "fp32")))
        if getattr(config, name) not in allowed
    ]
    if config.task == "box" or config.head not in ("auto", "linear"):
        wanted = "task is 'box'" if config.task == "box" else f"head is {config.head!r}"
        problems.append(f"{wanted}, which is trained in steps. {file_is_not_trained(config.backbone)}")
    if config.phases and not _is_probe(config.phases):
        problems.append(f"The phases train in steps. {file_is_not_trained(config.backbone)}")
    elif not config.phases and config.recipe in ("finetune", "full", "classic"):
        problems.append(f"recipe is {config.recipe!r}. {file_is_not_trained(config.backbone)}")
    return problems


def file_is_not_trained(file: str) -> str:
    """Say what to do where training in steps is asked of an ONNX file."""
    return (
        f"An ONNX file cannot be fine-tuned, and {file!r} is one. Train a probe on it, with --recipe probe, "
        f"or choose a backbone by its name: headstart backbones lists them."
    )


def _is_probe(phases: tuple[PhaseConfig, ...]) -> bool:
    """Return whether phases only solve a head."""
    return len(phases) == 1 and phases[0].optimizer == "exact" and phases[0].unfreeze in ("head", 0)


def _recipe_file(path: str, problems: list[str]) -> tuple[PhaseConfig, ...]:
    """Read a recipe: a TOML file with ``[[phases]]`` and nothing else."""
    try:
        content = read_toml(path)
    except ConfigError as error:
        problems.extend(error.problems)
        return ()
    problems.extend(
        f"{path}: unknown key {key!r}.{_elsewhere(key, TrainConfig)} A recipe holds [[phases]] only; "
        f"everything else is an option of the command."
        for key in content
        if key != "phases"
    )
    if not content.get("phases"):
        problems.append(f"{path}: no phases. Write at least one [[phases]] table.")
    return _phases(content.get("phases", []), f"{path}: ", problems)


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a TOML file; a missing or malformed one is a ``ConfigError``."""
    try:
        return tomllib.loads(Path(path).read_text("utf-8", errors="surrogateescape"))
    except OSError as error:
        raise ConfigError(
            [f"{os.fspath(path)}: {error.strerror or error}. Name an existing TOML file."]
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{os.fspath(path)}: not valid TOML: {error}."]) from error


def _phases(tables: Any, where: str, problems: list[str]) -> tuple[PhaseConfig, ...]:
    if not isinstance(tables, (list, tuple)):
        problems.append(f"{where}phases is {tables!r}; write each phase as a [[phases]] table.")
        return ()
    phases = []
    for number, table in enumerate(tables, 1):
        if isinstance(table, PhaseConfig):
            table = dataclasses.asdict(table)
        if not isinstance(table, Mapping):
            problems.append(f"{where}phase {number} is {table!r}; write each phase as a [[phases]] table.")
            continue
        found = len(problems)
        values: dict[str, Any] = _checked(
            PhaseConfig, {"name": f"phase{number}", **table}, f"{where}phase {number}: ", problems
        )
        if len(problems) == found:
            phases.append(PhaseConfig(**values))
            told = _contradictions(phases[-1])
            if phases[-1].optimizer == "exact" and (epochs := values.get("epochs", 1)) != 1:
                told.append(
                    f"epochs is {epochs}, but optimizer = 'exact' solves the head once. Leave epochs out, or "
                    f"use adam, adamw or sgd."
                )
            problems.extend(f"{where}phase {number}: {each}" for each in told)
    names = [phase.name for phase in phases]
    problems.extend(
        f"{where}two phases are called {name!r}; give each a name of its own."
        for name in sorted({name for name in names if names.count(name) > 1})
    )
    return tuple(phases)


_OF_STEPS = (
    *("momentum", "head_lr", "weight_decay", "clip_norm", "accumulate", "schedule", "step_epochs", "gamma"),
    *("warmup_epochs", "label_smoothing", "class_weights", "sampling", "mixup", "cutmix", "ema", "patience"),
    "wise_ft",
)
_OF_OTHER_STAGES = {
    "backbone_lr": "is the learning rate of other stages",
    "layer_decay": "slows other stages down",
    "norm": "is about the batch norms of other stages",
}


def _contradictions(phase: PhaseConfig) -> list[str]:
    """Name the settings of a phase that do not go with each other, each of them right by itself."""
    problems, defaults = _contradictions_of_schedule(phase), PhaseConfig()
    names = [f.name for f in dataclasses.fields(phase)]
    changed = {name for name in names if getattr(phase, name) != getattr(defaults, name)}
    if phase.unfreeze in ("head", 0):
        problems.extend(
            f"{name} is {getattr(phase, name)!r}, which {meaning}, but unfreeze = {phase.unfreeze!r} trains "
            f"the head alone. Leave {name} out, or unfreeze more."
            for name, meaning in _OF_OTHER_STAGES.items()
            if name in changed
        )
    if phase.class_weights == phase.sampling == "balanced":
        problems.append(
            "class_weights and sampling are both 'balanced', so that rare classes would count twice over. "
            "Choose one of the two."
        )
    if phase.optimizer == "exact":
        problems.extend(
            f"{name} is {getattr(phase, name)!r}, but optimizer = 'exact' solves the head without steps. "
            f"Leave {name} out, or use adam, adamw or sgd."
            for name in _OF_STEPS
            if name in changed
        )
    elif phase.patience is not None and phase.patience >= phase.epochs - 1:
        remedy = f"Make it at most {phase.epochs - 2}, or leave" if phase.epochs > 2 else "Leave"
        problems.append(
            f"patience is {phase.patience}, but epochs is {phase.epochs}, so that it could never end the "
            f"phase early. {remedy} patience out."
        )
    return problems


def _contradictions_of_schedule(phase: PhaseConfig) -> list[str]:
    problems = []
    if phase.milestones and phase.schedule != "multistep":
        problems.append(
            f"milestones is {list(phase.milestones)}, which schedule {phase.schedule!r} does not have. Set "
            f"schedule to 'multistep', or leave milestones out."
        )
    if phase.schedule == "multistep" and not phase.milestones:
        problems.append(
            "schedule is 'multistep', but milestones is empty. Name the epochs after which the learning rate "
            "falls, as in milestones = [20, 50], or choose 'constant'."
        )
    if list(phase.milestones) != (rising := sorted(set(phase.milestones))):
        problems.append(f"milestones is {list(phase.milestones)}; did you mean {rising}? They must rise.")
    elif phase.schedule == "multistep" and (late := [m for m in phase.milestones if m >= phase.epochs]):
        problems.append(
            f"milestones is {list(phase.milestones)}, but epochs is {phase.epochs}, so the phase is over "
            f"before the learning rate falls at {', '.join(map(str, late))}. Name epochs below "
            f"{phase.epochs}, or make epochs larger."
        )
    if phase.warmup_epochs >= phase.epochs and phase.warmup_epochs > 0:
        problems.append(
            f"warmup_epochs is {phase.warmup_epochs:g}, but epochs is {phase.epochs}, so the phase "
            f"would never come to its largest learning rate. Make it less than {phase.epochs}."
        )
    return problems


# What other programs call it.
_OTHER_NAMES = {
    "lr": "head_lr",
    "learning_rate": "head_lr",
    "wd": "weight_decay",
    "label_smooth": "label_smoothing",
    "image_size": "size_px",
    "img_size": "size_px",
    "model": "backbone",
}


def _elsewhere(name: str, cls: type) -> str:
    """Return a hint, as ``did_you_mean`` does, at a setting; also at one of a phase where it is not one's."""
    known = [f.name for f in dataclasses.fields(cls)]
    other = PhaseConfig if cls is TrainConfig else TrainConfig
    others = [f.name for f in dataclasses.fields(other) if f.name not in ("data", "phases", "name")]
    meant = _OTHER_NAMES.get(name, name)
    if meant in known:
        return f" Did you mean {meant!r}?"
    if meant in others:
        place = "a phase: write it below [[phases]] in a recipe file" if other is PhaseConfig else "the run"
        if other is TrainConfig:
            place += f": write it beside the phases, as in --set {meant}=VALUE"
        asked = "It" if meant == name else f"Did you mean {meant!r}? That"
        return f" {asked} is a setting of {place}."
    return did_you_mean(name, known)


def _check_fields(settings: PhaseConfig | TrainConfig, problems: list[str]) -> None:
    """Check each value of settings by itself, and give it the type of its field: 16 for "16"."""
    given = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    given = {name: os.fspath(v) if isinstance(v, os.PathLike) else v for name, v in given.items()}
    for name, value in _checked(type(settings), given, "", problems).items():
        object.__setattr__(settings, name, value)


def _checked(cls: type, given: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    known = {f.name: f for f in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            hint = _elsewhere(name, cls)
            problems.append(f"{where}unknown setting {name!r}.{hint} Settings are {', '.join(known)}.")
        elif name == "phases":
            values[name] = _phases(value, where, problems)
        elif name == "augment":
            values[name] = check_augment(value, where, problems)
        else:
            try:
                values[name] = _converted(value, str(known[name].type))
                _check_limits(values[name], known[name].metadata)
            except ValueError as error:
                about = known[name].metadata
                hint = did_you_mean(str(value), about["choices"] or ())
                problems.append(f"{where}{name} is {value!r}; {error}: {about['description']}.{hint}")
    return values


def _converted(value: Any, annotation: str) -> Any:
    """Bring a value to one of the types of an annotation such as ``float | str``: numbers before text."""
    kinds = annotation.split(" | ")
    if "None" in kinds and value in (None, ""):
        return None
    if annotation == "bool":
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        raise ValueError("it must be true or false")
    if annotation.startswith("tuple[int"):
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, (list, tuple)):
            with contextlib.suppress(ValueError):
                return tuple(_converted(part, "int") for part in parts)
        raise ValueError("it must be whole numbers, as in [20, 50]")
    if annotation.startswith("tuple[float"):
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, (list, tuple)) and len(parts) == 3:
            with contextlib.suppress(ValueError):
                return tuple(_converted(part, "float") for part in parts)
        raise ValueError("it must be three numbers, for red, green and blue, as in 0.5,0.5,0.5")
    if "int" in kinds and isinstance(value, (int, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return int(value)
    if "float" in kinds and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            number = float(value)
            if math.isfinite(number):
                return number
    if "str" in kinds and isinstance(value, str):
        return value
    words = {"int": "a whole number", "float": "a number", "str": "text", "None": "left out"}
    raise ValueError(f"it must be {' or '.join(words[kind] for kind in kinds)}")


def _check_limits(value: Any, limits: Mapping[str, Any]) -> None:
    if value is None:
        return
    if isinstance(value, tuple):
        for each in value:
            _check_limits(each, limits)
        return
    if limits["choices"] and value not in limits["choices"]:
        raise ValueError(f"it must be one of {', '.join(limits['choices'])}")
    if not isinstance(value, (int, float)):
        return
    if limits["at_least"] is not None and value < limits["at_least"]:
        raise ValueError(f"it must be at least {limits['at_least']:g}")
    if limits["above"] is not None and value <= limits["above"]:
        raise ValueError(f"it must be above {limits['above']:g}")
    if limits["at_most"] is not None and value > limits["at_most"]:
        raise ValueError(f"it must be at most {limits['at_most']:g}")
    if limits["below"] is not None and value >= limits["below"]:
        raise ValueError(f"it must be below {limits['below']:g}")


_NOT_BY_SET = {
    "data": "the folder of photos is the command's argument DATA",
    "out": "the run folder is named by --out",
    "phases": "phases are given by --recipe FILE.toml",
}


def settings_from_pairs(pairs: Iterable[str]) -> dict[str, str]:
    """Read ``KEY=VALUE`` as given to ``--set``; of a key that is given twice, the last value counts.

    Raises:
        ConfigError: Names every pair that is none, or that is no setting but an argument of the command.
    """
    settings, problems = {}, []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            problems.append(f"--set {pair!r} is not KEY=VALUE, for example --set batch_size=16.")
        elif key in _NOT_BY_SET:
            problems.append(f"--set {pair!r} is not possible: {_NOT_BY_SET[key]}.")
        settings[key] = value.strip()
    if problems:
        raise ConfigError(problems)
    return settings
