"""The range test finds a rate, says how, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import io
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.windows import HeldFiles, is_open_here

import headstart as hs
from headstart.config import TrainConfig
from headstart.errors import TrainingError, UsageError
from headstart.model.freeze import digest
from headstart.training.steps.trainer import Trainer
from headstart.training.tools import lr_find as module
from headstart.training.tools.lr_range import NUM_STEPS, draw, suggest

TINY: dict[str, Any] = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 32, "batch_size": 8}
PHASES: list[dict[str, Any]] = [
    {"name": "probe", "optimizer": "exact"},
    {
        "name": "head",
        "epochs": 2,
        "head_lr": 0.01,
        "augment": [{"op": "rotation", "degrees": 20}],
        "views": 2,
    },
    {"name": "first", "unfreeze": 2, "epochs": 1},
    {
        "name": "last",
        "unfreeze": 1,
        "optimizer": "adamw",
        "head_lr": 1e-3,
        "backbone_lr": 1e-4,
        "layer_decay": 0.5,
        "augment": "light",
        "views": 30,
        "epochs": 30,
        "ema": 0.9,
        "norm": "train",
        "schedule": "cosine",
    },
]


# Behind a trained head, the loss of these photos is at its floor and suggests nothing.
NO_HEAD_BEFORE = [PHASES[3], PHASES[2], PHASES[0]]


@pytest.fixture(scope="module")
def found(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.LrRange:
    out = tmp_path_factory.mktemp("found") / "lr-find.png"
    return hs.lr_find(photos, out, phases=NO_HEAD_BEFORE, phase="last", **TINY)


def test_the_rates_grow_from_tiny_to_huge(found: hs.LrRange) -> None:
    assert found.phase == "last"
    assert len(found.lrs) == len(found.losses) == len(found.smoothed) <= NUM_STEPS
    assert found.lrs[0] == pytest.approx(1e-7)
    ratios = np.array(found.lrs[1:]) / np.array(found.lrs[:-1])
    np.testing.assert_allclose(ratios, (10 / 1e-7) ** (1 / (NUM_STEPS - 1)), rtol=1e-6)
    assert "exploded" in found.ended or "done" in found.ended or "finite" in found.ended


def test_the_suggestion_keeps_the_phases_proportions_and_can_be_trained_with(
    found: hs.LrRange, photos: Path, tmp_path: Path
) -> None:
    assert found.valley is not None
    assert found.suggestion["head_lr"] == pytest.approx(found.valley, rel=0.06)
    assert found.suggestion["backbone_lr"] == pytest.approx(found.suggestion["head_lr"] / 10, rel=0.06)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(found.recipe)
    written = TrainConfig.from_settings(photos, recipe=recipe).phases
    asked = TrainConfig.from_settings(photos, phases=NO_HEAD_BEFORE).phases
    assert written[1:] == asked[1:]
    assert written[0].head_lr == found.suggestion["head_lr"]
    assert (written[0].augment, written[0].views, written[0].ema) == ("light", 30, 0.9)


@dataclass
class Watched:
    """What a test of the last of all phases did, was told and left behind."""

    folder: Path
    found: hs.LrRange | None = None
    rates: list[list[float]] = field(default_factory=list)
    networks: list[tuple[torch.nn.Module, str]] = field(default_factory=list)
    told: str = ""


@pytest.fixture(scope="module")
def watched(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Watched:
    seen = Watched(tmp_path_factory.mktemp("watched"))
    step, prepare = Trainer.step, module.prepare

    def watched_step(self: Trainer, *arguments: Any) -> Any:
        batch = step(self, *arguments)
        if self._phase.name == "last":
            seen.rates.append([group["lr"] for group in self._optimizer.param_groups])
        return batch

    def watched_prepare(*arguments: Any) -> Any:
        setup = prepare(*arguments)
        seen.networks.append((setup.network, digest(setup.network)))
        return setup

    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(told):
        patch.setattr(Trainer, "step", watched_step)
        patch.setattr(module, "prepare", watched_prepare)
        patch.chdir(seen.folder)
        torch.manual_seed(5)
        state = torch.get_rng_state()
        seen.found = hs.lr_find(photos, "lr-find.png", phases=PHASES, **TINY)
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.are_deterministic_algorithms_enabled()
    seen.told = told.getvalue()
    return seen


def test_every_groups_rate_grows_in_proportion(watched: Watched) -> None:
    rates = np.array(watched.rates)  # (N, groups): head twice, then layer4
    assert watched.found is not None
    lrs = watched.found.lrs
    assert len(rates) >= len(lrs)
    np.testing.assert_allclose(rates[: len(lrs), 0], lrs)
    np.testing.assert_allclose(
        rates[:, 1:] / rates[:, :1], np.broadcast_to([1, 0.1, 0.1], rates[:, 1:].shape)
    )


def test_nothing_is_left_behind_but_the_picture(watched: Watched) -> None:
    ((network, before),) = watched.networks
    assert digest(network) == before
    assert [path.name for path in watched.folder.rglob("*")] == ["lr-find.png"]
    with Image.open(watched.folder / "lr-find.png") as image:
        image.load()


def test_heads_are_trained_first_and_deeper_phases_left_out(watched: Watched) -> None:
    told = watched.told
    assert "Phase first trains more than the head and is left out" in told
    assert told.index("Phase probe:") < told.index("Phase head:") < told.index("Phase last:")


def test_the_weights_come_back_and_stores_are_closed_after_an_error_too(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    stores: list[Path] = []

    def fail(setup: Any, *others: Any) -> Any:
        seen.append(setup.network)
        stores.extend(filter(is_open_here, Path(os.environ["HEADSTART_CACHE"]).rglob("*.*")))
        setup.network.head.linear.weight.data.fill_(math.nan)
        raise RuntimeError

    monkeypatch.setattr(module, "range_test", fail)
    with pytest.raises(RuntimeError):
        hs.lr_find(photos, tmp_path / "a.png", phases=PHASES, features="store", **TINY)
    assert not seen[0].head.linear.weight.any()  # a new head is zero
    assert stores
    assert not [path for path in stores if path.exists() and is_open_here(path)]
    assert not list(tmp_path.iterdir())


def test_any_phase_that_takes_steps_can_be_tested_and_no_file_is_needed(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = TINY | {"batch_size": 64}
    found = hs.lr_find(photos, phase="head", phases=PHASES[1:], **settings)
    assert found.phase == "head"
    assert set(found.suggestion) == {"head_lr"}
    assert not list(tmp_path.iterdir())
    assert found.picture is None
    assert "data:image/png;base64,iVBOR" in found._repr_html_()
    assert "fewer training photos (30) than a batch has (64)" in capsys.readouterr().err


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"phase": "lats"}, "Did you mean 'last'"),
    ({"phase": "probe"}, "'probe' is solved exactly"),
    ({"phases": [{"optimizer": "exact"}]}, "no learning rate to look for"),
    ({"phases": [{"unfreeze": "layer9"}]}, "Unknown stage"),
    ({"seed": "x"}, "seed is 'x'"),
]


@pytest.mark.parametrize(("settings", "told"), WRONG, ids=str)
def test_what_cannot_be_tested_is_told(
    settings: dict[str, Any], told: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told):
        hs.lr_find(photos, tmp_path / "a.png", **{"phases": PHASES, **TINY} | settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["nowhere/a.png", "a.jpg", "."])
def test_a_picture_that_cannot_be_written_is_told_first(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        hs.lr_find("there are no photos", tmp_path / name)


def test_a_picture_among_the_photos_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match="among the photos"):
        hs.lr_find(photos, photos / "train" / "lr-find.png")


def test_somebodys_picture_is_never_replaced(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), "red").save("lr-find.png")
    before = Path("lr-find.png").read_bytes()
    with pytest.raises(UsageError, match="not made by headstart lr-find"):
        hs.lr_find(photos, "lr-find.png", **TINY)
    assert Path("lr-find.png").read_bytes() == before


def test_a_picture_of_its_own_is_replaced_and_none_that_has_come_meanwhile(
    found: hs.LrRange, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    draw(path, found)
    first = path.read_bytes()
    draw(path, found)
    assert path.read_bytes() == first
    Image.new("RGB", (8, 8), "red").save(path)
    with pytest.raises(UsageError, match="not replaced"):
        draw(path, found)


@pytest.mark.slow
def test_a_picture_that_cannot_be_replaced_does_not_cost_the_numbers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: hs.LrRange
) -> None:
    monkeypatch.setattr("headstart.files.PATIENCE_SECONDS", 0.1)
    count_losses(monkeypatch, 1)
    draw(tmp_path / "a.png", found)
    held = HeldFiles(monkeypatch, lambda path: path.name == "a.png")
    again = hs.lr_find(photos, tmp_path / "a.png", phases=[PHASES[-1]], **TINY)
    assert held.refused
    assert len(again.losses) == 1
    assert again.picture is None
    assert found.picture is not None
    assert found.picture.exists()


def count_losses(monkeypatch: pytest.MonkeyPatch, finite_steps: int) -> None:
    """Let the loss be infinite after so many steps."""
    step = Trainer.step
    taken = {"steps": 0}

    def failing(self: Trainer, *arguments: Any) -> Any:
        batch = step(self, *arguments)
        if taken["steps"] == finite_steps:
            raise TrainingError("The loss is inf")
        taken["steps"] += 1
        return batch

    monkeypatch.setattr(Trainer, "step", failing)


@pytest.mark.parametrize("finite_steps", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_a_loss_that_is_not_finite_ends_the_test_and_is_drawn(
    finite_steps: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_losses(monkeypatch, finite_steps)
    settings = TINY | {"backbone": "resnet18"}  # of which 40 steps make enough of a curve
    found = hs.lr_find(photos, tmp_path / "a.png", phases=[PHASES[-1]], **settings)
    assert len(found.losses) == finite_steps
    assert "no longer finite" in found.ended
    assert (found.valley is None) == (finite_steps == 1)
    assert (tmp_path / "a.png").exists()
    assert ("no suggestion" in str(found)) == (finite_steps == 1)


def test_a_first_loss_that_is_not_finite_is_an_error(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_losses(monkeypatch, 0)
    with pytest.raises(TrainingError):
        hs.lr_find(photos, tmp_path / "a.png", phases=[PHASES[-1]], **TINY)
    assert not list(tmp_path.iterdir())


def curve(bottom: float) -> tuple[list[float], list[float]]:
    """Rates, and a loss that is flat, falls around ``bottom`` / 30, and rises behind ``bottom``."""
    lrs = np.geomspace(1e-7, 10, NUM_STEPS)
    x = np.log10(lrs)
    fall = 1 / (1 + np.exp(-4 * (x - np.log10(bottom) + 1.5)))
    rise = np.exp(2 * np.maximum(0, x - np.log10(bottom))) - 1
    return lrs.tolist(), (2 - 1.5 * fall + rise).tolist()


@pytest.mark.parametrize("bottom", [1e-2, 1e-1, 1])
def test_the_suggestions_follow_the_curve(bottom: float) -> None:
    valley, steepest = suggest(*curve(bottom))
    assert valley is not None
    assert steepest is not None
    assert bottom / 60 < steepest < bottom / 15
    assert valley < bottom
    scaled = suggest(*curve(bottom / 10))
    assert steepest / scaled[1] == pytest.approx(10, rel=0.3)  # type: ignore[operator]


def test_a_loss_that_never_falls_is_doubted(tmp_path: Path) -> None:
    lrs, falling = curve(1e-2)
    phases = TrainConfig.from_settings("x", phases=PHASES).phases
    rising = [1.0 + i / 50 for i in range(NUM_STEPS)]
    tiny = [loss / 1000 for loss in falling]
    found = [
        hs.LrRange("last", phases, tuple(lrs), tuple(losses), tuple(losses), *suggest(lrs, losses), "done")
        for losses in (falling, rising, tiny)
    ]
    assert [each.hardly_fell for each in found] == [False, True, True]
    assert ["hardly fell" in str(each) for each in found] == [False, True, True]
    assert [bool(each.suggestion) for each in found] == [True, False, False]
    for each in found:
        draw(tmp_path / "a.png", each)


def test_a_low_first_loss_does_not_hide_the_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where one photo has a wrong label: batches without it have a far smaller loss, perhaps the first."""
    lrs = np.geomspace(1e-7, 1e-2, 60).tolist()
    losses = [0.005 if step % 2 == 0 else 0.06 for step in range(60)]
    smoothed = [0.005, *(0.03 for _ in range(59))]
    limits: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "headstart.training.tools.lr_range.write_picture",
        lambda path, figure, command: limits.append(figure.axes[0].get_ylim()),
    )
    phases = TrainConfig.from_settings("x", phases=PHASES).phases
    draw(
        tmp_path / "a.png",
        hs.LrRange("last", phases, tuple(lrs), tuple(losses), tuple(smoothed), None, None, "done"),
    )
    ((bottom, top),) = limits
    assert bottom < 0.005
    assert top > 0.06


def test_the_legend_is_as_wide_as_the_picture_at_most(
    found: hs.LrRange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths: list[tuple[float, float]] = []

    def measure(path: Path, figure: Any, command: str) -> None:
        figure.canvas.draw()
        widths.append((figure.legends[0].get_window_extent().width, figure.bbox.width))

    monkeypatch.setattr("headstart.training.tools.lr_range.write_picture", measure)
    draw(tmp_path / "a.png", found)
    ((of_legend, of_picture),) = widths
    assert of_legend < of_picture


def test_where_a_head_was_solved_before_noise_is_no_suggestion_but_the_rise_is_a_limit() -> None:
    lrs = np.geomspace(1e-7, 10, NUM_STEPS)
    chance = np.random.Generator(np.random.Philox(1)).normal(0, 0.02, NUM_STEPS)
    losses = 0.1 + chance + np.maximum(0, np.log10(lrs) + 2)
    smoothed, average = [], 0.0
    for number, loss in enumerate(losses, 1):
        average = 0.98 * average + 0.02 * loss
        smoothed.append(average / (1 - 0.98**number))

    def found(head_lr: float) -> hs.LrRange:
        phases = TrainConfig.from_settings("x", phases=[PHASES[0], PHASES[-1] | {"head_lr": head_lr}]).phases
        each = tuple(lrs.tolist()), tuple(losses.tolist()), tuple(smoothed)
        return hs.LrRange("last", phases, *each, *suggest(lrs.tolist(), smoothed), "done")

    slow, fast = found(1e-4), found(0.1)
    assert slow.valley is not None  # of noise
    assert slow.suggestion == {}
    assert slow.rises_at is not None
    assert 1e-2 < slow.rises_at < 1e-1
    assert "phase probe has solved the head, so it began near its floor" in str(slow)
    assert "stay well below. head_lr = 0.0001 does." in str(slow)
    assert f"Try head_lr = {slow.rises_at / 10:.1e} instead of 0.1" in str(fast)
