"""The model card: what the model was made from and how, what limits it, and the command that repeats it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final

from headstart import tasks
from headstart.columns import counted, listed, printable
from headstart.config import TrainConfig
from headstart.config.checking import settings_of
from headstart.config.phase import PhaseConfig
from headstart.config.phases import RECIPES
from headstart.errors import shell_command
from headstart.inference.model_file import ModelInfo
from headstart.reporting.contents import Contents
from headstart.reporting.markup import (
    Content,
    Html,
    element,
    isolated,
    listing,
    named,
    paragraph,
    scrolling,
    section,
    table,
)

_MOST_NAMED: Final = 50

_UNCHANGED: Final = frozenset(
    {"data", "val", "features", "store", "ray", "workers", "checkpoint_seconds", "watch", "phases"}
)
"""Settings that are shown otherwise, or do not change what is computed."""


def section_of_card(contents: Contents) -> Html:
    """Return the model card."""
    rows = [
        element("tr", element("th", name, scope="row"), element("td", *_as_tuple(value)))
        for name, value in _facts(contents)
    ]
    facts = element("table", element("caption", "The model"), element("tbody", rows), class_="facts")
    return section(
        "Model card",
        scrolling("The model", facts),
        _phases(contents),
        element("h3", "Known limits"),
        listing(limits_of_model(contents.info)),
        element("h3", "To train it again"),
        _repeat(contents),
    )


def _as_tuple(value: Content) -> tuple[Content, ...]:
    return (value,)


def _facts(contents: Contents) -> Iterator[tuple[str, Content]]:
    """Yield the rows of the card: title and content."""
    info, metrics = contents.info, contents.metrics
    images, task = metrics["images"], tasks.of(info.task)
    yield "Task", info.task
    if info.targets:
        yield "Numbers", [_names(info.targets)]
    if info.class_names:
        yield counted(len(info.class_names), "class", "classes").capitalize(), [_names(info.class_names)]
    folds = metrics.get("folds", {}).get("num_folds")
    validating = f"{images['val']:,} to validate" if images["val"] or not folds else "none to validate"
    scored = f", all but test photos scored in {folds} folds" if folds else ""
    yield (
        "Photos",
        f"{images['train']:,} to train, {validating}, {images['test']:,} to test{scored}; "
        f"{images['quarantined']:,} quarantined, {images['ignored']:,} ignored",
    )
    if contents.photos:
        yield (
            "Data fingerprint",
            [
                element("code", contents.fingerprint),
                " (SHA-256 of the sorted SHA-256 of all photos in photos.csv, one per line)",
            ],
        )
    yield (
        "Backbone",
        [named(PurePath(info.backbone).name if PurePath(info.backbone).is_absolute() else info.backbone)],
    )
    yield "Pretrained weights", _weights(contents)
    yield "Licence of the weights", _licence(contents)
    stages = metrics["head"].get("stages", [])
    yield "Head", f"{info.head}{f', which reads {listed(stages, 5)} and the last stage' if stages else ''}"
    preprocessing = info.preprocessing
    yield "Input", f"{preprocessing.size_px} × {preprocessing.size_px} px, {preprocessing.resize}"
    if any(threshold != 0.5 for threshold in info.thresholds) and task.has_labels:
        texts = [
            f"{isolated(name)} {value:.2f}"
            for name, value in zip(info.class_names, info.thresholds, strict=True)
        ]
        yield "Thresholds", listed(texts, _MOST_NAMED)
    if contents.config is not None:
        yield "Recipe", named(PurePath(contents.config.recipe).name)
    yield "Random seed", str(metrics["seed"])
    yield "Versions", ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())


def _names(names: tuple[str, ...]) -> Content:
    shown = [part for name in names[:_MOST_NAMED] for part in (", ", named(name))][1:]
    return [shown, f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else None]


def _weights(contents: Contents) -> Content:
    """Return where the pretrained weights came from, without folders of this machine."""
    source: dict[str, Any] = contents.metrics["weights_from"]
    path = PurePath(source.get("path", ""))
    package = path.parts[path.parts.index("site-packages") + 1] if "site-packages" in path.parts else ""
    words = [
        source["kind"],
        package if source["kind"] == "package" else "",
        path.name,
        printable(source.get("note", "")),
    ]
    weights = contents.info.weights
    digest = ["; SHA-256 ", element("code", weights)] if len(weights) == 64 else None
    return [named(" ".join(filter(None, words)), 200), digest]


def _licence(contents: Contents) -> Content:
    """Return the licence of the pretrained weights, as their source states it."""
    source: dict[str, Any] = contents.metrics["weights_from"]
    if source["kind"] == "random":
        return "None: training began with random weights."
    if licence := source.get("licence"):
        return [printable(licence), ", as the source of the pretrained weights states it"]
    words = {"file": "The file", "own network": "The network"}.get(
        source["kind"], "The source of the weights"
    )
    return f"{words} states none. Ask where the weights come from before you pass the model on."


def _phases(contents: Contents) -> Html | None:
    """Return what each phase trained, as a table; nothing of a series of runs."""
    if contents.config is None or not contents.config.phases:
        return None
    known = {phase["name"]: len(phase["epochs"]) for phase in contents.metrics["phases"]}
    rows = [(each.name, _cells(each, known.get(each.name, 0))) for each in contents.config.phases]
    header = ["phase", "trained from", "epochs", "learning rate", "augmentation"]
    return table("Phases of the training", header, rows)


def _cells(phase: PhaseConfig, num_epochs: int) -> list[Content]:
    augment = phase.augment if isinstance(phase.augment, str) else "own"
    rate = "solved" if phase.optimizer == "exact" else f"{phase.head_lr:g}"
    return [printable(str(phase.unfreeze)), f"{num_epochs} of {phase.epochs}", rate, augment]


def limits_of_model(info: ModelInfo) -> Iterator[str]:
    """Yield what is known to limit the model, whatever its scores are."""
    size_px = info.preprocessing.size_px
    yield (
        "The scores hold for photos like those that were scored: from the same cameras, places and seasons. "
        "For others they may be lower."
    )
    if info.class_names and not tasks.of(info.task).has_labels:
        num = counted(len(info.class_names), "class", "classes")
        yield f"It was trained on {num} only and knows no other."
    cut = (
        " The edges of photos that are not square are cut off." if info.preprocessing.resize == "crop" else ""
    )
    yield f"It sees every photo at {size_px} × {size_px} px, so smaller details are lost.{cut}"
    if info.num_groups:
        num = counted(info.num_groups, "group")
        yield f"It was trained on photos of {num}; on other groups it may be worse."


def _repeat(contents: Contents) -> Html:
    """Return the command that repeats the training."""
    config = contents.config
    if config is None:
        return paragraph("The run has no config.toml, so its settings are not known.")
    words = [contents.name, *_options(config)]
    exact = 'hs.train(config=hs.TrainConfig.from_toml("RUN/config.toml"), out="again")'
    return element(
        "div",
        element("pre", element("code", printable(shell_command("train", *words)))),
        paragraph(
            "config.toml in the run folder has all settings and phases. In Python, this uses exactly these, "
            "with ",
            element("code", "import headstart as hs"),
            " and the run folder in place of RUN:",
        ),
        element("pre", element("code", exact)),
    )


def _options(config: TrainConfig) -> Iterator[str]:
    """Yield the options of the settings that differ from their defaults, without folders of this machine."""
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    for name in settings_of(TrainConfig):
        value = getattr(config, name)
        is_default = value is None or (name in defaults and value == defaults[name])
        if name == "val" and isinstance(value, str):
            yield from ("--val", PurePath(value).name)
        elif name == "val" and not is_default:
            yield from ("--val", f"{value:g}")
        elif is_default or name in _UNCHANGED or not isinstance(value, (str, int, float)):
            continue
        elif name == "recipe" and value not in RECIPES:
            yield from ("--recipe", PurePath(str(value)).name)
        else:
            is_path = isinstance(value, str) and PurePath(value).is_absolute()
            yield from (f"--{name.replace('_', '-')}", PurePath(str(value)).name if is_path else f"{value}")
