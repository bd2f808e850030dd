"""Heat maps in model files: equal to a direct computation, and nothing else in the file changes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18
from typer.testing import CliRunner, Result

import headstart as hs
from headstart.cli import app
from headstart.errors import UsageError
from headstart.images.preprocess import load_pixels
from headstart.images.settings import Preprocessing
from headstart.inference import drawings
from headstart.inference.heat_map import HEAT_MAP, HEAT_MAP_SHARE
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.model.normalise import Normalise
from headstart.model.stages_head import with_stages_head
from headstart.products.calibration import with_factors
from headstart.products.heat_map import with_heat_map
from headstart.products.onnx import onnx_graph

INFO = ModelInfo("classification", "tiny", ("a", "b", "c"), Preprocessing(size_px=64))
PHOTOS = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


class Small(nn.Module):
    """A map of 8 x 8 positions, its mean, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 6, 8, stride=8), nn.ReLU())
        self.fc = nn.Linear(6, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).mean((2, 3)))


class ChannelsLast(Small):
    """Like Swin: the mean of a normalised map whose channels are last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(images).permute(0, 2, 3, 1)).mean((1, 2)))


class NormAfterMean(Small):
    """Like ConvNeXt: a layer norm between the mean and the head."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(6, eps=1e-3)
        nn.init.normal_(self.norm.weight)
        nn.init.normal_(self.norm.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(nn.functional.adaptive_avg_pool2d(self.conv(images), 1).flatten(1)))


class Scaled(Small):
    """Like CLIP: the network multiplies its logits itself."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 3 / 7


class FirstPosition(Small):
    """Like a ViT: one token is read."""

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv(images).flatten(2).permute(0, 2, 1)[:, 0])


class Hidden(Small):
    """Like MobileNetV3: a layer that is not linear between the mean and the head."""

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(nn.functional.hardswish(self.conv(images).mean((2, 3))))


def random_network(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()


def run(model: bytes, names: Sequence[str], photos: np.ndarray = PHOTOS) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model)
    found: list[np.ndarray] = session.run(list(names), {"images": photos})
    return found


def input_of(module: nn.Module, network: nn.Module, photos: np.ndarray) -> tuple[Tensor, Tensor]:
    """What arrives at a module for photos, and the logits."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        logits = network(Normalise(INFO.preprocessing)(torch.from_numpy(photos)))
    handle.remove()
    return seen[-1], logits


@pytest.mark.parametrize(
    ("make", "map_of", "head"),
    [
        pytest.param(lambda: resnet18(num_classes=3), "avgpool", "fc", id="resnet18"),
        pytest.param(lambda: mobilenet_v2(num_classes=3), "features", "classifier.1", id="mobilenet_v2"),
    ],
)
def test_it_is_the_head_applied_to_each_position_of_the_map(
    make: Callable[[], nn.Module], map_of: str, head: str
) -> None:
    network = random_network(make)
    layer = network.get_submodule(head)
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(1))
    maps: list[Tensor] = []
    module = network.get_submodule(map_of)
    if map_of == "avgpool":
        module.register_forward_pre_hook(lambda _, arguments: maps.append(arguments[0]))
    else:
        module.register_forward_hook(lambda *arguments: maps.append(arguments[2]))
    with torch.no_grad():
        logits = network(Normalise(INFO.preprocessing)(torch.from_numpy(PHOTOS)))
    map_ = maps[-1]
    graph = onnx_graph(network, INFO)
    found = with_heat_map(graph, INFO)
    assert found.size == (2, 2)
    best = logits.argmax(1)
    with torch.no_grad():
        rows = layer.weight[best] - layer.weight.mean(0)
        expected = torch.einsum("nc,nchw->nhw", rows, map_).numpy()
    heat_map, share = run(found.model, [HEAT_MAP, HEAT_MAP_SHARE])
    np.testing.assert_allclose(heat_map, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(share, 1, atol=1e-3)
    difference = (logits.max(1).values - logits.mean(1)).numpy()
    bias = (layer.bias[best] - layer.bias.mean()).detach().numpy()
    np.testing.assert_allclose(
        heat_map.mean((1, 2)) + bias, difference, atol=1e-3 * np.abs(expected).max(), rtol=1e-3
    )


@pytest.mark.parametrize(
    ("make", "num_factors"), [(Small, 3), (Small, 1), (ChannelsLast, 3), (NormAfterMean, 1), (Scaled, 3)]
)
def test_the_mean_of_the_map_and_the_bias_are_the_difference_of_logits(
    make: type[Small], num_factors: int
) -> None:
    network = random_network(make)
    factors = np.full(num_factors, 0.5, np.float32)
    graph = with_factors(onnx_graph(network, INFO), factors)
    found = with_heat_map(graph, INFO)
    assert found.size == (8, 8)
    heat_map, share, logits = run(found.model, [HEAT_MAP, HEAT_MAP_SHARE, "logits"])
    best = logits.argmax(1)
    weight, bias = network.fc.weight.detach().numpy(), network.fc.bias.detach().numpy()
    if isinstance(network, NormAfterMean):
        bias = bias + weight @ network.norm.bias.detach().numpy()
    constant = (bias[best] - bias.mean()) * (0.5 * 3 / 7 if make is Scaled else 0.5)
    difference = logits.max(1) - logits.mean(1)
    np.testing.assert_allclose(heat_map.mean((1, 2)) + constant, difference, atol=1e-5)
    np.testing.assert_allclose(share, 1, atol=1e-3)
    assert heat_map.std() > 0.01
    # Each place of the map is a place of the photo: black out one, and nothing else changes.
    if type(network) is Small:
        changed = PHOTOS.copy()
        changed[:, 16:24, 40:48] = 0
        after = run(found.model, [HEAT_MAP, "logits"], changed)
        same = after[1].argmax(1) == best
        assert same.any()
        differs = np.abs(after[0] - heat_map)[same] > 1e-6
        assert differs[:, 2, 5].all()
        assert differs.sum() == same.sum()


def test_a_head_of_pytorch_on_several_stages_has_one_too() -> None:
    network = with_stages_head(random_network(lambda: resnet18(num_classes=3)), 64)
    assert network is not None
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in (network.head.linear.weight, network.head.linear.bias, network.head.scale):
            tensor.uniform_(0.1, 1, generator=generator)
    found = with_heat_map(onnx_graph(network, INFO), INFO)
    assert found.size == (2, 2)
    features, logits = input_of(network.head, network, PHOTOS)
    weight = (network.head.linear.weight * network.head.scale).detach()
    rows = weight[logits.argmax(1)] - weight.mean(0)
    is_mean = torch.zeros(len(rows[0]), dtype=torch.bool)
    for block in network.head.blocks:
        is_last = block is network.head.blocks[-1]
        is_mean[block.first : block.last if is_last else (block.first + block.last) // 2] = True
    part, whole = ((rows * features * mask).sum(1) for mask in (is_mean, torch.ones_like(is_mean)))
    heat_map, share = run(found.model, [HEAT_MAP, HEAT_MAP_SHARE])
    np.testing.assert_allclose(heat_map.mean((1, 2)), part.numpy(), rtol=1e-3)
    np.testing.assert_allclose(
        share[:, 0], (part.abs() / (part.abs() + (whole - part).abs())).numpy(), rtol=1e-3
    )


def test_several_labels_have_the_map_of_the_most_probable_one() -> None:
    network = random_network(Small)
    info = dataclasses.replace(INFO, task="multilabel", thresholds=(0.5,) * 3)
    factors = np.array([0.5, 2.0, 1.0], np.float32)
    found = with_heat_map(with_factors(onnx_graph(network, info), factors), info)
    heat_map, logits = run(found.model, [HEAT_MAP, "logits"])
    best = logits.argmax(1)
    bias = network.fc.bias.detach().numpy() * factors
    np.testing.assert_allclose(heat_map.mean((1, 2)) + bias[best], logits.max(1), atol=1e-5)


@pytest.mark.parametrize("make", [Small, ChannelsLast, NormAfterMean])
def test_other_outputs_keep_their_bits(make: type[Small]) -> None:
    graph = onnx_graph(random_network(make), INFO)
    names = ["logits", "probabilities"]
    for photos in (PHOTOS, PHOTOS[:1]):
        for before, after in zip(
            run(graph, names, photos), run(with_heat_map(graph, INFO).model, names, photos), strict=True
        ):
            assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (FirstPosition, "one token"),
        (Hidden, "outputs of a layer.*HardSwish"),
        (
            lambda: nn.Sequential(nn.Conv2d(3, 3, 8, stride=8), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            "linear",
        ),
        (
            lambda: nn.Sequential(
                nn.Conv2d(3, 6, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
            ),
            "no mean",
        ),
    ],
    ids=["one token", "hidden layer", "no linear head", "one position"],
)
def test_a_network_without_a_map_is_left_as_it_is(make: Callable[[], nn.Module], why: str) -> None:
    graph = onnx_graph(random_network(make), INFO)
    found = with_heat_map(graph, INFO)
    assert found.model == graph
    assert found.size is None
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(found.sentence)
    predictor = hs.Predictor.from_bytes(seal_onnx(found.model, INFO))
    assert not predictor.explains
    assert predictor.predict(PHOTOS[0])[0].heat_map is None
    with pytest.raises(UsageError, match="no heat maps"):
        predictor.predict(PHOTOS[0], explain=True)


def test_numbers_have_none_and_no_reason_is_given() -> None:
    info = dataclasses.replace(
        INFO, task="regression", class_names=(), targets=("x", "y", "z"), scale=((0.0,) * 3, (1.0,) * 3)
    )
    found = with_heat_map(onnx_graph(random_network(Small), info), info)
    assert (found.size, found.sentence, found.summary()) == (None, "", {})


class Brightness(nn.Module):
    """Its map is the brightness of squares of 8 x 8 pixels, which speaks for the class ``bright``."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(8)
        self.fc = nn.Linear(3, 2)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[1.0] * 3, [-1.0] * 3]))
            self.fc.bias.copy_(torch.tensor([20.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.pool(images).mean((2, 3)))


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
@pytest.mark.parametrize("size", [(300, 200), (200, 300)])
def test_the_peak_is_where_the_object_is_in_the_photo(resize: Any, size: tuple[int, int]) -> None:
    preprocessing = Preprocessing(size_px=64, resize=resize)
    info = ModelInfo("classification", "tiny", ("bright", "dark"), preprocessing)
    found = with_heat_map(onnx_graph(random_network(Brightness), info), info)
    predictor = hs.Predictor.from_bytes(seal_onnx(found.model, info))
    photo = np.zeros((size[1], size[0], 3), np.uint8)
    left, top = size[0] // 2 + 10, size[1] // 2 - 75
    photo[top : top + 70, left : left + 70] = 255
    (prediction,) = predictor.predict(photo, explain=True)
    assert prediction.label == "bright"
    heat_map = prediction.heat_map
    assert heat_map is not None
    assert heat_map.label == "bright"
    x, y = heat_map.peak
    assert left < x < left + 70
    assert top < y < top + 70
    (plain,) = predictor.predict(photo)
    assert plain == prediction  # heat maps are not compared
    assert plain.heat_map is None
    with pytest.raises(UsageError, match="one view"):
        hs.Predictor(found.model, info, views=2).predict(photo, explain=True)


@pytest.fixture(scope="module")
def probe(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    folder = tmp_path_factory.mktemp("heat")
    photos = make_photos(folder / "photos", {"train": 8, "test": 4})
    for colour in ("red", "green"):  # labels that the model will not agree with
        (photos / "test" / colour / f"{colour}0.jpg").rename(photos / "test" / "blue" / f"{colour}.jpg")
    return hs.train(
        photos, folder / "run", recipe="probe", head="stages", size_px=64, device="cpu", verbose=False
    )


def test_a_head_on_several_stages_has_the_sum_over_its_mean_blocks(probe: hs.TrainResult) -> None:
    info, model = probe.predictor.info, (probe.path / "model.onnx").read_bytes()
    assert info.stages
    assert probe.metrics["heat_map"] == {"size": [2, 2]}
    photo = probe.path.parent / "photos" / "test" / "blue" / "red.jpg"
    pixels = load_pixels(photo.read_bytes(), info.preprocessing, path="")[None]
    loaded = onnx.load_from_string(model)
    (weight,) = (
        onnx.numpy_helper.to_array(each) for each in loaded.graph.initializer if each.name == "head.weight"
    )
    pools = [node for node in loaded.graph.node if node.op_type == "GlobalAveragePool"]
    (last,) = {node.input[0] for node in pools if not node.name.startswith("pooled")}
    extended = onnx.ModelProto()
    extended.CopyFrom(loaded)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (*info.stages, last, "features"))
    *maps, features, logits, heat_map, share = run(
        extended.SerializeToString(),
        [*info.stages, last, "features", "logits", HEAT_MAP, HEAT_MAP_SHARE],
        pixels,
    )
    row = weight[logits[0].argmax()] - weight.mean(0)
    expected, first, part = np.zeros((2, 2)), 0, 0.0
    for number, each in enumerate(maps):
        channels = each.shape[1]
        contributions = np.einsum("c,chw->hw", row[first : first + channels], each[0])
        part += row[first : first + channels] @ features[0, first : first + channels]
        factor = contributions.shape[0] // 2
        expected += contributions.reshape(2, factor, 2, factor).mean((1, 3))
        first += channels * (2 if number < len(info.stages) else 1)  # standard deviations follow the means
    assert first == len(row)
    np.testing.assert_allclose(heat_map[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert heat_map.mean() == pytest.approx(part, rel=1e-3)
    rest = row @ features[0] - part
    assert share[0, 0] == pytest.approx(abs(part) / (abs(part) + abs(rest)), rel=1e-3)
    assert 0 < share[0, 0] < 1
    (found,) = probe.predictor.predict(photo, explain=True)
    assert found.heat_map is not None
    np.testing.assert_allclose(found.heat_map.values, heat_map[0], rtol=1e-5)
    assert found.heat_map.share == pytest.approx(share[0, 0])


def test_the_file_of_a_probe_gives_the_same_bits_without_its_heat_map(probe: hs.TrainResult) -> None:
    loaded = onnx.load(probe.path / "model.onnx")
    names = [each.name for each in loaded.graph.output if not each.name.startswith(HEAT_MAP)]
    photos = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    after = run(loaded.SerializeToString(), names, photos)
    for field in (loaded.graph.node, loaded.graph.output):
        kept = [each for each in field if not each.name.startswith(HEAT_MAP)]
        del field[:]
        field.extend(kept)
    for old, new in zip(run(loaded.SerializeToString(), names, photos), after, strict=True):
        assert old.tobytes() == new.tobytes()


def test_many_classes_do_not_make_the_file_larger(tmp_path: Path) -> None:
    class Many(Small):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(6, 20_000)

    info = dataclasses.replace(INFO, class_names=tuple(map(str, range(20_000))))
    graph = onnx_graph(random_network(Many), info)
    found = with_heat_map(graph, info)
    assert found.size == (8, 8)
    assert len(found.model) - len(graph) < 10_000


def test_the_report_shows_heat_maps_of_photos_that_the_file_has_answered(probe: hs.TrainResult) -> None:
    page = (probe.path / "report.html").read_text("utf-8")
    answers = probe.answers.of_source("test")
    num_wrong = sum(label != said for label, said in zip(answers.label, answers.prediction, strict=True))
    assert num_wrong >= 2
    assert page.count("Heat map of the class") >= num_wrong
    assert "of the contributions to the answer (median)" in page
    plain = hs.report(probe.path, probe.path / "plain.html", photos=False).path.read_text("utf-8")
    assert "eat map" not in plain


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_the_command_draws_heat_maps_and_files_of_predictions_stay_as_they_are(
    probe: hs.TrainResult, tmp_path: Path
) -> None:
    photos = probe.path.parent / "photos" / "test"
    for name in ("plain.jsonl", "explained.jsonl"):
        more = ("--explain", tmp_path / "heat") if name == "explained.jsonl" else ()
        done = command(probe.path, photos, "--out", tmp_path / name, *more)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "plain.jsonl").read_bytes() == (tmp_path / "explained.jsonl").read_bytes()
    assert len(list((tmp_path / "heat").iterdir())) == len(list(photos.rglob("*.jpg")))
    again = command(probe.path, photos, "--explain", tmp_path / "heat")
    assert isinstance(again.exception, UsageError)
    assert "not an empty folder" in str(again.exception)
    both = command(probe.path, photos, "--explain", tmp_path / "new", "--draw", tmp_path / "new")
    assert "both name" in str(both.exception)
    views = command(probe.path, photos, "--explain", tmp_path / "new", "--views", "2")
    assert "one view" in str(views.exception)
    assert not (tmp_path / "new").exists()


def test_an_interrupted_call_that_explains_is_continued(
    probe: hs.TrainResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, heat = probe.path.parent / "photos" / "test", tmp_path / "heat"
    arguments = (probe.path, photos, "--out", tmp_path / "all.csv", "--explain", heat)
    draw, calls = drawings.annotate, itertools.count()

    def interrupted(*given: Any) -> Any:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return draw(*given)

    with monkeypatch.context() as patch:
        patch.setattr(drawings, "annotate", interrupted)
        assert command(*arguments).exit_code != 0
    assert len(list(heat.iterdir())) == 5
    assert command(*arguments).exit_code == 0
    assert len(list(heat.iterdir())) == len(list(photos.rglob("*.jpg")))


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
@pytest.mark.parametrize("channels_first", [True, False])
def test_graphs_of_every_opset_and_maps_of_several_sizes(opset: int, channels_first: bool) -> None:
    node, value, number = helper.make_node, helper.make_tensor_value_info, TensorProto.FLOAT
    axes = [2, 3] if channels_first else [1, 2]
    mean = node("ReduceMean", ["large", "axes"] if opset >= 18 else ["large"], ["first"], keepdims=0)
    if opset < 18:
        mean.attribute.append(helper.make_attribute("axes", axes))
    maps = [node("Transpose", ["floats"], ["images_first"], perm=[0, 3, 1, 2])]
    maps += [node("AveragePool", ["images_first"], ["fine"], kernel_shape=[4, 4], strides=[4, 4])]
    maps += [node("Identity", ["fine"], ["large"])] if channels_first else []
    maps += [] if channels_first else [node("Transpose", ["fine"], ["large"], perm=[0, 2, 3, 1])]
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(9, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            node("Cast", ["images"], ["floats"], to=number),
            *maps,
            node("AveragePool", ["fine"], ["small"], kernel_shape=[5, 5], strides=[5, 5]),
            node("GlobalAveragePool", ["small"], ["pooled_small"]),
            node("Flatten", ["pooled_small"], ["last"]),
            mean,
            node("Sqrt", ["first"], ["other"]),
            node("Concat", ["first", "other", "last"], ["features"], axis=1),
            node("MatMul", ["features", "weight"], ["product"]),
            node("Add", ["product", "bias"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"]),
        ],
        "sizes",
        [value("images", TensorProto.UINT8, ["N", 64, 64, 3])],
        [value("logits", number, ["N", 3]), value("probabilities", number, ["N", 3])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.zeros(3, np.float32), "bias"),
            numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    found = with_heat_map(made.SerializeToString(), INFO)
    assert (found.size, found.missing) == ((3, 3), "")
    onnx.checker.check_model(onnx.load_from_string(found.model))
    heat_map, share, logits = run(found.model, [HEAT_MAP, HEAT_MAP_SHARE, "logits"])
    floats = PHOTOS.astype(np.float64)
    fine = floats.reshape(3, 16, 4, 16, 4, 3).mean((2, 4))
    small = fine[:, :15, :15].reshape(3, 3, 5, 3, 5, 3).mean((2, 4))
    rows = (weight - weight.mean(1, keepdims=True))[:, logits.argmax(1)].T
    by_part = np.repeat(np.repeat(np.einsum("nhwc,nc->nhw", fine, rows[:, :3]), 3, 1), 3, 2)
    coarse = by_part.reshape(3, 3, 16, 3, 16).mean((2, 4))
    expected = coarse + np.einsum("nhwc,nc->nhw", small, rows[:, 6:])
    np.testing.assert_allclose(heat_map, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    rest = (rows[:, 3:6] * np.sqrt(fine.mean((1, 2)))).sum(1)
    part = np.abs(expected.mean((1, 2)))
    np.testing.assert_allclose(share[:, 0], part / (part + np.abs(rest)), rtol=1e-3)
