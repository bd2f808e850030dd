from __future__ import annotations

from pathlib import Path

import pytest
import torch

from headstart.errors import DamagedFileError
from headstart.training.checkpoint import load_checkpoint, save_checkpoint

TENSORS = {"fc.weight": torch.randn(3, 4), "fc.bias": torch.randn(3), "steps": torch.tensor(7)}


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint", TENSORS, {"epoch": 3})
    loaded, state = load_checkpoint(tmp_path / "checkpoint")
    assert state == {"epoch": 3}
    assert all(torch.equal(loaded[name], TENSORS[name]) for name in TENSORS)


def test_a_checkpoint_with_any_flipped_bit_or_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_checkpoint(path, TENSORS, {"epoch": 3})
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        for content in (damaged, whole[:at]):
            path.write_bytes(content)
            with pytest.raises(DamagedFileError):
                load_checkpoint(path)
