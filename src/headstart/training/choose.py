"""Which floor a run takes place on: a probe without PyTorch, or training in steps with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headstart import recipe, tasks
from headstart.config import TrainConfig, file_is_not_trained
from headstart.data.sources.source import read_source
from headstart.data.split import likely_counts
from headstart.environment import has_pytorch, may_have_gpu
from headstart.errors import ConfigError, MissingPackageError, NetworkError, WeightsError, requires_extra
from headstart.frozen.backbones import find_backbone, refuse_unknown
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.onnx_file.open import open_backbone
from headstart.probe.outer_folds import likely_val, pooled
from headstart.training.floor import Floor
from headstart.training.ground import GroundFloor
from headstart.training.probe_setup import ProbeSetup
from headstart.training.run.history import refuse_other_head, refuse_other_scores
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.settings_warnings import warn_about_settings
from headstart.training.watch.watchers import Watchers

if TYPE_CHECKING:
    from torch import nn

_INSTALL: Final = "pip install 'headstart[train]'"


def decide_recipe(config: TrainConfig) -> tuple[TrainConfig, str]:
    """Replace the recipe "auto" by the one that it stands for.

    Args:
        config: As the user gave it.

    Returns:
        The settings with their recipe; and the choice and its reason in a sentence, to be said once the
        photos and the backbone are known to do. Empty where "auto" was not asked for.

    Raises:
        ConfigError: The settings ask for steps or phases that the recipe does not have.
    """
    if config.recipe == "best" and not config.phases:
        raise ConfigError([recipe.NOT_ONE_RUN])
    if config.recipe != "auto" or config.phases:
        return config, ""
    if config.backbone.lower().endswith(".onnx"):
        chosen, why = "probe", "a head on frozen features. An ONNX file cannot be fine-tuned."
    elif has_pytorch():
        chosen, why = "finetune", "a head on frozen features, then the last stage. For the head alone: probe"
    else:
        chosen, why = "probe", f"a head on frozen features. To fine-tune the backbone as well: {_INSTALL}"
    choice = f"Recipe: {chosen}, {why}"
    try:
        decided = dataclasses.replace(config, recipe=chosen)
    except ConfigError as error:  # there is no phase of that name
        raise ConfigError([*error.problems, choice]) from None
    is_solved = chosen == "probe" and not config.phase_settings
    of_steps = {"epochs": config.epochs, "lr": config.lr} if is_solved else {}
    problems = [
        f"{name} is {value:g}, but the recipe that is chosen takes no training steps. Leave {name} out."
        for name, value in of_steps.items()
        if value is not None
    ]
    if problems:
        raise ConfigError([*problems, choice])
    return decided, choice


@contextmanager
def open_floor(
    config: TrainConfig,
    watchers: Watchers,
    stopwatch: Stopwatch,
    network: nn.Module | None = None,
    stopped: Path | None = None,
) -> Iterator[Floor]:
    """Choose the floor of a run, and prepare it until the first photo is to be read.

    Args:
        config: As the user gave it.
        watchers: See what happens.
        stopwatch: For the seconds.
        network: A network of the user's own, instead of a backbone with a new head.
        stopped: The folder of the run that is resumed; None for a new run.

    Raises:
        UsageError: The settings or the photos cannot be used.
        WeightsError: The pretrained weights are not available.
        MissingPackageError: PyTorch is needed and not installed.
    """
    config, probe = choose(config, watchers.say, has_network=network is not None)
    if probe is not None:
        with GroundFloor(probe, watchers, stopwatch) as floor:
            yield floor
        return
    with requires_extra("train"):
        from headstart.training.upper import open_upper_floor
    with open_upper_floor(config, watchers, stopwatch, network, stopped) as upper:
        yield upper


def choose(
    config: TrainConfig, say: Callable[[str], object], *, has_network: bool = False
) -> tuple[TrainConfig, ProbeSetup | None]:
    """Decide the recipe, and whether a run needs PyTorch.

    Args:
        config: As the user gave it.
        say: Called with the choice, and with what is guessed or without effect.
        has_network: Whether the user trains a network of their own.

    Returns:
        The settings with their recipe; and what a probe begins with, None if the run trains in steps.

    Raises:
        UsageError: The settings or the photos cannot be used.
        WeightsError: The pretrained weights are not available.
        MissingPackageError: PyTorch is needed and not installed.
    """
    config, choice = decide_recipe(config)
    probe = "A network of your own is trained in steps." if has_network else find_probe(config, say)
    if isinstance(probe, str):
        if config.backbone_is_file and not has_network:
            raise ConfigError([f"{probe} {file_is_not_trained(config.backbone)}"])
        _refuse_without_pytorch(probe)
    if choice:
        say(choice)
    return config, None if isinstance(probe, str) else probe


def find_probe(config: TrainConfig, say: Callable[[str], object]) -> ProbeSetup | str:
    """Prepare a run without steps, if it is one.

    Args:
        config: With its recipe decided.
        say: Called with settings that have no effect, and with what is guessed about a backbone in a file.

    Returns:
        What the run begins with; or, in a sentence, why it has to train in steps.

    Raises:
        UsageError: The settings or the photos cannot be used.
        WeightsError: The pretrained weights are not available.
        MissingPackageError: PyTorch would be needed for the backbone.
    """
    if reason := _needs_steps(config):
        return reason
    listing = pooled(read_source(config.data, config.val_folder, **config.source_options), config)
    task = tasks.of(listing.task)
    if task.solver is None:
        return _in_steps(listing.task)
    refuse_other_head(config.head, listing.task)
    refuse_other_scores(config.select, listing.task)
    backbone = find_graph(config, listing.task, say)
    if isinstance(backbone, str):
        return backbone
    num_train, *_ = likely_counts(listing.candidates, likely_val(config, is_solved=True), config.test)
    outputs = task.num_outputs(len(listing.class_names), len(listing.targets))
    if config.head == "stages" and not backbone.earlier:
        raise ConfigError(
            f"head is 'stages', but {backbone.name} has no earlier stages that a head could read. "
            f"Use head = 'linear'."
        )
    num_inputs = backbone.num_features
    if config.head == "stages":
        num_inputs += backbone.num_earlier
    facts = recipe.Facts(num_train, num_inputs, listing.task, outputs)
    is_changed = config.phase_settings is not None
    config = recipe.complete(config, facts)
    if any(phase.optimizer != "exact" for phase in config.phases):
        if is_changed:
            return "The phases train in steps."
        return (
            f"A head for {num_train:,} photos and {outputs:,} outputs takes too much memory to be solved at "
            f"once, so it is trained in steps."
        )
    warn_about_settings(config, listing, num_train, say, takes_steps=False)
    if config.is_by_folds and config.val != TrainConfig.val:
        say(f"Warning: val is {config.val}, which has no effect in this run: folds score every photo.")
    setup = ProbeSetup(config, listing, backbone)
    return setup if config.head == "stages" else _affordable(setup, num_train, outputs, say)


def _affordable(
    setup: ProbeSetup, num_train: int, num_outputs: int, say: Callable[[str], object]
) -> ProbeSetup:
    """Leave out the earlier stages if solving a head that reads them would take too much memory."""
    num_rows, num_inputs = num_train * len(setup.views), setup.blocks[-1].last
    if len(setup.blocks) == 1 or recipe.can_be_solved(num_rows, num_inputs, num_outputs):
        return setup
    say(recipe.last_stage_alone(recipe.solving_bytes(num_rows, num_inputs, num_outputs)))
    return dataclasses.replace(setup, reads_earlier=False)


def find_without_pytorch(config: TrainConfig, task: str) -> OnnxBackbone | None:
    """Find the backbone that a configuration names, if it needs no PyTorch: see ``find_backbone``.

    Args:
        config: Names the backbone, its weights and its input.
        task: Decides how photos become square where the configuration does not.

    Raises:
        WeightsError: The weights cannot be used. None is returned instead where PyTorch is installed, which
            reads more forms of files.
        DamagedFileError: The file of weights is damaged.
    """
    resize = config.resize or tasks.of(task).resize
    try:
        return find_backbone(
            config.backbone,
            config.weights,
            size_px=config.size_px,
            resize=resize,  # type: ignore[arg-type]  # the configuration has been checked
        )
    except WeightsError:
        if not has_pytorch() or config.weights == "default":
            raise
        return None


def open_file(
    config: TrainConfig, say: Callable[[str], object], *, reads_stages: bool = True
) -> OnnxBackbone:
    """Open the ONNX file that a configuration names as its backbone: see ``open_backbone``.

    Raises:
        UsageError: It cannot be used, or the settings do not fit it.
        DamagedFileError: It is a damaged model file of Headstart's.
    """
    return open_backbone(
        config.backbone,
        size_px=config.size_px,
        mean=config.mean,
        std=config.std,
        resize=config.resize,
        output_name=config.output_name,
        reads_stages=reads_stages,
        say=say,
    )


def _needs_steps(config: TrainConfig) -> str:
    """Say why settings ask for more than a solved head; empty if they do not.

    Raises:
        ConfigError: Several processes are to train on an ONNX file.
    """
    if (number := os.environ.get("WORLD_SIZE", "1")) != "1":
        if config.backbone_is_file:
            raise ConfigError(
                [
                    f"WORLD_SIZE is {number}: several processes train together. The probe of an ONNX file is "
                    f"trained by one. Start it without torchrun."
                ]
            )
        return "Several processes train together."
    is_by_folds = config.folds is not None and config.fold is None  # which stored features take to a CPU
    if config.device == "auto" and not config.backbone_is_file and may_have_gpu() and not is_by_folds:
        return "A GPU computes the features."
    if reason := _device_of_pytorch(config):
        return reason
    if config.task in tasks.TASKS and tasks.of(config.task).solver is None:
        return _in_steps(config.task)
    if config.head == "own":
        return "head is 'own', a network of your own."
    if config.phases:
        phase = config.phases[0]
        if len(config.phases) > 1 or phase.optimizer != "exact" or phase.unfreeze not in ("head", 0):
            return "The phases train in steps."
    elif config.recipe != "probe":
        return f"The recipe {config.recipe!r} trains in steps."
    return ""


def refuse_features_without_pytorch(config: TrainConfig) -> None:
    """Raise an error if features need PyTorch, which is not installed, and say what of the settings does.

    Args:
        config: Its backbone has not been found without PyTorch.

    Raises:
        UsageError: PyTorch is not installed.
    """
    if has_pytorch():
        return
    if reason := _device_of_pytorch(config) or _random_weights(config):
        _refuse_without_pytorch(reason)
    refuse_unknown(config.backbone)


def _device_of_pytorch(config: TrainConfig) -> str:
    """Say which setting asks for a device or a precision of PyTorch's; empty if none does."""
    if config.device in ("cuda", "mps"):
        return f"device is {config.device!r}."
    return f"precision is {config.precision!r}." if config.precision in ("bf16", "fp16") else ""


def _random_weights(config: TrainConfig) -> str:
    return "weights is 'random'." if config.weights == "random" else ""


def find_graph(config: TrainConfig, task: str, say: Callable[[str], object]) -> OnnxBackbone | str:
    """Find the backbone, or have PyTorch export it; or say, in a sentence, why steps are needed."""
    if config.backbone_is_file:
        return open_file(config, say)
    if reason := _random_weights(config):
        return reason
    if found := find_without_pytorch(config, task):
        return found
    refuse_features_without_pytorch(config)
    with requires_extra("train"):
        from headstart.model.to_backbone import export_backbone
    try:
        return export_backbone(config.backbone, config.weights, config.size_px, config.resize, task)
    except NetworkError as error:
        return str(error)


def _in_steps(task: str) -> str:
    """Say why a task without a solver is trained in steps."""
    return f"The task {task!r} is always trained in steps."


def _refuse_without_pytorch(reason: str) -> None:
    """Raise ``MissingPackageError`` if PyTorch, which something needs for a reason, is not installed."""
    if not has_pytorch():
        raise MissingPackageError(f"{reason} That needs PyTorch, which is not installed: {_INSTALL}")
