"""``headstart features``: a folder of photos to a file of vectors, for other tools."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from headstart.data.records import Candidate
from headstart.data.source import read_source
from headstart.errors import ConfigError, DataError
from headstart.features.activations import Activations
from headstart.features.fingerprint import Fingerprint
from headstart.features.prefix import Prefix
from headstart.files import write_whole
from headstart.model.backbones import resolve
from headstart.model.network import feature_extractor
from headstart.model.weights import create_pretrained
from headstart.predictor import find_images

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Extracted:
    """What became of the photos.

    Attributes:
        num_rows: Photos in the file.
        num_features: Length of each vector.
        unreadable: Path and reason of the photos that are not in it.
    """

    num_rows: int
    num_features: int
    unreadable: tuple[tuple[str, str], ...]


def extract_features(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str],
    backbone: str,
    *,
    weights: str = "default",
    say: Callable[[str], object] = lambda text: print(text, file=sys.stderr),
) -> Extracted:
    """Write the features of every photo of a folder, in one pass and in flat memory.

    Args:
        data: A folder of class folders, or of splits with class folders, or just of photos.
        out: A ``.parquet`` or ``.npz`` file, with path, label, split and vector; label and split are null (in
            .npz empty) where the folders do not say them.
        backbone: Its name.
        weights: As in ``create_pretrained``.
        say: Told in a sentence what a user should know, and every ten seconds how far it is.

    Raises:
        ConfigError: ``out`` has another suffix.
        DataError: There are no photos.
    """
    path = Path(out)
    writers = {".parquet": _write_parquet, ".npz": _write_npz}
    if path.suffix not in writers:
        raise ConfigError([f"out is {str(path)!r}; its name must end in {' or '.join(writers)}."])
    candidates = _list_photos(data)
    chosen = resolve(backbone)
    network, _ = create_pretrained(chosen, weights)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    base = feature_extractor(network.to(device))
    prefix = Prefix(base, chosen.preprocessing, device)
    activations = Activations(
        prefix,
        chosen.preprocessing,
        lambda runtime: Fingerprint(
            preprocessing=chosen.preprocessing,
            backbone=chosen.full_name,
            cut=prefix.stages.names[-1],
            function=prefix.function,
            runtime=runtime,
            device=prefix.device_name,
            precision=prefix.precision,
        ),
        memory_bytes=0,
        say=say,
    )
    unreadable: list[tuple[str, str]] = []
    num_rows = num_features = 0
    begun = told = time.monotonic()

    def rows() -> Iterator[tuple[Candidate, np.ndarray]]:
        nonlocal num_rows, num_features, told
        checked = activations.stream(candidate.path for candidate in candidates)
        for candidate, (photo, row) in zip(candidates, checked, strict=True):
            if (now := time.monotonic()) - told > 10:
                told, done = now, num_rows + len(unreadable)
                say(f"{done:,} of {len(candidates):,} photos, {done / (now - begun):.0f} images/s")
            if row is None:
                unreadable.append((candidate.path, photo.reason or ""))
            else:
                num_rows, num_features = num_rows + 1, row.size
                yield candidate, row.reshape(-1)

    writers[path.suffix](path, rows())
    activations.close()
    return Extracted(num_rows, num_features, tuple(unreadable))


def _list_photos(data: str | os.PathLike[str]) -> Sequence[Candidate]:
    """The photos of classes, as for training; where all lie side by side, photos of no class."""
    paths = list(find_images(data))
    if paths and all(Path(path).parent == Path(data) for path in paths):
        return [Candidate(path, "", None) for path in paths]
    return read_source(data, boxes="largest", for_training=False).candidates


def _write_parquet(path: Path, rows: Iterable[tuple[Candidate, np.ndarray]]) -> None:
    rows = iter(rows)

    def write(file: BinaryIO) -> None:
        writer: pq.ParquetWriter | None = None
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            photos, vectors = [photo for photo, _ in part], np.stack([vector for _, vector in part])
            flat = pa.array(vectors.ravel(), pa.float32())
            table = pa.table(
                {
                    "path": pa.array([_text(photo.path) for photo in photos], pa.string()),
                    "label": pa.array([photo.class_name or None for photo in photos], pa.string()),
                    "split": pa.array([photo.split for photo in photos], pa.string()),
                    "vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
                }
            )
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
        if writer is None:
            raise DataError("None of the photos can be read, so there is nothing to write.")
        writer.close()

    write_whole(path, write)


def _write_npz(path: Path, rows: Iterable[tuple[Candidate, np.ndarray]]) -> None:
    photos: list[Candidate] = []
    num_features = 0
    # How many rows there are is known at the end only, and the array's header comes first.
    with tempfile.TemporaryFile(dir=path.parent) as vectors:
        for photo, vector in rows:
            photos.append(photo)
            num_features = vector.size
            vectors.write(vector.astype(np.float32).tobytes())
        if not photos:
            raise DataError("None of the photos can be read, so there is nothing to write.")
        columns = {
            "path": [_text(photo.path) for photo in photos],
            "label": [photo.class_name for photo in photos],
            "split": [photo.split or "" for photo in photos],
        }

        def write(file: BinaryIO) -> None:
            with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
                for name, values in columns.items():
                    with archive.open(f"{name}.npy", "w") as entry:
                        np.lib.format.write_array(entry, np.array(values))
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
