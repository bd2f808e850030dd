"""The keywords of the calls, for type checkers and editors; a test keeps them equal to ``TrainConfig``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from headstart.config.phase import PhaseConfig


class RecommendSettings(TypedDict, total=False):
    """Settings of ``hs.recommend`` as keywords: which photos are read, and how they are computed."""

    task: str
    target: str | None
    image_column: str
    label_column: str | None
    split_column: str | None
    group_by: str | None
    images: str | os.PathLike[str] | None
    label_from: str | None
    resize: str | None
    size_px: int | None
    mean: Sequence[float] | None
    std: Sequence[float] | None
    output_name: str | None
    features: str
    store: str | os.PathLike[str] | None
    ray: str | None
    workers: int | None
    allow_quarantined: float | None


class FeatureSettings(RecommendSettings, total=False):
    """Settings of ``hs.features`` as keywords: which photos are read, and how they are computed."""

    val: float | str | os.PathLike[str]
    boxes: str
    backbone: str | os.PathLike[str]
    weights: str | os.PathLike[str]
    device: str
    precision: str


class CheckSettings(RecommendSettings, total=False):
    """Settings of ``hs.check`` as keywords: which photos are read, and how they are computed."""

    val: float | str | os.PathLike[str]
    boxes: str
    backbone: str | os.PathLike[str]
    weights: str | os.PathLike[str]
    decisions: str | os.PathLike[str] | None


class TrainSettings(FeatureSettings, total=False):
    """Settings of a run as keywords: all fields of ``TrainConfig`` except ``data`` and ``watch``."""

    decisions: str | os.PathLike[str] | None
    test: float
    folds: int | None
    fold: int | None
    min_visible: float
    head: str
    recipe: str | os.PathLike[str]
    epochs: int | None
    lr: float | None
    seed: int
    batch_size: int
    select: str
    unknown: str
    memory_format: str
    checkpoint_seconds: float
    max_minutes: float | None
    strict: bool
    phase_settings: Mapping[str, Mapping[str, Any]] | None
    phases: Sequence[PhaseConfig | Mapping[str, Any]]
