"""Everything that decides what a prefix makes of a photo's bytes."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from typing import Any

import PIL

from headstart.images import colour
from headstart.images.preprocess import Preprocessing

# Raised when the code between bytes and activations changes what it computes.
_CODE = 4


@dataclass(frozen=True)
class Fingerprint:
    """The part of a feature's key that is not the photo: another value in any field is another feature.

    Attributes:
        preprocessing: As in the model file.
        backbone: Full name.
        cut: The last stage of the prefix: its parameters do not tell whether a pooling is part of it.
        parameters: SHA-256 over the prefix's parameters and buffers.
        runtime: What runs the prefix, with its version.
        device: ``cpu``, or the name of the accelerator.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        decoder: What decodes photos, with its version.
        machine: The processor's architecture: others add in another order.
        augmentation: How views differ, with its seed; None where photos are taken as they are.
        code: Version of Headstart's own code between bytes and activations.
    """

    preprocessing: Preprocessing
    backbone: str
    cut: str
    parameters: str
    runtime: str
    device: str
    precision: str
    decoder: str = f"pillow {PIL.__version__}, {colour.library()}"
    machine: str = platform.machine()
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
