"""The account of every file."""

import dataclasses

import pytest

from headstart.images.photo import Photo
from headstart.records import Dataset, Quarantined, Record

USED = Record(Photo("a/1.png"), 0, None, "00")
DATASET = Dataset(
    root="a",
    records=(USED, USED),
    class_names=("x", "y"),
    quarantined=(Quarantined("a/2.png", None, "empty file"),),
    ignored=("a/readme.txt",),
    found=4,
)


def test_a_dataset_accounts_for_every_file_that_was_found():
    assert DATASET.found == len(DATASET.records) + len(DATASET.quarantined) + len(DATASET.ignored)
    assert DATASET.task == "classification"


@pytest.mark.parametrize("change", [{"found": 5}, {"records": (USED,)}, {"quarantined": ()}, {"ignored": ()}])
def test_a_lost_file_is_an_error(change):
    with pytest.raises(AssertionError, match="found"):
        dataclasses.replace(DATASET, **change)
