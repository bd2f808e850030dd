"""Training: from a folder of photos to a model file."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from headstart.cluster.connection import connected
from headstart.config import TrainConfig, TrainSettings
from headstart.data.check import check_images
from headstart.data.decisions import read_decisions
from headstart.environment import is_secondary
from headstart.errors import ConfigError
from headstart.files import absolute
from headstart.findings.survey import with_near_duplicates
from headstart.training.choose import choose, open_floor
from headstart.training.findings import refuse_leaks
from headstart.training.hand_over import hand_over
from headstart.training.run.dealt import split_in_series
from headstart.training.run.kept_decisions import with_kept_decisions
from headstart.training.run.moved import moved, refuse_missing_photos
from headstart.training.run.result import TrainResult
from headstart.training.run.run_folder import FOLDS, STEPS, RunFolder, next_free_folder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.tools.best import train_best
from headstart.training.tools.folds import train_folds
from headstart.training.tools.on_ray import Workers, refuse_on_ray, train_on_ray
from headstart.training.watch.named import settings_and_watchers, split_watch
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
    watch: str | Iterable[str | Watcher] | None = None,
    num_workers: int | None = None,
    gpus_per_worker: int | None = None,
    verbose: bool = True,
    **settings: Unpack[TrainSettings],
) -> TrainResult:
    """Train a network on labelled photos.

    Args:
        data: A folder of class folders, or of train/val/test folders above them; or a table, Pascal VOC or
            COCO annotations. Not needed if ``config`` contains it.
        out: The run folder; by default ``runs/NAME-OF-DATA``, with a number if that exists.
        config: All settings together, instead of ``settings``.
        network: A network of your own instead of a backbone with a new head, on any device. It maps
            normalised (B, 3, H, W) float32 to the outputs of the task: a logit per class, standardised
            numbers, or xmin, ymin, xmax, ymax as fractions of the input's sides. ``backbone`` then names the
            backbone of its base, which determines the preprocessing. The network is trained in place.
        watch: Names of experiment trackers (the setting ``watch``), and watchers of your own: see
            ``Watcher``.
        num_workers: Train in so many processes of the cluster that ``ray`` names, as torchrun would.
            ``batch_size`` is that of all processes together. Without it, only the features of a probe are
            computed on the cluster.
        gpus_per_worker: GPUs for each of these processes; by default 0.
        verbose: Whether progress and warnings are written to standard error.
        settings: Any field of ``TrainConfig``: ``backbone``, ``recipe``, ``seed``, ...

    Returns:
        The result: the run folder, which contains ``model.onnx`` and ``model.safetensors``, and its metrics.

    Raises:
        UsageError: The settings or the photos cannot be used; nothing has been trained.
        HeadstartError: The work failed; the message gives the reason.
    """
    config, watchers = settings_and_watchers(data, config, watch, settings)
    if workers := Workers.of(config.ray, num_workers, gpus_per_worker):
        refuse_on_ray(config, network, watchers)
        return _begin_on_ray(workers, config, out, verbose=verbose)
    if config.recipe == "best":
        compares = config.backbone == TrainConfig.backbone and not settings.keys() & {"backbone", "weights"}
        return _begin_best(config, out, watchers, network, compares=compares, verbose=verbose)
    if config.folds is not None and config.fold is None:
        return _begin_folds(config, out, watchers, network, verbose=verbose)
    return _run(config, watchers, out=out, network=network, verbose=verbose)


def resume(
    path: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    val: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
    network: nn.Module | None = None,
    force: bool = False,
    watch: Iterable[Watcher] | None = None,
    ray: str | None = None,
    num_workers: int | None = None,
    gpus_per_worker: int | None = None,
    verbose: bool = True,
) -> TrainResult:
    """Resume an interrupted run; the result has the same bits as without the interruption.

    Args:
        path: The run folder. If the run is finished, its result is returned; without a checkpoint, it starts
            again.
        data: New location of the photos, if they have been moved: a folder, table or annotation file as for
            ``train``. Their relative paths and hashes are compared with those of the run.
        val: New location of a folder or file of validation photos. Not needed if it is inside the data.
        images: New location of the folder that ``images`` named. Not needed if it is inside the data.
        network: The network that was given to ``train``, with the weights that it had then.
        force: Resume even if code, packages, machine, settings or photos have changed.
        watch: Watchers of your own, as given to ``train``; those with names are taken from the settings.
        ray: Address of a cluster, as the setting for ``train``; by default the setting of the run.
        num_workers: As for ``train``; it must be that of the run.
        gpus_per_worker: As for ``train``.
        verbose: As for ``train``.

    Raises:
        ConfigError: ``watch`` contains names, or an object that is not a watcher.
        RunFolderError: The folder is not a run, or something has changed; the message lists all differences.
        HeadstartError: As in ``train``.
    """
    names, watchers = split_watch(watch)
    if names:
        raise ConfigError(
            f"watch names {', '.join(names)}, but a resumed run has the trackers that it began with. "
            f"Leave them out, or add them to watch in {Path(path) / 'config.toml'}."
        )
    config = RunFolder.read_config(path)
    config = moved(with_kept_decisions(Path(path), config), path, data, val, images)
    if metrics := RunFolder.read_metrics(path):
        Watchers.of_screen(quiet=is_secondary(), verbose=verbose).say(
            f"{os.fspath(path)} is finished. To use other settings, start a new run: headstart train"
        )
        return TrainResult(Path(path), metrics)
    refuse_missing_photos(config, Path(path), data, val, images)
    if ray is not None:
        config = dataclasses.replace(config, ray=ray)
    if workers := Workers.of(config.ray, num_workers, gpus_per_worker):
        refuse_on_ray(config, network, watchers)
        return _resume_on_ray(workers, Path(path), (data, val, images), force=force, verbose=verbose)
    is_moved = any(each is not None for each in (data, val, images))
    return _resume_here(
        config, Path(path), watchers, network, is_moved=is_moved, force=force, verbose=verbose
    )


def _resume_here(
    config: TrainConfig,
    path: Path,
    watch: Sequence[Watcher],
    network: nn.Module | None,
    *,
    is_moved: bool,
    force: bool,
    verbose: bool,
) -> TrainResult:
    """Resume a run, or a series of them, in this process."""
    if config.recipe == "best":
        _refuse_best(network)
        if is_moved:
            RunFolder.write_config(path, config)
        return _run_best(config, path, watch, force=force, verbose=verbose)
    if config.folds is not None and config.fold is None:
        _refuse_folds(config, network)
        if Path(path, FOLDS).is_dir():
            if is_moved:
                RunFolder.write_config(path, config)
            return _run_folds(config, path, watch, force=force, verbose=verbose)
    return _run(config, watch, stopped=path, force=force, network=network, verbose=verbose)


def _run(
    config: TrainConfig,
    watch: Sequence[Watcher],
    *,
    out: str | os.PathLike[str] | None = None,
    stopped: Path | None = None,
    force: bool = False,
    network: nn.Module | None = None,
    heading: str = "",
    verbose: bool,
) -> TrainResult:
    """The story of every run, with PyTorch or without: read it from top to bottom."""
    with ExitStack() as cleanup:
        watchers = Watchers.of_run(config.watch, watch, quiet=is_secondary(), verbose=verbose)
        cleanup.enter_context(watchers)
        stopwatch = Stopwatch()
        # What can be wrong with the command is found before any photo is read, and said alone.
        with watchers.held():
            if heading:
                watchers.say(heading)
            if stopped is None and not is_secondary():
                RunFolder.refuse(out, config.data)
            floor = cleanup.enter_context(open_floor(config, watchers, stopwatch, network, stopped))
            config, listing = floor.config, floor.listing
            decisions = read_decisions(config.decisions)
            run = floor.open_run(stopped, force=force)
        cleanup.enter_context(run.resume_explained())

        # One pass reads, hashes and checks the photos and runs the first phase's frozen part on them.
        with stopwatch("features"), watchers.counting("Photos", len(listing.candidates)) as counter:
            checks = floor.read_photos(counter.advance)
            dataset = check_images(listing, config.allow_quarantined, checks=checks)
        with stopwatch("features"):
            near = floor.near_duplicates(dataset.records)
        dataset = with_near_duplicates(dataset, near)
        path = stopped or (Path(out) if out else None)
        splits = split_in_series(dataset, config, path, is_solved=floor.is_solved)
        if config.strict:
            refuse_leaks(dataset, splits, near, decisions, watchers.say)
        floor.begin(out, dataset, splits, force=force)
        watchers.run_begun(run.start())
        watchers.photos_read(listing, dataset, splits)

        for phase in run.remaining_phases():
            floor.train_phase(phase)

        metrics: dict[str, Any] = {}
        if model := floor.make_model():  # in the main process
            metrics = hand_over(run, model, dataset, splits, near, decisions, watchers, stopwatch)
    return TrainResult(run.path, metrics)


def _begin_on_ray(
    workers: Workers, config: TrainConfig, out: str | os.PathLike[str] | None, *, verbose: bool
) -> TrainResult:
    """Train in the processes of a cluster, in a folder that is chosen here."""
    RunFolder.refuse(out, config.data)
    choose(config, lambda _: None)  # finds wrong names before a cluster starts
    config = dataclasses.replace(config, ray=None).absolute()
    with connected(workers.address, workers.num):
        path = (next_free_folder(config.data) if out is None else Path(out)).absolute()
        begin = partial(train, out=path, config=config, verbose=verbose)
        again = partial(resume, path, verbose=verbose)
        return train_on_ray(workers, path, begin, again, Watchers.of_screen(verbose=verbose).say)


def _resume_on_ray(
    workers: Workers,
    path: Path,
    places: tuple[str | os.PathLike[str] | None, ...],
    *,
    force: bool,
    verbose: bool,
) -> TrainResult:
    """Resume in the processes of a cluster; the new places of the photos are those of ``resume``."""
    path = path.absolute()
    data, val, images = (each and absolute(os.fsdecode(each)) for each in places)
    again = partial(resume, path, data=data, val=val, images=images, force=force, verbose=verbose)
    return train_on_ray(workers, path, None, again, Watchers.of_screen(verbose=verbose).say)


def _begin_best(
    config: TrainConfig,
    out: str | os.PathLike[str] | None,
    watch: Sequence[Watcher],
    network: nn.Module | None,
    *,
    compares: bool,
    verbose: bool,
) -> TrainResult:
    """Make the runs of the recipe "best" in a new folder."""
    _refuse_best(network)
    if config.ray is not None:
        raise ConfigError(
            f"recipe is 'best', whose runs are made on this machine, but ray is {config.ray!r}. Leave ray "
            f"out, or use recipe = 'probe' or 'deep'."
        )
    RunFolder.refuse(out, config.data)
    choose(dataclasses.replace(config, recipe="probe"), lambda _: None)
    with _new_series(config, out, STEPS) as folder:
        return _run_best(config, folder, watch, compares=compares, verbose=verbose)


def _begin_folds(
    config: TrainConfig,
    out: str | os.PathLike[str] | None,
    watch: Sequence[Watcher],
    network: nn.Module | None,
    *,
    verbose: bool,
) -> TrainResult:
    """Score by folds: a head that is solved in one run, whatever trains in steps in one run per fold."""
    _refuse_folds(config, network)
    if choose(config, lambda _: None)[1] is not None:
        return _run(config, watch, out=out, verbose=verbose)
    RunFolder.refuse(out, config.data)
    with _new_series(config, out, FOLDS) as folder:
        return _run_folds(config, folder, watch, verbose=verbose)


@contextmanager
def _new_series(config: TrainConfig, out: str | os.PathLike[str] | None, inside: str) -> Iterator[Path]:
    """Create the folder of a series of runs, which is left only if the first run has begun."""
    read_decisions(config.decisions)  # what is wrong with them is said before there is a folder
    folder = RunFolder.create(out, config, inside)
    try:
        yield folder
    except BaseException:
        if not any((folder / inside).glob("*/config.toml")):
            RunFolder.discard(folder, config, inside)
        raise


def _run_best(
    config: TrainConfig,
    folder: Path,
    watch: Sequence[Watcher],
    *,
    compares: bool = True,
    force: bool = False,
    verbose: bool,
) -> TrainResult:
    """Make those runs of the recipe "best" that are not finished, and resume the one that was stopped."""
    say = Watchers.of_screen(verbose=verbose).say
    train_once = _train_once(watch, force, verbose)
    return train_best(config, folder, train_once, say, compares=compares, verbose=verbose)


def _run_folds(
    config: TrainConfig, folder: Path, watch: Sequence[Watcher], *, force: bool = False, verbose: bool
) -> TrainResult:
    """Make those runs of the folds that are not finished, and resume the one that was stopped."""
    return train_folds(config, folder, _train_once(watch, force, verbose))


def _train_once(
    watch: Sequence[Watcher], force: bool, verbose: bool
) -> Callable[[TrainConfig, Path, str], TrainResult]:
    """Return what makes or resumes one run of a series."""
    say = Watchers.of_screen(verbose=verbose).say

    def train_once(settings: TrainConfig, path: Path, heading: str) -> TrainResult:
        if (path / "config.toml").is_file():
            say(heading)
        if metrics := RunFolder.read_metrics(path):
            return TrainResult(path, metrics)
        if (path / "config.toml").is_file():
            val = settings.val_folder
            return resume(path, data=settings.data, val=val, force=force, watch=watch, verbose=verbose)
        shutil.rmtree(path, ignore_errors=True)  # it was stopped before its photos were read
        return _run(settings, watch, out=path, heading=heading, verbose=verbose)

    return train_once


def _refuse_best(network: nn.Module | None) -> None:
    """Raise ``ConfigError`` if the recipe "best" cannot be used."""
    if network is not None:
        raise ConfigError(
            ["recipe is 'best', which compares backbones, but network is given. Use recipe = 'finetune'."]
        )
    if (number := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise ConfigError(
            [
                f"recipe is 'best', but WORLD_SIZE is {number}: one process makes its runs. Start it without "
                f"torchrun, or use recipe = 'deep'."
            ]
        )


def _refuse_folds(config: TrainConfig, network: nn.Module | None) -> None:
    """Raise ``ConfigError`` if one call cannot make the runs of all folds."""
    last = config.folds
    if network is not None:
        raise ConfigError(
            [
                f"folds is {last}, but network is given, which can be trained only once. Call hs.train once "
                f"for each fold, with fold = 1 to {last} and a new network."
            ]
        )
    if (number := os.environ.get("WORLD_SIZE", "1")) != "1":
        raise ConfigError(
            [
                f"folds is {last}, but WORLD_SIZE is {number}: one process makes the runs of all folds. "
                f"Start it without torchrun, or once for each fold, with --fold 1 to --fold {last}."
            ]
        )
