"""The fingerprint of features: everything that they depend on besides the photo."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

from headstart.images.machine import DECODER, machine
from headstart.images.settings import Preprocessing

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
