"""The choice of device and precision, copies, a caller's Accelerate: other machines by simulation."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

import headstart as hs
from headstart.config import TrainConfig
from headstart.errors import ConfigError, HeadstartError
from headstart.training.steps import device
from headstart.training.steps.device import (
    Choice,
    choose,
    create_accelerator,
    reproducible,
    seed_generators,
    to_device,
)

TINY: dict[str, Any] = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 32, "batch_size": 8}
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make PyTorch say that it runs on another machine."""

    def simulate(cuda: bool = False, mps: bool = False, bf16: str = "", fault: str = "") -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
        monkeypatch.setattr(torch.mps, "is_available", lambda: mps)
        # PyTorch emulates bf16 on every GPU, and says so unless it is asked not to count that.
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True: including_emulation or bf16 == "hardware",
        )
        monkeypatch.setattr(device, "fault_of", lambda name: fault)

    return simulate


CHOICES = [
    # What the machine has, what was asked for, and what it comes to.
    ({}, ("auto", "auto"), ("cpu", "fp32")),
    ({}, ("cpu", "bf16"), ("cpu", "bf16")),
    ({"cuda": True, "bf16": "hardware"}, ("auto", "auto"), ("cuda", "bf16")),
    ({"cuda": True, "bf16": "emulated"}, ("auto", "auto"), ("cuda", "fp16")),
    ({"cuda": True, "bf16": "emulated"}, ("cuda", "fp32"), ("cuda", "fp32")),
    ({"cuda": True, "bf16": "hardware"}, ("cpu", "auto"), ("cpu", "fp32")),
    ({"cuda": True, "bf16": "emulated"}, ("cpu", "bf16"), ("cpu", "bf16")),
    ({"mps": True}, ("auto", "auto"), ("mps", "fp32")),
    ({"mps": True}, ("mps", "fp16"), ("mps", "fp16")),
    ({"cuda": True, "fault": NO_KERNEL}, ("auto", "auto"), ("cpu", "fp32")),
    ({"cuda": True, "fault": NO_KERNEL}, ("cpu", "auto"), ("cpu", "fp32")),
]


@pytest.mark.parametrize(("has", "asked", "chosen"), CHOICES, ids=str)
def test_what_is_chosen_is_what_the_hardware_does_well(
    has: dict[str, Any], asked: tuple[str, str], chosen: tuple[str, str], machine: Callable[..., None]
) -> None:
    machine(**has)
    choice = choose(*asked)
    assert (choice.device, choice.precision) == chosen
    assert bool(choice.notes) == ("fault" in has and asked[0] == "auto")
    if choice.notes:
        assert NO_KERNEL in choice.notes[0]


REFUSED = [
    ({}, ("cuda", "auto"), "device 'cuda'.*Allowed here are auto, cpu"),
    ({"cuda": True}, ("mps", "auto"), "device 'mps'.*auto, cpu, cuda"),
    ({}, ("cpu", "fp16"), "precision 'fp16'"),
    ({"cuda": True, "bf16": "emulated"}, ("auto", "bf16"), "precision 'bf16'.*fp16 or fp32"),
    ({"cuda": True, "fault": NO_KERNEL}, ("cuda", "auto"), "no kernel image.*device = 'cpu'"),
]


@pytest.mark.parametrize(("has", "asked", "told"), REFUSED, ids=str)
def test_what_this_machine_cannot_do_is_refused(
    has: dict[str, Any], asked: tuple[str, str], told: str, machine: Callable[..., None]
) -> None:
    machine(**has)
    with pytest.raises(ConfigError, match=told):
        choose(*asked)


def test_a_device_that_fails_is_found_by_trying() -> None:
    assert device.fault_of("cpu") == ""
    assert device.fault_of("vulkan") != ""


def test_notes_about_the_device_are_told(machine: Callable[..., None]) -> None:
    machine(cuda=True, fault=NO_KERNEL)
    said: list[str] = []
    with create_accelerator(TrainConfig(), said.append) as accelerator:
        assert accelerator.device.type == "cpu"
    assert NO_KERNEL in said[0]
    assert "Training on the cpu device" in said[1]


class Copied:
    """A tensor that notes how it is copied, as a GPU's or a Mac's would be."""

    def __init__(self, events: list[str], is_pinned: bool = False) -> None:
        self._events, self._is_pinned = events, is_pinned

    def contiguous(self, memory_format: torch.memory_format) -> Copied:
        self._events.append("laid out")
        return Copied(self._events)

    def pin_memory(self) -> Copied:
        self._events.append("pinned")
        return Copied(self._events, is_pinned=True)

    def to(self, where: torch.device, non_blocking: bool = False) -> Copied:
        assert self._is_pinned or not non_blocking, "the source may be gone before it has been read"
        self._events.append(f"copied to {where}{' in the background' if non_blocking else ''}")
        return self


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mps", ["laid out", "copied to mps"]),
        ("cpu", ["laid out", "copied to cpu"]),
        ("cuda", ["laid out", "pinned", "copied to cuda in the background"]),
    ],
)
def test_only_cuda_copies_in_the_background_and_only_from_pinned_memory(
    name: str, expected: list[str]
) -> None:
    events: list[str] = []
    to_device(Copied(events), torch.device(name), torch.channels_last)  # type: ignore[arg-type]
    assert events == expected


def test_nothing_else_copies_in_the_background() -> None:
    folder = Path(hs.__file__).parent
    found = [path.name for path in folder.rglob("*.py") if "non_blocking" in path.read_text("utf-8")]
    assert found == ["device.py"]


def test_a_copy_has_the_layout_that_is_asked_for() -> None:
    maps = torch.arange(48.0).reshape(2, 3, 2, 4)
    copied = to_device(maps, torch.device("cpu"), torch.channels_last)
    assert torch.equal(copied, maps)
    assert copied.is_contiguous(memory_format=torch.channels_last)
    assert to_device(maps, torch.device("cpu")) is maps


def test_seeding_for_the_cpu_leaves_other_generators_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (torch.cuda, torch.mps):
        for name in ("manual_seed", "manual_seed_all"):
            monkeypatch.setattr(module, name, lambda seed: pytest.fail("seeded"), raising=False)
    with torch.random.fork_rng([]):
        seed_generators(7, torch.device("cpu"))
        numbers = torch.rand(4)
        assert torch.equal(numbers, torch.rand(4, generator=torch.Generator().manual_seed(7)))


def test_numbers_of_python_and_numpy_are_the_same_in_each_run_and_a_callers_are_left_alone() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    drawn = []
    for _ in range(2):
        with reproducible(3, torch.device("cpu")):
            seed_generators(2**40 + 5, torch.device("cpu"))
            drawn.append((random.random(), np.random.rand()))  # noqa: NPY002
    assert drawn[0] == drawn[1]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def accelerate_state() -> list[dict[str, Any]]:
    return [dict(each._shared_state) for each in (PartialState, AcceleratorState, GradientState)]


@pytest.fixture
def own() -> Any:
    """A caller's accelerator, in the middle of accumulating gradients."""
    before = accelerate_state()
    for state in (PartialState, AcceleratorState, GradientState):
        state._shared_state.clear()
    accelerator = Accelerator(cpu=True, mixed_precision="no", gradient_accumulation_steps=4)
    accelerator.gradient_state._set_sync_gradients(False)
    yield accelerator
    for state, values in zip((PartialState, AcceleratorState, GradientState), before, strict=True):
        state._shared_state.clear()
        state._shared_state.update(values)


@pytest.mark.parametrize("ending", ["well", "refused", "failed", "stopped"])
def test_a_callers_accelerator_is_as_it_was(
    ending: str, own: Accelerator, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = accelerate_state()
    settings = TINY | {"precision": "bf16", "device": "cpu", "phases": [{"epochs": 2, "head_lr": 0.05}]}
    if ending == "well":
        run = hs.train(photos, tmp_path / "run", **settings)
        # The caller's accumulation must not keep the optimiser from stepping.
        first, last = run.metrics["phases"][0]["epochs"]
        assert last["train_loss"] < first["train_loss"]
    else:
        error = {"refused": HeadstartError, "failed": RuntimeError, "stopped": KeyboardInterrupt}[ending]

        def fail(*arguments: Any, **named: Any) -> None:
            raise error("for this test")

        monkeypatch.setattr("headstart.training.train.check_images", fail)
        with pytest.raises(error):
            hs.train(photos, tmp_path / "run", **settings)
    assert accelerate_state() == before
    assert own.mixed_precision == "no"
    assert own.gradient_accumulation_steps == 4
    assert not own.sync_gradients


def test_without_a_callers_accelerator_none_is_left_behind() -> None:
    before = accelerate_state()
    with create_accelerator(TrainConfig(device="cpu", precision="bf16")) as accelerator:
        assert accelerator.mixed_precision == "bf16"
    assert accelerate_state() == before


def test_what_accelerate_does_not_support_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: Any) -> None:
        raise ValueError("bf16 mixed precision requires a supported device.")

    monkeypatch.setattr(device, "Accelerator", refuse)
    monkeypatch.setattr(device, "choose", lambda *asked: Choice("mps", "bf16"))
    before = accelerate_state()
    with pytest.raises(ConfigError, match="precision 'bf16'"), create_accelerator(TrainConfig()):
        pass
    assert accelerate_state() == before


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_training_on_the_cpu_asks_onnx_runtime_for_nothing_else(
    task: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[Any]] = []
    session = onnxruntime.InferenceSession

    def on_a_gpu(model: bytes, options: Any, providers: list[Any]) -> Any:
        asked.append(providers)
        return session(model, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", on_a_gpu)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    data = photos
    if task == "multilabel":
        data = tmp_path / "table.csv"
        paths = sorted((photos / "train").rglob("*.jpg"))
        rows = [f'{path},"{path.parent.name}, photo{number % 2}"' for number, path in enumerate(paths)]
        data.write_text("\n".join(["image,labels", *rows]))
    run = hs.train(data, tmp_path / "run", device="cpu", phases=[{"epochs": 1}], **TINY)
    assert run.metrics["task"] == task
    assert asked
    assert [each for each in asked if each != ["CPUExecutionProvider"]] == []
    hs.load(run.path)  # which was not told where to compute
    assert asked[-1][0][0] == "CUDAExecutionProvider"
