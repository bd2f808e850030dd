"""``headstart features``: labelled photos to a file of vectors and labels, for other tools."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import numpy as np

from headstart import tasks
from headstart.config import TrainConfig
from headstart.config.checking import hint_at, settings_of
from headstart.data.coco import find_coco
from headstart.data.place import place_boxes
from headstart.data.source import read_source
from headstart.data.table_file import TABLE_SUFFIXES
from headstart.data.voc import has_xml
from headstart.errors import ConfigError, DataError, requires
from headstart.features.activations import Activations
from headstart.features.cache import Room, should_keep
from headstart.features.fingerprint import Fingerprint
from headstart.features.onnx_backbone import OnnxBackbone
from headstart.features.onnx_check import check_on_files
from headstart.features.prefix import Prefix
from headstart.files import write_whole
from headstart.images.preprocess import Preprocessing
from headstart.predictor import find_images
from headstart.records import Candidate, Listing, Quarantined, Record

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 512


# What decides which photos are read, with which labels, and how they are computed.
SETTINGS: Final = tuple(n for n, each in settings_of(TrainConfig).items() if "features" in each.commands)
_LABELS: Final = ("task", "target", "label_column", "split_column", "group_by", "val")
_Kind = Literal["text", "texts", "number"]
_BOX: Final = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Extractor:
    """What computes the features.

    Attributes:
        backbone: Its full name.
        cut: Name of its last stage before the head.
        preprocessing: How photos become its input.
        prefix: Everything before the head.
        file: The backbone, if it is an ONNX file of the user's.
    """

    backbone: str
    cut: str
    preprocessing: Preprocessing
    prefix: Prefix
    file: OnnxBackbone | None = None

    def fingerprint(self, runtime: str) -> Fingerprint:
        """Return what its features depend on besides the photos, given what runs the prefix."""
        return Fingerprint(
            preprocessing=self.preprocessing,
            backbone=self.backbone,
            cut=self.cut,
            function=self.prefix.function,
            runtime=runtime,
            device=self.prefix.device_name,
            precision=self.prefix.precision,
        )


@dataclass(frozen=True)
class Extracted:
    """What became of the photos.

    Attributes:
        num_rows: Photos in the file.
        num_features: Length of each vector.
        unreadable: Path and reason of the photos that are not in it: they cannot be read, their labels cannot
            be used, or their features are not finite.
    """

    num_rows: int
    num_features: int
    unreadable: tuple[tuple[str, str], ...]


def extract_features(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    backbone: str = TrainConfig.backbone,
    *,
    open_extractor: Callable[[TrainConfig, str, Callable[[str], object]], Extractor],
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr),
    **settings: Any,
) -> Extracted:
    """Write the features of photos with their labels, in one pass and in flat memory.

    The columns are path, the labels, split, group (where there are any) and vector, float32. The labels are
    ``label`` (one class), ``labels`` (several: lists of names; in ``.npz`` (N, K) bool, and ``class_names``),
    a column per target by its name (numbers, float64), or xmin, ymin, xmax and ymax in pixels of the photo as
    a viewer shows it, with ``label`` if boxes have classes. What the data do not say is null (in ``.npz``
    empty).

    Args:
        data: As for training; or a folder of photos without classes, or a table without labels.
        out: A ``.parquet`` or ``.npz`` file.
        backbone: Its name.
        open_extractor: Opens the backbone, given the settings, the task, and ``say``.
        say: Called with a sentence for the user, and every ten seconds with the progress.
        settings: Those of ``SETTINGS``, as for training.

    Raises:
        ConfigError: A setting is wrong, or ``out`` has another suffix.
        DataError: There are no photos, or their labels cannot be read as they are.
        MissingPackageError: A ``.parquet`` file takes pyarrow, which is not installed.
    """
    path = Path(out)
    writers = {".parquet": _write_parquet, ".npz": _write_npz}
    problems = [
        f"features has no setting {name!r}.{hint_at(name, SETTINGS)} It has {', '.join(SETTINGS)}."
        for name in settings
        if name not in SETTINGS
    ]
    if path.suffix not in writers:
        problems.append(f"out is {str(path)!r}; its name must end in {' or '.join(writers)}.")
    if settings.get("val") is not None and _is_number(settings["val"]):
        problems.append(
            f"val is {settings['val']!r}; no photos are held back here. Name a folder or file of validation "
            "photos, or leave it out."
        )
    if problems:
        raise ConfigError(problems)
    if path.suffix == ".parquet":
        with requires("pyarrow", f"The file {str(path)!r}"):  # before the work, not after it
            import pyarrow.parquet  # noqa: F401
    config = TrainConfig.from_settings(data, backbone=backbone, **settings)
    listing = _list_photos(config, settings, say)
    for note in listing.notes:
        say(note)
    unreadable = [(each.path, each.reason) for each in listing.quarantined]
    candidates, sizes_wrong, notes = _with_boxes_placed(listing)
    unreadable += sizes_wrong
    for note in notes:
        say(note)
    columns = _columns_of(listing, candidates)

    extractor = open_extractor(config, listing.task, say)
    if extractor.file is not None:
        check_on_files(extractor.file, [candidate.path for candidate in candidates], say)
    prefix, preprocessing = extractor.prefix, extractor.preprocessing
    num_bytes = prefix.row(preprocessing.size_px).nbytes * len(candidates)
    keep, why = should_keep(config.features, num_bytes, len(candidates), len(candidates))
    if not keep:
        say(f"Features are not stored in the cache: {why}")
    activations = Activations(
        prefix,
        preprocessing,
        extractor.fingerprint,
        keep=keep,
        memory_bytes=0,
        workers=config.workers,
        say=say,
        room=Room(say, is_limited=config.features != "store"),
    )
    num_rows = num_features = 0
    begun = told = time.monotonic()

    def rows() -> Iterator[tuple[Candidate, np.ndarray]]:
        nonlocal num_rows, num_features, told
        checked = activations.stream(candidate.path for candidate in candidates)
        for done, (candidate, (photo, row)) in enumerate(zip(candidates, checked, strict=True)):
            if (now := time.monotonic()) - told > 10:
                told = now
                say(f"{done:,} of {len(candidates):,} photos, {done / (now - begun):.0f} images/s")
            if row is None:
                unreadable.append((candidate.path, photo.reason or ""))
            else:
                num_rows, num_features = num_rows + 1, row.size
                yield candidate, row.reshape(-1)

    try:
        writers[path.suffix](path, rows(), columns)
    finally:
        activations.close()
    if not num_rows:
        shown = "; ".join(f"{path}: {reason}" for path, reason in unreadable[:3])
        raise DataError(f"None of the photos can be read, so there is nothing to write: {shown}.")
    return Extracted(num_rows, num_features, tuple(unreadable))


def _is_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return True


def _list_photos(config: TrainConfig, settings: Mapping[str, Any], say: Callable[[str], object]) -> Listing:
    """The photos and labels that training would read; where all lie side by side, photos without labels."""
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
                config.data, tuple(Candidate(path, "", None) for path in paths), (), (), (), len(paths)
            )
    return read_source(config.data, config.val_folder, for_training=False, **config.source_options)


def _with_boxes_placed(listing: Listing) -> tuple[list[Candidate], list[tuple[str, str]], list[str]]:
    """Return the photos with boxes as a viewer shows them, those that do not fit, and notes."""
    if not tasks.of(listing.task).has_box:
        return list(listing.candidates), [], []
    by_path = {each.path: each for each in listing.candidates}
    quarantined: list[Quarantined] = []
    records = [Record(each.path, 0, each.split, sha256="", box=each.box) for each in listing.candidates]
    placed, notes = place_boxes(records, by_path, quarantined)
    candidates = [dataclasses.replace(by_path[record.path], box=record.box) for record in placed]
    return candidates, [(each.path, each.reason) for each in quarantined], notes


@dataclass(frozen=True)
class _Column:
    """What the file says of each photo under one name.

    Attributes:
        name: Of the column.
        kind: Of its values: text, a list of texts, or a float64 number.
        value: Finds it; None where the data do not say it.
        classes: Of a column of lists of names: all names.
    """

    name: str
    kind: _Kind
    value: Callable[[Candidate], Any]
    classes: tuple[str, ...] = ()

    def array(self, photos: Sequence[Candidate]) -> np.ndarray:
        """Return the values for ``.npz``: nothing in it needs pickle."""
        values = [self.value(photo) for photo in photos]
        if self.kind == "texts":
            return np.array([[name in of_photo for name in self.classes] for of_photo in values], bool)
        if self.kind == "number":
            return np.array(values, np.float64)
        return np.array(["" if value is None else value for value in values], str)

    def arrow(self, photos: Sequence[Candidate]) -> pa.Array:
        """Return the values for Parquet."""
        import pyarrow as pa

        kinds = {"text": pa.string(), "texts": pa.list_(pa.string()), "number": pa.float64()}
        return pa.array(map(self.value, photos), kinds[self.kind])


@dataclass(frozen=True)
class _Number:
    """Finds one of a photo's numbers."""

    place: int

    def __call__(self, photo: Candidate) -> float:
        return photo.numbers[self.place]


@dataclass(frozen=True)
class _Side:
    """Finds one side of a photo's box."""

    place: int

    def __call__(self, photo: Candidate) -> float:
        assert photo.box is not None
        return photo.box[self.place]


def _columns_of(listing: Listing, candidates: Sequence[Candidate]) -> list[_Column]:
    """Return the columns besides the vectors.

    Raises:
        ConfigError: A number's name is that of another column.
    """
    task, labels = tasks.of(listing.task), []
    if task.has_class or (task.has_box and any(photo.class_name for photo in candidates)):
        labels.append(_Column("label", "text", lambda photo: photo.class_name or None))
    if task.has_labels:
        classes = tuple(sorted({name for photo in candidates for name in photo.labels}))
        labels.append(_Column("labels", "texts", lambda photo: list(photo.labels), classes))
    if task.has_numbers:
        labels += [_Column(_text(name), "number", _Number(i)) for i, name in enumerate(listing.targets)]
    if task.has_box:
        labels += [_Column(side, "number", _Side(i)) for i, side in enumerate(_BOX)]
    columns = [
        _Column("path", "text", lambda photo: _text(photo.path)),
        *labels,
        _Column("split", "text", lambda photo: photo.split),
    ]
    if any(photo.group is not None for photo in candidates):
        columns.append(
            _Column("group", "text", lambda photo: None if photo.group is None else _text(photo.group))
        )
    names = [column.name for column in columns] + ["vector"]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            [
                f"target is {','.join(listing.targets)!r}, but {', '.join(twice)} is the name of another "
                "column of the file that is written. Rename the column of the table."
            ]
        )
    return columns


def _write_parquet(
    path: Path, rows: Iterable[tuple[Candidate, np.ndarray]], columns: Sequence[_Column]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = iter(rows)
    first = list(islice(rows, _ROWS_AT_ONCE))
    if not first:
        return

    def write(file: BinaryIO) -> None:
        writer: pq.ParquetWriter | None = None
        part = first
        while part:
            photos, vectors = [photo for photo, _ in part], np.stack([vector for _, vector in part])
            flat = pa.array(vectors.ravel(), pa.float32())
            table = pa.table(
                {
                    **{each.name: each.arrow(photos) for each in columns},
                    "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
                }
            )
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
            part = list(islice(rows, _ROWS_AT_ONCE))
        assert writer is not None
        writer.close()

    write_whole(path, write)


def _write_npz(path: Path, rows: Iterable[tuple[Candidate, np.ndarray]], columns: Sequence[_Column]) -> None:
    photos: list[Candidate] = []
    num_features = 0
    # How many rows there are is known at the end only, and the array's header comes first.
    with tempfile.TemporaryFile(dir=path.parent) as vectors:
        for photo, vector in rows:
            photos.append(photo)
            num_features = vector.size
            vectors.write(vector.astype(np.float32).tobytes())
        if not photos:
            return
        arrays = {each.name: each.array(photos) for each in columns}
        for each in columns:
            if each.classes:
                arrays["class_names"] = np.array(each.classes, str)

        def write(file: BinaryIO) -> None:
            with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
                for name, values in arrays.items():
                    with archive.open(f"{name}.npy", "w") as entry:
                        np.lib.format.write_array(entry, values, allow_pickle=False)
                with archive.open("vector.npy", "w", force_zip64=True) as entry:
                    header = {
                        "descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)),
                        "fortran_order": False,
                        "shape": (len(photos), num_features),
                    }
                    np.lib.format.write_array_header_1_0(entry, header)
                    vectors.seek(0)
                    shutil.copyfileobj(vectors, entry)

        write_whole(path, write)


def _text(path: str) -> str:
    """A path as valid Unicode, which both formats ask for."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
