"""What is read from the environment, and what is set in it before other libraries are loaded.

A value that the user has set always stays. What is set here is inherited by child processes, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

# How long PyTorch's threads spin while they wait for each other: iterations of GCC's OpenMP, milliseconds of
# LLVM's and Intel's. Their own defaults use up the processor time that the threads they wait for need, where
# other processes want it too; benchmarks/busy.py measures it.
_SPIN_BRIEFLY: Final = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}


def set_defaults() -> None:
    """Keep waiting threads from spinning for long, and ONNX Runtime from reporting to its makers.

    Nothing is set for a library that is loaded already, nor where the user has decided on spinning.
    """
    decided = [name for name in ("OMP_WAIT_POLICY", *_SPIN_BRIEFLY) if name in os.environ]
    if "torch" not in sys.modules and not decided:
        os.environ.update(_SPIN_BRIEFLY)
    if "onnxruntime" not in sys.modules:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if "torch" not in sys.modules and not _has_name():
        os.environ["LOGNAME"] = f"uid_{os.getuid()}"  # PyTorch's compiler fails without a name when imported


def _has_name() -> bool:
    """Tell whether ``getpass.getuser`` finds the user's name."""
    if sys.platform == "win32" or any(
        os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")
    ):
        return True
    import pwd

    try:
        return bool(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False


def home() -> Path | None:
    """Return the user's home folder; None without ``$HOME`` and without an entry in the password database."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expanded(path: str) -> Path:
    """Return a path of the environment, with ``~`` as the user's home folder."""
    return Path(path).expanduser() if home() else Path(path)


def own_cache() -> Path | None:
    """Return Headstart's cache folder, which need not exist.

    Returns:
        ``$HEADSTART_CACHE``, or ``headstart`` in the user's cache folder; None for a user without a home.
    """
    if own := os.environ.get("HEADSTART_CACHE"):
        return Path(own)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "headstart"
    return at_home / ".cache" / "headstart" if (at_home := home()) else None
