"""Runs of a series have the folds that its first run has dealt, even if they find other near-duplicates."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from headstart.config import TrainConfig
from headstart.data.split import Splits
from headstart.errors import RunFolderError
from headstart.images.photo import Photo
from headstart.records import Dataset, Record
from headstart.training.run.dealt import DEALT, begin_dealing, split_in_series

SETTINGS = TrainConfig(data="photos", folds=3, recipe="finetune", val=0.2, test=0.2)


def photos(first_alike: int, number: int = 60) -> Dataset:
    """Return photos of which pairs, from this row on, are near-duplicates."""
    records = tuple(
        Record(
            *(Photo(f"{row}.jpg"), row // 2 % 2, None, f"{row:064x}"),
            alike=f"{row - row % 2:064x}" if row >= first_alike else None,
        )
        for row in range(number)
    )
    return Dataset("", records, ("cat", "dog"), (), (), number, "classification", ())


def split(dataset: Dataset, inside: Path, fold: int | None) -> Splits:
    settings = dataclasses.replace(SETTINGS, fold=fold)
    return split_in_series(dataset, settings, inside / str(fold or "model"), is_solved=False)


def test_runs_that_find_other_near_duplicates_have_the_same_folds(tmp_path: Path) -> None:
    begin_dealing(tmp_path)
    whole = [split(photos(20 * fold), tmp_path, fold) for fold in (1, 2, 3)]
    last = split(photos(0), tmp_path, None)
    scored = [record.sha256 for each in whole for record in each.test]
    assert len(scored) == len(set(scored))
    assert set(scored) == {record.sha256 for record in (*last.train, *last.val)}
    assert len(scored) + len(last.test) == 60
    assert last.val
    assert last.test
    begin_dealing(tmp_path)  # by resuming the series
    again = split(photos(0), tmp_path, 2)
    assert [record.sha256 for record in again.test] == [record.sha256 for record in whole[1].test]
    alone = split(photos(0), tmp_path / "elsewhere", 2)
    assert [record.sha256 for record in alone.test] != [record.sha256 for record in whole[1].test]


def test_a_series_with_the_same_near_duplicates_splits_as_runs_alone_do(tmp_path: Path) -> None:
    begin_dealing(tmp_path)
    for fold in (1, 2, None):
        assert split(photos(20), tmp_path, fold) == split(photos(20), tmp_path / "elsewhere", fold)


def test_other_photos_and_files_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    begin_dealing(tmp_path)
    split(photos(20), tmp_path, 1)
    with pytest.raises(RunFolderError, match=r"2 photos added, such as '60.jpg', and 0 missing"):
        split(photos(20, 62), tmp_path, 2)
    with pytest.raises(RunFolderError, match="0 photos added, and 4 missing"):
        split(photos(20, 56), tmp_path, 2)
    for text in ("[]", "{", '{"a": "b"}'):
        (tmp_path / DEALT).write_text(text)
        with pytest.raises(RunFolderError, match="Start a new run"):
            split(photos(20), tmp_path, 2)
