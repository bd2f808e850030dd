"""Every error that Headstart raises on purpose.

::

    HeadstartError                  exit code 1: the work failed
    ├── UsageError                  exit code 2: the command, the configuration or the data is wrong
    │   ├── ConfigError             one or more settings are wrong; the message lists all of them
    │   ├── DataError               the photos or labels cannot be used
    │   ├── UnknownBackboneError    no network, stage or weights of that name
    │   ├── InputError              the argument of predict is not a photo
    │   ├── NetworkError            a network cannot be trained or exported as it is
    │   ├── MissingPackageError     an optional package is not installed
    │   ├── RunFolderError          a run folder is missing, unfinished, or not Headstart's
    │   └── WeightsFileError        a file of weights is missing, refused, or another network's
    ├── ImageError                  one photo cannot be read: path and reason
    ├── WeightsError                pretrained weights are not available; also the base of WeightsFileError
    ├── TrainingError               training failed: a loss is not finite, a frozen part changed
    ├── DamagedFileError            a file's checksum does not match its content
    ├── FileWriteError              a file cannot be written: path, reason and size
    ├── ExportError                 the trained network cannot be written in another format
    └── ParityError                 the exported model disagrees with the trained one

A message says what is wrong, the value received, what is allowed or nearest, and what to do next. The
command line prints it without a traceback; any other exception is a bug of Headstart's and shows one.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from headstart.messages import fitted, shortened


class HeadstartError(Exception):
    """The work failed; the message gives the reason."""

    exit_code: ClassVar[int] = 1

    def __str__(self) -> str:
        return fitted(super().__str__())


class UsageError(HeadstartError):
    """The command, the configuration or the data is wrong; nothing has been done yet."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """One or more settings are wrong; the message lists all of them.

    Args:
        problems: One sentence per wrong setting; a string is a single one.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(self.problems)  # as it is made, so that the error survives pickling

    def __str__(self) -> str:
        return fitted("\n".join(self.problems))


class DataError(UsageError):
    """The photos or their labels cannot be used."""


class UnknownBackboneError(UsageError):
    """No network, stage or weights of that name."""


class InputError(UsageError, TypeError, ValueError):
    """The argument of predict is not a photo, by its Python type or by the dtype or shape of its array."""


class NetworkError(UsageError):
    """A network cannot be trained or exported as it is; nothing has been trained."""


class MissingPackageError(UsageError):
    """An optional package is not installed; the message contains the pip command that installs it."""


class RunFolderError(UsageError):
    """A run folder is missing, unfinished, or not Headstart's."""


class ImageError(HeadstartError):
    """One photo cannot be read.

    Args:
        path: Path of the photo, as the caller gave it.
        reason: What is wrong with it, without the path.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)  # both, so that the error survives pickling

    def __str__(self) -> str:
        return fitted(f"{shortened(self.path)}: {self.reason}")


class WeightsError(HeadstartError):
    """Pretrained weights are not available: not on this machine, and they cannot be downloaded."""


class WeightsFileError(UsageError, WeightsError):
    """A file of weights cannot be used: it is missing, holds more than tensors, or fits another network."""


class TrainingError(HeadstartError):
    """Training failed: a loss is not finite, or a frozen part changed."""


class DamagedFileError(HeadstartError):
    """A file's checksum does not match its content, so it is not used."""


class FileWriteError(HeadstartError):
    """A file cannot be written; an existing file of that name is unchanged.

    Args:
        path: Path of the file.
        reason: The message of the operating system.
        num_bytes: Size of the content; 0 if unknown.
        kept: Path of a file that contains the new content instead; None if there is none.
    """

    def __init__(self, path: str, reason: str, num_bytes: int, kept: str | None = None) -> None:
        self.path = path
        self.reason = reason
        self.num_bytes = num_bytes
        self.kept = kept
        super().__init__(path, reason, num_bytes, kept)  # all, so that the error survives pickling

    def __str__(self) -> str:
        path = shortened(self.path)
        if self.kept is not None:
            return fitted(
                f"Cannot replace {path}: {self.reason}. Another program may have it open. The new content is "
                f"in {shortened(self.kept)}."
            )
        size = f" It takes {self.num_bytes:,} bytes." if self.num_bytes else ""
        return fitted(f"Cannot write {path}: {self.reason}.{size}")


class ExportError(HeadstartError):
    """A trained network cannot be written in another format; its weights are safe in model.safetensors."""


class ParityError(HeadstartError):
    """The exported model disagrees with the trained network on the same photos."""


def shell_command(*words: str | os.PathLike[str]) -> str:
    """Return a Headstart command that a user can paste, quoted for the shell of this system.

    Args:
        words: Arguments after ``headstart``. A path that begins with a dash gets ``./`` before it.
    """
    texts = [os.fspath(word) for word in words]
    texts = [f"./{text}" if text.startswith("-") and Path(text).exists() else text for text in texts]
    if os.name == "nt":
        import subprocess

        return subprocess.list2cmdline(["headstart", *texts])
    return shlex.join(["headstart", *texts])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or an empty string."""
    names = list(known)
    nearest = [name for name in names if name.casefold() == word.casefold()]
    nearest = nearest or difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def requires_extra(extra: str, what: str = "This", otherwise: str = "") -> AbstractContextManager[None]:
    """Convert a failed import of an optional package into an error with the pip command of an extra.

    Args:
        extra: Name of the extra.
        what: What needs the package; the beginning of the message.
        otherwise: A sentence at the end of the message about what works without it.

    Raises:
        MissingPackageError: A package other than Headstart itself could not be found.
    """
    return requires(f"'headstart[{extra}]'", what, otherwise)


@contextmanager
def requires(requirement: str, what: str = "This", otherwise: str = "") -> Iterator[None]:
    """Convert a failed import of an optional package into an error with its pip command.

    Args:
        requirement: Argument for pip, quoted for a shell if necessary.
        what: What needs the package; the beginning of the message.
        otherwise: A sentence at the end of the message about what works without it.

    Raises:
        MissingPackageError: A package other than Headstart itself could not be found.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.partition(".")[0] == "headstart":
            raise
        raise MissingPackageError(
            f"{what} needs the package {error.name}, which is not installed: pip install {requirement}"
            f"{otherwise and '. ' + otherwise}"
        ) from error
