"""``headstart features`` and ``augment``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headstart.cli.options import Data, option, with_settings
from headstart.columns import counted
from headstart.files import FEATURES, refuse_to_write


@with_settings("augment", seed={"text": "decides the views, as in training, and which photos are shown"})
def augment(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The picture to write: .png.")] = Path(
        "sheet.png"
    ),
    augment: Annotated[
        str | None,
        option("A preset to look at (none, light, medium, strong).", "what the phases say", metavar="PRESET"),
    ] = None,
    views: Annotated[int, typer.Option(min=1, max=20, help="Views of each photo.")] = 6,
    photos: Annotated[int, typer.Option(min=1, max=50, help="Photos on the picture.")] = 8,
) -> None:
    """Show photos beside their augmented views. The picture has the views that training would make."""
    from headstart.training.tools.preview import write_sheet

    result = write_sheet(data, out, augment=augment, num_views=views, num_photos=photos, **settings)
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
        "text": "groups to write: a table's column, or a regular expression whose first parentheses find the "
        "group in the path"
    },
    features={"text": "whether the features are kept in the cache too (store) or not (live)"},
    allow_quarantined={"text": "fraction of the photos whose labels may be unusable"},
)
def features(
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="Folder of photos, in class folders or not; a table, Pascal VOC or COCO.",
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File to write: .parquet or .npz.")],
    settings: dict[str, Any],
) -> None:
    """Write the features of photos to a file. They are the input of a network's head; paths, labels and
    splits are written with them.
    """
    from headstart.features.extract import extract_features
    from headstart.training.tools.extractor import open_extractor

    refuse_to_write(out, FEATURES)
    result = extract_features(data, out, open_extractor=open_extractor, **settings)
    for path, reason in result.unreadable:
        print(f"headstart: {path}: {reason}", file=sys.stderr)
    photos = counted(result.num_rows, "photo")
    print(f"Written: {out} ({photos}, {result.num_features:,} features each)")
    if result.unreadable:
        raise typer.Exit(1)
