"""``headstart augment``: photos beside the views that training would make of them, as a picture."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from PIL import Image

from headstart import recipe
from headstart.columns import counted
from headstart.config import PhaseConfig, TrainConfig, TrainSettings
from headstart.config.operations import PRESETS, Augment, operations_of
from headstart.data.place import place_boxes
from headstart.data.sources.source import read_source
from headstart.data.targets import Targets
from headstart.errors import DataError, ImageError
from headstart.files import given_path
from headstart.images.decode import decode, image_size
from headstart.images.draw import outline
from headstart.images.preprocess import load_pixels
from headstart.images.view import View
from headstart.reasons import by_reason
from headstart.records import Candidate, Quarantined, Record
from headstart.training.choose import decide_recipe
from headstart.training.steps.sampler import key
from headstart.training.tools.extractor import input_of
from headstart.training.tools.picture import refuse_picture, write_picture
from headstart.views.augmentation import Augmentation
from headstart.views.flips import flip_warnings
from headstart.views.sheet import Picture, Section, describe, draw_sheet, fit

_COMMAND = "headstart augment"
_ORIGINAL_PX = 400  # an original is decoded to at least so many pixels
_MOST_UNREADABLE = 10  # lines about photos that cannot be read


@dataclass(frozen=True, repr=False)
class Preview:
    """Photos beside their views. A notebook shows the picture.

    Attributes:
        picture: The sheet.
        num_photos: Photos on the sheet.
        warnings: What the user should know, a sentence each.
        unreadable: Path and reason of photos that were to be shown.
        path: The file with the picture; None where none was asked for.
    """

    picture: Image.Image
    num_photos: int
    warnings: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    path: Path | None = None

    def __repr__(self) -> str:
        width, height = self.picture.size
        where = f"in {self.path}" if self.path else "save it with .picture.save(FILE)"
        lines = [f"Views of {counted(self.num_photos, 'photo')}, {width} × {height} px: {where}"]
        return "\n".join([*lines, *self.warnings, *by_reason(self.unreadable, _MOST_UNREADABLE)])

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows."""
        file = io.BytesIO()
        self.picture.save(file, "PNG")
        return file.getvalue()


def augment(
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    augment: str | None = None,
    num_views: int = 6,
    num_photos: int = 8,
    **settings: Unpack[TrainSettings],
) -> Preview:
    """Draw a few photos beside their views: the first ones that training with these settings would see.

    Args:
        data: As for training.
        out: A ``.png`` file; only a sheet is replaced, and none is put among the photos. None for no file.
        augment: A preset to look at instead of what the phases say.
        num_views: Columns.
        num_photos: Rows; each class comes once before any comes twice.
        settings: Those of training.

    Raises:
        UsageError: The settings, the photos or the file cannot be used.
        DataError: None of the chosen photos can be read.
    """
    if augment is not None:
        Augmentation(augment, 0)  # a wrong name is told first
    config = decide_recipe(TrainConfig.from_settings(data, **settings))[0]
    path = None if out is None else given_path(out, "out", "the picture")
    if path is not None:
        refuse_picture(path, Path(config.data), _COMMAND)
    listing = read_source(config.data, config.val_folder, **config.source_options)
    backbone, preprocessing = input_of(config, listing.task)
    targets = Targets(listing.task, listing.class_names, preprocessing, min_visible=config.min_visible)
    candidates = [each for each in listing.candidates if each.split in (None, "train")]
    shown = _by_phase(config, len(candidates), listing.task, listing.class_names)
    if augment is not None:
        shown = [_Shown(f"preset {augment}", augment, num_views)]
    warnings = _warnings(config, listing.class_names, shown, is_chosen=augment is not None)
    unreadable: list[tuple[str, str]] = []
    photos = list(islice(_readable(_in_turns(candidates, config.seed), unreadable), num_photos))
    if not photos:
        raise DataError(
            "None of the photos can be read, so there is nothing to show. The first: "
            f"{unreadable[0][0]}: {unreadable[0][1]}"
        )
    sections = [_section(each, photos, config.seed, targets, num_views) for each in shown]
    size = f"{preprocessing.size_px} px, {preprocessing.resize}"
    title = f"{Path(config.data).absolute().name}: views for {backbone} ({size}), seed {config.seed}"
    picture = draw_sheet(title, sections)
    if path is not None:
        write_picture(path, picture, _COMMAND)
    return Preview(picture, len(photos), tuple(dict.fromkeys(warnings)), tuple(unreadable), path)


def _warnings(
    config: TrainConfig, class_names: tuple[str, ...], shown: Sequence[_Shown], *, is_chosen: bool
) -> list[str]:
    """Say what a user should know of the views, unless a preset was chosen to be looked at."""
    warnings = [text for each in shown for text in flip_warnings(class_names, each.augment)]
    varied = [each for each in shown if operations_of(each.augment)]
    if not varied:
        presets = ", ".join(list(PRESETS)[1:])
        warnings.append(
            f"No phase of recipe {config.recipe!r} augments photos. Preview a preset with --augment: "
            f'{presets}. Train with one by augment = "light" in a recipe file.'
        )
    warnings += [
        f"{each.heading}: all epochs see the same view of a photo. Leave views out, and each "
        f"epoch has a new one, or write views = 5, for example, and they take turns."
        for each in varied
        if each.num_views == 1 and not is_chosen
    ]
    return warnings


@dataclass(frozen=True)
class _Shown:
    """What one section shows."""

    heading: str
    augment: Augment
    num_views: int


def _by_phase(config: TrainConfig, num_train: int, task: str, class_names: tuple[str, ...]) -> list[_Shown]:
    """What phases do to photos, those that do the same together; those that do nothing only if all do."""
    # Whether the head is one linear layer decides how it is trained, not on what.
    keeps_label = not flip_warnings(class_names, "none", mirror=True)
    facts = recipe.Facts(num_train, head_inputs=None, task=task, keeps_label=keeps_label)
    phases = recipe.complete(config, facts).phases
    varied = [phase for phase in phases if operations_of(phase.augment)]
    groups: dict[tuple[Any, ...], list[PhaseConfig]] = {}
    for phase in varied or phases:
        groups.setdefault((operations_of(phase.augment), phase.views), []).append(phase)
    shown = []
    for (_, num_views), same in groups.items():
        augment = same[0].augment
        heading = f"phase{'s' if len(same) > 1 else ''} {', '.join(phase.name for phase in same)}"
        if varied:
            heading += f": {augment}" if isinstance(augment, str) else ""
            heading += f", {num_views} view{'s' if num_views > 1 else ''} of each photo"
        shown.append(_Shown(heading, augment, num_views if varied else 1))
    return shown


def _in_words(augment: Augment) -> str:
    """The operations with their parameters, in their order."""
    words = []
    for operation in operations_of(augment):
        values = [
            f"{name} {_number(value)}"
            for name, value in vars(operation).items()
            if name != "op" and not (name == "p" and value == 1)
        ]
        words.append(f"{operation.op} ({', '.join(values)})" if values else operation.op)
    return ", ".join(words) or "photos as they are"


def _number(value: float | tuple[float, float]) -> str:
    return " to ".join(f"{each:.3g}" for each in value) if isinstance(value, tuple) else f"{value:g}"


def _in_turns(candidates: Sequence[Candidate], seed: int) -> Iterator[Candidate]:
    """Photos in an order of chance, each class once before any comes twice."""
    by_class: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_class.setdefault(_label(candidate), []).append(candidate)
    shuffled = []
    for name, photos in sorted(by_class.items()):
        generator = np.random.Generator(np.random.Philox(key("sheet", seed, name)))
        shuffled.append([photos[index] for index in generator.permutation(len(photos)).tolist()])
    return (photo for photo in chain.from_iterable(zip_longest(*shuffled)) if photo is not None)


def _label(photo: Candidate) -> str:
    """What a photo is labelled with, in a few words."""
    numbers = ", ".join(f"{number:g}" for number in photo.numbers)
    return photo.class_name or ", ".join(photo.labels) or numbers or "box"


def _readable(
    candidates: Iterable[Candidate], unreadable: list[tuple[str, str]]
) -> Iterator[tuple[Candidate, bytes]]:
    """Photos that can be used, boxes in their own pixels, with their bytes; the others are noted."""
    for candidate in candidates:
        try:
            content = candidate.photo.content()
            decode(content, path=candidate.path, reduce_to_px=_ORIGINAL_PX)
        except ImageError as error:
            unreadable.append((candidate.path, error.reason))
            continue
        if candidate.box is not None:
            record = Record(candidate.photo, 0, candidate.split, "", box=candidate.box)
            quarantined: list[Quarantined] = []
            records, _ = place_boxes([record], {candidate.path: candidate}, quarantined)
            if not records:
                unreadable.append((candidate.path, quarantined[0].reason))
                continue
            candidate = dataclasses.replace(candidate, box=records[0].box, declared_size=None)
        yield candidate, content


def _section(
    shown: _Shown, photos: Sequence[tuple[Candidate, bytes]], seed: int, targets: Targets, num_views: int
) -> Section:
    num_views = min(num_views, shown.num_views)
    rows = [_row(photo, content, shown.augment, seed, targets, num_views) for photo, content in photos]
    return Section(shown.heading, [_in_words(shown.augment)], rows)


def _row(
    photo: Candidate, content: bytes, augment: Augment, seed: int, targets: Targets, num_views: int
) -> list[Picture]:
    preprocessing = targets.preprocessing
    image = decode(content, path=photo.path, reduce_to_px=_ORIGINAL_PX)
    plain = load_pixels(content, preprocessing, path=photo.path)
    name = os.fsencode(Path(photo.path).name).decode("utf-8", "replace")
    augmentation, sha256 = Augmentation(augment, seed), hashlib.sha256(content).hexdigest()
    record = Record(photo.photo, 0, photo.split, sha256, box=photo.box, size=image_size(content))

    def framed(pixels: np.ndarray, number: int) -> np.ndarray:
        if photo.box is None:
            return pixels
        _, shares = targets.view(record, number, augmentation)
        return outline(pixels, shares[:4] * preprocessing.size_px)

    row = [Picture(fit(image), _label(photo), name), Picture(fit(framed(plain, 0)), "as predicted")]
    for number in range(1, num_views + 1):
        if photo.box is not None:  # another view stands where one would cut the box off
            number, _ = targets.view(record, number, augmentation)
        view = augmentation.view(sha256, number) if number else View()
        left, top, right, bottom = view.box(*image.size, preprocessing)
        share = (right - left) * (bottom - top) / (image.width * image.height)
        pixels = load_pixels(content, preprocessing, path=photo.path, view=view)
        words = describe(augmentation.steps(sha256, number) if number else [], share)
        row.append(Picture(fit(framed(pixels, number)), f"view {len(row) - 1}", words))
    return row
