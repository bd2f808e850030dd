"""``headstart features``: writes features and labels of photos to a file, for other tools."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from headstart import tasks
from headstart.cluster.passes import RayCluster
from headstart.columns import counted
from headstart.config import TrainConfig
from headstart.config.checking import hint_at, settings_of
from headstart.data.place import place_boxes
from headstart.data.sources.coco import find_coco
from headstart.data.sources.source import read_source
from headstart.data.sources.table_file import TABLE_SUFFIXES
from headstart.data.sources.voc import has_xml
from headstart.errors import ConfigError, DataError, requires_extra
from headstart.frozen.activations import Activations
from headstart.frozen.cache import Room, should_keep
from headstart.frozen.feature_file import WRITERS, columns_of, in_memory
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.onnx_file.check import check_on_files
from headstart.frozen.prefix import Prefix
from headstart.images.listed import find_images
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.reasons import by_reason
from headstart.records import Candidate, Listing, Quarantined, Record

# What decides which photos are read, with which labels, and how they are computed.
SETTINGS: Final = tuple(n for n, each in settings_of(TrainConfig).items() if "features" in each.commands)

_LABELS: Final = ("task", "target", "label_column", "split_column", "group_by", "val")


@dataclass(frozen=True)
class Extractor:
    """A backbone that computes features.

    Attributes:
        backbone: Full name of the backbone.
        cut: Name of its last stage before the head.
        preprocessing: How photos are converted into its input.
        prefix: All stages before the head.
        file: The backbone, if it is an ONNX file of the user.
    """

    backbone: str
    cut: str
    preprocessing: Preprocessing
    prefix: Prefix
    file: OnnxBackbone | None = None

    def fingerprint(self, runtime: str) -> Fingerprint:
        """Return everything that the features depend on besides the photos, for a given runtime."""
        return Fingerprint(
            preprocessing=self.preprocessing,
            backbone=self.backbone,
            cut=self.cut,
            function=self.prefix.function,
            runtime=runtime,
            device=self.prefix.device_name,
            precision=self.prefix.precision,
        )


@dataclass(frozen=True, repr=False)
class Features:
    """The features of N photos, in a file or in memory. ``features["vector"]`` is the column of that name.

    Attributes:
        path: The file with the features; None if they are in memory.
        num_rows: N.
        num_features: D, the length of each vector.
        unreadable: Path and reason of each photo without features: it cannot be read, its label cannot be
            used, or its features are not finite.
        columns: Columns by name, as in an ``.npz`` file: ``vector``, (N, D) float32, and those that
            ``hs.features`` names. Empty if the features are in a file.
    """

    path: Path | None
    num_rows: int
    num_features: int
    unreadable: tuple[tuple[str, str], ...]
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        if name in self.columns:
            return self.columns[name]
        if self.path is not None:
            raise KeyError(f"the columns are in {self.path}: read it with numpy.load or pandas.read_parquet")
        raise KeyError(f"{name!r} is not a column; there are {', '.join(self.columns)}")

    def __repr__(self) -> str:
        columns = f", columns {', '.join(self.columns)}" if self.columns else ""
        where = "" if self.path is None else f", in {self.path}"
        left_out = f", {len(self.unreadable):,} left out" if self.unreadable else ""
        photos = counted(self.num_rows, "photo")
        return f"<Features of {photos}, {self.num_features:,} each{columns}{where}{left_out}>"


def extract_features(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    backbone: str | os.PathLike[str] = TrainConfig.backbone,
    *,
    open_extractor: Callable[[TrainConfig, str, Callable[[str], object]], Extractor],
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr),
    **settings: Any,
) -> Features:
    """Compute the features of photos with their labels, in one pass; for a file, with constant memory.

    The columns are path, the labels, split, group (if there are any) and vector (float32). The labels are
    ``label`` (one class), ``labels`` (several: lists of names; in ``.npz`` (N, K) bool, and ``class_names``),
    a column per target by its name (numbers, float64), or xmin, ymin, xmax and ymax in pixels of the photo as
    a viewer displays it, with ``label`` if boxes have classes. Missing values are null (in ``.npz`` empty).

    Args:
        data: As for training; or a folder of photos without classes, or a table without labels.
        out: A ``.parquet`` or ``.npz`` file; None for arrays in memory.
        backbone: Name of the backbone.
        open_extractor: Function of the settings, the task and ``say`` that opens the backbone.
        say: Called with sentences for the user, and every ten seconds with the progress.
        settings: Settings in ``SETTINGS``, as for training.

    Raises:
        ConfigError: A setting is wrong, or ``out`` has another suffix.
        DataError: There are no photos, or their labels cannot be used.
        MissingPackageError: A ``.parquet`` file needs pyarrow, which is not installed.
    """
    path = None if out is None else Path(out)
    _refuse_wrong(path, settings)
    config = TrainConfig.from_settings(data, backbone=backbone, **settings)
    listing = _list_photos(config, settings, say)
    for note in listing.notes:
        say(note)
    unreadable = [(each.path, each.reason) for each in listing.quarantined]
    candidates, sizes_wrong, notes = _with_boxes_placed(listing)
    unreadable += sizes_wrong
    for note in notes:
        say(note)
    columns = columns_of(listing, candidates)

    extractor = open_extractor(config, listing.task, say)
    if extractor.file is not None:
        check_on_files(extractor.file, [candidate.photo for candidate in candidates], say)
    activations = _activations_of(extractor, config, len(candidates), say)
    rows, arrays = _Rows(unreadable), {}
    try:
        pairs = rows.read(candidates, activations, say)
        if path is None:
            arrays = in_memory(pairs, columns)
        else:
            WRITERS[path.suffix](path, pairs, columns)
    finally:
        activations.close()
    if not rows.num_rows:
        shown = "; ".join(by_reason(unreadable, 3))
        raise DataError(f"None of the photos can be read, so there is nothing to write: {shown}.")
    return Features(path, rows.num_rows, rows.num_features, tuple(unreadable), arrays)


def _refuse_wrong(path: Path | None, settings: Mapping[str, Any]) -> None:
    """Refuse wrong settings and file names before the work.

    Raises:
        ConfigError: A setting is wrong, or the file has another suffix.
        MissingPackageError: A ``.parquet`` file needs pyarrow, which is not installed.
    """
    problems = [
        f"features has no setting {name!r}.{hint_at(name, SETTINGS)} It has {', '.join(SETTINGS)}."
        for name in settings
        if name not in SETTINGS
    ]
    if path is not None and path.suffix not in WRITERS:
        problems.append(f"out is {str(path)!r}; its name must end in {' or '.join(WRITERS)}.")
    if settings.get("val") is not None and _is_number(settings["val"]):
        problems.append(
            f"val is {settings['val']!r}; this command holds out no photos. Name a folder or file of "
            f"validation photos, or leave it out."
        )
    if problems:
        raise ConfigError(problems)
    if path is not None and path.suffix == ".parquet":
        with requires_extra("parquet", f"The file {str(path)!r}"):
            import pyarrow.parquet  # noqa: F401


def _activations_of(
    extractor: Extractor, config: TrainConfig, num_photos: int, say: Callable[[str], object]
) -> Activations:
    """Return an object that computes the features of photos, or takes them from the cache."""
    prefix, preprocessing = extractor.prefix, extractor.preprocessing
    num_bytes = prefix.row(preprocessing.size_px).nbytes * num_photos
    keep, why = should_keep(config.features, num_bytes, num_photos, num_photos, config.store)
    if not keep:
        say(f"Features are not stored in the cache: {why}")
    return Activations(
        prefix,
        preprocessing,
        extractor.fingerprint,
        keep=keep,
        memory_bytes=0,
        workers=config.workers,
        cluster=RayCluster.of(config.ray, say),
        say=say,
        room=Room(say, is_limited=config.features != "store", shared=config.store),
    )


class _Rows:
    """The readable photos with their features, counted while they are read.

    Args:
        unreadable: The path of each other photo, and why it cannot be read, are added to it.

    Attributes:
        num_rows: Number of rows so far.
        num_features: Length of each row; 0 before the first row.
    """

    def __init__(self, unreadable: list[tuple[str, str]]) -> None:
        self._unreadable = unreadable
        self.num_rows = self.num_features = 0

    def read(
        self, candidates: Sequence[Candidate], activations: Activations, say: Callable[[str], object]
    ) -> Iterator[tuple[Candidate, np.ndarray]]:
        """Yield photos and their features, and report the progress every ten seconds."""
        begun = told = time.monotonic()
        checked = activations.stream(candidate.photo for candidate in candidates)
        for done, (candidate, (photo, row)) in enumerate(zip(candidates, checked, strict=True)):
            if (now := time.monotonic()) - told > 10:
                told = now
                say(f"{done:,} of {len(candidates):,} photos, {done / (now - begun):.0f} images/s")
            if row is None:
                self._unreadable.append((candidate.path, photo.reason or ""))
            else:
                self.num_rows, self.num_features = self.num_rows + 1, row.size
                yield candidate, row.reshape(-1)


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _list_photos(config: TrainConfig, settings: Mapping[str, Any], say: Callable[[str], object]) -> Listing:
    """Return the photos and labels that training would read; for a flat folder, photos without labels."""
    is_plain = Path(config.data).is_dir() and not any(settings.get(name) is not None for name in _LABELS)
    if is_plain and not find_coco(config.data) and not has_xml(config.data):
        paths = list(find_images(config.data))
        if paths and all(Path(path).parent == Path(config.data) for path in paths):
            tables = [each for each in Path(config.data).iterdir() if each.suffix.lower() in TABLE_SUFFIXES]
            for table in sorted(tables)[:1]:
                say(
                    f"The photos have no labels. If the labels are in {str(table)!r}, name that file as DATA."
                )
            return Listing(
                config.data, tuple(Candidate(Photo(path), "", None) for path in paths), (), (), (), len(paths)
            )
    return read_source(config.data, config.val_folder, for_training=False, **config.source_options)


def _with_boxes_placed(listing: Listing) -> tuple[Sequence[Candidate], list[tuple[str, str]], list[str]]:
    """Return the photos with boxes as a viewer displays them, photos whose boxes do not fit, and notes."""
    if not tasks.of(listing.task).has_box:
        return listing.candidates, [], []
    by_path = {each.path: each for each in listing.candidates}
    quarantined: list[Quarantined] = []
    records = [Record(each.photo, 0, each.split, sha256="", box=each.box) for each in listing.candidates]
    placed, notes = place_boxes(records, by_path, quarantined)
    candidates = [dataclasses.replace(by_path[record.path], box=record.box) for record in placed]
    return candidates, [(each.path, each.reason) for each in quarantined], notes
