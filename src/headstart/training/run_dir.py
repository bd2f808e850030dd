"""A run's folder: what is in it, and when it is written."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w
from torch import Tensor, nn

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.check import write_quarantine_csv
from headstart.data.records import Dataset
from headstart.errors import RunFolderError, TrainingError
from headstart.files import write_whole
from headstart.training.checkpoint import load_checkpoint, save_checkpoint
from headstart.training.curves import draw_curves
from headstart.training.history import EpochRecord

_SECONDS_BETWEEN_CURVES = 10.0


class RunDir:
    """The folder that one training run writes. Every file in it is whole or not there.

    Every process has one and keeps the history; only the main process's writes.

    Attributes:
        path: The folder.
        history: One record per finished epoch, over all phases.
        best: The best of them so far.
    """

    def __init__(self, path: Path, select: str, *, writes: bool) -> None:
        self.path = path
        self.history: list[EpochRecord] = []
        self.best: EpochRecord | None = None
        self._select = select
        self._before: dict[str, Tensor] = {}
        self._writes = writes
        self._curves_drawn = time.monotonic()

    @classmethod
    def create(
        cls,
        out: str | os.PathLike[str] | None,
        config: TrainConfig,
        dataset: Dataset,
        *,
        writes: bool = True,
    ) -> RunDir:
        """Make the folder and write ``config.toml`` and ``quarantine.csv``.

        Args:
            out: Where; an existing folder that is not a run may be used. By default ``runs/NAME-OF-DATA``,
                then ``-2``, ``-3`` and so on.
            config: Written into it.
            dataset: For what it leaves out.
            writes: Whether this process is the one that owns the folder.

        Raises:
            RunFolderError: The folder belongs to another run, or cannot be made.
        """
        if not writes:
            return cls(Path(out or "runs"), config.select, writes=False)
        try:
            path = _next_free_folder(config.data) if out is None else Path(out)
            cls.refuse(path)
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)
            run = cls(path, config.select, writes=True)
            run.write_text("config.toml", tomli_w.dumps(config.to_dict()))
            write_quarantine_csv(path / "quarantine.csv", dataset)
        except OSError as error:
            raise RunFolderError(
                f"Cannot make the run folder {out or 'in runs'}: {error.strerror or error}. Name another "
                f"with --out."
            ) from error
        return run

    @staticmethod
    def refuse(out: str | os.PathLike[str] | None) -> None:
        """Raise ``RunFolderError`` if the folder holds another run, or cannot be made or written."""
        path = Path("runs" if out is None else out)
        if out is not None and (path / "config.toml").exists():
            raise RunFolderError(
                f"{out} already holds a run. Name another folder with --out, or leave --out away to get a "
                f"new one."
            )
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            why = "is a file" if not nearest.is_dir() else "cannot be written"
            raise RunFolderError(
                f"Cannot make the run folder {path}: {nearest} {why}. Name another with --out."
            )

    def begin_phase(self, network: nn.Module, trained_names: Iterable[str]) -> None:
        """Remember what a phase is going to train for the first time, as it was before.

        Args:
            network: As it is before the phase.
            trained_names: Entries of its state dict.
        """
        state = network.state_dict()
        for name in trained_names:
            if name not in self._before:
                self._before[name] = state[name].detach().to("cpu", copy=True)

    def record(self, record: EpochRecord, network: nn.Module) -> None:
        """Keep an epoch: its numbers, the curves, and what has been trained if it is the best so far.

        Args:
            record: The epoch's numbers.
            network: The network as it is now.
        """
        if not (math.isfinite(record.train_loss) and math.isfinite(record.val_loss)):
            raise TrainingError(
                f"The loss is no longer finite (phase {record.phase}, epoch {record.epoch}: training "
                f"{record.train_loss}, validation {record.val_loss}). A smaller learning rate is the usual "
                f"cure."
            )
        self.history.append(record)
        if record.is_better_than(self.best, self._select):
            self.best = record
            if self._writes:
                state = network.state_dict()
                tensors = {name: state[name] for name in sorted(self._before)}
                save_checkpoint(self.path / "checkpoints" / "best.safetensors", tensors, asdict(record))
        self._write_history()
        if time.monotonic() - self._curves_drawn > _SECONDS_BETWEEN_CURVES:
            self.draw_curves()

    def load_best(self, network: nn.Module) -> None:
        """Give the network its best weights back, and what was trained only later its first ones.

        Raises:
            DamagedFileError: The checkpoint is not as it was written.
        """
        best, _ = load_checkpoint(self.path / "checkpoints" / "best.safetensors")
        state = network.state_dict()
        for name, tensor in {**self._before, **best}.items():
            state[name].copy_(tensor)

    def draw_curves(self) -> None:
        """Bring ``curves.png`` up to date."""
        if self._writes and self.best is not None:
            draw_curves(self.path / "curves.png", self.history, self.best)
            self._curves_drawn = time.monotonic()

    def phases(self, phases: Sequence[PhaseConfig]) -> list[dict[str, Any]]:
        """Return the history by phase, as ``metrics.json`` has it."""
        rows = [asdict(record) for record in self.history]
        return [
            {
                "name": phase.name,
                "unfrozen": phase.unfreeze,
                "epochs": [
                    {key: value for key, value in row.items() if key != "phase"}
                    for row in rows
                    if row["phase"] == phase.name
                ],
            }
            for phase in phases
        ]

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``."""
        self.write_text("metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        if self._writes:
            write_whole(self.path / name, text)

    def _write_history(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(asdict(self.history[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.history)
        self.write_text("history.csv", text.getvalue())


def _next_free_folder(data: str) -> Path:
    name = re.sub(r"[^\w.-]+", "-", Path(data).resolve().name).strip("-.") or "run"
    number = 1
    while True:
        path = Path("runs") / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir(parents=True)  # fails if it is there, so that two runs at once get two folders
        except FileExistsError:
            number += 1
        else:
            return path
