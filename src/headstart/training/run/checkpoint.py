"""Checkpoints: files of tensors and the progress of training, with a checksum."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from headstart.errors import DamagedFileError, FileWriteError, HeadstartError
from headstart.files import delete, retried
from headstart.inference.model_file import open_safetensors
from headstart.probe.photos import OutOfFold
from headstart.products.safetensors import write_tensors
from headstart.records import Record

# Whatever else lies in the folder is somebody's and stays.
_OURS: Final = re.compile(
    r"\d{4,}\.(safetensors|damaged)|best-\d{4,}(-mixed)?(-\d+)?\.safetensors|out-of-fold\.safetensors|\.[0-9a-f]{16}\.part"
)

_OUT_OF_FOLD: Final = "out-of-fold.safetensors"

KEPT: Final = 2
"""Number of checkpoints kept: the newest, and the one before it in case the newest is damaged."""


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors, and the state of training as JSON, completely or not at all."""
    write_tensors(path, tensors, {"headstart": json.dumps(state)})


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of ``save_checkpoint``.

    Raises:
        DamagedFileError: The checksum is wrong.
    """
    data, metadata = open_safetensors(path)
    return safetensors.torch.load(data), json.loads(metadata["headstart"])


class Checkpoints:
    """The folder of a run's checkpoints.

    ``0001.safetensors``, ``0002.safetensors``, ... contain the state of training. They refer to files of
    weights, such as ``best-0007.safetensors`` for the seventh epoch of the run. Only the last ``KEPT``
    checkpoints, and the files that they refer to, are kept.
    """

    def __init__(self, folder: Path, *, writes: bool = True) -> None:
        self.folder = folder
        self._writes = writes
        self._unusable: set[int] = set()  # which nobody can go back to
        self._files: dict[int, list[str]] = {}  # what each checkpoint that this process knows needs

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Write the next checkpoint, then delete files that are no longer needed.

        Args:
            tensors: All tensors that training changes.
            state: The state of training; its entry ``files`` names the files of weights that it refers to.
        """
        number = max(self._numbers(), default=0) + 1
        save_checkpoint(self._path(number), tensors, state)
        self._unusable.discard(number)  # a damaged one of that number has been put aside
        self._files[number] = state["files"]
        self._delete_unneeded()

    def save_best(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> str:
        """Write a file of weights for the next checkpoint to refer to.

        Returns:
            The name of the file, which differs from ``name`` if an existing file cannot be replaced.
        """
        try:
            save_checkpoint(self.folder / name, tensors, state)
        except FileWriteError as error:
            if error.kept is None:
                raise
            return Path(error.kept).name
        return name

    def load_best(self, name: str) -> dict[str, Tensor]:
        """Read a file of weights.

        Raises:
            DamagedFileError: The checksum is wrong.
        """
        return load_checkpoint(self.folder / name)[0]

    def save_out_of_fold(self, answers: OutOfFold | None, photos: Sequence[Record]) -> None:
        """Write the out-of-fold outputs of the solved head.

        Args:
            answers: None, if there are none, writes nothing.
            photos: The training photos.
        """
        if answers is None or not self._writes:
            return
        tensors = {
            "outputs": torch.from_numpy(answers.outputs),
            "fold": torch.from_numpy(answers.fold.astype(np.int64)),
        }
        save_checkpoint(self.folder / _OUT_OF_FOLD, tensors, {"photos": _digest(photos)})

    def load_out_of_fold(self, photos: Sequence[Record], say: Callable[[str], object]) -> OutOfFold | None:
        """Read the file of ``save_out_of_fold``; None if it is missing or cannot be used.

        Args:
            photos: The current training photos; the outputs are used only if none of them has changed.
            say: Called with the reason why the outputs cannot be used.
        """
        path = self.folder / _OUT_OF_FOLD
        if not path.exists():
            return None
        try:
            tensors, state = load_checkpoint(path)
        except (HeadstartError, OSError) as error:
            say(f"{error} answers.csv has no rows for the training photos.")
            return None
        if state["photos"] != _digest(photos):
            say(
                "answers.csv has no rows for the training photos, because they have changed since the head "
                "was solved."
            )
            return None
        return OutOfFold(tensors["outputs"].numpy(), tensors["fold"].numpy())

    def newest(self, say: Callable[[str], object]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Read the newest undamaged checkpoint whose files all exist.

        Args:
            say: Called with a sentence about each damaged checkpoint.

        Returns:
            Tensors and state of the checkpoint; None if there is none.
        """
        for number in sorted(self._numbers(), reverse=True):
            try:
                tensors, state = load_checkpoint(self._path(number))
                for name in state["files"]:
                    load_checkpoint(self.folder / name)
            except (HeadstartError, OSError) as error:
                self._unusable.add(number)
                say(f"{error} Using the checkpoint before it.")
                if self._writes and isinstance(error, DamagedFileError):  # no longer one of the last two
                    damaged = self._path(number)
                    with contextlib.suppress(OSError):
                        retried(lambda path=damaged: path.rename(path.with_suffix(".damaged")))  # type: ignore[misc]
            else:
                self._files[number] = state["files"]
                return tensors, state
        return None

    def delete(self) -> None:
        """Delete the files written here, and the folder if it is then empty."""
        for path in filter(lambda path: _OURS.fullmatch(path.name), self.folder.iterdir()):
            delete(path)

    def _numbers(self) -> list[int]:
        names = (path.name for path in self.folder.glob("*.safetensors"))
        return [int(Path(name).stem) for name in names if _OURS.fullmatch(name) and name[0].isdigit()]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:04}.safetensors"

    def _delete_unneeded(self) -> None:
        kept = sorted(set(self._numbers()) - self._unusable)[-KEPT:]
        needed = {name for number in kept for name in self._files.get(number, [])}
        for path in filter(lambda path: _OURS.fullmatch(path.name), self.folder.iterdir()):
            is_old = path.stem.isdecimal() and int(path.stem) not in kept
            # A checkpoint of an earlier process may need files that this one does not know of.
            is_unneeded = path.name not in needed and self._files.keys() >= set(kept)
            if is_old or (path.stem.startswith("best-") and is_unneeded) or path.suffix == ".part":
                delete(path)


def _digest(photos: Sequence[Record]) -> str:
    """Return a hash of everything that out-of-fold outputs depend on: order, contents, labels and groups."""
    digest = hashlib.sha256()
    for photo in photos:
        digest.update(repr((photo.sha256, photo.label, photo.labels, photo.numbers, photo.group)).encode())
    return digest.hexdigest()
