"""Hashes the code of a network, because its exported graph does not show everything that PyTorch runs."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from pathlib import Path
from types import CodeType

from torch import nn


def code_digest(module: nn.Module) -> str:
    """Return a hash of the code of a module's classes: their files, and their methods as loaded."""
    sha256 = hashlib.sha256()
    classes = {cls for part in module.modules() for cls in type(part).__mro__ if cls is not object}
    for cls in sorted(classes, key=lambda cls: (cls.__module__, cls.__qualname__)):
        sha256.update(f"{cls.__module__}.{cls.__qualname__}\n".encode())
        file = getattr(sys.modules.get(cls.__module__), "__file__", None)
        if file is not None and not cls.__module__.startswith("torch."):
            with contextlib.suppress(OSError):
                sha256.update(Path(file).read_bytes())
        for name, method in sorted(vars(cls).items(), key=lambda item: item[0]):
            if (code := getattr(method, "__code__", None)) is not None:
                sha256.update(repr((name, code.co_code, code.co_names, _constants(code))).encode())
    return sha256.hexdigest()[:16]


def _constants(code: CodeType) -> list[object]:
    """Return the constants of a function in a form that is the same in every process."""
    constants: list[object] = []
    for each in code.co_consts:
        if isinstance(each, CodeType):  # a function inside it
            constants.append((each.co_code, each.co_names, _constants(each)))
        else:
            constants.append(sorted(map(repr, each)) if isinstance(each, frozenset) else each)
    return constants
