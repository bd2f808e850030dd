"""Advice about folders works when it is followed: each command that is printed is run."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.data.sources.source import read_source
from headstart.errors import DataError
from headstart.records import Listing

Tree = Callable[..., Path]


def below(*folders: str, number: int = 2) -> list[str]:
    return [f"{folder}/{index}.png" for folder in folders for index in range(number)]


def photos(*names: str) -> dict[str, int]:
    return {name: index for index, name in enumerate(names)}


def followed(text: str) -> list[Listing]:
    """Return what the commands in a message list."""
    if os.name == "nt":
        text = text.replace("\\", "/")
    found = []
    for command in re.findall(r"headstart (train .*?)(?:\.? Or |\. [TIOM]|$)", text):
        _, data, *options = shlex.split(command.rstrip("."))
        named = dict(zip(options[::2], options[1::2], strict=True))
        found.append(read_source(data, named.get("--val"), label_from=named.get("--label-from")))
    return found


def classes(listing: Listing) -> Counter[str]:
    return Counter(each.class_name for each in listing.candidates)


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_source(root)
    return str(caught.value)


DAYS = ("2024-01-01", "2024-01-02", "2024-01-03")


def test_folders_of_days_above_classes_become_groups(tree: Tree) -> None:
    root = tree(photos(*below(*(f"{day}/{name}" for day in DAYS for name in ("cat", "dog")))))
    groups, one_and_another = followed(refusal(root))
    assert classes(groups) == classes(read_source(root, label_from="/(cat|dog)/")) == {"cat": 6, "dog": 6}
    assert {each.group for each in groups.candidates} == set(DAYS)
    assert Counter(each.split for each in one_and_another.candidates) == {"train": 4, "val": 4}


def test_days_below_classes_are_passed_through(tree: Tree) -> None:
    root = tree(photos(*below(*(f"{name}/{day}" for day in DAYS for name in ("cat", "dog")))))
    assert classes(read_source(root)) == {"cat": 6, "dog": 6}


def test_splits_below_classes_become_splits(tree: Tree) -> None:
    root = tree(photos(*below("cat/train", "cat/val", "dog/train", "dog/val")))
    (listing,) = followed(refusal(root))
    assert Counter((each.class_name, each.split) for each in listing.candidates) == {
        ("cat", "train"): 2,
        ("cat", "val"): 2,
        ("dog", "train"): 2,
        ("dog", "val"): 2,
    }


def test_masks_beside_photos_are_named_with_the_folder_of_the_photos(tree: Tree) -> None:
    of_photos = below("train/good", "test/good", "test/broken", "test/crack")
    root = tree(photos(*of_photos, *below("ground_truth/broken", "ground_truth/crack")))
    text = refusal(root)
    assert "is for the detection of anomalies" in text
    (listing,) = followed(text)
    assert classes(listing) == {"good": 2, "broken": 2, "crack": 2}


def test_masks_are_moved_away_if_several_folders_have_photos(tree: Tree) -> None:
    pairs = [f"{folder}/{name}" for folder in ("old", "new", "masks") for name in ("cat", "dog")]
    assert re.search(r"'masks' contains masks.* Move it out of", refusal(tree(photos(*below(*pairs)))))


@pytest.mark.parametrize("above", ["images", "a/b/images", "data/train"])
def test_a_single_folder_above_the_classes_is_named_down_to_them(tree: Tree, above: str) -> None:
    root = tree(photos(*below(f"{above}/cat", f"{above}/dog")))
    named = re.search(r"name the folder that holds them: '(.*)'", refusal(root))
    assert named
    assert classes(read_source(named[1].replace("\\\\", "\\"))) == {"cat": 2, "dog": 2}


@pytest.mark.parametrize("folder", ["cat", "a/b/cat"])
def test_one_class_alone_is_not_said_to_lie_deeper(tree: Tree, folder: str) -> None:
    assert "deeper" not in refusal(tree(photos(*below(folder))))


def test_a_level_of_folders_above_the_classes_is_noted(tree: Tree) -> None:
    listing = read_source(tree(photos(*below("dry/sunny", "dry/cloudy", "wet/rain"))))
    assert classes(listing) == {"dry": 4, "wet": 2}
    (deeper,) = followed(listing.notes[0])
    assert classes(deeper) == {"sunny": 2, "cloudy": 2, "rain": 2}
