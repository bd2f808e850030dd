"""The outputs of the exported file for the validation photos, compared with those of training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from headstart import tasks
from headstart.data.targets import Targets
from headstart.errors import ParityError
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import Predictor
from headstart.products.onnx import told
from headstart.products.parity import TOLERANCE
from headstart.records import Record
from headstart.training.run.history import EpochRecord
from headstart.training.setup import Setup
from headstart.training.steps.epoch import score_outputs
from headstart.training.steps.features import PhaseFeatures

# Kernels of accelerators round more coarsely than those of processors, and not the same way every time.
_TOLERANCE_ON_ACCELERATORS = 2e-2

_MOST_NAMED = 5


def rows_of(targets: Targets, photos: Sequence[Record]) -> Tensor:
    """Return what the outputs for photos as they are are compared with, (N, ...)."""
    return torch.from_numpy(np.stack([targets.view(photo, 0, None)[1] for photo in photos]))


@torch.no_grad()
def outputs_in_training(
    features: PhaseFeatures, photos: Sequence[Record], batch_size: int, device: torch.device
) -> Tensor:
    """Return the network's outputs for the rows that training scored it on: (N, D) float32, on the CPU.

    Args:
        features: Of the last phase, still open; the network has its best weights, and is on the CPU, also
            afterwards.
        photos: Of the validation split.
        batch_size: Of the run.
        device: Of the run: rows that are not kept are computed there.
    """
    parts = features.prefix.stages, features.suffix.eval()
    try:
        for part in parts:
            part.to(device)
        rows = features.plain.rows((photo, 0) for photo in photos)
        batches = iter(lambda: list(islice(rows, batch_size)), [])
        inputs = (torch.from_numpy(np.stack(batch)).to(device) for batch in batches)
        return torch.cat([features.suffix(batch).float().cpu() for batch in inputs])
    finally:
        for part in parts:
            part.cpu()


def as_network(outputs: np.ndarray, info: ModelInfo) -> Tensor:
    """Return outputs of the model file, (N, D), in the form of the network's: numbers standardised."""
    return torch.from_numpy(tasks.of(info.task).from_file(outputs, info))


def _compared(outputs: Tensor, info: ModelInfo) -> Tensor:
    """Answers in units in which they can be compared: probabilities, shares of sides, standard deviations."""
    found = told(outputs, info)
    return found / torch.tensor(info.scale[1]) if tasks.of(info.task).has_numbers else found


def refuse_disagreement(
    outputs: np.ndarray,
    photos: Sequence[Record],
    predictor: Predictor,
    setup: Setup,
    features: PhaseFeatures,
    best: EpochRecord,
    accelerator: Accelerator,
    *,
    has_changed: bool = False,
) -> None:
    """Refuse an exported file whose validation loss differs from that of training, and name the photos.

    In half precision nothing is compared, because training rounds its outputs and the file does not.

    Args:
        outputs: (N, D), of the file for the photos: see ``outputs_of_file``.
        photos: The N validation photos.
        predictor: The file.
        setup: With the network, on the CPU, with its best weights.
        features: Of the last phase, still open.
        best: The scores of the best weights during training.
        accelerator: Knows the device and the precision.
        has_changed: Whether the best scores may be of other photos, since the run was resumed by force.

    Raises:
        ParityError: They disagree.
    """
    info = predictor.info
    deployed, rows = as_network(outputs, info), rows_of(setup.targets, photos)
    tolerance = TOLERANCE if accelerator.device.type == "cpu" else _TOLERANCE_ON_ACCELERATORS
    then, now = best.val["loss"], score_outputs(deployed, rows, setup.criterion)["loss"]
    if accelerator.mixed_precision != "no" or _are_close(now, then, tolerance):
        return
    trained = outputs_in_training(features, photos, setup.config.batch_size, accelerator.device)
    apart = (_compared(trained, info) - _compared(deployed, info)).abs().amax(1).tolist()
    wrong = [photo.path for photo, by in zip(photos, apart, strict=True) if not by <= tolerance]
    if wrong:
        more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise ParityError(
            f"The exported model has a validation loss of {now:.4g} where training had {then:.4g}: it gives "
            f"other answers for {', '.join(wrong[:_MOST_NAMED])}{more}. The weights in model.safetensors are "
            f"safe. Train again with --features live, which stores nothing. If the same error comes again, "
            f"please report it with the name of the backbone."
        )
    if has_changed:
        return
    again = score_outputs(trained, rows, setup.criterion)["loss"]
    if not _are_close(again, then, tolerance):
        raise ParityError(
            f"The best weights had a validation loss of {then:.4g} when they were saved, and have "
            f"{again:.4g} now, on all {len(photos)} validation photos ({photos[0].path}, ...): the network's "
            f"output depends on something that is neither a parameter nor a buffer, so it was not saved. "
            f"Register it as a buffer and train again."
        )


def _are_close(one: float, other: float, tolerance: float) -> bool:
    return abs(one - other) <= tolerance * max(abs(one), abs(other), 0.1)
