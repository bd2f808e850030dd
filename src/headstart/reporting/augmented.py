"""A few training photos beside the views that phases with augmentation train on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headstart.config.operations import Operation, operations_of
from headstart.errors import ImageError
from headstart.images.address import joined
from headstart.images.photo import Photo
from headstart.images.preprocess import load_pixels
from headstart.inference.runtime import map_in_order
from headstart.reporting.contents import Contents, ListedPhoto
from headstart.reporting.markup import Html, element, paragraph, section
from headstart.reporting.pictures import jpeg_of, picture
from headstart.views.augmentation import Augmentation

_NUM_PHOTOS: Final = 3
_NUM_VIEWS: Final = 4
_SIDE_PX: Final = 140


def section_of_augmentation(contents: Contents, root: Path | None) -> Html | None:
    """Return the section about augmentation; nothing if no phase augments photos or no photos are shown.

    Args:
        contents: With the settings of the run.
        root: The data folder; None to show no photos.
    """
    config = contents.config
    if config is None or root is None:
        return None
    phases: dict[tuple[Operation, ...], list[str]] = {}
    for phase in config.phases:
        if operations_of(phase.augment):
            phases.setdefault(operations_of(phase.augment), []).append(phase.name)
    photos = [each for each in contents.photos if each.split == "train"][:_NUM_PHOTOS]
    blocks = []
    for operations, names in phases.items():
        rows = list(_rows(Augmentation(operations, config.seed), photos, contents, root))
        if rows:
            words = ", ".join(each.op for each in operations)
            blocks += [
                element("h3", f"Phase{'s' if len(names) > 1 else ''} {', '.join(names)}"),
                paragraph(
                    f"Left: training photos as they are predicted. Right: some of their views ({words})."
                ),
                element("div", rows, class_="views"),
            ]
    return section("Augmentation", blocks) if blocks else None


def _rows(
    augmentation: Augmentation, photos: Sequence[ListedPhoto], contents: Contents, root: Path
) -> list[Html]:
    """Return the pictures: each photo, followed by its views."""

    def views(photo: ListedPhoto) -> list[Html]:
        path = joined(root, photo.path)
        try:
            content = Photo(path).content()
            found = [
                load_pixels(
                    content,
                    contents.info.preprocessing,
                    path=path,
                    view=augmentation.view(photo.sha256, number),
                )
                for number in range(_NUM_VIEWS + 1)
            ]
        except ImageError:
            return []
        name = contents.shown(photo.path)
        return [
            picture(*jpeg_of(pixels, _SIDE_PX), f"View {number} of {name}" if number else f"Photo {name}")
            for number, pixels in enumerate(found)
        ]

    return [each for row in map_in_order(views, photos) for each in row]
