"""The optimiser and the learning-rate schedule of a phase."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim import lr_scheduler

from headstart.config import PhaseConfig


def build_optimizer(
    suffix: nn.Module, phase: PhaseConfig
) -> tuple[torch.optim.Optimizer, lr_scheduler.LRScheduler]:
    """Build the optimiser over what is trainable, and the schedule that is stepped once an epoch."""
    trainable = [parameter for parameter in suffix.parameters() if parameter.requires_grad]
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    optimizer = kinds[phase.optimizer](trainable, lr=phase.head_lr, weight_decay=phase.weight_decay)
    return optimizer, _schedule(optimizer, phase)


def _schedule(optimizer: torch.optim.Optimizer, phase: PhaseConfig) -> lr_scheduler.LRScheduler:
    if phase.schedule == "step":
        return lr_scheduler.StepLR(optimizer, phase.step_epochs, phase.gamma)
    if phase.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, phase.epochs)
    return lr_scheduler.ConstantLR(optimizer, factor=1.0)
