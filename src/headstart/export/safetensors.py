"""``model.safetensors``: the weights in native names, a JSON of everything else, one checksum over both."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import safetensors.torch
from torch import nn

from headstart.files import write_whole
from headstart.model.backbones import create_native, resolve
from headstart.model.head import replace_head
from headstart.model_file import PLACEHOLDER, ModelInfo, open_safetensors, seal_safetensors


def save_network(path: Path, network: nn.Module, info: ModelInfo) -> None:
    """Write a trained network; equal networks give equal files."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"headstart": info.to_json(), "sha256": PLACEHOLDER}
    write_whole(path, seal_safetensors(safetensors.torch.save(tensors, metadata)))


def load_network(path: Path) -> tuple[nn.Module, ModelInfo]:
    """Read a trained network, in evaluation mode.

    Raises:
        DamagedFileError: Any bit of the file is not as it was written.
    """
    data, metadata = open_safetensors(path)
    info = ModelInfo.from_json(metadata["headstart"])
    network = replace_head(create_native(resolve(info.backbone)), len(info.class_names))
    state = OrderedDict(safetensors.torch.load(data))
    # The format has no place for the layers' versions, which torchvision's MNASNet asks for.
    state._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(state, strict=True)
    return network.eval(), info
