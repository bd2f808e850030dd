"""A user's ONNX file as a backbone: every form that is taken, and what is refused, with its message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from headstart.errors import DamagedFileError, HeadstartError, NetworkError, UnknownBackboneError
from headstart.frozen.onnx_file.check import check_on_photos
from headstart.frozen.onnx_file.open import open_backbone
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.runtime import open_session

SIDE = 16
HALF: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
PHOTOS = np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)
PHOTOS[1] //= 4
FLOAT, HALF_FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT64
NEWEST = onnx.defs.onnx_opset_version()


def random(*shape: int, kind: type = np.float32) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(kind)


def network(
    layout: str = "NCHW",
    kind: int = FLOAT,
    shape: str = "vector",
    *,
    sides: tuple[Any, Any] = (SIDE, SIDE),
    channels: Any = 3,
    batch: Any = "batch",
    pinned: bool = False,
    opset: int = 17,
    output: str = "out",
    inputs: tuple[onnx.ValueInfoProto, ...] = (),
    extra: tuple[onnx.NodeProto, ...] = (),
    outputs: tuple[onnx.ValueInfoProto, ...] = (),
    num: int = 8,
    image: str = "x",
) -> onnx.ModelProto:
    """A convolution with what its input and output need: a small feature extractor in any form."""
    wide = np.float16 if kind == HALF_FLOAT else np.float32
    weights = {"w": random(num, 3, 4, 4, kind=wide), "b": random(num, kind=wide)}
    nodes, at = [], image
    if kind == UINT8:
        nodes += [
            helper.make_node("Cast", [at], ["float"], to=FLOAT),
            helper.make_node("Mul", ["float", "scale"], ["small"]),
        ]
        weights["scale"], at = np.float32([1 / 127.5]), "small"
    if layout == "NHWC":
        nodes.append(helper.make_node("Transpose", [at], ["first"], perm=[0, 3, 1, 2]))
        at = "first"
    nodes += [
        helper.make_node("Conv", [at, "w", "b"], ["conv"], strides=[4, 4]),
        helper.make_node("Relu", ["conv"], ["map"]),
    ]
    end = "map"
    if shape == "map_last":
        nodes.append(helper.make_node("Transpose", ["map"], ["last"], perm=[0, 2, 3, 1]))
        end = "last"
    if shape in ("vector", "tokens", "grid"):
        weights["to"] = np.array([1 if pinned else 0, num, -1], np.int64)
        nodes.append(helper.make_node("Reshape", ["map", "to"], ["flat"]))
        nodes.append(helper.make_node("Transpose", ["flat"], ["cells"], perm=[0, 2, 1]))
        end = "cells"
    if shape == "tokens":
        nodes.append(helper.make_node("Slice", ["cells", "from", "till", "axis"], ["token"]))
        nodes.append(helper.make_node("Concat", ["token", "cells"], ["tokens"], axis=1))
        weights |= {n: np.array([v], np.int64) for n, v in (("from", 3), ("till", 4), ("axis", 1))}
        end = "tokens"
    if shape == "vector":
        weights["second"] = np.array(1, np.int64)
        nodes.append(helper.make_node("Gather", ["cells", "second"], ["vector"], axis=1))
        end = "vector"
    nodes.append(helper.make_node("Identity", [end], [output]))
    dims = [batch, channels, *sides] if layout == "NCHW" else [batch, *sides, channels]
    graph = helper.make_graph(
        [*nodes, *extra],
        "net",
        [helper.make_tensor_value_info(image, kind, dims), *inputs],
        [helper.make_empty_tensor_value_info(output) if not outputs else outputs[0], *outputs[1:]],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", min(opset, 17))])
    return model


def saved(model: onnx.ModelProto, folder: Path, name: str = "net.onnx") -> Path:
    (path := folder / name).write_bytes(model.SerializeToString())
    return path


def features_of(graph: bytes, photos: np.ndarray = PHOTOS) -> np.ndarray:
    return np.asarray(open_session(graph).run(None, {"images": photos})[0])


def expected(model: onnx.ModelProto, layout: str, kind: int, output: str = "out") -> np.ndarray:
    """What the file itself computes of each photo alone, from pixels that are normalised by hand."""
    inputs = PHOTOS if kind == UINT8 else (PHOTOS.astype(np.float32) / 255 - 0.5) / 0.5
    inputs = inputs.transpose(0, 3, 1, 2) if layout == "NCHW" else inputs
    inputs = inputs.astype({FLOAT: np.float32, HALF_FLOAT: np.float16, UINT8: np.uint8}[kind])
    session = open_session(model.SerializeToString())
    rows = [session.run([output], {session.get_inputs()[0].name: each[None]})[0] for each in inputs]
    return np.concatenate(rows).astype(np.float32)


POOLED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "vector": lambda out: out,
    "tokens": lambda out: out[:, 0],
    "grid": lambda out: out.mean(axis=1),
    "map": lambda out: out.mean(axis=(2, 3)),
    "map_last": lambda out: out.mean(axis=(1, 2)),
}


@pytest.mark.parametrize("shape", POOLED)
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"layout": "NHWC", "sides": ("h", "w")},
        {"layout": "NHWC", "kind": UINT8},
        {"kind": HALF_FLOAT},
        {"channels": "c", "sides": ("h", "w")},
        {"opset": 11},
        {"opset": 9},
        {"opset": 18},
        {"opset": NEWEST},
        {"batch": 1},
        {"batch": 1, "pinned": True},
        {"batch": 1, "pinned": True, "opset": 11},
        {"batch": "n", "pinned": True, "opset": NEWEST},
        {"image": "images", "output": "activations"},
    ],
    ids=str,
)
def test_every_form_gives_the_features_that_the_file_computes(
    form: dict[str, Any], shape: str, tmp_path: Path
) -> None:
    if shape == "tokens" and form.get("opset") == 9:
        return  # in which Slice has no such inputs
    model = network(**form, shape=shape)
    layout, kind = form.get("layout", "NCHW"), form.get("kind", FLOAT)
    options = {} if kind == UINT8 else HALF
    size_px = SIDE if "sides" in form else None
    backbone = open_backbone(saved(model, tmp_path), size_px=size_px, say=lambda _: None, **options)
    wanted = POOLED[shape](expected(model, layout, kind, form.get("output", "out")))
    features = features_of(backbone.graph)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, wanted, atol=4e-3 if kind == HALF_FLOAT else 1e-5)
    assert (backbone.num_features, backbone.preprocessing.size_px) == (8, SIDE)
    assert backbone.is_file
    assert backbone.name == "net.onnx"


def test_equal_files_and_options_give_equal_graphs_and_others_do_not(tmp_path: Path) -> None:
    path = saved(network(), tmp_path)
    first, again = (open_backbone(path, say=lambda _: None) for _ in range(2))
    other = open_backbone(path, say=lambda _: None, **HALF)
    assert first == again
    assert first.function == again.function != other.function
    assert first.weights == other.weights


def value(name: str, kind: int, *dims: Any) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


@pytest.mark.parametrize(
    ("outputs", "chosen"),
    [
        (("last_hidden_state", "pooler_output"), "pooler_output"),
        (("logits_per_image", "text_embeds", "image_embeds"), "image_embeds"),
        (("logits", "last_hidden_state", "other"), "last_hidden_state"),
        (("logits", "anything"), "anything"),
    ],
)
def test_of_several_outputs_the_pooled_features_are_taken_and_it_is_reported(
    outputs: tuple[str, ...], chosen: str, tmp_path: Path
) -> None:
    dims = {"other": 3, "last_hidden_state": 3}
    model = network(
        extra=tuple(helper.make_node("Mul", ["out", f"k{i}"], [n]) for i, n in enumerate(outputs)),
        outputs=tuple(value(name, FLOAT, *["n"] * dims.get(name, 2)) for name in outputs),
    )
    factors = [numpy_helper.from_array(np.float32([i + 2]), f"k{i}") for i in range(len(outputs))]
    model.graph.initializer.extend(factors)
    for each in model.graph.output:
        each.type.tensor_type.ClearField("shape") if each.name in dims else None
    said: list[str] = []
    backbone = open_backbone(saved(model, tmp_path), say=said.append, **HALF)
    wanted = expected(model, "NCHW", FLOAT, chosen)
    np.testing.assert_allclose(features_of(backbone.graph), wanted, atol=1e-4)
    assert f"{chosen} is taken" in said[0]


def test_inputs_that_the_features_do_not_need_are_left_out(tmp_path: Path) -> None:
    model = network(
        inputs=(value("input_ids", INT64, "n", "t"),),
        extra=(helper.make_node("Identity", ["input_ids"], ["text_embeds"]),),
        outputs=(value("text_embeds", INT64, "n", "t"), value("out", FLOAT, "n", 8)),
    )
    path = saved(model, tmp_path)
    assert open_backbone(path, output_name="out", say=lambda _: None).num_features == 8


def test_guesses_are_reported(tmp_path: Path) -> None:
    said: list[str] = []
    open_backbone(saved(network(sides=("h", "w"), shape="map"), tmp_path), say=said.append)
    assert [text for text in said if "224 pixels are taken. To change it: --size-px" in text]
    assert [text for text in said if "the mean over its 56 × 56 positions is taken" in text]
    assert [text for text in said if "ImageNet's mean 0.485,0.456,0.406 and std" in text]


# External data.


def with_external_data(folder: Path, location: str = "net.data") -> Path:
    model = network()
    (weights,) = (each for each in model.graph.initializer if each.name == "w")
    (folder / "net.data").write_bytes(b"\0" * 64 + weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, "offset": "64", "length": str(8 * 48 * 4)}.items():
        weights.external_data.add(key=key, value=text)
    return saved(model, folder)


def test_external_data_beside_the_file_become_a_part_of_the_graph(tmp_path: Path) -> None:
    inside = open_backbone(saved(network(), tmp_path, "inside.onnx"), say=lambda _: None)
    backbone = open_backbone(with_external_data(tmp_path), say=lambda _: None)
    assert backbone.graph == inside.graph
    (tmp_path / "net.data").write_bytes(b"\1" * 64 + (tmp_path / "net.data").read_bytes()[64:])
    assert open_backbone(tmp_path / "net.onnx", say=lambda _: None).weights != backbone.weights


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../net.data", "outside its folder"),
        ("/etc/hostname", "outside its folder"),
        ("C:\\net.data", "outside its folder"),
        ("..\\net.data", "outside its folder"),
        ("", "outside its folder"),
        ("link.data", "a symbolic link to a place outside its folder"),
        ("missing.data", "Put it there"),
        ("short.data", "is cut short: it should have at least 1,600 bytes"),
    ],
)
def test_external_data_from_elsewhere_are_refused(location: str, message: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "net.data").write_bytes(bytes(2000))
    (folder / "short.data").write_bytes(bytes(100))
    if hasattr(os, "symlink"):
        (folder / "link.data").symlink_to(tmp_path / "net.data")
    with pytest.raises(NetworkError, match=message) as caught:
        open_backbone(with_external_data(folder, location))
    assert "net.onnx" in str(caught.value)


# What is refused.

SOFTMAX = (helper.make_node("Softmax", ["out"], ["p"]),)
LINEAR = (helper.make_node("MatMul", ["vector", "many"], ["answers"]),)


def with_initializer(model: onnx.ModelProto, name: str, values: np.ndarray) -> onnx.ModelProto:
    model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


def classifier(num: int, output: str = "answers") -> onnx.ModelProto:
    model = network(
        extra=(helper.make_node("MatMul", ["vector", "many"], [output]),),
        outputs=(value(output, FLOAT, "n", num),),
    )
    return with_initializer(model, "many", random(8, num))


def text_model() -> onnx.ModelProto:
    inputs = [value("input_ids", INT64, "n", "t"), value("attention_mask", INT64, "n", "t")]
    nodes = [helper.make_node("Add", ["input_ids", "attention_mask"], ["pooler_output"])]
    graph = helper.make_graph(nodes, "text", inputs, [value("pooler_output", INT64, "n", "t")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def training_mode() -> onnx.ModelProto:
    norm = helper.make_node(
        "ReduceMean", ["conv"], ["of_batch"], axes=[0], keepdims=1
    )  # what a batch norm in training mode does
    less = helper.make_node("Sub", ["conv", "of_batch"], ["centred"])
    pool = helper.make_node("GlobalAveragePool", ["centred"], ["gap"])
    return network(extra=(norm, less, pool), outputs=(value("gap", FLOAT, "n", 8, 1, 1),))


def fixed_batch() -> onnx.ModelProto:
    model = network(batch=4)
    (to,) = (each for each in model.graph.initializer if each.name == "to")
    to.CopyFrom(numpy_helper.from_array(np.array([4, 8, -1], np.int64), "to"))
    return model


def own_domain() -> onnx.ModelProto:
    model = network(
        extra=(helper.make_node("Foo", ["out"], ["foo"], domain="my.ops"),), outputs=(value("foo", FLOAT),)
    )
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    return model


def newer(**versions: int) -> onnx.ModelProto:
    model = network()
    model.ir_version = versions.get("ir", model.ir_version)
    model.opset_import[0].version = versions.get("opset", 17)
    return model


WRONG: list[tuple[str, Any, dict[str, Any], str]] = [
    ("empty", b"", {}, "is empty"),
    ("zip", b"PK\x03\x04abc", {}, "a zip archive, as PyTorch writes .pth"),
    ("pickle", b"\x80\x02abc", {}, "a pickle, as PyTorch writes older .pth"),
    ("page", b"\n<!DOCTYPE html><html>", {}, "a web page"),
    ("pointer", b"version https://git-lfs.github.com/spec/v1", {}, "has not been downloaded"),
    ("noise", b"\x12\x34\x99garbage", {}, "is not an ONNX model"),
    ("nothing", onnx.ModelProto(ir_version=8), {}, "it contains no network"),
    ("cut short", network().SerializeToString()[:600], {}, "damaged or cut short|it contains no network"),
    ("text", text_model(), {}, "is a text model: its input is input_ids \\(n, t\\) int64"),
    (
        "two images",
        network(
            inputs=(value("y", FLOAT, 1, 3, 16, 16),),
            extra=(helper.make_node("Add", ["map", "y"], ["z"]),),
            outputs=(value("z", FLOAT),),
        ),
        {},
        "takes several images",
    ),
    (
        "mask",
        network(
            inputs=(value("mask", FLOAT, "n", 8),),
            extra=(helper.make_node("Add", ["out", "mask"], ["z"]),),
            outputs=(value("z", FLOAT),),
        ),
        {},
        "more than photos .*Export the image encoder alone",
    ),
    ("grey", network(channels=1), {}, "does not take photos of three channels"),
    ("not square", network(sides=(16, 32)), {}, "not square: its input is x \\(batch, 3, 16, 32\\) float"),
    ("int", network(kind=TensorProto.INT32), {}, "takes photos as int32; it must be float32"),
    ("logits", classifier(5, "logits"), {}, "its output logits is \\(N, 5\\).*--output-name vector"),
    ("thousand", classifier(1000), {}, "its output answers is \\(N, 1000\\).*--output-name vector"),
    ("softmax", network(extra=SOFTMAX, outputs=(value("p", FLOAT, "n", 8),)), {}, "is a classifier"),
    (
        "several",
        network(
            extra=(helper.make_node("Neg", ["map"], ["b"]), helper.make_node("Abs", ["map"], ["a"])),
            outputs=(value("a", FLOAT, 1, 2, 3, 4), value("b", FLOAT, 1, 2, 3, 4)),
        ),
        {},
        "several outputs.*Choose one with --output-name",
    ),
    ("no tensor", network(), {"output_name": "vectr"}, "no such tensor. Did you mean 'vector'"),
    ("other size", network(), {"size_px": 32}, "size_px is 32, but net.onnx takes photos of 16 pixels"),
    (
        "uint8 and mean",
        network(kind=UINT8),
        {"mean": (0.5, 0.5, 0.5)},
        "takes photos as uint8, so that normalisation is a part",
    ),
    ("operator", own_domain(), {}, "uses the operator my.ops:Foo, which ONNX Runtime"),
    (
        "unknown operator",
        network(extra=(helper.make_node("Foo", ["out"], ["foo"]),), outputs=(value("foo", FLOAT),)),
        {},
        "uses the operator Foo",
    ),
    ("opset", newer(opset=999), {}, "operators ai.onnx 999; IR .*does not read"),
    ("ir", newer(ir=999), {}, "IR 999.*does not read. Export it with an older opset"),
    (
        "training mode",
        training_mode(),
        {},
        "as a network in training mode does. Export it in evaluation mode",
    ),
    ("batch of four", fixed_batch(), {}, "takes a batch of fixed size.*dynamic_axes"),
    (
        "shape",
        network(
            extra=(helper.make_node("ReduceMax", ["out"], ["one"], axes=[1]),), outputs=(value("one", FLOAT),)
        ),
        {},
        "is \\(N, 1\\); features are",
    ),
    (
        "integers",
        network(
            extra=(helper.make_node("Cast", ["out"], ["whole"], to=INT64),), outputs=(value("whole", INT64),)
        ),
        {},
        "is int64, not features",
    ),
    (
        "constant",
        with_initializer(
            network(extra=(helper.make_node("Identity", ["c"], ["e"]),), outputs=(value("e", FLOAT),)),
            "c",
            random(2, 8),
        ),
        {},
        "depends on no input",
    ),
]


@pytest.mark.parametrize(
    ("content", "options", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_what_is_no_feature_extractor_for_photos_is_refused_with_the_reason(
    content: bytes | onnx.ModelProto, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.SerializeToString())
    with pytest.raises(HeadstartError, match=message) as caught:
        open_backbone(path, say=lambda _: None, **options)
    assert caught.value.exit_code == 2
    assert "net.onnx" in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackboneError, match=r"There is no file .*net\.onnx"):
        open_backbone(tmp_path / "net.onnx")


def test_a_size_that_the_file_does_not_take_is_refused_with_one_that_it_takes(tmp_path: Path) -> None:
    model = network(sides=("h", "w"))
    to = next(each for each in model.graph.initializer if each.name == "to")
    to.CopyFrom(numpy_helper.from_array(np.array([0, 8, 64 * 64], np.int64), "to"))  # of 256 pixels
    with pytest.raises(NetworkError, match=r"of 224 pixels\. It takes 256: add --size-px 256"):
        open_backbone(saved(model, tmp_path))


def test_an_input_that_runs_in_both_layouts_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["out"])],
        "net",
        [value("x", FLOAT, "a", "b", "c", "d")],
        [value("out", FLOAT)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(NetworkError, match="channels come first or last, and runs with both"):
        open_backbone(saved(model, tmp_path), size_px=16)


def test_few_numbers_from_a_linear_layer_are_taken_with_a_warning(tmp_path: Path) -> None:
    said: list[str] = []
    open_backbone(saved(classifier(5), tmp_path), say=said.append)
    assert [
        text for text in said if "may be a classifier's answers" in text and "--output-name vector" in text
    ]


def test_answers_are_taken_where_they_are_asked_for(tmp_path: Path) -> None:
    backbone = open_backbone(saved(classifier(1000), tmp_path), output_name="answers", say=lambda _: None)
    assert backbone.num_features == 1000


# Headstart's own model files.


def trained(task: str = "classification", head: str = "linear") -> bytes:
    preprocessing = Preprocessing(size_px=SIDE, crop_fraction=0.9, interpolation="lanczos")
    info = ModelInfo(task, "resnet18.IMAGENET1K_V1", tuple("abcde"), preprocessing, head=head)
    model = network(
        "NHWC",
        UINT8,
        image="images",
        extra=(
            helper.make_node("MatMul", ["vector", "many"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ),
        outputs=(value("logits", FLOAT, "n", 5), value("probabilities", FLOAT, "n", 5)),
    )
    return seal_onnx(with_initializer(model, "many", random(8, 5)).SerializeToString(), info)


def test_a_model_of_our_own_gives_the_input_of_its_head_and_its_preprocessing(tmp_path: Path) -> None:
    (path := tmp_path / "model.onnx").write_bytes(trained())
    backbone = open_backbone(path, say=lambda _: None)
    assert backbone.preprocessing == Preprocessing(size_px=SIDE, crop_fraction=0.9, interpolation="lanczos")
    wanted = expected(onnx.load_from_string(trained()), "NHWC", UINT8, "logits")
    np.testing.assert_allclose(features_of(backbone.graph) @ random(8, 5), wanted, atol=1e-5)


def test_a_model_of_our_own_without_features_or_damaged_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "model.onnx").write_bytes(trained("box", "spatial"))
    with pytest.raises(NetworkError, match=r"trained from: resnet18\.IMAGENET1K_V1"):
        open_backbone(path)
    path.write_bytes(trained().replace(b"resnet18", b"resnet19"))
    with pytest.raises(DamagedFileError):
        open_backbone(path)


# On photos.


def lifted(by: float) -> onnx.ModelProto:
    """A network that sees differences in its input only as far as they are large."""
    model = network(shape="map")
    bias = next(each for each in model.graph.initializer if each.name == "b")
    bias.CopyFrom(numpy_helper.from_array(np.full(8, by, np.float32), "b"))
    return model


def test_a_wrong_scale_is_noticed_on_photos_and_the_right_one_named(tmp_path: Path) -> None:
    path = saved(lifted(50), tmp_path)
    said: list[str] = []
    check_on_photos(open_backbone(path, say=lambda _: None), PHOTOS, said.append)
    assert len(said) == 1
    assert "Try --mean 0,0,0 --std 0.00392157,0.00392157,0.00392157" in said[0]
    zero, scale = (0.0, 0.0, 0.0), (0.00392157,) * 3
    check_on_photos(open_backbone(path, mean=zero, std=scale, say=lambda _: None), PHOTOS, said.append)
    check_on_photos(open_backbone(saved(lifted(0), tmp_path), say=lambda _: None), PHOTOS, said.append)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (helper.make_node("Mul", ["out", "zero"], ["end"]), "the same features for 5 different photos"),
        (helper.make_node("Log", ["out"], ["end"]), "not finite for . of 5 photos"),
    ],
)
def test_features_that_are_of_no_use_are_refused_on_photos(
    extra: onnx.NodeProto, message: str, tmp_path: Path
) -> None:
    model = network(kind=UINT8, extra=(extra,), outputs=(value("end", FLOAT, "n", 8),))
    path = saved(with_initializer(model, "zero", np.float32([0])), tmp_path)
    with pytest.raises(NetworkError, match=message):
        check_on_photos(open_backbone(path, say=lambda _: None), PHOTOS)
