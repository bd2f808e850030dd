"""Checkpoints: the trained part of a network on disk, sealed by a checksum over everything in the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from headstart.files import write_whole
from headstart.model_file import PLACEHOLDER, open_safetensors, seal_safetensors


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors, and a JSON of where training stood, whole or not at all."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"headstart": json.dumps(state, sort_keys=True), "sha256": PLACEHOLDER}
    write_whole(path, seal_safetensors(safetensors.torch.save(contiguous, metadata)))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        DamagedFileError: Any bit of the file is not as it was written.
    """
    data, metadata = open_safetensors(path)
    return safetensors.torch.load(data), json.loads(metadata["headstart"])
