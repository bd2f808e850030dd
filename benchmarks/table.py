"""How long a table of labels takes before any photo is read, and how much memory.

    python -m benchmarks.table --rows 100000

Writes a CSV of as many rows, with a file for each, then reads it, checks its labels, splits it, and prints
the seconds and the peak of the memory that Python held for it.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
import tracemalloc
from pathlib import Path

from headstart.data.sources.source import read_source
from headstart.data.split import split_dataset
from headstart.records import Dataset, Listing, Record

TASKS = {
    "classification": {},
    "multilabel": {"task": "multilabel"},
    "regression": {"target": "height"},
    "box": {"task": "box"},
}


def write_table(folder: Path, num_rows: int) -> Path:
    """Write a table with columns for every task, and an empty file per photo."""
    photos = folder / "photos"
    photos.mkdir()
    path = folder / "labels.csv"
    with open(path, "w", encoding="utf-8") as file:
        file.write("image,label,labels,height,plant,xmin,ymin,xmax,ymax\n")
        for number in range(num_rows):
            name = f"photos/{number:06}.jpg"
            (folder / name).touch()
            label = number * 7919 % 10
            left, top = number % 50, number % 40
            file.write(
                f"{name},class {label},a{label}|b{number % 7},{number * 31 % 1009 / 10},{number // 20},"
                f"{left},{top},{left + 30},{top + 40}\n"
            )
    return path


def dataset_of(listing: Listing) -> Dataset:
    """Return the dataset that reading the photos would give, were each one sound and different."""
    index = {name: number for number, name in enumerate(listing.class_names)}
    records = tuple(
        Record(
            candidate.photo,
            index.get(candidate.class_name, 0),
            candidate.split,
            hashlib.sha256(candidate.path.encode()).hexdigest(),
            tuple(index[name] for name in candidate.labels),
            candidate.numbers,
            candidate.box,
            None,
            candidate.group,
        )
        for candidate in listing.candidates
    )
    return Dataset(
        listing.root,
        records,
        listing.class_names,
        listing.quarantined,
        listing.ignored,
        listing.found,
        listing.task,
        listing.targets,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_table(Path(folder), arguments.rows)
        print(f"{arguments.rows:,} rows, {path.stat().st_size / 1e6:.1f} MB")
        print("task            group_by  read and check    split  peak memory of reading")
        for name, options in TASKS.items():
            for group_by in (None, "plant"):
                start = time.perf_counter()
                listing = read_source(path, group_by=group_by, **{"task": name, **options})
                read = time.perf_counter()
                dataset = dataset_of(listing)
                made = time.perf_counter()
                split_dataset(dataset, val_fraction=0.2, seed=0)
                split_seconds = time.perf_counter() - made
                del dataset, listing
                tracemalloc.start()
                read_source(path, group_by=group_by, **{"task": name, **options})
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                print(
                    f"{name:15} {group_by or '':8} {read - start:12.2f} s {split_seconds:7.2f} s "
                    f"{peak / 2**20:17.0f} MiB"
                )


if __name__ == "__main__":
    main()
