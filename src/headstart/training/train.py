"""The training story, from a folder of photos to a model file. Read it from top to bottom."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart import recipe
from headstart.config import TrainConfig
from headstart.data.check import check_images
from headstart.data.folder import read_folder
from headstart.data.records import Listing
from headstart.data.split import split_dataset
from headstart.errors import TrainingError
from headstart.images.preprocess import Preprocessing
from headstart.model.backbones import resolve
from headstart.model.freeze import digest, hold_norm_statistics, unfreeze
from headstart.model.head import replace_head
from headstart.model.stages import check_stages, is_staged, state_names
from headstart.model.weights import create_pretrained
from headstart.model_file import ModelInfo
from headstart.training.batches import Batches
from headstart.training.device import create_accelerator, reproducible
from headstart.training.display import Display
from headstart.training.epoch import evaluate, train_one_epoch
from headstart.training.features import FeatureSource
from headstart.training.finish import finish, versions
from headstart.training.history import EpochRecord
from headstart.training.optim import build_optimizer
from headstart.training.run_dir import RunDir
from headstart.training.sampler import epoch_order
from headstart.training.solve_head import fit_head, head_inputs, refuse_impossible_phases
from headstart.training.stopwatch import Stopwatch


@dataclass(frozen=True)
class TrainResult:
    """What a training run leaves behind.

    Attributes:
        path: The run folder.
        metrics: The content of its ``metrics.json``.
    """

    path: Path
    metrics: dict[str, Any]


def train(
    data: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, **settings: Any
) -> TrainResult:
    """Train a classifier of photos.

    Args:
        data: A folder of class folders, or of train/val/test folders above them.
        out: The run folder; by default ``runs/NAME-OF-DATA``, with a number if that exists.
        settings: Any field of ``TrainConfig``: ``backbone``, ``recipe``, ``seed``, ...

    Returns:
        The run folder, with ``model.onnx`` and ``model.safetensors`` in it, and its metrics.

    Raises:
        UsageError: The settings or the photos cannot be used; nothing has been trained.
        HeadstartError: The work failed, for a reason that the message names.
    """
    config = TrainConfig.from_settings(data, **settings)
    accelerator = create_accelerator(config)
    device, is_main = accelerator.device, accelerator.is_main_process
    display, stopwatch = Display(quiet=not is_main), Stopwatch()
    with reproducible(config.seed, device):
        # What can be wrong with the command is found before any photo is read.
        if is_main:
            RunDir.refuse(out)
        listing = read_folder(config.data, config.val_folder)
        num_train, num_val = _estimated_counts(listing, config)
        backbone = resolve(config.backbone)
        preprocessing = _preprocessing(backbone.preprocessing, config)
        with stopwatch("network"):
            network, weights = create_pretrained(backbone, config.weights)
            if config.size_px or not is_staged(network):  # what the tests have not seen
                check_stages(network, preprocessing.size_px)
            replace_head(network, len(listing.class_names)).to(device)
        display.say(f"Backbone {backbone.full_name}, weights: {weights}")
        config = recipe.complete(config, recipe.Facts(num_train, head_inputs(network)))
        refuse_impossible_phases(network, config.phases)

        # One pass reads, hashes and checks the photos and runs the first phase's frozen part on them.
        source = FeatureSource(
            config, network, preprocessing, backbone.full_name, num_train, num_val, accelerator, display.say
        )
        features = source.open(config.phases[0])
        with stopwatch("features"), display.counting("Photos", len(listing.candidates)) as counter:
            checks = features.check(listing.candidates)
            dataset = check_images(listing, config.allow_quarantined, counter.advance, checks)
        splits = split_dataset(dataset, val_fraction=config.val_fraction, seed=config.seed)
        run = RunDir.create(out, config, dataset, writes=is_main)
        display.found(listing, dataset, splits)
        display.flips(dataset.class_names, config.phases)

        for number, phase in enumerate(config.phases):
            if number > 0:
                features = source.open(phase)
            suffix = features.suffix
            unfreeze(suffix)
            hold_norm_statistics(suffix)
            run.begin_phase(network, state_names(network, suffix))
            display.phase(phase, features.prefix.stages, suffix)
            num_rows = len(features.views) * len(splits.train) + len(splits.val)
            with stopwatch("features"), display.counting("Features", num_rows) as counter:
                features.fill(splits.train, splits.val, counter.advance)
            train_batches = Batches(features.training, splits.train, config.batch_size, accelerator)
            val_batches = Batches(features.plain, splits.val, config.batch_size, accelerator)
            if phase.optimizer != "exact":
                optimizer, schedule = build_optimizer(suffix, phase)
                suffix, optimizer = accelerator.prepare(suffix, optimizer)

            num_seen = phase.epochs * len(splits.train)
            with stopwatch("train"), display.counting(phase.name, num_seen) as counter:
                for epoch in range(1, phase.epochs + 1):
                    begun, view = time.monotonic(), features.view(epoch)
                    if phase.optimizer == "exact":
                        lr = 0.0
                        fit_head(suffix, features, splits.train)
                        train_scores = evaluate(suffix, train_batches.epoch(view=view), accelerator)
                    else:
                        lr = optimizer.param_groups[0]["lr"]
                        order = epoch_order(len(splits.train), config.seed, phase.name, epoch)
                        train_scores = train_one_epoch(
                            suffix,
                            train_batches.epoch(order, view),
                            optimizer,
                            accelerator,
                            generator_key=(config.seed, phase.name, epoch),
                            on_step=counter.advance,
                        )
                        schedule.step()
                    val_scores = evaluate(suffix, val_batches.epoch(), accelerator)
                    seconds = time.monotonic() - begun
                    record = EpochRecord.of(phase.name, epoch, train_scores, val_scores, lr, seconds)
                    run.record(record, network)
                    display.epoch(record, phase.epochs, is_best=record is run.best)
            if digest(features.prefix.stages) != features.frozen_digest:
                raise TrainingError(
                    f"Phase {phase.name} changed frozen parameters or buffers. This is a bug of Headstart's; "
                    f"please report it with the backbone's name ({backbone.full_name})."
                )
            features.close()
            accelerator.free_memory()

        metrics: dict[str, Any] = {}
        if is_main:
            display.say("Exporting the best weights and checking the exported model")
            run.load_best(network)
            info = ModelInfo(
                task=dataset.task,
                backbone=backbone.full_name,
                weights=weights.sha256 or weights.kind,
                class_names=dataset.class_names,
                preprocessing=preprocessing,
                versions=versions(),
            )
            metrics = finish(run, network.cpu(), info, config, dataset, splits, stopwatch)
    return TrainResult(run.path, metrics)


def _preprocessing(of_backbone: Preprocessing, config: TrainConfig) -> Preprocessing:
    return dataclasses.replace(
        of_backbone,
        resize=config.resize or of_backbone.resize,  # type: ignore[arg-type]
        size_px=config.size_px or of_backbone.size_px,
    )


def _estimated_counts(listing: Listing, config: TrainConfig) -> tuple[int, int]:
    """How many photos will be trained on and validated on, before any has been read."""
    splits = Counter(candidate.split for candidate in listing.candidates)
    num_train = splits["train"] + splits[None]
    if splits["val"]:
        return num_train, splits["val"]
    num_val = round(config.val_fraction * num_train)
    return num_train - num_val, num_val
