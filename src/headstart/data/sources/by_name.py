"""Finds photos by the names that label files give them: one rule for tables, JSON, COCO and Pascal VOC."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from headstart.columns import counted
from headstart.data.quarantine import NO_SUCH_PHOTO
from headstart.data.sources.moved import Moved
from headstart.data.sources.photo_index import MOST_COMPARED, Index, folded
from headstart.data.sources.split_names import split_of_folders
from headstart.errors import ImageError
from headstart.files import is_remote
from headstart.images.address import exists
from headstart.images.find import walk
from headstart.images.remote import refuse_password
from headstart.messages import without_secrets

MOST_SEARCHED: Final = 500_000
"""Files below the folder of a label file up to which it is searched; a folder named by the user always is."""

_MOST_SUGGESTED: Final = 5  # photos that are missing for which the most similar name is looked for
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_ATTACHED: Final = re.compile(r"(?P<name>[^()]+) \(https?://[^()\s]+\)")  # in Airtable's CSV
_DRIVE: Final = re.compile(r"/[a-zA-Z]:/")  # of Windows, in file:///C:/a.jpg
_UPLOAD: Final = re.compile(r"(?:^|/)data/upload/(?:[0-9]+/)?[0-9a-f]{8}-(?=[^/]+$)")  # of Label Studio


class PhotoFinder:
    """Finds photos where a label file says, and else by name below one folder, which is listed once.

    A photo is found by name only if one photo fits. If the label file names a folder that exists, the photo
    must lie below it; if it names a split, the photo must not lie in a folder of another one. The order of
    the rows makes no difference.

    Args:
        places: Folders at which relative paths may start. A photo that exists in two of them is refused.
        folder: The folder that is searched.
        is_given: Whether the user named the folder. It may then be of any size, has all photos, and photos
            with relative paths must lie below it.
        requests_first: Whether remote addresses are requested even if photos of their names are here.
        split: The split of the label file's photos, if they must not be found by name in another one.
    """

    def __init__(
        self,
        places: Sequence[str | Path],
        folder: str | Path,
        *,
        is_given: bool = False,
        requests_first: bool = False,
        split: str | None = None,
    ) -> None:
        first, *others = dict.fromkeys(map(str, places))
        self._places = [first, *filter(_is_folder, others)]
        self._folder = str(folder)
        self._is_given, self._requests_first = is_given, requests_first
        self._split = split
        self._is_too_large = False
        self._num_by_name = self._num_remote = self._num_signed = self._num_suggested = 0
        self._example, self._remote_example = ("", ""), ""
        self._moved = Moved()

    def find(self, given: str) -> tuple[str, str]:
        """Return the address of a photo, and why it is not found: empty if it is.

        Args:
            given: Its path, name or address, as the label file has it.
        """
        address = given.strip()
        remote = address if is_remote(address) and not self._is_given else ""
        if remote and self._requests_first:
            return self._at(remote)
        folder, outside, tried = "", "", set()
        for form in forms_of(given):
            if form in tried or not form or "\0" in form:
                continue
            tried.add(form)
            found = []
            for place in self._places:
                path = os.path.join(place, form)  # noqa: PTH118  # keeps what pathlib would tidy away
                is_folder = _is_folder(path)
                if is_folder is False and self._is_allowed(place, path):
                    found.append(path)
                    if self._is_given:
                        break
                outside = outside or (path if is_folder is False else "")
                folder = folder or (path if is_folder else "")
            if found:
                self._moved.add_path(_parts(form)[:-1])
                return found[0], _several(given, _different(found))
        guess = without_secrets(address) if is_remote(address) else os.path.join(self._places[0], given)  # noqa: PTH118
        if os.path.islink(guess):  # noqa: PTH114
            return guess, f"a link whose target does not exist: {guess!r}"
        *_, form = forms_of(given)
        photo, fault = self._by_name(given, form)
        if remote and not photo:
            return self._at(remote)
        if photo or fault:
            return photo or guess, fault
        if folder:
            return folder, ""  # reading it says that it is a folder
        if outside:
            return guess, (
                f"{NO_SUCH_PHOTO} below {self._folder!r}, which images names, but {outside!r} exists. Name "
                "the folder that has all photos: --images FOLDER"
            )
        return guess, f"{NO_SUCH_PHOTO}: {guess!r}{self._nearest(form)}"

    def notes(self) -> list[str]:
        """Return notes about the photos that were found by name, and about remote ones."""
        notes = []
        if self._num_by_name:
            given, path = self._example
            notes.append(
                f"{self._num_by_name} photos are found by their names below {self._folder!r}, such as "
                f"{path!r} for {without_secrets(given)!r}."
            )
        if self._num_remote:
            notes.append(
                f"{self._num_remote:,} photos are remote, such as {without_secrets(self._remote_example)!r}. "
                "Each is requested once and stored. If they are on this machine, name their folder: --images "
                "FOLDER"
            )
        if self._num_signed:
            notes.append(
                f"{counted(self._num_signed, 'address contains', 'addresses contain')} a signature or token, "
                "which the tables of the run will contain too. Do not pass them on while it is valid."
            )
        return notes

    def _at(self, address: str) -> tuple[str, str]:
        """Return a remote address, and why it is not requested; count it if it is."""
        try:
            refuse_password(address)
        except ImageError as error:
            return error.path, error.reason
        self._num_remote += 1
        self._remote_example = self._remote_example or address
        self._num_signed += without_secrets(address) != address
        return address, ""

    def errors(self) -> list[str]:
        """Return why photos that were found by name may be others than those that are meant."""
        return self._moved.errors()

    def _is_allowed(self, place: str, path: str) -> bool:
        """Return whether a photo may be at a place: below the folder that the user named, if any."""
        if not self._is_given or place == self._places[0]:
            return True
        folder = os.path.join(os.path.abspath(self._folder), "")  # noqa: PTH100, PTH118
        return os.path.normcase(os.path.abspath(path)).startswith(os.path.normcase(folder))  # noqa: PTH100

    @cached_property
    def _index(self) -> Index:
        return Index.of(self._images(), self._folder)

    def _images(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield the photos below the folder; none if it is too large to be searched unasked."""
        found = []
        for number, entry in enumerate(walk(self._folder, into_hidden=False)):
            if number > MOST_SEARCHED and not self._is_given:
                self._is_too_large = True
                return
            if entry.kind == "image":
                found.append((entry.path, entry.names[:-1]))
        yield from found

    def _by_name(self, given: str, form: str) -> tuple[str, str]:
        """Return the photo with a name, and why it is not found; both are empty if none has the name."""
        *folders, name = _parts(form) or [""]
        self._moved.add_path(folders)
        found = self._index.find(folders, name)
        if not found and (prefix := _UPLOAD.search(form)):
            folders, found = [], self._index.find([], form[prefix.end() :])
        if len(found) <= MOST_COMPARED and (split := split_of_folders(folders) or self._split):
            all_found = found
            found = [path for path in found if self._split_of(path) in (None, split)]
            if all_found and not found:
                return "", (
                    f"{NO_SUCH_PHOTO} for {split}: {given!r}. {all_found[0]!r} has its name, but is for "
                    f"{self._split_of(all_found[0])}"
                )
        if len(found) != 1:
            return "", _several(given, found)
        self._num_by_name += 1
        self._example = self._example if self._example[0] else (given, found[0])
        self._moved.add_photo(given, found[0], folders, self._index.folders_of(found[0]))
        return found[0], ""

    def _split_of(self, path: str) -> str | None:
        return split_of_folders(self._index.folders_of(path))

    def _nearest(self, form: str) -> str:
        """Return a sentence with the most similar name; only for the first photos, as it takes long."""
        self._num_suggested += 1
        if self._num_suggested > _MOST_SUGGESTED:
            return ""
        name = folded(Path(form).name)
        by_name = self._index.by_name
        if not by_name:
            there = f"There are no photos below {self._folder!r}; name their folder: --images FOLDER"
            if self._is_too_large:
                there = (
                    f"{self._folder!r} has more than {MOST_SEARCHED:,} files, so it is not searched for the "
                    "names of photos; name the folder to search: --images FOLDER"
                )
            return f". {there}" if self._num_suggested == 1 else ""
        key = next(iter(self._index.by_stem.get(folded(Path(name).stem), ())), None)
        if key is None:
            likely = [each for each in by_name if abs(len(each) - len(name)) < 4]
            close = difflib.get_close_matches(name, likely, n=1, cutoff=0.75)
            key = by_name[close[0]][0] if close else None
        return "" if key is None else f". The nearest that is there: {key!r}"


def finder_for(
    places: Sequence[str | Path],
    folder: str | Path,
    images: str | None,
    *,
    requests_first: bool = False,
    split: str | None = None,
) -> PhotoFinder:
    """Return what finds photos for a label file.

    Args:
        places: Folders at which relative paths may start.
        folder: The folder that is searched if the user names none.
        images: The folder that the user names; remote addresses in the file are then only names.
        requests_first: As in ``PhotoFinder``: True if the file says where photos are now, as a table does;
            False if it says where a tool has read them, as an export of annotations does.
        split: The split of the label file's photos, as in ``PhotoFinder``.
    """
    if images is None:
        return PhotoFinder(places, folder, requests_first=requests_first, split=split)
    return PhotoFinder([images, *places], images, is_given=True, split=split)


def forms_of(given: str) -> Iterator[str]:
    """Yield a path as it is written, then with what exporters add or change undone, step by step.

    These are surrounding spaces, the address behind the name of an attachment, backslashes, ``file://``, the
    host and query of a URL, and percent-encoding.
    """
    yield given
    form = given.strip()
    yield form
    if attached := _ATTACHED.fullmatch(form):
        form = attached["name"]
        yield form
    form = form.replace("\\", "/")
    yield form
    if match := _URL.match(form):
        if match[0].lower() == "file://":
            whole = unquote(form[match.end() :].removeprefix("localhost"))
            yield whole[1:] if _DRIVE.match(whole) else whole
        form = form[match.end() :].partition("/")[2]
    if "?d=" in form:  # Label Studio's local files
        form = form.partition("?d=")[2]
    elif match:
        form = form.partition("?")[0]
    yield form
    if "%" in form:
        yield unquote(form)


def _is_folder(path: str) -> bool | None:
    """Return whether a path is that of a folder; None if there is nothing."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116  # a third faster than a Path
    except (OSError, ValueError):
        return False if exists(path) else None  # a photo in a tar or Parquet file


def _parts(form: str) -> list[str]:
    return [part for part in form.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _different(paths: Sequence[str]) -> list[str]:
    """Return the paths of different files."""
    first, *others = dict.fromkeys(paths)
    return [first, *(path for path in others if not _is_same(first, path))]


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121
    except OSError:  # photos in tar or Parquet files
        return os.path.normcase(os.path.abspath(one)) == os.path.normcase(os.path.abspath(other))  # noqa: PTH100


def _several(given: str, found: Sequence[str]) -> str:
    if len(found) < 2:
        return ""
    return (
        f"{len(found)} photos have the name {given!r}: {', '.join(map(repr, found[:3]))}. Name the "
        "folder that has only the right ones: --images FOLDER"
    )
