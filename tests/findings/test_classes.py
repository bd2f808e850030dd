"""Findings about classes."""

from __future__ import annotations

import pytest

from headstart.findings.classes import ALL_CLASSES, ClassFinding, find_class_problems, photos_per_class
from headstart.images.photo import Photo
from headstart.records import Record


def kinds(found: list[ClassFinding]) -> list[tuple[str, str, str]]:
    return [(each.name, each.kind, each.severity) for each in found]


def test_balanced_classes_with_many_photos_have_no_findings() -> None:
    assert find_class_problems(["cat", "dog"], [80, 90], [20, 20]) == []


def test_a_task_without_classes_has_no_findings() -> None:
    assert find_class_problems([], [], []) == []
    assert photos_per_class([Record(Photo("a"), 0, None, "")], "regression", 0) == []


@pytest.mark.parametrize(
    ("number", "severity"),
    [(0, "error"), (1, "warning"), (4, "warning"), (5, "note"), (9, "note"), (10, None)],
)
def test_few_training_photos(number: int, severity: str | None) -> None:
    found = [each for each in find_class_problems(["cat", "dog"], [12, number]) if each.kind == "small-class"]
    assert kinds(found) == ([("dog", "small-class", severity)] if severity else [])
    assert all("'dog'" in each.sentence and each.sentence.endswith(".") for each in found)


@pytest.mark.parametrize(
    ("number", "severity", "text"),
    [
        (0, "warning", "no validation photos"),
        (4, "warning", "from 0.51 to 1.00"),
        (10, "note", "10 validation photos: if all of them are right, its recall still has a 95 % interval "),
        (10, "note", "from 0.72 to 1.00"),
        (20, None, ""),
    ],
)
def test_few_validation_photos_are_reported_with_their_interval(
    number: int, severity: str | None, text: str
) -> None:
    found = find_class_problems(["cat", "dog"], [50, 50], [30, number])
    assert kinds(found) == ([("dog", "small-class", severity)] if severity else [])
    assert all(text in each.sentence for each in found)


@pytest.mark.parametrize("val", [None, [0, 0]])
def test_without_a_validation_split_nothing_is_said_about_it(val: list[int] | None) -> None:
    assert find_class_problems(["cat", "dog"], [50, 50], val) == []


def test_many_small_classes_are_one_finding() -> None:
    names = [f"class {number:02}" for number in range(40)]
    (found,) = find_class_problems(names, [30] * 40, [8] * 39 + [7])
    assert (found.name, found.severity) == (ALL_CLASSES, "note")
    assert "40 of 40 classes have few validation photos" in found.sentence
    assert "'class 39' (7)" in found.sentence
    assert "35 more" in found.sentence


@pytest.mark.parametrize(("largest", "severity"), [(49, None), (50, "note"), (200, "warning")])
def test_imbalance(largest: int, severity: str | None) -> None:
    found = find_class_problems(["cat", "dog", "emu"], [largest, 10, 20])
    assert kinds(found) == ([("dog", "imbalance", severity)] if severity else [])
    assert all(f"{largest / 10:.0f} times" in each.sentence for each in found)


@pytest.mark.parametrize(
    ("a", "b", "are_alike"),
    [
        ("Cat", "cat ", True),
        ("cat", "cats", True),
        ("Fox", "foxes", True),
        ("berry", "Berries", True),
        ("hot dog", "Hot-Dogs", True),
        ("cat", "car", False),
        ("a", "as", False),
        ("glass", "grass", False),
        ("1", "11", False),
    ],
)
def test_names_of_the_same_class_twice(a: str, b: str, are_alike: bool) -> None:
    found = find_class_problems([a, b, "unrelated"], [50, 40, 50])
    assert kinds(found) == ([(f"{a}, {b}", "similar-classes", "note")] if are_alike else [])
    assert all(f"{a!r} (50 photos), {b!r} (40 photos)" in each.sentence for each in found)


def test_the_most_severe_findings_come_first() -> None:
    found = find_class_problems(["a b", "A-B", "cow", "dog"], [9, 500, 0, 3], [30, 30, 30, 0])
    severities = [each.severity for each in found]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)
    assert set(severities) == {"error", "warning", "note"}


def test_photos_are_counted_for_each_of_their_classes() -> None:
    photos = [Record(Photo("a"), 0, None, "", labels=labels) for labels in [(0, 2), (2,), ()]]
    assert photos_per_class(photos, "multilabel", 3) == [1, 0, 2]
    photos = [Record(Photo("a"), label, None, "") for label in [1, 1, 0]]
    assert photos_per_class(photos, "classification", 3) == [1, 2, 0]
