"""The rows that a head is solved on: in memory, or in a file if they are too large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np

from headstart.probe.blocks import Block, Reading, choose_blocks, some_rows
from headstart.probe.file_rows import FileRows, folder_for
from headstart.probe.rotate import Rows
from headstart.recipe import has_rows_in_file
from headstart.records import Record

RowsOf: TypeAlias = Callable[[Iterable[tuple[Record, int]]], Iterator[np.ndarray]]
"""Function that returns the features of photos and views, in order."""

_AT_ONCE = 256  # rows that are written together


def read_inputs(
    photos: Sequence[Record],
    views: Sequence[int],
    rows: RowsOf,
    blocks: Sequence[Block],
    targets: np.ndarray,
    units: np.ndarray,
    min_blocks: int,
    num_outputs: int,
    say: Callable[[str], object],
) -> tuple[Rows, Reading]:
    """Choose the stages that a head reads, and return their features, scaled.

    Args:
        photos: N photos.
        views: V numbers of views.
        rows: Returns their features.
        blocks: The stages that a row holds side by side.
        targets: Of the photos: see ``blocks.choose_blocks``.
        units: (N,) ints, likewise.
        min_blocks: Smallest number of blocks that the head may read.
        num_outputs: Number of outputs of the head.
        say: Called with a sentence for the user if the rows are in a file.

    Returns:
        (V · N, D) float32, one view of all photos after the other; and what they are.

    Raises:
        MemoryError: The memory does not suffice.
        TrainingError: The disk space for a file does not suffice.
    """
    num_rows, width = len(photos) * len(views), blocks[-1].last
    wanted = rows((photo, view) for view in views for photo in photos)
    if not has_rows_in_file(num_rows, width, num_outputs):
        inputs = np.empty((num_rows, width), np.float32)  # filled in place: one copy
        for place, row in enumerate(wanted):
            inputs[place] = row
        reading = choose_blocks(inputs[: len(photos)], blocks, targets, units, min_blocks)
        if reading.first:
            inputs = np.ascontiguousarray(inputs[:, reading.first :])
        if reading.scale is not None:
            inputs *= reading.scale
        return inputs, reading
    chosen = some_rows(targets, units)
    examples = np.stack([*rows((photos[number], views[0]) for number in chosen.tolist())])
    reading = choose_blocks(examples, blocks, targets[chosen], units[chosen], min_blocks)
    shape = num_rows, width - reading.first
    num_bytes = 2 * 4 * num_rows * shape[1]  # with as much for the rotated rows
    in_file = FileRows(shape, folder_for(num_bytes))
    say(
        f"The head is solved from temporary files, {num_bytes / 1e9:.1f} GB: {num_rows:,} rows of "
        f"{shape[1]:,} features would take too much memory. This may take some minutes."
    )
    for place in range(0, num_rows, _AT_ONCE):
        some = islice(wanted, _AT_ONCE)
        values = np.stack([row[reading.first :] for row in some])
        if reading.scale is not None:
            values *= reading.scale
        in_file[place : place + len(values)] = values
    return in_file, reading
