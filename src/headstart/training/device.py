"""Device, precision and processes (by Accelerate), and the state of PyTorch that decides the bits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from headstart.config import TrainConfig
from headstart.cores import num_cores
from headstart.errors import ConfigError

Item = TypeVar("Item")

_MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def create_accelerator(config: TrainConfig) -> Accelerator:
    """Find the device and the number format that the configuration asks for.

    Raises:
        ConfigError: The device or the precision is not to be had on this machine.
    """
    available = {"cpu", *(name for name in ("cuda", "mps") if getattr(torch, name).is_available())}
    if config.device != "auto" and config.device not in available:
        allowed = ", ".join(["auto", *sorted(available)])
        raise ConfigError(
            [f"device is {config.device!r}; this machine has none. Allowed here are {allowed}."]
        )
    device = config.device
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if name in available)
    if config.precision == "fp16" and device == "cpu":
        raise ConfigError(["precision is 'fp16'; a CPU does not train in it. Use fp32 or bf16 there."])
    precision = config.precision
    if precision == "auto":
        precision = "fp32" if device != "cuda" else "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    # Accelerate's state is global; a second training in one process may ask for something else.
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    return Accelerator(cpu=device == "cpu", mixed_precision=_MIXED[precision])


def memory_format(setting: str, module: nn.Module) -> torch.memory_format:
    """Return how a module's four-dimensional tensors lie in memory: convolutions are faster in channels_last.

    Args:
        setting: ``"auto"``, ``"contiguous"`` or ``"channels_last"``.
        module: What is going to be trained.
    """
    has_maps = any(isinstance(each, nn.Conv2d) for each in module.modules())
    wanted = setting == "channels_last" or (setting == "auto" and has_maps)
    return torch.channels_last if wanted else torch.contiguous_format


def anyone(flag: bool, accelerator: Accelerator) -> bool:
    """Tell whether the flag is set in any process, so that all of them decide alike."""
    if accelerator.num_processes == 1:
        return flag
    return bool(accelerator.reduce(torch.tensor(float(flag), device=accelerator.device), "sum") > 0)


def from_main(text: str, accelerator: Accelerator) -> str:
    """Return the main process's text in every process."""
    if accelerator.num_processes == 1:
        return text
    return str(broadcast_object_list([text])[0])


def gathered(own: Item, accelerator: Accelerator) -> list[Item]:
    """Return what each process gives, in the order of the processes; every process takes part.

    Args:
        own: Of this process; anything that can be pickled.
        accelerator: Knows the processes.
    """
    if accelerator.num_processes == 1:
        return [own]
    found: list[Item] = gather_object([own])
    return found


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Make PyTorch give the same bits every time, as far as the device can, and leave its state as it was."""
    debug_mode = torch.get_deterministic_debug_mode()
    benchmark, num_threads = torch.backends.cudnn.benchmark, torch.get_num_threads()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's matrix products need for it
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        # As use_deterministic_algorithms(True, warn_only=True), which imports the compiler (1.7 s).
        torch.set_deterministic_debug_mode("warn")
        torch.backends.cudnn.benchmark = False
        if "OMP_NUM_THREADS" not in os.environ and num_threads > (cores := num_cores()):
            torch.set_num_threads(
                cores
            )  # PyTorch knows the affinity of this process, not its container's quota
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(debug_mode)
            torch.backends.cudnn.benchmark = benchmark
            torch.set_num_threads(num_threads)
