from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from headstart.errors import ConfigError, DataError
from headstart.features.extract import Extracted, extract_features
from headstart.images.preprocess import load_pixels
from headstart.model.backbones import resolve
from headstart.model.network import feature_extractor
from headstart.model.normalise import Normalise
from headstart.model.weights import create_pretrained

BACKBONE = "timm/tf_efficientnet_lite0"


def extract(data: Path, out: Path) -> Extracted:
    return extract_features(data, out, BACKBONE)


def read(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return {name: archive[name].tolist() for name in archive.files}
    return pq.read_table(path).to_pydict()


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_vectors_are_those_of_the_feature_extractor(suffix: str, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / f"features{suffix}"
    result = extract(photos / "test", out)
    assert (result.num_rows, result.num_features, result.unreadable) == (12, 1280, ())
    table = read(out)
    assert list(table) == ["path", "label", "split", "vector"]
    assert table["label"] == [Path(path).parent.name for path in table["path"]]
    assert table["split"] == [None if suffix == ".parquet" else ""] * 12

    backbone = resolve(BACKBONE)
    base = feature_extractor(create_pretrained(backbone)[0])
    normalise = Normalise(backbone.preprocessing)
    for path, vector in list(zip(table["path"], table["vector"], strict=True))[:3]:
        pixels = load_pixels(Path(path).read_bytes(), backbone.preprocessing, path=path)
        with torch.no_grad():
            expected = base(normalise(torch.from_numpy(pixels)[None]))[0].numpy()
        np.testing.assert_allclose(vector, expected, atol=2e-3)


def test_splits_are_told_and_a_second_time_gives_the_same(photos: Path, tmp_path: Path) -> None:
    for name in ("one.parquet", "two.parquet"):  # computed, then from the store
        extract(photos, tmp_path / name)
    one, two = read(tmp_path / "one.parquet"), read(tmp_path / "two.parquet")
    assert one == two
    assert sorted(set(one["split"])) == ["test", "train"]
    assert len(one["path"]) == 48


def test_photos_without_classes_and_with_odd_names_have_vectors_too(tmp_path: Path) -> None:
    data = tmp_path / "plain"
    data.mkdir()
    for name in (b"a \xff.png", "b \U0001f355.png".encode()):
        Image.new("RGB", (20, 20), "red").save(data / os.fsdecode(name))
    (data / "c.jpg").write_bytes(b"\xff\xd8\xff no photo")
    result = extract(data, tmp_path / "features.parquet")
    assert result.num_rows == 2
    assert [Path(path).name for path, _ in result.unreadable] == ["c.jpg"]
    table = read(tmp_path / "features.parquet")
    assert table["label"] == [None, None]
    assert Path(table["path"][0]).name == "a \\xff.png"
    assert table["vector"][0] == table["vector"][1]


def test_mistakes_are_told(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"must end in \.parquet or \.npz"):
        extract(photos, tmp_path / "features.csv")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jpg").write_bytes(b"\xff\xd8\xff no photo")
    for suffix in ("parquet", "npz"):
        with pytest.raises(DataError, match="None of the photos can be read"):
            extract(tmp_path / "data", tmp_path / f"features.{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
