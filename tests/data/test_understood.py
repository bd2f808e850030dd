"""How data were understood is told in one screen, without reading a photo."""

from __future__ import annotations

import pytest

from headstart.data.sources.source import read_source
from headstart.data.understood import understood
from headstart.images.photo import Photo


def told(listing, val=0.2, test=0.0, *, task_is_given=False) -> dict[str, str]:
    """Return the text below each name."""
    texts: dict[str, str] = {}
    last = ""
    for name, text in understood(listing, val, test, task_is_given=task_is_given):
        last = name or last
        texts[last] = f"{texts[last]}\n{text}" if last in texts else text
    return texts


@pytest.fixture
def never_read(monkeypatch) -> None:
    def refuse(photo):
        raise AssertionError(f"{photo.key} was read")

    monkeypatch.setattr(Photo, "content", refuse)
    monkeypatch.setattr(Photo, "open", refuse)


@pytest.mark.usefixtures("never_read")
def test_a_folder_is_described(tree):
    photos = {f"{name}/{number}.png": number for name in ("cat", "dog") for number in range(5)}
    root = tree({**photos, "cat/notes.txt": b"x", ".hidden": b"x", "loose.png": 9})
    texts = told(read_source(root))
    assert texts["data"] == f"class folders in {str(root)!r}: 13 entries found, 10 photos to use"
    assert texts["task"].startswith("classification (by the kind of labels")
    assert texts["classes"] == "2: cat 5, dog 5"
    assert texts["splits"] == (
        "none given; 20% held out for validation (--val): about 8 to train, 2 to validate, 0 to test"
    )
    assert texts["groups"].startswith("none")
    assert "1 photo in no class folder, such as" in texts["left out"]
    assert "2 files ignored, not photos: 1 .txt, 1 hidden" in texts["left out"]


@pytest.mark.usefixtures("never_read")
def test_a_table_is_described(tree):
    rows = [
        f"{number}.png,{number},{'test' if number == 3 else 'train'},p{number // 2}" for number in range(6)
    ]
    table = "image,height,split,group\n" + "\n".join([*rows, "6.png,x,train,p9"]) + "\n"
    root = tree({f"{number}.png": number for number in range(7)} | {"t.csv": table.encode()})
    texts = told(read_source(root / "t.csv", target="height"), task_is_given=True)
    assert texts["task"] == "regression (as asked)"
    assert texts["numbers"] == "height from 0 to 5"
    assert texts["splits"].startswith("given: 5 train, 1 test; 20% held out for validation")
    assert texts["groups"] == "3, each on one side of a split"
    assert texts["left out"].startswith("1 label quarantined:")
    assert "height is 'x'" in texts["left out"]


@pytest.mark.usefixtures("never_read")
def test_several_labels_are_counted_and_one_screen_is_enough(tree):
    classes = [f"class {number:03}" for number in range(200)]
    table = "image,labels\n" + "".join(f"{n}.png,{'|'.join(classes) if n else ''}\n" for n in range(3))
    root = tree({f"{number}.png": number for number in range(3)} | {"t.csv": table.encode()})
    texts = told(read_source(root / "t.csv"))
    assert texts["classes"].startswith("200: class 000 2, class 001 2")
    assert texts["classes"].endswith("; 1 photo without any")
    assert sum(len(text) for text in texts.values()) < 2000
