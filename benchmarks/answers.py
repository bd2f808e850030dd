"""How long ``answers.csv`` takes to write, read and score, and how much memory.

    python -m benchmarks.answers --rows 100000 --classes 10

Makes answers of as many photos, writes them part by part, reads them part by part and whole, and scores them.
Prints the processor's seconds for each, and the peak of the memory that Python held for it, from a second
round, as counting memory takes time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from headstart.answers.file import read_answers, read_parts, write_answers
from headstart.answers.scores import scores_of
from headstart.answers.table import Answers
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.records import Record

_PART = 1000


def answers_of(info: ModelInfo, num_rows: int) -> Iterator[Answers]:
    """Yield answers with random outputs, part by part."""
    generator = np.random.default_rng(0)
    num_classes = len(info.class_names)
    for begin in range(0, num_rows, _PART):
        numbers = range(begin, min(begin + _PART, num_rows))
        records = [
            Record(f"/data/class {n % num_classes}/photo {n:06}.jpg", n % num_classes, None, f"{n:064x}")
            for n in numbers
        ]
        outputs = generator.normal(0, 3, (len(records), num_classes))
        folds = np.arange(len(records)) % 5
        yield Answers.from_outputs(records, outputs, info, "out-of-fold", root="/data", folds=folds)


def main() -> None:
    """Print a line per step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=10)
    arguments = parser.parse_args()
    names = tuple(f"class {number}" for number in range(arguments.classes))
    info = ModelInfo("classification", "none", names, Preprocessing())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answers.csv")
        steps: dict[str, Callable[[], object]] = {
            "make, write": lambda: write_answers(path, answers_of(info, arguments.rows)),
            "read in parts": lambda: sum(len(part) for part in read_parts(path)),
            "read whole": lambda: read_answers(path),
            "read, score": lambda: scores_of(read_answers(path), info),
        }
        for name, step in steps.items():
            begun = time.process_time()
            step()
            seconds = time.process_time() - begun
            tracemalloc.start()
            step()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            print(f"{name:14} {seconds:6.2f} s {peak / 1e6:8.1f} MB")
        print(f"{arguments.rows:,} rows, {arguments.classes} outputs: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
