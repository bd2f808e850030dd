"""The folder of a run that trains in steps: its progress, its weights and its checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from headstart.config import PhaseConfig, TrainConfig
from headstart.errors import RunFolderError, TrainingError
from headstart.model.tensors import named_tensors
from headstart.records import Record
from headstart.training.run.checkpoint import Checkpoints
from headstart.training.run.history import EpochRecord
from headstart.training.run.progress import Best, Progress
from headstart.training.run.provenance import differences
from headstart.training.run.run_folder import RunFolder, refuse_differences
from headstart.training.solved import OutOfFold
from headstart.training.steps.tensors import below, copy_strictly
from headstart.training.watch.watcher import RunStart

# A checkpoint may take this share of the time, however large it is.
_SHARE_FOR_CHECKPOINTS: Final = 0.05


class RunDir(RunFolder):
    """The folder of one run that trains in steps.

    Every process has one and keeps the history; only the main process's writes.

    Attributes:
        path: The folder; empty in processes that do not write.
        progress: Where training stands.
    """

    def __init__(
        self,
        config: TrainConfig,
        origin: Mapping[str, Any],
        *,
        frozen: str = "",
        writes: bool = True,
        say: Callable[[str], object] = print,
    ) -> None:
        """
        Args:
            config: With its phases.
            origin: What ``provenance_in_steps`` returned.
            frozen: Digest of what the first phase freezes. What is trained fits no other frozen part.
            writes: Whether this process is the one that owns the folder.
            say: Told, in a sentence, of files that cannot be written and that nothing depends on.
        """
        super().__init__(config, origin, writes=writes, say=say)
        self.progress = Progress()
        self._frozen = frozen
        self._checkpoints = Checkpoints(self.checkpoints_folder)
        self._pretrained: dict[str, Tensor] = {}  # what is trained, as it was before anything was
        self._resumed: dict[str, Tensor] = {}  # of a checkpoint, until the phase has taken it
        self._saved = time.monotonic()
        self._seconds_to_save = 0.0

    # Opening.

    def open(self, path: Path) -> None:
        """Use a folder that is there; in a process that does not write, the main process's."""
        self._checkpoints = Checkpoints(path / "checkpoints", writes=self._writes)
        super().open(path)

    def resume(
        self,
        path: Path,
        network: nn.Module,
        trained_names: Callable[[PhaseConfig], Iterable[str]],
        *,
        force: bool = False,
        say: Callable[[str], object] = print,
    ) -> None:
        """Open the folder of an interrupted run, and give the network the weights of its last checkpoint.

        Args:
            path: The folder.
            network: As it is before training.
            trained_names: Entries of the network's state dict that a phase trains.
            force: Resume although something has changed.
            say: Told where the run is resumed, and of damaged checkpoints.

        Raises:
            RunFolderError: Code, packages, machine, weights or settings have changed; all differences are
                named. If the frozen part has, the run is not resumed by force either.
        """
        self.reopen(path)
        checkpoint = self._checkpoints.newest(say)
        if checkpoint is None:
            self.begin_again("There is no checkpoint that can be used", force=force, say=say)
            return
        self._resumed, state = checkpoint
        lines = differences(state["origin"], self._origin)
        if state.get("frozen", self._frozen) != self._frozen:
            raise RunFolderError(_other_frozen_part(lines))
        self.has_changed = refuse_differences(lines, force, say) or state.get("has_changed", False)
        torch.set_num_threads(state["threads"])  # other numbers of threads add in another order
        self.progress = Progress.from_dict(state["progress"])
        if self.progress.totals is not None and not self._writes:
            self.progress.totals = torch.zeros(3)  # they are what the main process has counted
        for phase in self._config.phases[: self.progress.phase + 1]:
            self._remember(network, trained_names(phase))
        saved, own = below("network/", self._resumed), named_tensors(network)
        copy_strictly(saved, {name: own[name] for name in saved if name in own}, "weights")
        say(f"Resuming {self.progress.place(self._config)}")

    # While training.

    def begin_phase(self, network: nn.Module, trained_names: Iterable[str]) -> None:
        """Remember what a phase is going to train for the first time, as it was before.

        Args:
            network: As it is before the phase.
            trained_names: Entries of its state dict.
        """
        self._remember(network, trained_names)
        progress = self.progress
        if progress.epoch == progress.batch == 0:
            progress.start = progress.best.file if progress.best else None

    def start(self) -> RunStart:
        """Return what watchers are told of the run at its beginning."""
        best = self.progress.best
        return RunStart(
            self.path,
            self._config,
            is_resumed=not self._is_new,
            history=tuple(self.progress.history),
            best=best.record if best else None,
            share=best.share if best else 1.0,
        )

    def take_resumed(self) -> dict[str, Tensor]:
        """Return the tensors of the checkpoint that the phase is resumed from, the first time; then none."""
        resumed, self._resumed = self._resumed, {}
        return resumed if self.progress.epoch or self.progress.batch else {}

    def steps_done(self, batches: int, totals: Tensor) -> None:
        """Note how many batches of the epoch are done, and what they came to."""
        self.progress.batch, self.progress.totals = batches, totals

    def note_micro_batches(self, phase: PhaseConfig, sizes: Mapping[str, int]) -> bool:
        """Note how many photos a process takes in one pass, where memory has run out.

        Returns:
            Whether that has changed.
        """
        noted = self.progress.micro_batches
        if noted.get(phase.name, {}) == dict(sizes):
            return False
        noted[phase.name] = dict(sizes)
        return True

    def is_checkpoint_due(self) -> bool:
        """Tell whether enough time has passed for a checkpoint to be worth its own."""
        pause = max(self._config.checkpoint_seconds, self._seconds_to_save / _SHARE_FOR_CHECKPOINTS)
        return self._writes and time.monotonic() - self._saved >= pause

    def checkpoint(self, network: nn.Module, others: Mapping[str, Tensor] | None = None) -> None:
        """Write a checkpoint of what is trained and where training stands.

        Args:
            network: Its trained entries are saved.
            others: More tensors, which ``take_resumed`` gives back.
        """
        if not self._writes:
            return
        begun = time.monotonic()
        tensors = {f"network/{name}": tensor for name, tensor in self._trained(network).items()}
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
        self._checkpoints.save(tensors, state)
        self._saved = time.monotonic()
        self._seconds_to_save = self._saved - begun

    def record(self, record: EpochRecord, network: nn.Module) -> bool:
        """Keep an epoch: its numbers, and what has been trained if it is the best so far.

        Args:
            record: The epoch's numbers.
            network: With the weights that were scored.

        Returns:
            Whether it is the best so far.

        Raises:
            TrainingError: The validation loss is not finite.
        """
        if not math.isfinite(record.val["loss"]):
            raise TrainingError(
                f"The validation loss is {record.val['loss']} (phase {record.phase}, epoch "
                f"{record.epoch}). A smaller learning rate is the usual cure."
            )
        progress = self.progress
        progress.history.append(record)
        progress.epoch, progress.batch, progress.totals = record.epoch, 0, None
        is_best = record.is_better_than(progress.best.record if progress.best else None, self._config.select)
        if is_best:
            self._keep_best(Best(record, f"best-{len(progress.history):04}.safetensors"), network)
        return is_best

    def keep_out_of_fold(self, answers: OutOfFold | None, photos: Sequence[Record]) -> None:
        """Keep what the solved head answers for the training photos until the run is finished."""
        if self._writes and answers is not None:
            self._checkpoints.save_out_of_fold(answers, photos)

    def out_of_fold(self, photos: Sequence[Record]) -> OutOfFold | None:
        """Return what ``keep_out_of_fold`` kept; None if no head was solved, or it is of no use any more.

        Args:
            photos: The training photos now.
        """
        return self._checkpoints.load_out_of_fold(photos, self._say)

    def record_mixture(self, record: EpochRecord, share: float, network: nn.Module) -> None:
        """Keep a mixture of weights from before and after a phase as the best so far.

        Args:
            record: The mixed epoch's numbers with the mixture's validation scores.
            share: Of the epoch's weights, in 0..1.
            network: With the mixed weights.
        """
        name = f"best-{len(self.progress.history):04}-mixed.safetensors"
        self._keep_best(Best(record, name, share), network)

    def end_phase(self, network: nn.Module) -> None:
        """Give the network the best weights so far, for the next phase to begin with, and save."""
        self.load_best(network)
        progress = self.progress
        progress.phase, progress.epoch, progress.batch = progress.phase + 1, 0, 0
        progress.start = None
        self.checkpoint(network)

    def weights_before_phase(self) -> dict[str, Tensor]:
        """Return what is trained so far, as it was when the phase began."""
        start = self.progress.start
        return self._pretrained | (self._checkpoints.load_best(start) if start else {})

    def load_best(self, network: nn.Module) -> None:
        """Give the network its best weights back, and what was trained only later its first ones.

        Raises:
            DamagedFileError: The file is not as it was written.
        """
        assert self.progress.best is not None
        state = named_tensors(network)
        best = self._checkpoints.load_best(self.progress.best.file)
        with torch.no_grad():
            for name, tensor in (self._pretrained | best).items():
                state[name].copy_(tensor)

    # What people read.

    def phases(self, phases: Sequence[PhaseConfig]) -> list[dict[str, Any]]:
        """Return the history by phase, as ``metrics.json`` has it."""
        rows = [record.flat() for record in self.progress.history]
        return [
            {
                "name": phase.name,
                "unfrozen": phase.unfreeze,
                **(
                    {"micro_batch": self.progress.micro_batches[phase.name]}
                    if phase.name in self.progress.micro_batches
                    else {}
                ),
                "epochs": [
                    {
                        key: value
                        for key, value in row.items()
                        if key != "phase" and not (key == "completed" and value == 1)
                    }
                    for row in rows
                    if row["phase"] == phase.name
                ],
            }
            for phase in phases
        ]

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``, which marks the run as finished, and delete its checkpoints."""
        super().write_metrics(metrics)
        self._checkpoints.delete()

    def _remember(self, network: nn.Module, names: Iterable[str]) -> None:
        state = named_tensors(network)
        for name in names:
            if name not in self._pretrained:
                self._pretrained[name] = state[name].detach().to("cpu", copy=True)

    def _trained(self, network: nn.Module) -> dict[str, Tensor]:
        state = named_tensors(network)
        return {name: state[name] for name in sorted(self._pretrained)}

    def _keep_best(self, best: Best, network: nn.Module) -> None:
        self.progress.best = best
        if self._writes:
            state = {"record": asdict(best.record), "share": best.share}
            # Under another name where somebody has a file of that name open, left by a run that was stopped.
            file = self._checkpoints.save_best(best.file, self._trained(network), state)
            self.progress.best = replace(best, file=file)


def _other_frozen_part(lines: Sequence[str]) -> str:
    """Say why a run is not resumed on a frozen part with other weights, given what else has changed."""
    changed = "".join(f"\n  {line}" for line in lines)
    return (
        f"This run cannot be resumed, not even with --force: what it has trained so far belongs to frozen "
        f"stages with other weights than these (random weights follow seed). "
        f"{'These things changed:' + changed if changed else 'The network is another one.'}\n"
        f"Restore them, or start a new run."
    )
