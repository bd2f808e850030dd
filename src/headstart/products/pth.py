"""A ``.pth`` state dict in native names, and the lines of plain torchvision or timm that load it."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from headstart.files import write_whole
from headstart.inference.model_file import refuse_native
from headstart.model.backbones import native_lines, resolve
from headstart.products.safetensors import load_network


def write_pth(model: Path, out: Path) -> str:
    """Write a trained model's state dict.

    Args:
        model: A ``model.safetensors``.
        out: The file to write.

    Returns:
        Python lines that load the file without Headstart, and prepare an image for it.

    Raises:
        UsageError: The head has no place in the native network, or is a user's own.
    """
    network, info = load_network(model)
    refuse_native(model, info)
    memory = io.BytesIO()  # torch turns a full disk into an error of its own
    torch.save(network.state_dict(), memory)
    write_whole(out, memory.getvalue())
    return native_lines(resolve(info.backbone), info.num_outputs, path=str(out))
