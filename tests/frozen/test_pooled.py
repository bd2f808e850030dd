from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest

from headstart.data.check import check_images
from headstart.data.sources.folder import read_folder
from headstart.frozen.cache import list_stores
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.opened import OpenedBackbone, open_backbone_features
from headstart.frozen.pooled import POOLED, pooled_widths, with_pooled
from headstart.frozen.prefix import OnnxPrefix
from headstart.images.settings import Preprocessing
from headstart.records import Dataset
from headstart.weight_files import WeightsSource

STAGES = ("first", "second")


def make_graph(opset: int) -> bytes:
    """Two convolutions with a ReLU each, and a pooling: 3, 5 and 4 channels."""
    random = np.random.default_rng(0)
    shapes = {"w1": (5, 3, 3, 3), "w2": (4, 5, 3, 3)}
    weights = [
        onnx.numpy_helper.from_array(random.normal(0, 0.1, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        onnx.helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Transpose", ["floats"], ["nchw"], perm=[0, 3, 1, 2]),
        onnx.helper.make_node("Conv", ["nchw", "w1"], ["c1"], strides=[2, 2]),
        onnx.helper.make_node("Relu", ["c1"], ["first"]),
        onnx.helper.make_node("Conv", ["first", "w2"], ["c2"]),
        onnx.helper.make_node("Relu", ["c2"], ["second"]),
        onnx.helper.make_node("GlobalAveragePool", ["second"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], ["activations"]),
    ]
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 32, 32, 3])
    output = onnx.helper.make_tensor_value_info("activations", onnx.TensorProto.FLOAT, ["N", 4])
    graph = onnx.helper.make_graph(nodes, "test", [images], [output], weights)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


GRAPH = make_graph(17)
BACKBONE = OnnxBackbone(
    "test", GRAPH, Preprocessing(size_px=32), WeightsSource("file", sha256="0" * 64), STAGES
)
PIXELS = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8)


def stage_outputs(pixels: np.ndarray) -> list[np.ndarray]:
    model = onnx.load_from_string(GRAPH)
    for name in STAGES:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return [np.asarray(each) for each in session.run(list(STAGES), {"images": pixels})]


def pooled_of(maps: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate([each.mean((2, 3)), each.std((2, 3))], 1) for each in maps]


@pytest.mark.parametrize("is_exact", [True, False])
@pytest.mark.parametrize("opset", [9, 13, 17, 21])
def test_pooled_outputs_are_means_and_standard_deviations(opset: int, is_exact: bool) -> None:
    prefix = OnnxPrefix(with_pooled(make_graph(opset), STAGES), second=POOLED, is_exact=is_exact)
    rows, pooled = prefix.outputs(PIXELS)
    np.testing.assert_allclose(pooled, np.concatenate(pooled_of(stage_outputs(PIXELS)), 1), rtol=1e-4)
    assert pooled_widths(GRAPH, STAGES) == (10, 8)
    alone = OnnxPrefix(make_graph(opset))
    assert rows.tobytes() == alone(PIXELS).tobytes()
    assert prefix.function == alone.function != prefix.second_function
    assert np.array_equal(prefix.row(32), alone.row(32))


def test_pooled_outputs_that_change_a_bit_come_from_a_graph_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = OnnxPrefix(with_pooled(GRAPH, STAGES), second=POOLED).outputs(PIXELS)
    monkeypatch.setattr("headstart.frozen.prefix.np.array_equal", lambda *_: False)
    prefix = OnnxPrefix(with_pooled(GRAPH, STAGES), second=POOLED)
    assert [each.tobytes() for each in prefix.outputs(PIXELS)] == [each.tobytes() for each in expected]
    assert len(prefix._sessions) == 2


def test_widths_that_a_graph_does_not_say_are_an_error() -> None:
    with pytest.raises(ValueError, match="how many channels nowhere have"):
        pooled_widths(GRAPH, ["first", "nowhere"])


@pytest.fixture
def data(make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", {"": 3})


def checked(opened: OpenedBackbone, data: Path) -> Dataset:
    listing = read_folder(data)
    return check_images(listing, checks=opened.activations.check(listing.candidates, lambda _: True))


@pytest.mark.parametrize("first", ["with", "without"])
def test_pooled_outputs_are_stored_in_the_same_pass_or_computed_when_they_are_asked_for(
    first: str, data: Path
) -> None:
    opened = open_backbone_features(BACKBONE, say=print, pooled=first == "with")
    dataset = checked(opened, data)
    rows = list(opened.activations.rows((record, 0) for record in dataset.records))
    opened.close()
    stores = {store.about["cut"]: store.num_rows for store in list_stores()}
    assert stores == {"pool": 9, "facts of photos": 9, **({"pooled stages": 9} if first == "with" else {})}

    again = open_backbone_features(BACKBONE, say=pytest.fail)
    dataset = checked(again, data)
    found = list(again.pooled((record, 0) for record in dataset.records))
    assert all(map(np.array_equal, again.activations.rows((record, 0) for record in dataset.records), rows))
    again.close()
    assert [[part.shape for part in parts] for parts in found] == [[(10,), (8,)]] * 9
    live = open_backbone_features(BACKBONE, say=pytest.fail, keep=False)
    for parts, other in zip(found, live.pooled((record, 0) for record in dataset.records), strict=True):
        assert np.concatenate(parts).tobytes() == np.concatenate(other).tobytes()


def test_photos_that_join_a_filled_store_get_pooled_outputs_too(
    data: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    more = make_photos(tmp_path / "more", {"": 5}, seed=1)
    for folder, num_rows, is_opened in ((data, 9, True), (data, 9, False), (more, 24, True)):
        opened = open_backbone_features(BACKBONE, say=pytest.fail)
        checked(opened, folder)
        opened.close()
        stores = {store.about["cut"]: store.num_rows for store in list_stores()}
        assert stores["pool"] == stores["pooled stages"] == num_rows
        assert bool(opened.prefix._sessions) == is_opened  # which takes time


def test_stored_pooled_outputs_are_read_without_their_graph_which_takes_memory(data: Path) -> None:
    opened = open_backbone_features(BACKBONE, say=pytest.fail)
    dataset = checked(opened, data)
    opened.close()
    again = open_backbone_features(BACKBONE, say=pytest.fail)
    dataset = checked(again, data)
    photos = [(record, 0) for record in dataset.records]
    rows = list(again.rows(photos, again.stages[:1]))
    assert not again.prefix._sessions
    for row, parts, activations in zip(
        rows, again.pooled(photos), again.activations.rows(photos), strict=True
    ):
        assert row.tobytes() == parts[0].tobytes() + activations.tobytes()
    again.close()


def test_without_stages_there_is_nothing_to_pool(data: Path) -> None:
    opened = open_backbone_features(BACKBONE, say=print, pooled=False)
    with pytest.raises(ValueError, match="without the pooled outputs"):
        next(opened.pooled([]))
