"""``model.safetensors``: the weights in native names, a JSON of everything else, one checksum over both."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from torch import Tensor, nn

from headstart.files import write_whole
from headstart.inference.model_file import (
    HEAD,
    PLACEHOLDER,
    ModelInfo,
    open_safetensors,
    refuse_to_build,
    seal_safetensors,
)
from headstart.model.backbones import create_native, resolve
from headstart.model.head import logit_layers, replace_head
from headstart.model.stages_head import state_to_save, with_stages_head
from headstart.model.weights import create_for_head, put_head_of


def save_network(path: Path, network: nn.Module, info: ModelInfo) -> None:
    """Write a trained network, the tensors of ``state_to_save``; equal networks give equal files."""
    write_tensors(path, state_to_save(network), {"headstart": info.to_json()})


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and metadata as a sealed safetensors file, whole or not at all.

    Tensors that share memory (tied weights) are written once each: the format has no other way, and every
    name can then be loaded.
    """
    seen: set[int] = set()
    apart: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        values = tensor.detach().cpu().contiguous()
        storage = values.untyped_storage().data_ptr()
        apart[name] = values.clone() if storage in seen else values
        seen.add(storage)
    data = safetensors.torch.save(apart, {**metadata, "sha256": PLACEHOLDER})
    write_whole(path, seal_safetensors(data))


def load_network(path: Path) -> tuple[nn.Module, ModelInfo]:
    """Read a trained network, in evaluation mode.

    Raises:
        UsageError: Its network cannot be built from it.
        DamagedFileError: Any bit of the file is not as it was written.
    """
    data, metadata = open_safetensors(path)
    info = ModelInfo.from_json(metadata["headstart"])
    refuse_to_build(path, info)
    state = OrderedDict(safetensors.torch.load(data))
    is_head_alone = set(state) == set(HEAD)
    native = create_for_head(path, info)[0] if is_head_alone else create_native(resolve(info.backbone))
    if info.head == "stages":
        return _with_stages(native, state, info), info
    network = put_head_of(native, info)
    if is_head_alone:
        whole = network.state_dict()
        whole.update(zip(list(whole)[-2:], (state[name] for name in HEAD), strict=True))
        state = OrderedDict(whole)
    # The format has no place for the layers' versions, which torchvision's MNASNet asks for.
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(state, strict=True)
    return network.eval(), info


def _with_stages(native: nn.Module, state: Mapping[str, Tensor], info: ModelInfo) -> nn.Module:
    """Return a network whose head reads several stages, with weights as ``state_to_save`` names them."""
    replace_head(native, info.num_outputs)
    own = native.state_dict()
    of_heads = logit_layers(native)
    for name, tensor in state.items():
        if name in own and name.rpartition(".")[0] not in of_heads:
            own[name] = tensor
    native.load_state_dict(own, strict=True)
    names = [stage.removeprefix("stage.") for stage in info.stages]
    network = with_stages_head(native, info.preprocessing.size_px, names)
    assert network is not None  # it had this head
    weight, bias = (state[name] for name in HEAD)
    network.head.linear.load_state_dict({"weight": weight, "bias": bias})
    return network.eval()
