"""Scores with their intervals, from answers alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tests.labelled import INFO, INFOS, photos

from headstart.answers.estimates import TOO_FEW, estimates_of, headline_of, metrics_of, names_of
from headstart.answers.file import read_answers, write_answers
from headstart.answers.intervals import of_proportion, wilson
from headstart.answers.scores import scores_of, summary_of
from headstart.answers.table import Answers
from headstart.images.photo import Photo

CLASSES = ("cat", "dog")
PETS = dataclasses.replace(INFO, class_names=CLASSES)


def pets(is_right: np.ndarray, **columns: object) -> Answers:
    """Return answers about cats and dogs in turn."""
    num = len(is_right)
    labels = np.arange(num) % 2
    predicted = np.where(is_right, labels, 1 - labels)
    logits = np.random.default_rng(0).normal(0, 0.1, (num, 2)).astype(np.float32)
    logits[np.arange(num), predicted] += 2
    answers = Answers(
        path=[f"{CLASSES[label]}/{row}.jpg" for row, label in enumerate(labels)],
        sha256=[f"hash {row}" for row in range(num)],
        split=["test"] * num,
        group=[""] * num,
        alike=[""] * num,
        fold=np.full(num, -1, np.int32),
        source=["test"] * num,
        label=[CLASSES[label] for label in labels],
        prediction=[CLASSES[each] for each in predicted],
        loss=np.where(is_right, 0.1, 2.1).astype(np.float32),
        outputs=logits,
        output_names=("logit:cat", "logit:dog"),
    )
    return dataclasses.replace(answers, **columns)  # type: ignore[arg-type]


def wrong(number: int, of: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(of) >= number


@pytest.mark.parametrize("name", INFOS)
def test_every_score_of_every_task_has_an_interval_around_it_or_a_reason(name: str, tmp_path: Path) -> None:
    info = INFOS[name]
    answers = Answers.from_outputs(*photos(info, 80), info, "test")
    answers = dataclasses.replace(answers, group=[""] * 80)
    found = estimates_of(answers, info)
    assert tuple(found.overall) == names_of(info)
    for each in [*found.overall.values(), *(each for part in found.parts.values() for each in part.values())]:
        assert (each.interval is None) == bool(each.reason)
        if each.interval is not None:
            assert each.interval[0] <= each.value <= each.interval[1]
    assert found.overall[names_of(info)[0]].interval is not None
    if name != "box":
        assert found.parts.keys() == set(info.targets or info.class_names) or name == "box of one class"
    write_answers(tmp_path / "answers.csv", answers)
    again = estimates_of(read_answers(tmp_path / "answers.csv"), info)
    assert json.dumps(again.to_dict()) == json.dumps(found.to_dict())
    metrics = metrics_of(scores_of(answers, info), found)
    assert {key: metrics[key] for key in found.to_dict()} == found.to_dict()
    for score, value in scores_of(answers, info).summary.items():
        assert score == "calibrated_loss" or metrics[score] == (value if value == value else None)
    json.dumps(metrics, allow_nan=False)


def test_below_twenty_errors_only_shares_have_an_interval() -> None:
    few = estimates_of(pets(wrong(19, 200)), PETS)
    assert few.num_errors == 19
    assert few.overall["accuracy"].interval == pytest.approx(wilson(181, 200))
    assert few.overall["balanced_accuracy"].interval is not None
    for name in ("macro_f1", "roc_auc", "loss", "brier"):
        assert (few.overall[name].interval, few.overall[name].reason) == (None, TOO_FEW)
    assert few.parts["cat"]["f1"].interval is not None
    enough = estimates_of(pets(wrong(20, 200)), PETS)
    assert all(each.interval is not None for each in enough.overall.values())


def test_scores_of_a_class_are_about_its_photos_and_its_predictions() -> None:
    answers = pets(wrong(20, 200))
    (cat, _), is_cat = estimates_of(answers, PETS).parts.values(), np.arange(200) % 2 == 0
    right = int((answers.is_right == 1)[is_cat].sum())
    assert (cat["recall"].value, cat["recall"].num_photos) == (right / 100, 100)
    assert cat["recall"].interval == pytest.approx(wilson(right, 100))
    assert cat["precision"].num_photos == answers.prediction.count("cat")
    low, high = wilson(right, cat["f1"].num_photos)
    assert cat["f1"].interval == pytest.approx((2 * low / (1 + low), 2 * high / (1 + high)))


@pytest.mark.parametrize("column", ["sha256", "group"])
def test_identical_photos_and_those_of_a_group_say_no_more_than_one(column: str) -> None:
    once = estimates_of(pets(wrong(40, 200)), PETS)
    rows = np.repeat(np.arange(200), 3)
    copies = pets(wrong(40, 200))[rows]
    copies = dataclasses.replace(copies, sha256=[str(row) for row in range(600)])
    independent = estimates_of(copies, PETS)
    dependent = estimates_of(dataclasses.replace(copies, **{column: [f"unit {row}" for row in rows]}), PETS)
    assert (dependent.num_units, dependent.num_errors) == (200, 40)
    for name, each in once.overall.items():
        assert dependent.overall[name].interval == pytest.approx(each.interval, abs=2e-3)
        narrow, wide = independent.overall[name].interval, dependent.overall[name].interval
        assert narrow is not None
        assert wide is not None
        assert narrow[1] - narrow[0] < 0.7 * (wide[1] - wide[0])


def test_folders_and_sizes_are_scored_apart() -> None:
    is_right = wrong(40, 200)
    paths = [
        f"/data/{'farm' if row < 50 else 'town/park'}/{'cat' if row % 2 == 0 else 'dog'}/{row}.jpg"
        for row in range(200)
    ]
    answers = pets(is_right, path=paths)
    sizes = [(100, 20) if row < 10 else None if row == 10 else (64, 32) for row in range(200)]
    found = estimates_of(answers, PETS, sizes)
    assert list(found.folders) == ["farm", "town/park"]
    assert found.folders["farm"].value == is_right[:50].mean()
    assert found.folders["farm"].interval == of_proportion(is_right[:50], np.arange(50))
    assert {name: each.num_photos for name, each in found.sizes.items()} == {
        "below 32 px": 10,
        "from 32 px": 189,
        "unknown": 1,
    }
    assert estimates_of(pets(is_right), PETS).folders == {}


def test_metrics_json_has_the_interval_of_each_headline_score() -> None:
    answers = pets(wrong(5, 60))
    found, summary = headline_of(answers, PETS), summary_of(answers, PETS)
    assert {name: value for name, value in found.items() if not name.endswith("_interval")} == summary
    assert found["accuracy_interval"] == pytest.approx(list(wilson(55, 60)))
    assert found["macro_f1_interval"] is None
    assert "calibrated_loss_interval" not in found


def test_photos_without_a_hash_are_independent() -> None:
    records, outputs = photos(PETS, 4)
    records = [
        dataclasses.replace(each, sha256="", group=None, photo=Photo(f"{row}.jpg"))
        for row, each in enumerate(records)
    ]
    assert Answers.from_outputs(records, outputs, PETS, "test").units.tolist() == [0, 1, 2, 3]


def test_near_duplicates_are_one_unit_also_with_their_groups() -> None:
    records, outputs = photos(PETS, 6)
    hashes = [record.sha256 for record in records]
    connections = [
        (None, hashes[0]),
        (None, hashes[0]),
        ("a", None),
        ("a", hashes[3]),
        (None, hashes[3]),
        (None, None),
    ]
    records = [
        dataclasses.replace(each, group=group, alike=alike)
        for each, (group, alike) in zip(records, connections, strict=True)
    ]
    assert Answers.from_outputs(records, outputs, PETS, "test").units.tolist() == [0, 0, 1, 1, 1, 2]
