"""The story of a run that takes no steps: frozen features, a solved head, a model file. No PyTorch.

Read it from top to bottom. ``training/train.py`` sends the others to ``training/finetune.py``.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from headstart import tasks
from headstart.answers.scores import summary_of
from headstart.answers.table import Answers
from headstart.config import PhaseConfig, TrainConfig
from headstart.data.check import check_images
from headstart.data.split import Splits, split_dataset
from headstart.data.targets import Scale, Targets
from headstart.errors import ParityError, shell_command
from headstart.frozen.activations import Activations
from headstart.frozen.cache import Room, should_keep
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.onnx_file.check import check_on_files
from headstart.frozen.opened import open_backbone_features
from headstart.frozen.prefix import ACTIVATIONS
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import CPU
from headstart.probe.assemble import assemble
from headstart.probe.solve import SolvedHead
from headstart.probe.weights import save_head
from headstart.records import Candidate, Dataset, Listing, Record
from headstart.training.hand_over import (
    hand_over,
    outputs_of_file,
    outputs_of_file_from_rows,
    with_thresholds,
)
from headstart.training.run.history import EpochRecord, Scores
from headstart.training.run.provenance import provenance, versions
from headstart.training.run.result import TrainResult
from headstart.training.run.run_folder import RunFolder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.solved import solve_photos
from headstart.training.watch.watcher import RunStart
from headstart.training.watch.watchers import Watchers
from headstart.views.augmentation import Augmentation

_PARITY_PHOTOS: Final = 4  # in one batch: the file has the very operations that made the rows
_TOLERANCE: Final = 1e-3  # of an answer: a probability, or a number in standard deviations


@dataclass(frozen=True)
class ProbeSetup:
    """What a probe begins with.

    Attributes:
        config: With its one phase.
        listing: The photos, none of them read.
        backbone: Computes the features.
    """

    config: TrainConfig
    listing: Listing
    backbone: OnnxBackbone

    @property
    def phase(self) -> PhaseConfig:
        """The only phase."""
        (phase,) = self.config.phases
        return phase


def train_probe(
    setup: ProbeSetup,
    watchers: Watchers,
    *,
    out: str | os.PathLike[str] | None = None,
    stopped: Path | None = None,
    force: bool = False,
) -> TrainResult:
    """Solve a head on the features of a frozen backbone: see ``train.train`` and ``train.resume``.

    Args:
        setup: What the run begins with.
        watchers: See what happens.
        out: The run folder; None for the default.
        stopped: The folder of the run that is resumed: it begins again there; None for a new run.
        force: Resume although packages, settings or photos have changed.

    Raises:
        UsageError: The photos cannot be used.
        HeadstartError: The work failed, for a reason that the message names.
    """
    config, backbone, phase = setup.config, setup.backbone, setup.phase
    stopwatch = Stopwatch()
    with ExitStack() as cleanup:
        if stopped is None:
            RunFolder.refuse(out, config.data)
        run = RunFolder(config, provenance(config, backbone.weights), say=watchers.say)
        cleanup.callback(run.close)
        if stopped is not None:
            run.reopen(stopped)
            run.begin_again("A head that is solved has no checkpoints", force=force, say=watchers.say)
        cleanup.enter_context(_told_how_to_go_on(run, watchers.say))
        watchers.say(f"Backbone {backbone.name}, weights: {backbone.source}")
        if backbone.is_file:
            check_on_files(backbone, [photo.photo for photo in setup.listing.candidates], watchers.say)

        features = _open_features(setup, watchers)
        cleanup.callback(features.close)
        with stopwatch("features"):
            dataset = _read_photos(setup, features, watchers)
        splits = split_dataset(dataset, val_fraction=config.val_fraction, seed=config.seed)
        scale = Scale.of(splits.train, dataset.targets)
        targets = Targets(dataset.task, dataset.class_names, backbone.preprocessing, scale)
        run.begin(out, dataset, splits, force=force, say=watchers.say)
        watchers.run_begun(RunStart(run.path, config, is_resumed=stopped is not None))
        watchers.photos_read(setup.listing, dataset, splits)
        num_parameters = (backbone.num_features + 1) * targets.num_outputs
        watchers.phase_begun(phase, ["all but the head"], num_parameters)

        begun = time.monotonic()
        with stopwatch("features"):
            _compute_the_rest(features, splits, watchers)
        with stopwatch("train"):
            solved, out_of_fold, inputs = solve_photos(
                splits.train, features.views, features.training.rows, backbone.num_features, targets
            )
        watchers.head_solved(solved.summary())

        watchers.say("Writing the model and checking it")
        with stopwatch("export"):
            model = _write_model(run, setup, dataset, splits, features, solved, scale)
        info = model.predictor.info
        record = EpochRecord(
            phase.name,
            1,
            _train_scores(inputs, splits.train, solved, info),
            summary_of(Answers.from_outputs(splits.val, model.val_outputs, info, "val"), info),
            0.0,
            round(time.monotonic() - begun, 3),
        )
        watchers.epoch_done(record, is_best=True)
        epoch = {key: value for key, value in record.flat().items() if key not in ("phase", "completed")}
        facts = {
            "seed": config.seed,
            "weights_from": backbone.source.to_dict(),
            "head": solved.summary(),
            "phases": [{"name": phase.name, "unfrozen": phase.unfreeze, "epochs": [epoch]}],
            "best": {"phase": phase.name, "epoch": 1},
            "parity": model.parity,
        }
        metrics = hand_over(
            run, model.predictor, dataset, splits, model.val_outputs, out_of_fold, facts, stopwatch
        )
        watchers.run_finished(metrics)
        run.write_metrics(metrics)  # last, for it says that the run is finished
    return TrainResult(run.path, metrics)


@contextmanager
def _told_how_to_go_on(run: RunFolder, say: Callable[[str], object]) -> Iterator[None]:
    """Say what to do after Ctrl-C, or after a signal that the command line has made a SystemExit of."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if run.path == Path():  # the photos were still being read
            say("The run had not begun. Give the same command again; stored features are not computed again.")
        else:
            say(f"Resume with: {shell_command('resume', run.path)}")
        raise


@dataclass(frozen=True)
class _Features:
    """Features of photos as they are, and of what is trained on; often the same object.

    Attributes:
        plain: Of photos as they are.
        training: Of the views that are trained on.
        views: Numbers of these views; 0 is the photo as it is.
    """

    plain: Activations
    training: Activations
    views: range

    def close(self) -> None:
        """Let go of stores and memory."""
        self.plain.close()
        if self.training is not self.plain:
            self.training.close()


def _open_features(setup: ProbeSetup, watchers: Watchers) -> _Features:
    config, phase, backbone = setup.config, setup.phase, setup.backbone
    views = range(1) if phase.augment == "none" else range(1, phase.views + 1)
    num_photos = len(setup.listing.candidates)
    num_bytes = 4 * backbone.num_features * num_photos * len(views)
    keep, why = should_keep(config.features, num_bytes, num_photos, num_photos)
    if not keep:
        watchers.say(f"Features are not stored: {why}")
    room = Room(watchers.say, is_limited=config.features != "store")
    options: dict[str, Any] = {"say": watchers.say, "keep": keep, "workers": config.workers, "room": room}
    # The pooled outputs of all stages are computed on the way and kept, too.
    plain = open_backbone_features(backbone, pooled=keep, **options).activations
    if phase.augment == "none":
        return _Features(plain, plain, views)
    augmentation = Augmentation(phase.augment, config.seed)
    training = open_backbone_features(backbone, augmentation=augmentation, pooled=False, **options)
    return _Features(plain, training.activations, views)


def _read_photos(setup: ProbeSetup, features: _Features, watchers: Watchers) -> Dataset:
    """Read, hash and check the photos, and compute their features in the same pass.

    Raises:
        DataError: They cannot be used.
    """
    candidates = setup.listing.candidates

    def wanted(photo: Candidate) -> bool:
        if features.training is not features.plain:  # only validation photos are needed as they are
            return photo.split == "val"
        return photo.split != "test"  # from which nothing may be learned

    with watchers.counting("Photos", len(candidates)) as counter:
        checks = counter.each(features.plain.check(candidates, wanted))
        return check_images(setup.listing, setup.config.allow_quarantined, checks=checks)


def _compute_the_rest(features: _Features, splits: Splits, watchers: Watchers) -> None:
    """Compute what the first pass could not, as it did not know who is trained on, and on which views."""
    train = [(record, view) for view in features.views for record in splits.train]
    with watchers.counting("Features", len(train) + len(splits.val)) as counter:
        for _ in counter.each(features.training.fill(train)):
            pass
        for _ in counter.each(features.plain.fill((record, 0) for record in splits.val)):
            pass


@dataclass(frozen=True)
class _Model:
    """The model file as it was written.

    Attributes:
        predictor: Predicts with its bytes.
        val_outputs: (N, D), of the file for the validation photos.
        parity: How far its answers are from those for stored features, as ``metrics.json`` has it.
    """

    predictor: Predictor
    val_outputs: np.ndarray
    parity: dict[str, Any]


def _write_model(
    run: RunFolder,
    setup: ProbeSetup,
    dataset: Dataset,
    splits: Splits,
    features: _Features,
    solved: SolvedHead,
    scale: Scale,
) -> _Model:
    """Write ``model.safetensors`` and ``model.onnx``, and compare the latter with the stored features.

    Raises:
        ParityError: They differ.
    """
    backbone = setup.backbone
    info = ModelInfo(
        task=dataset.task,
        backbone=backbone.name,
        weights=backbone.weights,
        class_names=dataset.class_names,
        preprocessing=backbone.preprocessing,
        head="linear",
        targets=dataset.targets,
        scale=(scale.mean, scale.std),
        thresholds=tasks.of(dataset.task).first_thresholds(len(dataset.class_names)),
        versions=versions(),
    )
    graph = assemble(backbone, solved.weight, solved.bias, info)
    val_outputs = outputs_of_file_from_rows(graph, info, ACTIVATIONS, features.plain, splits.val)
    assert val_outputs is not None  # the file begins with the backbone's graph
    info = with_thresholds(info, splits.val, val_outputs)
    save_head(run.path / "model.safetensors", backbone, solved.weight, solved.bias, info)
    model = seal_onnx(graph, info)
    predictor = Predictor.from_bytes(model, providers=CPU)
    step = math.ceil(len(splits.val) / _PARITY_PHOTOS)
    parity = _compare(predictor, splits.val[::step], val_outputs[::step], run.path)
    run.write_bytes("model.onnx", model)
    return _Model(predictor, val_outputs, parity)


def _train_scores(
    inputs: np.ndarray, photos: Sequence[Record], solved: SolvedHead, info: ModelInfo
) -> Scores:
    """Return the loss and the headline of the head on what it was solved on."""
    task = tasks.of(info.task)
    outputs = task.to_file(inputs @ solved.weight.T + solved.bias, info)
    seen = [*photos] * (len(inputs) // len(photos))  # each once per view
    answers = Answers.from_outputs(seen, outputs, info, "out-of-fold")
    summary = summary_of(answers, info)
    return {name: summary[name] for name in ("loss", task.metrics[0])}


def _compare(
    predictor: Predictor, photos: Sequence[Record], outputs: np.ndarray, run: Path
) -> dict[str, Any]:
    """Compare what the file gives for photos from their bytes with what it gives for stored features.

    Raises:
        TrainingError: A photo can no longer be read.
        ParityError: They differ.
    """
    info = predictor.info
    task = tasks.of(info.task)
    found = task.comparable(outputs_of_file(predictor, photos, run), info)
    differences = np.abs(found - task.comparable(outputs, info)).max(1)
    worst = int(differences.argmax())
    if not differences[worst] <= _TOLERANCE:  # NaN counts as a difference
        raise ParityError(
            f"The model file gives another answer for {photos[worst].path} than its stored features: they "
            f"differ by {differences[worst]:.2g}, and {_TOLERANCE:g} is allowed. Train again with --features "
            f"live, which stores nothing. If the same error comes again, please report it with the name of "
            f"the backbone."
        )
    return {"num_photos": len(photos), "max_difference": float(differences[worst])}
