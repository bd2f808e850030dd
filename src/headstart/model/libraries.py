"""Imports torchvision and timm when a name needs them, and without PyTorch's compiler.

Importing torchvision or timm imports ``torch._dynamo``, the whole compiler, for a decorator and one function
that no classifier calls; this takes 1.0 of 1.1 seconds. The import of the compiler is therefore delayed until
the first call that needs it.

This uses private names of PyTorch. If one of them is missing or behaves differently, the compiler is imported
as usual, which only costs the time.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"
_STAND_IN = "torch._dynamo.utils"
_lock = threading.Lock()


def torchvision_models() -> Any:
    """Import and return ``torchvision.models``."""
    return _import("torchvision.models")


def timm() -> Any:
    """Import and return timm, which imports torchvision."""
    return _import("timm")


def _import(name: str) -> ModuleType:
    with _lock:  # what follows is for one thread at a time
        if name not in sys.modules and _COMPILER not in sys.modules:
            try:
                with _without_compiler():
                    return importlib.import_module(name)
            except Exception:  # the library's own fault, which shows again below, or another version's
                pass
        return importlib.import_module(name)


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Delay what torchvision and timm request from the compiler when they are imported.

    They request ``torch.compiler.disable`` and ``torch._dynamo.utils.is_compile_supported``. Any other
    request in the meantime (by another version, or another thread) imports the real compiler.
    """
    disable = getattr(getattr(torch, "compiler", None), "disable", None)
    if disable is None or (disable_later := _disable_later(disable)) is None or not _has_what_is_put_off():
        yield  # another PyTorch than this module knows
        return
    stand_in, finder = _StandIn(_STAND_IN), _MakesWay()
    sys.modules[_STAND_IN] = stand_in
    sys.meta_path.insert(0, finder)
    torch.compiler.disable = disable_later
    try:
        yield
    finally:
        torch.compiler.disable = disable
        sys.meta_path.remove(finder)
        _take_away_stand_in()


def _disable_later(disable: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return PyTorch's own way to disable the compiler without importing it, if it has one."""
    try:
        from torch._compile import _disable_dynamo
    except Exception:
        return None

    def disable_later(fn: Callable[..., Any] | None = None, recursive: bool = True, **details: Any) -> Any:
        try:
            return _disable_dynamo(fn, recursive)  # ``details`` is the reason, a message
        except Exception:
            return disable(fn, recursive, **details)

    return disable_later


def _has_what_is_put_off() -> bool:
    """Return whether this PyTorch has the function that the stand-in replaces, without importing it."""
    try:
        source = Path(torch.__path__[0], "_dynamo", "utils.py").read_text("utf-8")
    except (OSError, ValueError):
        return False
    return "\ndef is_compile_supported(" in source


class _StandIn(ModuleType):
    """A stand-in for ``torch._dynamo.utils`` until more than ``is_compile_supported`` is needed."""

    @staticmethod
    def is_compile_supported(device_type: Any) -> Any:
        return _real_utils().is_compile_supported(device_type)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by whoever goes through all modules, and by every import of a name
            raise AttributeError(name)
        return getattr(_real_utils(), name)


class _MakesWay:
    """Removes the stand-in before the real compiler is loaded by anyone."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == _COMPILER:
            _take_away_stand_in()


def _real_utils() -> ModuleType:
    _take_away_stand_in()
    return importlib.import_module(_STAND_IN)


def _take_away_stand_in() -> None:
    if isinstance(sys.modules.get(_STAND_IN), _StandIn):
        del sys.modules[_STAND_IN]
