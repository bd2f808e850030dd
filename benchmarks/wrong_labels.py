"""Wrong labels: those planted at random that are found, by Headstart's rule and by cleanlab's filters.

The features are those of a probe, near-duplicates stay in one fold, and all methods get the same out-of-fold
probabilities. ::

    pip install cleanlab scikit-learn
    python -m benchmarks.wrong_labels ../shared/data/weather ../shared/data/tiles digits

``digits`` are scikit-learn's, with 64 grey levels as features. ``--share 0.01 0.1`` plants 1 and 10 %.
``--per-class 5 10 20`` draws that many photos of each class, new ones for each seed, and leaves cleanlab out.
``--limits`` adds other constants of the rule. ``--found FOLDER`` writes contact sheets of the labels that the
rule doubts and that were not planted, with any seed.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import sklearn.datasets
from cleanlab.filter import find_label_issues
from PIL import Image, ImageDraw

from benchmarks.folds import units_of
from headstart.config import TrainConfig
from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.findings import wrong_labels
from headstart.findings.wrong_labels import WrongLabel
from headstart.frozen.opened import open_backbone_features
from headstart.probe.blocks import Block, blocks_of, choose_blocks
from headstart.probe.solve import solve_head
from headstart.tasks.task import softmax
from headstart.training.choose import find_graph

FILTERS = (
    *("prune_by_class", "prune_by_noise_rate", "both", "confident_learning", "predicted_neq_given"),
    *("low_self_confidence", "low_normalized_margin"),
)
OURS = "headstart"
UNCERTAINTIES = (6, 8, 12, 15)
FIXED_LIMITS = (0.25, 0.4, 0.5, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Data:
    """A data set: features (N, D) of all stages, their blocks, labels (N,), units (N,), names, paths."""

    name: str
    features: np.ndarray
    blocks: Sequence[Block]
    labels: np.ndarray
    units: np.ndarray
    class_names: Sequence[str]
    paths: Sequence[str]


def load(name: str) -> Data:
    """Read a data set, and compute its features as a probe does."""
    if name == "digits":
        digits = sklearn.datasets.load_digits()
        x, y = digits.data.astype(np.float32), digits.target
        return Data(name, x, [Block("last", 0, 64)], y, np.arange(len(y)), "0123456789", [""] * len(y))
    config = TrainConfig.from_settings(name, recipe="probe")
    listing = read_source(config.data, **config.source_options)
    backbone = find_graph(config, listing.task, print)
    assert not isinstance(backbone, str), backbone
    features = open_backbone_features(backbone, say=print)
    checks = list(features.activations.check(listing.candidates, lambda _: True))
    records = check_images(listing, 1.0, checks=iter(checks)).records
    blocks = blocks_of(backbone.earlier, backbone.num_features)
    stages = [block.name for block in blocks[:-1]]
    x = np.stack(list(features.rows([(record, 0) for record in records], stages)))
    features.close()
    paths = [record.path for record in records]
    units = units_of({"path": np.array(paths), "vector": x[:, blocks[-1].first :]})
    labels = np.array([record.label for record in records])
    path = Path(name)
    title = path.name if path.is_dir() else path.parent.name
    return Data(title, x, blocks, labels, units, listing.class_names, paths)


def sampled(data: Data, per_class: int | None, seed: int) -> Data:
    """Return a data set with that many photos of each class, chosen at random; None keeps all."""
    if per_class is None:
        return data
    shuffled = np.random.default_rng(seed).permutation(len(data.labels))
    rows = np.sort(
        np.concatenate([shuffled[data.labels[shuffled] == label][:per_class] for label in set(data.labels)])
    )
    _, units = np.unique(data.units[rows], return_inverse=True)
    paths = [data.paths[row] for row in rows]
    return dataclasses.replace(
        data, features=data.features[rows], labels=data.labels[rows], units=units, paths=paths
    )


def planted(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which a share has been replaced by other classes at random, and which, (N,) bool."""
    random, num_classes = np.random.default_rng(seed), int(labels.max()) + 1
    rows = random.choice(len(labels), round(share * len(labels)), replace=False)
    given, is_wrong = labels.copy(), np.zeros(len(labels), bool)
    given[rows] = (labels[rows] + random.integers(1, num_classes, len(rows))) % num_classes
    is_wrong[rows] = True
    return given, is_wrong


def out_of_fold(data: Data, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return out-of-fold logits and whether a photo has any, as ``probe.photos.solve_photos`` finds them."""
    reading = choose_blocks(data.features, data.blocks, labels, data.units)
    x = np.ascontiguousarray(data.features[:, reading.first :])
    x = x if reading.scale is None else x * reading.scale
    solved = solve_head(x, labels, data.units, "classes", len(data.class_names))
    assert solved.outputs is not None
    assert solved.fold is not None
    return solved.outputs, solved.fold >= 0


def flagged(found: Sequence[WrongLabel], num_photos: int) -> np.ndarray:
    """Return which labels were found, (N,) bool."""
    return np.isin(np.arange(num_photos), [each.row for each in found])


def scores(is_flagged: np.ndarray, is_wrong: np.ndarray) -> tuple[float, ...]:
    """Return the number of labels found, the number of wrong ones of them, recall, precision and F1."""
    hits = int((is_flagged & is_wrong).sum())
    return (
        int(is_flagged.sum()),
        hits,
        hits / max(int(is_wrong.sum()), 1),
        hits / max(int(is_flagged.sum()), 1),
        2 * hits / max(int(is_flagged.sum() + is_wrong.sum()), 1),
    )


def rankings(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return how doubtful each label is, (N,), by the probabilities of the given and the best other class."""
    rows = np.arange(len(labels))
    given, others = probabilities[rows, labels], probabilities.copy()
    others[rows, labels] = 0
    best = others.max(1)
    return {"ratio": best / np.maximum(given, 1e-300), "difference": best - given}


def best_of_ranking(doubts: np.ndarray, is_wrong: np.ndarray) -> np.ndarray:
    """Return which labels are above the threshold with the highest F1, (N,) bool; it knows the answers."""
    order = np.argsort(-doubts, kind="stable")
    hits = np.cumsum(is_wrong[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + is_wrong.sum())
    return np.isin(np.arange(len(order)), order[: f1.argmax() + 1])


def measure(
    every: Data, share: float, num_seeds: int, *, limits: bool, per_class: int | None
) -> tuple[dict[str, np.ndarray], dict[str, WrongLabel]]:
    """Return the mean scores of each method, (5,), and wrong findings, by the path of the photo."""
    found: dict[str, list[tuple[float, ...]]] = {}
    false: dict[str, WrongLabel] = {}
    for seed in range(num_seeds):
        data = sampled(every, per_class, seed)
        labels, is_wrong = planted(data.labels, share, seed)
        outputs, has_answer = out_of_fold(data, labels)

        def search() -> list[WrongLabel]:
            return wrong_labels.wrong_classes(outputs, labels, data.class_names, has_answer)  # noqa: B023

        ours = search()
        false |= {data.paths[each.row]: each for each in ours if not is_wrong[each.row]}
        by_method = {OURS: flagged(ours, len(labels))}
        certain = [each for each in ours if each.severity == "warning"]
        by_method[f"{OURS}, warnings"] = flagged(certain, len(labels))
        probabilities = softmax(outputs.astype(float))
        for name in FILTERS if per_class is None else ():
            by_method[name] = find_label_issues(labels, probabilities, filter_by=name, n_jobs=1)
        for value in UNCERTAINTIES if limits else ():
            with mock.patch.object(wrong_labels, "UNCERTAINTY", value):
                by_method[f"{OURS}, factor {value}"] = flagged(search(), len(labels))
        for value in FIXED_LIMITS if limits else ():
            with mock.patch.object(wrong_labels, "LIMITS", (value, value)):
                by_method[f"{OURS}, limit always {value} / K"] = flagged(search(), len(labels))
        for name, doubts in rankings(probabilities, labels).items() if limits else ():
            by_method[f"ranked by {name}, best threshold"] = best_of_ranking(doubts, is_wrong)
        for name, is_flagged in by_method.items():
            found.setdefault(name, []).append(scores(is_flagged, is_wrong))
    return {name: np.mean(each, 0) for name, each in found.items()}, false


def draw(found: Mapping[str, WrongLabel], path: Path) -> None:
    """Write a contact sheet of photos with doubtful labels."""
    sheet = Image.new("RGB", (6 * 240, max(-(-len(found) // 6), 1) * 220), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (file, each) in enumerate(sorted(found.items())):
        left, top = number % 6 * 240, number // 6 * 220
        photo = Image.open(file).convert("RGB")
        photo.thumbnail((230, 195))
        sheet.paste(photo, (left, top))
        text = f"{number}: {each.given}, or {each.suggestion} ({each.probability:.2f})"
        pen.text((left, top + 200), text, "black")
    sheet.save(path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", help="folders or tables of photos with one class each, or digits")
    parser.add_argument("--share", type=float, nargs="+", default=[0.05], help="of labels to replace")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--per-class", type=int, nargs="+", default=[None], metavar="N")
    parser.add_argument("--limits", action="store_true", help="also other constants of the rule")
    parser.add_argument("--found", type=Path, help="folder for contact sheets")
    told = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    print("| data | per class | planted | method | found | right | recall | precision | F1 |\n|" + "---|" * 9)
    for name in told.data:
        data = load(name)
        for share in told.share:
            for per_class in told.per_class:
                how = {"limits": told.limits, "per_class": per_class}
                by_method, false = measure(data, share, told.seeds, **how)
                for method, each in by_method.items():
                    cells = [data.name, str(per_class or "all"), f"{share:g}", method]
                    cells += [*(f"{x:.1f}" for x in each[:2]), *(f"{x:.3f}" for x in each[2:])]
                    print(f"| {' | '.join(cells)} |", flush=True)
        if told.found and all(data.paths):
            told.found.mkdir(parents=True, exist_ok=True)
            draw(false, told.found / f"{data.name}.png")


if __name__ == "__main__":
    main()
