"""Transforms boxes to their photos, by comparing the size that a label file declares with the photo's size.

A box is correct only in the photo in which it was drawn. Many annotation tools ignore the EXIF orientation,
and many people resize their photos after annotating them. The declared size reveals both.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from headstart.errors import ImageError
from headstart.images.boxes import turned_upright
from headstart.images.decode import Header, image_header
from headstart.images.photo import Photo
from headstart.images.view import Box
from headstart.inference.runtime import map_in_order
from headstart.records import FRACTIONS, Candidate, Quarantined, Record

Frame: TypeAlias = Literal["shown", "stored"]
"""Coordinates of a box: of the photo as a viewer displays it, or of the stored pixels, before orientation."""

_ROUNDING_PX: Final = 1.0  # by how much a resized photo's sides, or a box's, may be off


def place_boxes(
    records: Sequence[Record],
    candidates: Mapping[str, Candidate],
    quarantined: list[Quarantined],
    headers: Mapping[str, Header] | None = None,
) -> tuple[list[Record], list[str]]:
    """Add the sizes of photos to records, and convert boxes to pixels of photos as a viewer displays them.

    A box drawn in the stored pixels is rotated with its photo, a box drawn in a resized copy is scaled, and
    every box is clipped to its photo. A photo is quarantined if the declared size cannot be explained in this
    way, or if the box lies completely outside.

    Args:
        records: Photos that can be decoded, with the boxes of the label files.
        candidates: Candidates by path, with the declared sizes.
        quarantined: Photos that cannot be used are appended to this list.
        headers: Headers by path, of photos that have been read; other headers are read here.

    Returns:
        The usable records, and a sentence for each kind of change to boxes.
    """
    read = headers or {}
    found = list(
        map_in_order(
            lambda photo: read.get(photo.key) or _header_or_reason(photo), (each.photo for each in records)
        )
    )
    known = [
        (header.orientation, frames_of(candidates[record.path], header))
        for record, header in zip(records, found, strict=True)
        if isinstance(header, Header)
    ]
    usual = usual_frame(known)
    placed, done, undecided = [], Counter[str](), []
    for record, header in zip(records, found, strict=True):
        candidate = candidates[record.path]
        try:
            if isinstance(header, str):
                raise ValueError(header)
            frames = frames_of(candidate, header)
            if len(frames) == 2 and header.orientation > 1 and usual is None:
                undecided.append(record.path)
            frame = usual or "shown" if len(frames) == 2 else next(iter(frames), None)
            box = _placed(candidate, header, frame, done)
        except ValueError as error:
            quarantined.append(Quarantined(record.path, record.split, f"{candidate.source}: {error}"))
        else:
            placed.append(dataclasses.replace(record, box=box, size=header.size))
    return placed, _notes(done, undecided)


def frames_of(candidate: Candidate, header: Header) -> set[Frame]:
    """Return the frames in which a box may have been drawn, by its photo's header and the declared size.

    Both frames if they have the same size, as for a photo that is upside down; none if the declared size is
    not explained by either.
    """
    sizes: dict[Frame, tuple[int, int]] = {"shown": header.size, "stored": header.stored_size}
    if header.orientation == 1:
        del sizes["stored"]
    declared = candidate.declared_size
    if declared == FRACTIONS:  # of the photo as it is displayed, which YOLO annotates
        return {"shown"}
    if declared is None:  # then the box itself may tell
        assert candidate.box is not None
        fitting = {frame for frame, size in sizes.items() if _fits(candidate.box, size)}
        return fitting or set(sizes)
    exact = {frame for frame, size in sizes.items() if size == declared}
    return exact or {frame for frame, size in sizes.items() if _have_same_proportions(declared, size)}


def usual_frame(known: Iterable[tuple[int, set[Frame]]]) -> Frame | None:
    """Return the common frame of all photos for which it is certain; None if they differ.

    The boxes of a data set usually come from one tool, which either respects the EXIF orientation or not.

    Args:
        known: The orientation and possible frames of each photo.
    """
    told = {next(iter(frames)) for orientation, frames in known if orientation > 1 and len(frames) == 1}
    return told.pop() if len(told) == 1 else None


def _placed(candidate: Candidate, header: Header, frame: Frame | None, done: Counter[str]) -> Box:
    """Return a box in pixels of the photo as a viewer displays it, and count the changes in ``done``.

    Raises:
        ValueError: The box cannot be placed; the message says why.
    """
    assert candidate.box is not None
    (width, height), given = header.size, candidate.box
    declared = candidate.declared_size
    shown = f"the box with edges at {', '.join(f'{value:g}' for value in given)}"
    real = f"{width} × {height} pixels"
    if declared is not None and frame is None:
        raise ValueError(
            f"the photo is declared to have {_pixels(declared)}, but a viewer shows {real}, which is not the "
            f"same photo resized{_advice(declared, header)}. Correct the box and the declared size; or, if "
            "the box is right for the photo as it is, leave the declared size out or write 0"
        )
    drawn_in = declared or (header.stored_size if frame == "stored" else header.size)
    if declared not in (None, header.size) and not _fits(given, drawn_in) and _fits(given, header.size):
        raise ValueError(
            f"{shown} reaches beyond the declared {_pixels(drawn_in)}, but not beyond the photo, which a "
            f"viewer shows with {real}. Correct the declared size"
        )
    box = given
    if frame == "stored":
        box = turned_upright(given, drawn_in, header.orientation)
        if header.orientation >= 5:
            drawn_in = drawn_in[1], drawn_in[0]
    scale_x, scale_y = width / drawn_in[0], height / drawn_in[1]
    xmin, ymin, xmax, ymax = box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y
    cut = max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height))
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise ValueError(f"{shown} lies outside the photo, which a viewer shows with {real}")
    done["turned"] += frame == "stored"
    done["scaled"] += (scale_x, scale_y) != (1, 1) and declared != FRACTIONS
    done["cut off"] += cut != (xmin, ymin, xmax, ymax)
    return cut


def _advice(declared: tuple[float, float], header: Header) -> str:
    if header.orientation == 1 and _have_same_proportions((declared[1], declared[0]), header.size):
        return " (width and height seem to be exchanged, or the photo was turned after it was annotated)"
    return ""


def _notes(done: Counter[str], undecided: list[str]) -> list[str]:
    """Return sentences about the changes to boxes, and about photos with an unknown frame."""
    words = {
        "turned": "boxes were drawn in the stored photo, before its EXIF orientation turns it "
        "upright; they are rotated with their photos.",
        "scaled": "boxes were drawn in a larger or smaller copy of their photo, as the declared width and "
        "height show; they are scaled to the photo.",
        "cut off": "boxes extend beyond their photos and are clipped at the edge.",
    }
    notes = [f"{done[what]} {sentence}" for what, sentence in words.items() if done[what]]
    if undecided:
        notes.append(
            f"{len(undecided)} photos with boxes are turned or mirrored by their EXIF orientation, such "
            f"as {undecided[0]!r}. No declared size shows whether the boxes were drawn before that; "
            "they are taken as drawn on the photo as a viewer shows it. Check them with: headstart augment"
        )
    return notes


def _header_or_reason(photo: Photo) -> Header | str:
    try:
        return image_header(photo)
    except ImageError as error:  # it has been read a moment ago
        return error.reason


def _have_same_proportions(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether two sizes have the same aspect ratio, with each side rounded."""

    def is_copy(whole: tuple[float, float], copy: tuple[float, float]) -> bool:
        lowest = max((side - _ROUNDING_PX) / of for side, of in zip(copy, whole, strict=True))
        highest = min((side + _ROUNDING_PX) / of for side, of in zip(copy, whole, strict=True))
        return lowest <= highest

    return is_copy(one, other) or is_copy(other, one)


def _fits(box: Box, size: tuple[float, float]) -> bool:
    return box[2] <= size[0] + _ROUNDING_PX and box[3] <= size[1] + _ROUNDING_PX


def _pixels(size: tuple[float, float]) -> str:
    return f"{size[0]:g} × {size[1]:g} pixels"
