"""The ground floor of training: frozen features, a solved head, a model file. No PyTorch."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import numpy as np

from headstart import tasks
from headstart.answers.groups import with_groups
from headstart.answers.scores import summary_of
from headstart.answers.table import Answers
from headstart.config import PhaseConfig
from headstart.data.check import CheckedPhoto
from headstart.data.split import Splits
from headstart.data.targets import Scale, Targets
from headstart.errors import ParityError
from headstart.findings.survey import near_pairs
from headstart.frozen.onnx_file.check import check_on_files
from headstart.frozen.prefix import ACTIVATIONS
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import Predictor
from headstart.inference.run_self_test import seal_with_self_test
from headstart.inference.runtime import CPU
from headstart.probe.assemble import assemble, describe, head_inputs
from headstart.probe.photos import OutOfFold, SolvedPhotos, solve_photos
from headstart.probe.unknown_graph import with_unknown
from headstart.probe.weights import save_head
from headstart.products.calibration import Calibration, calibrate, with_temperatures
from headstart.products.fixed_shapes import with_fixed_shapes
from headstart.products.heat_map import HeatMapOutput, with_heat_map
from headstart.products.outputs import outputs_of_file, outputs_of_file_from_rows, with_thresholds
from headstart.products.unknown import OutputsOf, Unknown, find_unknown, is_wanted
from headstart.records import Candidate, Dataset, Record
from headstart.training.floor import Model
from headstart.training.probe_setup import ProbeFeatures, ProbeSetup, compute_the_rest, open_features
from headstart.training.run.history import EpochRecord, Scores
from headstart.training.run.provenance import provenance, versions
from headstart.training.run.run_folder import RunFolder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.solve_folds import SolvedFolds, solve_folds
from headstart.training.watch.watchers import Watchers

_PARITY_PHOTOS: Final = 4  # in one batch: the file has the very operations that made the rows
_TOLERANCE: Final = 1e-3  # of an answer: a probability, or a number in standard deviations


class GroundFloor:
    """Solves a head on the features of a frozen backbone, without PyTorch: see ``Floor``."""

    _run: RunFolder  # since open_run
    _features: ProbeFeatures  # since read_photos
    _dataset: Dataset  # since begin, like the next two
    _splits: Splits
    _targets: Targets
    _solved: SolvedPhotos  # since train_phase, like the next two
    _folds: SolvedFolds | None
    _begun: float

    def __init__(self, setup: ProbeSetup, watchers: Watchers, stopwatch: Stopwatch) -> None:
        """
        Args:
            setup: What the run begins with.
            watchers: See what happens.
            stopwatch: For the seconds.
        """
        self.config, self.listing, self.is_solved = setup.config, setup.listing, True
        self._setup, self._watchers, self._stopwatch = setup, watchers, stopwatch
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def open_run(self, stopped: Path | None, *, force: bool) -> RunFolder:
        """Return the run's folder; a run that was stopped begins again in its own."""
        backbone, say = self._setup.backbone, self._watchers.say
        self._run = RunFolder(self.config, provenance(self.config, backbone.weights), say=say)
        self._cleanup.callback(self._run.close)
        if stopped is not None:
            self._run.reopen(stopped)
            self._run.begin_again("A solved head has no checkpoints", force=force)
        say(f"Backbone {backbone.name}, weights: {backbone.source}")
        if warning := backbone.source.licence_warning:
            say(warning)
        if backbone.is_file:
            check_on_files(backbone, [photo.photo for photo in self.listing.candidates], say)
        return self._run

    def read_photos(self, advance: Callable[[int], object]) -> Iterator[CheckedPhoto]:
        """Read and check every photo, and compute its features in the same pass."""
        features = self._features = open_features(self._setup, self._watchers)
        self._cleanup.callback(features.close)

        def wanted(photo: Candidate) -> bool:
            # Of what is trained on in other views, only validation photos are needed as they are.
            return features.training is features.plain or photo.split == "val"

        for photo in features.plain.activations.check(self.listing.candidates, wanted):
            advance(1)
            yield photo

    def near_duplicates(self, records: Sequence[Record]) -> Sequence[tuple[int, int]] | None:
        """Compare the photos by the features of the last stage."""
        plain, room = self._features.plain, self._features.room
        return near_pairs(
            records,
            lambda: np.stack([*plain.activations.rows((record, 0) for record in records)]),
            room,
            self._watchers.counting,
        )

    def begin(
        self, out: str | os.PathLike[str] | None, dataset: Dataset, splits: Splits, *, force: bool
    ) -> None:
        """Make the run folder."""
        self._dataset, self._splits = dataset, splits
        scale = Scale.of(splits.train, dataset.targets)
        preprocessing = self._setup.backbone.preprocessing
        self._targets = Targets(dataset.task, dataset.class_names, preprocessing, scale)
        self._run.begin(out, dataset, splits, force=force)

    def train_phase(self, phase: PhaseConfig) -> None:
        """Solve the head."""
        splits, features, setup = self._splits, self._features, self._setup
        blocks = setup.blocks
        num_parameters = (blocks[-1].last + 1) * self._targets.num_outputs
        self._watchers.phase_begun(phase, ["all but the head"], num_parameters)
        self._begun = time.monotonic()
        with self._stopwatch("features"):
            compute_the_rest(features, setup.views, splits, self._watchers)
        with self._stopwatch("train"):
            self._solved = solve_photos(
                splits.train,
                setup.views,
                functools.partial(features.training.rows, stages=[block.name for block in blocks[:-1]]),
                blocks,
                self._targets,
                min_blocks=2 if self.config.head == "stages" else 1,
                select=self.config.select,
                say=self._watchers.say,
            )
        self._watchers.head_solved(self._solved.summary())
        if self._solved.adjustment:
            self._watchers.say(self._solved.adjustment.sentence)
        self._folds = None
        if splits.fold:
            with self._stopwatch("folds"):
                self._folds = solve_folds(setup, features, self._dataset, splits, self._watchers)

    def make_model(self) -> Model:
        """Write the model file and compare it with the stored features; it gives the epoch its scores."""
        setup, splits, solved, phase = self._setup, self._splits, self._solved, self._setup.phase
        self._watchers.say("Writing the model and checking it")
        with self._stopwatch("export"):
            scale = self._targets.scale
            model = _write_model(
                self._run, setup, self._dataset, splits, self._features, solved, scale, self._folds
            )
        record = EpochRecord(
            phase.name,
            1,
            _train_scores(solved.outputs, splits.train, model.predictor.info),
            model.val_scores,
            0.0,
            round(time.monotonic() - self._begun, 3),
        )
        self._watchers.epoch_done(record, is_best=True)
        facts = {
            "seed": self.config.seed,
            "weights_from": setup.backbone.source.to_dict(),
            "head": solved.summary(),
            "phases": [{"name": phase.name, "unfrozen": phase.unfreeze, "epochs": [record.of_phase()]}],
            "best": {"phase": phase.name, "epoch": 1, "share": 1.0},
            "parity": model.parity,
        }
        folds, info = self._folds, model.predictor.info
        return Model(
            model.predictor,
            model.val_outputs,
            model.out_of_fold,
            facts,
            model.calibration,
            model.unknown,
            folds.by_folds(splits, info, self._dataset.root) if folds else None,
            model.heat_map,
        )


@dataclass(frozen=True)
class _Written:
    """A model file.

    Attributes:
        predictor: Predicts with its bytes.
        val_outputs: (N, D), its outputs for the validation photos.
        val_scores: Scores of the validation photos before calibration; empty if there are none.
        out_of_fold: See ``Model``.
        calibration, unknown, heat_map: See ``Model``.
        parity: How far its answers are from those for stored features, for ``metrics.json``.
    """

    predictor: Predictor
    val_outputs: np.ndarray
    val_scores: Scores
    out_of_fold: OutOfFold | None
    calibration: Calibration | None
    unknown: Unknown | str | None
    heat_map: HeatMapOutput
    parity: dict[str, Any]


def _write_model(
    run: RunFolder,
    setup: ProbeSetup,
    dataset: Dataset,
    splits: Splits,
    features: ProbeFeatures,
    solved: SolvedPhotos,
    scale: Scale,
    folds: SolvedFolds | None,
) -> _Written:
    """Calibrate the head, write ``model.safetensors`` and ``model.onnx``, and compare with stored features.

    Raises:
        ParityError: The answers of ``model.onnx`` differ from those for the stored features.
    """
    backbone, head, out_of_fold = setup.backbone, solved.head, solved.out_of_fold
    info = replace(describe(backbone, dataset, solved.reading, scale), versions=versions())
    info = with_groups(info, splits.train)

    def outputs_of(graph: bytes, photos: Sequence[Record]) -> np.ndarray:
        if not photos:
            return np.zeros((0, info.num_outputs), np.float32)
        rows = features.plain.rows(((photo, 0) for photo in photos), info.stages)
        found = outputs_of_file_from_rows(graph, head_inputs(info), rows)
        assert found is not None  # the file begins with the backbone's graph
        return found

    graph = assemble(backbone, head.weight, head.bias, info)
    val_outputs = outputs_of(graph, splits.val)
    info = with_thresholds(info, *_chosen_on(splits, val_outputs, out_of_fold))
    val_scores = {}
    if splits.val:
        val_scores = summary_of(Answers.from_outputs(splits.val, val_outputs, info, "val"), info)
    tau = solved.adjustment.tau if solved.adjustment else 0.0
    by_folds = (folds.raw, folds.calibrated) if folds else None
    calibration = calibrate(info, splits, val_outputs, out_of_fold, tau=tau, by_folds=by_folds)
    if calibration and calibration.is_needed:
        factors = calibration.factors(info)
        head = head.multiplied(factors)
        out_of_fold = out_of_fold and out_of_fold.multiplied(factors)
        graph = assemble(backbone, head.weight, head.bias, info)
        val_outputs = outputs_of(graph, splits.val)
        info = with_thresholds(info, *_chosen_on(splits, val_outputs, out_of_fold))
    info, of_file = with_temperatures(info, calibration), partial(outputs_of, graph)
    unknown = _find_unknown(setup, features, splits, out_of_fold, val_outputs, folds, of_file)
    if isinstance(unknown, Unknown):
        graph = with_unknown(graph, ACTIVATIONS, unknown.score)
        info = replace(info, unknown_threshold=unknown.score.threshold)
    explained = with_heat_map(graph, info)
    save_head(run.path / "model.safetensors", backbone, head.weight, head.bias, info)
    model = seal_with_self_test(with_fixed_shapes(explained.model, info.preprocessing.size_px), info)
    predictor = Predictor.from_bytes(model, providers=CPU)
    photos = splits.val or splits.train
    step = math.ceil(len(photos) / _PARITY_PHOTOS)
    outputs = val_outputs[::step] if splits.val else outputs_of(graph, photos[::step])
    parity = _compare(predictor, photos[::step], outputs, run.path)
    if isinstance(unknown, Unknown):
        unknown.refuse_disagreement(predictor)
    run.write_bytes("model.onnx", model)
    return _Written(predictor, val_outputs, val_scores, out_of_fold, calibration, unknown, explained, parity)


def _chosen_on(
    splits: Splits, val_outputs: np.ndarray, out_of_fold: OutOfFold | None
) -> tuple[Sequence[Record], np.ndarray]:
    """Return what thresholds are chosen on: validation photos, or training photos out of fold."""
    if splits.val or out_of_fold is None:
        return splits.val, val_outputs
    rows = np.flatnonzero(out_of_fold.fold >= 0)
    return [splits.train[row] for row in rows.tolist()], out_of_fold.outputs[rows]


def _find_unknown(
    setup: ProbeSetup,
    features: ProbeFeatures,
    splits: Splits,
    out_of_fold: OutOfFold | None,
    val_outputs: np.ndarray,
    folds: SolvedFolds | None,
    of_file: OutputsOf,
) -> Unknown | str | None:
    """Find out how foreign photos differ from the classes, by the features of the last stage.

    After augmented views, training photos have no features as they are, so validation photos are used.
    """
    if not is_wanted(setup.config, setup.listing.task):
        return None

    def features_of(photos: Sequence[Record]) -> np.ndarray:
        return np.stack(list(features.plain.rows(((photo, 0) for photo in photos), ())))

    answers = out_of_fold if features.training is features.plain else None
    rejected = None if folds is None else folds.rejected
    return find_unknown(splits, val_outputs, answers, features_of, rejected=rejected, outputs_of=of_file)


def _train_scores(outputs: np.ndarray, photos: Sequence[Record], info: ModelInfo) -> Scores:
    """Return the loss and the headline of the head on what it was solved on."""
    task = tasks.of(info.task)
    outputs = task.to_file(outputs, info)
    seen = [*photos] * (len(outputs) // len(photos))  # each once per view
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
