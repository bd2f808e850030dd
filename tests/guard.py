"""Run ``headstart`` under a guard: any attempt to reach a network ends the process at once.

On Linux the guard is a seccomp filter of the kernel, which also sees what compiled code does; elsewhere it is
an audit hook, which only sees Python. Whoever looks up a name or reports something opens a socket first.
Sockets between processes of this machine (AF_UNIX) are allowed.

    python guard.py [nobody] ARGUMENT ...

With ``nobody``, the user has no home and no entry in the password database. Without any other argument, a
socket is opened.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

_NUMBER_OF_SOCKET = {"x86_64": 41, "aarch64": 198}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
CAUGHT = 97  # the exit code where the guard is an audit hook; from the kernel, the signal SIGSYS
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2


def forbid_network() -> None:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in _NUMBER_OF_SOCKET:
        sys.addaudithook(lambda event, arguments: os._exit(CAUGHT) if event == "socket.__new__" else None)
        return
    steps = [
        (_LOAD_WORD, 0, 0, 4),  # the architecture of the call
        (_JUMP_IF_EQUAL, 0, 5, _ARCHITECTURE[machine]),
        (_LOAD_WORD, 0, 0, 0),  # its number
        (_JUMP_IF_EQUAL, 0, 3, _NUMBER_OF_SOCKET[machine]),
        (_LOAD_WORD, 0, 0, 16),  # its first argument: the family of addresses
        (_JUMP_IF_EQUAL, 1, 0, 1),  # AF_UNIX
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    given = Program(len(steps), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in (
        (_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (_SET_SECCOMP, _FILTER, ctypes.byref(given), 0, 0),
    ):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


def be_nobody() -> None:
    import pwd

    def getpwuid(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    pwd.getpwuid = getpwuid  # type: ignore[assignment]
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        os.environ.pop(name, None)


if __name__ == "__main__":
    if sys.argv[1:2] == ["nobody"]:
        be_nobody()
        del sys.argv[1]
    forbid_network()
    if not sys.argv[1:]:
        import socket

        socket.create_connection(("127.0.0.1", 9), timeout=1)
    from headstart.__main__ import main

    main()
