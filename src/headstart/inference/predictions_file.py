"""Writes a file of predictions that can be continued by the same command after an interruption."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, TextIO, cast

from headstart.columns import counted
from headstart.errors import FileWriteError, UsageError
from headstart.files import delete, retried
from headstart.images.address import read_address
from headstart.images.photo import Photo
from headstart.inference.runtime import map_in_order
from headstart.locks import try_lock
from headstart.tasks.prediction import Prediction, SimilarPhoto

_STATE: Final = "headstart predictions"  # how the first line of a state begins


class PredictionsFile:
    """An output file of predictions that can be continued after an interruption.

    Until it is complete, there are two files beside it: ``OUT.TOKEN.part`` contains the rows so far and is
    finally renamed to the output file; ``OUT.state`` records the prediction of each photo, by path and
    SHA-256. Each row is written immediately, so that even SIGKILL loses at most the current row. Another call
    with the same settings reuses the predictions of photos that have not changed, in any order. Files of
    other programs are never used or replaced: the state contains the name of the part, and its lines have
    checksums.

    Use it as a context manager that returns the file to write to.

    Args:
        out: The output file. It is replaced only when the new one is complete.
        settings: Everything that predictions depend on besides their photos, as plain JSON values.
        model: The name of the model, for messages; its content belongs to ``settings``, as ``model``.

    Attributes:
        num_known: Number of photos with a prediction from an interrupted call.
        num_changed: Number of them whose content has changed since, so far: they are predicted again.

    Raises:
        UsageError: ``OUT.state`` belongs to another program, is in use, or has other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any], model: str = "") -> None:
        self._state: io.FileIO | None = None
        self._out = out
        self._state_path = out.with_name(f"{out.name}.state")
        self._settings = json.loads(json.dumps(settings))
        self._model = model
        self._known: dict[bytes, int] = {}  # offset of a photo's last prediction in the state
        self.num_changed = 0
        self._num_written = 0
        self._token = secrets.token_hex(4)
        if self._state_path.exists():
            self._open_state()

    @property
    def num_known(self) -> int:
        return len(self._known)

    def predictions(
        self,
        photos: Iterable[str],
        predict: Callable[[Iterable[Photo]], Iterable[Prediction]],
        *,
        workers: int | None = None,
    ) -> Iterator[Prediction]:
        """Yield the predictions of photos in their order, both reused and new ones.

        Args:
            photos: Addresses of photos; only a bounded number is read ahead.
            predict: Predicts the remaining photos, in their order.
            workers: Number of threads that read the photos of an interrupted call, as in ``map_in_order``.
        """
        places = self._places(photos, workers)
        waiting: deque[int | Reading] = deque()  # the place of a known prediction, or what is predicted

        for path, place in places:
            if place is None:
                rest = chain([(path, place)], places)
                break
            yield self._read(place)
        else:
            return

        def unknown() -> Iterator[Photo]:
            for path, place in rest:
                waiting.append(Reading() if place is None else place)
                if isinstance(reading := waiting[-1], Reading):
                    yield Photo(path, reading)

        def known() -> Iterator[Prediction]:
            while waiting and isinstance(place := waiting[0], int):
                waiting.popleft()
                yield self._read(place)

        for prediction in predict(unknown()):
            yield from known()
            reading = waiting.popleft()
            assert isinstance(reading, Reading)
            self._append({"sha256": reading.sha256, **prediction.to_dict()})
            yield prediction
        yield from known()

    def _places(self, photos: Iterable[str], workers: int | None) -> Iterator[tuple[str, int | None]]:
        """Yield photos and the places of their predictions in the state; None for those to predict."""
        if not self._known:
            yield from ((path, None) for path in photos)
            return

        def look_up(path: str) -> tuple[str, int | None, bool]:
            if (place := self._known.get(_key(path))) is None:
                return path, None, False
            is_same = Photo(path).sha256() == self._fields(place)["sha256"]
            return path, place if is_same else None, not is_same

        for path, place, has_changed in map_in_order(look_up, photos, workers):
            self.num_changed += has_changed
            yield path, place

    def __enter__(self) -> TextIO:
        if self._state is None:
            self._open_state()
        try:
            self._part = _Part(self._part_path)
        except OSError as error:
            raise FileWriteError(str(self._part_path), error.strerror or str(error), 0) from error
        part = cast(BinaryIO, self._part)
        # Kept here, for it closes the file when it is forgotten.
        self._text = io.TextIOWrapper(
            part, encoding="utf-8", errors="surrogateescape", newline="", write_through=True
        )
        return self._text

    def __del__(self) -> None:
        self._close_state()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
            return
        self._part.close()
        self._close_state()
        if self._num_written or self._known:
            so_far = counted(self._num_written + len(self._known), "prediction")
            print(
                f"headstart: {self._out} is not complete. {so_far} are kept in {self._part_path}; give the "
                f"same command again to continue.",
                file=sys.stderr,
            )
        else:
            delete(self._part_path)
            delete(self._state_path)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            reason = error.strerror or str(error)
            raise FileWriteError(str(self._part_path), reason, 0) from error

    def _finish(self) -> None:
        try:
            self._part.complete()
            retried(lambda: self._part_path.replace(self._out))
        except OSError as error:
            self._close_state()
            reason = error.strerror or str(error)
            raise FileWriteError(str(self._out), reason, 0, kept=str(self._part_path)) from error
        self._close_state()
        delete(self._state_path, patience=1.0)

    def _close_state(self) -> None:
        if self._state is not None:
            self._state.close()
        self._state = None

    @property
    def _part_path(self) -> Path:
        return self._out.with_name(f"{self._out.name}.{self._token}.part")

    # The state: a line of JSON for each prediction, behind a checksum; the first line holds the settings.

    def _open_state(self) -> None:
        try:
            self._state = _open(self._state_path)
        except OSError as error:
            raise FileWriteError(str(self._state_path), error.strerror or str(error), 0) from error
        try:
            if not try_lock(self._state):
                raise UsageError(f"Another process is predicting into {self._out}. Wait until it has ended.")
            self._read_state(self._state)
        except BaseException:
            self._close_state()
            raise

    def _read_state(self, state: io.FileIO) -> None:
        end = 0
        with open(self._state_path, "rb") as lines:
            for number, line in enumerate(lines):
                content = _content_of(line)
                if number == 0:
                    self._take_header(content)
                elif not line.endswith(b"\n"):  # it was being written
                    break
                elif content is not None and content["sha256"]:  # what is damaged is predicted again
                    self._known[_key(content["path"])] = end
                end += len(line)
        state.seek(end)
        state.truncate()
        if end == 0:
            self._append({_STATE: 1, "settings": self._settings, "token": self._token, "model": self._model})
            self._num_written = 0

    def _take_header(self, header: Any) -> None:
        if not isinstance(header, dict) or header.get(_STATE) != 1:
            raise UsageError(
                f"{self._state_path} exists and was not written by headstart predict, which needs a file of "
                f"that name. Move it, or name another file with --out."
            )
        then = header["settings"]
        names = sorted(then.keys() | self._settings.keys())
        if changed := [name for name in names if then.get(name) != self._settings.get(name)]:
            differing = f"with other settings ({', '.join(changed)})"
            if "model" in changed and (model := header.get("model")):
                same = "another version of " if model == self._model else ""
                differing = f"by {same}the model {model}" + (f", {differing}" if len(changed) > 1 else "")
            raise UsageError(
                f"{self._state_path} belongs to an interrupted prediction {differing}. Run that command "
                f"again to complete it, delete the file, or name another file with --out."
            )
        self._token = header["token"]

    def _append(self, content: Mapping[str, Any]) -> None:
        assert self._state is not None
        text = json.dumps(content).encode()
        _write_all(self._state, _check(text) + b" " + text + b"\n")
        self._num_written += 1

    def _fields(self, place: int) -> Any:
        with open(self._state_path, "rb") as file:
            file.seek(place)
            return _content_of(file.readline())

    def _read(self, place: int) -> Prediction:
        fields = self._fields(place)
        del fields["sha256"]
        fields["labels"] = tuple(fields["labels"])
        fields["box"] = tuple(fields["box"]) if fields["box"] is not None else None
        fields["similar"] = tuple(SimilarPhoto(**each) for each in fields["similar"])
        return Prediction(**fields)


class _Part(io.RawIOBase):
    """A file that is rewritten from its beginning, but changed only from the first difference on."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = _open(path)
        self._is_same = True

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        data = bytes(data)
        if self._is_same:
            place = self._file.tell()
            if self._file.read(len(data)) == data:
                return len(data)
            self._file.seek(place)
            self._file.truncate()
            self._is_same = False
        _write_all(self._file, data)
        return len(data)

    def complete(self) -> None:
        """Flush it to disk and close it."""
        self._file.truncate()
        os.fsync(self._file.fileno())
        self.close()

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def _open(path: Path) -> io.FileIO:
    """Open a file for reading and writing, unbuffered, and create it if it does not exist."""
    with contextlib.suppress(FileExistsError):
        return io.FileIO(path, "x+")
    return io.FileIO(path, "r+")


def _write_all(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _content_of(line: bytes) -> Any:
    """Return the content of a line of the state; None if its checksum is wrong."""
    check, _, text = line.rstrip(b"\n").partition(b" ")
    return json.loads(text) if check == _check(text) else None


def _key(path: str) -> bytes:
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).digest()[:16]


class Reading:
    """Reads one photo and keeps the SHA-256 of what the model has seen; empty if it could not be read."""

    def __init__(self) -> None:
        self.sha256 = ""

    def __call__(self, address: str) -> bytes:
        content = read_address(address)
        self.sha256 = self.sha256 or hashlib.sha256(content).hexdigest()
        return content
