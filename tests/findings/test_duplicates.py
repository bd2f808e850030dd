"""Which copies and near-duplicates are reported, of which severity, and which of them leak."""

from __future__ import annotations

from headstart.findings.duplicates import LabelledPhoto, duplicates
from headstart.findings.finding import Finding


def photos(*texts: str) -> list[LabelledPhoto]:
    """Photos named by split, label and number, such as "train cat 1"."""
    found = []
    for text in texts:
        split, label, number = text.split()
        found.append(LabelledPhoto(f"{label}{number}.jpg", label, "" if split == "-" else split))
    return found


def told(findings: list[Finding]) -> list[tuple[str, str, str, str]]:
    return [(each.kind, each.severity, each.path, each.other_path) for each in findings]


def test_copies_within_a_split_are_notes_and_with_other_labels_errors() -> None:
    found = list(duplicates(photos("- cat 0", "- cat 1", "- dog 2", "- dog 3"), [(0, 1), (0, 2)], []))
    assert told(found) == [
        ("copy", "note", "cat1.jpg", "cat0.jpg"),
        ("copy", "error", "dog2.jpg", "cat0.jpg"),
    ]
    assert [each.suggestion for each in found] == ["drop", ""]
    assert found[1].message == "the same photo, byte for byte, but with another label: dog instead of cat"


def test_a_held_out_photo_that_repeats_a_training_photo_is_one_leak() -> None:
    found = list(
        duplicates(
            photos("val cat 0", "train cat 1", "train cat 2", "test dog 3"), [(0, 1)], [(0, 2), (2, 3)]
        )
    )
    assert told(found) == [
        ("leak", "warning", "cat0.jpg", "cat1.jpg"),
        ("leak", "error", "dog3.jpg", "cat2.jpg"),
        ("near-duplicate", "note", "cat2.jpg", "cat1.jpg"),  # by way of the validation photo
    ]
    assert "val photo is a copy of a training photo" in found[0].message
    assert "test photo is nearly the same as a training photo" in found[1].message


def test_copies_of_near_duplicates_leak_too() -> None:
    """Pairs of near-duplicates name one photo of each group of copies."""
    texts = ("train cat 0", "val cat 1", "val cat 2", "train cat 3")
    found = told(list(duplicates(photos(*texts), [(1, 2)], [(0, 1)])))
    assert {row[2] for row in found if row[0] == "leak"} == {"cat1.jpg", "cat2.jpg"}


def test_a_group_of_near_duplicates_is_reported_once_for_each_further_photo() -> None:
    found = list(duplicates(photos("- a 0", "- a 1", "- a 2", "- b 3"), [], [(0, 1), (1, 2), (0, 2), (2, 3)]))
    assert told(found) == [
        ("near-duplicate", "note", "a1.jpg", "a0.jpg"),
        ("near-duplicate", "note", "a2.jpg", "a1.jpg"),
        ("near-duplicate", "warning", "b3.jpg", "a2.jpg"),
    ]


def test_validation_and_test_photos_that_are_alike_do_not_leak() -> None:
    assert not list(duplicates(photos("val a 0", "test a 1", "train a 2"), [], [(0, 1)]))
