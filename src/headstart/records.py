"""What is known of labelled photos: first by names and labels alone, then after every photo has been read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from headstart.images.view import Box

TaskName: TypeAlias = str
"""What is predicted: a name in ``tasks.TASKS``."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that is meant as a photo; nobody has read it yet.

    Attributes:
        path: Opens the file (made by ``os.fsdecode``, so that any name works).
        class_name: Its class, or its box's; empty where the task has no single class.
        split: ``"train"``, ``"val"`` or ``"test"`` where the data say so, else None.
        labels: Its classes where a photo may have several, sorted.
        numbers: The values of the listing's ``targets``, in their order.
        box: Of its object: xmin, ymin, xmax, ymax in pixels, of the photo that has the declared size.
        declared_size: Width and height of the photo in which the box was drawn; None where no size is
            declared. Whether it is the photo's own is known once the photo has been read.
        group: What must stay on one side of a split with it, if anything.
        source: Where the label is written, as in ``labels.csv, line 7``; empty where a folder says it.
    """

    path: str
    class_name: str
    split: str | None
    labels: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    box: Box | None = None
    group: str | None = None
    source: str = ""
    declared_size: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder as it was found, before any photo is read.

    Attributes:
        root: The folder, as it was asked for; of a file with labels, its folder.
        candidates: The files that are meant as photos with a label: of folders, ordered by the bytes of their
            names; of files with labels, in their order.
        class_names: The classes of the training photos (of all photos, where none are for training), sorted;
            valid Unicode.
        ignored: Paths of all other files: hidden, no images, or images that belong to no class.
        without_class: Those of the ignored that are images: a user may have meant them.
        found: How many files there are, counted while reading (of a table: rows; of Pascal VOC: XML files,
            and photos without one; of COCO: entries of ``images``).
        task: What is predicted.
        targets: Names of the numbers, where numbers are predicted.
        quarantined: What cannot be used, for what is wrong with its label.
        notes: Sentences that a user should read: columns that are not used, boxes that are left out.
    """

    root: str
    candidates: tuple[Candidate, ...]
    class_names: tuple[str, ...]
    ignored: tuple[str, ...]
    without_class: tuple[str, ...]
    found: int
    task: TaskName = "classification"
    targets: tuple[str, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A photo that decodes.

    Attributes:
        path: Opens the file.
        label: Index into the dataset's ``class_names``; 0 where the task has no single class.
        split: ``"train"``, ``"val"`` or ``"test"`` where the data say so, else None.
        sha256: Of the file's bytes, lower-case hexadecimal.
        labels: Indices of its classes where a photo may have several, ascending.
        numbers: The values of the dataset's ``targets``, in their order.
        box: Of its object: xmin, ymin, xmax, ymax in pixels of the photo as a viewer shows it.
        size: Width and height of the photo as a viewer shows it; None where the task needs no box.
        group: What must stay on one side of a split with it, if anything.
    """

    path: str
    label: int
    split: str | None
    sha256: str
    labels: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    box: Box | None = None
    size: tuple[int, int] | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A photo that is left out because it cannot be read, or because its label cannot be used.

    Attributes:
        path: The file.
        split: Where it would have belonged, if the data say so.
        reason: What is wrong with it, without the path; with the place where a wrong label is written.
    """

    path: str
    split: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Photos that can be trained on, and an account of every file that was found.

    Attributes:
        root: The folder, as it was asked for.
        records: The photos that are used, in the order of the listing.
        class_names: Sorted; a record's label is an index into it.
        quarantined: The photos that cannot be read, or whose labels cannot be used, with the reason.
        ignored: Paths of the files that are no photos of a class.
        found: As in the listing.
        task: What is predicted.
        targets: Names of the numbers, where numbers are predicted.
        notes: Those of the listing, and how many boxes were cut off at their photo's edge.

    Raises:
        AssertionError: found is not used + quarantined + ignored: a file has been lost, by a bug.
    """

    root: str
    records: tuple[Record, ...]
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
