from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.windows import HeldFiles

from headstart.errors import DamagedFileError
from headstart.training.run.checkpoint import Checkpoints, load_checkpoint, save_checkpoint

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


def test_best_weights_whose_file_somebody_has_open_get_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.files.PATIENCE_SECONDS", 0.1)
    name = "best-0001.safetensors"
    save_checkpoint(tmp_path / name, {"a": torch.zeros(1)}, {})  # of a run that was stopped
    HeldFiles(monkeypatch, lambda path: path.name == name)
    checkpoints = Checkpoints(tmp_path)
    used = checkpoints.save_best(name, TENSORS, {})
    assert used != name
    checkpoints.save(TENSORS, {"files": [used]})
    checkpoints.save(TENSORS, {"files": [used]})
    newest = Checkpoints(tmp_path).newest(print)
    assert newest is not None
    assert newest[1]["files"] == [used]
    assert torch.equal(checkpoints.load_best(used)["fc.bias"], TENSORS["fc.bias"])
    checkpoints.delete()
    assert [path.name for path in tmp_path.iterdir()] == [name]  # which cannot be deleted, and costs nothing


def test_a_damaged_checkpoint_that_cannot_be_renamed_takes_no_place_of_a_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.files.PATIENCE_SECONDS", 0.1)
    first = Checkpoints(tmp_path)
    for _ in range(2):
        first.save(TENSORS, {"files": []})
    (tmp_path / "0002.safetensors").write_bytes(b"damaged")
    HeldFiles(monkeypatch, lambda path: path.name == "0002.safetensors")
    again = Checkpoints(tmp_path)
    assert again.newest(lambda _: None) is not None
    again.save(TENSORS, {"files": []})
    assert (tmp_path / "0001.safetensors").exists()  # still one of the last two that can be used
    assert (tmp_path / "0003.safetensors").exists()
