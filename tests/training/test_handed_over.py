"""What is reported is what the file says that is handed over, and nothing that was trained can be lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import headstart as hs
from headstart.errors import ExportError, FileWriteError, NetworkError, ParityError, UsageError
from headstart.frozen.cache import Room, list_stores
from headstart.frozen.graph import function_hashes
from headstart.frozen.store import FeatureStore
from headstart.training import finish

SIZE = {"size_px": 32, "batch_size": 8}
SOLVED = [{"name": "head", "unfreeze": "head", "optimizer": "exact"}]
ALL = [{"name": "all", "unfreeze": "all", "epochs": 2, "head_lr": 0.02}]


class Net(nn.Module):
    """A network of somebody's own, of which every training begins with the same weights."""

    def __init__(self, threshold: float | None = None, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 16, 3, stride=2)
        if threshold is not None:
            self.register_buffer("threshold", torch.full((1, 16, 1, 1), threshold))
        self.scale = scale
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x) * self.scale
        x = x - self.threshold if hasattr(self, "threshold") else x
        return self.fc(x.relu().mean((2, 3)))


class Squared(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).square().mean((2, 3)))


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        fc = self._modules.pop("fc")
        self.first = nn.Linear(16, 16)
        self.second = self.first
        self.fc = fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.second(self.first(self.conv(x).mean((2, 3))).relu()))


class Container(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))
        self.fc = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x * self.scale)


class WithContainer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.fc = Container()


class NotExportable(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.linalg.svdvals(self.conv(x).flatten(2)))


def loss_of_file(run: hs.TrainResult, photos: Path) -> float:
    """The cross entropy of ``model.onnx`` on the run's validation photos, from their bytes."""
    rows = (run.path / "photos.csv").read_text().splitlines()[1:]
    cells = [[cell.strip('"') for cell in row.split(",")] for row in rows]
    paths = {str(photos / cell[0]): cell[1] for cell in cells if cell[2] == "val"}
    model = hs.load(run.path)
    probabilities = [
        [p.probabilities[name] for name in model.class_names] for p in model.predict(list(paths))
    ]
    labels = [model.class_names.index(name) for name in paths.values()]
    return float(-np.log(np.array(probabilities)[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize(
    "settings",
    [
        {"phases": SOLVED},
        {"phases": ALL},
        {"phases": ALL, "precision": "bf16"},
        {"phases": [*SOLVED, {**ALL[0], "ema": 0.9}]},
        {"phases": [*SOLVED, {**ALL[0], "wise_ft": True}], "features": "live"},
    ],
    ids=["solved", "in steps", "half precision", "average", "mixture, live"],
)
def test_the_score_that_is_reported_is_that_of_the_file(
    settings: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    run = hs.train(photos, tmp_path / "run", network=Net(), **SIZE, **settings)
    assert run.metrics["best"]["val_loss"] == pytest.approx(loss_of_file(run, photos), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("floor", ["ground", "upper"])
def test_the_file_knows_the_groups_of_training_and_test_photos_of_others_are_scored_apart(
    floor: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["image,label,split,plant"]
    for path in sorted(photos.rglob("*.jpg")):
        split, label, name = path.relative_to(photos).parts
        plant = int(name[-5]) % 4  # of test photos, 0 to 2 are in training, too
        split, plant = ("val", 9) if split == "train" and plant == 3 else (split, plant)
        rows.append(f"{path},{label},{split},{plant}")
    table = tmp_path / "photos.csv"
    table.write_text("\n".join(rows))
    settings: dict[str, Any] = {"recipe": "probe", "device": "cpu"}
    if floor == "upper":
        settings = {"network": Net(), "phases": SOLVED}
    run = hs.train(table, tmp_path / "run", group_by="plant", **settings, **SIZE)
    assert (len(run.predictor.info.groups), run.predictor.info.num_groups) == (3, 3)
    expected = "3 of 12 {} are from groups that were not in training: accuracy"
    assert expected.format("test photos") in capsys.readouterr().err
    assert expected.format("photos") in str(hs.evaluate(run.path, table, group_by="plant"))


class Reshaped(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(x.size(0), -1)  # needs the shape of the images behind the head


def test_a_network_whose_answers_need_more_than_the_stored_rows_is_scored_from_the_bytes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = hs.train(photos, tmp_path / "run", network=Reshaped(), **SIZE, phases=SOLVED)
    assert capsys.readouterr().err.startswith("Your own network, photos as for timm/tf_efficientnet_lite0")
    assert run.metrics["best"]["val_loss"] == pytest.approx(loss_of_file(run, photos), rel=1e-4, abs=1e-6)


def test_all_phases_share_what_makes_room_for_their_stores(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms: list[Room] = []
    opened: Callable[..., FeatureStore] = Room.open
    monkeypatch.setattr(Room, "open", lambda room, about: rooms.append(room) or opened(room, about))
    phases = [*SOLVED, {**SOLVED[0], "name": "again", "augment": "light", "views": 1}]
    hs.train(photos, tmp_path / "run", network=Net(), **SIZE, phases=phases)
    assert len(rooms) >= 2
    assert len(set(map(id, rooms))) == 1
    assert len(rooms[0].stores) == len(list_stores()) == 4  # with those of the photos' facts and pairs


OTHERS: dict[str, Callable[[], nn.Module]] = {
    "edited forward pass": Squared,
    "buffer": lambda: Net(threshold=0.3),
    "another value of the buffer": lambda: Net(threshold=0.6),
    "number in the code": lambda: Net(scale=3.0),
}


@pytest.mark.parametrize("other", OTHERS)
def test_features_of_another_function_are_never_taken(
    other: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"phases": SOLVED, "features": "store", **SIZE}
    first = Net(threshold=0.3) if "another" in other else Net()
    hs.train(photos, tmp_path / "before", network=first, **settings)
    assert list_stores()
    found = hs.train(photos, tmp_path / "after", network=OTHERS[other](), **settings)
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    expected = hs.train(photos, tmp_path / "expected", network=OTHERS[other](), **settings)
    assert found.metrics["best"] == expected.metrics["best"]
    assert (found.path / "model.onnx").read_bytes() == (expected.path / "model.onnx").read_bytes()


@pytest.mark.slow
def test_features_of_another_version_of_a_library_are_never_taken(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"backbone": "resnet18", "weights": "random", "phases": SOLVED, "features": "store", **SIZE}
    hs.train(photos, tmp_path / "before", **settings)
    forward = nn.AdaptiveAvgPool2d.forward
    monkeypatch.setattr(nn.AdaptiveAvgPool2d, "forward", lambda self, x: forward(self, x).flip(1) * 2)
    after = hs.train(photos, tmp_path / "after", **settings)
    assert after.metrics["best"]["val_loss"] == pytest.approx(loss_of_file(after, photos), rel=1e-4, abs=1e-6)


@pytest.mark.slow
def test_stored_rows_stand_for_the_file_only_if_it_begins_with_what_made_them(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"backbone": "resnet18", "weights": "random", "phases": SOLVED, **SIZE}
    losses = {}
    for way, hashes in {"rows": function_hashes, "bytes": lambda _: {}}.items():
        monkeypatch.setattr("headstart.products.outputs.function_hashes", hashes)
        run = hs.train(photos, tmp_path / way, **settings)
        losses[way] = run.metrics["best"]["val_loss"]
        assert losses[way] == pytest.approx(loss_of_file(run, photos), rel=1e-5, abs=1e-6)
    assert losses["rows"] == pytest.approx(losses["bytes"], rel=1e-5, abs=1e-6)


def test_a_file_that_scores_otherwise_than_training_is_an_error_that_names_the_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = finish.onnx_graph

    def another(network: nn.Module, info: Any) -> bytes:
        model = onnx.load_from_string(export(network, info))
        (bias,) = [each for each in model.graph.initializer if list(each.dims) == [3]][-1:]
        values = onnx.numpy_helper.to_array(bias) + np.array([2, 0, 0], np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(finish, "onnx_graph", another)
    with pytest.raises(ParityError, match=r"validation loss of .* gives other answers for .*\.jpg"):
        hs.train(photos, tmp_path / "run", network=Net(), phases=ALL, **SIZE)
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "model.onnx").exists()


def test_weights_are_safe_before_the_export_and_resuming_repeats_the_export_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("the exporter has a bug")

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.finish.onnx_graph", broken)
        with pytest.raises(ExportError, match=r"safe in .*model\.safetensors.*\n.*headstart resume"):
            hs.train(photos, tmp_path / "run", network=Net(), phases=ALL, **SIZE)
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    history = (tmp_path / "run" / "history.csv").read_text()
    run = hs.resume(tmp_path / "run", network=Net())
    assert (tmp_path / "run" / "history.csv").read_text() == history  # nothing was trained again
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    assert run.metrics["best"]["val_loss"] == pytest.approx(loss_of_file(run, photos), rel=1e-4)


class TwoOutputs(Net):
    def forward(self, x: Tensor) -> Any:
        x = self.conv(x).relu().mean((2, 3))
        return self.fc(x), x


class BehindNoGrad(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.conv(x)
        return self.fc(x.relu().mean((2, 3)))


class Cosine(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return 5 * nn.functional.linear(nn.functional.normalize(x), nn.functional.normalize(self.weight))


def with_head(head: nn.Module) -> nn.Module:
    net = Net()
    net.fc = head
    return net


def compiled_in_place() -> nn.Module:
    net = Net()
    net.compile(backend="eager")
    return net


def hooked() -> nn.Module:
    net = Net()
    net.fc.register_forward_hook(lambda _, inputs, output: output.tanh())
    return net


@pytest.mark.parametrize(
    ("make", "phases", "what"),
    [
        (TwoOutputs, ALL, "gives a tuple; it must give one tensor. Wrap it"),
        (BehindNoGrad, ALL, r"conv.weight, conv.bias would not be trained"),
        (lambda: torch.compile(Net(), backend="eager"), ALL, "compiled by torch.compile"),
        (compiled_in_place, ALL, "compiled by torch.compile"),
        (lambda: torch.jit.trace(Net(), torch.zeros(2, 3, 32, 32)), ALL, "TorchScript"),
        (lambda: Net().half(), ALL, r"half precision: conv.weight \(float16\).*network.float\(\)"),
        (lambda: with_head(Cosine(16, 3)), SOLVED, "head is not one plain nn.Linear"),
        (lambda: with_head(nn.utils.weight_norm(nn.Linear(16, 3))), SOLVED, "not one plain nn.Linear"),
        (hooked, SOLVED, "not one plain nn.Linear"),
    ],
    ids=["tuple", "no_grad", "compiled", "in place", "traced", "half", "cosine", "weight_norm", "hook"],
)
@pytest.mark.filterwarnings("ignore")
def test_networks_that_would_not_be_trained_as_meant_are_refused_by_name(
    make: Callable[[], nn.Module], phases: list[dict[str, Any]], what: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=what):
        hs.train(photos, tmp_path / "run", network=make(), phases=phases, **SIZE)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_at_the_end_costs_nothing_that_was_trained(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, *_: object) -> None:
        raise FileWriteError(str(path), "No space left on device", 1000)

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.finish.save_network", full)
        with pytest.raises(FileWriteError):
            hs.train(photos, tmp_path / "run", network=Net(), phases=ALL, **SIZE)
    assert "Once files can be written: headstart resume" in capsys.readouterr().err
    history = (tmp_path / "run" / "history.csv").read_text()
    hs.resume(tmp_path / "run", network=Net())
    assert (tmp_path / "run" / "history.csv").read_text() == history


@pytest.fixture
def _one_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the newer exporter, which stands behind the older one, fail at once: it takes seconds to."""
    older = torch.onnx.export

    def export(*arguments: Any, dynamo: bool, **names: Any) -> Any:
        if dynamo:
            raise RuntimeError("not tried")
        return older(*arguments, dynamo=False, **names)

    monkeypatch.setattr(torch.onnx, "export", export)


@pytest.mark.usefixtures("_one_exporter")
def test_what_cannot_be_exported_is_refused_before_any_training(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="nothing has been trained"):
        hs.train(photos, tmp_path / "run", network=NotExportable(), phases=ALL, **SIZE)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_one_exporter")
def test_a_head_that_cannot_be_exported_is_refused_before_any_training(photos: Path, tmp_path: Path) -> None:
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = hs.feature_extractor("timm/test_resnet", weights="random")
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.linalg.svdvals(self.base(x).reshape(len(x), 8, 12)))

    with pytest.raises(NetworkError, match="nothing has been trained"):
        hs.train(photos, tmp_path / "run", network=Head(), backbone="timm/test_resnet", phases=ALL, **SIZE)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("stop", [False, True], ids=["at once", "stopped and resumed"])
def test_tied_weights_stay_tied(
    stop: bool, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"phases": [{**ALL[0], "ema": 0.9, "norm": "train"}], **SIZE}
    if stop:
        with monkeypatch.context() as patch:
            patch.setattr("headstart.training.upper.finish", _fail)
            with pytest.raises(ExportError):
                hs.train(photos, tmp_path / "run", network=Tied(), **settings)
        run = hs.resume(tmp_path / "run", network=Tied())
    else:
        run = hs.train(photos, tmp_path / "run", network=Tied(), **settings)
    assert run.metrics["best"]["val_loss"] == pytest.approx(loss_of_file(run, photos), rel=1e-4)
    saved, net = load_file(run.path / "model.safetensors"), Tied()
    net.load_state_dict(saved, strict=True)
    assert torch.equal(saved["first.weight"], saved["second.weight"])
    assert not torch.equal(saved["first.weight"], Tied().first.weight)


def test_a_parameter_beside_the_head_is_trained_and_saved(photos: Path, tmp_path: Path) -> None:
    run = hs.train(photos, tmp_path / "run", network=WithContainer(), phases=ALL, **SIZE)
    before, after = WithContainer().state_dict(), load_file(run.path / "model.safetensors")
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert json.loads((run.path / "metrics.json").read_text()) == run.metrics


def _fail(*_: object) -> None:
    raise ExportError("")
