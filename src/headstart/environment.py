"""Reads environment variables, and sets some before other libraries are loaded.

Variables that the user has set are never changed. Child processes inherit what is set here.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import re
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

# How long PyTorch's threads spin while they wait for each other: iterations of GCC's OpenMP, milliseconds of
# LLVM's and Intel's. Their own defaults use up the processor time that the threads they wait for need, where
# other processes want it too; benchmarks/busy.py measures it.
_SPIN_BRIEFLY: Final = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}

# Parameters of glibc's ``mallopt``: numbers from its malloc.h, and bytes. Without the first, which is as
# large as glibc allows, the second would turn every large tensor into a mapping of its own.
_KEEP_FREED: Final = {"M_MMAP_THRESHOLD": (-3, 32 * 2**20), "M_TRIM_THRESHOLD": (-1, 256 * 2**20)}
# glibc adapts neither once one is set, and would trim the heap after each photo: 8 % of the processor time.
_RETURN_LARGE: Final = {"M_MMAP_THRESHOLD": (-3, 16 * 2**20), "M_TRIM_THRESHOLD": (-1, 32 * 2**20)}


class _Gpu(NamedTuple):
    """How a GPU that PyTorch is built for shows without PyTorch."""

    driver: str  # Linux: the device file of its driver
    toolkit: str  # Windows: a variable that its installer sets
    variables: tuple[str, ...]  # which devices programs may see


GPUS: Final = {
    "cuda": _Gpu("/dev/nvidiactl", "CUDA_PATH", ("CUDA_VISIBLE_DEVICES",)),
    "hip": _Gpu(
        "/dev/kfd", "HIP_PATH", ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
    ),
}

_OF_STEPS: Final = ("torch", "torchvision", "timm", "accelerate", "matplotlib")


def set_defaults() -> None:
    """Limit spinning of waiting threads, disable ONNX Runtime's telemetry, and let pyarrow free its memory.

    Nothing is set for a library that is already loaded, or if the user has set a variable about spinning.
    """
    decided = [name for name in ("OMP_WAIT_POLICY", *_SPIN_BRIEFLY) if name in os.environ]
    if "torch" not in sys.modules and not decided:
        os.environ.update(_SPIN_BRIEFLY)
    if "onnxruntime" not in sys.modules:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if "pyarrow" not in sys.modules:  # its own allocator keeps what was freed in another thread
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if "torch" not in sys.modules and not _has_name():
        os.environ["LOGNAME"] = f"uid_{os.getuid()}"  # PyTorch's compiler fails without a name when imported


def keep_freed_memory() -> None:
    """Let glibc keep up to 256 MB of freed memory instead of requesting it again in each training step.

    Each training step frees tensors that the next step allocates again. Clearing these pages took the system
    6 % of the processor time of fine-tuning on a CPU. Only commands that train call this function, because
    the memory of a host program is its own. It does nothing on systems other than Linux with glibc, or if the
    user has set one of the two thresholds with ``MALLOC_*_`` or ``GLIBC_TUNABLES``.
    """
    _set_malloc(_KEEP_FREED)


def return_large_blocks() -> None:
    """Let glibc return freed blocks of 16 MB or more at once, for services, which get large uploads.

    By default, glibc keeps such blocks once some have been freed: hundreds of megabytes after a few uploads
    of 60 MB. Photos of usual size take less while they are decoded. It does nothing where
    ``keep_freed_memory`` does nothing.
    """
    _set_malloc(_RETURN_LARGE)


def _set_malloc(parameters: Mapping[str, tuple[int, int]]) -> None:
    """Set parameters of glibc, given by name, unless the user has set one of them."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    decided = any(
        f"MALLOC_{name.removeprefix('M_')}_" in os.environ
        or f"glibc.malloc.{name.removeprefix('M_').lower()}=" in tunables
        for name in parameters
    )
    if decided or not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):  # another C library, such as musl
        mallopt = ctypes.CDLL(None).mallopt
        for number, num_bytes in parameters.values():
            if not mallopt(number, num_bytes):  # as on 32 bits, where the first is too large
                return


def return_freed_memory() -> None:
    """Return freed memory to the system: glibc keeps it between objects that are still in use.

    It does nothing on systems other than Linux with glibc.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # another C library, such as musl
            ctypes.CDLL(None).malloc_trim(0)


def _has_name() -> bool:
    """Return whether ``getpass.getuser`` finds the user's name."""
    if sys.platform == "win32" or any(
        os.environ.get(name) for name in ("LOGNAME", "USER", "LNAME", "USERNAME")
    ):
        return True
    import pwd

    try:
        return bool(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False


def is_secondary() -> bool:
    """Return whether this is one of several processes, and not the first, which speaks for all."""
    return os.environ.get("RANK", "0") != "0"  # torchrun's number of this process


def has_pytorch() -> bool:
    """Return whether PyTorch and the packages for training in steps are installed, without importing them."""
    return all(importlib.util.find_spec(name) is not None for name in _OF_STEPS)


def may_have_gpu() -> bool:
    """Return whether PyTorch could find a GPU of NVIDIA or AMD, without importing it.

    PyTorch must be built for the GPU, the driver must be present, and no variable may hide all devices.
    """
    if not has_pytorch():
        return False
    if torch := sys.modules.get("torch"):
        return bool(torch.cuda.is_available())  # AMD's too
    return any(
        not any(_hides_all(os.environ[name]) for name in gpu.variables if name in os.environ)
        and (Path(gpu.driver).exists() or (os.name == "nt" and bool(os.environ.get(gpu.toolkit))))
        for gpu in map(GPUS.__getitem__, _builds_of_pytorch())
    )


def _builds_of_pytorch() -> list[str]:
    """Return the kinds of GPU that PyTorch is built for, read from its version file."""
    package = importlib.util.find_spec("torch")
    assert package is not None
    assert package.origin is not None
    try:
        text = Path(package.origin).with_name("version.py").read_text("utf-8")
    except OSError:  # another kind of installation, which may be built for anything
        return list(GPUS)
    return [name for name in GPUS if re.search(rf"^{name}\b[^=]*= *['\"]", text, re.MULTILINE)]


def _hides_all(devices: str) -> bool:
    """Return whether a list of visible devices is empty; it ends before the first invalid entry."""
    return re.match(r"\s*\+?\d|GPU-|MIG-", devices) is None


def home() -> Path | None:
    """Return the user's home folder; None without ``$HOME`` and without an entry in the password database."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expanded(path: str) -> Path:
    """Return a path from an environment variable, with ``~`` replaced by the user's home folder."""
    return Path(path).expanduser() if home() else Path(path)


def own_cache() -> Path | None:
    """Return Headstart's cache folder, which need not exist.

    Returns:
        ``$HEADSTART_CACHE``, or ``headstart`` in the user's cache folder; None for a user without a home.
        If the variable is an address, it names no folder: see ``shared_cache``.
    """
    if (own := os.environ.get("HEADSTART_CACHE")) and not shared_cache():
        return Path(own)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "headstart"
    return at_home / ".cache" / "headstart" if (at_home := home()) else None


def make_in_cache(folder: Path) -> None:
    """Create a folder in Headstart's cache, and the cache itself, for this user alone (mode 0700).

    What is in them shows private photos. A cache in its usual place that others can read, as older versions
    made it, is closed to them. A folder that exists where ``HEADSTART_CACHE`` says keeps its permissions; if
    others can write to it, they can also use what is made in it. All on Windows keeps them, where the user's
    folders are private.

    Args:
        folder: A folder in ``own_cache``, which may exist; or another one, which is made private too.

    Raises:
        OSError: The folder cannot be created.
    """
    cache = own_cache()
    inside = [each for each in (folder, *folder.parents) if cache in (each, *each.parents)] or [folder]
    if os.name == "nt":
        folder.mkdir(parents=True, exist_ok=True)
        return
    is_usual = bool(shared_cache() or not os.environ.get("HEADSTART_CACHE"))
    if cache in inside and is_usual:
        _close_to_others(cache)
    is_shared = cache in inside and cache.is_dir() and stat.S_IMODE(cache.stat().st_mode) & 0o022
    for each in reversed(inside):  # folders above have the usual permissions
        each.mkdir(mode=0o777 if is_shared else 0o700, parents=True, exist_ok=True)


def mode_of_new_files(folder: Path) -> int:
    """Return the permissions of new files: in a folder of this user alone, for this user alone as well."""
    return 0o600 if stat.S_IMODE(folder.stat().st_mode) & 0o077 == 0 else 0o666


def _close_to_others(folder: Path) -> None:
    """Take permissions from all but the owner of a folder, which is this user's and not a link."""
    with contextlib.suppress(OSError):
        status = folder.lstat()
        mode = stat.S_IMODE(status.st_mode)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and mode & 0o077:
            folder.chmod(mode & ~0o077)


def shared_cache() -> str | None:
    """Return ``$HEADSTART_CACHE`` if it is an address, such as ``s3://bucket/headstart``; else None.

    Stored features are then kept at this address, and everything else in the user's cache folder.
    """
    own = os.environ.get("HEADSTART_CACHE", "")
    return own if "://" in own else None
