"""This machine: its processor and its libraries, on which the last bits of results depend."""

from __future__ import annotations

import functools
import hashlib
import platform
from pathlib import Path
from typing import Final

import PIL

from headstart.images import colour, heif

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
