"""A run's folder: what is in it, and when it is written."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import filelock
import tomli_w
import torch
from torch import Tensor, nn

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.check import quarantine_csv
from headstart.data.records import Dataset
from headstart.data.split import Splits
from headstart.errors import RunFolderError, TrainingError, shell_command
from headstart.files import delete, delete_parts, write_to_look_at, write_whole
from headstart.model.stages import named_tensors
from headstart.training.checkpoint import Checkpoints
from headstart.training.curves import curves_png
from headstart.training.history import EpochRecord
from headstart.training.progress import Best, Progress
from headstart.training.provenance import differences, photo_differences, photos_csv
from headstart.training.tensors import below, copy_strictly

# What a run writes. A folder with any of them in it is not taken for a new run: they may be somebody's.
_NAMES: Final = (
    *("config.toml", "photos.csv", "quarantine.csv", "history.csv", "curves.png", "metrics.json"),
    *("model.safetensors", "model.onnx", "checkpoints"),
)

_SECONDS_BETWEEN_CURVES: Final = 10.0
_SHARE_FOR_CURVES: Final = 0.02  # of the time, as the device waits while they are drawn

# A checkpoint may take this share of the time, however large it is.
_SHARE_FOR_CHECKPOINTS: Final = 0.05


class RunDir:
    """The folder that one training run writes. Every file in it is whole or not there.

    Every process has one and keeps the history; only the main process's writes. Files that people look at
    (history, curves, lists of photos) may be open in other programs: one that cannot be written costs a
    warning, and is tried again at the end.

    Attributes:
        path: The folder; empty in processes that do not write.
        progress: Where training stands.
    """

    def __init__(
        self,
        config: TrainConfig,
        origin: Mapping[str, Any],
        *,
        writes: bool = True,
        say: Callable[[str], object] = print,
    ) -> None:
        """
        Args:
            config: With its phases.
            origin: What ``provenance`` returned.
            writes: Whether this process is the one that owns the folder.
            say: Told, in a sentence, of files that cannot be written and that nothing depends on.
        """
        self.path = Path()
        self.progress = Progress()
        self._config = config
        self._origin = origin
        self._writes = writes
        self._checkpoints = Checkpoints(self.path)
        self._is_new = True
        self._is_finished = False
        self._lock: filelock.BaseFileLock | None = None
        self._pretrained: dict[str, Tensor] = {}  # what is trained, as it was before anything was
        self._resumed: dict[str, Tensor] = {}  # of a checkpoint, until the phase has taken it
        self._curves_drawn = time.monotonic()
        self._seconds_to_draw = 0.0
        self._saved = time.monotonic()
        self._seconds_to_save = 0.0
        self._say = say
        self._outdated: dict[str, str | bytes] = {}  # what could not be written, by the file's name
        self._warned: set[str] = set()

    # Opening.

    def begin(
        self,
        out: str | os.PathLike[str] | None,
        dataset: Dataset,
        splits: Splits,
        *,
        force: bool = False,
        say: Callable[[str], object] = print,
    ) -> None:
        """Make the folder and write what is known before training; a resumed run is compared instead.

        Args:
            out: Where; an existing folder that is not a run may be used. By default ``runs/NAME-OF-DATA``,
                then ``-2``, ``-3`` and so on. Without effect on a resumed run.
            dataset: For what it leaves out.
            splits: For ``photos.csv``.
            force: Resume although the photos are not those that the run began with.
            say: Told which photos have changed.

        Raises:
            RunFolderError: The folder belongs to another run, or cannot be made; or other photos.
        """
        photos = photos_csv(dataset, splits)
        has_moved = False
        if not self._is_new:
            before, now = self.read_config(self.path), self._config.absolute()
            has_moved = (before.data, before.val) != (now.data, now.val)
        if (self._resumed or has_moved) and (file := self.path / "photos.csv").exists():
            try:
                then = file.read_text("utf-8", errors="surrogateescape")
            except OSError as error:
                raise RunFolderError(
                    f"{file} cannot be read: {error.strerror or error}. Close the programs that have it open."
                ) from error
            lines = photo_differences(then, photos, before.val_folder, now.val_folder)
            _refuse_differences(lines, force, say)
        if not self._writes:
            return
        try:
            if self._is_new:
                path = _next_free_folder(self._config.data) if out is None else Path(out)
                self.refuse(path)
                self.open(path)
            if self._is_new or has_moved:  # so that the run can be resumed again
                self.write_text("config.toml", tomli_w.dumps(self._config.absolute().to_dict()))
            self._show("photos.csv", photos)
            self._show("quarantine.csv", quarantine_csv(dataset))
        except OSError as error:
            raise RunFolderError(
                f"Cannot make the run folder {out or 'in runs'}: {error.strerror or error}. Name another "
                f"folder."
            ) from error

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
                named.
        """
        self._is_new = False
        self.open(path)
        if self.read_metrics(path):
            raise RunFolderError(f"{path} has been finished by another process; nothing is left to do.")
        checkpoint = self._checkpoints.newest(say)
        if checkpoint is None:
            say("There is no checkpoint that can be used; the run begins again.")
            return
        self._resumed, state = checkpoint
        _refuse_differences(differences(state["origin"], self._origin), force, say)
        torch.set_num_threads(state["threads"])  # other numbers of threads add in another order
        self.progress = Progress.from_dict(state["progress"])
        if self.progress.totals is not None and not self._writes:
            self.progress.totals = torch.zeros(3)  # they are what the main process has counted
        for phase in self._config.phases[: self.progress.phase + 1]:
            self._remember(network, trained_names(phase))
        saved, own = below("network/", self._resumed), named_tensors(network)
        copy_strictly(saved, {name: own[name] for name in saved if name in own}, "weights")
        say(f"Resuming {self.progress.place(self._config)}")

    @staticmethod
    def read_config(path: str | os.PathLike[str]) -> TrainConfig:
        """Return the configuration of a run.

        Raises:
            RunFolderError: The folder is not a run.
        """
        file = Path(path) / "config.toml"
        if not file.is_file():
            raise RunFolderError(
                f"{os.fspath(path)} is not the folder of a run: it holds no config.toml. Name the folder "
                f"that headstart train wrote. A run that was stopped before its photos were read has none: "
                f"give the command again."
            )
        return TrainConfig.from_toml(file)

    @staticmethod
    def read_metrics(path: str | os.PathLike[str]) -> dict[str, Any] | None:
        """Return the content of ``metrics.json``, or None if the run is not finished."""
        file = Path(path) / "metrics.json"  # written last
        return json.loads(file.read_text("utf-8")) if file.is_file() else None

    @staticmethod
    def refuse(out: str | os.PathLike[str] | None) -> None:
        """Raise ``RunFolderError`` if the folder holds another run, or cannot be made or written."""
        path = Path("runs" if out is None else out)
        if out is not None and (path / "config.toml").exists():
            raise RunFolderError(
                f"{out} already holds a run. Name another folder, or none to get a new one; "
                f"{shell_command('resume', out)} resumes a run that was stopped."
            )
        if out is not None and (taken := [name for name in _NAMES if (path / name).exists()]):
            raise RunFolderError(
                f"{out} holds {', '.join(taken)}, which a run would overwrite. Name another folder, or "
                f"none to get a new one."
            )
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            why = "is a file" if not nearest.is_dir() else "cannot be written"
            raise RunFolderError(f"Cannot make the run folder {path}: {nearest} {why}. Name another folder.")

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
            "progress": progress.to_dict(),
            "files": sorted(set(files)),
            "threads": torch.get_num_threads(),
        }
        self._checkpoints.save(tensors, state)
        self._saved = time.monotonic()
        self._seconds_to_save = self._saved - begun

    def record(self, record: EpochRecord, network: nn.Module) -> bool:
        """Keep an epoch: its numbers, the curves, and what has been trained if it is the best so far.

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
        self._write_history()
        pause = max(_SECONDS_BETWEEN_CURVES, self._seconds_to_draw / _SHARE_FOR_CURVES)
        if time.monotonic() - self._curves_drawn > pause:
            self.draw_curves()
        return is_best

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

    def draw_curves(self) -> None:
        """Bring ``curves.png`` up to date."""
        if self._writes and self.progress.best is not None:
            begun = time.monotonic()
            best = self.progress.best
            mixing = [phase.name for phase in self._config.phases if phase.mixup or phase.cutmix]
            try:
                picture = curves_png(self.progress.history, best.record, share=best.share, mixing=mixing)
            except Exception as error:  # whatever a drawing library raises: it is not worth the run
                if "curves.png" not in self._warned:
                    self._say(f"Warning: curves.png cannot be drawn: {type(error).__name__}: {error}")
                self._warned.add("curves.png")
            else:
                self._show("curves.png", picture)
            self._curves_drawn = time.monotonic()
            self._seconds_to_draw = self._curves_drawn - begun

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
        self.write_text("metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
        self._warned.clear()
        for name, content in list(self._outdated.items()):
            self._show(name, content)
        self._checkpoints.delete()
        self._is_finished = True

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder, whole or not at all."""
        if self._writes:
            write_whole(self.path / name, text)

    def _show(self, name: str, content: str | bytes) -> None:
        """Write a file that people look at, or warn, once, that it is out of date."""
        if not self._writes:
            return
        path = self.path / name
        with contextlib.suppress(OSError):
            old = path.read_bytes()
            new = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
            if old == new:
                self._outdated.pop(name, None)
                return
        error = write_to_look_at(path, content)
        if error is None:
            self._outdated.pop(name, None)
            return
        self._outdated[name] = content
        if name not in self._warned:
            self._say(
                f"Warning: {path} is not up to date, because it cannot be written: {error.reason}. Another "
                f"program may have it open. Training does not depend on it."
            )
        self._warned.add(name)

    def open(self, path: Path) -> None:
        """Use a folder that is there; in a process that does not write, the main process's."""
        self.path = path
        self._checkpoints = Checkpoints(path / "checkpoints", writes=self._writes)
        if self._writes:
            self._checkpoints.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            delete_parts(path)

    def close(self) -> None:
        """Let other processes use the folder."""
        if self._lock is None:
            return
        self._lock.release()
        if self._is_finished:
            delete(self._lock.lock_file)
            with contextlib.suppress(OSError):  # somebody's files are in it
                self._checkpoints.folder.rmdir()

    def _take_lock(self) -> None:
        self._lock = filelock.FileLock(self._checkpoints.folder / "lock", blocking=False)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise RunFolderError(
                f"Another process is training in {self.path}. Wait until it has ended, or stop it first."
            ) from None

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

    def _write_history(self) -> None:
        history = self.progress.history
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0].flat()), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.flat() for row in history)
        self._show("history.csv", text.getvalue())


def _refuse_differences(lines: Sequence[str], force: bool, say: Callable[[str], object]) -> None:
    if not lines:
        return
    text = "\n".join(f"  {line}" for line in lines)
    if not force:
        raise RunFolderError(
            f"This run cannot be resumed exactly, because these things changed:\n{text}\nRestore them, start "
            f"a new run, or resume anyway with --force (force=True); the result will then differ from an "
            f"uninterrupted run."
        )
    say(f"Warning: the result will differ from an uninterrupted run, because these things changed:\n{text}")


def likely_folder(data: str) -> Path:
    """Return the folder that a run without ``out`` would get now."""
    return next(path for path in _default_folders(data) if not path.exists())


def _next_free_folder(data: str) -> Path:
    for path in _default_folders(data):
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)  # fails if it is there, so that two runs at once get two folders
            return path
    raise AssertionError  # there is no last one


def _default_folders(data: str) -> Iterator[Path]:
    path = Path(data).resolve()
    name = re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else path.name).strip("-.") or "run"
    return (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
