"""Class weights and logit adjustment for classes with few photos, on the features of the last stage.

Five folds that keep near-duplicates together. Of ``--rarer``, class k of K keeps a fraction of its training
photos that falls geometrically to a tenth; the photos that score are not thinned out. ::

    python -m benchmarks.imbalance ../shared/data/tiles
    python -m benchmarks.imbalance ../shared/data/caltech --rarer

Source of logit adjustment: Menon et al. 2021, arXiv 2007.07314.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn.linear_model
import sklearn.metrics

import headstart as hs
from benchmarks.folds import units_of
from headstart.probe.folds import deal_folds
from headstart.probe.solve import solve_head
from headstart.tasks.losses import cross_entropy

TAUS = (0.5, 1.0)


def thinned(labels: np.ndarray) -> np.ndarray:
    """Return the rows to keep, so that the last class has a tenth of its photos."""
    names = np.unique(labels)
    shares = 0.1 ** (np.arange(len(names)) / max(len(names) - 1, 1))
    kept = [np.flatnonzero(labels == name) for name in names]
    return np.sort(
        np.concatenate(
            [rows[: max(round(part * len(rows)), 2)] for rows, part in zip(kept, shares, strict=True)]
        )
    )


def logits_of(x: np.ndarray, y: np.ndarray, units: np.ndarray, test: np.ndarray) -> dict[str, np.ndarray]:
    """Return the logits for the test rows of each method."""
    head = solve_head(x, y, units, "classes", int(y.max()) + 1)
    prior = np.log(np.bincount(y) / len(y))
    plain = test @ head.weight.T + head.bias
    found = {"nothing": plain} | {f"subtracted, tau {tau}": plain - tau * prior for tau in TAUS}
    # scikit-learn's penalty is on features as they are, and of the sum of losses.
    scale = float(x.var(0).mean())
    for name, weight in (("class weights", "balanced"), ("square root of class weights", "root")):
        of_class = len(y) / (len(prior) * np.bincount(y))
        weights = dict(enumerate(of_class if weight == "balanced" else of_class**0.5))
        strength = 1 / (head.penalties[0] * scale * len(y))
        model = sklearn.linear_model.LogisticRegression(C=strength, class_weight=weights, max_iter=2000)
        mean = x.mean(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(x - mean, y)
        found[name] = model.decision_function(test - mean)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder of classes")
    parser.add_argument("--rarer", action="store_true", help="thin out the training photos of later classes")
    told = parser.parse_args(arguments)
    columns = hs.features(told.data, verbose=False).columns
    vectors, labels = columns["vector"], np.unique(columns["label"], return_inverse=True)[1]
    units = units_of({name: values for name, values in columns.items() if name != "split"})
    folds = deal_folds(labels, units)
    parts: dict[str, list[np.ndarray]] = {}
    order = []
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        train = train[thinned(labels[train])] if told.rarer else train
        for name, logits in logits_of(vectors[train], labels[train], units[train], vectors[test]).items():
            parts.setdefault(name, []).append(logits)
        order.append(labels[test])
    truth = np.concatenate(order)
    print("| method | accuracy | balanced accuracy | macro F1 | log loss |\n|" + "---|" * 5)
    for name, each in parts.items():
        logits = np.concatenate(each).astype(float)
        said = logits.argmax(1)
        scores = [
            (said == truth).mean(),
            sklearn.metrics.balanced_accuracy_score(truth, said),
            sklearn.metrics.f1_score(truth, said, average="macro"),
            cross_entropy(logits, truth).mean(),
        ]
        print(f"| {name} | {' | '.join(f'{score:.4f}' for score in scores)} |")


if __name__ == "__main__":
    main()
