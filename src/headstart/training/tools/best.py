"""The recipe "best": one training after another, each kept only if it is better than the best so far."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from headstart import tasks
from headstart.answers.gain import gain
from headstart.config import RecommendSettings, TrainConfig
from headstart.data.sources.source import read_source
from headstart.environment import has_pytorch
from headstart.errors import HeadstartError
from headstart.files import write_whole
from headstart.inference.model_file import open_onnx
from headstart.training.run.result import TrainResult, step_in_words
from headstart.training.run.run_folder import STEPS
from headstart.training.tools.recommend import recommend

_BACKBONES: Final = "backbones.csv"
_LARGER: Final = 1.25  # factor on the sides of the input
_MULTIPLE_PX: Final = 32  # sides of an input that is halved five times

Train = Callable[[TrainConfig, Path], TrainResult]
"""Makes a run with these settings in a folder, or resumes the one that is there."""
Say = Callable[[str], object]


@dataclass(frozen=True)
class Step:
    """One step of the recipe.

    Attributes:
        name: Its name, also of its folder.
        text: What it tries, for people.
        change: Returns the settings of its run; from the settings and the folder of the best run so far.
    """

    name: str
    text: str
    change: Callable[[TrainConfig, Path], TrainConfig]


def _with_larger_input(config: TrainConfig, best: Path) -> TrainConfig:
    size_px = open_onnx(best / "model.onnx")[1].preprocessing.size_px
    return dataclasses.replace(config, size_px=math.ceil(size_px * _LARGER / _MULTIPLE_PX) * _MULTIPLE_PX)


_PROBE: Final = Step("probe", "a head on frozen features", lambda config, _: config)
_IN_STEPS: Final = (
    Step(
        "finetune",
        "training the last stage too",
        lambda config, _: dataclasses.replace(config, recipe="finetune"),
    ),
    Step(
        "deep",
        "training two stages, for longer, on augmented photos",
        lambda config, _: dataclasses.replace(config, recipe="deep"),
    ),
    Step("larger", "the same with a larger input", _with_larger_input),
)


@dataclass
class _Best:
    """The best run so far, and what has been said of each step."""

    config: TrainConfig
    run: TrainResult
    steps: list[dict[str, Any]] = field(default_factory=list)


def train_best(config: TrainConfig, folder: Path, train: Train, say: Say) -> TrainResult:
    """Make one run per step in ``folder/steps``, and copy the files of the best one to ``folder``.

    A step is kept if its loss on the validation photos is lower by more than one standard error; otherwise
    the simpler model stays. A step that fails is reported and left out. Finished runs are not repeated.

    Args:
        config: With the recipe "best". ``max_minutes`` limits all steps together, except the first.
        folder: The run folder, which exists.
        train: Makes each run.
        say: Called with a sentence for the user.

    Returns:
        The result in ``folder``. Its ``metrics["steps"]`` has what each step gained, and whether it was kept.

    Raises:
        HeadstartError: The first step failed.
    """
    begun = time.monotonic()
    minutes = config.max_minutes
    config = dataclasses.replace(config, max_minutes=None, recipe="probe")
    task = read_source(config.data, config.val_folder, **config.source_options).task
    if tasks.of(task).solver is not None:
        config = _with_recommended_backbone(config, folder, say)
    steps = _IN_STEPS if has_pytorch() else ()
    if not steps:
        say("The recipe best ends with the probe: the other steps need pip install 'headstart[train]'")
    number = 1 + len(steps)
    say(f"Step 1 of {number}, {_PROBE.name}: {_PROBE.text}")
    best = _Best(config, train(config, folder / STEPS / f"1-{_PROBE.name}"))
    best.steps.append({"name": _PROBE.name, "is_kept": True})
    for place, step in enumerate(steps, 2):
        title = f"Step {place} of {number}, {step.name}"
        left = None if minutes is None else minutes - (time.monotonic() - begun) / 60
        if left is not None and left <= 0:
            reason = f"max_minutes = {minutes:g} are over"
            best.steps.append({"name": step.name, "is_kept": False, "reason": reason})
            say(f"{title}: left out, {reason}")
            continue
        say(f"{title}: {step.text}")
        best.steps.append(_try(step, best, folder / STEPS / f"{place}-{step.name}", left, train))
        say(f"{title}: {step_in_words(best.steps[-1])}")
    return _handed_over(best, folder)


def _try(step: Step, best: _Best, folder: Path, minutes: float | None, train: Train) -> dict[str, Any]:
    """Make the run of a step, and keep it if it is better.

    Returns:
        The step's entry in ``metrics.json``.
    """
    try:
        config = step.change(best.config, best.run.path)
        run = train(dataclasses.replace(config, max_minutes=minutes), folder)
        new, old = (each.answers.of_source("val") for each in (run, best.run))
        found = gain(new, old, run.metrics["task"])
    except (HeadstartError, ValueError) as error:  # ValueError: too few validation photos
        return {"name": step.name, "is_kept": False, "reason": str(error)}
    if found.is_clear:
        best.config, best.run = config, run
    return {"name": step.name, "is_kept": found.is_clear, "gain": dataclasses.asdict(found)}


def _with_recommended_backbone(config: TrainConfig, folder: Path, say: Say) -> TrainConfig:
    """Choose a backbone, unless the user has chosen one; the comparison is kept in ``folder/steps``."""
    if config.backbone != TrainConfig.backbone or config.weights != TrainConfig.weights:
        return config
    table = folder / STEPS / _BACKBONES
    if not table.exists():
        table.parent.mkdir(exist_ok=True)
        settings: Any = {name: getattr(config, name) for name in RecommendSettings.__annotations__}
        try:
            found = recommend(config.data, table, **settings)
        except HeadstartError as error:
            say(f"Backbones are not compared: {error}")
            return config
        say(found.advice)
    rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
    chosen = next(row["backbone"] for row in rows if row["is_recommended"] == "1")
    return dataclasses.replace(config, backbone=chosen)


def _handed_over(best: _Best, folder: Path) -> TrainResult:
    """Copy the files of the best run, ``metrics.json`` last, which says that the run is finished."""
    names = [each.name for each in best.run.path.iterdir() if each.is_file()]
    for name in sorted(names):
        if not name.startswith(".") and name not in ("config.toml", "metrics.json"):
            write_whole(folder / name, (best.run.path / name).read_bytes())
    text = json.dumps({**best.run.metrics, "steps": best.steps}, indent=2, ensure_ascii=False)
    write_whole(folder / "metrics.json", f"{text}\n")
    return TrainResult(folder, json.loads(text))
