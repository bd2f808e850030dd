"""Solving a head on the features of photos, and what it answers of those that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.data.split import unit_names
from headstart.data.targets import Targets
from headstart.errors import TrainingError
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


def solve_photos(
    photos: Sequence[Record],
    views: Sequence[int],
    rows: Callable[[Iterable[tuple[Record, int]]], Iterator[np.ndarray]],
    num_features: int,
    targets: Targets,
) -> tuple[SolvedHead, OutOfFold | None, np.ndarray]:
    """Solve a head on all views of the training photos.

    Photos of one group, identical photos and all views of a photo stay in one fold of the cross-validation.

    Args:
        photos: N training photos.
        views: V numbers of the views that are trained on.
        rows: Gives the features of photos and views, in order.
        num_features: Length of a row.
        targets: What the photos are to be learned as.

    Returns:
        The head; what it answers out of fold, None if the photos cannot be divided; and the features,
        (V · N, num_features) float32, one view of all photos after the other.

    Raises:
        TrainingError: The memory does not suffice, or the features are too large for any solution.
        DataError: The features of some photos are not finite.
    """
    task = tasks.of(targets.task)
    assert task.solver is not None
    numbers: dict[str, int] = {}  # of the units that must not be divided, in the order of the photos
    units = np.array([numbers.setdefault(name, len(numbers)) for name in unit_names(photos)])
    of_photos = np.stack([targets.row(photo) for photo in photos])
    num_rows, index = len(photos) * len(views), np.tile(np.arange(len(photos)), len(views))
    try:
        inputs = np.empty((num_rows, num_features), np.float32)  # filled in place: one copy
        for place, row in enumerate(rows((photo, view) for view in views for photo in photos)):
            inputs[place] = row
        solved = solve_head(
            inputs,
            of_photos[index],
            units[index],
            task.solver,
            targets.num_outputs,
            std=np.array(targets.scale.std) if task.has_numbers else None,
        )
    except MemoryError as error:
        num_bytes = solving_bytes(num_rows, num_features, targets.num_outputs)
        raise TrainingError(
            f"Solving the head takes about {num_bytes / 1e9:.1f} GB of memory ({num_rows:,} rows of "
            f"{num_features:,} features, {targets.num_outputs:,} outputs), which is not available. Train it "
            f"in steps instead: a recipe file with optimizer = 'adam'."
        ) from error
    return solved, _out_of_fold(solved, len(photos)), inputs


def _out_of_fold(solved: SolvedHead, num_photos: int) -> OutOfFold | None:
    if solved.outputs is None or solved.fold is None:
        return None
    by_view = solved.outputs.reshape(-1, num_photos, solved.outputs.shape[1])
    return OutOfFold(by_view.mean(0, dtype=np.float64).astype(np.float32), solved.fold[:num_photos])
