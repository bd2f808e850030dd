"""Names of YOLO's classes: read exactly, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.data.test_exporters import lines, photos

from headstart.data.sources.source import read_source
from headstart.data.sources.yolo_names import find_class_names
from headstart.errors import DataError


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("nc: 2\nnames: ['light, red', \"it's\"] # two", ["light, red", "it's"]),
        ("names:\n  1: dog\n  0: cat\nnc: 2", ["cat", "dog"]),
        ("names: {1: dog, '0': cat}", ["cat", "dog"]),
        ("names: [cat,\n  dog # not a cat\n]", ["cat", "dog"]),
        ("names:\n- no\n- 007\n- C#", ["no", "007", "C#"]),
        ("\ufeffnames: [cat, dog]", ["cat", "dog"]),
    ],
)
def test_names_in_yaml_are_read_exactly(tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "data.yaml").write_text(text, "utf-8")
    (tmp_path / "other.yml").write_text("{{ a template }}: [")
    assert find_class_names(tmp_path) == (names, str(tmp_path / "data.yaml"))


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("data.yaml", "names:\n  0: cat\n  5: dog", "are 0, 5; they must be those from 0 to 1"),
        ("data.yaml", "names:\n  0: cat\n  0: dog", "line 3: '0' occurs a second time"),
        ("data.yaml", "nc: 3\nnames: [cat, dog]", "2 names, but nc is 3"),
        ("data.yaml", "names: [cat, [dog]]", "line 1: the name of a class is empty, or is not"),
        ("data.yaml", "names:\n- cat\n-\n- dog", "line 3: the name of a class is empty"),
        ("data.yaml", "names: cat dog", "names is 'cat dog'; it must be a list"),
        ("data.yaml", "names: [cat, dog", "is not YAML"),
        ("data.yaml", "names: [Löwe]".encode("cp1252"), "Save it as UTF-8"),
        ("classes.txt", "Löwe".encode("cp1252"), "Save it as UTF-8"),
        ("classes.txt", "cat\n\ndog\n", "line 2, is blank"),
    ],
)
def test_names_that_may_be_misread_are_refused(
    tmp_path: Path, name: str, text: str | bytes, told: str
) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        find_class_names(tmp_path)
    assert told in str(caught.value)


def test_names_of_several_files_must_be_the_same(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    (tmp_path / "classes.txt").write_text("\ufeffcat\ndog\n\n", "utf-8")
    assert find_class_names(tmp_path)[0] == ["cat", "dog"]
    (tmp_path / "classes.txt").write_text("dog\ncat\n")
    with pytest.raises(DataError, match=r"different names of classes in .*data\.yaml.*classes\.txt"):
        find_class_names(tmp_path)


def test_photos_without_an_object_may_come_first(tree) -> None:
    without = [f"{number:02}" for number in range(21)]
    root = tree(
        {
            **photos(*(f"images/{name}.jpg" for name in [*without, "x"])),
            **{f"labels/{name}.txt": b"" for name in without},
            "labels/x.txt": lines("\ufeff1 0.5 0.5 1 1"),
            "data.yaml": lines("names: [cat, dog]"),
        }
    )
    (found,) = read_source(root, for_training=False).candidates
    assert (found.class_name, Path(found.path).name) == ("dog", "x.jpg")
