"""The settings of a training run: checked together when they are created, read from and written to TOML."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from headstart.config.backbone import contradictions_of_backbone
from headstart.config.checking import as_it_is, check_fields, checked, setting, settings_of
from headstart.config.folds import contradictions_of_splits, fold_setting, folds_setting
from headstart.config.keeping import features_setting, ray_setting, store_setting
from headstart.config.paths import absolute_paths, like_data
from headstart.config.phase import PhaseConfig, of_last_phase
from headstart.config.phases import OF_A_PHASE, RECIPES, changes_of, contradictions, phases_of, read_recipe
from headstart.config.sections import (
    column,
    computing,
    input_size,
    labels,
    machine,
    network,
    onnx_file,
    recipes,
    splits,
    training,
)
from headstart.config.toml import read_toml
from headstart.errors import ConfigError, did_you_mean

ADJUSTING: Final = ("val_balanced_accuracy", "val_macro_f1")
"""Values of ``select`` for which a probe's logits are adjusted for the frequencies of the classes."""

_SCORES = (
    *("calibrated_loss", "loss", "accuracy", "balanced_accuracy", "macro_f1", "map", "f1"),
    *("mae", "rmse", "r2", "iou", "iou50"),
)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run computes.

    Every field is a key of ``config.toml``, an option of ``headstart train`` and a keyword of ``hs.train``.
    All values are checked when a configuration is created. Numbers may be text, as on a command line; paths
    may be ``Path`` objects; ``phases`` may be a list of ``PhaseConfig`` or of mappings. A recipe file is read
    immediately, so later changes to the file have no effect. ``epochs``, ``lr`` and ``phase_settings`` are
    applied to the phases and become None when ``phases`` is filled in.

    Raises:
        ConfigError: One or more settings are wrong; the message lists all of them, with what is allowed.
    """

    data: str = setting(
        "", "folder of class folders, or of train/val/test above them; tar files, a table, Pascal VOC or COCO"
    )
    val: float | str = labels(
        0.2,
        "fraction of the photos held out for validation, or a folder or file of them",
        above=0,
        below=1,
        metavar="FRACTION|FOLDER",
        commands=("features", "lr-find", "check"),
        needs="split",
    )
    test: float = labels(
        0.0,
        "fraction of the photos held out for a final score, by which nothing is chosen",
        at_least=0,
        below=1,
        shown="0, unless the data have test photos",
        metavar="FRACTION",
        commands=(),
        needs="test",
    )
    folds: int | None = folds_setting()
    fold: int | None = fold_setting()
    task: str = labels(
        "auto",
        "what is predicted",
        choices=("auto", "classification", "multilabel", "regression", "box"),
        shown="auto, from the kind of labels",
        commands=("features", "augment", "lr-find", "recommend", "check"),
    )
    target: str | None = column(
        None, "a table's columns of numbers to predict, separated by commas", shown="none"
    )
    image_column: str = column("image", "a table's column of paths, absolute or relative to the table")
    label_column: str | None = column(
        None, "a table's column of classes", shown="label, or labels where a photo may have several"
    )
    split_column: str | None = column(
        None, "a table's column with the values train, val and test", shown="split, if it exists"
    )
    group_by: str | None = labels(
        None,
        "keep photos of the same group on one side of the split: a table's column, or a regular expression "
        "that finds the group in the path with its first parentheses",
        shown="the column group, if it exists",
        metavar="COLUMN|REGEX",
        commands=("features", "evaluate", "recommend", "check"),
    )
    images: str | None = labels(
        None,
        "folder in which the photos of a label file are found by name",
        shown="the label file's own",
        metavar="FOLDER",
    )
    label_from: str | None = labels(
        None,
        "regular expression that finds the label in the path of each photo: the named group label, and group "
        "and split if they exist",
        shown="none",
        metavar="REGEX",
    )
    boxes: str = labels(
        "refuse",
        "photos that show several objects are an error, are skipped, or are learned with their largest box",
        choices=("refuse", "skip", "largest"),
        commands=("features", "augment", "lr-find", "evaluate", "check"),
        needs="boxes",
    )
    decisions: str | None = labels(
        None,
        "your decisions in a findings.csv: photos to drop or relabel, findings to keep",
        shown="none",
        metavar="FILE",
        commands=("check", "evaluate"),
    )
    strict: bool = splits(False, "stop before training if validation or test photos repeat training photos")
    min_visible: float = labels(
        0.5,
        "minimum visible fraction of a box in an augmented view; views with less are replaced",
        at_least=0,
        at_most=1,
        metavar="FRACTION",
        commands=(),
        needs="boxes",
    )
    backbone: str = network(
        "timm/tf_efficientnet_lite0",
        "a torchvision name, timm/NAME, NAME.TAG, or FILE.onnx, a feature extractor of your own",
        metavar="NAME",
    )
    weights: str = network(
        "default",
        "the backbone's weights: default, random, a .pth or .safetensors file, or a run's folder",
        metavar="WHICH",
        commands=("features", "lr-find", "check"),
    )
    resize: str | None = input_size(
        None, "how photos are made square", choices=("crop", "pad", "squash"), shown="the backbone's"
    )
    size_px: int | None = input_size(
        None, "height and width of the network's input", at_least=8, shown="the backbone's", metavar="PIXELS"
    )
    mean: tuple[float, float, float] | None = onnx_file(
        None,
        "mean of each channel for normalising the input of a FILE.onnx; pixels are 0 to 1",
        shown="ImageNet's",
        metavar="R,G,B",
    )
    std: tuple[float, float, float] | None = onnx_file(
        None,
        "standard deviation of each channel, for normalising in the same way",
        above=0,
        shown="ImageNet's",
        metavar="R,G,B",
    )
    output_name: str | None = onnx_file(
        None,
        "output or inner tensor of a FILE.onnx to use as features",
        shown="the most likely output",
        metavar="TENSOR",
    )
    head: str = network(
        "auto",
        "one linear layer on the features of the last stage, in the place of the network's own head; one "
        "that also reads earlier stages; a spatial head, which finds a box on the feature map before "
        "pooling; or the head of a network of your own, given to hs.train(network=...)",
        choices=("auto", "linear", "stages", "spatial", "own"),
        shown="auto, by the task and, if it is solved, by cross-validation",
        commands=(),
    )
    recipe: str = recipes(
        "auto",
        f"the phases of training: {', '.join(RECIPES)}, or a FILE.toml of [[phases]]",
        shown="auto: finetune with PyTorch, else probe",
        metavar="NAME|FILE",
    )
    epochs: int | None = of_last_phase("epochs", "Training")
    lr: float | None = of_last_phase("head_lr", "Training")
    seed: int = recipes(
        0, "random seed of the split, order, augmentation and dropout", at_least=0, at_most=2**63 - 1
    )
    batch_size: int = training(
        32, "photos per training step, in all processes together", at_least=1, commands=("lr-find",)
    )
    select: str = training(
        "val_calibrated_loss",
        "validation score by which the best weights are chosen; val_calibrated_loss is the loss after the "
        "best temperature, for numbers and boxes the loss itself; for val_balanced_accuracy and "
        "val_macro_f1, a probe also adjusts its logits for the frequencies of the classes",
        choices=tuple(f"val_{score}" for score in _SCORES),
    )
    unknown: str = training(
        "auto",
        "whether the probe of a classifier recognises photos of none of its classes",
        choices=("auto", "off"),
        needs=None,
    )
    features: str = features_setting()
    store: str | None = store_setting()
    ray: str | None = ray_setting()
    device: str = machine(
        "auto", "where to compute", choices=("auto", "cpu", "cuda", "mps"), commands=("features", "lr-find")
    )
    precision: str = machine(
        "auto", "number format", choices=("auto", "fp32", "bf16", "fp16"), commands=("features",)
    )
    memory_format: str = machine(
        "auto",
        "memory layout of the trained stages",
        choices=("auto", "contiguous", "channels_last"),
        needs="steps",
    )
    workers: int | None = computing(
        None, "image-loading threads; 0 loads in the main thread", at_least=0, shown="CPU cores + 1"
    )
    checkpoint_seconds: float = machine(
        15.0,
        "minimum time between checkpoints; more if writing one takes long",
        at_least=0,
        metavar="SECONDS",
        needs="steps",
    )
    max_minutes: float | None = machine(
        None,
        "time limit; training then ends with the best weights so far",
        above=0,
        shown="none",
        metavar="MINUTES",
        needs="steps",
    )
    watch: tuple[str, ...] = machine(
        (),
        "experiment trackers to record the run in, separated by commas",
        choices=("tensorboard", "mlflow", "wandb"),
        shown="none",
        metavar="NAMES",
    )
    allow_quarantined: float | None = computing(
        None,
        "largest fraction of photos that may be unreadable or wrongly labelled; no class may be empty",
        at_least=0,
        at_most=1,
        shown="0.01, or five photos",
        metavar="FRACTION",
        commands=("features", "lr-find", "recommend", "check", "evaluate"),
    )
    phase_settings: Mapping[str, Mapping[str, Any]] | None = setting(
        None, "settings of phases by phase name, which replace those of the recipe", check=as_it_is
    )
    phases: tuple[PhaseConfig, ...] = setting(
        (), "filled in by the recipe, or a list of phases", check=as_it_is
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        check_fields(self, problems, elsewhere=OF_A_PHASE)
        if isinstance(self.recipe, str) and self.recipe not in RECIPES and not self.phases:
            if self.recipe.endswith(".toml"):
                self._set(phases=read_recipe(self.recipe, problems))
            else:
                problems.append(
                    f"recipe is {self.recipe!r}.{did_you_mean(self.recipe, RECIPES)} Allowed are "
                    f"{', '.join(RECIPES)} and a TOML file of [[phases]]."
                )
        run, last = settings_of(TrainConfig), {"epochs": self.epochs, "head_lr": self.lr}
        changes = changes_of(self.phase_settings, last, run, problems)
        if self.phases:
            where = f"{self.recipe}: " if self.recipe not in RECIPES else ""
            phases = phases_of(self.phases, where, problems, changes=changes, run_settings=run)
            self._set(phases=phases, epochs=None, lr=None, phase_settings=None)
        else:
            self._set(phase_settings=self.phase_settings or None)
            problems.extend(contradictions(str(self.recipe), changes, self.select))
        problems = problems or contradictions_of_backbone(self) or contradictions_of_splits(self)
        if problems:
            raise ConfigError(problems)

    def _set(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_settings(
        cls, data: str | os.PathLike[str] | None = None, config: TrainConfig | None = None, **settings: Any
    ) -> Self:
        """Create a configuration from the arguments of ``hs.train``: settings by name, or ``config``.

        Args:
            data: The folder of photos, or a table, Pascal VOC or COCO; required unless ``config`` has it.
            config: All settings together; no others may then be given by name.
            settings: Any other field by name.

        Raises:
            ConfigError: One or more settings are wrong; the message lists all of them.
        """
        if config is not None:
            return cls._from_config(data, config, settings)
        if isinstance(data, TrainConfig):
            raise ConfigError(f"data is {data!r}. Give a configuration by name: config=...")
        if data is None:
            raise ConfigError("data is missing. Name the folder, table or file that holds the photos.")
        problems: list[str] = []
        unknown = settings.keys() - settings_of(cls).keys()
        checked(
            cls, {name: settings.pop(name) for name in sorted(unknown)}, "", problems, elsewhere=OF_A_PHASE
        )
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
                f"config is {config!r}; it must be a TrainConfig, as in config=hs.TrainConfig(data=...)."
            )
        if settings:
            raise ConfigError(
                f"Both config and {', '.join(settings)} are given. Set everything in config, for example "
                f"with dataclasses.replace(config, {next(iter(settings))}=...)."
            )
        if data is None and not config.data:
            raise ConfigError(
                "data is missing in config. Name the folder, table or file that holds the photos."
            )
        made = config if data is None else dataclasses.replace(config, data=data)  # type: ignore[arg-type]
        if config.data and made.data != config.data:
            raise ConfigError(f"data is {made.data!r}, but {config.data!r} in config. Give one of them.")
        return made

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Read the ``config.toml`` of a run."""
        content = read_toml(path)
        return cls.from_settings(content.pop("data", ""), **content)

    @property
    def backbone_is_file(self) -> bool:
        """Whether the backbone is an ONNX file of the user."""
        return self.backbone.lower().endswith(".onnx")

    @property
    def val_folder(self) -> str | None:
        """The folder or file of validation photos, if ``val`` names one.

        Its path begins like ``data`` if it lies there, and is absolute if not. The paths of its photos in the
        files of a run are then the same if the run is resumed.
        """
        return like_data(self.data, self.val) if isinstance(self.val, str) else None

    @property
    def source_options(self) -> dict[str, Any]:
        """Keyword arguments for ``read_source`` that concern photos and labels."""
        names = ("task", "target", "image_column", "label_column", "split_column", "group_by", "boxes")
        others = ("label_from", "allow_quarantined", "decisions")
        images = None if self.images is None else like_data(self.data, self.images)
        return {name: getattr(self, name) for name in (*names, *others)} | {"images": images}

    @property
    def is_by_folds(self) -> bool:
        """Whether every photo is scored by folds; with ``fold``, the photos of one are."""
        return self.folds is not None and self.fold is None

    @property
    def val_fraction(self) -> float:
        """Fraction of the photos held out for validation; 0 if ``val`` names a folder or file."""
        return 0.0 if isinstance(self.val, str) else self.val

    def absolute(self) -> Self:
        """Return a copy with absolute paths, so that a run can be resumed from any folder."""
        return dataclasses.replace(self, **absolute_paths(vars(self), backbone_is_file=self.backbone_is_file))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for TOML, without settings that are None, which TOML cannot express."""
        values = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        phases = [{k: v for k, v in phase.items() if v is not None} for phase in values["phases"]]
        return {**values, "phases": phases}
