"""Labels in JSON: answers of Label Studio and Create ML, and what cannot be read without a guess."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.data.test_exporters import (
    Export,
    as_json,
    choices,
    labels_of,
    lines,
    photos,
    read,
    rectangle,
    task_of_label_studio,
)

from headstart.data.sources.source import read_source
from headstart.errors import HeadstartError

COMMENT = {"from_name": "note", "type": "textarea", "value": {"text": ["blurred"]}}
CAT_DOG = {"a.jpg": ("cat", None), "b.jpg": ("dog", None)}
COLOURS = [
    task_of_label_studio(name, choices(animal), {**choices(*colours), "from_name": "colour"})
    for name, animal, colours in (("a.jpg", "cat", ("red",)), ("b.jpg", "dog", ("red", "dark")))
]
MINIMAL = [
    {"image": "a.jpg", "choice": "cat", "tags": {"choices": ["indoors"]}},
    {"image": "b.jpg", "choice": "dog", "tags": {"choices": ["indoors", "dark"]}},
]
SEVERAL = {"a.jpg": (("indoors",), None), "b.jpg": (("dark", "indoors"), None)}


def json_of(
    content: object, labels: Any, task: str = "classification", /, *said: str, **options: Any
) -> Export:
    return Export({**photos(*labels), "t.json": as_json(content)}, labels, "t.json", task, options, said)


UNDERSTOOD = {
    "comments are left out": json_of(
        [
            task_of_label_studio("a.jpg", choices("cat"), COMMENT),
            task_of_label_studio("b.jpg", choices("dog")),
        ],
        CAT_DOG,
        "classification",
        "not used: 1 of the kind textarea",
    ),
    "comments beside boxes are left out": json_of(
        [
            task_of_label_studio("a.jpg", COMMENT, rectangle("cat", 25, 50, 50, 50)),
            task_of_label_studio("b.jpg", rectangle("dog", 0, 0, 100, 100)),
        ],
        {"a.jpg": ("cat", (2, 3, 6, 6), None), "b.jpg": ("dog", (0, 0, 8, 6), None)},
        "box",
    ),
    "two results of one question": json_of(
        [
            task_of_label_studio("a.jpg", choices("cat"), choices("dog")),
            task_of_label_studio("b.jpg", choices("dog"), choices("dog")),
        ],
        {"a.jpg": (("cat", "dog"), None), "b.jpg": (("dog",), None)},
        "multilabel",
    ),
    "one of two questions": json_of(COLOURS, CAT_DOG, label_column="choice"),
    "the other of two questions": json_of(
        COLOURS,
        {"a.jpg": (("red",), None), "b.jpg": (("dark", "red"), None)},
        "multilabel",
        label_column="colour",
        task="multilabel",
    ),
    "JSON-MIN: one of two questions": json_of(MINIMAL, CAT_DOG, label_column="choice"),
    "JSON-MIN: the other of two questions": json_of(
        MINIMAL, SEVERAL, "multilabel", label_column="tags", task="multilabel"
    ),
    "JSON-MIN: one answer as text, several as a list": json_of(
        [{"image": "a.jpg", "animal": "cat"}, {"image": "b.jpg", "animal": {"choices": ["cat", "dog"]}}],
        {"a.jpg": (("cat",), None), "b.jpg": (("cat", "dog"), None)},
        "multilabel",
    ),
    "the photo as a name and in the entry": json_of(
        {"a.jpg": {"image": "a.jpg", "label": "cat"}, "b.jpg": {"image": "b.jpg", "label": "dog"}}, CAT_DOG
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_json_is_understood(tree, name: str) -> None:
    export = UNDERSTOOD[name]
    root = tree(export.files)
    listing = read(root, export)
    assert (labels_of(listing, root), listing.task, listing.quarantined) == (export.labels, export.task, ())
    assert all(words in "\n".join(listing.notes) for words in export.said)


def task_with(*results: Any) -> list[Any]:
    """A task with a class, and one with other results."""
    return [task_of_label_studio("a.jpg", choices("cat")), task_of_label_studio("b.jpg", *results)]


CREATED = {"image": "a.jpg", "annotations": [{"label": "a", "coordinates": {"x": 5}}]}
BOX = rectangle("cat", 0, 0, 50, 50)
REFUSED: dict[str, tuple[Any, str]] = {
    "several questions": (COLOURS, "several questions: 'choice', 'colour'. Choose one: --label-column NAME"),
    "several questions in JSON-MIN": (MINIMAL, "several questions: 'choice', 'tags'"),
    "answers and data of one name": (
        [{"image": "a.jpg", "label": "x", "animal": {"choices": ["cat"]}}],
        "answers to 'animal', and other data called 'label'",
    ),
    "only comments": (
        task_with(COMMENT)[1:],
        "no choices (classes) or rectanglelabels (boxes), but 1 of the",
    ),
    "a task that is null": ([*task_with(), None], "entry 3: no 'data'"),
    "a first task that is null": ([None, *task_with()], "entry 1: no 'data'"),
    "annotations that are no list": (
        [{"data": {"image": "a"}, "annotations": 5}],
        "entry 1: annotations is 5",
    ),
    "an annotation that is text": ([{"data": {"image": "a"}, "annotations": ["x"]}], "the annotation 'x'"),
    "a result that is text": (task_with("x"), "entry 2: the result 'x' has no value"),
    "a value that is a list": (task_with({"type": "choices", "value": ["cat"]}), "has no value in braces"),
    "numbers as choices": (task_with({**choices(), "value": {"choices": [3]}}), "the choice 3 is not text"),
    "numbers as choices in JSON-MIN": (
        [{"image": "a.jpg", "c": {"choices": [3]}}],
        "the choice 3 is not text",
    ),
    "choices and boxes": (task_with(choices("dog"), BOX), "entry 2: both choices"),
    "choices and boxes in JSON-MIN": (
        [{"image": "a.jpg", "choice": "cat", "label": [{"rectanglelabels": ["dog"]}]}],
        "entry 1: both choices",
    ),
    "a box of two classes": (
        task_with({**BOX, "value": {**BOX["value"], "rectanglelabels": ["a", "b"]}}),
        "a box has 2 classes (a, b)",
    ),
    "Create ML: an entry that is a number": ([CREATED, 5], "entry 2: 5 is not a photo"),
    "Create ML: an annotation that is text": (
        [CREATED, {**CREATED, "annotations": ["x"]}],
        "entry 2: the ann",
    ),
    "lists of numbers by name": ({"a.jpg": [10, 20, 30, 40]}, "may be classes or boxes"),
    "two photos of one entry": (
        {"a.jpg": {"image": "b.jpg", "label": "x"}},
        "'a.jpg' names the photo 'b.jpg'",
    ),
    "rows longer than the columns": (
        {"columns": ["image", "label"], "data": [["a.jpg", "x", "y"]]},
        "entry 1 of data",
    ),
    "rows that are numbers": (
        {"columns": ["image", "label"], "data": [1]},
        "entry 1 of data: 1 is not a list",
    ),
    "two columns of one name": (
        {"columns": ["image", "label", "label"], "data": []},
        "'label', occurs twice",
    ),
    "a column whose name is a list": ({"columns": [["image"], "label"], "data": []}, "is not text"),
    "a name that occurs twice": ('{"a.jpg": "cat", "b.jpg": "dog", "a.jpg": "dog"}', "'a.jpg' 2 times"),
    "JSON lines with a name that occurs twice": (
        '{"image": "b.jpg", "label": "dog"}\n{"image": "a.jpg", "label": "cat", "label": "dog"}',
        "line 2: an object has the name 'label' 2 times",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_json_is_refused_where_it_could_be_misread(tree, name: str) -> None:
    content, told = REFUSED[name]
    text = lines(content) if isinstance(content, str) else json.dumps(content).encode()
    root = tree({**photos("a.jpg", "b.jpg"), "t.json": text})
    with pytest.raises(HeadstartError) as caught:
        read_source(root / "t.json")
    assert told in str(caught.value)
