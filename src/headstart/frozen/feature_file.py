"""Writes features and labels to Parquet files and NumPy's .npz files."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal

import numpy as np

from headstart import tasks
from headstart.errors import ConfigError
from headstart.files import write_whole
from headstart.packed import Packed
from headstart.records import Candidate, Listing

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 512

_Kind = Literal["text", "texts", "number"]

_BOX: Final = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Column:
    """A column of the file.

    Attributes:
        name: Name of the column.
        kind: Kind of its values: text, a list of texts, or a float64 number.
        value: Returns the value for a photo; None if the data do not determine it.
        classes: For a column of lists of names: all names.
    """

    name: str
    kind: _Kind
    value: Callable[[Candidate], Any]
    classes: tuple[str, ...] = ()

    def array(self, photos: Sequence[Candidate]) -> np.ndarray:
        """Return the values for ``.npz``, without pickled objects."""
        values = map(self.value, photos)
        if self.kind == "texts":
            return np.array([[name in of_photo for name in self.classes] for of_photo in values], bool)
        if self.kind == "number":
            return np.array(list(values), np.float64)
        longest = max((len(value or "") for value in values), default=0)
        texts = np.empty(len(photos), f"U{max(longest, 1)}")
        for row, photo in enumerate(photos):  # without a list of all texts
            texts[row] = self.value(photo) or ""
        return texts

    def arrow(self, photos: Sequence[Candidate]) -> pa.Array:
        """Return the values for Parquet."""
        import pyarrow as pa

        kinds = {"text": pa.string(), "texts": pa.list_(pa.string()), "number": pa.float64()}
        return pa.array(map(self.value, photos), kinds[self.kind])


def _number(place: int) -> Callable[[Candidate], float]:
    """Return a function that returns one of a photo's numbers."""
    return lambda photo: photo.numbers[place]


def _side(place: int) -> Callable[[Candidate], float | None]:
    """Return a function that returns one side of a photo's box."""
    return lambda photo: photo.box and photo.box[place]


def columns_of(listing: Listing, candidates: Sequence[Candidate]) -> list[Column]:
    """Return the columns besides the vectors.

    Raises:
        ConfigError: A number has the name of another column.
    """
    task, labels = tasks.of(listing.task), []
    if task.has_class or (task.has_box and any(photo.class_name for photo in candidates)):
        labels.append(Column("label", "text", lambda photo: photo.class_name or None))
    if task.has_labels:
        classes = tuple(sorted({name for photo in candidates for name in photo.labels}))
        labels.append(Column("labels", "texts", lambda photo: list(photo.labels), classes))
    if task.has_numbers:
        labels += [Column(_text(name), "number", _number(i)) for i, name in enumerate(listing.targets)]
    if task.has_box:
        labels += [Column(side, "number", _side(i)) for i, side in enumerate(_BOX)]
    columns = [
        Column("path", "text", lambda photo: _text(photo.path)),
        *labels,
        Column("split", "text", lambda photo: photo.split),
    ]
    if any(photo.group is not None for photo in candidates):
        columns.append(
            Column("group", "text", lambda photo: None if photo.group is None else _text(photo.group))
        )
    names = [column.name for column in columns] + ["vector"]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(
            f"target is {','.join(listing.targets)!r}, but {', '.join(twice)} is the name of another "
            "column of the file that is written. Rename the column of the table."
        )
    return columns


def _write_parquet(
    path: Path, rows: Iterable[tuple[Candidate, np.ndarray]], columns: Sequence[Column]
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


def _write_npz(path: Path, rows: Iterable[tuple[Candidate, np.ndarray]], columns: Sequence[Column]) -> None:
    photos = Packed(Candidate)
    num_features = 0
    # How many rows there are is known at the end only, and the array's header comes first.
    with tempfile.TemporaryFile(dir=path.parent) as vectors:
        for photo, vector in rows:
            photos.append(photo)
            num_features = vector.size
            vectors.write(vector.astype(np.float32).tobytes())
        if not photos:
            return
        arrays = _arrays(photos, columns)

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


def in_memory(
    rows: Iterable[tuple[Candidate, np.ndarray]], columns: Sequence[Column]
) -> dict[str, np.ndarray]:
    """Return the arrays that a ``.npz`` file would hold."""
    pairs = list(rows)
    vectors = [vector.astype(np.float32) for _, vector in pairs]
    return _arrays([photo for photo, _ in pairs], columns) | {"vector": np.stack(vectors)} if pairs else {}


def _arrays(photos: Sequence[Candidate], columns: Sequence[Column]) -> dict[str, np.ndarray]:
    arrays = {each.name: each.array(photos) for each in columns}
    for each in columns:
        if each.classes:
            arrays["class_names"] = np.array(each.classes, str)
    return arrays


def _text(path: str) -> str:
    """Return a path as valid Unicode, which both formats require."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


WRITERS: Final = {".parquet": _write_parquet, ".npz": _write_npz}
