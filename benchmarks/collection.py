"""Memory and time of a large collection: 1,000 and 100,000 photos, in 200 tar files or in Parquet.

    python -m benchmarks.collection FOLDER [FORM ...]

``FOLDER`` is new or was made by this program. Each form and number is read in a process of its own, which
lists, reads, hashes and decodes all photos, as a run does before it uses a network. The forms are ``samples``
(WebDataset), ``folders`` (class folders in tar files) and ``parquet`` (a column with the bytes of photos).
The table shows the peak of memory and the time, and how both grow.
"""

from __future__ import annotations

import argparse
import io
import resource
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

NUMBERS: Final = (1_000, 100_000)
NUM_TARS: Final = 200
CLASSES: Final = ("east", "north", "south", "west")


def photos(number: int) -> Iterator[tuple[int, str, bytes]]:
    """Yield number, class and JPEG file of photos that all differ, of about 1.5 kB each."""
    random = np.random.default_rng(0)
    files = []
    for _ in range(256):
        coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(coarse).resize((80, 60), Image.Resampling.BICUBIC).save(file, "JPEG", quality=80)
        files.append(file.getvalue())
    for each in range(number):  # what follows the end of a JPEG is not decoded, but makes it another file
        yield each, CLASSES[each % len(CLASSES)], files[each % len(files)] + each.to_bytes(8, "big")


def make_samples(folder: Path, number: int) -> None:
    """Write KEY.jpg and KEY.cls."""

    def members(each: int, class_name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
        yield f"{each:08}.jpg", content
        yield f"{each:08}.cls", class_name.encode()

    _make_tars(folder, number, members)


def make_folders(folder: Path, number: int) -> None:
    """Write class folders."""
    _make_tars(folder, number, lambda each, name, content: iter([(f"{name}/{each:08}.jpg", content)]))


def make_parquet(folder: Path, number: int) -> None:
    """Write the bytes of photos as Hugging Face's datasets do."""
    import pyarrow
    import pyarrow.parquet

    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", kind), ("label", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(folder / "photos.parquet", schema) as writer:
        rows: list[dict[str, object]] = []
        for each, class_name, content in photos(number):
            rows.append({"image": {"bytes": content, "path": f"{each:08}.jpg"}, "label": class_name})
            if len(rows) == 500 or each + 1 == number:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                rows.clear()


FORMS: Final[dict[str, Callable[[Path, int], None]]] = {
    "samples": make_samples,
    "folders": make_folders,
    "parquet": make_parquet,
}


def _make_tars(
    folder: Path, number: int, members: Callable[[int, str, bytes], Iterator[tuple[str, bytes]]]
) -> None:
    archive = None
    for each, class_name, content in photos(number):
        if each % (number // NUM_TARS) == 0:
            if archive is not None:
                archive.close()
            archive = tarfile.open(folder / f"shard-{each * NUM_TARS // number:06}.tar", "w")  # noqa: SIM115
        assert archive is not None
        for name, data in members(each, class_name, content):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    if archive is not None:
        archive.close()


def read(data: str) -> None:
    """List and check all photos, and print number, seconds and peak of memory in MB."""
    from headstart.data.check import check_images
    from headstart.data.sources.source import read_source

    began = time.perf_counter()
    dataset = check_images(read_source(data))
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(len(dataset.records), seconds, peak)


def main(root: Path, forms: list[str]) -> None:
    """Make the collections that are missing, read each, and print the table."""
    print(f"{'form':10} {'photos':>8} {'MB':>7} {'s':>7} {'ms a photo':>11} {'memory':>7} {'time':>6}")
    for form in forms or FORMS:
        first = None
        for number in NUMBERS:
            folder = root / f"{form}-{number}"
            if not folder.exists():
                folder.mkdir(parents=True)
                FORMS[form](folder, number)
            data = folder / "photos.parquet" if form == "parquet" else folder
            call = [sys.executable, "-m", "benchmarks.collection", "--read", str(data)]
            done = subprocess.run(call, capture_output=True, text=True)
            if done.returncode:
                print(f"{form:10} {number:8,} {done.stderr.strip().splitlines()[-1]}")
                break
            read_in, seconds, peak = map(float, done.stdout.split())
            assert read_in == number
            cost = 1000 * seconds / number
            first = first or (peak, cost)
            growth = f"{peak / first[0]:7.2f} {cost / first[1]:6.2f}"
            print(f"{form:10} {number:8,} {peak:7.0f} {seconds:7.1f} {cost:11.3f} {growth}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("forms", nargs="*", metavar="FORM", help=f"one or more of {', '.join(FORMS)}")
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args()
    if given.read:
        read(str(given.folder))
    else:
        main(given.folder, given.forms)
