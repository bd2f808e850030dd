"""Training: from a folder of photos to a model file. Which of two stories a run takes is decided here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from headstart.config import TrainConfig, TrainSettings
from headstart.errors import ConfigError, requires_extra
from headstart.training.probe import ProbeSetup, train_probe
from headstart.training.run.moved import moved, refuse_missing_photos
from headstart.training.run.result import TrainResult
from headstart.training.run.run_folder import RunFolder
from headstart.training.story import (
    decide_recipe,
    find_probe,
    is_secondary,
    refuse_to_train_a_file,
    refuse_without_pytorch,
)
from headstart.training.tools.probe_plan import plan_probe
from headstart.training.watch.named import split_watch, watchers_of
from headstart.training.watch.watcher import Watcher
from headstart.training.watch.watchers import Watchers

if TYPE_CHECKING:
    from torch import nn


def train(
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    config: TrainConfig | None = None,
    network: nn.Module | None = None,
    watch: str | Iterable[str | Watcher] = (),
    verbose: bool = True,
    **settings: Unpack[TrainSettings],
) -> TrainResult:
    """Train a network on labelled photos.

    Args:
        data: A folder of class folders, or of train/val/test folders above them; or a table, Pascal VOC or
            COCO annotations. May be left out where ``config`` names it.
        out: The run folder; by default ``runs/NAME-OF-DATA``, with a number if that exists.
        config: All settings together, instead of ``settings``.
        network: A network of your own instead of a backbone with a new head, on the device or not: it takes
            normalised (B, 3, H, W) float32 and gives what the task needs: a logit per class, standardised
            numbers, or xmin, ymin, xmax, ymax in shares of the input's sides. ``backbone`` is then the one
            whose base it is built on, which says how photos are prepared. It is trained in place.
        watch: Names of experiment trackers (the setting ``watch``), and watchers of your own: see
            ``Watcher``.
        verbose: Whether progress and warnings are written to standard error.
        settings: Any field of ``TrainConfig``: ``backbone``, ``recipe``, ``seed``, ...

    Returns:
        The run folder, with ``model.onnx`` and ``model.safetensors`` in it, and its metrics.

    Raises:
        UsageError: The settings or the photos cannot be used; nothing has been trained.
        HeadstartError: The work failed, for a reason that the message names.
    """
    names, watchers = split_watch(watch)
    given: dict[str, Any] = {**settings, **({"watch": names} if names else {})}
    config = TrainConfig.from_settings(data, config, **given)
    return _run(config, watchers, out=out, network=network, verbose=verbose)


def resume(
    path: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    val: str | os.PathLike[str] | None = None,
    network: nn.Module | None = None,
    force: bool = False,
    watch: Iterable[Watcher] = (),
    verbose: bool = True,
) -> TrainResult:
    """Resume a run, whatever stopped it; the result has the same bits as without the interruption.

    Args:
        path: The run folder. Of a finished run the result is returned; without a checkpoint the run begins
            again.
        data: Where the photos are now, if they have been moved: a folder, table or file of annotations as
            for ``train``. Their paths below it and their hashes are compared with the run's.
        val: Likewise for a folder or file of validation photos. One inside the data moves with it.
        network: As it was given to ``train``, with the weights that it had then.
        force: Resume although code, packages, machine, settings or photos have changed.
        watch: Watchers of your own, as they were given to ``train``; those by name are remembered.
        verbose: As for ``train``.

    Raises:
        ConfigError: ``watch`` holds names, or something that is not a watcher.
        RunFolderError: The folder is not a run, or something has changed: all differences are named.
        HeadstartError: As in ``train``.
    """
    names, watchers = split_watch(watch)
    if names:
        raise ConfigError(
            [
                f"watch names {', '.join(names)}, but a resumed run has the trackers that it began with. "
                f"Leave them out, or add them to watch in {Path(path) / 'config.toml'}."
            ]
        )
    config = moved(RunFolder.read_config(path), path, data, val)
    if metrics := RunFolder.read_metrics(path):
        Watchers.of_screen(verbose=verbose).say(
            f"{os.fspath(path)} is finished. To use other settings, start a new run: headstart train"
        )
        return TrainResult(Path(path), metrics)
    refuse_missing_photos(config, Path(path))
    return _run(config, watchers, stopped=Path(path), force=force, network=network, verbose=verbose)


def plan(data: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, **settings: Any) -> str:
    """Say what ``train`` with the same arguments would do; nothing is trained, and nothing is written.

    Args:
        data: As for ``train``.
        out: As for ``train``.
        settings: As for ``train``.

    Returns:
        Lines for people. Empty in all processes but the main one.

    Raises:
        HeadstartError: Whatever ``train`` would raise before it reads the first photo.
    """
    say = Watchers.of_screen(quiet=is_secondary()).say
    config, choice = decide_recipe(TrainConfig.from_settings(data, **settings))
    watchers_of(config.watch)  # which may not be installed
    probe = find_probe(config, say)
    if isinstance(probe, ProbeSetup):
        _say(choice, say)
        return plan_probe(probe, out)
    refuse_to_train_a_file(config, probe)
    refuse_without_pytorch(probe)
    _say(choice, say)
    with requires_extra("train"):
        from headstart.training.tools.plan import plan_in_steps
    return plan_in_steps(config, out)


def _run(
    config: TrainConfig,
    watch: Sequence[Watcher],
    *,
    out: str | os.PathLike[str] | None = None,
    stopped: Path | None = None,
    force: bool = False,
    network: nn.Module | None = None,
    verbose: bool,
) -> TrainResult:
    with Watchers.of_run(config.watch, watch, quiet=is_secondary(), verbose=verbose) as watchers:
        config, choice = decide_recipe(config)
        reason = "A network of your own is trained in steps."
        if network is None:
            probe = find_probe(config, watchers.say)
            if isinstance(probe, ProbeSetup):
                _say(choice, watchers.say)
                return train_probe(probe, watchers, out=out, stopped=stopped, force=force)
            reason = probe
            refuse_to_train_a_file(config, reason)
        refuse_without_pytorch(reason)
        _say(choice, watchers.say)
        with requires_extra("train"):
            from headstart.training.finetune import train_in_steps
        return train_in_steps(config, watchers, out=out, stopped=stopped, force=force, network=network)


def _say(choice: str, say: Callable[[str], object]) -> None:
    if choice:
        say(choice)
