"""Which stages a head reads, chosen by closed-form cross-validation."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.probe.blocks import Block, Reading, choose_blocks

BLOCKS = (Block("stage.early", 0, 6, 0.5), Block("stage.late", 6, 14, 0.7), Block("last", 14, 34))


def features(labels: np.ndarray, *, telling: str, noise: float = 1.0) -> np.ndarray:
    """Make features of which the last block tells little, and the block ``telling`` much."""
    generator = np.random.default_rng(0)
    found = generator.normal(0, noise, (len(labels), 34))
    centres = generator.normal(0, 1, (labels.max() + 1, 34))
    found[:, 14:] += 0.6 * centres[labels][:, 14:]
    (block,) = (each for each in BLOCKS if each.name == telling)
    found[:, block.first : block.last] += 3 * centres[labels][:, block.first : block.last]
    return (10 * found + 3).astype(np.float32)


@pytest.mark.parametrize(
    ("telling", "stages"),
    [("stage.early", ("stage.early", "stage.late")), ("stage.late", ("stage.late",)), ("last", ())],
)
def test_stages_are_read_from_the_first_that_helps(telling: str, stages: tuple[str, ...]) -> None:
    labels = np.arange(120) % 3
    reading = choose_blocks(features(labels, telling=telling), BLOCKS, labels, np.arange(120))
    assert reading.stages == stages
    assert reading.first == next(each.first for each in BLOCKS if each.name in (*stages, "last"))
    summary = reading.summary()
    assert summary["stages"] == [name.removeprefix("stage.") for name in stages]
    assert list(summary["stage_errors"]) == ["last", "late+last", "early+late+last"]


def ridge_errors(x: np.ndarray, y: np.ndarray, units: np.ndarray, strength: float) -> np.ndarray:
    """Fit a ridge regression without each unit, by hand, and return the squared errors for its rows."""
    penalty = strength * np.linalg.eigvalsh(x @ x.T).clip(0).mean()
    errors = np.empty(len(x))
    for unit in np.unique(units):
        out = units == unit
        rest = x[~out]
        weights = rest.T @ np.linalg.solve(rest @ rest.T + penalty * np.eye(len(rest)), y[~out])
        errors[out] = np.square(x[out] @ weights - y[out]).sum(1)
    return errors


@pytest.mark.parametrize("num_units", [60, 20, 7])
def test_errors_are_those_of_fits_without_each_unit(num_units: int) -> None:
    labels = np.arange(60) % 3
    units = np.random.default_rng(1).integers(num_units, size=60) if num_units < 60 else np.arange(60)
    rows = features(labels, telling="stage.late", noise=3.0)
    reading = choose_blocks(rows, BLOCKS, labels, units)
    x = np.concatenate(
        [
            block.weight * part / np.sqrt(np.square(part).sum(1).mean())
            for block in BLOCKS
            for part in [(rows - rows.mean(0))[:, block.first : block.last].astype(np.float64)]
        ],
        axis=1,
    )
    y = np.eye(3)[labels] - np.eye(3)[labels].mean(0)
    assert reading.errors is not None
    for name, error in reading.errors.items():
        first = next(block.first for block in BLOCKS if block.name == name.split("+")[0])
        fits = [ridge_errors(x[:, first:], y, units, 10 ** (half / 2)) for half in range(2, -7, -1)]
        assert error == pytest.approx(min(fit.mean() for fit in fits), rel=2e-3)


def test_scaled_blocks_have_their_weights_as_standard_deviations() -> None:
    labels = np.arange(90) % 3
    rows = features(labels, telling="stage.early")
    reading = choose_blocks(rows, BLOCKS, labels, np.arange(90))
    assert reading.scale is not None
    scaled = rows * reading.scale
    for block in BLOCKS:
        std = np.sqrt(scaled[:, block.first : block.last].var(0).sum())
        assert std == pytest.approx(block.weight, rel=1e-4)


def test_groups_are_left_out_together() -> None:
    # The early stage tells the group, which tells the class of photos of the same group, and of no other.
    groups = np.repeat(np.arange(12), 10)
    labels = groups % 3
    generator = np.random.default_rng(0)
    rows = features(labels, telling="last", noise=12.0)
    rows[:, :6] = (generator.normal(0, 30, (12, 6))[groups] + generator.normal(0, 1, (120, 6))).astype("f4")
    assert choose_blocks(rows, BLOCKS, labels, np.arange(120)).stages != ()
    assert choose_blocks(rows, BLOCKS, labels, groups).stages == ()


def test_nothing_is_compared_where_nothing_can_be_left_out() -> None:
    labels = np.arange(30) % 3
    rows = features(labels, telling="stage.early")
    assert choose_blocks(rows, BLOCKS, labels, np.zeros(30, int)) == Reading((), 14)
    assert choose_blocks(rows[:, 14:], [Block("last", 0, 20)], labels, np.arange(30)) == Reading((), 0)


def test_stages_may_be_asked_for_and_many_photos_take_no_more_time() -> None:
    labels = np.arange(5000) % 3
    rows = features(labels, telling="last")
    reading = choose_blocks(rows, BLOCKS, labels, np.arange(5000), min_blocks=2)
    assert reading.stages[-1:] == ("stage.late",)
    again = choose_blocks(rows, BLOCKS, labels, np.arange(5000), min_blocks=2)
    assert again.errors == reading.errors


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_labels_and_numbers_are_chosen_for_too(kind: str) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(0, 1, (100, 34)).astype(np.float32)
    targets = rows[:, 6:8] + 0.1 * generator.normal(0, 1, (100, 2)).astype(np.float32)
    targets = (targets > 0).astype(np.float32) if kind == "labels" else targets
    assert choose_blocks(rows, BLOCKS, targets, np.arange(100)).stages == ("stage.late",)


def test_constant_stages_do_no_harm() -> None:
    labels = np.arange(30) % 3
    rows = features(labels, telling="stage.late")
    rows[:, :6] = 7
    reading = choose_blocks(rows, BLOCKS, labels, np.arange(30))
    assert reading.stages == ("stage.late",)
    assert reading.scale is not None
    assert np.isfinite(reading.scale).all()


def test_classes_of_single_photos_are_not_compared() -> None:
    labels = np.array([0, 1, 1, *range(2, 1499)])  # of 1,500 photos, 1,000 are compared
    features = np.random.default_rng(0).normal(size=(len(labels), 8)).astype(np.float32)
    blocks = [Block("early", 0, 4, 0.7), Block("last", 4, 8)]
    reading = choose_blocks(features, blocks, labels, np.arange(len(labels)))
    assert reading.stages == ()
