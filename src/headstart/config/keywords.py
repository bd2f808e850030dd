"""The keywords of ``hs.train``, for type checkers and editors; a test keeps them equal to ``TrainConfig``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from headstart.config.phase import PhaseConfig


class TrainSettings(TypedDict, total=False):
    """Settings of a run as keywords: all fields of ``TrainConfig`` except ``data`` and ``watch``."""

    val: float | str | os.PathLike[str]
    task: str
    target: str | None
    image_column: str
    label_column: str | None
    split_column: str | None
    group_by: str | None
    boxes: str
    min_visible: float
    backbone: str | os.PathLike[str]
    weights: str | os.PathLike[str]
    resize: str | None
    size_px: int | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    output_name: str | None
    head: str
    recipe: str | os.PathLike[str]
    epochs: int | None
    lr: float | None
    seed: int
    batch_size: int
    select: str
    features: str
    device: str
    precision: str
    memory_format: str
    workers: int | None
    checkpoint_seconds: float
    max_minutes: float | None
    allow_quarantined: float | None
    phase_settings: Mapping[str, Mapping[str, Any]] | None
    phases: Sequence[PhaseConfig | Mapping[str, Any]]
