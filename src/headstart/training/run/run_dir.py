"""The folder of a run that trains in steps: its progress, its weights and its checkpoints."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from headstart.config import PhaseConfig, TrainConfig
from headstart.errors import RunFolderError, TrainingError
from headstart.model.tensors import named_tensors
from headstart.training.run.checkpoint import Checkpoints
from headstart.training.run.history import EpochRecord
from headstart.training.run.progress import Best, Progress
from headstart.training.run.provenance import differences
from headstart.training.run.run_folder import RunFolder
from headstart.training.run.weights import TrainedWeights
from headstart.training.steps.tensors import below, copy_strictly
from headstart.training.watch.watcher import RunStart

# A checkpoint may take this share of the time, however large it is.
_SHARE_FOR_CHECKPOINTS: Final = 0.05


class RunDir(RunFolder):
    """The folder of one run that trains in steps: what ``RunFolder`` is, with progress and checkpoints.

    Every process has one and keeps the history; only the main process's writes.

    Attributes:
        path: The folder; empty in processes that do not write.
        progress: Where training stands.
        weights: What is trained of the network.
        checkpoints: The files that a run needs to be resumed.
    """

    def __init__(
        self,
        config: TrainConfig,
        origin: Mapping[str, Any],
        network: nn.Module,
        *,
        frozen: str = "",
        writes: bool = True,
        say: Callable[[str], object] = print,
    ) -> None:
        """
        Args:
            config: With its phases.
            origin: What ``provenance_in_steps`` returned.
            network: As it is before training.
            frozen: Digest of what the first phase freezes. What is trained fits no other frozen part.
            writes: Whether this process is the one that owns the folder.
            say: Called with a sentence about files that cannot be written and that nothing depends on.
        """
        super().__init__(config, origin, writes=writes, say=say)
        self.progress = Progress()
        self.checkpoints = Checkpoints(self.checkpoints_folder, writes=writes)
        self.weights = TrainedWeights(network, self.checkpoints)
        self._network = network
        self._frozen = frozen
        self._resumed: dict[str, Tensor] = {}  # of a checkpoint, until the phase has taken it
        self._saved = time.monotonic()
        self._seconds_to_save = 0.0

    def open(self, path: Path) -> None:
        """Use a folder that is there; in a process that does not write, the main process's."""
        self.checkpoints.folder = path / "checkpoints"
        super().open(path)

    def resume(
        self, path: Path, trained_names: Callable[[PhaseConfig], Iterable[str]], *, force: bool = False
    ) -> None:
        """Open the folder of an interrupted run, and give the network the weights of its last checkpoint.

        Args:
            path: The folder.
            trained_names: Entries of the network's state dict that a phase trains.
            force: Resume although something has changed.

        Raises:
            RunFolderError: Code, packages, machine, weights or settings have changed; all differences are
                named. If the frozen part has, the run is not resumed by force either.
        """
        self.reopen(path)
        checkpoint = self.checkpoints.newest(self._say)
        if checkpoint is None:
            self.begin_again("There is no checkpoint that can be used", force=force)
            return
        self._resumed, state = checkpoint
        lines = differences(state["origin"], self._origin)
        if state.get("frozen", self._frozen) != self._frozen:
            raise RunFolderError(_other_frozen_part(lines))
        self.has_changed = self._refuse_differences(lines, force) or state.get("has_changed", False)
        torch.set_num_threads(state["threads"])  # other numbers of threads add in another order
        self.progress = Progress.from_dict(state["progress"])
        for phase in self.config.phases[: self.progress.phase + 1]:
            self.weights.remember(trained_names(phase))
        saved, own = below("network/", self._resumed), named_tensors(self._network)
        copy_strictly(saved, {name: own[name] for name in saved if name in own}, "weights")
        self._say(f"Resuming {self.progress.place(self.config)}")

    def start(self) -> RunStart:
        """Return what watchers are told of the run at its beginning."""
        best = self.progress.best
        return dataclasses.replace(
            super().start(),
            history=tuple(self.progress.history),
            best=best.record if best else None,
            share=best.share if best else 1.0,
        )

    def remaining_phases(self) -> Iterator[PhaseConfig]:
        """Yield the phases that are not done, as long as there is time."""
        return self.progress.remaining(self.config)

    def begin_phase(self, trained_names: Iterable[str]) -> None:
        """Remember what a phase is going to train for the first time, as it was before.

        Args:
            trained_names: Entries of the network's state dict.
        """
        self.weights.remember(trained_names)
        progress = self.progress
        if progress.epoch == progress.batch == 0:
            progress.start = progress.best.file if progress.best else None

    def take_resumed(self) -> dict[str, Tensor]:
        """Return the tensors of the checkpoint that the phase is resumed from, the first time; then none."""
        resumed, self._resumed = self._resumed, {}
        return resumed if self.progress.epoch or self.progress.batch else {}

    def record(self, record: EpochRecord) -> bool:
        """Keep an epoch: its numbers, and the network's weights if it is the best so far.

        Args:
            record: The epoch's numbers.

        Returns:
            Whether it is the best so far.

        Raises:
            TrainingError: The validation loss is not finite.
        """
        if not math.isfinite(record.val["loss"]):
            raise TrainingError(
                f"The validation loss is {record.val['loss']} (phase {record.phase}, epoch "
                f"{record.epoch}). A smaller learning rate usually helps."
            )
        progress = self.progress
        progress.history.append(record)
        progress.epoch, progress.batch, progress.totals = record.epoch, 0, None
        best = progress.best.record if progress.best else None
        is_best = record.is_better_than(best, self.config.select, progress.floor)
        if is_best:
            self._keep(Best(record, f"best-{len(progress.history):04}.safetensors"))
        return is_best

    def record_mixture(self, record: EpochRecord, share: float) -> None:
        """Keep a mixture of weights from before and after a phase, which the network has, as the best so far.

        Args:
            record: The mixed epoch's numbers with the mixture's validation scores.
            share: Of the epoch's weights, in 0..1.
        """
        self._keep(Best(record, f"best-{len(self.progress.history):04}-mixed.safetensors", share))

    def _keep(self, best: Best) -> None:
        self.progress.best = self.weights.keep(best) if self._writes else best

    def load_best(self) -> None:
        """Give the network its best weights back.

        Raises:
            DamagedFileError: The file is not as it was written.
        """
        assert self.progress.best is not None
        self.weights.take(self.progress.best)

    def end_phase(self) -> None:
        """Give the network the best weights so far, for the next phase to begin with, and save."""
        self.load_best()
        progress = self.progress
        progress.phase, progress.epoch, progress.batch = progress.phase + 1, 0, 0
        progress.start, progress.floor = None, progress.best.record if progress.best else None
        self.checkpoint()

    def is_checkpoint_due(self) -> bool:
        """Tell whether enough time has passed for a checkpoint to be worth its own."""
        pause = max(self.config.checkpoint_seconds, self._seconds_to_save / _SHARE_FOR_CHECKPOINTS)
        return self._writes and time.monotonic() - self._saved >= pause

    def checkpoint(self, others: Mapping[str, Tensor] | None = None) -> None:
        """Write a checkpoint of what is trained and where training stands.

        Args:
            others: More tensors, which ``take_resumed`` returns.
        """
        if not self._writes:
            return
        begun = time.monotonic()
        tensors = {f"network/{name}": tensor for name, tensor in self.weights.now().items()}
        tensors |= others or {}
        progress = self.progress
        files = [name for name in (progress.start, progress.best.file if progress.best else None) if name]
        state = {
            "origin": self._origin,
            "frozen": self._frozen,
            "has_changed": self.has_changed,
            "progress": progress.to_dict(),
            "files": sorted(set(files)),
            "threads": torch.get_num_threads(),
        }
        self.checkpoints.save(tensors, state)
        self._saved = time.monotonic()
        self._seconds_to_save = self._saved - begun

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``; if all products are made, the run is finished and needs no checkpoints."""
        super().write_metrics(metrics)
        if self._is_finished:
            self.checkpoints.delete()


def _other_frozen_part(lines: Sequence[str]) -> str:
    """Say why a run is not resumed on a frozen part with other weights, given what else has changed."""
    changed = "".join(f"\n  {line}" for line in lines)
    return (
        f"This run cannot be resumed, not even with --force: what it has trained so far belongs to frozen "
        f"stages with other weights than these (random weights follow seed). "
        f"{'These things changed:' + changed if changed else 'The network is another one.'}\n"
        f"Restore them, or start a new run."
    )
