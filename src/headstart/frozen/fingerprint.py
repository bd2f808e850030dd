"""The fingerprint of features: everything that they depend on besides the photo."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import PIL

from headstart.images import colour, heif
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
    """Return a name of this machine's processor: see ``processor``."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8", errors="replace")
    except OSError:  # not on macOS and Windows, where the processor's own name has to do
        text = ""
    return processor(f"{platform.machine()} {platform.processor()}".strip(), text)


def processor(name: str, cpuinfo: str) -> str:
    """Return a name of a processor that distinguishes processors with different rounding.

    Libraries choose kernels by the instructions of the processor, and kernels differ in the last bits.

    Args:
        name: The operating system's name of the processor.
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


DECODER: Final = ", ".join(filter(None, (f"pillow {PIL.__version__}", colour.library(), heif.library())))
"""Libraries that decode photos, with their versions."""

# Raised when the code between bytes and activations changes what it computes.
_CODE = 4


@dataclass(frozen=True)
class Fingerprint:
    """The part of a feature's key that does not depend on the photo. Any difference means other features.

    Attributes:
        preprocessing: As in the model file.
        backbone: Full name of the backbone.
        cut: Name of the last stage of the prefix.
        function: Hash of the prefix's operations, parameters and buffers: see ``graph.function_hashes``.
        runtime: Library that runs the prefix, with its version.
        device: ``cpu``, or the name of the accelerator.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        decoder: Libraries that decode photos, with their versions.
        machine: The processor, because rounding may differ on another one.
        augmentation: Fingerprint of the augmentation, with its seed; None without augmentation.
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
        """32 hexadecimal digits, the name of the store."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:32]


def photo_key(sha256: str, view: int) -> bytes:
    """Return the part of a feature's key that depends on the photo: 36 bytes.

    Args:
        sha256: SHA-256 of the photo's bytes, hexadecimal.
        view: Number of the augmented view, from 1; 0 for the photo without augmentation.
    """
    return bytes.fromhex(sha256) + view.to_bytes(4, "big")
