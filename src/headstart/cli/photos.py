"""``headstart check``, ``features``, ``augment`` and ``recommend``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import headstart
from headstart.cli.options import Data, option, with_settings
from headstart.columns import counted
from headstart.config.keeping import RAY_ADDRESS
from headstart.errors import shell_command
from headstart.reasons import by_reason

_RAY = f"Ray cluster that reads the photos and computes their features: {RAY_ADDRESS}"
_MOST_NAMED = 20  # photos that cannot be read


@with_settings("augment", seed={"text": "random seed of the views, as in training, and of the photos shown"})
def augment(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write: .png.")] = Path(
        "sheet.png"
    ),
    augment: Annotated[
        str | None,
        option(
            "A preset to show (none, light, medium, strong).",
            "the augmentation of the recipe's phases",
            metavar="PRESET",
        ),
    ] = None,
    views: Annotated[int, typer.Option(min=1, max=20, help="Augmented views of each photo.")] = 6,
    photos: Annotated[int, typer.Option(min=1, max=50, help="Number of photos in the picture.")] = 8,
) -> None:
    """Draw photos beside their augmented views. The views are those that training would use."""
    result = headstart.augment(data, out, augment=augment, num_views=views, num_photos=photos, **settings)
    _tell_unreadable(result.unreadable)
    for warning in result.warnings:
        print(f"headstart: {warning}", file=sys.stderr)
    print(f"Written: {out} ({counted(result.num_photos, 'photo')})")


@with_settings(
    "features",
    has_set=False,
    ray={"text": _RAY},
    val={"text": "folder or file of validation photos", "shown": "none", "metavar": "FOLDER"},
    group_by={
        "text": "groups to write: a table's column, or a regular expression that finds the group in the path "
        "with its first parentheses"
    },
    features={"text": "whether the features are also kept in the cache (store) or not (live)"},
    allow_quarantined={"text": "largest fraction of photos that may have unusable labels"},
)
def features(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Folder of photos, with or without class folders; tar files, a table, Pascal VOC or COCO.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write: .parquet or .npz.")],
    settings: dict[str, Any],
) -> None:
    """Write the features of photos to a file. Features are the inputs of a network's head. Paths, labels and
    splits are written with them.
    """
    result = headstart.features(data, out, **settings)
    _tell_unreadable(result.unreadable)
    photos = counted(result.num_rows, "photo")
    print(f"Written: {out} ({photos}, {result.num_features:,} features each)")
    if result.unreadable:
        raise typer.Exit(1)


@with_settings(
    "recommend",
    has_set=False,
    size_px={"text": "height and width of every network's input", "shown": "each backbone's"},
    resize={"shown": "each backbone's"},
    features={"text": "whether features are also kept in the cache (store) or not (live)"},
    ray={"text": f"Ray cluster that measures each backbone in a task of its own: {RAY_ADDRESS}"},
)
def recommend(
    data: Data,
    settings: dict[str, Any],
    backbone: Annotated[
        list[str] | None,
        option(
            "Backbone to compare: a name or a FILE.onnx. Repeatable.",
            "all with weights on this machine",
            metavar="NAME",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        option("Table of the results to write: .csv. A picture is written beside it: .svg.", metavar="FILE"),
    ] = None,
) -> None:
    """Compare backbones on your photos, and advise on which to use.

    Prints the cross-validated score and loss of a solved head for each backbone, milliseconds per photo on
    this machine, and megabytes. Uses at most 2,000 photos, and never test photos.
    """
    result = headstart.recommend(data, out, backbones=backbone or (), **settings)
    _tell_unreadable(result.unreadable)
    print(result)
    if out is not None:
        print(f"Written: {out}, {out.with_suffix('.svg')}", file=sys.stderr)
    name = result.recommended.backbone
    of_files = () if name.lower().endswith(".onnx") else ("mean", "std", "output_name")
    options = [
        word
        for key, value in settings.items()
        if key not in of_files
        for word in (f"--{key.replace('_', '-')}", value)
    ]
    print(f"To train: {shell_command('train', data, '--backbone', name, *options)}")


@with_settings(
    "check",
    has_set=False,
    ray={"text": _RAY},
    val={"text": "folder or file of validation photos", "shown": "none", "metavar": "FOLDER"},
    group_by={
        "text": "groups of dependent photos: a table's column, or a regular expression that finds the group "
        "in the path with its first parentheses"
    },
    features={"text": "whether features are also kept in the cache (store) or not (live)"},
)
def check(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[
        Path | None,
        option("Table of all findings to write: .csv, in which you decide on them.", metavar="FILE"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Compute no features: no near-duplicates, no wrong labels.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 if there are leaks.")
    ] = False,
) -> None:
    """Look for faults in photos and labels.

    Finds copies and near-duplicates, leaks between splits, wrong labels, faulty photos, small classes and
    shortcuts. Nothing is changed. To act on findings, write drop, keep or label NAME into the column decision
    of the table, and give the table to train, evaluate and check with --decisions.
    """
    findings = headstart.check(data, out, quick=quick, **settings)
    print(findings)
    if out is not None:
        print(f"Written: {out}", file=sys.stderr)
    elif findings:
        print("To see all findings and to decide on them: --out findings.csv", file=sys.stderr)
    if strict and (leaks := findings.of_kind("leak")):
        repeat = "validation or test photo repeats a", "validation or test photos repeat"
        number = counted(len(leaks), repeat[0], repeat[1])
        print(f"headstart: --strict: {number} training photo{'s' * (len(leaks) > 1)}", file=sys.stderr)
        raise typer.Exit(1)


def _tell_unreadable(unreadable: Sequence[tuple[str, str]]) -> None:
    for text in by_reason(unreadable, _MOST_NAMED):
        print(f"headstart: {text}", file=sys.stderr)
