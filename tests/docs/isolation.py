"""Pages without the internet and with all ports to themselves, where the system allows it (Linux)."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from functools import cache

_UNSHARE = ["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41


@cache
def program() -> list[str]:
    """Return the command that runs pages, in namespaces of its own where that is allowed.

    With the program ends everything that it has started.
    """
    command = [sys.executable, "-m", "tests.docs"]
    if shutil.which("unshare") and not subprocess.run([*_UNSHARE, "true"], capture_output=True).returncode:
        return [*_UNSHARE, *command, "--isolated"]
    return command


def isolate() -> None:
    """Start this program again in namespaces of its own. Return if that is not allowed."""
    if (command := program())[0] == _UNSHARE[0]:
        os.execvp(command[0], [*command, *sys.argv[1:]])


def start_loopback() -> None:
    """Make 127.0.0.1 work in a new network namespace."""
    import fcntl  # not on Windows

    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh", b"lo", _IFF_UP_RUNNING))
