"""How often 95 % intervals of scores contain the true score, by simulation.

    python -m benchmarks.intervals
    python -m benchmarks.intervals --all-scores --samples 400 --classes "2, 9 : 1" "4 equal" --numbers 100 223

Prints one row per setting: the coverage of Wilson's interval (exact, by the binomial distribution), of scores
of one model and of differences between two (simulated; only samples with at least twenty errors count), and
of all of them over groups of dependent photos. Beside it is the coverage of percentile bootstraps, for
comparison. The true score is that of 100,000 photos.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.answers.compare import difference
from headstart.answers.estimates import FEWEST_ERRORS, estimate
from headstart.answers.intervals import Interval, wilson
from headstart.tasks.class_measures import measure_classes
from headstart.tasks.class_scores import means_over_classes
from headstart.tasks.losses import cross_entropy
from headstart.tasks.measures import Measure, f1, f1_of_class, mean_of, mean_of_shares, share

NUMBERS = (30, 100, 223, 2000)
ACCURACIES = (0.6, 0.8, 0.9, 0.95, 0.98)
MIXES = {
    "2 equal": (0.5, 0.5),
    "2, 9 : 1": (0.9, 0.1),
    "4 equal": (0.25,) * 4,
    "4, 12 : 5 : 2 : 1": (0.6, 0.25, 0.1, 0.05),
    "10 equal": (0.1,) * 10,
    "10, 30 : … : 1": (0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01),
}
QUICK = ("accuracy", "balanced_accuracy", "macro_f1")
SCORES = (*QUICK, "roc_auc", "loss", "brier")
OF_CLASS = "f1 of a class"
NUM_TRUE, NUM_BOOTSTRAP = 100_000, 400  # photos; resamples


def wilson_coverage(num: int, accuracy: float) -> float:
    """Return the probability that Wilson's interval contains the accuracy, exactly."""
    total = 0.0
    for right in range(num + 1):
        low, high = wilson(right, num)
        if low <= accuracy <= high:
            log = math.lgamma(num + 1) - math.lgamma(right + 1) - math.lgamma(num - right + 1)
            total += math.exp(log + right * math.log(accuracy) + (num - right) * math.log(1 - accuracy))
    return total


@dataclass(frozen=True)
class World:
    """Photos with labels, and two models whose outputs agree in part.

    Attributes:
        mix: Frequencies of the classes.
        margin: By how much the logit of the true class is higher, in standard deviations.
        gain: By how much more it is for the second model.
        shared: Share of the variance that both models have in common.
        per_group: Photos per group; those of a group have their class and half of the variance in common.
    """

    mix: Sequence[float]
    margin: float
    gain: float = 0.0
    shared: float = 0.8
    per_group: int = 1

    def draw(self, num: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return labels (N,), and the logits of both models (N, K) each."""
        num_groups, k = -(-num // self.per_group), len(self.mix)
        labels = np.repeat(random.choice(k, size=num_groups, p=self.mix), self.per_group)[:num]

        def noise() -> np.ndarray:
            own = random.normal(size=(num, k))
            if self.per_group == 1:
                return own
            of_group = np.repeat(random.normal(size=(num_groups, k)), self.per_group, 0)[:num]
            return np.asarray((own + of_group) / math.sqrt(2))

        common, first, second = noise(), noise(), noise()
        found = []
        for own, margin in ((first, self.margin), (second, self.margin + self.gain)):
            logits = math.sqrt(self.shared) * common + math.sqrt(1 - self.shared) * own
            logits[np.arange(num), labels] += margin
            found.append(logits * 1.5)
        return labels, found[0], found[1]


def margin_of(accuracy: float, mix: Sequence[float]) -> float:
    """Return the margin that gives an accuracy, by bisection on the same noise."""
    low, high = 0.0, 8.0
    for _ in range(20):
        middle = (low + high) / 2
        labels, logits, _ = World(mix, middle).draw(20_000, np.random.default_rng(7))
        low, high = (low, middle) if (logits.argmax(1) == labels).mean() > accuracy else (middle, high)
    return (low + high) / 2


def measured(labels: np.ndarray, logits: np.ndarray, scores: Sequence[str]) -> dict[str, Measure]:
    """Return some scores of a model, and the F1 of the first class."""
    k, said = logits.shape[1], logits.argmax(1)
    columns = [(labels == each, said == each) for each in range(k)]
    if set(scores) <= set(QUICK):
        found = {
            "accuracy": share(said == labels),
            "balanced_accuracy": mean_of_shares([share(said, has) for has, said in columns], len(labels)),
            "macro_f1": mean_of(f1(*column) for column in columns),
        }
    else:
        names = tuple(map(str, range(k)))
        found = dict(measure_classes(labels, logits, cross_entropy(logits, labels), names).overall)
    return {name: found[name] for name in scores} | {OF_CLASS: f1_of_class(*columns[0])}


def bootstrap_of_f1(labels: np.ndarray, predicted: np.ndarray, k: int, *, stratified: bool) -> Interval:
    """Return the percentile interval of macro F1, for comparison."""
    random, found = np.random.default_rng(0), []
    rows_of = (
        [np.flatnonzero(labels == each) for each in range(k)] if stratified else [np.arange(len(labels))]
    )
    for _ in range(NUM_BOOTSTRAP):
        drawn = np.concatenate([random.choice(rows, len(rows)) for rows in rows_of if len(rows)])
        found.append(means_over_classes(labels[drawn], predicted[drawn], k)["macro_f1"])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


@functools.cache
def truth_of(world: World, scores: tuple[str, ...]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the true scores of both models."""
    labels, one, other = world.draw(NUM_TRUE, np.random.default_rng(1))
    first, second = (
        {name: each.value for name, each in measured(labels, logits, scores).items()}
        for logits in (one, other)
    )
    return first, second


def simulate(
    world: World, num: int, samples: int, scores: tuple[str, ...], *, bootstrap: bool
) -> dict[str, tuple[float, int]]:
    """Return coverage and number of intervals, by what the interval is of."""
    truth, rival = truth_of(world, scores)
    hits: dict[str, list[bool]] = {}

    def count(name: str, interval: Interval | None, true: float) -> None:
        if interval is not None:
            hits.setdefault(name, []).append(interval[0] <= true <= interval[1])

    for sample in range(samples):
        labels, one, other = world.draw(num, np.random.default_rng((2, sample)))
        units = np.arange(num) // world.per_group
        first, second = measured(labels, one, scores), measured(labels, other, scores)
        is_wrong, other_is_wrong = (each.argmax(1) != labels for each in (one, other))
        errors, either = (len(np.unique(units[each])) for each in (is_wrong, is_wrong | other_is_wrong))
        for name, each in first.items():
            count(name, estimate(each, units, errors).interval, truth[name])
            if name != OF_CLASS:
                paired = difference(second[name], each, units, either).interval
                count(f"Δ {name}", paired, rival[name] - truth[name])
        if bootstrap and errors >= FEWEST_ERRORS:
            for name, stratified in (("bootstrap", False), ("stratified", True)):
                interval = bootstrap_of_f1(labels, one.argmax(1), len(world.mix), stratified=stratified)
                count(name, interval, truth["macro_f1"])
    return {name: (float(np.mean(each)), len(each)) for name, each in hits.items()}


def settings(mixes: Sequence[str], numbers: Sequence[int]) -> Iterator[tuple[str, World, int]]:
    """Yield each setting with its cells in the table."""
    for name in mixes:
        for accuracy in ACCURACIES:
            margin = margin_of(accuracy, MIXES[name])
            for num in numbers:
                if num * (1 - accuracy) >= FEWEST_ERRORS / 2:
                    yield f"{name} | {accuracy} | {num} | 1", World(MIXES[name], margin, 0.15), num
        world = World(MIXES[name], margin_of(0.85, MIXES[name]), 0.15, per_group=5)
        yield f"{name} | 0.85 | 500 | 5", world, 500


def print_wilson() -> None:
    """Print the coverage of accuracies."""
    accuracies = np.arange(0.6, 0.9901, 0.005)
    print("| photos | mean coverage | lowest | at accuracy |\n|---|---|---|---|")
    found = {num: [wilson_coverage(num, float(each)) for each in accuracies] for num in NUMBERS}
    for num, each in found.items():
        place = int(np.argmin(each))
        print(f"| {num} | {np.mean(each):.3f} | {each[place]:.3f} | {accuracies[place]:.3f} |")
    print(f"| all | {np.mean(list(found.values())):.3f} | {np.min(list(found.values())):.3f} | |\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--classes", nargs="+", choices=MIXES, default=list(MIXES), help="mixes of classes")
    parser.add_argument("--numbers", nargs="+", type=int, default=NUMBERS, help="numbers of photos")
    parser.add_argument("--all-scores", action="store_true", help="also AUC, loss and Brier score; slower")
    parser.add_argument("--bootstrap", action="store_true", help="also the bootstraps, for comparison")
    arguments = parser.parse_args()
    print_wilson()
    scores = SCORES if arguments.all_scores else QUICK
    columns = [*scores, OF_CLASS, *(f"Δ {name}" for name in scores)]
    columns += ["bootstrap", "stratified"] if arguments.bootstrap else []
    print(f"| classes | accuracy | photos | per group | {' | '.join(columns)} |")
    print("|" + "---|" * (len(columns) + 4))
    lowest: dict[str, tuple[float, str]] = {}
    every: dict[str, list[float]] = {}
    for row, world, num in settings(arguments.classes, arguments.numbers):
        found = simulate(world, num, arguments.samples, scores, bootstrap=arguments.bootstrap)
        cells = []
        for name in columns:
            coverage, number = found.get(name, (math.nan, 0))
            is_enough = number >= arguments.samples / 4  # of fewer, those with many errors by chance
            cells.append(f"{coverage:.3f}" if is_enough else "–")
            if is_enough:
                every.setdefault(name, []).append(coverage)
                lowest[name] = min(lowest.get(name, (1.0, "")), (coverage, row))
        print(f"| {row} | {' | '.join(cells)} |", flush=True)
    print("\n| interval of | mean coverage | lowest | at |\n|---|---|---|---|")
    for name, (coverage, row) in lowest.items():
        print(f"| {name} | {np.mean(every[name]):.3f} | {coverage:.3f} | {row.replace(' | ', ', ')} |")


if __name__ == "__main__":
    main()
