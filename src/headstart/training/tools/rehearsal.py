"""A phase gone through on black photos, so that its time and its sizes are known before training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator

from headstart.config import PhaseConfig
from headstart.data.check import record_of
from headstart.frozen.activations import Activations
from headstart.inference.runtime import photos_per_second, seconds
from headstart.model.freeze import freeze, make_trainable
from headstart.model.stages import cut
from headstart.records import Record
from headstart.training.setup import Setup
from headstart.training.steps.epoch import evaluate
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.optim import parameter_groups
from headstart.training.steps.phase import ReadyPhase, make_ready
from headstart.training.tools.phase_plan import PhasePlan


def rehearse(setup: Setup, phase: PhaseConfig, accelerator: Accelerator) -> PhasePlan:
    """Freeze, group and time as training would, with zeros for photos; the weights stay as they are."""
    config, network, source = setup.config, setup.network, setup.source
    size_px = setup.preprocessing.size_px
    prefix, suffix = source.cut(phase)
    freeze(prefix.stages)
    make_trainable(suffix, phase.norm, setup.new_norms)
    groups = parameter_groups(network, suffix, phase)
    best_bytes = _best_bytes(setup, phase)
    prefix_rate = float("inf")
    if prefix.stages:
        prefix_rate = photos_per_second(prefix, size_px, prefix.batch_size, config.workers)
    steps_per_epoch, epoch_seconds, state_bytes = 0, 0.0, 0
    if phase.optimizer != "exact":
        zeros = cast(Activations, _Zeros(prefix.row(size_px)))
        features = PhaseFeatures(
            phase=phase,
            prefix=prefix,
            suffix=suffix,
            frozen_digest="",
            plain=zeros,
            training=zeros,
            views=range(1),
            augmentation=None,
            targets=setup.targets,
            accelerator=accelerator,
        )
        records = _unread(setup)[: source.num_train]
        ready = make_ready(setup, features, records, accelerator, schedule=lambda *_: 0.0)
        steps_per_epoch = ready.batches.steps_per_epoch
        epoch_seconds = _epoch_seconds(setup, ready, accelerator)
        state_bytes = sum(tensor.nbytes for tensor in ready.trainer.tensors().values())
    suffix.to(memory_format=torch.contiguous_format)
    return PhasePlan(
        phase=phase,
        frozen=prefix.stages.names,
        trained=[
            str(stage.name)
            for stage in cut(network, phase.unfreeze)[1]
            if next(stage.parameters(), None) is not None
        ],
        groups=groups,
        storage=source.storage(phase, prefix),
        steps_per_epoch=steps_per_epoch,
        prefix_rate=prefix_rate,
        epoch_seconds=epoch_seconds,
        checkpoint_bytes=best_bytes + state_bytes,
        best_bytes=best_bytes,
    )


def _unread(setup: Setup) -> list[Record]:
    """Return the photos that may be trained on, with what is known of them before any is read."""
    labels = {name: label for label, name in enumerate(setup.listing.class_names)}
    candidates = [each for each in setup.listing.candidates if each.split in (None, "train")]
    records = [record_of(each, labels, sha256="") for each in candidates]
    return [replace(record, box=(0, 0, 1, 1), size=(1, 1)) for record in records]


@dataclass(frozen=True)
class _Zeros:
    """Activations without photos: one row of black, as often as it is asked for."""

    row: np.ndarray

    def rows(self, photos: Any) -> Iterator[np.ndarray]:
        return (np.zeros_like(self.row) for _ in photos)


def _epoch_seconds(setup: Setup, ready: ReadyPhase, accelerator: Accelerator) -> float:
    """Time one step and the scoring of as many photos, and return what an epoch takes of both."""
    batches, accumulate = ready.batches, ready.batches.accumulate
    num_photos = min(len(batches.records), batches.batch_size * accumulate)

    def step() -> None:
        totals = torch.zeros(3, device=accelerator.device)
        ready.trainer.step(list(islice(batches.epoch(), accumulate)), 1, totals)

    def score() -> None:
        first_batches = islice(batches.epoch(), accumulate)
        evaluate(ready.trainer.suffix, first_batches, setup.criterion, accelerator)

    trained = seconds(step) * setup.source.num_train
    return (trained + seconds(score) * setup.source.num_val) / num_photos


def _best_bytes(setup: Setup, phase: PhaseConfig) -> int:
    """Return the size of what the phases so far train, which a file of best weights holds."""
    phases, state = setup.config.phases, setup.network.state_dict()
    trained = {name for each in phases[: phases.index(phase) + 1] for name in setup.trained_names(each)}
    return sum(state[name].nbytes for name in trained)
