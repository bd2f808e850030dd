"""``export --to onnx-fp16``: half the size, the same answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import headstart as hs
from headstart.inference.model_file import open_onnx, seal_onnx
from headstart.products.half import with_half_weights


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("halved") / "run"
    return hs.train(photos, out, recipe="probe", size_px=32, verbose=False).path


def multiplied(*weights: np.ndarray) -> bytes:
    """A model that multiplies (1, D) by (D, K) of each weight, with one output each."""
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", f"w{n}"], [f"y{n}"]) for n in range(len(weights))],
        "multiplied",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, len(weights[0])])],
        [helper.make_tensor_value_info(f"y{n}", onnx.TensorProto.FLOAT, None) for n in range(len(weights))],
        [onnx.numpy_helper.from_array(each.astype(np.float32), f"w{n}") for n, each in enumerate(weights)],
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def test_only_weights_that_float16_can_hold_are_halved() -> None:
    weight = np.random.default_rng(0).standard_normal((32, 32))
    model = with_half_weights(multiplied(weight, weight * 1e6, weight * 1e-8, weight[:, :2]))
    types = {each.name: each.data_type for each in onnx.load_from_string(model).graph.initializer}
    floats = onnx.TensorProto.FLOAT
    assert types == {"w0.float16": onnx.TensorProto.FLOAT16, "w1": floats, "w2": floats, "w3": floats}
    x = np.ones((1, 32), np.float32)
    first, *others = onnxruntime.InferenceSession(model).run(None, {"x": x})
    np.testing.assert_array_equal(first, x @ weight.astype(np.float16).astype(np.float32))
    expected = onnxruntime.InferenceSession(multiplied(weight, weight * 1e6, weight * 1e-8, weight[:, :2]))
    for one, other in zip(others, expected.run(None, {"x": x})[1:], strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_file_is_half_as_large_and_says_so(run: Path, photos: Path) -> None:
    written = hs.export(run, "onnx-fp16")
    assert written.path == run / "model-fp16.onnx"
    assert written.path.stat().st_size < 0.6 * (run / "model.onnx").stat().st_size
    assert written.parity is not None
    assert written.parity.num_photos > 0
    assert 0 < written.parity.max_difference <= 0.03
    assert f"{written.parity.num_photos} validation photos" in repr(written)
    found = hs.verify(written.path, photos)
    assert found.ok
    assert found.info.stored_as == "float16"
    assert hs.verify(run).info == dataclasses.replace(
        found.info, stored_as="float32", self_test=hs.load(run).info.self_test
    )
    assert hs.export(run, "onnx-fp16").path == written.path  # replaces its own file


def test_what_is_halved_is_not_halved_again(run: Path) -> None:
    model = (run / "model.onnx").read_bytes()
    half = hs.export(run, "onnx-fp16").path
    try:
        (run / "model.onnx").write_bytes(half.read_bytes())
        with pytest.raises(hs.UsageError, match="already stored as float16"):
            hs.export(run, "onnx-fp16")
    finally:
        (run / "model.onnx").write_bytes(model)


def test_nothing_is_written_if_the_answers_are_too_far_from_those_of_the_run(
    run: Path, tmp_path: Path
) -> None:
    model, info = open_onnx(run / "model.onnx")
    whole = onnx.load_from_string(model)
    (weight,) = (each for each in whole.graph.initializer if each.name == "head.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), "head.weight"))
    del whole.metadata_props[:]
    try:
        (run / "model.onnx").write_bytes(seal_onnx(whole.SerializeToString(), info))
        with pytest.raises(hs.ParityError, match="Nothing has been written"):
            hs.export(run, "onnx-fp16", tmp_path / "model.onnx")
    finally:
        (run / "model.onnx").write_bytes(model)
    assert not (tmp_path / "model.onnx").exists()


def test_without_the_photos_nothing_is_compared(run: Path, tmp_path: Path) -> None:
    config = (run / "config.toml").read_text("utf-8")
    try:
        (run / "config.toml").write_text('data = "/nowhere"\n', "utf-8")
        written = hs.export(run, "onnx-fp16", tmp_path / "half.onnx")
    finally:
        (run / "config.toml").write_text(config, "utf-8")
    assert written.parity is None
    assert repr(written) == f"Written: {tmp_path / 'half.onnx'}"
