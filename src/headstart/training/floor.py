"""What the story of a run asks of the floor that it runs on: with PyTorch, or without."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.check import CheckedPhoto
from headstart.data.split import Splits
from headstart.inference.predictor import Predictor
from headstart.probe.photos import OutOfFold
from headstart.products.calibration import Calibration
from headstart.products.heat_map import HeatMapOutput
from headstart.products.unknown import Unknown
from headstart.records import Dataset, Listing, Record
from headstart.training.by_folds import ByFolds
from headstart.training.run.run_folder import RunFolder


@dataclass(frozen=True)
class Model:
    """A trained model in its file, which has been compared with what training saw.

    Attributes:
        predictor: Predicts with the bytes of ``model.onnx``.
        val_outputs: (N, D) float32, of the file for the validation photos: see ``Predictor.outputs``; N is 0
            if the run has none.
        out_of_fold: What the cross-validation of a solved head answers for the training photos; None where
            no head was solved. If the file has this head, the answers are calibrated like those of the file.
        facts: What ``metrics.json`` says of the training: ``seed``, ``weights_from``, ``head``, ``phases``,
            ``best`` (phase, epoch, share) and ``parity``.
        calibration: How the outputs of the file were calibrated; None if it has no probabilities.
        unknown: How the file recognises photos of none of the classes; or a sentence that says why it does
            not; None if it was not asked to.
        by_folds: Answers of models that were trained without each fold; None if there are no folds.
        heat_map: The heat maps of the file, or why it has none.
    """

    predictor: Predictor
    val_outputs: np.ndarray
    out_of_fold: OutOfFold | None
    facts: Mapping[str, Any]
    calibration: Calibration | None = None
    unknown: Unknown | str | None = None
    by_folds: ByFolds | None = None
    heat_map: HeatMapOutput | None = None


class Floor(Protocol):
    """Trains on photos. Its methods are called once each, in this order; ``train_phase`` once per phase.

    Attributes:
        config: The settings with the phases that the recipe has filled in.
        listing: The photos, none of them read.
        is_solved: Whether a head is solved, and nothing else is trained.
    """

    config: TrainConfig
    listing: Listing
    is_solved: bool

    def open_run(self, stopped: Path | None, *, force: bool) -> RunFolder:
        """Return the folder of a new run, which is not made yet, or of one that was stopped.

        Args:
            stopped: The folder of the run that is resumed; None for a new run.
            force: Resume although something has changed.

        Raises:
            RunFolderError: The run cannot be resumed.
        """
        ...

    def read_photos(self, advance: Callable[[int], object]) -> Iterator[CheckedPhoto]:
        """Read and check every photo, and compute what the next phase needs of it in the same pass.

        Args:
            advance: Called with the number of photos that are done.

        Yields:
            What became of each photo, in the order of the listing.
        """
        ...

    def near_duplicates(self, records: Sequence[Record]) -> Sequence[tuple[int, int]] | None:
        """Return the pairs of rows that show nearly the same, by features that have just been computed.

        Args:
            records: All photos that can be used.

        Returns:
            None if the run computes no features of whole photos as they are, or does not store them.
        """
        ...

    def begin(
        self, out: str | os.PathLike[str] | None, dataset: Dataset, splits: Splits, *, force: bool
    ) -> None:
        """Make the run folder, or compare the photos with those that a resumed run began with.

        Raises:
            RunFolderError: The folder cannot be made, or the photos have changed.
        """
        ...

    def train_phase(self, phase: PhaseConfig) -> None:
        """Train what a phase unfreezes, and tell the watchers of each epoch.

        Raises:
            HeadstartError: The work failed, for a reason that the message names.
        """
        ...

    def make_model(self) -> Model | None:
        """Write the best weights, then the model file, and compare the file with what training saw.

        Returns:
            None in all of several processes but the main one.

        Raises:
            ExportError: The network cannot be exported; its weights are safe.
            ParityError: The file gives other answers.
        """
        ...
