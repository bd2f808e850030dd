"""Scores one backbone on photos, by a head that is solved and cross-validated, and writes its model file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from headstart import tasks
from headstart.config import TrainConfig
from headstart.data.split import unit_names
from headstart.data.targets import Scale, Targets
from headstart.errors import DataError, TrainingError
from headstart.files import write_whole
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.inference.model_file import seal_onnx
from headstart.probe.assemble import assemble, describe
from headstart.probe.photos import SolvedPhotos, solve_photos
from headstart.probe.read import affordable_blocks, open_for_photos, read_photos
from headstart.probe.solve import scores_of_rows
from headstart.records import Dataset, Listing, Record


@dataclass(frozen=True, eq=False)
class Measured:
    """The scores of one backbone.

    Attributes:
        name: Name by which the backbone is chosen for training.
        size_px: Size of its input.
        stages: Names of the stages before the last one that the head reads.
        losses: (N,), out-of-fold loss of each photo.
        scores: (N,), out-of-fold main score of each photo: for classes, whether it is right.
        units: (N,) ints: photos of the same group and identical photos have the same number.
        model: The model file that a probe would write.
        megabytes: Its size, in 10⁶ bytes.
        dataset: The photos, and what happened to each file.
    """

    name: str
    size_px: int
    stages: tuple[str, ...]
    losses: np.ndarray
    scores: np.ndarray
    units: np.ndarray
    model: Path
    megabytes: float
    dataset: Dataset


def measure(
    name: str,
    backbone: OnnxBackbone,
    listing: Listing,
    config: TrainConfig,
    model: Path,
    say: Callable[[str], object],
    advance: Callable[[int], object],
) -> Measured:
    """Score a backbone, in one pass over the photos.

    Features are computed and stored as for a probe, which therefore needs no further pass.

    Args:
        name: Name by which it is chosen.
        backbone: The backbone.
        listing: Photos of a task that has a solver.
        config: Where features are kept, the number of threads, and how many photos may be unusable.
        model: The model file to write.
        say: Called with a sentence for the user.
        advance: Called with 1 for each photo.

    Raises:
        DataError: The photos cannot be used with any backbone.
        TrainingError: The backbone's features are not finite, or are too large for a solution.
    """
    with open_for_photos(backbone, listing, config, say) as features:
        dataset = read_photos(features, listing, config.allow_quarantined, advance)
        scale = Scale.of(dataset.records, dataset.targets)
        targets = Targets(dataset.task, dataset.class_names, backbone.preprocessing, scale)
        blocks = affordable_blocks(backbone, features, targets, len(dataset.records))
        rows = partial(features.rows, stages=[block.name for block in blocks[:-1]])
        try:
            solved = solve_photos(dataset.records, (0,), rows, blocks, targets)
        except DataError as error:  # about the features: the photos have just been read
            raise TrainingError(str(error)) from error
    losses, scores, units = _out_of_fold(solved, dataset.records, targets)
    content = _content(backbone, dataset, solved, scale)
    write_whole(model, content, keep=False)
    return Measured(
        name,
        backbone.preprocessing.size_px,
        tuple(stage.removeprefix("stage.") for stage in solved.reading.stages),
        losses,
        scores,
        units,
        model,
        len(content) / 1e6,
        dataset,
    )


def _out_of_fold(
    solved: SolvedPhotos, records: Sequence[Record], targets: Targets
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the losses, the main scores and the units of the photos with out-of-fold outputs.

    Raises:
        DataError: The photos cannot be divided into folds.
    """
    task, found = tasks.of(targets.task), solved.out_of_fold
    if found is None or not (found.fold >= 0).any():
        raise DataError(
            "Backbones cannot be compared by cross-validation, because the photos of each class are one "
            "photo, identical photos, or one group. Add photos, or leave group_by out."
        )
    assert task.solver is not None
    rows = np.stack([targets.row(record) for record in records])
    std = np.array(targets.scale.std) if task.has_numbers else None
    losses, scores = scores_of_rows(found.outputs, rows, task.solver, std)
    numbers: dict[str, int] = {}
    units = np.array([numbers.setdefault(name, len(numbers)) for name in unit_names(records)])
    has_answer = found.fold >= 0
    return losses[has_answer], scores[has_answer], units[has_answer]


def _content(backbone: OnnxBackbone, dataset: Dataset, solved: SolvedPhotos, scale: Scale) -> bytes:
    """Return the content of the model file that a probe on these photos would write."""
    info = describe(backbone, dataset, solved.reading, scale)
    return seal_onnx(assemble(backbone, solved.head.weight, solved.head.bias, info), info)
