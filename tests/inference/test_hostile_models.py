"""Damaged and hostile model files: each is refused in words, and nothing outside the file is read."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import onnx.helper
import pytest
from tests.colours import INFO, colours_model

import headstart as hs
from headstart.inference.model_file import ModelInfo, _onnx_seal, seal_onnx, verify_onnx
from headstart.inference.run_self_test import seal_with_self_test
from headstart.inference.runtime import open_session

GOOD = seal_with_self_test(colours_model(), INFO)
TESTED = verify_onnx(GOOD, name="good")
helper = onnx.helper
FLOAT, UINT8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8


def described(text: str, model: bytes | None = None) -> bytes:
    """A model with a correct checksum and any text in place of its description."""
    info = SimpleNamespace(to_json=lambda: text, preprocessing=INFO.preprocessing)
    return seal_onnx(model or colours_model(), cast("ModelInfo", info))


def changed(model: bytes | None = None, **fields: Any) -> bytes:
    """A model whose description has other values; None removes a key."""
    whole = json.loads(TESTED.to_json()) | fields
    return described(
        json.dumps({key: value for key, value in whole.items() if key not in fields or value is not None}),
        model,
    )


def with_preprocessing(**fields: Any) -> bytes:
    return changed(preprocessing=json.loads(TESTED.to_json())["preprocessing"] | fields)


def with_steps(text: str) -> bytes:
    """A model that states other steps of preprocessing than its settings."""
    model = onnx.load_from_string(GOOD)
    for entry in model.metadata_props:
        if entry.key == "preprocessing":
            entry.value = text
    del model.metadata_props[-1]  # the checksum of the good one
    content = model.SerializeToString()
    digest = hashlib.sha256(content).hexdigest().encode()
    return content + delimited(0x72, delimited(0x0A, b"sha256") + delimited(0x12, digest))


def graph(change: Callable[[onnx.ModelProto], object]) -> bytes:
    """A model with another graph, and the description and the self-test of the good one."""
    model = onnx.load_from_string(colours_model())
    change(model)
    return seal_onnx(model.SerializeToString(), TESTED)


def weight(model: onnx.ModelProto) -> onnx.TensorProto:
    return model.graph.initializer[0]


def elsewhere(location: str) -> bytes:
    """A model whose weight is in another file."""

    def change(model: onnx.ModelProto) -> None:
        tensor = weight(model)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "4")):
            tensor.external_data.add(key=key, value=value)

    return graph(change)


def elsewhere_in_disguise(location: bytes) -> bytes:
    """The same, where the size of the word "location" takes two bytes, although one is enough."""
    model = onnx.load_from_string(colours_model())
    tensor = onnx.TensorProto()
    tensor.CopyFrom(weight(model))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = b"\x0a\x88\x00location" + delimited(0x12, location)
    del model.graph.initializer[:]
    content = model.graph.SerializeToString()
    content += delimited(0x2A, tensor.SerializeToString() + delimited(0x6A, entry))
    model.ClearField("graph")
    return seal_onnx(model.SerializeToString() + delimited(0x3A, content), TESTED)


def endless(model: onnx.ModelProto) -> None:
    """Make the graph refer to a graph within it that refers to a tensor that nothing computes."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["again"], ["inner"])],
        "body",
        [
            helper.make_tensor_value_info("number", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", onnx.TensorProto.BOOL, []),
        ],
        [
            helper.make_tensor_value_info("go_on", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("inner", FLOAT, None),
        ],
    )
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["again"], body=body))


def branch(name: str, tensor: onnx.TensorProto) -> onnx.GraphProto:
    nodes = [helper.make_node("Constant", [], [f"{name}.value"], value=tensor)]
    return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(f"{name}.value", FLOAT, None)])


def in_a_branch(model: onnx.ModelProto) -> None:
    """Name another file for a constant in a graph within the graph."""
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "inner")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret.bin")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    node = helper.make_node(
        "If", ["yes"], ["unused"], then_branch=branch("a", tensor), else_branch=branch("b", tensor)
    )
    model.graph.node.append(node)


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[1].input[0] = "logits"


def recursive_function(model: onnx.ModelProto) -> None:
    """Add a function that calls itself."""
    body = [helper.make_node("Again", ["x"], ["y"], domain="own")]
    model.functions.append(
        helper.make_function("own", "Again", ["x"], ["y"], body, [helper.make_opsetid("own", 1)])
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node[3].op_type, model.graph.node[3].domain = "Again", "own"


def delimited(tag: int, content: bytes) -> bytes:
    """A field of protobuf."""
    size, varint = len(content), bytearray()
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([tag, *varint, size]) + content


def nested_graphs() -> bytes:
    """A graph within an attribute of a node of a graph, and so on, deeper than protobuf reads."""
    content = b""
    for _ in range(100):
        for tag in (0x32, 0x2A, 0x0A):  # the graph of an attribute, of a node, of a graph
            content = delimited(tag, content)
    return colours_model() + delimited(0x3A, content)  # the graph of a model


def huge_constant(model: onnx.ModelProto) -> None:
    """Add a constant of 140 TB that the graph makes itself."""
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([2**45]), "size"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["huge"]))
    model.graph.node.append(helper.make_node("ReduceMax", ["huge"], ["largest"], keepdims=0))
    model.graph.node[2].output[0] = "small"
    model.graph.node.append(helper.make_node("Add", ["small", "largest"], ["logits"]))


def of_input(**fields: Any) -> bytes:
    def change(model: onnx.ModelProto) -> None:
        given = {"name": "images", "elem_type": UINT8, "shape": ["N", 16, 16, 3]} | fields
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info(**given))

    return graph(change)


def without_images(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = model.graph.node[0].input[0] = "data"


def another_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", FLOAT, [1]))


def with_unknown(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["unknown"]))
    model.graph.output.append(helper.make_tensor_value_info("unknown", FLOAT, ["N", 3]))


def weight_of(value: Any) -> bytes:
    tensor = onnx.numpy_helper.from_array(np.asarray(value, np.float32), "scale")
    return graph(lambda model: weight(model).CopyFrom(tensor))


def flipped(position: int) -> bytes:
    content = bytearray(GOOD)
    content[position] ^= 1
    return bytes(content)


def opset(version: int) -> bytes:
    return graph(lambda model: setattr(model.opset_import[0], "version", version))


WRONG_SELF_TEST = json.loads(TESTED.to_json())["self_test"]
CANNOT_RUN = "ONNX Runtime .* cannot run it"
HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # Damage.
    "empty": (lambda: b"", "not a Headstart model"),
    "half of it": (lambda: GOOD[: len(GOOD) // 2], "not a Headstart model|is damaged|cut short"),
    "one byte short": (lambda: GOOD[:-1], "is damaged"),
    "a byte too many": (lambda: GOOD + b"\0", "is damaged"),
    "twice": (lambda: GOOD + GOOD, "is damaged"),
    "first byte": (lambda: flipped(0), "is damaged"),
    "a byte in the middle": (lambda: flipped(len(GOOD) // 2), "is damaged"),
    "a digit of the checksum": (lambda: flipped(-1), "is damaged"),
    "without a description": (colours_model, "not a Headstart model"),
    "a pickle": (lambda: b"\x80\x04cos\nsystem\n(S'exit'\ntR.", "not a Headstart model"),
    "a web page": (lambda: b"<!DOCTYPE html><html>404</html>", "not a Headstart model"),
    "only a description": (lambda: seal_onnx(b"", INFO), CANNOT_RUN),
    "no protobuf": (lambda: seal_onnx(b"\xff" * 100, INFO), CANNOT_RUN),
    # The description.
    "no JSON": (lambda: described("{"), "not as Headstart writes it"),
    "JSON too deep": (lambda: described("[" * 100_000), "not as Headstart writes it"),
    "a list": (lambda: described("[]"), "not as Headstart writes it"),
    "newer format": (lambda: changed(format=10**9), "newer Headstart"),
    "format of another type": (lambda: changed(format=1.5), "format is 1.5"),
    "unknown key": (lambda: changed(run="rm"), "unexpected keyword"),
    "no task": (lambda: changed(task=None), "task"),
    "unknown task": (lambda: changed(task="segmentation"), "task is 'segmentation'"),
    "other task": (lambda: changed(task="regression"), "does not fit 3 classes and 0 targets"),
    "too few classes": (lambda: changed(class_names=["red", "green"]), r"not float32 of shape \[N, 2\]"),
    "too many classes": (lambda: changed(class_names=list("abcd")), r"not float32 of shape \[N, 4\]"),
    "the same class twice": (lambda: changed(class_names=["red", "red", "blue"]), "same name twice"),
    "classes that are no text": (lambda: changed(class_names=[1, 2, 3]), "class_names must be texts"),
    "labels without thresholds": (lambda: changed(task="multilabel"), "0 thresholds for 3 classes"),
    "thresholds that are no numbers": (
        lambda: changed(task="multilabel", thresholds=["a", 1, 1]),
        "finite numbers",
    ),
    "input of size 0": (lambda: with_preprocessing(size_px=0), "size_px"),
    "huge input": (lambda: with_preprocessing(size_px=10**9), "size_px"),
    "input of another size": (lambda: with_preprocessing(size_px=32), r"\[N, 32, 32, 3\]"),
    "steps of other preprocessing": (lambda: with_preprocessing(crop_fraction=0.5), "numbered steps"),
    "steps that are no JSON": (lambda: with_steps("["), "numbered steps"),
    "steps that are no list": (lambda: with_steps('"abcdef"'), "numbered steps"),
    "too few steps": (lambda: with_steps("[]"), "numbered steps"),
    "a negative temperature": (lambda: changed(temperatures=[-1.0]), r"temperatures is \[-1.0\]"),
    "too many temperatures": (lambda: changed(temperatures=[1.0, 2.0]), "temperatures is"),
    "threshold without its output": (lambda: changed(unknown_threshold=1.0), "no output unknown"),
    "self-test of other outputs": (
        lambda: changed(self_test=WRONG_SELF_TEST | {"seed": 2}),
        "differ from those in the file",
    ),
    "self-test of another shape": (
        lambda: changed(
            self_test=WRONG_SELF_TEST | {"outputs": {"logits": [[1.0]] * 4, "probabilities": [[1.0]] * 4}}
        ),
        "logits by inf",
    ),
    "self-test without outputs": (
        lambda: changed(self_test={"seed": 1, "outputs": {}}),
        "self-test lacks the output logits",
    ),
    "no description": (lambda: b"\x08\x08" + _onnx_seal(b"\x08\x08"), "no description"),
    "a deviation of zero": (
        lambda: changed(task="regression", class_names=[], targets=["a"], scale=[[0], [0]]),
        "scale has the deviation 0",
    ),
    "versions in a list": (lambda: changed(versions=["1"]), "versions must be"),
    "an origin that is a number": (lambda: changed(weights_from=1), "weights_from must be a text"),
    "threshold that is a text": (lambda: changed(unknown_threshold="1"), "must be finite numbers"),
    "an endless threshold": (lambda: changed(unknown_threshold=10**400), "must be finite numbers"),
    "an endless fraction": (lambda: with_preprocessing(crop_fraction=10**400), "it must be a number"),
    # The graph.
    "weights in a file": (lambda: elsewhere("secret.bin"), "names another file"),
    "weights in a file above": (lambda: elsewhere("../secret.bin"), "names another file"),
    "weights in a file of the system": (lambda: elsewhere("/etc/passwd"), "names another file"),
    "weights behind a link": (lambda: elsewhere("link.bin"), "names another file"),
    "weights in a file, in an unusual encoding": (lambda: elsewhere_in_disguise(b"secret.bin"), CANNOT_RUN),
    "weights above, in an unusual encoding": (lambda: elsewhere_in_disguise(b"../secret.bin"), CANNOT_RUN),
    "weights of the system, in an unusual encoding": (
        lambda: elsewhere_in_disguise(b"/etc/passwd"),
        CANNOT_RUN,
    ),
    "a loop that needs itself": (lambda: graph(endless), CANNOT_RUN),
    "an operator of another library": (
        lambda: graph(lambda model: setattr(model.graph.node[3], "domain", "com.example")),
        CANNOT_RUN,
    ),
    "weights of a branch in a file": (lambda: graph(in_a_branch), "names another file"),
    "a cycle": (lambda: graph(cycle), CANNOT_RUN),
    "a function that calls itself": (lambda: graph(recursive_function), CANNOT_RUN),
    "graphs in graphs": (lambda: seal_onnx(nested_graphs(), INFO), CANNOT_RUN),
    "unknown operator": (lambda: seal_onnx(colours_model("Sesame"), INFO), CANNOT_RUN),
    "newer opset": (lambda: opset(999), CANNOT_RUN),
    "weights of huge dims": (
        lambda: graph(lambda model: weight(model).dims.extend([2**40, 2**20])),
        CANNOT_RUN,
    ),
    "weights of negative dims": (lambda: graph(lambda model: weight(model).dims.extend([-5])), CANNOT_RUN),
    "fewer weights than dims": (lambda: graph(lambda model: weight(model).dims.extend([7])), CANNOT_RUN),
    "a constant of 140 TB": (lambda: graph(huge_constant), "cannot run"),
    "NaN weights": (lambda: weight_of(np.nan), "logits by nan"),
    "NaN weights without a self-test": (
        lambda: changed(
            unsealed(weight_of(np.nan)),
            self_test=None,
        ),
        "not finite numbers",
    ),
    "other weights": (lambda: weight_of(50), "differ from those in the file"),
    "no input images": (lambda: graph(without_images), "inputs are data"),
    "another input": (lambda: graph(another_input), "inputs are images, more"),
    "input of another type": (lambda: of_input(elem_type=FLOAT), "not uint8"),
    "channels first": (lambda: of_input(shape=["N", 3, 16, 16]), "not uint8 of shape"),
    "an output fewer": (lambda: graph(lambda model: model.graph.output.pop()), "no output probabilities"),
    "unknown without a threshold": (lambda: graph(with_unknown), "no unknown_threshold"),
}


def unsealed(model: bytes) -> bytes:
    """The model without its metadata."""
    whole = onnx.load_from_string(model)
    del whole.metadata_props[:]
    return bytes(whole.SerializeToString())


def test_the_good_model_passes(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(GOOD)
    assert hs.verify(path).ok


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_models_are_refused_in_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, message = HOSTILE[name]
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for place in (folder, tmp_path):
        (place / "secret.bin").write_bytes(np.float32(51).tobytes())  # would give a working model
    with contextlib.suppress(OSError, NotImplementedError):  # Windows, without the right to create links
        (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    files = sorted(each.name for each in folder.iterdir())
    path = folder / "model.onnx"
    path.write_bytes(make())
    before = hashlib.sha256(path.read_bytes()).digest()
    try:
        found = hs.verify(path)
    except hs.HeadstartError as error:
        refusal = str(error)
        assert str(path) in refusal
    else:
        assert not found.ok
        (refusal,) = found.failures
    assert re.search(message, refusal), refusal
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert sorted(each.name for each in folder.iterdir()) == sorted([*files, "model.onnx"])


def test_onnx_runtime_refuses_other_files_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(np.float32(51).tobytes())
    for location in ("secret.bin", "../secret.bin", str(tmp_path / "secret.bin")):
        with pytest.raises(Exception, match=r"(?i)external|path|file"):
            open_session(elsewhere(location), is_trial=True)
