"""Reads PyTorch's files of weights without PyTorch, and without running any code from them.

``torch.save`` has used two formats. The legacy format consists of five pickles (a magic number, a version,
information about the machine, the state dict, the keys of the storages), followed by the storages: number of
elements and raw values. The other is a zip archive with one pickle and one uncompressed entry per storage. In
the pickle, a tensor is a call of a function that rebuilds it, and its storage is a persistent id.

Source: ``_legacy_load`` and ``_load`` in https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from headstart.errors import WeightsFileError

_ZIP: Final = b"PK\3\4"
_MAGIC: Final = 0x1950A86A20F9469CFC6C
_VERSION: Final = 1001

_DTYPES: Final = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
}


def read_pth(data: bytes, path: str) -> dict[str, np.ndarray]:
    """Read a state dict, and nothing else, from a file of ``torch.save``.

    Args:
        data: Content of the file, in the legacy format or as a zip archive.
        path: Name of the file in errors; it is not opened.

    Returns:
        The tensors by name, in the order of the file. Contiguous tensors are read-only views of ``data``.

    Raises:
        WeightsFileError: The file is damaged, or contains something other than named tensors.
    """
    try:
        content, storages = (_read_zip if data.startswith(_ZIP) else _read_legacy)(data)
        if not isinstance(content, dict) or not content:
            raise _RefusedError(f"it holds {type(content).__name__}, not names and tensors")
        return {name: _array(tensor, storages, name) for name, tensor in content.items()}
    except _RefusedError as error:
        reason = str(error)
    except Exception as error:  # damage shows in any way
        reason = f"it is damaged ({type(error).__name__})"
    raise WeightsFileError(
        f"{path} cannot be read as a state dict: {reason}. No code in it ran. Download or copy the file "
        f"again, or save the state dict alone, with torch.save(network.state_dict(), path)."
    )


class _RefusedError(Exception):
    """The file contains something that is not allowed; the message names it."""


@dataclass(frozen=True)
class _Storage:
    """A flat array of numbers that tensors refer to."""

    key: str
    dtype: np.dtype[Any]
    num_elements: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor whose storage has not been read yet; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class _Callable:
    """A function that a pickle may call."""

    function: Callable[..., Any]

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    if not isinstance(storage, _Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise _RefusedError("a tensor in it is damaged")
    if any(type(number) is not int or number < 0 for number in (offset, *shape, *strides)):
        raise _RefusedError("a tensor in it is damaged")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, *_: Any) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise _RefusedError("a parameter in it is damaged")
    return tensor


def _ordered_dict(pairs: Any = ()) -> OrderedDict[str, Any]:
    content: OrderedDict[str, Any] = OrderedDict()
    for key, value in pairs:
        _set(content, key, value)
    return content


def _set(content: Any, key: Any, value: Any) -> None:
    # Any other key might be a nest of tuples whose hash never ends.
    if not isinstance(content, dict) or type(key) is not str:
        raise _RefusedError("it holds something else than names and tensors")
    content[key] = value


_ALLOWED: Final = {
    "collections.OrderedDict": _Callable(_ordered_dict),
    "torch._utils._rebuild_tensor": _Callable(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": _Callable(_rebuild_tensor),
    "torch._utils._rebuild_parameter": _Callable(_rebuild_parameter),
    **{f"torch.{name}": np.dtype(code) for name, code in _DTYPES.items()},
}

_PythonsOwn: Any = pickle._Unpickler
"""The pure Python unpickler, because the one in C allocates whatever size a damaged file names."""


class _Unpickler(_PythonsOwn):  # type: ignore[misc]
    """An unpickler for tensors, numbers, texts, lists, tuples and dictionaries with texts as keys."""

    dispatch: ClassVar[dict[int, Any]] = dict(_PythonsOwn.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        full_name = f"{module}.{name}"
        if full_name not in _ALLOWED:
            raise _RefusedError(f"it asks for {full_name[:80]!r}, which is not a part of a state dict")
        return _ALLOWED[full_name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, num_elements, *view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or view not in ([], [None]):
            raise _RefusedError("a tensor's storage is of an unknown kind")
        if type(key) is not str or type(num_elements) is not int:
            raise _RefusedError("a tensor's storage is damaged")
        return _Storage(key, dtype, num_elements)

    def load_reduce(self) -> None:
        args = self.stack.pop()
        function = self.stack[-1]
        if not isinstance(function, _Callable):
            raise _RefusedError("it calls something that cannot be called")
        self.stack[-1] = function(*args)

    def load_build(self) -> None:
        self.stack.pop()  # the versions of layers that a state dict carries
        if not isinstance(self.stack[-1], OrderedDict):
            raise _RefusedError("it gives a state to something else than a state dict")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set(self.stack[-1], key, value)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set(self.stack[-1], key, value)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(_ordered_dict(zip(items[::2], items[1::2], strict=True)))

    def refuse(self) -> None:
        raise _RefusedError("it holds objects")

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    for _code in (
        *(pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.INST, pickle.OBJ, pickle.ADDITEMS, pickle.FROZENSET),
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    ):
        dispatch[_code[0]] = refuse


def _read_legacy(data: bytes) -> tuple[Any, Mapping[str, np.ndarray]]:
    file = io.BytesIO(data)
    magic = _Unpickler(file).load()
    if type(magic) is not int or magic != _MAGIC or _Unpickler(file).load() != _VERSION:
        raise _RefusedError("it is not what torch.save writes")
    if _Unpickler(file).load()["little_endian"] is not True:
        raise _RefusedError("its numbers are big-endian")
    unpickler = _StorageCollector(file)
    content = unpickler.load()
    keys = _Unpickler(file).load()
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise _RefusedError("its list of storages is damaged")
    storages: dict[str, np.ndarray] = {}
    at = file.tell()
    for key in keys:
        storage = unpickler.storages[key]
        if int.from_bytes(data[at : at + 8], "little") != storage.num_elements or key in storages:
            raise _RefusedError("it is damaged: a storage has another size than its tensors say")
        storages[key] = np.frombuffer(data, storage.dtype, storage.num_elements, at + 8)
        at += 8 + storages[key].nbytes
    if at != len(data):
        raise _RefusedError("it is damaged: it has extra bytes at its end")
    return content, storages


def _read_zip(data: bytes) -> tuple[Any, Mapping[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (pickled,) = (entry for entry in archive.namelist() if entry.endswith("/data.pkl"))
        root = pickled.removesuffix("data.pkl")

        def read(name: str) -> bytes:
            entry = archive.getinfo(root + name)
            if entry.compress_type != zipfile.ZIP_STORED:
                raise _RefusedError("it is compressed, which torch.save does not do")
            return archive.read(entry)  # compares the checksum

        if f"{root}byteorder" in archive.namelist() and read("byteorder") != b"little":
            raise _RefusedError("its numbers are big-endian")
        unpickler = _StorageCollector(io.BytesIO(read("data.pkl")))
        content = unpickler.load()
        return content, {
            key: np.frombuffer(read(f"data/{key}"), storage.dtype)
            for key, storage in unpickler.storages.items()
        }


class _StorageCollector(_Unpickler):
    """Collects the storages that tensors refer to."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def persistent_load(self, pid: Any) -> _Storage:
        storage = super().persistent_load(pid)
        if self.storages.setdefault(storage.key, storage) != storage:
            raise _RefusedError("it is damaged: a storage has two types")
        return storage


def _array(tensor: Any, storages: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """Return a tensor as a view of its storage."""
    if not isinstance(tensor, _Tensor):
        raise _RefusedError(f"{name[:80]!r} in it is {type(tensor).__name__}, not a tensor")
    flat = storages[tensor.storage.key]
    shape, strides = tensor.shape, tensor.strides
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    num_elements = math.prod(shape)
    if (num_elements and last >= len(flat)) or num_elements > len(flat) or tensor.offset > len(flat):
        raise _RefusedError(f"it is damaged: {name[:80]!r} is larger than its numbers")
    flat = flat[tensor.offset :]
    if strides == _contiguous(shape):
        return flat[:num_elements].reshape(shape)
    in_bytes = tuple(stride * flat.itemsize for stride in strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, shape, in_bytes, writeable=False))


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))
