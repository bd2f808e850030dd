"""PyTorch's files of weights, read without PyTorch: whole ones, other ones and damaged ones."""

from __future__ import annotations

import collections
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from headstart.errors import WeightsError
from headstart.frozen.pth import read_pth


def saved(content: Any, *, is_zip: bool = False, **options: Any) -> bytes:
    torch.save(content, file := io.BytesIO(), _use_new_zipfile_serialization=is_zip, **options)
    return file.getvalue()


def tensors() -> OrderedDict[str, Tensor]:
    """One of each number format, and every way in which a tensor may look at its storage."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(6, 5, generator=generator)
    kinds = (torch.float64, torch.float32, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8)
    content = OrderedDict((str(kind), (100 * numbers).to(kind)) for kind in (*kinds, torch.uint8))
    content["scalar"] = torch.tensor(7)
    content["empty"] = torch.zeros(0, 3)
    content["offset"] = numbers[2:, 1]
    content["transposed"] = numbers.t()
    content["shared"] = numbers[1:3]
    content["channels_last"] = torch.rand(2, 3, 4, 4, generator=generator).to(
        memory_format=torch.channels_last
    )
    content["parameter"] = nn.Parameter(numbers[:2].clone())
    return content


@pytest.mark.parametrize("is_zip", [False, True])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_tensors_are_read_as_pytorch_reads_them(is_zip: bool, protocol: int) -> None:
    content = tensors()
    found = read_pth(saved(content, is_zip=is_zip, pickle_protocol=protocol), "a.pth")
    assert list(found) == list(content)
    for name, tensor in content.items():
        expected = tensor.detach().numpy()
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape
        assert found[name].tobytes() == expected.tobytes()


@pytest.mark.parametrize("is_zip", [False, True])
def test_the_state_dict_of_a_network_is_read_with_its_versions(is_zip: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    found = read_pth(saved(network.state_dict(), is_zip=is_zip), "a.pth")
    for name, tensor in network.state_dict().items():
        assert np.array_equal(found[name], tensor.numpy())


class Attack:
    def __reduce__(self) -> Any:
        return os.mkdir, ("attacked",)


OTHER = {
    "nothing": {},
    "a list": [torch.zeros(1)],
    "a tensor": torch.zeros(1),
    "numbers beside tensors": {"a": torch.zeros(1), "epoch": 3},
    "a checkpoint": {"state_dict": {"a": torch.zeros(1)}},
    "numbers as names": {0: torch.zeros(1)},
    "tuples as names": {((), ()): torch.zeros(1)},
    "an attack": {"a": Attack()},
    "another class": {"a": Path("a")},
    "a counter": collections.Counter("a"),
    "a set": {"a": {1}},
    "half precision of another kind": {"a": torch.zeros(1, dtype=torch.bfloat16)},
    "a tensor that repeats its numbers": {"a": torch.zeros(1).expand(10**6)},
    "a sparse tensor": {"a": torch.zeros(3, 3).to_sparse()},
}


@pytest.mark.parametrize("content", OTHER.values(), ids=OTHER)
@pytest.mark.parametrize("is_zip", [False, True])
def test_what_is_not_a_state_dict_is_refused_and_never_runs(
    content: Any, is_zip: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=r"^a\.pth cannot be read as a state dict: .*No code in it ran"):
        read_pth(saved(content, is_zip=is_zip), "a.pth")
    assert not list(tmp_path.iterdir())


def legacy(pickled: bytes, storages: bytes = pickle.dumps([])) -> bytes:
    """A file of the legacy form around a pickle that is written by hand."""
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return b"".join(pickle.dumps(each) for each in (0x1950A86A20F9469CFC6C, 1001, facts)) + pickled + storages


DEEP = b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s."
BY_HAND = {
    "a memo of 16 GB": b"\x80\x02}r\xff\xff\xff\x7f.",
    "a text of 4 GB": b"\x80\x02}X\xff\xff\xff\xffabc",
    "bytes of 8 EB": b"\x80\x04}\x8e" + b"\xff" * 7 + b"\x7fabc",
    "a frame of 8 EB": b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f}.",
    "a number of 2 GB": b"\x80\x02}\x8b\xff\xff\xff\x7f\x01",
    "a nest of tuples as a name": DEEP,
    "a nest of tuples": b"\x80\x02" + b")" + b"\x85" * 100_000 + b".",
    "a nest of tuples in a set": b"\x80\x04\x8f(" + b")" + b"\x85" * 100_000 + b"\x90.",
    "an extension": b"\x80\x02\x82\x01.",
    "an object": b"\x80\x02(icollections\nOrderedDict\n.",
    "a call of what cannot be called": b"\x80\x02}(ctorch\nFloatStorage\n)R.",
    "a state for a class": b"\x80\x02ccollections\nOrderedDict\n}b.",
    "a name with dots": b"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x94.",
    "a storage without a list": b"\x80\x02K\x01Q.",
    "nothing at all": b"",
}


@pytest.mark.parametrize("pickled", BY_HAND.values(), ids=BY_HAND)
def test_a_hostile_pickle_costs_neither_memory_nor_the_process(pickled: bytes) -> None:
    with pytest.raises(WeightsError):
        read_pth(legacy(pickled), "a.pth")


@pytest.mark.parametrize("is_zip", [False, True])
def test_a_file_that_is_cut_anywhere_is_refused(is_zip: bool) -> None:
    whole = saved({"a": torch.arange(5), "b": torch.ones(2)}, is_zip=is_zip)
    for end in range(len(whole)):
        with pytest.raises(WeightsError):
            read_pth(whole[:end], "a.pth")
    if not is_zip:
        with pytest.raises(WeightsError, match="it has extra bytes at its end"):
            read_pth(whole + b"\0", "a.pth")


@pytest.mark.parametrize("is_zip", [False, True])
def test_flipped_bits_are_refused_or_leave_arrays(is_zip: bool) -> None:
    """Only a checksum tells whether a number is another; here, nothing else than arrays may come of it."""
    whole = saved(tensors(), is_zip=is_zip)
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(600):
        damaged = bytearray(whole)
        for at in generator.integers(0, len(damaged), generator.integers(1, 4)):
            damaged[at] ^= 1 << int(generator.integers(8))
        try:
            found = read_pth(bytes(damaged), "a.pth")
        except WeightsError:
            refused += 1
        else:
            for name, array in found.items():
                assert type(name) is str
                assert array.nbytes <= len(whole)
                array.tobytes()  # within the file: reading outside would crash
    assert refused > 100


def test_a_compressed_archive_is_refused() -> None:
    original = zipfile.ZipFile(io.BytesIO(saved({"a": torch.ones(2)}, is_zip=True)))
    with zipfile.ZipFile(file := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name in original.namelist():
            archive.writestr(name, original.read(name))
    with pytest.raises(WeightsError, match="compressed"):
        read_pth(file.getvalue(), "a.pth")
