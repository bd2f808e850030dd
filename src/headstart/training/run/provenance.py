"""Everything that affects the bits of a run besides its photos: code, packages, machine and settings."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from headstart.config import TrainConfig
from headstart.files import own_code_digest
from headstart.images.machine import machine

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

PROBE_PACKAGES: Final = ("headstart", "numpy", "onnx", "onnxruntime", "pillow")
"""Packages that affect a run without gradient steps."""

_STEPS_PACKAGES: Final = (*PROBE_PACKAGES, "accelerate", "timm", "torch", "torchvision")

# Where photos, or the computer, may have moved to without changing what is computed.
_MAY_CHANGE: Final = ("data", "features", "store", "ray", "workers", "checkpoint_seconds", "watch")


def versions(packages: Iterable[str] = PROBE_PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages, by default those that affect a probe."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in sorted(packages)},
    }


def versions_in_steps() -> dict[str, str]:
    """Return the versions of Python and of the packages that affect training in steps."""
    import torch

    # torch's own word for itself holds the build too: 2.9.1+cu130.
    return {**versions(_STEPS_PACKAGES), "torch": str(torch.__version__)}


def provenance(config: TrainConfig, weights: str) -> dict[str, Any]:
    """Return everything that must be unchanged for a resumed probe to produce the same bits.

    Args:
        config: Settings with phases.
        weights: SHA-256 of the pretrained weights, or another identifier.
    """
    origin = {
        "versions": versions(),
        "code": own_code_digest(),
        "machine": {"processor": machine()},
        "weights": weights,
        "config": config.absolute().to_dict(),
    }
    values: dict[str, Any] = json.loads(json.dumps(origin))  # as a file gives it back
    return values


def provenance_in_steps(config: TrainConfig, accelerator: Accelerator, weights: str) -> dict[str, Any]:
    """Return everything that must be unchanged for a run resumed in steps to produce the same bits.

    Args:
        config: Settings with phases.
        accelerator: Accelerator with device and processes.
        weights: SHA-256 of the pretrained weights, or another identifier.
    """
    import torch

    on_machine = {
        "processor": f"{machine()} {torch.backends.cpu.get_cpu_capability()}",
        "device": _device_name(accelerator.device),
        "processes": accelerator.num_processes,
    }
    return provenance(config, weights) | {"versions": versions_in_steps(), "machine": on_machine}


def differences(then: Mapping[str, Any], now: Mapping[str, Any], where: str = "") -> list[str]:
    """Describe what has changed, one line each."""
    lines = []
    for key in dict.fromkeys([*then, *now]):
        name, old, new = f"{where}{key}", then.get(key), now.get(key)
        if where == "config." and key in _MAY_CHANGE:
            continue
        if name in ("config.val", "config.images") and isinstance(old, str) and isinstance(new, str):
            continue  # photos that have moved; they themselves are compared
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += differences(old, new, f"{name}.")
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and key == "phases":
            for number, (one, other) in enumerate(zip(old, new, strict=True), 1):
                lines += differences(one, other, f"{name}.{number}.")
        elif old != new and name == "code":
            lines.append("Headstart's own code has been changed")
        elif old != new:
            lines.append(f"{name} was {old!r} and is {new!r}")
    return lines


def _device_name(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
