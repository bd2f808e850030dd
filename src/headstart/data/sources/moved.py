"""Photos that lie in other folders than a label file says, and may be others than it means."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.columns import listed
from headstart.data.sources.photo_index import folded


class Moved:
    """Photos that were found by name although the folder in their path does not exist.

    If all paths name the same folder, it was renamed. If they name several, all photos may have been put into
    one folder. Otherwise ``dog/0.png`` may have been taken for ``cat/0.png``, which is refused.
    """

    def __init__(self) -> None:
        self._named: dict[str, str] = {}  # folders in the label file, as they are written, by folded names
        self._given: dict[str, str] = {}  # paths in the label file by photo
        self._folders: dict[str, str] = {}  # a photo by the folder in which it lies
        self._taken_twice = ""

    def add_folder(self, parts: Sequence[str]) -> None:
        """Add the last folder of a path in the label file.

        Args:
            parts: The path's folders and the name of the photo.
        """
        if len(parts) > 1:
            self._named.setdefault(folded(parts[-2]), parts[-2])

    def add(self, given: str, path: str, folders: Sequence[str]) -> None:
        """Add a photo.

        Args:
            given: Its path in the label file.
            path: Where it was found.
            folders: Folded names of the folders from the searched folder to it.
        """
        if self._given.setdefault(path, given) != given:
            self._taken_twice = self._taken_twice or path
        self._folders.setdefault("/".join(folders), path)

    def errors(self) -> list[str]:
        """Return an error if photos may be others than those that are meant."""
        if not self._given or len(self._named) < 2:
            return []
        in_named = (path for folder, path in self._folders.items() if folder.split("/")[-1] in self._named)
        doubtful = next(in_named, "") or self._taken_twice
        if not doubtful and len(self._folders) > 1:
            doubtful = next(iter(self._folders.values()))
        if not doubtful:
            return []
        shown = listed(list(map(repr, self._named.values())), 5)
        return [
            f"{self._given[doubtful]!r} does not exist. {doubtful!r} has its name, but may be another photo, "
            f"as the labels name several folders: {shown}. Add the folders that are missing or correct their "
            "names; to find photos by name alone, remove the folders from the labels"
        ]
