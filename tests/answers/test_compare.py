"""Runs side by side on the same photos."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.answers.test_gain import CLASSES, answers_of

from colours import INFO, colours_model
from headstart.answers.compare import compare, difference
from headstart.answers.estimates import TOO_FEW
from headstart.answers.file import write_answers
from headstart.answers.intervals import of_paired_proportions
from headstart.answers.table import Answers
from headstart.errors import ConfigError, RunFolderError, UsageError
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.tasks.measures import mean, share

PETS = dataclasses.replace(INFO, class_names=CLASSES)

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(
        name: str,
        answers: Answers,
        *,
        trained_on: Sequence[str] | None = (),
        info: ModelInfo = PETS,
        config: str = 'recipe = "probe"',
        metrics: Mapping[str, object] | None = None,
    ) -> Path:
        run = tmp_path / name
        run.mkdir(parents=True)
        write_answers(run / "answers.csv", answers)
        (run / "model.onnx").write_bytes(seal_onnx(colours_model(), info))
        (run / "metrics.json").write_text(json.dumps(metrics or {}))
        (run / "config.toml").write_text(config)
        if trained_on is not None:
            rows = [
                ["path", "class", "split", "sha256"],
                *([each, "cat", "train", each] for each in trained_on),
            ]
            with open(run / "photos.csv", "w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows(rows)
        return run

    return make


# 60 photos right with both, 10 only with the second, 2 only with the first, 28 with neither.
FIRST = [2.0] * 60 + [-1.0] * 10 + [1.0] * 2 + [-2.0] * 28
SECOND = [2.0] * 60 + [1.0] * 10 + [-1.0] * 2 + [-2.0] * 28


def test_a_difference_that_is_more_than_chance_is_called_one(make_run: MakeRun) -> None:
    found = compare(make_run("old", answers_of(FIRST)), make_run("new", answers_of(SECOND)))
    first, second = found
    assert (found.metric, found.photos, found.num_photos, found.notes) == ("accuracy", "validation", 100, ())
    assert (first.name, first.recipe, first.backbone) == ("old", "probe", "colours")
    assert (first.differences, first.p_value) == ({}, None)
    assert (first.scores["accuracy"].value, second.scores["accuracy"].value) == (0.62, 0.7)
    change = second.differences["accuracy"]
    assert change.value == pytest.approx(0.08)
    assert change.interval == of_paired_proportions([1] * 10 + [-1] * 2 + [0] * 88, np.arange(100))
    assert second.p_value == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert second.is_clear("accuracy")
    assert found.verdict == (
        "On 100 validation photos new is better than old: accuracy 0.700 against 0.620, +0.080 (95 % "
        "interval +0.008 to +0.149, McNemar's p = 0.039)."
    )
    assert "new is worse than" not in str(found)
    assert found.verdict in str(found)
    assert ">+0.080</td>" in found._repr_html_()


def test_a_difference_within_chance_cannot_be_told_apart(make_run: MakeRun) -> None:
    runs = [make_run("a", answers_of(FIRST)), make_run("b", answers_of([*FIRST[1:], -3.0]))]
    found = compare(*runs)
    assert not found[1].is_clear("accuracy")
    assert found.verdict.startswith(
        "On 100 validation photos the two cannot be told apart: accuracy 0.610 against"
    )
    several = compare(
        *runs, make_run("c", answers_of([-each for each in FIRST])), make_run("d", answers_of(FIRST))
    )
    assert "compared with a: c is worse, accuracy 0.380 against 0.620" in several.verdict
    assert "b and d cannot be told apart from it. Of 3 comparisons, one may look clear" in several.verdict


def test_photos_are_matched_in_any_order_and_out_of_fold_rows_do_not_count(make_run: MakeRun) -> None:
    old, new = answers_of(FIRST), answers_of(SECOND)
    train = dataclasses.replace(
        answers_of([-5.0] * 9),
        source=["out-of-fold"] * 9,
        path=[f"t{row}" for row in range(9)],
        split=["train"] * 9,
    )
    shuffled = Answers.concatenate([train, new[np.random.default_rng(0).permutation(100)]])
    found = compare(make_run("old", old), make_run("new", shuffled))
    straight = compare(make_run("again/old", old), make_run("again/new", new))
    assert found.num_photos == 100
    assert {n: e.value for n, e in found[1].differences.items()} == pytest.approx(
        {n: e.value for n, e in straight[1].differences.items()}
    )


def test_photos_that_one_run_was_trained_on_are_left_out(make_run: MakeRun) -> None:
    answers = answers_of(FIRST)
    runs = [
        make_run("a", answers, trained_on=["hash 3", "another"]),
        make_run("b", answers, trained_on=["hash 3", "hash 7"]),
    ]
    found = compare(*runs)
    assert found.num_photos == 98
    assert found.notes == (
        "2 validation or test photos left out, because one of the runs was trained on the same photo.",
    )
    unknown = compare(runs[0], make_run("c", answers, trained_on=None))
    assert "c has no readable photos.csv, so it may have been trained on some of these" in unknown.notes[0]


def test_test_photos_go_before_validation_photos(make_run: MakeRun) -> None:
    sources = ["val"] * 60 + ["test"] * 40
    mixed = dataclasses.replace(answers_of(FIRST), source=sources, split=sources)
    found = compare(make_run("a", mixed), make_run("b", mixed))
    assert (found.photos, found.num_photos) == ("test", 40)
    half = compare(make_run("c", mixed[60:]), make_run("d", answers_of(FIRST)))
    assert (half.photos, half.num_photos) == ("test or validation", 40)


def test_photos_with_other_labels_are_left_out(make_run: MakeRun) -> None:
    answers = answers_of(FIRST)
    other = dataclasses.replace(answers, label=["dog", *answers.label[1:]])
    found = compare(make_run("a", answers), make_run("b", other))
    assert (found.num_photos, found.notes) == (99, ("1 photo left out, because labels differ.",))


def test_the_recipe_auto_is_shown_by_its_phases_and_equal_names_by_their_paths(make_run: MakeRun) -> None:
    metrics = {"phases": [{"name": "probe"}, {"name": "finetune"}]}
    runs = [
        make_run("x/run", answers_of(FIRST), config='recipe = "auto"', metrics=metrics),
        make_run("y/run", answers_of(FIRST), config="no toml"),
    ]
    found = compare(*runs)
    assert [run.recipe for run in found] == ["probe + finetune", "unknown"]
    assert [run.name for run in found] == list(map(str, runs))


def test_what_cannot_be_compared_is_refused_with_advice(make_run: MakeRun, tmp_path: Path) -> None:
    answers = answers_of(FIRST)
    run = make_run("run", answers)
    for given in ((), (run,), (run, run), (run, tmp_path / "x" / ".." / "run")):
        with pytest.raises(ConfigError, match="Name at least two different run folders"):
            compare(*given)
    with pytest.raises(RunFolderError, match=r"has no metrics.json and no answers.csv.*mean 'run'"):
        compare(run, tmp_path / "runn")
    other = dataclasses.replace(answers, output_names=("logit:cat", "logit:cow"))
    other = dataclasses.replace(other, label=["cat"] * 100, prediction=["cat"] * 100)
    cows = make_run("cows", other, info=dataclasses.replace(PETS, class_names=("cat", "cow")))
    with pytest.raises(UsageError, match="their classes differ: only cows has cow, only run has dog"):
        compare(run, cows)
    numbers = dataclasses.replace(PETS, task="regression", class_names=(), targets=("height",))
    with pytest.raises(UsageError, match="their tasks differ: only numbers has regression"):
        compare(run, make_run("numbers", answers, info=numbers))


@pytest.mark.parametrize(
    ("column", "trained_on", "why"),
    [
        ("path", (), r"same photos under different paths.*same --val and --seed"),
        ("sha256", (), r"trained on\. Train them"),
        (
            None,
            [f"hash {row}" for row in range(100)],
            r"\(100 photos of one run were training photos of another",
        ),
    ],
)
def test_runs_without_common_photos_are_refused_with_the_reason(
    column: str | None, trained_on: Sequence[str], why: str, make_run: MakeRun
) -> None:
    answers = answers_of(FIRST)
    changed = {} if column is None else {column: [f"other {row}" for row in range(100)]}
    other = dataclasses.replace(answers, **changed)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=why):
        compare(make_run("a", answers), make_run("b", other, trained_on=trained_on))


def test_differences_other_than_shares_need_twenty_errors() -> None:
    values = np.random.default_rng(0).uniform(size=(2, 50))
    new, old = (mean(each, "positive") for each in values)
    few = difference(new, old, np.arange(50), 19)
    assert (few.interval, few.reason) == (None, TOO_FEW)
    enough = difference(new, old, np.arange(50), 20)
    assert enough.interval is not None
    changes = values[0] - values[1]
    assert np.mean(enough.interval) == pytest.approx(changes.mean())
    assert enough.interval[1] - changes.mean() == pytest.approx(
        2.0096 * changes.std(ddof=1) / math.sqrt(50), rel=1e-3
    )
    assert difference(share(values[0] > 0.5), share(values[1] > 0.5), np.arange(50), 0).interval is not None
    same = difference(new, new, np.arange(50), 20)
    assert (same.value, same.interval, same.reason) == (0, None, "the same for every photo")
