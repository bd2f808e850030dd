from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from headstart.errors import ConfigError, DataError, UsageError
from headstart.frozen import extract as features_extract
from headstart.frozen.extract import Features
from headstart.images.preprocess import load_pixels
from headstart.model.backbones import resolve
from headstart.model.network import feature_extractor
from headstart.model.normalise import Normalise
from headstart.model.stage import Stage, StageSequence
from headstart.model.weights import create_pretrained
from headstart.training.tools.extractor import open_extractor

BACKBONE = "timm/tf_efficientnet_lite0"
extract_features = functools.partial(features_extract.extract_features, open_extractor=open_extractor)


def extract(data: Path, out: Path) -> Features:
    return extract_features(data, out, BACKBONE, size_px=64)


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
    preprocessing = backbone.preprocessing_for("classification", size_px=64)
    base = feature_extractor(create_pretrained(backbone)[0])
    normalise = Normalise(preprocessing)
    for path, vector in list(zip(table["path"], table["vector"], strict=True))[:3]:
        pixels = load_pixels(Path(path).read_bytes(), preprocessing, path=path)
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


def write_labels(folder: Path, text: str, num_photos: int = 4) -> Path:
    """Write four photos and a table beside them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(num_photos):
        pixels = generator.integers(0, 256, (40, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "labels.csv").write_text(text)
    return folder / "labels.csv"


TABLES: dict[str, tuple[str, dict[str, Any], dict[str, list[Any]]]] = {
    "several labels": (
        "image,labels,split\n0.png,dog|cat,train\n1.png,,val\n2.png,cat,\n3.png,eel,test\n",
        {},
        {"labels": [["cat", "dog"], [], ["cat"], ["eel"]], "split": ["train", "val", None, "test"]},
    ),
    "numbers": (
        "image,height,kg,group\n0.png,1.5,7,a\n1.png,27.25,8,a\n2.png,-3,9,b\n3.png,1e-3,1,b\n",
        {"target": "height,kg"},
        {"height": [1.5, 27.25, -3, 0.001], "kg": [7, 8, 9, 1], "group": ["a", "a", "b", "b"]},
    ),
    "boxes": (
        "image,xmin,ymin,xmax,ymax,label\n0.png,1,2,30,40,cat\n1.png,3,4,10,20,dog\n"
        "2.png,0,0,29.5,10,cat\n3.png,5,5,50,20,dog\n",
        {},
        {
            "label": ["cat", "dog", "cat", "dog"],
            "xmin": [1, 3, 0, 5],
            "ymin": [2, 4, 0, 5],
            "xmax": [30, 10, 29.5, 30],  # the last one is cut off at the photo's edge
            "ymax": [40, 20, 10, 20],
        },
    ),
    "classes and a pattern of groups": (
        "image,label\n0.png,cat\n1.png,dog\n2.png,cat\n3.png,dog\n",
        {"group_by": "([0-9])"},
        {"label": ["cat", "dog", "cat", "dog"], "group": ["0", "1", "2", "3"]},
    ),
    "no labels": ("image\n0.png\n1.png\n2.png\n3.png\n", {}, {"split": [None] * 4}),
}


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@pytest.mark.parametrize("name", TABLES)
def test_labels_of_every_task_are_written(name: str, suffix: str, tmp_path: Path) -> None:
    text, settings, expected = TABLES[name]
    table, out = write_labels(tmp_path / "photos", text), tmp_path / f"features{suffix}"
    result = extract_features(table, out, "timm/test_resnet", weights="random", size_px=32, **settings)
    assert (result.num_rows, result.num_features, result.unreadable) == (4, 96, ())
    found = read(out)
    assert [Path(path).name for path in found["path"]] == [f"{number}.png" for number in range(4)]
    assert np.shape(found["vector"]) == (4, 96)
    if suffix == ".npz":
        if "labels" in expected:
            assert found.pop("class_names") == ["cat", "dog", "eel"]
            rows = [[name in labels for name in ("cat", "dog", "eel")] for labels in expected["labels"]]
            expected = {**expected, "labels": rows}
        expected = {
            column: ["" if value is None else value for value in values]
            for column, values in expected.items()
        }
    assert set(found) == {"path", "split", "vector", *expected}
    for column, values in expected.items():
        assert found[column] == values


def test_pascal_voc_is_read_in_a_folder_of_photos_too(tmp_path: Path) -> None:
    write_labels(tmp_path / "photos", "", num_photos=2)
    (tmp_path / "photos" / "labels.csv").unlink()
    for number in range(2):
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>20</ymax></bndbox>"
        (tmp_path / "photos" / f"{number}.xml").write_text(
            f"<annotation><filename>{number}.png</filename><object><name>cat</name>{box}</object></annotation>"
        )
    out = tmp_path / "features.parquet"
    extract_features(tmp_path / "photos", out, "timm/test_resnet", weights="random", size_px=32)
    found = read(out)
    assert found["label"] == ["cat", "cat"]
    assert found["ymax"] == [20, 20]


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    text = "image,label\n0.png,cat\n1.png,\n2.png,dog\n3.png,dog\ngone.png,cat\n"
    table = write_labels(tmp_path / "photos", text)
    (tmp_path / "photos" / "3.png").write_bytes(b"no photo")
    out = tmp_path / "features.parquet"
    result = extract_features(table, out, "timm/test_resnet", weights="random", size_px=32)
    assert {Path(path).name for path, _ in result.unreadable} == {"1.png", "3.png", "gone.png"}
    assert [Path(path).name for path in read(out)["path"]] == ["0.png", "2.png"]


def test_a_photo_whose_features_are_not_finite_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_labels(tmp_path / "photos", "image,label\n0.png,a\n1.png,b\n2.png,a\n3.png,b\n")
    Image.new("RGB", (40, 30)).save(tmp_path / "photos" / "2.png")  # black

    class Spread(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            low, high = x.amin((2, 3)), x.amax((2, 3))
            return x.mean((2, 3)) / (high - low)

    base = StageSequence([Stage("spread", [Spread()])])
    monkeypatch.setattr("headstart.training.tools.network_extractor.feature_extractor", lambda network: base)
    out = tmp_path / "features.npz"
    result = extract_features(table, out, "timm/test_resnet", weights="random", size_px=32)
    ((path, reason),) = result.unreadable
    assert (Path(path).name, "not finite" in reason) == ("2.png", True)
    assert np.isfinite(read(out)["vector"]).all()


def test_the_cache_stays_within_its_budget(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("headstart.frozen.cache.BUDGET_BYTES", 4_000)  # less than 12 rows of 96
    out = tmp_path / "features.npz"
    result = extract_features(
        photos / "test", out, "timm/test_resnet", weights="random", size_px=32, say=told.append
    )
    assert result.num_rows == 12
    assert any("not stored in the cache" in text for text in told)
    folder = Path(os.environ["HEADSTART_CACHE"])
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 3}, "no setting 'epochs'"),
        ({"val": 0.2}, "this command holds out no photos"),
        ({"boxes": "all"}, "boxes is 'all'"),
        ({"resize": "zoom", "size_px": 2}, "(?s)resize is 'zoom'.*size_px is 2"),
        ({"target": "height"}, "target is 'height'"),
        ({"val": "nowhere"}, "no file or folder 'nowhere'"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, Any], message: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        extract_features(photos, tmp_path / "features.npz", "timm/test_resnet", weights="random", **settings)
    assert not list(tmp_path.iterdir())


def test_a_target_named_like_another_column_is_refused(tmp_path: Path) -> None:
    table = write_labels(tmp_path / "photos", "image,vector\n0.png,1\n1.png,2\n")
    with pytest.raises(ConfigError, match="vector is the name of another column"):
        extract_features(table, tmp_path / "out.npz", "timm/test_resnet", weights="random", target="vector")
