"""Solving a head on the features of photos, and what it answers of those that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart import tasks
from headstart.data.split import unit_names
from headstart.data.targets import Targets
from headstart.errors import TrainingError
from headstart.probe.adjust import Adjustment, choose_adjustment
from headstart.probe.blocks import Block, Reading
from headstart.probe.inputs import RowsOf, read_inputs
from headstart.probe.rotate import blocks as blocks_of_rows
from headstart.probe.solve import SolvedHead, solve_head
from headstart.recipe import solving_bytes
from headstart.records import Record


@dataclass(frozen=True)
class OutOfFold:
    """What the cross-validation of the solved head answers for the training photos.

    Attributes:
        outputs: (N, D) float32, logits or standardised numbers of each training photo by the head that was
            solved without its fold; the mean over the views of a photo.
        fold: (N,) int, the fold of each photo, counted from 0; -1 for photos without an answer: those of a
            class that no other fold has.
    """

    outputs: np.ndarray
    fold: np.ndarray

    def multiplied(self, factors: np.ndarray) -> OutOfFold:
        """Return the same answers with their outputs multiplied by (D,) factors."""
        return replace(self, outputs=self.outputs * factors)


@dataclass(frozen=True)
class SolvedPhotos:
    """A head that has been solved on photos.

    Attributes:
        head: The head, for the columns of the features from ``reading.first`` on.
        reading: The stages that it reads.
        out_of_fold: Its out-of-fold outputs; None if the photos cannot be divided.
        outputs: (V · N, K) float32, its outputs for the rows that it was solved on, one view of all photos
            after the other.
        adjustment: Of its logits, for classes with few photos, if it was asked for.
    """

    head: SolvedHead
    reading: Reading
    out_of_fold: OutOfFold | None
    outputs: np.ndarray
    adjustment: Adjustment | None = None

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``."""
        adjusted = self.adjustment.summary() if self.adjustment else {}
        return self.head.summary() | self.reading.summary() | adjusted


def solve_photos(
    photos: Sequence[Record],
    views: Sequence[int],
    rows: RowsOf,
    blocks: Sequence[Block],
    targets: Targets,
    *,
    min_blocks: int = 1,
    select: str = "",
    say: Callable[[str], object] = lambda _: None,
) -> SolvedPhotos:
    """Solve a head on all views of the training photos.

    Photos of one group, identical photos and all views of a photo stay in one fold of the cross-validation.

    Args:
        photos: N training photos.
        views: V numbers of the views that are trained on.
        rows: Returns the features of photos and views, in order.
        blocks: The stages that a row holds side by side; which of them the head reads is chosen.
        targets: Targets of the photos.
        min_blocks: Smallest number of blocks that the head may read.
        select: Score for which the logits of classes are adjusted: see ``adjust.choose_adjustment``.
        say: Called with a sentence for the user if the features are too large for memory.

    Raises:
        TrainingError: The memory or the disk space does not suffice, or the features are too large for any
            solution.
        DataError: The features of some photos are not finite.
    """
    task = tasks.of(targets.task)
    assert task.solver is not None
    numbers: dict[str, int] = {}  # of the units that must not be divided, in the order of the photos
    units = np.array([numbers.setdefault(name, len(numbers)) for name in unit_names(photos)])
    of_photos = np.stack([targets.row(photo) for photo in photos])
    num_rows, index = len(photos) * len(views), np.tile(np.arange(len(photos)), len(views))
    try:
        inputs, reading = read_inputs(
            photos, views, rows, blocks, of_photos, units, min_blocks, targets.num_outputs, say
        )
        solved = solve_head(
            inputs,
            of_photos[index],
            units[index],
            task.solver,
            targets.num_outputs,
            std=np.array(targets.scale.std) if task.has_numbers else None,
        )
    except MemoryError as error:
        raise _out_of_memory(num_rows, blocks, targets.num_outputs) from error
    solved, adjustment = _adjusted(solved, of_photos[index], select)
    outputs = np.empty((num_rows, targets.num_outputs), np.float32)
    for part in blocks_of_rows([slice(0, num_rows)], inputs.shape[1], inputs.size):
        outputs[part] = inputs[part] @ solved.weight.T + solved.bias
    if reading.scale is not None:  # so that the head takes features as they are
        solved = replace(solved, weight=solved.weight * reading.scale)
    return SolvedPhotos(solved, reading, _out_of_fold(solved, len(photos)), outputs, adjustment)


def _adjusted(solved: SolvedHead, labels: np.ndarray, select: str) -> tuple[SolvedHead, Adjustment | None]:
    if solved.kind != "classes" or solved.outputs is None or solved.fold is None:
        return solved, None
    adjustment = choose_adjustment(solved.outputs, labels, solved.fold >= 0, select)
    return (solved.shifted(adjustment.offsets), adjustment) if adjustment else (solved, None)


def _out_of_memory(num_rows: int, blocks: Sequence[Block], num_outputs: int) -> TrainingError:
    num_features = blocks[-1].last
    num_bytes = solving_bytes(num_rows, num_features, num_outputs)
    less = " It takes less with head = 'linear'." if len(blocks) > 1 else ""
    return TrainingError(
        f"Solving the head takes about {num_bytes / 1e9:.1f} GB of memory ({num_rows:,} rows of "
        f"{num_features:,} features, {num_outputs:,} outputs), which is not available. Train it in steps "
        f"instead: a recipe file with optimizer = 'adam'.{less}"
    )


def _out_of_fold(solved: SolvedHead, num_photos: int) -> OutOfFold | None:
    if solved.outputs is None or solved.fold is None:
        return None
    by_view = solved.outputs.reshape(-1, num_photos, solved.outputs.shape[1])
    return OutOfFold(by_view.mean(0, dtype=np.float64).astype(np.float32), solved.fold[:num_photos])
