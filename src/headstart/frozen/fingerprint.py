"""Everything that decides what a prefix makes of a photo's bytes."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import PIL

from headstart.images import colour
from headstart.images.settings import Preprocessing

# What Linux says of a processor, on x86 and on ARM: its maker, its model and its instructions.
_PROCESSOR_FIELDS: Final = frozenset(
    {
        *("vendor_id", "cpu family", "model", "model name", "stepping", "flags"),
        *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features"),
    }
)


@functools.cache
def machine() -> str:
    """Name this machine's processor: see ``processor``."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # not on macOS and Windows, where the processor's own name has to do
        text = ""
    return processor(f"{platform.machine()} {platform.processor()}".strip(), text)


def processor(name: str, cpuinfo: str) -> str:
    """Name a processor, so that those that add in another order have other names.

    Libraries choose their kernels by the instructions that a processor has, and kernels differ in their last
    bits.

    Args:
        name: What the system calls it.
        cpuinfo: The content of Linux's ``/proc/cpuinfo``; empty elsewhere.
    """
    seen: dict[str, set[str]] = {}
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in _PROCESSOR_FIELDS:
            seen.setdefault(key, set()).add(value)  # several, where fast and slow cores are mixed
    if not seen:
        return name
    about = repr(sorted((key, sorted(values)) for key, values in seen.items()))
    return f"{name} {hashlib.sha256(about.encode()).hexdigest()[:12]}"


DECODER: Final = f"pillow {PIL.__version__}, {colour.library()}"
"""What decodes photos, with its version."""

# Raised when the code between bytes and activations changes what it computes.
_CODE = 4


@dataclass(frozen=True)
class Fingerprint:
    """The part of a feature's key that is not the photo: another value in any field is another feature.

    Attributes:
        preprocessing: As in the model file.
        backbone: Full name.
        cut: The last stage of the prefix.
        function: Hash of the prefix's operations, parameters and buffers: see ``graph.function_hashes``.
        runtime: What runs the prefix, with its version.
        device: ``cpu``, or the name of the accelerator.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        decoder: What decodes photos, with its version.
        machine: The processor: another may add in another order.
        augmentation: How views differ, with its seed; None where photos are taken as they are.
        code: Version of Headstart's own code between bytes and activations.
    """

    preprocessing: Preprocessing
    backbone: str
    cut: str
    function: str
    runtime: str
    device: str
    precision: str
    decoder: str = DECODER
    machine: str = field(default_factory=machine)
    augmentation: str | None = None
    code: int = _CODE

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @property
    def hex(self) -> str:
        """32 hexadecimal digits, the store's name."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:32]


def photo_key(sha256: str, view: int) -> bytes:
    """Return the part of a feature's key that is the photo: 36 bytes.

    Args:
        sha256: Of the photo's bytes, hexadecimal.
        view: Which augmented version; 0 for the photo as it is, views count from 1.
    """
    return bytes.fromhex(sha256) + view.to_bytes(4, "big")
