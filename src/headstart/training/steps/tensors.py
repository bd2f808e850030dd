"""State as a flat dictionary of named tensors, for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from headstart.errors import RunFolderError

_MOST_NAMED = 3


def copy_strictly(source: Mapping[str, Tensor], target: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors of a checkpoint into existing tensors, bit for bit; on an error, none is changed.

    Args:
        source: Tensors by name, on any device.
        target: Tensors to copy into.
        what: Description of the tensors, for the message: ``"optimiser's state"``.

    Raises:
        RunFolderError: A name is missing or unknown, or a shape or type differs.
    """
    problems = [f"{name} is missing" for name in target if name not in source]
    problems += [f"{name} is unknown" for name in source if name not in target]
    problems += [
        f"{name} is {_kind(source[name])} where {_kind(tensor)} belongs"
        for name, tensor in target.items()
        if name in source and _kind(source[name]) != _kind(tensor)
    ]
    if problems:
        more = f", and {len(problems) - _MOST_NAMED} more" if len(problems) > _MOST_NAMED else ""
        raise RunFolderError(
            f"The checkpoint's {what} does not fit what is trained: "
            f"{', '.join(problems[:_MOST_NAMED])}{more}. It was written with other settings or by another "
            f"version; train again into another folder."
        )
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(source[name])


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, with the prefix removed."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
