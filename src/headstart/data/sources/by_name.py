"""Finds photos by the names that label files give them: one rule for tables, JSON, COCO and Pascal VOC."""

from __future__ import annotations

import difflib
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from headstart.data.quarantine import NO_SUCH_PHOTO
from headstart.files import is_remote
from headstart.images.address import exists
from headstart.images.find import walk
from headstart.images.formats import IMAGE_SUFFIXES

MOST_SEARCHED: Final = 500_000
"""Files below the folder of a label file up to which it is searched; a folder named by the user always is."""

_MOST_SUGGESTED: Final = 5  # photos that are missing for which the most similar name is looked for
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_UPLOAD_PREFIX: Final = re.compile(r"[0-9a-f]{8}-(?=.)")  # Label Studio puts it before the names of uploads


@dataclass(slots=True)
class Index:
    """Photos by name, without regard to case and to the Unicode form.

    Attributes:
        by_name, by_stem: Paths by the name of the file, with and without its suffix.
        folders: Names of all folders that hold photos at any depth below the root.
    """

    by_name: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_stem: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    folders: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, images: Iterable[tuple[str, Sequence[str]]]) -> Index:
        """Return the index of photos, given as their paths and the names of the folders above them."""
        index = cls()
        for path, folders in images:
            name = os.path.basename(path)  # noqa: PTH119  # for speed, as there may be many
            index.by_name[folded(name)].append(path)
            index.by_stem[folded(os.path.splitext(name)[0])].append(path)  # noqa: PTH122
            index.folders.update(map(folded, folders))
        return index


class PhotoFinder:
    """Finds photos where a label file says, and else by name below one folder, which is listed once.

    A photo is found by name only if one photo fits. If the label file names a folder that exists, the photo
    must lie below it.

    Args:
        places: Folders at which relative paths may start; the last one that was right is tried first.
        folder: The folder that is searched.
        is_given: Whether the user named the folder, which may then be of any size, and has all photos.
        requests_first: Whether remote addresses are requested even if photos of their names are here.
    """

    def __init__(
        self,
        places: Sequence[str | Path],
        folder: str | Path,
        *,
        is_given: bool = False,
        requests_first: bool = False,
    ) -> None:
        self._places = list(dict.fromkeys(map(str, places)))
        self._folder = str(folder)
        self._is_given, self._requests_first = is_given, requests_first
        self._num_by_name = self._num_remote = self._num_suggested = 0
        self._example, self._remote_example = ("", ""), ""

    def find(self, given: str) -> tuple[str, str]:
        """Return the address of a photo, and why it is not found: empty if it is.

        Args:
            given: Its path, name or address, as the label file has it.
        """
        address = given.strip()
        remote = address if is_remote(address) and not self._is_given else ""
        if remote and self._requests_first:
            return self._at(remote), ""
        folder, tried = "", set()
        for form in forms_of(given):
            if form in tried or not form or "\0" in form:
                continue
            tried.add(form)
            for place in self._places:
                path = os.path.join(place, form)  # noqa: PTH118  # keeps what pathlib would tidy away
                is_folder = _is_folder(path)
                if is_folder is False:
                    self._try_first(place)
                    return path, ""
                folder = folder or (path if is_folder else "")
        guess = address if is_remote(address) else os.path.join(self._places[0], given)  # noqa: PTH118
        if os.path.islink(guess):  # noqa: PTH114
            return guess, f"a link whose target does not exist: {guess!r}"
        *_, form = forms_of(given)
        found = self._by_name(form)
        if len(found) == 1:
            self._num_by_name += 1
            self._example = self._example if self._example[0] else (given, found[0])
            return found[0], ""
        if remote:
            return self._at(remote), ""
        if found:
            return guess, (
                f"{len(found)} photos have the name {given!r}: {', '.join(map(repr, found[:3]))}. Name the "
                "folder that has only the right ones: --images FOLDER"
            )
        if folder:
            return folder, ""  # reading it says that it is a folder
        return guess, f"{NO_SUCH_PHOTO}: {guess!r}{self._nearest(form)}"

    def notes(self) -> list[str]:
        """Return notes about the photos that were found by name, and about remote ones."""
        notes = []
        if self._num_by_name:
            given, path = self._example
            notes.append(
                f"{self._num_by_name} photos are found by their names below {self._folder!r}, such as "
                f"{path!r} for {given!r}."
            )
        if self._num_remote:
            notes.append(
                f"{self._num_remote:,} photos are remote, such as {self._remote_example!r}. Each is "
                "requested once and stored. If they are on this machine, name their folder: --images FOLDER"
            )
        return notes

    def _at(self, address: str) -> str:
        """Return a remote address, and count it."""
        self._num_remote += 1
        self._remote_example = self._remote_example or address
        return address

    def _try_first(self, place: str) -> None:
        if place != self._places[0]:
            self._places.remove(place)
            self._places.insert(0, place)

    @cached_property
    def _index(self) -> Index:
        return Index.of(self._images())

    def _images(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the photos below the folder; none if it is too large to be searched unasked."""
        found = []
        for number, entry in enumerate(walk(self._folder, into_hidden=False)):
            if number > MOST_SEARCHED and not self._is_given:
                return
            if entry.kind == "image":
                found.append((entry.path, entry.names[:-1]))
        yield from found

    def _by_name(self, form: str) -> list[str]:
        """Return the photos that may be meant; the caller reports an error unless it is exactly one."""
        *folders, name = [part for part in form.split("/") if part not in ("", ".", "..")] or [""]
        found = self._with_name(name)
        if not found and (prefix := _UPLOAD_PREFIX.match(name)):
            found = self._with_name(name[prefix.end() :])
        if folders and folded(folders[-1]) in self._index.folders:
            found = [path for path in found if folded(folders[-1]) in self._folders_of(path)]
        return best(found, lambda path: _num_shared(self._folders_of(path), [*map(folded, folders)]))

    def _with_name(self, name: str) -> list[str]:
        """Return the photos with a name; if it has no suffix of a photo, those with any suffix."""
        index, key = self._index, folded(name)
        found = index.by_name.get(key, [])
        if not found and os.path.splitext(key)[1] not in IMAGE_SUFFIXES:  # noqa: PTH122
            found = index.by_stem.get(key, [])
        return best(found, lambda path: Path(path).name == name or Path(path).stem == name)

    def _folders_of(self, path: str) -> list[str]:
        return folded(path[len(self._folder) :]).replace(os.sep, "/").strip("/").split("/")[:-1]

    def _nearest(self, form: str) -> str:
        """Return a sentence with the most similar name; only for the first photos, as it takes long."""
        self._num_suggested += 1
        if self._num_suggested > _MOST_SUGGESTED:
            return ""
        name = folded(Path(form).name)
        by_name = self._index.by_name
        if not by_name:
            there = f". There are no photos below {self._folder!r}; name their folder: --images FOLDER"
            return there if self._num_suggested == 1 else ""
        key = next(iter(self._index.by_stem.get(folded(Path(name).stem), ())), None)
        if key is None:
            likely = [each for each in by_name if abs(len(each) - len(name)) < 4]
            close = difflib.get_close_matches(name, likely, n=1, cutoff=0.75)
            key = by_name[close[0]][0] if close else None
        return "" if key is None else f". The nearest that is there: {key!r}"


def finder_for(
    places: Sequence[str | Path], folder: str | Path, images: str | None, *, requests_first: bool = False
) -> PhotoFinder:
    """Return what finds photos for a label file.

    Args:
        places: Folders at which relative paths may start.
        folder: The folder that is searched if the user names none.
        images: The folder that the user names; remote addresses in the file are then only names.
        requests_first: As in ``PhotoFinder``: True if the file says where photos are now, as a table does;
            False if it says where a tool has read them, as an export of annotations does.
    """
    if images is None:
        return PhotoFinder(places, folder, requests_first=requests_first)
    return PhotoFinder([images, *places], images, is_given=True)


def best(paths: Sequence[str], rank: Callable[[str], Any]) -> list[str]:
    """Return the paths with the highest rank."""
    if len(paths) < 2:
        return list(paths)
    ranks = list(map(rank, paths))
    highest = max(ranks)
    return [path for path, each in zip(paths, ranks, strict=True) if each == highest]


def folded(name: str) -> str:
    """Return a name as it is compared: without regard to case and to the Unicode form."""
    return name.casefold() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def forms_of(given: str) -> Iterator[str]:
    """Yield a path as it is written, then with what exporters add or change undone, step by step.

    These are surrounding spaces, backslashes, the host and query of a URL, and percent-encoding.
    """
    yield given
    form = given.strip()
    yield form
    form = form.replace("\\", "/")
    yield form
    if match := _URL.match(form):
        form = form[match.end() :].partition("/")[2]
    if "?d=" in form:  # Label Studio's local files
        form = form.partition("?d=")[2]
    elif match:
        form = form.partition("?")[0]
    yield form
    if "%" in form:
        yield unquote(form)


def _is_folder(path: str) -> bool | None:
    """Return whether an address is that of a folder; None if there is nothing."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116  # a third faster than a Path
    except (OSError, ValueError):
        return False if exists(path) else None  # a photo in a tar or Parquet file


def _num_shared(folders: Sequence[str], others: Sequence[str]) -> int:
    """Return how many folders directly above two photos have the same names."""
    pairs = zip(reversed(folders), reversed(others), strict=False)
    return next(
        (number for number, (one, other) in enumerate(pairs) if one != other), min(len(folders), len(others))
    )
