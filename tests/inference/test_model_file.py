from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnxruntime
import pytest
import safetensors.numpy

from headstart.errors import DamagedFileError, HeadstartError, UsageError
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import (
    FORMAT,
    PLACEHOLDER,
    ModelInfo,
    open_onnx,
    open_safetensors,
    seal_onnx,
    seal_safetensors,
    verify_onnx,
)

# Class names as folders have them: any Unicode, quotes, and bytes that are not UTF-8.
INFO = ModelInfo(
    task="classification",
    backbone="resnet18.IMAGENET1K_V1",
    class_names=(
        "Ähre 🌾",
        'with "quotes", "sha256":"' + "0" * 64 + '"',
        "line\nbreak",
        os.fsdecode(b"caf\xe9"),
    ),
    preprocessing=Preprocessing(size_px=96, crop_fraction=0.9, resize="pad", interpolation="bicubic"),
    versions={"torch": "2.9.0", "python": "3.11.7"},
)


def onnx_model() -> bytes:
    weight = onnx.numpy_helper.from_array(np.linspace(-1, 1, 3 * 4, dtype=np.float32).reshape(3, 4), "weight")
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
            onnx.helper.make_node("MatMul", ["means", "weight"], ["logits"]),
        ],
        "classifier",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 8, 8, 3])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 4])],
        [weight],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def safetensors_file(metadata: dict[str, str] | None = None) -> bytes:
    tensors = {f"layer{i}.weight": np.arange(60, dtype=np.float32) + i for i in range(4)}
    return safetensors.numpy.save(tensors, metadata or {"headstart": INFO.to_json(), "sha256": PLACEHOLDER})


SEALED = {
    "model.onnx": (lambda: seal_onnx(onnx_model(), INFO), open_onnx),
    "model.safetensors": (lambda: seal_safetensors(safetensors_file()), open_safetensors),
}


@pytest.fixture(params=SEALED)
def sealed(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Callable[[Path], Any]]:
    make, read = SEALED[request.param]
    path = tmp_path / request.param
    path.write_bytes(make())
    return path, read


def refusal(path: Path, content: bytes, read: Callable[[Path], Any]) -> HeadstartError | None:
    # In place: a new file for each of thousands of cases would take most of the test's time.
    path.write_bytes(content)
    try:
        read(path)
    except HeadstartError as error:
        return error
    return None


def test_description_survives_json() -> None:
    assert ModelInfo.from_json(INFO.to_json()) == INFO
    assert INFO.to_json().isascii()


def test_equal_descriptions_give_equal_json() -> None:
    reordered = ModelInfo(
        versions=dict(reversed(INFO.versions.items())),
        class_names=INFO.class_names,
        preprocessing=INFO.preprocessing,
        backbone=INFO.backbone,
        task=INFO.task,
    )
    assert list(reordered.versions) != list(INFO.versions)
    assert reordered.to_json() == INFO.to_json()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"format": FORMAT + 1, "calibration": {}},
            UsageError,
            rf"format {FORMAT + 1}.*pip install --upgrade headstart",
        ),
        ({"calibration": {}}, DamagedFileError, "calibration"),
        ({"backbone": None}, DamagedFileError, "backbone"),
        ({"preprocessing": {"size_px": 224}}, DamagedFileError, "crop_fraction is missing"),
        ({"format": "1"}, DamagedFileError, "not as Headstart writes it"),
    ],
)
def test_other_descriptions_are_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    fields = {
        name: value for name, value in (json.loads(INFO.to_json()) | change).items() if value is not None
    }
    with pytest.raises(error, match=message):
        ModelInfo.from_json(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '"text"', "{}"])
def test_what_is_no_description_is_refused(text: str) -> None:
    with pytest.raises(DamagedFileError):
        ModelInfo.from_json(text)


def test_sealed_onnx_is_read_back_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(seal_onnx(onnx_model(), INFO))
    model, info = open_onnx(path)
    assert model == path.read_bytes()
    assert info == INFO == verify_onnx(model, name="model.onnx")
    onnx.checker.check_model(onnx.load_from_string(model))

    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(model)
    plain = onnxruntime.InferenceSession(onnx_model())
    np.testing.assert_array_equal(session.run(None, {"images": images}), plain.run(None, {"images": images}))
    metadata = session.get_modelmeta().custom_metadata_map
    assert ModelInfo.from_json(metadata["headstart"]) == INFO
    assert len(metadata["sha256"]) == 64


def test_sealed_safetensors_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(seal_safetensors(safetensors_file()))
    data, metadata = open_safetensors(path)
    assert data == path.read_bytes()
    assert ModelInfo.from_json(metadata["headstart"]) == INFO
    tensors, expected = safetensors.numpy.load(data), safetensors.numpy.load(safetensors_file())
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name])
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == metadata


def test_safetensors_are_the_same_whatever_the_order_of_their_metadata() -> None:
    # The library keeps metadata in a hash map that each process seeds anew.
    program = (
        "import hashlib, numpy as np, safetensors.numpy as s\n"
        "from headstart.inference.model_file import seal_safetensors\n"
        "data = s.save({'b': np.ones(3), 'a': np.zeros(5)}, {name: name for name in 'headstart'})\n"
        "print(hashlib.sha256(seal_safetensors(data)).hexdigest())"
    )
    command = [sys.executable, "-c", program]
    hashes = {subprocess.run(command, capture_output=True, check=True).stdout for _ in range(4)}
    assert len(hashes) == 1


def test_sealing_safetensors_without_metadata_adds_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "tensors.safetensors"
    path.write_bytes(seal_safetensors(safetensors.numpy.save({"a": np.ones(3, np.float32)})))
    data, metadata = open_safetensors(path)
    assert list(metadata) == ["sha256"]
    assert seal_safetensors(data) == data


def test_every_flipped_bit_is_refused(sealed: tuple[Path, Callable[[Path], Any]]) -> None:
    path, read = sealed
    content = path.read_bytes()
    generator = random.Random(0)
    accepted = []
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << generator.randrange(8)
        error = refusal(path, damaged, read)
        if not isinstance(error, DamagedFileError) or str(path) not in str(error):
            accepted.append(position)
    assert not accepted


def test_every_truncation_and_anything_appended_is_refused(
    sealed: tuple[Path, Callable[[Path], Any]],
) -> None:
    path, read = sealed
    content = path.read_bytes()
    accepted = [size for size in range(len(content)) if not refusal(path, content[:size], read)]
    appended = [extra for extra in (b"\0", b" ", b"\n", content) if not refusal(path, content + extra, read)]
    assert not accepted
    assert not appended
    assert refusal(path, content, read) is None


def test_onnx_of_somebody_else_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    for content in (onnx_model(), b"", b"not a model"):
        with pytest.raises(UsageError, match=r"other\.onnx is not a Headstart model"):
            (path.write_bytes(content), open_onnx(path))


def test_safetensors_of_somebody_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    for content in (safetensors_file({"format": "pt"}), safetensors_file(), b"", b"not tensors"):
        with pytest.raises(DamagedFileError, match="not written by Headstart"):
            (path.write_bytes(content), open_safetensors(path))


@pytest.mark.parametrize("read", [open_onnx, open_safetensors])
def test_what_cannot_be_read_is_an_error_with_its_path(read: Callable[[Path], Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing cannot be read: No such file"):
        read(tmp_path / "nothing")
