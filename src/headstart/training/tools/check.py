"""``headstart check``: what is wrong, or may be wrong, with photos and labels."""

from __future__ import annotations

import os
import re
import shlex
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, Unpack

import numpy as np

from headstart import tasks
from headstart.columns import counted
from headstart.config import CheckSettings, TrainConfig
from headstart.config.checking import hint_at, settings_of
from headstart.data.check import check_images, check_photo
from headstart.data.decisions import COLUMNS, Decisions, read_decisions
from headstart.data.sources.source import read_source
from headstart.data.targets import Scale, Targets
from headstart.errors import ConfigError, UsageError
from headstart.files import given_path, refuse_to_write, write_whole
from headstart.findings.check import Known, find_all
from headstart.findings.finding import Findings
from headstart.findings.kept_facts import KeptFacts
from headstart.findings.survey import near_pairs, with_near_duplicates
from headstart.frozen.cache import Room
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.opened import OpenedBackbone
from headstart.inference.runtime import map_in_order
from headstart.probe.assemble import describe
from headstart.probe.photos import solve_photos
from headstart.probe.read import affordable_blocks, open_for_photos, read_photos
from headstart.records import Dataset, Listing
from headstart.training.choose import find_graph
from headstart.training.watch.watchers import Watchers

_SETTINGS: Final = tuple(n for n, each in settings_of(TrainConfig).items() if "check" in each.commands)

_CSV: Final = re.compile(rf"(\xef\xbb\xbf)?{COLUMNS[0]}[,;\t]{COLUMNS[1]}[,;\t].*".encode(), re.DOTALL)


def check(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    quick: bool = False,
    verbose: bool = True,
    **settings: Unpack[CheckSettings],
) -> Findings:
    """Look for what is wrong, or may be wrong, with photos and labels. Nothing is changed.

    It looks for copies and near-duplicates, those that leak between splits, labels that are probably wrong,
    faulty photos, classes with too few photos, and properties of files that give the class away. Features
    are stored, so that training with the same backbone needs no further pass over the photos.

    Args:
        data: As for ``train``.
        out: A ``findings.csv`` to write. In its column ``decision``, write ``drop``, ``label NAME`` or
            ``keep``, and give it to ``train``, ``evaluate`` and ``check`` as ``decisions``.
        quick: Only what needs no features: near-duplicates and wrong labels are left out.
        verbose: Whether progress and warnings are written to standard error.
        settings: Those fields of ``TrainConfig`` that decide which photos are read, and how.

    Raises:
        UsageError: The settings, the photos or the file cannot be used.
        HeadstartError: The work failed; the message gives the reason.
    """
    config = _config(data, settings)
    decisions = read_decisions(config.decisions)
    path = None if out is None else given_path(out, "out", "the table of findings")
    if path is not None:
        _refuse_to_write(path, decisions)
    watchers = Watchers.of_screen(verbose=verbose)
    listing = read_source(config.data, config.val_folder, for_training=False, **config.source_options)
    for note in listing.notes:
        watchers.say(note)
    room = None  # nothing is read from the cache or stored
    if config.features != "live":
        room = Room(watchers.say, is_limited=config.features != "store", shared=config.store)
    dataset, known = _look(config, listing, watchers, room, quick=quick)
    with closing(known.facts):
        findings = find_all(dataset, known, decisions)
    if path is not None:
        write_whole(path, findings.csv())
    return findings


def _config(data: str | os.PathLike[str], settings: CheckSettings) -> TrainConfig:
    """Return the settings of a probe on the photos.

    Raises:
        ConfigError: A setting is wrong; the message lists all problems.
    """
    problems = [
        f"check has no setting {name!r}.{hint_at(name, _SETTINGS)} It has {', '.join(_SETTINGS)}."
        for name in settings
        if name not in _SETTINGS
    ]
    if problems:
        raise ConfigError(problems)
    return TrainConfig.from_settings(data, recipe="probe", **settings)


def _refuse_to_write(path: Path, decisions: Decisions) -> None:
    """Refuse to replace a file of another kind, or decisions that are not used."""
    if path.suffix.lower() != ".csv":
        raise ConfigError(f"out is {str(path)!r}; its name must end in .csv.")
    refuse_to_write(path, _CSV)
    is_used = decisions.source and path.exists() and path.samefile(decisions.source)
    if path.is_file() and not is_used and (old := read_decisions(path).rows):
        raise UsageError(
            f"{path} contains {counted(len(old), 'decision')} of yours, which would be lost. To use and keep "
            f"them, add --decisions {shlex.quote(str(path))}; or name another file."
        )


def _look(
    config: TrainConfig, listing: Listing, watchers: Watchers, room: Room | None, *, quick: bool
) -> tuple[Dataset, Known]:
    """Read the photos; compute features and answers where they are wanted and possible."""
    backbone = "quick" if quick else find_graph(config, listing.task, watchers.say)
    if isinstance(backbone, str):
        with watchers.counting("Photos", len(listing.candidates)) as counter:
            checks = map_in_order(check_photo, (each.photo for each in listing.candidates), config.workers)
            dataset = check_images(listing, config.allow_quarantined, lambda: counter.advance(1), checks)
        reason = "they need features, which --quick does not compute" if quick else backbone
        unchecked = [f"near-duplicates and wrong labels: {reason}"]
        facts = KeptFacts(dataset.records, room, decode=True)
        return dataset, Known(_splits(dataset), None, facts, unchecked=unchecked)
    with open_for_photos(backbone, listing, config, watchers.say) as features:
        with watchers.counting("Photos", len(listing.candidates)) as counter:
            dataset = read_photos(features, listing, config.allow_quarantined, counter.advance)
        photos = dataset.records
        rows = features.activations.rows((photo, 0) for photo in photos)
        near = near_pairs(photos, lambda: np.stack(list(rows)), room, watchers.counting)
        dataset = with_near_duplicates(dataset, near)
        outputs, has_answer = _answers(dataset, backbone, features)
    facts = KeptFacts(dataset.records, room, decode=True)
    return dataset, Known(_splits(dataset), near, facts, outputs, has_answer)


def _splits(dataset: Dataset) -> list[str]:
    return [record.split or "" for record in dataset.records]


def _answers(
    dataset: Dataset, backbone: OnnxBackbone, features: OpenedBackbone
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return what heads answer that were solved without the photos, and which photos have such an answer."""
    if tasks.of(dataset.task).solver is None or not (dataset.class_names or dataset.targets):
        return None, None
    scale = Scale.of(dataset.records, dataset.targets)
    targets = Targets(dataset.task, dataset.class_names, backbone.preprocessing, scale)
    blocks = affordable_blocks(backbone, features, targets, len(dataset.records))
    rows = partial(features.rows, stages=[block.name for block in blocks[:-1]])
    solved = solve_photos(dataset.records, (0,), rows, blocks, targets)
    if solved.out_of_fold is None:
        return None, None
    info = describe(backbone, dataset, solved.reading, scale)
    outputs = tasks.of(dataset.task).to_file(solved.out_of_fold.outputs, info)
    return outputs, solved.out_of_fold.fold >= 0
