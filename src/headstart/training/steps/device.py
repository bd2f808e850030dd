"""Device, precision and processes (by Accelerate), and the state of PyTorch that affects the bits.

All differences between CPU, CUDA and MPS in training are in this module, so that they can be tested by
simulation.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from torch import Tensor, nn
from torch.optim import Optimizer

from headstart.config import TrainConfig
from headstart.cores import num_cores
from headstart.errors import ConfigError

Item = TypeVar("Item")

_MIXED: Final = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_ACCELERATE_STATES: Final = (PartialState, AcceleratorState, GradientState)


@dataclass(frozen=True)
class Choice:
    """Device and number format for training.

    Attributes:
        device: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        notes: Sentences for the user about the choice.
    """

    device: str
    precision: str
    notes: tuple[str, ...] = ()


def choose(device: str, precision: str) -> Choice:
    """Replace ``"auto"`` by a device and a number format, and check those that the user has named.

    bf16 is chosen only if the hardware supports it; PyTorch emulates it slowly on older GPUs.

    Args:
        device: ``"auto"`` or a device.
        precision: ``"auto"`` or a number format.

    Raises:
        ConfigError: The device or the precision is not available on this machine.
    """
    available = [name for name in ("cuda", "mps") if getattr(torch, name).is_available()]
    if device not in ("auto", "cpu", *available):
        allowed = ", ".join(["auto", "cpu", *available])
        raise ConfigError(f"device {device!r} is not available on this machine. Allowed here are {allowed}.")
    notes: list[str] = []
    if device == "auto":
        device = "cpu"
        for name in available:
            if fault := fault_of(name):
                notes.append(f"Warning: this PyTorch does not run on the {name} device ({fault}).")
            else:
                device = name
                break
        if notes:
            notes.append(f"Training on the {device} device.")
    elif device != "cpu" and (fault := fault_of(device)):
        raise ConfigError(
            f"device is {device!r}, and this PyTorch does not run on it: {fault}. Install a build of "
            f"PyTorch that supports it, or use device = 'cpu'."
        )
    has_bf16 = device != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "auto":
        precision = "fp32" if device != "cuda" else "bf16" if has_bf16 else "fp16"
    if precision == "fp16" and device == "cpu":
        raise ConfigError("precision 'fp16' is not supported on a CPU. Use fp32 or bf16 there.")
    if precision == "bf16" and not has_bf16:
        raise ConfigError("precision 'bf16' is not supported by this GPU. Use auto, fp16 or fp32 here.")
    return Choice(device, precision, tuple(notes))


def fault_of(device: str) -> str:
    """Compute something small on a device; return why that fails, or an empty string.

    PyTorch reports a GPU as available even if it has no kernels for it, because it is too old for the build.
    """
    try:
        ones = torch.ones(8, 8, device=device)
        (ones @ ones).relu().sum().item()
    except (RuntimeError, AssertionError) as error:
        return str(error).partition("\n")[0].rstrip(".")[:200]
    return ""


@contextmanager
def create_accelerator(
    config: TrainConfig, say: Callable[[str], object] = lambda text: None
) -> Iterator[Accelerator]:
    """Create the accelerator with the device and number format of the settings.

    Accelerate keeps its state in the process. The block has a state of its own; afterwards, the caller's
    state is always restored.

    Args:
        config: Settings with device and precision.
        say: Called with sentences for the user about the choice.

    Raises:
        ConfigError: The device or the precision is not available on this machine.
    """
    choice = choose(config.device, config.precision)
    kept = [dict(state._shared_state) for state in _ACCELERATE_STATES]
    try:
        # Processes stay connected as they are: the group cannot be formed twice.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        GradientState._reset_state()
        try:
            accelerator = Accelerator(
                cpu=choice.device == "cpu",
                mixed_precision=_MIXED[choice.precision],
                # A forward pass must not wait for the other processes: memory may run out in one of them.
                kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
            )
        except ValueError as error:
            raise ConfigError(
                f"precision {choice.precision!r} is not supported on this machine: {error} Use fp32."
            ) from error
        if accelerator.is_main_process:
            for note in choice.notes:
                say(note)
        yield accelerator
    finally:
        for state, values in zip(_ACCELERATE_STATES, kept, strict=True):
            state._shared_state.clear()  # in place: a caller's accelerators hold this very dict
            state._shared_state.update(values)


def prepared(network: nn.Module, optimizer: Optimizer, accelerator: Accelerator) -> tuple[nn.Module, Any]:
    """Let Accelerate connect a network and its optimizer with the other processes.

    PyTorch warns that ``broadcast_buffers`` has a new name, which Accelerate does not pass on, and which also
    means something else: it copies the buffers once, at this point.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        found: tuple[nn.Module, Any] = accelerator.prepare(network, optimizer)
    return found


def to_device(
    tensor: Tensor, device: torch.device, memory_format: torch.memory_format = torch.preserve_format
) -> Tensor:
    """Copy a tensor from the CPU to a device.

    Copying is asynchronous only to CUDA and only from pinned memory, which PyTorch does not reuse before the
    copy has finished. With other memory, or to MPS, the source could be freed too early.

    Args:
        tensor: A tensor on the CPU.
        device: Target device.
        memory_format: Memory format on the device.
    """
    if memory_format != torch.preserve_format:
        tensor = tensor.contiguous(memory_format=memory_format)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def steps_between_checks(device: torch.device) -> int:
    """Return the number of steps between checks for finite values; checking waits for a GPU."""
    return 1 if device.type == "cpu" else 8


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed PyTorch's global generators of the CPU and of one device, Python's and NumPy's.

    The latter two are for users' networks, which may, for example, skip a layer by ``random.random()``.
    ``torch.manual_seed`` would seed every GPU of the machine, including those of the caller.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # the very generator that others' code draws from  # noqa: NPY002
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def memory_format(setting: str, module: nn.Module) -> torch.memory_format:
    """Return the memory format for a module: convolutions are faster in channels_last.

    Args:
        setting: ``"auto"``, ``"contiguous"`` or ``"channels_last"``.
        module: The module to be trained.
    """
    has_maps = any(isinstance(each, nn.Conv2d) for each in module.modules())
    wanted = setting == "channels_last" or (setting == "auto" and has_maps)
    return torch.channels_last if wanted else torch.contiguous_format


def anyone(flag: bool, accelerator: Accelerator) -> bool:
    """Return whether the flag is set in any process, so that all processes decide the same."""
    if accelerator.num_processes == 1:
        return flag
    # On the CPU, between the processes alone: asking a GPU would wait for all that it has been given to do.
    flags = torch.tensor(float(flag))
    torch.distributed.all_reduce(flags, group=_group_on_cpu(torch.distributed.group.WORLD))
    return bool(flags > 0)


@lru_cache(maxsize=1)
def _group_on_cpu(world: Any) -> Any:
    """Connect the processes of a group on the CPU too; all of them call this at the same point."""
    return torch.distributed.new_group(backend="gloo")


def from_main(text: str, accelerator: Accelerator) -> str:
    """Return the text of the main process in every process."""
    if accelerator.num_processes == 1:
        return text
    return str(broadcast_object_list([text])[0])


def gathered(own: Item, accelerator: Accelerator) -> list[Item]:
    """Return the values of all processes, in their order; every process must call this.

    Args:
        own: Value of this process; anything that can be pickled.
        accelerator: Accelerator with the processes.
    """
    if accelerator.num_processes == 1:
        return [own]
    found: list[Item] = gather_object([own])
    return found


@contextmanager
def reproducible(seed: int, device: torch.device) -> Iterator[None]:
    """Make PyTorch's results reproducible bit for bit, as far as the device allows.

    Its settings and the states of all random generators are restored after the block.
    """
    debug_mode = torch.get_deterministic_debug_mode()
    benchmark, num_threads = torch.backends.cudnn.benchmark, torch.get_num_threads()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what CUDA's matrix products need for it
    devices = [device] if device.type == "cuda" else []
    mps_state = torch.mps.get_rng_state() if device.type == "mps" else None
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices):
        seed_generators(seed, device)
        # As use_deterministic_algorithms(True, warn_only=True), which imports the compiler (1.7 s).
        torch.set_deterministic_debug_mode("warn")
        torch.backends.cudnn.benchmark = False
        if "OMP_NUM_THREADS" not in os.environ and num_threads > (cores := num_cores()):
            torch.set_num_threads(cores)  # PyTorch does not know the CPU quota of the container
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
            torch.set_deterministic_debug_mode(debug_mode)
            torch.backends.cudnn.benchmark = benchmark
            torch.set_num_threads(num_threads)
            if mps_state is not None:
                torch.mps.set_rng_state(mps_state)
