"""``headstart lr-find``: the learning rate range test.

The learning rate of one phase grows from step to step until the loss explodes. Where the loss falls, the rate
is large enough; where it rises again, too large. Source: Smith 2015, arXiv 1506.01186; the numbers and the
two suggestions are fastai's.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Final, Unpack

import numpy as np
import tomli_w
import torch
from accelerate import Accelerator

from headstart.config import PhaseConfig, TrainConfig, TrainSettings
from headstart.data.check import check_images
from headstart.data.split import Splits, split_dataset
from headstart.data.targets import Scale
from headstart.errors import ConfigError, FileWriteError, TrainingError, UsageError, did_you_mean
from headstart.model.freeze import make_trainable, num_trainable
from headstart.model.stages import cut
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.setup import Setup, prepare
from headstart.training.steps.device import create_accelerator, reproducible
from headstart.training.steps.epoch import scores_of
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.phase import make_ready
from headstart.training.steps.solve_head import fit_head
from headstart.training.tools.figure import new_figure
from headstart.training.tools.picture import refuse_picture, write_picture
from headstart.training.watch.watchers import Watchers

_COMMAND: Final = "headstart lr-find"

START_LR: Final = 1e-7
END_LR: Final = 10.0
NUM_STEPS: Final = 100

_SMOOTHING: Final = 0.98  # what the smoothed loss keeps of itself in each step
_EXPLODED: Final = 4.0  # times the smallest smoothed loss: the test ends
_SHARE: Final = 0.02  # a fall by less than this share of the loss says little ...
_LEAST: Final = 0.005  # ... and so does a smaller one than this: what was trained before has learned it all
_STILL: Final = NUM_STEPS // 4  # steps, up to a rate of 1e-5: what the loss does there is chance


@dataclass(frozen=True)
class LrRange:
    """What a range test has seen.

    Attributes:
        phase: Name of the phase that was tested.
        phases: All phases of the recipe.
        lrs: (N,) the head's learning rate in each step, growing.
        losses: (N,) each step's mean loss over its photos.
        smoothed: (N,) their average, recent ones weighing more.
        valley: Learning rate halfway down the longest fall of the smoothed loss; the suggestion. None if the
            test ended too early to tell.
        steepest: Learning rate where the smoothed loss falls fastest.
        ended: Why the test ended, in words.
        picture: The file with its drawing; None where it could not be written.
    """

    phase: str
    phases: tuple[PhaseConfig, ...]
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    valley: float | None
    steepest: float | None
    ended: str
    picture: Path | None = None

    @property
    def level(self) -> float:
        """The loss before the rates are large enough to change it."""
        return float(np.mean(self.losses[:_STILL]))

    @property
    def floor(self) -> float:
        """The smallest smoothed loss after that."""
        return min(self.smoothed[_STILL:], default=self.level)

    @property
    def hardly_fell(self) -> bool:
        """Whether the loss fell by no more than chance would have it, so that the curve suggests nothing."""
        chance = 2 * float(np.std(self.losses[:_STILL])) / math.sqrt(len(self.losses[:_STILL]))
        return self.level - self.floor < max(_LEAST, _SHARE * self.level, chance)

    @property
    def rises_at(self) -> float | None:
        """Learning rate from which on the smoothed loss stands clearly above its first level, if it does."""
        chance = 3 * float(np.std(self.losses[:_STILL])) / math.sqrt(len(self.losses[:_STILL]))
        limit = self.level + max(_LEAST, _SHARE * self.level, chance)
        above = [loss > limit for loss in self.smoothed]
        last = len(above) - above[::-1].index(False) if False in above else 0
        return self.lrs[last] if last < len(above) else None

    @property
    def suggestion(self) -> dict[str, float]:
        """What to set in the phase: ``head_lr``, and where it has a ``backbone_lr``, that in proportion.

        Empty where the test ended too early, and where the loss hardly fell: the valley is one of noise then.
        """
        if self.valley is None or self.hardly_fell:
            return {}
        (tested,) = (each for each in self.phases if each.name == self.phase)
        rates = {"head_lr": self.valley}
        if tested.backbone_lr is not None:
            rates["backbone_lr"] = self.valley * tested.backbone_lr / tested.head_lr
        return {name: float(f"{rate:.1e}") for name, rate in rates.items()}

    @property
    def recipe(self) -> str:
        """The phases as a recipe file, TOML, with the suggestion in it."""
        defaults, tables = asdict(PhaseConfig()), []
        for each in self.phases:
            values = asdict(each) | (self.suggestion if each.name == self.phase else {})
            shown = ("name", "unfreeze", "epochs") + (("head_lr",) if each.optimizer != "exact" else ())
            tables.append({k: v for k, v in values.items() if k in shown or v != defaults[k]})
        return tomli_w.dumps({"phases": tables})

    def __str__(self) -> str:
        if self.valley is None or self.steepest is None:
            return f"Phase {self.phase}: no suggestion, for {self.ended} after {len(self.lrs)} steps."
        if self.hardly_fell:
            return self._without_fall()
        settings = ", ".join(f"{name} = {value:g}" for name, value in self.suggestion.items())
        return (
            f"Phase {self.phase}: try {settings} (valley: halfway down the longest fall of the loss).\n"
            f"The loss fell fastest at {self.steepest:.2g}; the smaller of the two is the safer."
        )

    def _without_fall(self) -> str:
        names = [each.name for each in self.phases]
        tested = self.phases[names.index(self.phase)]
        solved = [each.name for each in self.phases[: names.index(self.phase)] if each.optimizer == "exact"]
        why = f": phase {solved[-1]} has solved the head, so it began near its floor" if solved else ""
        advice = f"Keep head_lr = {tested.head_lr:g}."
        if self.rises_at is not None:
            advice = f"It rises at {self.rises_at:.1e}: stay well below. "
            advice += (
                f"head_lr = {tested.head_lr:g} does."
                if tested.head_lr <= self.rises_at / 3
                else f"Try head_lr = {self.rises_at / 10:.1e} instead of {tested.head_lr:g}."
            )
        return (
            f"Phase {self.phase}: no suggestion. The loss hardly fell in this test, from {self.level:.3g} to "
            f"{self.floor:.3g}{why}.\n{advice}"
        )


def lr_find(
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] = "lr-find.png",
    *,
    phase: str | None = None,
    config: TrainConfig | None = None,
    verbose: bool = True,
    **settings: Unpack[TrainSettings],
) -> LrRange:
    """Look for the learning rate of a phase by the range test, and draw what was seen.

    The head's rate grows from 1e-7 to 10 in 100 steps; the rates of the other stages grow in proportion. All
    else is as the phase says: what is frozen, optimiser, augmentation, loss. Phases before it that train the
    head alone are run first; deeper ones are left out, as they would take as long as training. Nothing is
    left behind but the picture, and frozen stages' outputs in the cache, where training finds them.

    Args:
        data: As for ``train``.
        out: The picture, a ``.png`` file; one that ``lr_find`` has drawn is replaced, and nothing else.
        phase: The name of a phase that takes steps; by default the last one that does.
        config: As for ``train``.
        verbose: As for ``train``.
        settings: As for ``train``.

    Returns:
        The rates, the losses and the suggestion.

    Raises:
        UsageError: The settings, the photos or the file cannot be used.
        TrainingError: The very first loss is not finite.
    """
    config = TrainConfig.from_settings(data, config, **settings)
    refuse_picture(Path(out), Path(config.data), _COMMAND)
    with ExitStack() as cleanup:
        accelerator = cleanup.enter_context(
            create_accelerator(config, Watchers.of_screen(verbose=verbose).say)
        )
        cleanup.enter_context(reproducible(config.seed, accelerator.device))
        watchers = Watchers.of_screen(quiet=not accelerator.is_main_process, verbose=verbose)
        setup = prepare(config, accelerator, watchers, Stopwatch())
        *before, tested = _phases(setup, phase, watchers)
        features = setup.source.open((*before, tested)[0])
        with watchers.counting("Photos", len(setup.listing.candidates)) as counter:
            checks = features.check(setup.listing.candidates, counter.advance)
            dataset = check_images(setup.listing, config.allow_quarantined, checks=checks)
        splits = split_dataset(dataset, val_fraction=config.val_fraction, seed=config.seed)
        setup = setup.scaled(Scale.of(splits.train, dataset.targets))
        watchers.photos_read(setup.listing, dataset, splits)
        with _weights_kept(setup, (*before, tested)):
            for each in (*before, tested):
                if features.phase is not each:
                    features = setup.source.open(each)
                make_trainable(features.suffix, each.norm, setup.new_norms)
                watchers.phase_begun(each, features.prefix.stages.names, num_trainable(features.suffix))
                if each is tested:
                    found = _test(setup, features, splits, accelerator, watchers)
                elif each.optimizer == "exact":
                    fit_head(features.suffix, features, splits.train, setup.targets)
                else:
                    _train_head(setup, features, splits, accelerator)
                features.suffix.to(memory_format=torch.contiguous_format)
                features.close()
                accelerator.free_memory()
        if accelerator.is_main_process:
            try:
                draw(Path(out), found)
            except (FileWriteError, UsageError) as error:  # the numbers are worth more than their picture
                watchers.say(f"Warning: {error}")
            else:
                found = dataclasses.replace(found, picture=Path(out))
    return found


def _phases(setup: Setup, name: str | None, watchers: Watchers) -> list[PhaseConfig]:
    """The phases to run, the one to be tested last.

    Raises:
        ConfigError: There is no phase of that name, or it takes no steps.
    """
    config = setup.config
    names = [each.name for each in config.phases]
    with_steps = [each.name for each in config.phases if each.optimizer != "exact"]
    if name is not None and name not in names:
        nearest = did_you_mean(name, names)
        raise ConfigError([f"phase is {name!r}.{nearest} The recipe's phases are {', '.join(names)}."])
    if name is not None and name not in with_steps:
        raise ConfigError(
            [
                f"Phase {name!r} is solved exactly, so it has no learning rate to look for. Name another "
                f"phase, or give it optimizer = 'adam' in a recipe file."
            ]
        )
    if not with_steps:
        raise ConfigError(
            [
                f"All phases of recipe {config.recipe!r} are solved exactly, so there is no learning rate to "
                f"look for. Choose another recipe: finetune, full, classic or a file of [[phases]]."
            ]
        )
    index = names.index(name or with_steps[-1])
    before, tested = [], config.phases[index]
    for each in config.phases[:index]:
        if cut(setup.network, each.unfreeze)[1].names == ["head"]:
            before.append(each)
        else:
            watchers.say(f"Phase {each.name} trains more than the head and is left out of this test.")
    steps_per_epoch = math.ceil(math.ceil(setup.source.num_train / config.batch_size) / tested.accumulate)
    epochs = math.ceil(NUM_STEPS / steps_per_epoch)
    return [*before, dataclasses.replace(tested, views=min(tested.views, epochs))]  # those that are seen


@contextmanager
def _weights_kept(setup: Setup, phases: Sequence[PhaseConfig]) -> Iterator[None]:
    """Give what phases train back, at the end of the block, as it was before."""
    names = {name for phase in phases for name in setup.trained_names(phase)}
    state = setup.network.state_dict()
    kept = {name: state[name].clone() for name in names}
    try:
        yield
    finally:
        state = setup.network.state_dict()  # anew: a memory format puts other tensors in their places
        for name, tensor in kept.items():
            state[name].copy_(tensor)


def _train_head(setup: Setup, features: PhaseFeatures, splits: Splits, accelerator: Accelerator) -> None:
    """Train the head as its phase says, without scores: quick, for its features are computed once."""
    ready = make_ready(setup, features, splits.train, accelerator)
    for epoch in range(1, features.phase.epochs + 1):
        for _ in ready.steps(epoch, torch.zeros(3, device=accelerator.device)):
            pass


def _test(
    setup: Setup, features: PhaseFeatures, splits: Splits, accelerator: Accelerator, watchers: Watchers
) -> LrRange:
    """Take steps at growing rates, until there are enough of them or the loss explodes."""
    phase, batch_size = features.phase, setup.config.batch_size
    growth = math.log(END_LR / START_LR) / (NUM_STEPS - 1)
    lrs = [START_LR * math.exp(growth * step) for step in range(NUM_STEPS)]
    if len(splits.train) < batch_size:
        watchers.say(
            f"There are fewer training photos ({len(splits.train)}) than a batch has ({batch_size}): every "
            f"step sees the same ones, and the loss falls more smoothly than it would on new ones."
        )
    ready = make_ready(
        setup, features, splits.train, accelerator, lambda phase, step, _: lrs[step] / phase.head_lr
    )
    losses: list[float] = []
    smoothed: list[float] = []
    average, ended = 0.0, f"all {NUM_STEPS} steps are done"
    totals = torch.zeros(3, device=accelerator.device)  # of a step
    num_photos = NUM_STEPS * min(len(splits.train), batch_size * phase.accumulate)
    try:
        with watchers.counting("Range test", num_photos) as counter:
            for batch in chain.from_iterable(ready.steps(epoch, totals) for epoch in count(1)):
                ready.trainer.verify()  # each loss is looked at, so each step may be
                losses.append(scores_of(totals, setup.criterion, accelerator)["loss"])
                totals.zero_()
                average = _SMOOTHING * average + (1 - _SMOOTHING) * losses[-1]
                smoothed.append(average / (1 - _SMOOTHING ** len(losses)))
                counter.advance(batch.step_size)
                settled = smoothed[NUM_STEPS // 10 :]  # an average of few is chance
                if settled and settled[-1] > _EXPLODED * max(min(settled), _LEAST):
                    ended = f"the loss exploded at a learning rate of {lrs[len(losses) - 1]:.2g}"
                    break
                if len(losses) == NUM_STEPS:
                    break
    except TrainingError:
        if not losses:
            raise
        ended = f"the loss was no longer finite at a learning rate of {lrs[len(losses)]:.2g}"
    watchers.say(f"The test has ended: {ended}.")
    lrs = lrs[: len(losses)]
    valley, steepest = suggest(lrs, smoothed)
    phases = setup.config.phases
    return LrRange(phase.name, phases, tuple(lrs), tuple(losses), tuple(smoothed), valley, steepest, ended)


def suggest(lrs: Sequence[float], smoothed: Sequence[float]) -> tuple[float | None, float | None]:
    """Return fastai's two suggestions, valley and steepest; None where there are too few steps.

    The valley is the longest falling subsequence of the losses; suggested is the middle of its second third.

    Args:
        lrs: (N,) growing learning rates.
        smoothed: (N,) the smoothed loss at each.

    Source:
        ``valley``, ``steep`` and ``Learner.lr_find`` in fastai's ``callback/schedule.py``, which leave out
        the first tenth of all steps and the last five.
    """
    rates, losses = np.array(lrs[NUM_STEPS // 10 : -5]), np.array(smoothed[NUM_STEPS // 10 : -5])
    if len(rates) < 2:
        return None, None
    lengths = np.ones(len(losses), int)  # of the longest falling subsequence that ends at each step
    for end in range(1, len(losses)):
        higher = losses[:end] > losses[end]
        if higher.any():
            lengths[end] = lengths[:end][higher].max() + 1
    end = int(lengths.argmax())
    third = int(lengths[end]) / 3
    valley = max(0, end - int(lengths[end]) + int(third) + int(third / 2))
    slopes = np.diff(losses) / np.diff(np.log(rates))
    return float(rates[valley]), float(rates[int(slopes.argmin())])


def draw(path: Path, found: LrRange) -> None:
    """Draw the loss over the learning rate, with the suggestions."""
    figure = new_figure(figsize=(8, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(found.lrs, found.losses, ".", color="#9aa5b1", markersize=5, label="loss of each step")
    axes.plot(
        found.lrs,
        found.smoothed,
        color="#1f6feb",
        linewidth=2,
        label="mean of the steps before (lags)",
    )
    marks = (("steepest fall", found.steepest, "#6e7781", 8), ("suggestion", found.valley, "#d4380d", 11))
    for label, lr, color, size in () if found.hardly_fell else marks:
        if lr is not None:
            loss = found.smoothed[found.lrs.index(lr)]
            text = f"{label}: {lr:.1e}"
            axes.plot([lr], [loss], "o", ms=size, mfc="none", mec=color, mew=1.8, ls="none", label=text)
    if found.valley is not None and not found.hardly_fell:
        axes.axvline(found.valley, color="#d4380d", linewidth=1, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(START_LR, min(END_LR, 10 * found.lrs[-1]))
    # An explosion at the end would press everything else to the floor. The first averages are of few steps,
    # and one of them may be the smallest by chance: the axis would then show none of the others.
    still = min(_STILL, len(found.smoothed) - 1)
    best = still + int(np.argmin(found.smoothed[still:]))
    low, high = min(found.losses), max(found.losses[: best + 1])
    margin = max(high - low, 0.05 * abs(high), 1e-6)
    axes.set_ylim(low - 0.08 * margin, high + 0.25 * margin)
    axes.set_xlabel("learning rate of the head")
    axes.set_ylabel("training loss")
    doubt = "\nThe loss hardly fell, so the curve suggests nothing" if found.hardly_fell else ""
    axes.set_title(f"Phase {found.phase}: {found.ended}{doubt}", size=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    write_picture(path, figure, _COMMAND)
