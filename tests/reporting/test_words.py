"""Labels in words."""

from types import SimpleNamespace

import pytest

from headstart.reporting.words import label_in_words


@pytest.mark.parametrize(
    ("task", "label", "words"),
    [
        ("classification", "cat [1]", "cat [1]"),
        ("multilabel", '["RBC", "a, b"]', "RBC, a, b"),
        ("multilabel", "[]", "none"),
        ("regression", "13.0 0.123456", "13, 0.1235"),
        ("box", "red fox 1.0 2.0 3.0 4.0", "red fox"),
    ],
)
def test_labels_are_shown_without_brackets_and_needless_digits(task: str, label: str, words: str) -> None:
    info = SimpleNamespace(task=task, targets=("height", "width"))
    assert label_in_words(label, info) == words  # type: ignore[arg-type]
