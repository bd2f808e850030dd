"""Labelled photos: ``Candidate`` and ``Listing`` before photos are read, ``Record`` and ``Dataset`` after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from headstart.images.photo import Photo
from headstart.images.view import Box

TaskName: TypeAlias = str
"""Name of a task: a key of ``tasks.TASKS``."""

FRACTIONS: Final = (1.0, 1.0)
"""Declared size of a photo whose box is in fractions of its width and height."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is meant as a photo and has not been read yet.

    Attributes:
        photo: The photo. The key of a file is decoded with ``os.fsdecode``, so that any name works.
        class_name: The class of the photo or of its box; empty if the task has no single class.
        split: ``"train"``, ``"val"`` or ``"test"`` if the data determine it, else None.
        labels: Its classes, sorted, if a photo may have several.
        numbers: The values of the listing's ``targets``, in their order.
        box: xmin, ymin, xmax, ymax in pixels of a photo of the declared size.
        declared_size: Width and height of the photo in which the box was drawn; None if no size is declared.
            It is compared with the photo's own size when the photo is read.
        group: Photos of the same group stay on one side of a split; None if it has no group.
        source: Place of the label, such as ``labels.csv, line 7``; empty if the label is a folder's name.
    """

    photo: Photo
    class_name: str
    split: str | None
    labels: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    box: Box | None = None
    group: str | None = None
    source: str = ""
    declared_size: tuple[float, float] | None = None

    @property
    def path(self) -> str:
        """The photo's name in messages and tables."""
        return self.photo.key


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a data set, before any photo is read.

    Attributes:
        root: The folder that the user named; for a label file, its folder.
        candidates: Files that are meant as labelled photos: from folders, sorted by the bytes of their names;
            from label files, in the order of the file. ``Packed``, for little memory.
        class_names: The classes of the training photos (of all photos, if there are no training photos),
            sorted; valid Unicode.
        ignored: Paths of all other files: hidden files, files that are not images, images without a class.
        without_class: The images among ``ignored``, which the user may have intended to use.
        found: Number of files (of a table: rows; of Pascal VOC: XML files, and photos without one; of COCO:
            entries of ``images``).
        task: Name of the task.
        targets: Names of the numbers, if numbers are predicted.
        quarantined: Photos that cannot be used because their labels are wrong.
        notes: Notes for the user, for example about unused columns or skipped boxes.
        form: What was read, in words, such as ``the table 'labels.csv'``.
    """

    root: str
    candidates: Sequence[Candidate]
    class_names: tuple[str, ...]
    ignored: tuple[str, ...]
    without_class: tuple[str, ...]
    found: int
    task: TaskName = "classification"
    targets: tuple[str, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
    form: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A photo that can be decoded, with its label.

    Attributes:
        photo: The photo.
        label: Index into the dataset's ``class_names``; 0 if the task has no single class.
        split: ``"train"``, ``"val"`` or ``"test"`` if the data determine it, else None.
        sha256: SHA-256 of the photo's bytes, lower-case hexadecimal.
        labels: Indices of its classes, ascending, if a photo may have several.
        numbers: The values of the dataset's ``targets``, in their order.
        box: xmin, ymin, xmax, ymax in pixels of the photo as a viewer displays it.
        size: Width and height of the photo as a viewer displays it; None if the task has no box.
        group: Photos of the same group stay on one side of a split; None if it has no group.
        alike: The smallest SHA-256 among its near-duplicates and itself; None if it has none, or if they are
            not known.
        is_divided: Whether these may be on different sides of a split.
    """

    photo: Photo
    label: int
    split: str | None
    sha256: str
    labels: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    box: Box | None = None
    size: tuple[int, int] | None = None
    group: str | None = None
    alike: str | None = None
    is_divided: bool = False

    @property
    def path(self) -> str:
        """The photo's name in messages and tables."""
        return self.photo.key


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A photo that is left out because it cannot be read, or because its label cannot be used.

    Attributes:
        path: Key of the photo.
        split: Its split, if the data determine it.
        reason: What is wrong with it, without the path; for a wrong label, with the place of the label.
    """

    path: str
    split: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos that can be trained on, and an account of every file that was found.

    Attributes:
        root: The folder that the user named.
        records: The usable photos, in the order of the listing; ``Packed``, for little memory.
        class_names: Sorted; the label of a record is an index into it.
        quarantined: The photos that cannot be read, or whose labels cannot be used, with the reason.
        ignored: Paths of files that are not photos of a class.
        found: Number of files, as in the listing.
        task: Name of the task.
        targets: Names of the numbers, if numbers are predicted.
        notes: The notes of the listing, and notes about changes to boxes.

    Raises:
        AssertionError: found is not used + quarantined + ignored; a bug has lost a file.
    """

    root: str
    records: Sequence[Record]
    class_names: tuple[str, ...]
    quarantined: tuple[Quarantined, ...]
    ignored: tuple[str, ...]
    found: int
    task: TaskName = "classification"
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        used, quarantined, ignored = len(self.records), len(self.quarantined), len(self.ignored)
        if self.found != used + quarantined + ignored:  # raised by hand: python -O drops assert statements
            raise AssertionError(
                f"found {self.found} files, but used {used} + quarantined {quarantined} + ignored {ignored}"
            )
