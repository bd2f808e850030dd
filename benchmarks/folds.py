"""Near-duplicates among photos, and the tables by which a data set is scored without leaks."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import headstart as hs
from headstart.data.split import unit_names
from headstart.errors import DataError
from headstart.frozen.cache import Room
from headstart.frozen.photos import THUMBNAIL_PX, photo_facts
from headstart.images.photo import Photo
from headstart.probe.folds import deal_folds
from headstart.records import Record

MOST_LEAKS = 0.01  # of the validation photos; a given split with more is not used
NEIGHBOURS, SMALL_PX = 5, 24
ALIKE = 0.97  # correlation of aligned thumbnails from which on photos count as near-duplicates
WORTH_A_SEARCH = 0.7  # correlation from which on a better alignment is searched for
# Left, top, right and bottom of the parts at which the search begins: the whole, and nine of two sizes each.
BOXES = [(0, 0, THUMBNAIL_PX, THUMBNAIL_PX)] + [
    (left, top, left + side, top + side)
    for side in (82, 66)
    for left in range(0, THUMBNAIL_PX - side + 1, (THUMBNAIL_PX - side) // 2)
    for top in range(0, THUMBNAIL_PX - side + 1, (THUMBNAIL_PX - side) // 2)
]


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
        for a, b in near_duplicates(columns["vector"], np.stack([each.thumbnail for each in facts])):
            units[units == units[b]] = units[a]
    return units


def near_duplicates(vectors: np.ndarray, thumbnails: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield pairs of rows whose photos are nearly the same: one is, or shows, a part of the other.

    Candidates are each photo's five nearest neighbours by the cosine of centred features. A pair is kept if
    one thumbnail, or its mirror image, correlates with a part of the other.

    Args:
        vectors: (N, D) pooled features.
        thumbnails: (N, 96, 96) uint8, grey.
    """
    centred = vectors - vectors.mean(0)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    cosine = centred @ centred.T
    np.fill_diagonal(cosine, -2)
    is_candidate = np.zeros(cosine.shape, bool)
    np.put_along_axis(is_candidate, np.argsort(-cosine, axis=1)[:, :NEIGHBOURS], True, axis=1)
    np.fill_diagonal(is_candidate, False)
    is_candidate |= is_candidate.T  # each pair is seen from both sides: either may be a part of the other
    wholes = np.stack([part_of(each, BOXES[0]) for each in thumbnails])
    mirrored = wholes.reshape(-1, SMALL_PX, SMALL_PX)[:, :, ::-1].reshape(wholes.shape)
    for row, thumbnail in enumerate(thumbnails):
        parts = np.stack([part_of(thumbnail, box) for box in BOXES])
        for other in np.flatnonzero(is_candidate[row]).tolist():
            if max(aligned(thumbnail, parts, each[other]) for each in (wholes, mirrored)) >= ALIKE:
                yield row, other


def aligned(thumbnail: np.ndarray, parts: np.ndarray, whole: np.ndarray) -> float:
    """Return the largest correlation of a whole photo with a part of a thumbnail, searched from BOXES."""
    best, box = max(zip((parts @ whole).tolist(), BOXES, strict=True))
    steps = [4, 2, 1] if best >= WORTH_A_SEARCH else []
    while steps and best < ALIKE:
        moved = np.add(box, steps[0] * np.concatenate([np.eye(4), -np.eye(4)]))  # one side each
        boxes = np.clip(moved, [0, 0, 56, 56], [40, 40, THUMBNAIL_PX, THUMBNAIL_PX]).tolist()
        correlation, near = max((float(part_of(thumbnail, each) @ whole), each) for each in boxes)
        if correlation > best:
            best, box = correlation, near
        else:
            steps.pop(0)
    return best


def part_of(thumbnail: np.ndarray, box: tuple[float, ...]) -> np.ndarray:
    """Return a part of a thumbnail at 24 px, (576,) float32 with mean 0 and norm 1."""
    small = Image.fromarray(thumbnail).resize((SMALL_PX, SMALL_PX), Image.Resampling.BILINEAR, tuple(box))
    levels = np.asarray(small, np.float32).reshape(-1)
    levels = levels - levels.mean()
    return levels / max(float(np.linalg.norm(levels)), 1e-6)
