"""The folder of a run, without its weights: files, locking, and tables for people."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import filelock
import tomli_w

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.check import quarantine_csv
from headstart.data.split import Splits
from headstart.errors import FileWriteError, RunFolderError, shell_command
from headstart.files import FilesToLookAt, delete, delete_parts, given_path, write_whole
from headstart.products.product import PRODUCTS
from headstart.records import Dataset
from headstart.training.run.kept_decisions import decisions_of, delete_kept_decisions, keep_decisions
from headstart.training.run.photos_csv import photo_differences, photos_csv, places_of
from headstart.training.run.provenance import differences
from headstart.training.watch.watcher import RunStart

STEPS: Final = "steps"
"""Name of the folder in the run folder that holds one run per step of the recipe "best"."""

FOLDS: Final = "folds"
"""Name of the folder in the run folder that holds one run per fold, and the run on all photos."""

# What a run writes. A folder with any of them in it is not taken for a new run: they may be somebody's.
FILES_OF_A_RUN: Final = (
    *("config.toml", "photos.csv", "quarantine.csv", "findings.csv", "history.csv", "curves.png"),
    *("decisions.csv", "metrics.json"),
    *("model.safetensors", "model.onnx", "checkpoints", *PRODUCTS),
    *("trackers.json", "tensorboard", "wandb", STEPS, FOLDS),
)


# In the folder of checkpoints: what a run was begun with, for one that has no checkpoint.
_ORIGIN: Final = "origin.json"


class RunFolder:
    """The folder that one training run writes. Every file in it is complete or missing.

    The lists of photos may be open in other programs. If one cannot be written, a warning is given, and
    writing is tried again at the end.

    Attributes:
        path: Path of the folder; empty in processes that do not write.
        config: Settings of the run, with its phases.
        has_changed: Whether the run has been resumed by force although something had changed.
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
            say: Called with a sentence about files that cannot be written and that nothing depends on.
        """
        self.path = Path()
        self.has_changed = False
        self.config = config
        self._origin = origin
        self._decisions = decisions_of(config) if writes else b""
        self._writes = writes
        self._is_new = True
        self._is_finished = False
        self._lock: filelock.BaseFileLock | None = None
        self._say = say
        self._files = FilesToLookAt(say)

    # Opening.

    def reopen(self, path: Path) -> None:
        """Open the folder of an interrupted run.

        Raises:
            RunFolderError: Another process uses the run or has finished it.
        """
        self._is_new = False
        self.open(path)
        if self.read_metrics(path):
            raise RunFolderError(f"{path} has been finished by another process; nothing is left to do.")

    def begin_again(self, why: str, *, force: bool) -> None:
        """Report that a reopened run starts again, and what can be reused.

        Args:
            why: Beginning of the sentence.
            force: Start even if something has changed.

        Raises:
            RunFolderError: Code, packages, machine, weights or settings have changed; the message lists all
                differences.
        """
        try:
            then = json.loads((self.checkpoints_folder / _ORIGIN).read_text("utf-8"))
        except (OSError, ValueError):  # it was stopped before it was written, or by an older Headstart
            then = self._origin
        self._refuse_differences(differences(then, self._origin), force)
        kept = "" if self.config.features == "live" else " Features that are stored are not computed again."
        self._say(f"{why}, so the run begins again.{kept}")

    def begin(
        self, out: str | os.PathLike[str] | None, dataset: Dataset, splits: Splits, *, force: bool = False
    ) -> None:
        """Create the folder and write what is known before training; for a resumed run, compare it instead.

        Args:
            out: Path of the folder, which may exist if it is not a run; by default ``runs/NAME-OF-DATA``,
                then ``-2``, ``-3`` and so on. Ignored for a resumed run.
            dataset: The photos, including those that are left out.
            splits: The splits, for ``photos.csv``.
            force: Resume even if the photos have changed since the run began.

        Raises:
            RunFolderError: The folder belongs to another run, cannot be created, or the photos have changed.
        """
        photos = photos_csv(dataset, splits)
        has_moved = False
        if not self._is_new:
            before, now = self.read_config(self.path), self.config.absolute()
            has_moved = (before.data, before.val, before.images) != (now.data, now.val, now.images)
        if not self._is_new and (file := self.path / "photos.csv").exists():
            try:
                then = file.read_text("utf-8", errors="surrogateescape")
            except OSError as error:
                raise RunFolderError(
                    f"{file} cannot be read: {error.strerror or error}. Close the programs that have it open."
                ) from error
            places = [places_of(each.data, each.val_folder, each.images) for each in (before, now)]
            lines = photo_differences(then, photos, *places)
            self.has_changed |= self._refuse_differences(lines, force)
        if not self._writes:
            return
        try:
            if self._is_new:
                path = next_free_folder(self.config.data) if out is None else Path(out)
                self.refuse(path)
                self.open(path)
            if self._is_new:
                self.write_config(self.path, keep_decisions(self.path, self.config, self._decisions))
            elif has_moved:  # so that the run can be resumed again
                self.write_config(self.path, self.config)
            self.write_text(f"{self.checkpoints_folder.name}/{_ORIGIN}", json.dumps(self._origin))
            self._files.show("photos.csv", photos)
            self._files.show("quarantine.csv", quarantine_csv(dataset))
        except OSError as error:
            raise RunFolderError(
                f"Cannot make the run folder {out or 'in runs'}: {error.strerror or error}. Name another "
                f"folder."
            ) from error

    @staticmethod
    def read_config(path: str | os.PathLike[str]) -> TrainConfig:
        """Return the settings of a run.

        Raises:
            ConfigError: ``path`` is not a path.
            RunFolderError: The folder is not a run.
        """
        file = given_path(path, "path", "a run folder") / "config.toml"
        if not file.is_file():
            raise RunFolderError(
                f"{os.fspath(path)} is not the folder of a run: it contains no config.toml. Name the folder "
                f"that headstart train wrote. A run that was stopped before its photos were read has none: "
                f"give the command again."
            )
        return TrainConfig.from_toml(file)

    @staticmethod
    def read_metrics(path: str | os.PathLike[str]) -> dict[str, Any] | None:
        """Return the content of ``metrics.json``, or None if the run is not finished."""
        file = Path(path) / "metrics.json"  # written last
        metrics = json.loads(file.read_text("utf-8")) if file.is_file() else {}
        return metrics if metrics and not metrics.get("failed") else None

    @classmethod
    def create(cls, out: str | os.PathLike[str] | None, config: TrainConfig, inside: str = STEPS) -> Path:
        """Create the folder of a series of runs, and write its settings; arguments are those of ``begin``.

        The runs will be in the folder ``inside`` of it.

        Raises:
            RunFolderError: The folder cannot be created, or contains a run or the photos.
        """
        cls.refuse(out, config.data)
        path = next_free_folder(config.data) if out is None else Path(out)
        (path / inside).mkdir(parents=True, exist_ok=True)
        cls.write_config(path, keep_decisions(path, config, decisions_of(config)))
        return path

    @staticmethod
    def write_config(path: Path, config: TrainConfig) -> None:
        """Write the settings of a run, so that it can be resumed."""
        write_whole(path / "config.toml", tomli_w.dumps(config.absolute().to_dict()))

    @staticmethod
    def discard(path: Path, config: TrainConfig, inside: str = STEPS) -> None:
        """Delete what ``create`` has made and whatever is in its ``inside``; other files stay."""
        shutil.rmtree(path / inside, ignore_errors=True)
        delete_kept_decisions(path, config)
        delete(path / "config.toml")
        with contextlib.suppress(OSError):  # somebody's files are in it
            path.rmdir()

    @staticmethod
    def refuse(out: str | os.PathLike[str] | None, data: str | None = None) -> None:
        """Raise ``RunFolderError`` if the folder cannot be created or written, or contains a run or the
        photos.

        Args:
            out: Path that the user has named.
            data: Location of the photos.
        """
        path = given_path("runs" if out is None else out, "out", "a new run folder")
        if out is not None and data is not None and _are_same(path, Path(data)):
            raise RunFolderError(
                f"{out} is the folder of the photos. Name another one for the run, or none to get a new one."
            )
        if out is not None and (path / "config.toml").exists():
            raise RunFolderError(
                f"{out} already holds a run. Name another folder, or none to get a new one; "
                f"{shell_command('resume', out)} resumes a run that was stopped."
            )
        if out is not None and (taken := [name for name in FILES_OF_A_RUN if (path / name).exists()]):
            raise RunFolderError(
                f"{out} holds {', '.join(taken)}, which a run would overwrite. Name another folder, or "
                f"none to get a new one."
            )
        nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK):
            why = "is a file" if not nearest.is_dir() else "cannot be written"
            raise RunFolderError(f"Cannot make the run folder {path}: {nearest} {why}. Name another folder.")

    def open(self, path: Path) -> None:
        """Use an existing folder; in a process that does not write, that of the main process."""
        self.path = self._files.folder = path
        if self._writes:
            self.checkpoints_folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            delete_parts(path)

    @property
    def to_resume(self) -> Path:
        """The folder to resume: that of the series if the run is one step of the recipe "best", or a fold."""
        series = self.path.parent.parent
        is_step = self.path.parent.name in (STEPS, FOLDS) and (series / "config.toml").is_file()
        return series if is_step else self.path

    @property
    def checkpoints_folder(self) -> Path:
        """Folder with the state and the lock of an unfinished run."""
        return self.path / "checkpoints"

    def close(self) -> None:
        """Release the lock of the folder."""
        if self._lock is None:
            return
        self._lock.release()
        if self._is_finished:
            delete(self._lock.lock_file)
            with contextlib.suppress(OSError):  # somebody's files are in it
                self.checkpoints_folder.rmdir()

    def _take_lock(self) -> None:
        self._lock = filelock.FileLock(self.checkpoints_folder / "lock", blocking=False)
        try:
            self._lock.acquire()
        except filelock.Timeout:
            raise RunFolderError(
                f"Another process is training in {self.path}. Wait until it has ended, or stop it first."
            ) from None

    def start(self) -> RunStart:
        """Return what watchers are told of the run at its beginning."""
        return RunStart(self.path, self.config, is_resumed=not self._is_new)

    def remaining_phases(self) -> Iterator[PhaseConfig]:
        """Yield the phases that are not done."""
        return iter(self.config.phases)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``, which marks the run as finished, after all other files.

        It marks the run as finished, unless it names products that have ``failed``: resuming the run makes
        these again.
        """
        self.write_text("metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
        self._files.show_again()
        self._is_finished = not metrics.get("failed")
        if self._is_finished and self._writes:
            delete(self.checkpoints_folder / _ORIGIN)

    def _refuse_differences(self, lines: Sequence[str], force: bool) -> bool:
        """Refuse to resume where something has changed; by force, say what.

        Args:
            lines: One for each change.
            force: Resume anyway.

        Returns:
            Whether there are changes.

        Raises:
            RunFolderError: There are changes, and no force.
        """
        if not lines:
            return False
        text = "\n".join(f"  {line}" for line in lines)
        if not force:
            raise RunFolderError(
                f"This run cannot be resumed exactly, because these things changed:\n{text}\nRestore them, "
                f"start a new run, or resume anyway with --force (force=True); the result will then differ "
                f"from an uninterrupted run."
            )
        self._say(
            f"Warning: the result will differ from an uninterrupted run, because these things changed:\n"
            f"{text}"
        )
        return True

    @contextmanager
    def resume_explained(self) -> Iterator[None]:
        """Say how to go on if the block is stopped: by a signal, or because a file cannot be written."""
        try:
            yield
        except FileWriteError:
            if self.path != Path():
                again = shell_command("resume", self.to_resume)
                self._say(f"What has been saved is not lost. Once files can be written: {again}")
            raise
        except (KeyboardInterrupt, SystemExit):
            if self.path == Path():  # the photos were still being read
                self._say(
                    "The run had not begun. Repeat the same command; stored features are not computed again."
                )
            else:
                self._say(f"Resume with: {shell_command('resume', self.to_resume)}")
            raise

    def write_text(self, name: str, text: str) -> None:
        """Write a file of the folder completely or not at all."""
        if self._writes:
            write_whole(self.path / name, text)

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file of the folder completely or not at all."""
        if self._writes:
            write_whole(self.path / name, content)


def _are_same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)


def likely_folder(data: str) -> Path:
    """Return the folder that a run without ``out`` would use now."""
    return next(path for path in _default_folders(data) if not path.exists())


def next_free_folder(data: str) -> Path:
    """Create the folder of a run without ``out``, and return it."""
    for path in _default_folders(data):
        with contextlib.suppress(FileExistsError):
            path.mkdir(parents=True)  # fails if it is there, so that two runs at once get two folders
            return path
    raise AssertionError  # there is no last one


def _default_folders(data: str) -> Iterator[Path]:
    path = Path(data).resolve()
    is_file = path.is_file() or path.suffix.lower() == ".tar"  # several, as in {000..199}.tar
    name = re.sub(r"[^\w.-]+", "-", path.stem if is_file else path.name).strip("-.") or "run"
    return (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
