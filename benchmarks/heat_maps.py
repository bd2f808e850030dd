"""Whether the peak of a heat map is on the object: on photos with one small object and its box.

    python -m benchmarks.heat_maps VOC OTHERS [--backbones default mobilenet_v2] [--heads linear stages]

VOC holds Pascal VOC annotations, and OTHERS photos of other things; a probe learns to tell the two apart,
without boxes. One of five folds tests, the next one validates, so every photo is explained by a model that
was trained without it. The peak is the centre of the position with the largest value. There are three tests:

    photos: those whose object covers less than a third of the photo, as they are
    shifted: the same photos, cropped at random around the object (five times, averaged by photo), with the
        object still below a third, because photographers put objects into the middle
    mosaics: four squares side by side, one of them the middle of any photo with one object, the others the
        middle of photos of other things; the object covers less than a quarter

The peak is compared with the centre of the picture (in mosaics, with the centre of a random square), and with
heads whose weights are the trained ones in random order within each block of features. All intervals are at
95 %, over photos; those of differences are paired. The last column counts only pictures whose most probable
class is the object's, and gives the share of these.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image, ImageOps

import headstart as hs
from headstart.answers.intervals import wilson
from headstart.data.sources.source import read_source
from headstart.images.decode import decode
from headstart.images.photo import Photo
from headstart.images.view import Box
from headstart.inference.heat_map import HEAT_MAP
from headstart.inference.model_file import seal_onnx
from headstart.products.heat_map import with_heat_map
from headstart.products.mean_blocks import head_weights, mean_blocks
from headstart.records import Candidate

FOLDS = 5
OBJECT = "object"
SMALL = 1 / 3  # of the picture
NUM_SHIFTED = 5
MOSAIC_PX = 512


@dataclass(frozen=True)
class Case:
    """A picture with one small object.

    Attributes:
        pixels: (H, W, 3) uint8.
        box: Of the object, in pixels.
        centres: The points that are guessed without looking.
    """

    pixels: np.ndarray
    box: Box
    centres: tuple[tuple[float, float], ...]

    @property
    def guessed(self) -> float:
        """The share of these points that are in the box."""
        return float(np.mean([self.holds(point) for point in self.centres]))

    def holds(self, point: tuple[float, float]) -> bool:
        """Return whether a point is in the box."""
        xmin, ymin, xmax, ymax = self.box
        return xmin <= point[0] <= xmax and ymin <= point[1] <= ymax


def case_of(image: Image.Image, box: Box) -> Case:
    """Return a picture that is guessed by its centre."""
    return Case(np.asarray(image), box, ((image.width / 2, image.height / 2),))


def share_of(box: Box, size: tuple[int, int]) -> float:
    """Return the share of a picture that a box covers."""
    return (box[2] - box[0]) * (box[3] - box[1]) / (size[0] * size[1])


def shifted(image: Image.Image, box: Box, rng: np.random.Generator) -> Case:
    """Return a random crop around an object that has the aspect ratio of the photo."""
    width, height = image.size
    least = max((box[2] - box[0]) / width, (box[3] - box[1]) / height)
    least = min(max(least, (share_of(box, image.size) / SMALL) ** 0.5), 1.0)
    scale = rng.uniform(least, 1)
    crop_width, crop_height = scale * width, scale * height
    left = rng.uniform(max(0, box[2] - crop_width), min(box[0], width - crop_width))
    top = rng.uniform(max(0, box[3] - crop_height), min(box[1], height - crop_height))
    left, top = round(left), round(top)
    crop = image.crop((left, top, left + round(crop_width), top + round(crop_height)))
    return case_of(crop, (box[0] - left, box[1] - top, box[2] - left, box[3] - top))


def mosaic(image: Image.Image, box: Box, others: Sequence[Image.Image], rng: np.random.Generator) -> Case:
    """Return four squares, one of them the middle of a photo with an object."""
    place, half = int(rng.integers(4)), MOSAIC_PX // 2
    canvas = Image.new("RGB", (MOSAIC_PX, MOSAIC_PX))
    rest = iter(others)
    corners = [(x, y) for y in (0, half) for x in (0, half)]
    for number, corner in enumerate(corners):
        part = image if number == place else next(rest)
        canvas.paste(ImageOps.fit(part, (half, half), Image.Resampling.BICUBIC), corner)
    side, (x, y) = min(image.size), corners[place]
    left, top = (image.width - side) / 2, (image.height - side) / 2
    moved = np.clip((np.array(box) - (left, top, left, top)) * half / side, 0, half)
    xmin, ymin, xmax, ymax = (moved + np.array((x, y, x, y))).tolist()
    centres = tuple((x + half / 2, y + half / 2) for x, y in corners)
    return Case(np.asarray(canvas), (xmin, ymin, xmax, ymax), centres)


def cases_of(
    photos: Sequence[Candidate], others: Sequence[str], rng: np.random.Generator
) -> dict[str, list[list[Case]]]:
    """Return the pictures of each test, by photo."""
    found: dict[str, list[list[Case]]] = {"photos": [], "shifted": [], "mosaics": []}
    for photo in photos:
        assert photo.box is not None
        image = decode(photo.photo.content(), path=photo.path)
        paths = rng.choice(others, 3, replace=False).tolist()
        rest = [decode(Photo(path).content(), path=path) for path in paths]
        found["mosaics"].append([mosaic(image, photo.box, rest, rng)])
        if share_of(photo.box, image.size) < SMALL:
            found["photos"].append([case_of(image, photo.box)])
            found["shifted"].append([shifted(image, photo.box, rng) for _ in range(NUM_SHIFTED)])
    return found


def write_table(named: dict[str, list[str]], fold: int, file: Path) -> dict[str, int]:
    """Write a table in which a fold tests and the next one validates; return the fold of each photo."""
    fold_of: dict[str, int] = {}
    with open(file, "w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(("image", "label", "split"))
        for name, paths in named.items():
            for number, path in enumerate(paths):
                fold_of[path] = number % FOLDS
                split = {fold: "test", (fold + 1) % FOLDS: "val"}.get(number % FOLDS, "train")
                table.writerow((path, name, split))
    return fold_of


def with_random_head(predictor: hs.Predictor, model: bytes, seed: int) -> hs.Predictor:
    """Return a model whose head has its weights in random order within each block of features."""
    whole = onnx.load_from_string(model)
    for field in (whole.graph.node, whole.graph.initializer, whole.graph.output):
        kept = [each for each in field if not each.name.startswith(HEAT_MAP)]
        del field[:]
        field.extend(kept)
    del whole.metadata_props[:]
    head, size_px = head_weights(whole), predictor.info.preprocessing.size_px
    blocks = mean_blocks(whole, head, np.zeros((1, size_px, size_px, 3), np.uint8))
    (weight,) = (each for each in whole.graph.initializer if each.name == head.weight)
    values, rng, end = numpy_helper.to_array(weight).copy(), np.random.default_rng(seed), 0
    for block in blocks:
        first, end = end, end + block.width
        values[:, first:end] = values[:, first + rng.permutation(block.width)]
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    found = with_heat_map(whole.SerializeToString(), predictor.info)
    return hs.Predictor.from_bytes(seal_onnx(found.model, predictor.info))


def peaks_in_boxes(predictor: hs.Predictor, cases: Sequence[Sequence[Case]]) -> np.ndarray:
    """Return the shares of each photo's pictures whose peak is in the box, and also are recognised, (3, N).

    The rows are: peak in the box, recognised, both.
    """
    flat = [case for of_photo in cases for case in of_photo]
    maps = [each.heat_map for each in predictor.predict_iter([case.pixels for case in flat], explain=True)]
    found = np.array(
        [(case.holds(each.peak), each.label == OBJECT) for case, each in zip(flat, maps, strict=True) if each]
    )
    rows = np.stack([found[:, 0], found[:, 1], found.all(1)])
    return rows.reshape(3, len(cases), -1).mean(2)


def interval(values: np.ndarray, sign: str = "") -> str:
    """Return a mean over photos with its interval: Wilson's for shares of photos."""
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    low, high = values.mean() - half, values.mean() + half
    if not sign and set(values.tolist()) <= {0.0, 1.0}:
        low, high = wilson(int(values.sum()), len(values))
    return f"{values.mean():{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f})"


def measure(told: argparse.Namespace, settings: dict[str, Any]) -> Iterator[str]:
    """Yield a row of the table for each test, for one kind of probe."""
    rng = np.random.default_rng(0)
    photos = {photo.path: photo for photo in read_source(told.voc, boxes="skip").candidates}
    others = sorted(str(path.absolute()) for path in told.others.iterdir())
    named = {OBJECT: [*photos], "other": others}
    named = {name: rng.permutation(paths)[: told.most].tolist() for name, paths in named.items()}
    found: dict[str, list[np.ndarray]] = {}
    for fold in range(FOLDS):
        with tempfile.TemporaryDirectory() as folder:
            fold_of = write_table(named, fold, Path(folder, "table.csv"))
            run = hs.train(Path(folder, "table.csv"), Path(folder, "run"), **settings)
            model, predictor = Path(run.path, "model.onnx").read_bytes(), run.predictor
        apart = {name: [path for path in paths if fold_of[path] == fold] for name, paths in named.items()}
        tests = cases_of([photos[path] for path in apart[OBJECT]], apart["other"], rng)
        randoms = [with_random_head(predictor, model, seed) for seed in range(told.random)]
        for test, cases in tests.items():
            rows = [
                *peaks_in_boxes(predictor, cases),
                np.array([np.mean([case.guessed for case in of_photo]) for of_photo in cases]),
                np.mean([peaks_in_boxes(each, cases)[0] for each in randoms], 0),
            ]
            found.setdefault(test, []).append(np.stack(rows))
    for test, of_folds in found.items():
        peak, recognised, both, guessed, random = np.concatenate(of_folds, 1)
        cells = [test, str(len(peak)), interval(peak), f"{guessed.mean():.3f}", f"{random.mean():.3f}"]
        cells += [interval(peak - guessed, "+"), interval(peak - random, "+")]
        yield " | ".join([*cells, f"{both.sum() / recognised.sum():.3f} of {recognised.mean():.3f}"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and explain every fold of every kind of probe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("voc", type=Path)
    parser.add_argument("others", type=Path)
    parser.add_argument("--backbones", nargs="+", default=["default", "mobilenet_v2"])
    parser.add_argument("--heads", nargs="+", default=["linear", "stages"])
    parser.add_argument("--random", type=int, default=5, help="number of random heads per fold")
    parser.add_argument("--most", type=int, default=500, help="photos of each kind, at most")
    told = parser.parse_args(arguments)
    columns = "test | photos | peak in the box | centre | random heads | minus centre | minus random heads"
    print(f"| backbone | head | {columns} | where recognised |\n{'|---' * 10}|", flush=True)
    for backbone in told.backbones:
        for head in told.heads:
            settings: dict[str, Any] = {"recipe": "probe", "head": head, "verbose": False}
            if backbone != "default":
                settings["backbone"] = backbone
            for row in measure(told, settings):
                print(f"| {backbone} | {head} | {row} |", flush=True)


if __name__ == "__main__":
    main()
