"""The recipe "best": several runs, of which each is used only if it is better than the best one before."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from headstart import tasks
from headstart.answers.gain import gain
from headstart.config import RecommendSettings, TrainConfig
from headstart.data.sources.source import read_source
from headstart.environment import has_pytorch
from headstart.errors import ExportError, FileWriteError, HeadstartError, RunFolderError
from headstart.files import write_whole
from headstart.inference.model_file import open_onnx
from headstart.training.run.copied import copy_run, locked
from headstart.training.run.result import TrainResult, step_in_words
from headstart.training.run.run_folder import STEPS
from headstart.training.tools.recommend import recommend

_STATE: Final = "series.json"
_BACKBONES: Final = "backbones.csv"
_LARGER: Final = 1.25  # factor on the sides of the input
_MULTIPLE_PX: Final = 32  # sides of an input that is halved five times

Train = Callable[[TrainConfig, Path, str], TrainResult]
"""Makes a run with these settings in a folder, or resumes the one that is there; says the text before."""
Say = Callable[[str], object]


@dataclass(frozen=True)
class Step:
    """One step of the recipe.

    Attributes:
        name: Its name, also of its folder.
        text: What it tries, for people.
        change: Returns the changed settings of its run, from the folder of the best run so far.
    """

    name: str
    text: str
    change: Callable[[Path], dict[str, Any]]


def _larger_input(best: Path) -> dict[str, Any]:
    size_px = open_onnx(best / "model.onnx")[1].preprocessing.size_px
    return {"size_px": math.ceil(size_px * _LARGER / _MULTIPLE_PX) * _MULTIPLE_PX}


_PROBE: Final = Step("probe", "a head on frozen features", lambda _: {"recipe": "probe"})
_IN_STEPS: Final = (
    Step("finetune", "training the last stage too", lambda _: {"recipe": "finetune"}),
    Step("deep", "training two stages, on augmented photos", lambda _: {"recipe": "deep"}),
    Step("larger", "the same with a larger input", _larger_input),
)


@dataclass
class _Series:
    """What is known of the runs so far. It is kept in ``steps/series.json``, for ``resume``.

    Attributes:
        seconds: Time that earlier processes took.
        settings: Settings of the best run so far, as far as they differ from those of the series.
        steps: One entry of ``metrics["steps"]`` for each step that is decided.
    """

    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Self:
        file = folder / STEPS / _STATE
        return cls(**json.loads(file.read_text("utf-8"))) if file.is_file() else cls()

    def write(self, folder: Path, begun: float) -> None:
        state = dataclasses.replace(self, seconds=self.seconds + time.monotonic() - begun)
        write_whole(folder / STEPS / _STATE, json.dumps(dataclasses.asdict(state), indent=2) + "\n")

    @property
    def best(self) -> dict[str, Any]:
        """The entry of the best run so far."""
        return next(step for step in reversed(self.steps) if step["is_kept"])


def train_best(
    config: TrainConfig,
    folder: Path,
    train: Train,
    say: Say,
    *,
    compares: bool = True,
    verbose: bool = True,
) -> TrainResult:
    """Make one run per step in ``folder/steps``, and copy the files of the best one to ``folder``.

    A run is used if its loss on the validation photos is lower than that of the best run before by more than
    one standard error. A step that fails is reported and left out. Steps that are decided are not repeated.

    Args:
        config: With the recipe "best". ``max_minutes`` limits the time of all steps; a probe that is solved
            is always made.
        folder: The run folder, which exists.
        train: Makes each run.
        say: Called with a sentence for the user.
        compares: Whether backbones are compared first; the best one is then used, not that of ``config``.
        verbose: As for ``recommend``.

    Returns:
        The result in ``folder``. Its ``metrics["steps"]`` says what each step gained.

    Raises:
        RunFolderError: Another process works in the folder, or a run in it cannot be resumed.
        FileWriteError, ExportError: A file could not be written. The series can be resumed.
        HeadstartError: The first step failed.
    """
    (folder / STEPS).mkdir(exist_ok=True)
    with locked(folder / STEPS), _Work.on(folder, config, train, say) as work:
        is_solved = _has_solver(config)
        if not work.series.settings:
            chooses = is_solved and compares
            backbone = _backbone(config, folder, say, verbose=verbose) if chooses else config.backbone
            work.series.settings = {"backbone": backbone}
            work.save()
        steps = [_PROBE, *(_steps_of(config) if has_pytorch() else ())]
        if len(steps) == 1:
            say("The recipe best ends with the probe: further runs need pip install 'headstart[train]'")
        for number, step in enumerate(steps, 1):
            if number > len(work.series.steps):
                title = f"Step {number} of {len(steps)}, {step.name}"
                work.decide(step, title, is_limited=number > 1 or not is_solved)
        return _handed_over(work.series, folder)


@dataclass
class _Work:
    """Makes the runs of a series."""

    folder: Path
    config: TrainConfig
    train: Train
    say: Say
    series: _Series
    begun: float

    @classmethod
    @contextmanager
    def on(cls, folder: Path, config: TrainConfig, train: Train, say: Say) -> Iterator[Self]:
        """Continue a series; if that is interrupted, note the time that it has taken."""
        work = cls(folder, config, train, say, _Series.read(folder), time.monotonic())
        try:
            yield work
        except BaseException:
            work.save()
            raise

    def save(self) -> None:
        """Write what is decided, and the time that it has taken."""
        self.series.write(self.folder, self.begun)

    def decide(self, step: Step, title: str, *, is_limited: bool) -> None:
        """Make a step if there is time for it, and note what came of it."""
        limit = self.config.max_minutes if is_limited else None
        config = dataclasses.replace(self.config, max_minutes=None)
        left = 0.0
        if limit is not None:
            left = limit - (self.series.seconds + time.monotonic() - self.begun) / 60
            config = dataclasses.replace(config, max_minutes=max(round(left, 2), 0.01))
        if limit is not None and left <= 0 and self.series.steps:
            reason = f"the time limit (max_minutes = {limit:g}) was reached"
            entry = {"name": step.name, "is_kept": False, "reason": reason}
        else:
            entry = self._tried(step, config, f"{title}: {step.text}")
        self.series.steps.append(entry)
        self.save()
        self.say(f"{title}: {step_in_words(entry)}")

    def _tried(self, step: Step, config: TrainConfig, heading: str) -> dict[str, Any]:
        """Make the run of a step and compare it with the best one so far; return its entry."""
        place = f"{STEPS}/{len(self.series.steps) + 1}-{step.name}"
        entry: dict[str, Any] = {"name": step.name, "folder": place, "is_kept": False}
        is_first = not self.series.steps
        best = self.folder if is_first else self.folder / self.series.best["folder"]
        try:
            settings = {**self.series.settings, **step.change(best)}
            begun = time.monotonic()
            run = self.train(dataclasses.replace(config, **settings), self.folder / place, heading)
        except (RunFolderError, FileWriteError, ExportError):  # which the user can do something about
            raise
        except HeadstartError as error:
            if is_first:
                raise
            return {**entry, "reason": str(error)}
        if config.max_minutes is not None and time.monotonic() - begun >= 60 * config.max_minutes:
            entry["is_cut_short"] = True
        if not is_first:
            new, old = (each.answers.of_source("val") for each in (run, TrainResult(best, {})))
            try:
                found = gain(new, old, run.metrics["task"])
            except ValueError as error:  # too few validation photos
                return {**entry, "reason": f"it cannot be compared: {error}"}
            entry["gain"] = dataclasses.asdict(found)
        if is_first or found.is_clear:
            entry["is_kept"] = True
            self.series.settings = settings
        return entry


def _steps_of(config: TrainConfig) -> Iterator[Step]:
    """Yield the steps after the probe: no other size of the input than the user's."""
    for step in _IN_STEPS:
        if step.name != "larger" or config.size_px is None:
            yield step


def _has_solver(config: TrainConfig) -> bool:
    listing = read_source(config.data, config.val_folder, **config.source_options)
    return tasks.of(listing.task).solver is not None


def _backbone(config: TrainConfig, folder: Path, say: Say, *, verbose: bool) -> str:
    """Compare backbones and return the one with the lowest cross-validated loss.

    The recommended one may be a faster one, and depends on times, which differ from run to run.
    """
    table = folder / STEPS / _BACKBONES
    settings: Any = {name: getattr(config, name) for name in RecommendSettings.__annotations__}
    try:
        found = recommend(config.data, table, verbose=verbose, **settings)
    except FileWriteError:
        raise
    except HeadstartError as error:
        say(f"Backbones are not compared: {error}")
        return config.backbone
    for line in repr(found).splitlines()[: len(found) + 1]:
        say(line)
    say(f"The runs use {found[0].backbone}, which has the lowest cross-validated loss.")
    return found[0].backbone


def _handed_over(series: _Series, folder: Path) -> TrainResult:
    """Copy the files of the best run."""
    return TrainResult(folder, copy_run(folder / series.best["folder"], folder, {"steps": series.steps}))
