"""Everything a run needs before the first photo is read: what can be wrong with the command shows here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from headstart import recipe, tasks
from headstart.cluster.passes import refuse_steps
from headstart.config import RECIPES, PhaseConfig, TrainConfig, file_is_not_trained
from headstart.data.sources.source import read_source
from headstart.data.split import likely_counts
from headstart.data.targets import Scale, Targets
from headstart.errors import ConfigError, NetworkError, UsageError
from headstart.frozen.cache import Room
from headstart.frozen.graph import function_hash
from headstart.images.settings import Preprocessing
from headstart.model.backbones import Backbone, resolve
from headstart.model.check import check_export, check_stages, check_tensors
from headstart.model.check_training import check_training
from headstart.model.head import put_head
from headstart.model.norms import new_norms
from headstart.model.prefix import cut_for_training
from headstart.model.stages import cut, is_staged, stage_names
from headstart.model.stages_head import StagesNetwork, with_stages_head
from headstart.model.tensors import state_names
from headstart.model.weights import create_pretrained
from headstart.probe.outer_folds import pooled
from headstart.records import Listing
from headstart.training.run.history import refuse_other_head, refuse_other_scores
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.settings_warnings import warn_about_settings
from headstart.training.steps.criterion import Criterion, criterion_of
from headstart.training.steps.features import FeatureSource
from headstart.training.steps.mirror import Layout, check_mirror, takes_map
from headstart.training.steps.mix import check_mix
from headstart.training.steps.solve_head import head_inputs, refuse_impossible_phases
from headstart.training.watch.watchers import Watchers
from headstart.views.flips import flip_warnings
from headstart.weight_files import WeightsSource


@dataclass(frozen=True)
class Setup:
    """What a run begins with.

    Attributes:
        config: With its phases.
        listing: The folder of photos, none of them read.
        backbone: As it was asked for.
        preprocessing: How photos become pixels.
        network: Pretrained, with a new head, on the device.
        head: What kind of head that is, as ``ModelInfo`` says it.
        weights: Where they came from.
        targets: What the photos are to be learned as; see ``scaled`` for numbers.
        criterion: What outputs are judged by.
        source: Opens the features of one phase after the other.
        new_norms: Those whose statistics are not pretrained, and learn in every phase that trains them.
    """

    config: TrainConfig
    listing: Listing
    backbone: Backbone
    preprocessing: Preprocessing
    network: nn.Module
    head: str
    weights: WeightsSource
    targets: Targets
    criterion: Criterion
    source: FeatureSource
    new_norms: frozenset[nn.Module]

    def scaled(self, scale: Scale) -> Setup:
        """Return a copy with the scale of the training photos, which is known once they have been read."""
        targets = dataclasses.replace(self.targets, scale=scale)
        source = dataclasses.replace(self.source, targets=targets)
        return dataclasses.replace(self, targets=targets, criterion=criterion_of(targets), source=source)

    def trained_names(self, phase: PhaseConfig) -> list[str]:
        """Return the entries of the network's state dict that a phase trains."""
        return state_names(self.network, cut(self.network, phase.unfreeze)[1])


def prepare(
    config: TrainConfig,
    accelerator: Accelerator,
    watchers: Watchers,
    stopwatch: Stopwatch,
    network: nn.Module | None = None,
    stopped: Path | None = None,
) -> Setup:
    """List the photos, make the network, and fill in the phases.

    Args:
        config: As the user gave it.
        accelerator: Knows the device.
        watchers: Say what is used.
        stopwatch: For the seconds.
        network: A user's own, instead of a backbone with a new head.
        stopped: The folder of the run that is resumed, for messages.

    Raises:
        UsageError: The settings or the folder cannot be used.
        WeightsError: The pretrained weights are not available.
    """
    if config.backbone_is_file:
        raise ConfigError([file_is_not_trained(config.backbone)])
    refuse_steps(config.ray)
    listing = pooled(read_source(config.data, config.val_folder, **config.source_options), config)
    num_train, num_val, _ = likely_counts(listing.candidates, config.val_fraction, config.test)
    backbone = resolve(config.backbone)
    preprocessing = backbone.preprocessing_for(listing.task, config.resize, config.size_px)
    targets = Targets(
        listing.task,
        listing.class_names,
        preprocessing,
        Scale.unknown(len(listing.targets)),
        config.min_visible,
    )
    criterion = criterion_of(targets)
    refuse_other_scores(config.select, listing.task, targets.num_box_classes)
    refuse_other_head(config.head, listing.task)
    head = _head_kind(config, network, stopped)
    with stopwatch("network"):
        if network is None:
            network, weights, head = _make_network(config, backbone, head, preprocessing.size_px, targets)
        else:
            weights = _check_own(network, preprocessing.size_px, targets)
        check_tensors(network)
        network.to(accelerator.device)
        network.eval()  # nothing that runs before training may teach the norms anything
    name, own = backbone.full_name, weights.kind == "own network"
    watchers.say(f"Your own network, photos as for {name}" if own else f"Backbone {name}, weights: {weights}")
    if weights.licence_warning:
        watchers.say(weights.licence_warning)
    solvable = head_inputs(network) if tasks.of(listing.task).solver else None
    facts = recipe.Facts(
        num_train,
        solvable,
        listing.task,
        targets.num_outputs,
        keeps_label=not flip_warnings(listing.class_names, "none", mirror=True),
        takes_map=config.recipe == "finetune" and takes_map(network, preprocessing, accelerator.device),
    )
    network, config = _filled_in(config, network, head, preprocessing.size_px, facts, watchers.say)
    warn_about_settings(config, listing, num_train, watchers.say, takes_steps=True)
    head = "stages" if isinstance(network, StagesNetwork) else head
    _refuse_phases(config, network, preprocessing, listing.task, accelerator.device)
    source = FeatureSource(
        config,
        network,
        preprocessing,
        backbone.full_name,
        num_train,
        num_val,
        targets,
        accelerator,
        watchers.say,
        Room(watchers.say, is_limited=config.features != "store", shared=config.store),
    )
    new = new_norms(network, weights.kind)
    return Setup(
        config, listing, backbone, preprocessing, network, head, weights, targets, criterion, source, new
    )


def _make_network(
    config: TrainConfig, backbone: Backbone, head: str, size_px: int, targets: Targets
) -> tuple[nn.Module, WeightsSource, str]:
    """Return a pretrained network with a new head, where its weights come from, and the kind of its head."""
    has_box = tasks.of(targets.task).has_box
    network, weights = create_pretrained(backbone, config.weights)
    if config.size_px or not is_staged(network):  # what the tests have not seen
        check_stages(network, size_px)
    if head in ("auto", "stages"):
        head = "spatial" if has_box and "pool" in stage_names(network) else "linear"
    network = put_head(
        network,
        head,  # type: ignore[arg-type]  # the configuration has been checked
        targets.num_outputs,
        is_box=has_box,
        size_px=size_px,
    )
    return network, weights, head


def _filled_in(
    config: TrainConfig,
    network: nn.Module,
    head: str,
    size_px: int,
    facts: recipe.Facts,
    say: Callable[[str], object],
) -> tuple[nn.Module, TrainConfig]:
    """Fill in the phases, and let the head read several stages if it is solved first and may do so.

    Args:
        config: As the user gave it.
        network: With a linear head, unless ``head`` says otherwise.
        head: What kind of head the network has.
        size_px: Side of the input.
        facts: For the recipe, with the inputs of the linear head.
        say: Called with a sentence if a head that reads several stages would take too much memory.

    Returns:
        The network, or one of several stages around it; and the settings with their phases.

    Raises:
        ConfigError: The setting ``head`` is ``"stages"``, and the head cannot be solved on several stages.
    """
    if head == "own":
        config = dataclasses.replace(config, head=head)  # so that resuming knows a network of the user's own
    plain = recipe.complete(config, facts)
    if head != "linear" or config.head not in ("auto", "stages"):
        return network, plain
    is_asked = config.head == "stages"
    mixed = [phase.name for phase in plain.phases if phase.cutmix and phase.unfreeze != "all"]
    several = with_stages_head(network, size_px) if facts.head_inputs else None
    if several is None:
        if is_asked:
            raise ConfigError(
                f"head is 'stages', but {type(network).__name__} has no earlier stages with maps in front of "
                f"one linear layer. Use head = 'linear'."
            )
        return network, plain
    first, num_inputs = plain.phases[0], several.head.linear.in_features
    if mixed or first.optimizer != "exact" or first.unfreeze not in ("head", 0):
        if is_asked:
            raise ConfigError(
                "head is 'stages', which is solved first, and whose inputs cutmix cannot mix; these phases "
                "begin with steps or have cutmix. Use head = 'linear', or the recipe 'probe' or 'finetune'."
            )
        return network, plain
    num_rows = facts.num_train * (1 if first.augment == "none" else first.views)
    if recipe.can_be_solved(num_rows, num_inputs, facts.num_classes):
        return several, plain
    num_bytes = recipe.solving_bytes(num_rows, num_inputs, facts.num_classes)
    if is_asked:
        raise ConfigError(
            f"head is 'stages', and solving it would take about {num_bytes / 1e9:.1f} GB of memory; at most "
            f"{recipe.EXACT_LIMIT_BYTES / 1e9:.1f} GB are allowed. Use head = 'auto' or 'linear'."
        )
    say(recipe.last_stage_alone(num_bytes))
    return network, plain


def _refuse_phases(
    config: TrainConfig, network: nn.Module, preprocessing: Preprocessing, task: str, device: torch.device
) -> None:
    """Refuse phases that the task or the network does not allow.

    Raises:
        UsageError: As the checks below.
    """
    for phase in config.phases:
        _refuse_phase_for_task(phase, task)
    is_file = config.recipe not in RECIPES
    refuse_impossible_phases(network, config.phases, source=config.recipe if is_file else "")
    if config.head == "own":
        in_steps = (phase.unfreeze for phase in config.phases if phase.optimizer != "exact")
        for unfreeze in dict.fromkeys(in_steps):
            check_training(network, unfreeze, preprocessing.size_px)
    for phase in config.phases:
        if phase.cutmix or phase.mirror:
            prefix, suffix = cut_for_training(network, phase.unfreeze, preprocessing, device)
            shape = prefix.row(preprocessing.size_px).shape
            check_mix(phase, shape)
            check_mirror(phase, shape, Layout.of(suffix))


def _head_kind(config: TrainConfig, network: nn.Module | None, stopped: Path | None) -> str:
    """Return what kind of head is asked for.

    Raises:
        ConfigError: A network of the user's own is there and not asked for, or the other way round.
    """
    if network is None:
        if config.head == "own":
            call = "hs.train(..., network=net)"
            if stopped is not None:
                call = f"hs.resume({os.fspath(stopped)!r}, network=net)"
            raise ConfigError(
                [
                    f"head is 'own': this run trains a network of your own, which is not in a file. Pass it "
                    f"in Python, as it was before training: {call}."
                ]
            )
        return config.head
    ignored = [
        f"{name} is {value!r}"
        for name, value, usual in (
            ("head", config.head, ("auto", "own")),
            ("weights", config.weights, ("default",)),
        )
        if value not in usual
    ]
    if ignored:
        raise ConfigError([f"{' and '.join(ignored)}, but network brings its own. Leave them out."])
    return "own"


def _check_own(network: nn.Module, size_px: int, targets: Targets) -> WeightsSource:
    """See whether a user's own network does what the task needs, and name its weights.

    Raises:
        UsageError: It does not.
    """
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"network is {network!r}; it must be an instance of torch.nn.Module. For a backbone of "
            f"torchvision or timm by its name, use backbone=."
        )
    if next(network.parameters(), None) is None:
        raise UsageError(
            f"network, a {type(network).__name__}, has no parameters, so nothing can be trained."
        )
    _refuse_kinds(network)
    images = torch.zeros(2, 3, size_px, size_px, device=next(network.parameters()).device)
    network.eval()
    try:
        with torch.no_grad():
            outputs = network(images)
    except Exception as error:  # whatever the user's own code raises
        raise UsageError(
            f"network fails on two images of {size_px} × {size_px} pixels: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(outputs, torch.Tensor):
        raise UsageError(
            f"network gives a {type(outputs).__name__}; it must give one tensor. Wrap it in a module whose "
            f"forward pass returns the part that is to be trained."
        )
    check_stages(network, size_px)
    model = check_export(network, size_px)
    found = tuple(outputs.shape)
    if found != (2, targets.num_outputs):
        raise UsageError(
            f"network gives outputs of shape {found} for two images; the task, {targets.task}, needs "
            f"(2, {targets.num_outputs}): {tasks.of(targets.task).answers}."
        )
    return WeightsSource("own network", None, function_hash(model, "outputs"))


def _refuse_kinds(network: nn.Module) -> None:
    """Refuse networks whose modules cannot be seen one by one, and weights that steps would round away."""
    for name, module in network.named_modules():
        where = f"network.{name}" if name else "network"
        if isinstance(module, torch.jit.ScriptModule):
            raise NetworkError(
                f"{where} is a TorchScript module, which cannot be cut into stages. Give the network as it "
                f"was before torch.jit.script or torch.jit.trace."
            )
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            raise NetworkError(
                f"{where} is compiled by torch.compile, which hides what runs inside. Give the network as it "
                f"was before: network._orig_mod, or without network.compile()."
            )
    halves = [
        f"{name} ({str(parameter.dtype).removeprefix('torch.')})"
        for name, parameter in network.named_parameters()
        if parameter.dtype in (torch.float16, torch.bfloat16)
    ]
    if halves:
        more = f" and {len(halves) - 3} more" if len(halves) > 3 else ""
        raise NetworkError(
            f"network has parameters in half precision: {', '.join(halves[:3])}{more}. Give network.float(); "
            f"precision = 'bf16' then computes in half precision and keeps the weights in float32."
        )


def _refuse_phase_for_task(phase: PhaseConfig, task: str) -> None:
    """Refuse what a phase asks for and its task has no meaning for."""
    kind = tasks.of(task)
    only_classes = [
        *(["class_weights = 'balanced'"] if phase.class_weights != "none" else []),
        *(["sampling = 'balanced'"] if phase.sampling != "shuffled" else []),
    ]
    refused = [] if kind.has_class else only_classes
    if phase.optimizer == "exact" and kind.solver is None:
        refused.append("optimizer = 'exact'")
    if not kind.can_be_mixed:
        refused += [name for name in ("mixup", "cutmix") if getattr(phase, name)]
    if phase.mirror and kind.has_box:
        refused.append("mirror")
    if phase.label_smoothing and not kind.can_be_smoothed:
        refused.append("label_smoothing")
    if refused:
        raise ConfigError(
            [
                f"Phase {phase.name}: the task {task!r} does not support {', '.join(refused)}. Remove this "
                f"from the phase."
            ]
        )
