from __future__ import annotations

import pytest
import torch
from torch import Tensor

from headstart.errors import RunFolderError
from headstart.training.steps.tensors import copy_strictly


def target() -> dict[str, Tensor]:
    return {"weight": torch.zeros(2, 3), "steps": torch.tensor(0)}


SOURCE = {"weight": torch.tensor([[-0.0, 1e-42, torch.inf]] * 2), "steps": torch.tensor(7)}


def test_bits_are_copied_into_the_tensors_that_are_there() -> None:
    into = target()
    before = dict(into)
    copy_strictly(SOURCE, into, "state")
    assert all(into[name] is before[name] for name in into)
    assert into["weight"].numpy().tobytes() == SOURCE["weight"].numpy().tobytes()
    assert into["steps"] == 7


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"weight": SOURCE["weight"]}, ["steps is missing"]),
        ({**SOURCE, "bias": torch.zeros(1)}, ["bias is unknown"]),
        ({**SOURCE, "weight": torch.zeros(3, 2)}, ["weight is (3, 2) float32 where (2, 3) float32 belongs"]),
        ({**SOURCE, "steps": torch.tensor(7.0)}, ["steps is () float32 where () int64 belongs"]),
        ({}, ["weight is missing, steps is missing"]),
        ({name: torch.zeros(1) for name in "abcd"}, ["weight is missing", "a is unknown", "and 3 more"]),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(wrong: dict[str, Tensor], told: list[str]) -> None:
    into = target()
    with pytest.raises(RunFolderError, match="The checkpoint's state does not fit") as caught:
        copy_strictly(wrong, into, "state")
    for words in told:
        assert words in str(caught.value)
    assert all(torch.equal(into[name], tensor) for name, tensor in target().items())
