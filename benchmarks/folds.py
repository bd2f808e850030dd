"""The tables by which a data set is scored without leaks."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

import headstart as hs
from headstart.data.split import unit_names
from headstart.errors import DataError
from headstart.findings.near import by_thumbnails, groups_of, near_duplicates
from headstart.frozen.cache import Room
from headstart.frozen.photos import photo_facts
from headstart.images.photo import Photo
from headstart.probe.folds import deal_folds
from headstart.records import Record

MOST_LEAKS = 0.01  # of the validation photos; a given split with more is not used


def write_tables(data: Path, folder: Path, *, plain: bool = False) -> None:
    """Write the tables of a data set: its own split as ``given.csv``, or five folds, ``0.csv`` to ``4.csv``.

    Folds keep near-duplicates, identical photos and groups on one side. So does a split that is used as it
    is given: at most 1 % of its validation photos may have such a partner in train. Test photos are left out.

    Args:
        data: A folder of class folders, or a table.
        folder: A new folder.
        plain: Whether near-duplicates are ignored, so that a given split is used and folds are random.

    Raises:
        HeadstartError: The photos cannot be used, or have no single class each.
    """
    found = hs.features(data, verbose=False)
    if "label" not in found.columns or "xmin" in found.columns:
        raise DataError(f"{str(data)!r} has no classes of photos, which accuracy and folds need.")
    keep = np.array(found.columns.get("split", [""] * found.num_rows)) != "test"
    columns = {name: values[keep] for name, values in found.columns.items() if len(values) == len(keep)}
    units = units_of(columns, plain=plain)
    is_val = columns.get("split", np.full(len(units), "")) == "val"
    leaks = np.isin(units[is_val], units[~is_val])
    folder.mkdir(parents=True)
    if is_val.any() and (plain or leaks.mean() <= MOST_LEAKS):
        sides = {"given": is_val}
    else:
        folds = deal_folds(np.unique(columns["label"], return_inverse=True)[1], units)
        sides = {str(fold): folds == fold for fold in np.unique(folds)}
    for name, is_held_out in sides.items():
        table = {"image": columns["path"], "label": columns["label"]}
        table |= {"group": columns["group"]} if "group" in columns else {}
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow([*table, "split"])
            rows = zip(*table.values(), np.where(is_held_out, "val", "train"), strict=True)
            csv.writer(file).writerows(rows)


def units_of(columns: dict[str, np.ndarray], *, plain: bool = False) -> np.ndarray:
    """Return the unit of each photo, (N,) ints, by the columns of ``hs.features``."""
    photos = [Photo(str(path)) for path in columns["path"]]
    facts = list(photo_facts([(photo, photo.sha256()) for photo in photos], Room(print)))
    groups = [str(name) or None for name in columns.get("group", [""] * len(photos))]
    records = [Record(a, 0, None, b.sha256, group=c) for a, b, c in zip(photos, facts, groups, strict=True)]
    units = np.unique(unit_names(records), return_inverse=True)[1]
    if not plain:
        pairs = near_duplicates(
            columns["vector"], by_thumbnails(np.stack([each.thumbnail for each in facts]))
        )
        firsts = np.unique(units, return_index=True)[1][units]
        units = groups_of([*pairs, *enumerate(firsts)], len(units))
    return np.unique(units, return_inverse=True)[1]
