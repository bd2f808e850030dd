"""Reads PyTorch's files without running code from them: only tensors and plain containers are loaded.

A pickle can call any function by name. Here, only a few functions that rebuild tensors may be called. An
object of any other class (the ``argparse.Namespace`` of a training script, a configuration, a path, the state
of a scheduler) becomes an empty stand-in, and names that only an attack would use are refused.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import warnings
from collections import Counter, OrderedDict
from typing import Any, ClassVar, Final

import torch

_ZIP: Final = b"PK\3\4"

_ALLOWED: Final[dict[str, Any]] = {
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "torch.Size": torch.Size,
    "torch.device": torch.device,
    "torch._utils._rebuild_tensor": torch._utils._rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._utils._rebuild_parameter": torch._utils._rebuild_parameter,
    **{f"builtins.{each.__name__}": each for each in (set, frozenset, dict, list, tuple, int, float, bool)},
    **{f"builtins.{each.__name__}": each for each in (str, bytearray, complex, slice, object)},
}

# What no training script leaves in a checkpoint. None of it would run; a file that asks for it is hostile.
_HOSTILE_MODULES: Final = frozenset(
    {
        *("os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "importlib", "runpy", "pty"),
        *("webbrowser", "code", "codeop", "timeit", "pdb", "bdb", "pickle", "marshal", "imp", "asyncio"),
        *("multiprocessing", "threading", "signal", "urllib", "http", "ftplib", "smtplib", "tempfile", "pip"),
        *("ctypes", "commands", "popen2", "thread", "httplib", "urllib2", "cPickle"),  # some are Python 2's
    }
)
_HOSTILE_NAMES: Final = frozenset(
    {
        *(f"builtins.{name}" for name in ("eval", "exec", "execfile", "compile", "open", "__import__")),
        *(f"builtins.{name}" for name in ("input", "breakpoint", "exit", "globals", "vars", "setattr")),
        *("io.open", "_io.open", "io.FileIO", "_io.FileIO", "codecs.open", "torch.load", "torch.jit.load"),
    }
)


class StandIn(dict[Any, Any]):
    """An empty object in place of one whose class is not loaded; only items set as in a mapping are kept."""

    def append(self, item: object) -> None:
        """Ignore an item of a list."""

    def extend(self, items: object) -> None:
        """Ignore items of a list."""

    def add(self, item: object) -> None:
        """Ignore an item of a set."""


def load_tensors(data: bytes) -> Any:
    """Read a file of ``torch.save``; objects other than tensors and plain containers become stand-ins.

    Raises:
        Exception: The file is damaged, is TorchScript, or requests something forbidden. The exception may be
            of any type.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle's protocol, or storages of an old kind
        with contextlib.suppress(Exception):  # what its reader does not know, ours may
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if data.startswith(_ZIP):
            records = torch._C.PyTorchFileReader(io.BytesIO(data)).get_all_records()
            if "constants.pkl" in records:
                raise pickle.UnpicklingError("it is TorchScript, which holds code")
        return torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=False, pickle_module=_PickleModule
        )


_PythonsOwn: Any = pickle._Unpickler  # the one that is written in Python


class _Unpickler(_PythonsOwn):  # type: ignore[misc]
    """An unpickler that calls only allowed functions, and restores no state but a state dict's versions."""

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonsOwn.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if full_name in _ALLOWED:
            return _ALLOWED[full_name]
        if module == "torch" and isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        if module.partition(".")[0] in _HOSTILE_MODULES or full_name in _HOSTILE_NAMES:
            raise pickle.UnpicklingError(f"it asks for {full_name}, which could run anything")
        return StandIn

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"it asks for the extension {code}")

    def _instantiate(self, kind: Any, args: Any) -> None:
        self.append(_made(kind, args))

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    def load_newobj(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = _made(self.stack[-1], args)

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

    def load_build(self) -> None:
        state, built = self.stack.pop(), self.stack[-1]
        if type(built) is OrderedDict and isinstance(state, dict):
            # Layers load by the versions that a state dict carries.
            built._metadata = state.get("_metadata")  # type: ignore[attr-defined]
        elif not isinstance(built, StandIn):
            raise pickle.UnpicklingError(f"it gives a state to a {type(built).__name__}")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.NEWOBJ[0]] = load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex
    dispatch[pickle.BUILD[0]] = load_build


def _made(kind: Any, args: Any) -> Any:
    if kind is StandIn or isinstance(kind, StandIn):  # a class, or a method of an object that is none
        return StandIn()
    if not any(kind is allowed for allowed in _ALLOWED.values()):
        raise pickle.UnpicklingError(f"it calls {kind!r:.80}")
    if any(isinstance(each, StandIn) for each in args) and not isinstance(kind, type):
        raise pickle.UnpicklingError("it makes a tensor of something else")
    return kind(*args)


class _PickleModule:
    """A replacement for the module ``pickle``, as an argument of ``torch.load``."""

    Unpickler = _Unpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _Unpickler(file, **options).load()
