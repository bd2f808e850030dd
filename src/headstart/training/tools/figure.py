"""Matplotlib's figures, without pyplot and without a file in the user's home."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.environment import home, make_in_cache, own_cache

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_lock = threading.Lock()


def new_figure(**settings: Any) -> Figure:
    """Make a figure by matplotlib's object interface: pyplot keeps global state and may want a screen.

    Raises:
        OSError: Matplotlib needs a folder that it can write to, and there is none, not even a temporary one.
    """
    with _lock, _fonts_in_own_cache():
        from matplotlib.figure import Figure
    return Figure(**settings)


@contextmanager
def _fonts_in_own_cache() -> Iterator[None]:
    """While matplotlib is imported, let its list of fonts be kept in Headstart's own cache.

    Matplotlib chooses its folders once, when it is imported. What the host program and the user have decided
    stays: a matplotlib that is imported already, ``MPLCONFIGDIR``, and the user's folder of settings.
    """
    if "matplotlib" in sys.modules or os.environ.get("MPLCONFIGDIR"):
        yield
        return
    folder = _writable_cache()
    # On Linux, the list of fonts has a folder apart from the settings; elsewhere, the user's folder has both.
    name = "XDG_CACHE_HOME" if _has_settings() else "MPLCONFIGDIR"
    before = os.environ.get(name)
    os.environ[name] = str(folder if name == "XDG_CACHE_HOME" else folder / "matplotlib")
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _writable_cache() -> Path:
    folder = own_cache()
    if folder is not None:
        try:
            make_in_cache(folder / "matplotlib")
            if os.access(folder / "matplotlib", os.W_OK):
                return folder
        except OSError:  # a read-only home, for example
            pass
    temporary = Path(tempfile.mkdtemp(prefix="headstart-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


def _has_settings() -> bool:
    """Tell whether the user has a folder of matplotlib's settings that matplotlib would use."""
    at_home = home()
    folders = [at_home / ".matplotlib", at_home / ".config" / "matplotlib"] if at_home else []
    for name in ("XDG_CONFIG_HOME", "LOCALAPPDATA"):
        if base := os.environ.get(name):
            folders.append(Path(base) / "matplotlib")
    return any(folder.is_dir() and os.access(folder, os.W_OK) for folder in folders)
