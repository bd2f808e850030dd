"""``headstart features`` and ``augment``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import headstart
from headstart.cli.options import Data, option, with_settings
from headstart.columns import counted


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
    for path, reason in result.unreadable:
        print(f"headstart: {path}: {reason}", file=sys.stderr)
    for warning in result.warnings:
        print(f"headstart: {warning}", file=sys.stderr)
    print(f"Written: {out} ({counted(result.num_photos, 'photo')})")


@with_settings(
    "features",
    has_set=False,
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
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of photos, with or without class folders; a table, Pascal VOC or COCO.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write: .parquet or .npz.")],
    settings: dict[str, Any],
) -> None:
    """Write the features of photos to a file. Features are the inputs of a network's head. Paths, labels and
    splits are written with them.
    """
    result = headstart.features(data, out, **settings)
    for path, reason in result.unreadable:
        print(f"headstart: {path}: {reason}", file=sys.stderr)
    photos = counted(result.num_rows, "photo")
    print(f"Written: {out} ({photos}, {result.num_features:,} features each)")
    if result.unreadable:
        raise typer.Exit(1)
