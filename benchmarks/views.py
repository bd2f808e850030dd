"""What prediction with several views of each photo brings and costs.

Trains probes on the tables of ``benchmarks.selection`` and scores their test and validation photos, none of
which are used for solving the head. ::

    python -m benchmarks.views ../shared/data --only weather tiles caltech pacs
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import headstart as hs
from benchmarks.selection import write_table
from headstart.answers.file import read_answers
from headstart.answers.intervals import of_mean, of_paired_proportions
from headstart.images.photo import Photo
from headstart.images.preprocess import load_pixels
from headstart.images.view import View
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import map_images

MIRRORED = View(geometry=(("flip-x", ()),))
PARTS = {"centre .6": (0.6, 1.0, 0.5, 0.5), "centre .8": (0.8, 1.0, 0.5, 0.5), "whole": (1.0, 1.0, 0.5, 0.5)}
CROPS = {name: View(part=part) for name, part in PARTS.items()}
WAYS = {
    "1": [View()],
    "2": [View(), MIRRORED],
    **{
        f"4, {name}": [View(), MIRRORED, view, View(part=view.part, geometry=MIRRORED.geometry)]
        for name, view in CROPS.items()
    },
}


def probabilities(model: Predictor, paths: Sequence[str], view: View) -> np.ndarray:
    """Return the probabilities (N, K) of one view of each photo."""

    def pixels(photo: Photo) -> np.ndarray:
        return load_pixels(photo.content(), model.info.preprocessing, path=photo.key, view=view)

    def compute(batch: np.ndarray) -> np.ndarray:
        return model._session.run(["probabilities"], {"images": batch})[0]

    return np.array([row for _, row in map_images(map(Photo, paths), pixels, compute, batch_size=1)])


def compare(table: Path, folder: Path) -> None:
    """Train a probe, and print a row for each way to predict."""
    hs.train(table, folder, recipe="probe", verbose=False)
    model, answers = hs.load(folder), read_answers(folder / "answers.csv")
    rows = [i for i, source in enumerate(answers.source) if source != "out-of-fold"]
    paths = [str(answers.path[i]) for i in rows]
    paths = [path if Path(path).is_absolute() else str(table.parent / path) for path in paths]
    labels = np.array([model.class_names.index(answers.label[i]) for i in rows])
    known: dict[View, np.ndarray] = {}
    first: tuple[np.ndarray, np.ndarray] | None = None
    for way, views in WAYS.items():
        begun = time.perf_counter()
        for view in views:
            if view not in known:
                known[view] = probabilities(model, paths, view)
        seconds = time.perf_counter() - begun
        mean = np.mean([known[view] for view in views], 0)
        right = (mean.argmax(1) == labels).astype(float)
        loss = -np.log(np.maximum(mean[np.arange(len(labels)), labels], 1e-12))
        first = first or (right, loss)
        gained = of_paired_proportions(right - first[0]), of_mean(loss - first[1])
        texts = [f"[{low:+.4f}, {high:+.4f}]" for low, high in gained]
        print(
            f"| {table.stem} | {way} | {right.mean():.4f} | {texts[0]} | {loss.mean():.4f} | {texts[1]} | "
            f"{1000 * seconds / len(rows):.1f} |",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of data sets")
    parser.add_argument("--only", nargs="*", help="names of data sets [all]")
    told = parser.parse_args(arguments)
    print("| data | views | accuracy | gained | log loss | gained | ms more per photo |\n|" + "---|" * 7)
    with tempfile.TemporaryDirectory() as folder:
        for data in sorted(path for path in told.data.absolute().iterdir() if path.is_dir()):
            if not told.only or data.name in told.only:
                write_table(data, Path(folder, f"{data.name}.csv"))
                compare(Path(folder, f"{data.name}.csv"), Path(folder, data.name))


if __name__ == "__main__":
    main()
