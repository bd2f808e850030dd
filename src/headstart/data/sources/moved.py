"""Photos that lie in other folders than a label file says, and may be others than it means."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from headstart.columns import listed
from headstart.data.sources.photo_index import folded


class Moved:
    """Photos that were found by name although a folder in their path does not exist.

    If all paths name the same folder there, it was renamed. If they name several, all photos may have been
    put into one folder. Otherwise ``dog/0.png`` may have been taken for ``cat/0.png``, which is refused.

    Folders are compared where a path and the place of its photo first differ, counted from the photo. What
    follows is a level: it is empty for ``dog/0.png``, and ``raw`` if ``cat/raw/0.png`` is found for
    ``dog/raw/0.png``.
    """

    def __init__(self) -> None:
        self._paths: set[str] = set()  # the folders in the label file's paths
        self._named: dict[str, dict[str, str]] = defaultdict(dict)  # as they are written, by level and name
        self._given: dict[str, dict[str, str]] = defaultdict(
            dict
        )  # paths of the label file, by level and photo
        self._folders: dict[str, dict[str, str]] = defaultdict(dict)  # a photo, by level and its folder
        self._twice: dict[str, str] = {}  # a photo that is found for several paths, by level

    def add_path(self, folders: Sequence[str]) -> None:
        """Add the folders of a path in the label file."""
        names = [folded(each) for each in folders]
        path = "/".join(names)
        if path not in self._paths:
            self._paths.add(path)
            for number, folder in enumerate(folders):
                self._named["/".join(names[number + 1 :])].setdefault(names[number], folder)

    def add_photo(self, given: str, path: str, folders: Sequence[str], found_in: Sequence[str]) -> None:
        """Add a photo that was found by name.

        Args:
            given: Its path in the label file.
            path: Where it was found.
            folders: Names of the folders in its path in the label file.
            found_in: Folded names of the folders from the searched folder to the photo.
        """
        names, place = [folded(each) for each in folders], list(found_in)
        while names and names[-1] in place and place[-1] != names[-1]:
            place.pop()  # it lies deeper in the folder than the label file says
        pairs = zip(reversed(names), reversed(place), strict=False)
        differ = (number for number, (one, other) in enumerate(pairs) if one != other)
        num_same = next(differ, min(len(names), len(place)))
        if num_same == len(names):
            return
        level = "/".join(names[len(names) - num_same :])
        if self._given[level].setdefault(path, given) != given:
            self._twice.setdefault(level, path)
        self._folders[level].setdefault("/".join(place[: len(place) - num_same]), path)

    def errors(self) -> list[str]:
        """Return an error if photos may be others than those that are meant."""
        doubtful = ((level, self._doubtful(level)) for level in self._given)
        level, path = next((each for each in doubtful if each[1]), ("", ""))
        if not path:
            return []
        shown = listed(list(map(repr, self._named[level].values())), 5)
        return [
            f"{self._given[level][path]!r} does not exist. {path!r} has its name, but may be another photo, "
            f"as the labels name several folders: {shown}. Add the folders that are missing or correct their "
            "names; to find photos by name alone, remove the folders from the labels"
        ]

    def _doubtful(self, level: str) -> str:
        """Return a photo that may be another than is meant; empty if there is none."""
        named, folders = self._named[level], self._folders[level]
        if len(named) < 2:
            return ""
        in_named = (path for folder, path in folders.items() if folder.rpartition("/")[2] in named)
        several = next(iter(folders.values())) if len(folders) > 1 else ""
        return next(in_named, "") or self._twice.get(level, "") or several
