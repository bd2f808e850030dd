"""Wrong labels are found by outputs of models that were trained without the photo."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from headstart.answers.table import Answers, Source
from headstart.findings.wrong_labels import (
    LIMITS,
    WrongLabel,
    wrong_classes,
    wrong_label_sets,
    wrong_labels_of,
    wrong_numbers,
)
from headstart.probe.solve import solve_head

NAMES = ["cat", "dog", "emu"]


def rows(found: list[WrongLabel]) -> list[int]:
    return [each.row for each in found]


def outputs_of(labels: np.ndarray, num_classes: int = 3, certainty: float = 6.0) -> np.ndarray:
    """Logits of a model that is right about all photos."""
    return np.eye(num_classes, dtype=np.float32)[labels] * np.float32(certainty)


def answers(
    labels: list[str],
    outputs: np.ndarray,
    names: list[str],
    fold: list[int] | None = None,
    source: Source = "out-of-fold",
) -> Answers:
    num = len(labels)
    texts = [""] * num
    folds = np.array(fold or [0] * num, np.int32)
    return Answers(
        texts,
        texts,
        texts,
        texts,
        texts,
        folds,
        [source] * num,
        labels,
        texts,
        np.zeros(num),
        outputs,
        tuple(names),
    )


def test_planted_errors_are_found_with_out_of_fold_outputs_of_a_solved_head() -> None:
    random = np.random.default_rng(0)
    truth = np.arange(400) % 4
    features = (random.normal(size=(4, 16)) * 1.5)[truth] + random.normal(size=(400, 16))
    given = truth.copy()
    wrong = random.choice(400, 20, replace=False)
    given[wrong] = (truth[wrong] + random.integers(1, 4, 20)) % 4
    head = solve_head(features.astype(np.float32), given, np.arange(400), "classes", 4)
    assert head.outputs is not None
    found = wrong_classes(head.outputs, given, "abcd")
    hits = set(rows(found)) & set(wrong.tolist())
    assert len(hits) >= 18
    assert len(found) - len(hits) <= 2
    assert all("abcd"[truth[each.row]] == each.suggestion for each in found if each.row in hits)


def test_the_most_suspicious_label_comes_first_with_what_the_model_would_give() -> None:
    truth = np.arange(60) % 3
    outputs = outputs_of(truth)
    given = truth.copy()
    given[[7, 20]] = [0, 1]  # in truth 1 and 2
    outputs[20] *= 2
    found = wrong_classes(outputs, given, NAMES)
    assert [(each.row, each.given, each.suggestion) for each in found] == [
        (20, "dog", "emu"),
        (7, "cat", "dog"),
    ]
    assert found[0].strength > found[1].strength >= 1
    assert found[1].probability == pytest.approx(np.exp(6) / (np.exp(6) + 2))
    assert found[1].sentence.startswith("The label 'cat' is probably wrong: a model that was trained without")
    assert "'dog' one of 1.00" in found[1].sentence
    assert {each.severity for each in found} == {"warning"}


def test_labels_that_the_model_agrees_with_are_never_found() -> None:
    truth = np.arange(30) % 3
    assert wrong_classes(outputs_of(truth, certainty=0.1), truth, NAMES) == []


def test_however_many_labels_are_wrong_undecided_predictions_are_not_enough() -> None:
    given = np.zeros(30, int)
    outputs = outputs_of(np.array([1] * 10 + [0] * 20))
    outputs[29] = [0, np.log(3 / LIMITS[1]) - 0.01, 0]  # not quite as much more probable
    assert rows(wrong_classes(outputs, given, NAMES)) == list(range(10))
    outputs[29, 1] += 0.02
    assert rows(wrong_classes(outputs, given, NAMES)) == [*range(10), 29]


def test_fewer_are_found_if_few_are_wrong() -> None:
    """The limit follows the share of labels that are found at it."""
    given = np.zeros(1000, int)
    outputs = np.zeros((1000, 3), np.float32)
    outputs[:, 0] = 5
    outputs[:5] = [0, 2, 0]  # the other class is 7.4 times as probable: 0.41 / K
    assert rows(wrong_classes(outputs, given, NAMES)) == []
    outputs[:60] = [0, 2, 0]
    assert rows(wrong_classes(outputs, given, NAMES)) == list(range(60))


def test_findings_about_a_model_that_is_often_wrong_are_notes() -> None:
    given = np.zeros(10, int)
    found = wrong_classes(outputs_of(np.array([1] * 3 + [0] * 7)), given, NAMES)
    assert [(each.row, each.severity) for each in found] == [(0, "note"), (1, "note"), (2, "note")]


def test_photos_without_an_answer_are_left_out() -> None:
    truth = np.arange(30) % 3
    given = truth.copy()
    given[:4] = (given[:4] + 1) % 3
    outputs = outputs_of(truth)
    outputs[1] = np.nan
    has_answer = np.arange(30) != 0
    assert rows(wrong_classes(outputs, given, NAMES, has_answer)) == [2, 3]


@pytest.mark.parametrize(("num", "num_classes"), [(0, 3), (5, 1)])
def test_nothing_is_found_in_no_photos_or_one_class(num: int, num_classes: int) -> None:
    labels = np.zeros(num, int)
    assert wrong_classes(np.zeros((num, num_classes)), labels, NAMES[:num_classes]) == []


def test_huge_outputs_do_not_overflow() -> None:
    outputs = np.array([[-1e30, 1e30, 0]] * 2 + [[1e30, 0, 0]] * 30, np.float32)
    found = wrong_classes(outputs, np.zeros(32, int), NAMES)
    assert rows(found) == [0, 1]
    assert all(np.isfinite(each.strength) and each.probability == 1 for each in found)


def test_wrong_and_missing_labels_of_photos_with_several() -> None:
    has = np.zeros((60, 3), bool)
    has[:, 0] = True
    has[:20, 1] = True
    outputs = np.where(has, 5.0, -5.0).astype(np.float32)
    has[3, 1] = False  # missing
    has[30, 2] = True  # wrong
    has[31, :] = [False, False, True]  # both
    outputs[30, 2] = -6
    found = wrong_label_sets(outputs, has, NAMES)
    assert [(each.row, json.loads(each.given), json.loads(each.suggestion)) for each in found] == [
        (30, ["cat", "emu"], ["cat"]),
        (3, ["cat"], ["cat", "dog"]),
        (31, ["emu"], ["cat"]),
    ]
    assert "'cat' may be missing, and 'emu' may be wrong: a model" in found[2].sentence
    assert "The model knows only 2 photos of 'emu', which is too few to be sure." in found[2].sentence
    assert found[1].sentence.startswith("'dog' is probably missing: a model that was trained without")
    assert [each.severity for each in found] == ["note", "warning", "note"]


@pytest.mark.parametrize(
    ("sizes", "certain", "expected"),
    [
        ((30, 30), True, "'cat' is probably wrong"),
        ((7, 60), False, "may be wrong: a model .* only 7 photos of 'cat', which is too few"),
        ((60, 7), False, "may be wrong: a model .* only 7 photos of 'dog', which is too few"),
        ((24, 25), False, "may be wrong: a model .* only 49 photos, which is too few"),
    ],
)
def test_with_few_photos_a_finding_does_not_speak_with_certainty(
    sizes: tuple[int, int], certain: bool, expected: str
) -> None:
    given = np.repeat([0, 1], sizes)
    truth = given.copy()
    truth[0] = 1
    (found,) = wrong_classes(outputs_of(truth), given, NAMES)
    assert found.severity == ("warning" if certain else "note")
    assert re.search(expected, found.sentence)


def test_numbers_far_from_their_predictions() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(50, 10, (200, 2))
    outputs = (truth + random.normal(0, [1, 0.1], (200, 2))).astype(np.float32)
    numbers = truth.copy()
    numbers[5, 0] += 30
    numbers[9, 1] -= 1.5
    found = wrong_numbers(outputs, numbers, ["length", "width"])
    assert rows(found) == [5, 9]
    assert found[0].suggestion == f"{outputs[5, 0]:.6g} {float(numbers[5, 1])!r}"
    assert found[0].probability is None
    assert found[0].sentence.startswith(f"length is {numbers[5, 0]:.6g}, and a model")
    assert found[1].strength > 1


def test_numbers_without_a_usual_residual_have_no_findings() -> None:
    numbers = np.zeros((30, 1))
    numbers[0] = 7
    assert wrong_numbers(np.zeros((30, 1)), numbers, ["count"]) == []
    assert wrong_numbers(np.arange(9.0)[:, None], np.zeros((9, 1)), ["count"]) == []


def test_numbers_are_compared_with_the_residuals_of_similar_predictions() -> None:
    random = np.random.default_rng(0)
    predicted = np.repeat([1.0, 100.0], 120)[:, None] + random.normal(0, 0.1, (240, 1))
    numbers = predicted + random.uniform(-0.3, 0.3, (240, 1)) * predicted
    assert wrong_numbers(predicted, numbers, ["area"]) == []
    numbers[3] = 2.2
    numbers[130] = 250
    assert rows(wrong_numbers(predicted, numbers, ["area"])) == [130]  # 2.2 is not far
    numbers[3] = 90
    assert rows(wrong_numbers(predicted, numbers, ["area"])) == [3, 130]


def test_if_many_numbers_are_far_away_they_are_notes() -> None:
    residuals = np.random.default_rng(0).standard_cauchy((300, 1))
    found = wrong_numbers(np.arange(300.0)[:, None], np.arange(300.0)[:, None] + residuals, ["area"])
    assert len(found) > 6
    assert {each.severity for each in found} == {"note"}


def test_rows_of_answers_csv() -> None:
    truth = np.arange(30) % 3
    labels = [NAMES[label] for label in truth.tolist()]
    labels[4] = labels[6] = "emu"
    names = [f"logit:{name}" for name in NAMES]
    of_classes = answers(labels, outputs_of(truth), names)
    assert [(each.row, each.suggestion) for each in wrong_labels_of(of_classes, "classification")] == [
        (4, "dog"),
        (6, "cat"),
    ]
    without_answer = answers(labels, outputs_of(truth), names, [-1] * 5 + [0] * 25)
    assert rows(wrong_labels_of(without_answer, "classification")) == [6]
    of_val = answers(labels, outputs_of(truth), names, [-1] * 30, "val")
    assert rows(wrong_labels_of(of_val, "classification")) == [4, 6]


def test_rows_of_answers_csv_of_other_tasks() -> None:
    several = answers(['["cat"]'] * 19 + ["[]"], np.array([[5.0, -5.0]] * 20), ["logit:cat", "logit:dog"])
    (found,) = wrong_labels_of(several, "multilabel")
    assert (found.row, found.given, found.suggestion) == (19, "[]", '["cat"]')
    predicted = np.linspace(0, 1, 20)[:, None]
    numbers = answers([f"{(-1) ** n * 0.1:.2f}" for n in range(19)] + ["99"], predicted * 0, ["number:a b"])
    assert rows(wrong_labels_of(numbers, "regression")) == [19]
    boxes = answers(["1 2 3 4"], np.zeros((1, 4)), ["box:xmin", "box:ymin", "box:xmax", "box:ymax"])
    assert wrong_labels_of(boxes, "box") == []
