"""Data of exporters go all the way: trained and evaluated without PyTorch, and found again when moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.conftest import paint_photos

import headstart as hs
from headstart.config import TrainConfig
from headstart.errors import ConfigError, DataError, RunFolderError
from headstart.reporting.heat_maps import HeatMaps
from headstart.training.run.moved import moved
from headstart.training.run.run_folder import RunFolder

PROBE: dict[str, Any] = {"recipe": "probe", "size_px": 32, "verbose": False, "unknown": "off"}


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, bytes]]:
    """Pairs of a class and a photo."""
    folder = paint_photos(tmp_path_factory.mktemp("painted"), {"": 5})
    return [(path.parent.name, path.read_bytes()) for path in sorted(folder.rglob("*.jpg"))]


def kaggle(root: Path, painted: list[tuple[str, bytes]]) -> Path:
    """Write ids and classes into a table, and photos into a folder elsewhere."""
    (root / "photos").mkdir(parents=True)
    (root / "tables").mkdir()
    rows = ["id,breed"]
    for number, (name, content) in enumerate(painted):
        (root / "photos" / f"{number:04x}.jpg").write_bytes(content)
        rows.append(f"{number:04x},{name}")
    table = root / "tables" / "train.csv"
    table.write_text("\n".join(rows))
    return table


def test_a_table_of_kaggle_is_trained_and_evaluated(painted: list[tuple[str, bytes]], tmp_path: Path) -> None:
    table = kaggle(tmp_path / "set", painted)
    images = tmp_path / "set" / "photos"
    result = hs.train(table, tmp_path / "run", images=images, **PROBE)
    assert RunFolder.read_config(result.path).images == str(images)
    copies = shutil.copytree(images, tmp_path / "copies")
    assert len(hs.evaluate(result.path, table, images=copies).photos) == len(painted)
    with pytest.raises(DataError, match="--images FOLDER"):
        hs.evaluate(result.path, table)


def test_photos_in_parquet_are_trained_and_evaluated(
    painted: list[tuple[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sorted({name for name, _ in painted})
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    rows = [
        {"depth": painted[0][1], "image": {"bytes": content, "path": None}, "label": names.index(name)}
        for name, content in painted
    ]
    table = pa.Table.from_pylist(rows)
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(table, path, row_group_size=4)
    result = hs.train(path, tmp_path / "run", **PROBE)
    assert "/image/row 1" in (result.path / "photos.csv").read_text()
    assert [each.name for each in tmp_path.iterdir() if each.suffix == ".jpg"] == []
    assert len(hs.evaluate(result.path, path).photos) == len(painted)
    assert "could not be read" not in (result.path / "report.html").read_text("utf-8")
    first = f"{path.name}/image/row 1"
    assert HeatMaps([first], result.path, tmp_path).share > 0
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    similar = hs.similar(result.path, hs.Photo(str(tmp_path / first)), 3)[0]
    assert {each.label for each in similar} == {painted[0][0]}


def test_labels_in_names_are_trained(painted: list[tuple[str, bytes]], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (name, content) in enumerate(painted):
        (folder / f"{name}.{number}.jpg").write_bytes(content)
    result = hs.train(folder, tmp_path / "run", label_from="(?P<label>[a-z]+)", **PROBE)
    assert len(hs.load(result.path).info.class_names) == 3
    for wrong, told in {"[a-z]+": "needs the group", "(": "not a regular", "(?P<class>.)": "'class'"}.items():
        with pytest.raises(ConfigError, match=told):
            hs.train(folder, tmp_path / "other", label_from=wrong, **PROBE)
    with pytest.raises(DataError, match="finds no label in"):
        hs.train(folder, tmp_path / "other", label_from="(?P<label>red)", **PROBE)


def test_the_folder_of_photos_moves_with_the_data(painted: list[tuple[str, bytes]], tmp_path: Path) -> None:
    old = kaggle(tmp_path / "set", painted).parents[1]
    new = Path(shutil.copytree(old, tmp_path / "moved"))
    config = TrainConfig(data=str(old), images=str(old / "photos"))
    assert moved(config, "run", new, None).images == str(new / "photos")
    elsewhere = TrainConfig(data=str(old / "tables" / "train.csv"), images=str(old / "photos"))
    assert moved(elsewhere, "run", new / "tables" / "train.csv", None).images == str(old / "photos")


def test_the_folder_of_photos_may_move_alone(painted: list[tuple[str, bytes]], tmp_path: Path) -> None:
    table = kaggle(tmp_path / "set", painted)
    photos = tmp_path / "set" / "photos"
    run = hs.train(table, tmp_path / "run", images=photos, **PROBE).path
    (run / "metrics.json").unlink()  # as if it had been interrupted
    before = (run / "model.onnx").read_bytes()
    elsewhere = photos.rename(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match=r"no longer in .*photos'.* --images PATH"):
        hs.resume(run, verbose=False)
    with pytest.raises(RunFolderError, match="'nowhere', which does not exist"):
        hs.resume(run, images="nowhere", verbose=False)
    hs.resume(run, images=elsewhere, verbose=False)
    assert RunFolder.read_config(run).images == str(elsewhere)
    assert (run / "model.onnx").read_bytes() == before
    with pytest.raises(RunFolderError, match="Leave images out"):
        moved(TrainConfig(data=str(table)), "run", None, None, elsewhere)


@pytest.mark.parametrize("name", ["images", "label_from"])
def test_settings_that_do_not_apply_are_refused(photos: Path, tmp_path: Path, name: str) -> None:
    value = {"images": str(photos), "label_from": "(.)"}[name]
    table = tmp_path / "t.csv"
    table.write_text("image,label\n")
    with pytest.raises(ConfigError, match=name):
        hs.train(photos if name == "images" else table, tmp_path / "run", **PROBE, **{name: value})
