"""``python -m headstart`` and ``torchrun -m headstart``."""

from __future__ import annotations

import atexit
import codecs
import contextlib
import errno
import importlib
import io
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from headstart.environment import is_secondary
from headstart.errors import HeadstartError, UsageError
from headstart.messages import fitted

# Full, read-only, protected or failing disks, too many open files: nothing that a traceback would explain.
_FAULTS_OF_THE_MACHINE = {
    getattr(errno, name)
    for name in (
        "EACCES",
        "EDQUOT",
        "EFBIG",
        "EIO",
        "EMFILE",
        "ENAMETOOLONG",
        "ENFILE",
        "ENOSPC",
        "EPERM",
        "EROFS",
    )
    if hasattr(errno, name)
}
_stopped_by = 0  # the number of the signal, once there has been one
_STOPPED = {128 + signal.SIGINT: "interrupted", 128 + signal.SIGTERM: "terminated"}


def main() -> None:
    """Run the command line and exit; a user's own mistake gets a message, not a traceback."""
    from headstart.training.run.interrupt import end_process_by  # where it is used, as all of training

    end_process_by(_end_now)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    _let_every_name_be_printed()
    ending: int | None = None
    atexit.register(lambda: _end_at_once(ending))  # the first to be registered is the last to be called
    try:
        code = _run()
        sys.stdout.flush()
    except SystemExit as stop:  # by a signal; or by typer, when standard output is a pipe that nobody reads
        code = stop.code if isinstance(stop.code, int) else 1
        if _stopped_by:  # Ray makes a 1 of the code if it waits while the signal comes
            code = 128 + _stopped_by
        if code in _STOPPED:
            _tell(_STOPPED[code])
    except HeadstartError as error:
        code = error.exit_code
        _tell(str(error), of_all_processes=isinstance(error, UsageError))
    except BrokenPipeError:
        code = 1
    except OSError as error:
        if error.errno not in _FAULTS_OF_THE_MACHINE:
            raise
        code = 1
        _tell(
            fitted(": ".join(str(part) for part in (error.filename, error.strerror) if part)),
            of_all_processes=False,
        )
    except ImportError:  # what a compiled module makes of a signal while it is being loaded
        if not _stopped_by:
            raise
        code = 128 + _stopped_by
        _tell(_STOPPED[code])
    _give_up_what_cannot_be_flushed()
    ending = code
    sys.exit(code)


def _run() -> int:
    import typer

    from headstart.cli import app
    from headstart.cli.options import explain_unknown, explain_value

    # Newer versions of typer carry click inside themselves, older ones import it.
    click_exceptions = importlib.import_module(typer.BadParameter.__module__)
    try:
        return app(standalone_mode=False) or 0
    except click_exceptions.ClickException as error:
        if not is_secondary():
            error.message = error.message.replace("Value error, ", "")  # pydantic's, before every reason
            if isinstance(error, click_exceptions.NoSuchOption):
                explain_unknown(error)
            elif isinstance(error, click_exceptions.BadParameter):
                explain_value(error)
            error.message = fitted(error.message)
            error.show()
        return int(error.exit_code)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Leave through every ``finally``, so that nothing half-written stays behind; a second time, at once."""
    global _stopped_by
    if _stopped_by:
        _end_now(number, "stopped at once")
    _stopped_by = number
    sys.exit(128 + number)


def _end_now(number: int, message: str) -> NoReturn:
    """End the process without waiting for anything; every file of a run is whole at any time."""
    os.write(2, f"headstart: {message}\n".encode())  # not print, which a signal may have interrupted
    os._exit(128 + number)


def _tell(message: str, *, of_all_processes: bool = True) -> None:
    """Print a message; of several processes the first does, or any whose message is its own."""
    if not is_secondary():
        print(f"headstart: {message}", file=sys.stderr)
    elif not of_all_processes:
        print(f"headstart (process {os.environ['RANK']}): {message}", file=sys.stderr)


def _let_every_name_be_printed() -> None:
    """Let standard output take all of Unicode, and file names that are not UTF-8 as the bytes they are."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        as_bytes = codecs.lookup(sys.stdout.encoding).name == "utf-8" and not sys.stdout.isatty()
        sys.stdout.reconfigure(errors="surrogateescape" if as_bytes else "backslashreplace")


def _end_at_once(code: int | None) -> None:
    """Spare the process its tear-down: torch's and ONNX Runtime's take up to a second, and free nothing.

    By now all threads have been joined, and all other exit handlers have run: those that close log files,
    delete temporary folders, wait for child processes. Left to Python are tracebacks, process groups, and
    coverage in a subprocess, whose handler is older than ours.
    """
    distributed = sys.modules.get("torch.distributed")
    has_group = distributed is not None and distributed.is_available() and distributed.is_initialized()
    if code is None or has_group or "coverage" in sys.modules:
        return
    if sys.__stderr__ is not None:
        with contextlib.suppress(OSError):
            sys.__stderr__.flush()
    _give_up_what_cannot_be_flushed()
    os._exit(code)


def _give_up_what_cannot_be_flushed() -> None:
    """Keep Python from failing at exit because the reader has gone, or the disk is full."""
    try:
        if sys.__stdout__ is not None:
            sys.__stdout__.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
