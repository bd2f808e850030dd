"""The models that are served: names, verification, and replacement while the service runs."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from PIL import Image

from headstart.errors import DamagedFileError, HeadstartError, UsageError, did_you_mean, shell_command
from headstart.inference.model_file import open_onnx
from headstart.inference.model_path import model_in
from headstart.inference.predictor import Predictor
from headstart.inference.self_test import TOLERANCE, differences
from headstart.serving.problems import Problem
from headstart.serving.similar import ShownPhotos

Stamp: TypeAlias = tuple[int, int, int]
"""Time of the last change, size and number of a file. Another file of the same name has another stamp."""

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_OUTSIDE_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")
_MOST_BYTES: Final = 2**31  # of any ONNX file
_USUAL_FILE: Final = "model.onnx"  # in a run folder, whose name says more


@dataclass(frozen=True, eq=False)
class Served:
    """A model that answers requests.

    Attributes:
        name: Its name in requests.
        sha256: Of the model file, in hexadecimal.
        stamp: Of the model file, before it was read.
        predictor: The model.
        similar: Its training photos, if they are shown.
    """

    name: str
    sha256: str
    stamp: Stamp
    predictor: Predictor
    similar: ShownPhotos | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Classes, or targets."""
        return self.predictor.info.targets or self.predictor.info.class_names


def named_paths(arguments: Iterable[str]) -> dict[str, Path]:
    """Return the paths of models by their names.

    Args:
        arguments: Run folders or model files, each as ``PATH`` or ``NAME=PATH``. Without a name, it is that
            of the run folder, or of the file without its suffix.

    Raises:
        UsageError: A name is not allowed, or two models have the same name.
        RunFolderError: A folder does not contain a finished run, or a file does not exist.
    """
    found: dict[str, Path] = {}
    for argument in arguments:
        name, is_named, text = argument.partition("=")
        if not is_named or Path(argument).exists():
            name, text = "", argument
        path = Path(text)
        model = model_in(path).absolute()
        if not name:
            stem = model.parent.name if model.name == _USUAL_FILE else model.stem
            name = _OUTSIDE_NAMES.sub("-", stem)[:64] or "model"
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"The name of a model is {name!r}; it must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
            )
        if name in found:
            raise UsageError(
                f"Two models are called {name!r}: {found[name]} and {path}. Name one of them: NAME={text}"
            )
        found[name] = path
    if not found:
        raise UsageError("There is no model to serve. Name a run folder or a model.onnx.")
    return found


def load_served(name: str, path: Path) -> Served:
    """Read and verify the file of a model, and open it.

    Raises:
        HeadstartError: It is not a model, is damaged, or cannot be opened.
    """
    file = model_in(path)
    stamp = _stamp(file)
    if stamp is None:
        raise UsageError(f"{file} cannot be read.")
    if stamp[1] > _MOST_BYTES:
        raise UsageError(f"{file} has {stamp[1] / 1e9:,.1f} GB, so it is not an ONNX model.")
    model, info = open_onnx(file)
    predictor = Predictor(model, info, path=str(file))
    return Served(name, hashlib.sha256(model).hexdigest(), stamp, predictor)


def prove(served: Served) -> None:
    """Run the self-test of a model, and warm it up with a photo.

    Raises:
        DamagedFileError: The outputs differ from those in the file, or the model cannot be run.
    """
    predictor = served.predictor
    self_test = predictor.info.self_test
    try:
        outputs = predictor.self_test_outputs()
        (answer,) = predictor.predict_iter([_grey_photo()], workers=0)
    except Exception as error:  # ONNX Runtime's exceptions have no base class of their own
        reason = str(error).strip().partition("\n")[0]
        raise DamagedFileError(f"The model {served.name!r} cannot be run: {reason}") from error
    if answer.error is not None:
        raise DamagedFileError(f"The model {served.name!r} does not predict a photo: {answer.error}")
    if self_test is None:
        wrong = [name for name, rows in outputs.items() if not np.isfinite(rows).all()]
    else:
        found = differences(self_test, outputs, np.array(predictor.info.scale[1]))
        wrong = [name for name, each in found.items() if not each <= TOLERANCE]  # or NaN
    if wrong:
        raise DamagedFileError(
            f"The model {served.name!r} fails its self-test: {', '.join(wrong)} differ from those in the "
            f"file. For details: {shell_command('verify', predictor.path or '')}"
        )


class Models:
    """The models by name. Requests read them in one thread, while another one replaces them.

    Args:
        paths: Run folders or model files by name.
        similar: Whether similar training photos are shown.
        say: Called with a sentence for the operator.

    Raises:
        HeadstartError: A model cannot be opened.

    Attributes:
        ready: Whether every model has been proved.
    """

    def __init__(
        self, paths: dict[str, Path], *, similar: bool = False, say: Callable[[str], object] = lambda _: None
    ) -> None:
        self._paths, self._similar, self._say = paths, similar, say
        self._served = {name: load_served(name, path) for name, path in paths.items()}
        self._seen: dict[str, Stamp | None] = {name: each.stamp for name, each in self._served.items()}
        self._refused: dict[str, Stamp | None] = {}  # None: there was no file
        self.ready = False

    def prove_all(self) -> None:
        """Prove every model; the service is ready then.

        Raises:
            DamagedFileError: A model fails.
            UsageError: The only model cannot show the similar photos that are asked for.
        """
        for each in self.all():
            prove(each)
            self._served[each.name] = self._with_similar(each)
        self.ready = True

    def _with_similar(self, served: Served) -> Served:
        """Return a model with its training photos, if they are shown and it has any."""
        if not self._similar:
            return served
        try:
            return replace(served, similar=ShownPhotos(served.predictor, self._say))
        except HeadstartError as error:
            if len(self._served) == 1 and not self.ready:
                raise
            self._say(f"The model {served.name!r} is served without similar photos. {error}")
            return served

    def all(self) -> list[Served]:
        """Return the models in the order of the command line; the first is the default."""
        return list(self._served.values())

    def get(self, name: str | None) -> Served:
        """Return the model of a name; without a name, the first model.

        Raises:
            Problem: No model has the name, or the models are not ready.
        """
        if not self.ready:
            raise Problem(
                "loading", "The models are being loaded. Try again in a second.", {"Retry-After": "1"}
            )
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            names = ", ".join(self._served)
            hint = did_you_mean(name, self._served)
            raise Problem("unknown_model", f"No model has this name.{hint} The models are: {names}.")
        return self._served[name]

    def take_over(self, tell: Callable[[Served, Exception | None], object]) -> None:
        """Replace models whose files have changed since the last call but one, and are whole and proved.

        A request that has begun is answered by the model that it began with. A file that is refused, or that
        is missing, is left alone until it changes again.

        Args:
            tell: Called with each new model, or with the old one and the reason why a file is refused or
                missing.
        """
        for name, old in list(self._served.items()):
            try:
                stamp = _stamp(model_in(self._paths[name]))
            except (HeadstartError, OSError):  # gone, or just being replaced
                stamp = None
            is_still = stamp == self._seen[name]  # not being written at this moment
            self._seen[name] = stamp
            if not is_still or (name in self._refused and stamp == self._refused[name]):
                continue
            self._refused.pop(name, None)
            if stamp == old.stamp:
                continue
            try:
                new = load_served(name, self._paths[name])
                prove(new)
                new = self._with_similar(new)
            except Exception as error:  # whatever it is, such as too little memory: the old model stays
                self._refused[name] = stamp
                tell(old, error)
                continue
            self._served[name] = new
            if new.sha256 != old.sha256:
                tell(new, None)


def _stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _grey_photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (256, 256), "grey").save(file, "JPEG")
    return file.getvalue()
