"""The server: a socket, the service behind it, and its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn

from headstart.environment import return_large_blocks
from headstart.errors import HeadstartError
from headstart.serving.app import Service
from headstart.serving.log import Log, LogHandler
from headstart.serving.models import Models
from headstart.serving.protocol import TimedProtocol, timed
from headstart.serving.settings import ServeSettings

_SECONDS_BETWEEN_LOOKS: Final = 1.0  # at the files of models
_SECONDS_OF_IDLE_CONNECTIONS: Final = 75  # longer than nginx keeps them
_SECONDS_TO_FINISH: Final = 60
_FILES_BESIDE_CONNECTIONS: Final = 100
_MOST_CONNECTIONS: Final = 2000
_SECONDS_PER_TURN: Final = 0.001
"""Python's global lock is passed on after this time: threads that predict let the event loop wait less."""


def serve_at(listener: socket.socket, paths: dict[str, Path], settings: ServeSettings) -> None:
    """Serve models at a socket until the process is stopped.

    Raises:
        HeadstartError: A model is damaged or fails its self-test.
    """
    return_large_blocks()
    sys.setswitchinterval(_SECONDS_PER_TURN)
    log = Log(_standard_output())
    try:
        models = Models(paths, similar=settings.similar, say=_say)
        service = Service(models, settings, log)
        server = Server(service, log)
        shown = f"http://{_shown(listener)}{settings.root_path}"
        _say(f"Serving {', '.join(paths)} at {shown}. Stop with Ctrl+C.")
        log.write("listening", url=shown, models={each.name: each.sha256 for each in models.all()})
        with contextlib.closing(service):
            server.run([listener])
        log.write("stopped")
    finally:
        log.close()
    if server.failure is not None:
        raise server.failure


class Server(uvicorn.Server):
    """Serves until it is told to stop, and then finishes what it is answering.

    Args:
        service: What answers.
        log: Gets warnings of uvicorn.
        limits: Of ``TimedProtocol``, instead of those of the service.

    Attributes:
        failure: Why the models cannot be served; None while they can.
    """

    def __init__(self, service: Service, log: Log, **limits: float) -> None:
        connections = {"most_connections": _most_connections(), "body_seconds": service.settings.max_seconds}
        protocol: type[TimedProtocol] = timed(**(connections | limits))
        config = uvicorn.Config(
            service.app,
            http=protocol,
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_SECONDS_OF_IDLE_CONNECTIONS,
            timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        )
        super().__init__(config)
        self.failure: HeadstartError | None = None
        self._service, self._log = service, log
        self._end = threading.Event()

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve at these sockets, in the caller's thread."""
        handler = LogHandler(self._log)
        logger = logging.getLogger("uvicorn.error")
        logger.addHandler(handler)
        was_passed_on, logger.propagate = logger.propagate, False
        looking = threading.Thread(target=self._look_after_service, name="headstart-look-after", daemon=True)
        looking.start()
        try:
            super().run(sockets)
        finally:
            self._end.set()
            looking.join(_SECONDS_TO_FINISH)  # a model that is just being proved
            logger.removeHandler(handler)
            logger.propagate = was_passed_on

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM. uvicorn's own method would raise the signal again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        for each, handler in before.items():
            if handler is not signal.SIG_IGN:  # as under nohup
                signal.signal(each, self.handle_exit)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _look_after_service(self) -> None:
        """Prove the models, then look after the service, until the server stops."""
        try:
            self._service.models.prove_all()
            self._log.write("ready")
        except HeadstartError as error:
            self.failure = error
            self.should_exit = True
            return
        while not self._end.wait(_SECONDS_BETWEEN_LOOKS):
            self._service.look_after()


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _most_connections() -> int:
    """Return how many connections this process can have open."""
    try:
        import resource
    except ImportError:  # Windows
        return _MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < 0:  # unlimited
        return _MOST_CONNECTIONS
    return max(1, min(_MOST_CONNECTIONS, files - _FILES_BESIDE_CONNECTIONS))


def _standard_output() -> int:
    """Return the descriptor of the log, which does not pass through a buffer that could fail later."""
    try:
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # a notebook, a test
        return os.open(os.devnull, os.O_WRONLY)


def _say(text: str) -> None:
    print(f"headstart: {text}", file=sys.stderr, flush=True)
