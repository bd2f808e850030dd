"""An epoch begins at once, however many photos it has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from headstart.data.targets import Targets
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.records import Record
from headstart.training.steps.batches import Batches
from headstart.views.augmentation import Augmentation

NUM_PHOTOS = 200


class Rows:
    """Activations that give a photo's own number back, a few photos ahead as loading threads are."""

    def rows(self, photos: Iterable[tuple[Record, int]]) -> Iterator[np.ndarray]:
        waiting: list[np.ndarray] = []
        for record, view in photos:
            waiting.append(np.array([int(record.path), view], np.float32))
            if len(waiting) > 20:
                yield waiting.pop(0)
        yield from waiting


class CountedTargets(Targets):
    def view(self, record: Record, number: int, augmentation: Any) -> tuple[int, np.ndarray]:
        SEEN.append(record)
        return super().view(record, number, augmentation)


SEEN: list[Record] = []


@pytest.fixture
def batches() -> Batches:
    SEEN.clear()
    records = [
        Record(
            Photo(str(number)),
            0,
            None,
            f"{number:064x}",
            box=(2.0 + number % 5, 3.0, 9.0, 12.0),
            size=(16, 16),
        )
        for number in range(NUM_PHOTOS)
    ]
    targets = CountedTargets("box", (), Preprocessing(size_px=16, resize="squash"))
    augmentation = Augmentation("light", seed=0)
    activations: Any = Rows()
    return Batches(activations, records, targets, 8, Accelerator(cpu=True), augmentation=augmentation)


def test_the_first_batch_does_not_wait_for_what_later_ones_show(batches: Batches) -> None:
    next(batches.epoch(view=1))
    assert 8 <= len(SEEN) <= 40


@pytest.mark.parametrize("first", [0, 3])
def test_every_row_stands_beside_its_own_target(batches: Batches, first: int) -> None:
    order = np.random.default_rng(0).permutation(NUM_PHOTOS)
    found = list(batches.epoch(order, view=2, first=first))
    numbers = np.concatenate([batch.inputs[:, 0].numpy() for batch in found])
    assert numbers.tolist() == order[8 * first :].tolist()
    assert [path for batch in found for path in batch.paths] == [str(number) for number in order[8 * first :]]
    targets = Targets("box", (), Preprocessing(size_px=16, resize="squash"))
    augmentation = Augmentation("light", seed=0)
    seen = list(SEEN)
    for batch in found:
        for row, target in zip(batch.inputs.numpy(), batch.targets.numpy(), strict=True):
            record = next(each for each in seen if int(each.path) == row[0])
            view, expected = targets.view(record, 2, augmentation)
            assert view == row[1]
            np.testing.assert_array_equal(target, expected)
