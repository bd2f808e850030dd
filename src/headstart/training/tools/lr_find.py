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
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Unpack

import torch
from accelerate import Accelerator

from headstart.config import PhaseConfig, TrainConfig, TrainSettings
from headstart.data.check import check_images
from headstart.data.split import Splits, split_dataset
from headstart.data.targets import Scale
from headstart.environment import is_secondary
from headstart.errors import ConfigError, FileWriteError, UsageError, did_you_mean
from headstart.files import given_path
from headstart.model.freeze import make_trainable, num_trainable
from headstart.model.stages import cut
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.setup import Setup, prepare
from headstart.training.steps.device import create_accelerator, reproducible
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.phase import make_ready
from headstart.training.steps.solve_head import fit_head
from headstart.training.tools.lr_range import COMMAND, NUM_STEPS, LrRange, draw, to_png
from headstart.training.tools.picture import refuse_picture
from headstart.training.tools.range_test import range_test
from headstart.training.watch.watchers import Watchers


def lr_find(
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
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
        out: The picture, a ``.png`` file; one that ``lr_find`` has drawn is replaced, and nothing else. None
            for no file: a notebook shows the picture.
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
    if "watch" in settings:
        raise ConfigError("watch is given, but a range test is not recorded by trackers. Leave watch out.")
    config = TrainConfig.from_settings(data, config, **settings)
    path = None if out is None else given_path(out, "out", "the picture")
    if path is not None:
        refuse_picture(path, Path(config.data), COMMAND)
    with ExitStack() as cleanup:
        watchers = Watchers.of_screen(quiet=is_secondary(), verbose=verbose)
        with watchers.held():
            accelerator = cleanup.enter_context(create_accelerator(config, watchers.say))
            cleanup.enter_context(reproducible(config.seed, accelerator.device))
            setup = prepare(config, accelerator, watchers, Stopwatch())
            phases = _phases(setup, phase, watchers)
        found = _run(setup, phases, accelerator, watchers)
        return _drawn(found, path, watchers) if accelerator.is_main_process else found


def _drawn(found: LrRange, path: Path | None, watchers: Watchers) -> LrRange:
    if path is not None:
        try:
            draw(path, found)
            return dataclasses.replace(found, picture=path)
        except (FileWriteError, UsageError) as error:  # the numbers are worth more than their picture
            watchers.say(f"Warning: {error}")
    return dataclasses.replace(found, png=to_png(found))


def _run(
    setup: Setup, phases: Sequence[PhaseConfig], accelerator: Accelerator, watchers: Watchers
) -> LrRange:
    """Run the phases before the last one, test that, and give the network its weights back."""
    with ExitStack() as opened:
        features = opened.enter_context(closing(setup.source.open(phases[0])))
        setup, splits = _read_photos(setup, features, watchers)
        opened.enter_context(_weights_kept(setup, phases))
        for each in phases:
            if features.phase is not each:
                features = opened.enter_context(closing(setup.source.open(each)))
            make_trainable(features.suffix, each.norm, setup.new_norms)
            watchers.phase_begun(each, features.prefix.stages.names, num_trainable(features.suffix))
            if each is phases[-1]:
                found = range_test(setup, features, splits, accelerator, watchers)
            elif each.optimizer == "exact":
                fit_head(features.suffix, features, splits.train, setup.targets, setup.config)
            else:
                _train_head(setup, features, splits, accelerator)
            features.suffix.to(memory_format=torch.contiguous_format)
            features.close()
            accelerator.free_memory()
    return found


def _read_photos(setup: Setup, features: PhaseFeatures, watchers: Watchers) -> tuple[Setup, Splits]:
    """Check and split the photos, and return the setup with the scale of those to train on."""
    config, listing = setup.config, setup.listing
    with watchers.counting("Photos", len(listing.candidates)) as counter:
        checks = features.check(listing.candidates, counter.advance)
        dataset = check_images(listing, config.allow_quarantined, checks=checks)
    splits = split_dataset(dataset, val_fraction=config.val_fraction, seed=config.seed)
    watchers.photos_read(listing, dataset, splits)
    return setup.scaled(Scale.of(splits.train, dataset.targets)), splits


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
        raise ConfigError(f"phase is {name!r}.{nearest} The recipe's phases are {', '.join(names)}.")
    if name is not None and name not in with_steps:
        raise ConfigError(
            f"Phase {name!r} is solved exactly, so it has no learning rate to look for. Name another "
            f"phase, or give it optimizer = 'adam' in a recipe file."
        )
    if not with_steps:
        raise ConfigError(
            f"All phases of recipe {config.recipe!r} are solved exactly, so there is no learning rate to "
            f"look for. Choose another recipe: finetune, deep, full, classic or a file of [[phases]]."
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
