"""Loads pretrained weights from a file, an installed package, a cache or a download, in this order.

If the SHA-256 of a file is known (a package states it; torchvision and timm put its first digits into the
file name; the Hugging Face cache names files by it), the file is hashed every time it is loaded. torchvision
itself hashes only downloads, so damage in its cache would go unnoticed.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from headstart import tasks
from headstart.errors import DamagedFileError, WeightsError, WeightsFileError
from headstart.frozen.backbones import ListedBackbone
from headstart.inference.model_file import HEAD, ModelInfo, open_safetensors
from headstart.model import libraries
from headstart.model.backbones import Backbone, create_native, every, listed, resolve
from headstart.model.head import logit_layers, put_head
from headstart.model.state_dict import load_state_dict, parse_state_dict, renamed_by_order
from headstart.weight_files import (
    WeightsFile,
    WeightsSource,
    efficientnet_lite0_package,  # noqa: F401  # where the entry point of an older installation looks for it
    file_of_user,
    in_packages,
    install_command,
    read_weights,
)

_OF_THE_DISK = {errno.EROFS, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # the preferred one first, as in timm


def create_pretrained(
    backbone: Backbone, weights: str | os.PathLike[str] = "default"
) -> tuple[nn.Module, WeightsSource]:
    """Build the native network with its pretrained head, and load its weights.

    Args:
        backbone: The backbone to build.
        weights: ``"default"`` for the official weights of the backbone's tag; ``"random"`` for random weights
            (which depend on ``torch.manual_seed``); a run folder, or its ``model.safetensors``, for the
            backbone of the run without its head; or a file of tensors: ``.safetensors``, or ``.pth`` with a
            state dict, alone or in a checkpoint, from which averaged weights are preferred. Prefixes of
            wrapper classes are removed. If the file has no head, or one with another number of classes, the
            network's head stays random, and ``note`` says so.

    Returns:
        The network in training mode, as its library returns it, and the origin of the weights.

    Raises:
        WeightsError: The weights are not available, or belong to another network.
        DamagedFileError: The file does not have the SHA-256 that its name or package states.
    """
    if weights == "random":
        return create_native(backbone), WeightsSource("random")
    if weights != "default":
        return _create_from_users_file(backbone, os.fspath(weights))
    file = _on_this_machine(backbone, in_packages()) or _download(backbone)
    state_dict, sha256, _ = _read(file.path, file.digest, file.remedy)
    if backbone.library == "timm" and file.keys == "names":
        network = _create_by_timm(backbone, state_dict, file.path)
    else:
        network = create_native(backbone)
        if file.keys == "order":
            state_dict = renamed_by_order(state_dict, network, file.path)
        load_state_dict(network, state_dict, path=file.path, full_name=backbone.full_name)
    licence = backbone.licence or file.licence
    return network, WeightsSource(file.kind, file.path, sha256, licence=licence)


def where(backbone: Backbone) -> WeightsSource | None:
    """Return where the official weights are on this machine, or None, without reading or hashing them."""
    file = _on_this_machine(backbone, in_packages())
    return WeightsSource(file.kind, file.path) if file else None


def installed() -> list[str]:
    """Return the full names of all backbones whose weights are on this machine, sorted."""
    packages = in_packages()
    return sorted(backbone.full_name for backbone in every() if _on_this_machine(backbone, packages))


def listing() -> list[ListedBackbone]:
    """Return the rows of ``headstart backbones``: the usual networks, and the origin of their weights."""
    packages = in_packages()
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


# Finding


def _on_this_machine(backbone: Backbone, packages: Mapping[str, WeightsFile]) -> WeightsFile | None:
    if package := packages.get(backbone.full_name):
        return package
    if backbone.hub_id:
        from huggingface_hub import try_to_load_from_cache

        for name in _HUB_FILES:
            path = try_to_load_from_cache(backbone.hub_id, name)
            if isinstance(path, str):
                return _file_of_hub("cache", path)
    elif backbone.file_name and (path := _torch_cache() / backbone.file_name).is_file():
        return WeightsFile("cache", str(path), backbone.digest)
    return None


def _download(backbone: Backbone) -> WeightsFile:
    """Download the official weights into the library's own cache, with progress on standard error."""
    if backbone.hub_id:
        return _download_from_hub(backbone, backbone.hub_id)
    if not backbone.url or not backbone.file_name:
        raise _not_here(backbone, "and they are not available for download")
    path = _torch_cache() / backbone.file_name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(backbone.url, str(path), hash_prefix=backbone.digest)
    except RuntimeError as error:  # torch's word for a wrong hash; it has kept nothing
        raise DamagedFileError(
            f"What came from {backbone.url} does not have the SHA-256 in its name, and was deleted: "
            f"{error}. Try again; if the error persists, the download is being modified."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        if why := _why_not_stored(error, path.parent, "TORCH_HOME"):
            raise _not_here(backbone, why) from error
        raise _not_here(backbone, f"and {backbone.url} cannot be downloaded ({_reason(error)})") from error
    return WeightsFile("download", str(path), backbone.digest)


def _download_from_hub(backbone: Backbone, hub_id: str) -> WeightsFile:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for name in _HUB_FILES:
        try:
            return _file_of_hub("download", hf_hub_download(hub_id, name))
        except Exception as error:  # its own, the system's, or those of whichever HTTP library it uses
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                continue  # the repository has no file of this name; the local one means: not reached
            variable = "HF_HUB_CACHE" if "HF_HUB_CACHE" in os.environ else "HF_HOME"
            if why := _why_not_stored(error, constants.HF_HUB_CACHE, variable):
                raise _not_here(backbone, why) from error
            raise _not_here(backbone, f"and {hub_id} cannot be downloaded ({_reason(error)})") from error
    raise _not_here(backbone, f"and {hub_id} has neither {' nor '.join(_HUB_FILES)}")


def _file_of_hub(kind: Literal["cache", "download"], path: str) -> WeightsFile:
    """Return a file of the Hugging Face cache: a link to a file named by SHA-256 (small files: git hash)."""
    blob = Path(path).resolve()
    digest = blob.name if re.fullmatch("[0-9a-f]{64}", blob.name) else None
    return WeightsFile(kind, path, digest, remedy=f"Delete {blob}, and it will be downloaded again.")


def _torch_cache() -> Path:
    """Return ``weight_files.torch_cache``, unless a program has called ``torch.hub.set_dir``."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _why_not_stored(error: Exception, folder: str | os.PathLike[str], variable: str) -> str:
    """Return that a download cannot be stored, and what to set, in words; empty for errors of the network."""
    kinds = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)
    if not isinstance(error, kinds) and not (isinstance(error, OSError) and error.errno in _OF_THE_DISK):
        return ""
    return (
        f"and cannot be stored in {os.fspath(folder)} ({error.strerror or error}). Set the environment "
        f"variable {variable} to a folder that can be written to and has room"
    )


def _not_here(backbone: Backbone, why: str) -> WeightsError:
    command = install_command(backbone.full_name)
    return WeightsError(
        f"The weights {backbone.full_name} are not on this machine, {why}.\n"
        f"On this machine: {', '.join(installed()) or 'none'}.\n"
        "Use a backbone from this list; or name a file (--weights FILE); or install a package that "
        f"contains the weights{command and f' ({command})'}; or start from random weights (--weights random)."
    )


# Reading and loading


def _read(path: str, digest: str | None, remedy: str) -> tuple[OrderedDict[str, Tensor], str, str]:
    """Read and verify a file.

    Returns:
        Its tensors, its SHA-256, and which of several state dicts they are.
    """
    data, sha256 = read_weights(path, digest, remedy)
    state_dict, place = parse_state_dict(data, path)
    return state_dict, sha256, place


def _create_by_timm(backbone: Backbone, state_dict: dict[str, Tensor], path: str) -> nn.Module:
    """Let timm load its own official weights, with its rules and conversions for each network."""
    timm = libraries.timm()
    with torch.random.fork_rng(devices=[]):
        try:
            network: nn.Module = timm.create_model(
                backbone.timm_name, pretrained=True, pretrained_cfg_overlay={"state_dict": state_dict}
            )
        except Exception as error:  # of torch's, or the network's own conversion
            raise WeightsError(
                f"{path} cannot be loaded as {backbone.full_name}: {_reason(error)}."
            ) from error
    network.pretrained_cfg.pop("state_dict")  # type: ignore[union-attr, operator]
    return network


def _create_from_users_file(backbone: Backbone, weights: str) -> tuple[nn.Module, WeightsSource]:
    path, info = file_of_user(weights, backbone.full_name)
    if info:
        return _create_from_run(backbone, path, info)
    official = Path(path).name == backbone.file_name
    state_dict, sha256, place = _read(
        path, backbone.digest if official else None, "Download or copy it again."
    )
    network = create_native(backbone)
    note = load_state_dict(network, state_dict, path=path, full_name=backbone.full_name, any_head=True)
    note = ", ".join(part for part in (f"(of several: {place})" if place else "", note) if part)
    return network, WeightsSource("file", path, sha256, note)


def create_for_head(path: str | os.PathLike[str], info: ModelInfo) -> tuple[nn.Module, WeightsSource]:
    """Build the network of a probe whose file contains only the head, with the official weights.

    Args:
        path: Path of the file, for messages.
        info: Description in the file.

    Raises:
        WeightsFileError: The weights are not on this machine, or differ from those of the run.
    """
    network, source = create_pretrained(resolve(info.backbone))
    if source.sha256 != info.weights:
        raise WeightsFileError(
            f"{os.fsdecode(path)} contains only a head, and the weights of {info.backbone} on this machine "
            f"({source}) are not those that it was trained on, with SHA-256 {info.weights[:12]}. Name the "
            f"file that they came from, instead of the run: --weights FILE"
        )
    return network, source


def put_head_of(network: nn.Module, info: ModelInfo) -> nn.Module:
    """Put a head as in a model file onto a native network; its weights are not the file's yet."""
    return put_head(
        network,
        info.head,  # type: ignore[arg-type]  # the file has been verified
        info.num_outputs,
        is_box=tasks.of(info.task).has_box,
        size_px=info.preprocessing.size_px,
    )


def _create_from_run(backbone: Backbone, path: str, info: ModelInfo) -> tuple[nn.Module, WeightsSource]:
    """Return the backbone of a run without its head, because the new task has another one."""
    data, _ = open_safetensors(path)  # verifies the checksum
    state = safetensors.torch.load(data)
    if set(state) == set(HEAD):
        return create_for_head(path, info)
    network = create_native(backbone)
    if info.head == "stages":  # the native head may be in the file, and is not part of the model
        of_heads = logit_layers(network)
        own = {n: each for n, each in network.state_dict().items() if n.rpartition(".")[0] in of_heads}
        native_state = own | {name: tensor for name, tensor in state.items() if name not in HEAD}
        load_state_dict(network, native_state, path=path, full_name=backbone.full_name)
        return network, WeightsSource("file", path, hashlib.sha256(data).hexdigest(), "without its head")
    with_head = put_head_of(network, info)
    load_state_dict(with_head, state, path=path, full_name=f"{backbone.full_name} with its head")
    if with_head is network:  # it has another number of outputs now
        native = create_native(backbone)
        load_state_dict(native, network.state_dict(), path=path, full_name=backbone.full_name, any_head=True)
        network = native
    return network, WeightsSource("file", path, hashlib.sha256(data).hexdigest(), "without its head")


def _reason(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
