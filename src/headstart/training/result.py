"""What training returns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainResult:
    """What a training run leaves behind.

    Attributes:
        path: The run folder.
        metrics: The content of its ``metrics.json``.
    """

    path: Path
    metrics: dict[str, Any]
