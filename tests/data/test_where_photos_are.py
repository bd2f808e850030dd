"""Photos of label files that may be on this machine, in tar files, or remote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.conftest import photo
from tests.images.test_tars import tar_of

from headstart.data.sources.source import read_source
from headstart.errors import ConfigError

HERE = {"a.png": 1, "b.png": 2, "elsewhere/c.png": 3, "elsewhere/d.png": 4}
TABLE = b"image,cat,dog\nhttps://host/x/a.png?size=8,1,0\nhttps://host/b.png,0,1\ns3://bucket/d.png,1,0\n"


def found(listing: Any, root: Path) -> dict[str, str]:
    return {each.path.removeprefix(f"{root}/"): each.class_name for each in listing.candidates}


def test_a_table_says_where_photos_are(tree) -> None:
    root = tree({**HERE, "t.csv": TABLE})
    listing = read_source(root / "t.csv")
    assert found(listing, root) == {
        "https://host/x/a.png?size=8": "cat",
        "https://host/b.png": "dog",
        "s3://bucket/d.png": "cat",
    }
    assert "3 photos are remote, such as 'https://host/x/a.png?size=8'" in "".join(listing.notes)


def test_with_images_nothing_is_remote(tree) -> None:
    root = tree({**HERE, "t.csv": TABLE + b"https://host/nowhere.png,0,1\n"})
    listing = read_source(root / "t.csv", images=root, allow_quarantined=0.5)
    assert found(listing, root) == {"a.png": "cat", "b.png": "dog", "elsewhere/d.png": "cat"}
    (lost,) = listing.quarantined
    assert lost.path == "https://host/nowhere.png"
    assert "no such photo: 'https://host/nowhere.png'" in lost.reason
    assert "remote" not in "".join(listing.notes)


def test_json_says_where_a_tool_has_read_photos(tree) -> None:
    rows = {"https://host/a.png": "cat", "https://host/gone.png": "dog", "https://host/same.png": "dog"}
    root = tree({**HERE, "1/same.png": 5, "2/same.png": 6, "t.json": json.dumps(rows).encode()})
    listing = read_source(root / "t.json")
    assert found(listing, root) == {
        "a.png": "cat",
        "https://host/gone.png": "dog",
        "https://host/same.png": "dog",  # two photos here have this name
    }


def test_labels_in_the_names_of_members_of_tar_files(tmp_path: Path) -> None:
    for split in ("train", "val"):
        names = [f"{name}.{number}.png" for name in ("cat", "dog") for number in range(2)]
        tar_of(tmp_path / f"{split}-0.tar", {f"all/{name}": photo(1) for name in names})
    listing = read_source(tmp_path, label_from="(?:^|/)([a-z]+)[.][0-9]+[.]png")
    assert [(each.split, each.class_name) for each in listing.candidates] == [
        (split, name) for split in ("train", "val") for name in ("cat", "cat", "dog", "dog")
    ]
    assert listing.root == str(tmp_path)


def test_samples_hold_their_photos(tmp_path: Path) -> None:
    members = {
        name: content
        for number in range(4)
        for name, content in (
            (f"{number}.png", photo(number)),
            (f"{number}.json", json.dumps({"cat": number % 2, "dog": 1 - number % 2}).encode()),
        )
    }
    tar = tar_of(tmp_path / "0.tar", members)
    listing = read_source(tar)
    assert [each.class_name for each in listing.candidates] == ["dog", "cat", "dog", "cat"]
    assert listing.form == f"samples in 1 tar file, {tar!r}"
    with pytest.raises(ConfigError, match="contains the photos"):
        read_source(tar, images=tmp_path)
